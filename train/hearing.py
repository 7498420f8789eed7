"""Whether the loss hears: looked at before the first step of a run with audio, which does not begin if it does not.

A trainer can give audio to generation and forget it in the loss, without a word (plain trl 1.16 does), or give a row
the audio of another. So some prompts are scored, each with its own choices as the answer, by the very function that the
loss calls; packed rows are compared with that on the first batch (`sharing`). Half of the prompts are questions with
their audio, half the same questions without.

    own       as they are
    removed   the same ids, with nothing heard at the places of audio: rows with audio must change, others must not
    swapped   every other recording heard as the next one: the rows that have it must change, others must not
    alone     each row by itself, without padding: none must change

A change is the largest of a row's tokens, in nats. What must change has to by more than CHANGE and more than
what must not; that may by less than TOLERANCE of the precision (of half precision a guess, which no GPU has seen).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from datagen.errors import UsageError
from datagen.train.audio import recordings_in
from datagen.train.sharing import padded

if TYPE_CHECKING:
    from datagen.run import Run
    from datagen.train.trainer import Trainer

__all__ = ["Heard", "HearingCheck", "compare", "why_deaf"]

ROWS = 4
"""With audio, and as many without."""
CHANGE = 1e-6
TOLERANCE: Mapping[str, float] = {"float32": 1e-4, "bfloat16": 0.3, "float16": 0.1}


@dataclass(frozen=True, slots=True)
class Heard:
    """How log-probabilities change, in nats."""

    removed: float
    """The least change of a row whose audio was removed."""
    swapped: float | None
    """The least change of a row that heard another recording; None where there is but one."""
    others: float
    """The largest change of a row that heard what it had heard."""
    alone: float
    """The largest change of a row that was scored by itself."""


def compare(
    own: Any, removed: Any, swapped: Any, alone: Any, audio: Sequence[bool], exchanged: Sequence[bool]
) -> Heard:
    """Of log-probabilities (rows, tokens); which rows have audio, and which of them heard another one."""
    without, other, single = ((made - own).abs().amax(-1).tolist() for made in (removed, swapped, alone))
    still = [change for change, has in zip(without, audio, strict=True) if not has]
    still += [change for change, heard in zip(other, exchanged, strict=True) if not heard]
    return Heard(
        removed=min(change for change, has in zip(without, audio, strict=True) if has),
        swapped=min((change for change, heard in zip(other, exchanged, strict=True) if heard), default=None),
        others=max(still, default=0.0),
        alone=max(single),
    )


def why_deaf(heard: Heard, precision: str) -> str:
    """What is wrong, in one line; nothing where all is well."""
    tolerance, least = TOLERANCE[precision], max(CHANGE, heard.others)
    if heard.removed <= least:
        return f"removing the audio changes a log-probability by {heard.removed:.1g} at most: the loss does not hear it"
    if heard.swapped is not None and heard.swapped <= least:
        return f"another audio changes a log-probability by {heard.swapped:.1g} at most: the loss does not hear which"
    if heard.others > tolerance:
        return f"the audio of other rows changes a log-probability by {heard.others:.1g}: rows do not hear their own"
    if heard.alone > tolerance:
        return f"the rows beside it change a log-probability by {heard.alone:.1g}: padding is not masked"
    return ""


class HearingCheck(TrainerCallback):  # type: ignore[misc]  # transformers is skipped
    """Looks before the first step, with the model as it is wrapped by then. Raises UsageError."""

    def __init__(self, trainer: Trainer, run: Run) -> None:
        self.trainer, self.run = trainer, run

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Before the held-out set is asked for the first time."""
        heard = measured(self.trainer)
        self.run.save(hearing=asdict(heard))
        precision = "bfloat16" if args.bf16 else str(self.trainer.model.dtype).removeprefix("torch.")
        if why := why_deaf(heard, precision):
            raise UsageError(f"hearing check: {why}; nothing was trained: look at the model's class and its attention")


def measured(trainer: Trainer) -> Heard:
    """The four scorings, without gradient, with the model as in evaluation."""
    rows = [
        replace(trainer.deck, audio_share=share).row(place)
        for share in (1.0, 0.0)
        for place in range(min(ROWS, len(trainer.deck.examples)))
    ]
    words = trainer._tokenizer
    prompts, _, _ = trainer._tokenize_prompts([row["prompt"] for row in rows])
    answers = [words("\n".join(row["choices"]), add_special_tokens=False)["input_ids"] for row in rows]
    audio = [{trainer.listener.number(r) for r in recordings_in(row["prompt"])} for row in rows]
    others = _others(sorted(set().union(*audio)))

    def score(heard_as: Mapping[int, int | None]) -> Any:
        with trainer.listener.instead(heard_as):
            return scored(trainer, prompts, answers)

    was = trainer.model.training
    trainer.model.eval()
    try:
        own = score({})
        removed, swapped = score(dict.fromkeys(set().union(*audio))), score(others)
        alone = own.clone()
        for number in range(len(rows)):
            single = scored(trainer, [prompts[number]], [answers[number]])
            alone[number, : single.shape[1]] = single[0]
    finally:
        trainer.model.train(was)
    exchanged = [not each.isdisjoint(others) for each in audio]
    return compare(own, removed, swapped, alone, [bool(each) for each in audio], exchanged)


def _others(numbers: Sequence[int]) -> dict[int, int | None]:
    """Every second recording → the next one; none where there is but one."""
    if len(numbers) < 2:
        return {}
    return {numbers[place]: numbers[(place + 1) % len(numbers)] for place in range(0, len(numbers), 2)}


def scored(trainer: Trainer, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> Any:
    """float32 (rows, longest answer) on the processor: as the loss scores them, 0 beyond an answer's end."""
    import torch

    ids, mask, longest = padded(prompts, answers, trainer.accelerator.device)
    with torch.no_grad():
        found, _, _ = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, longest)
    return (found * mask[:, -longest:]).float().cpu()
