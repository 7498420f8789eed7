"""Training without rollouts: the answer is one of a few known texts, so what the policy gives them can be computed.

    place ─▶ Deck row ─▶ texts that the reader takes for a choice ─▶ one forward ─▶ log-probability of each ─▶ loss

    exact        expected update of GRPO: no sampling noise; a signal only where the policy is sometimes right
    choice       cross-entropy of the right choice among the choices, each by the text that the prompt asks for. No
                 GRPO: it has a signal from the start and does not see whether the policy would say a choice at all
    supervised   cross-entropy of the right answer's text with its end token

**exact.** With a reward of 0 or 1 let p be the probability that the policy passes. For a group of G answers with k
right and m = k/G, trl's advantages are (r - m) / (s + 1e-4) with s = sqrt(m (1 - m) G / (G - 1)), its std with ddof 1.
Averaged over the group, right answers have the mean score ∇log p and wrong ones ∇log(1 - p), so the expected gradient
with sequence sums (trl's `dr_grpo` times the limit of tokens; `grpo` divides each answer by its length) is

    W_G(p) ∇p,   W_G(p) = E[m (1 - m) / (s + 1e-4)] / (p (1 - p)),   k ~ Binomial(G, p)

and with G → ∞, without the 1e-4, ∇p / sqrt(p (1 - p)) = ∇ 2 arcsin sqrt p. On the policy, one update a batch, no KL.

p is what an enumeration finds: `accepted` says which texts, each with the end token, under the temperature and the
limit of tokens of a rollout; one that fills the limit needs no end token. A sentence that names the right choice
passes too and is not enumerated: `look` measures how much of the pass rate is (*coverage*).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import gather_object
from torch.utils.data import SequentialSampler
from transformers import Trainer as PlainTrainer

from datagen.errors import UsageError
from datagen.multiple_choice import LABELS, letter, read, solution
from datagen.records import fold
from datagen.rows import some
from datagen.seeds import generator
from datagen.train.rewards import answer_of
from datagen.train.sharing import padded
from datagen.train.trainer import Trainer

__all__ = ["NO_SIGNAL", "Enumerated", "accepted", "pass_weight"]

NO_SIGNAL = 1e-4
"""Pass probability below which neither sampled nor exact GRPO learns."""
LOOKED_AT, SAMPLES = 8, 8
"""Questions that `look` asks, and answers that it samples for each."""
STD = 1e-4
"""What trl 1.16 adds to the std of a group."""


# ── texts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def forms(choice: str, label: str, style: str) -> Iterator[str]:
    """Short ways to give an answer, the one that the prompt asks for first; not all are read as it by every menu."""
    if style == "letters":
        yield from (label, f"{label}.", f"{label})", f"({label})", label.lower())
        yield from (f"({label}) {choice}", f"{label}. {choice}", f"{label}) {choice}", choice)
        return
    cases = (choice, choice.lower(), choice[:1].upper() + choice[1:])
    if style == "r1-aqa":
        yield from (f"<answer>{case}</answer>" for case in cases)
        yield from (f"<answer> {case} </answer>" for case in cases)
    yield from cases
    yield from (f"{case}." for case in cases)


def accepted(row: Mapping[str, Any], tokenizer: Any, limit: int) -> list[list[int]]:
    """Token ids, with the end token, of the texts that pass for the right choice of a Deck's row; no two are equal.

    Each is what the strict reader takes for that choice after it went through the tokenizer.
    """
    gold = row["gold"]
    texts = list(dict.fromkeys(forms(row["choices"][gold], letter(gold), row["style"])))
    found = {tuple(ids): None for ids in tokenizer(texts, add_special_tokens=False)["input_ids"] if len(ids) <= limit}
    kept = [ids for ids in found if read(_said(tokenizer, ids), row["choices"], row["labels"]) == gold]
    return [_ended(ids, tokenizer, limit) for ids in kept]


def _said(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True))


def _ended(ids: Sequence[int], tokenizer: Any, limit: int) -> list[int]:
    return list(ids) if len(ids) == limit else [*ids, tokenizer.eos_token_id]


def asked_for(row: Mapping[str, Any], place: int, tokenizer: Any) -> list[int]:
    """Token ids, with the end token, of the choice at `place` as the prompt asks for it."""
    text = solution(row["choices"], place, row["style"])
    return [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]


def distinct(choices: Sequence[str]) -> list[int]:
    """Their places; of equal choices the first."""
    first: dict[str, int] = {}
    for place, choice in enumerate(choices):
        first.setdefault(fold(choice), place)
    return list(first.values())


# ── losses ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def pass_weight(p: torch.Tensor, group_size: float, std: float = STD) -> torch.Tensor:
    """p · W_G(p): what ∇log p is weighted by. `p`: float64; group_size: 2 or more, or infinity.

    For a finite group it is a polynomial in p, so no p, however near 0 or 1, divides by nothing. For an infinite one,
    which has no 1e-4, it is sqrt(p / (1 - p)); where p is rounded to 1 the gradient's limit is 0, and so is the weight.
    """
    if math.isinf(group_size):
        return torch.where(p < 1, (p / (1 - p).abs()).sqrt(), 0.0)
    found = torch.zeros_like(p)
    size = int(group_size)
    for k in range(1, size):
        spread = k / size * (1 - k / size)
        advantage = spread / (math.sqrt(spread * size / (size - 1)) + std)
        found = found + math.comb(size, k) * advantage * p**k * (1 - p) ** (size - k - 1)
    return found


Seen = dict[str, Any]
"""What is logged of one question: accuracy, log_p, and where the objective has them no_signal, pick and n."""


def exact_loss(logp: torch.Tensor, group_size: float) -> tuple[torch.Tensor, Seen]:
    """The loss whose gradient is -W_G(p) ∇p. `logp`: (texts,) float64, of every text that passes.

    Its accuracy is p, its no_signal the probability that a group is all right or all wrong.
    """
    total = logp.logsumexp(0)
    p = total.detach().exp()
    share = p.clamp(max=1)  # of the log: texts can add up to 1 and a rounding
    alike = share**group_size + (1 - share) ** group_size
    seen = {"accuracy": share.item(), "log_p": total.item(), "no_signal": alike.item()}
    return -pass_weight(p, group_size) * total, seen


def choice_loss(logp: torch.Tensor, places: Sequence[int], gold: int) -> tuple[torch.Tensor, Seen]:
    """`logp`: (choices,) float64, of those shown at `places`. Accuracy: whether the right one is the likeliest."""
    right = places.index(gold)
    pick = places[int(logp.argmax())]
    seen = {"accuracy": float(pick == gold), "log_p": logp[right].item(), "pick": pick, "n": len(places)}
    return -logp.log_softmax(0)[right], seen


def supervised_loss(logp: torch.Tensor) -> tuple[torch.Tensor, Seen]:
    """`logp`: (1,) float64, of the right answer's text. Accuracy: its probability."""
    return -logp[0], {"accuracy": logp[0].exp().item(), "log_p": logp[0].item()}


# ── the trainer ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Enumerated(Trainer):
    """A Deck's rows, without rollouts. Held-out askings, checkpoints and log are those of sampled GRPO."""

    def __init__(self, *args: Any, objective: str, group_size: float, **kwargs: Any) -> None:
        self.objective, self.group_size = objective, group_size
        super().__init__(*args, **kwargs)
        if objective == "exact":
            self._check_answers()

    def _check_answers(self) -> None:
        shown = {"style": self.deck.style, "labels": LABELS[self.deck.style]}
        rows = [(e.id, {"choices": e.choices, "gold": e.gold, **shown}) for e in self.deck.examples]
        if short := [id for id, row in rows if not accepted(row, self._tokenizer, self.max_completion_length)]:
            raise UsageError(
                f"--max-tokens {self.max_completion_length}: the right answer of {len(short)} questions "
                f"({some(short)}) does not fit or is not read as one: allow more, or leave them out"
            )

    def get_train_dataloader(self) -> Any:
        """One row a question, in the order of the Deck."""
        return PlainTrainer.get_train_dataloader(self)

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        return SequentialSampler(dataset if dataset is not None else self.train_dataset)

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        return generation_batch if self.model.training else super()._prepare_inputs(generation_batch)

    def _compute_loss(self, model: Any, inputs: Any) -> Any:
        rows = [self.deck.row(row["place"]) for row in inputs]
        last = rows[-1]["place"]
        self.listener.ahead(self.deck.heard(range(last + 1, last + 1 + len(rows))))
        answers = [self._answers(row) for row in rows]
        found = self._log_probabilities(model, rows, answers)
        losses, seen = zip(*map(self._loss, rows, found), strict=True)
        lengths = map(self._length, found, answers)
        self._note(gather_object([one | {"length": length} for one, length in zip(seen, lengths, strict=True)]))
        return torch.stack(losses).mean().float() / self.current_gradient_accumulation_steps

    def _answers(self, row: Mapping[str, Any]) -> list[list[int]]:
        if self.objective == "exact":
            return accepted(row, self._tokenizer, self.max_completion_length)
        places = distinct(row["choices"]) if self.objective == "choice" else [row["gold"]]
        return [asked_for(row, place, self._tokenizer) for place in places]

    def _loss(self, row: Mapping[str, Any], logp: torch.Tensor) -> tuple[torch.Tensor, Seen]:
        if self.objective == "exact":
            return exact_loss(logp, self.group_size)
        if self.objective == "choice":
            return choice_loss(logp, distinct(row["choices"]), row["gold"])
        return supervised_loss(logp)

    def _length(self, logp: torch.Tensor, answers: Sequence[Sequence[int]]) -> float:
        """Tokens of an enumerated answer, on average over what the policy says of them."""
        lengths = torch.tensor(list(map(len, answers)), device=logp.device)
        return float((logp.detach().softmax(0) * lengths).sum())

    def _note(self, seen: Sequence[Seen]) -> None:
        for one in seen:
            self._metrics["train"]["rewards/accuracy/mean"].append(one["accuracy"])
            self._metrics["train"]["log_p"].append(one["log_p"])
            self._metrics["train"]["completions/mean_length"].append(one["length"])
            if "pick" in one:
                self.answered.choose(one["pick"], one["n"])
            if "no_signal" in one:
                self.answered.groups += 1
                self.answered.no_signal += one["no_signal"]

    def _log_probabilities(
        self, model: Any, rows: Sequence[Mapping[str, Any]], answers: Sequence[Sequence[Sequence[int]]]
    ) -> list[torch.Tensor]:
        """For each row (answers,) float64: log-probability of each under the temperature, given the row's prompt."""
        made, _, _ = self._tokenize_prompts([row["prompt"] for row in rows])
        prompts = [prompt for prompt, each in zip(made, answers, strict=True) for _ in each]
        said = [ids for each in answers for ids in each]
        if self.sharing is None:
            with torch.enable_grad():
                self.sharing = self._compared(prompts, said)
        ids, mask, longest = padded(prompts, said, self.accelerator.device)
        logp, _, _ = self._get_per_token_logps_and_entropies(model, ids, mask, longest)
        total = logp.double().masked_fill(mask[:, -longest:] == 0, 0.0).sum(1)
        return list(total.split(list(map(len, answers))))

    # ── before the first step ────────────────────────────────────────────────────────────────────────────────────────

    def look(self) -> dict[str, Any]:
        """What the policy passes before it is trained, on the first questions of the run.

        `p`: mean of the enumerated pass probability; `no_signal`: questions where it is below NO_SIGNAL; `sampled`:
        share of `samples` answers to each that the strict reader passes; `coverage`: p / sampled, None without a pass.
        """
        rows = [self.deck.row(place) for place in range(min(LOOKED_AT, len(self.deck.examples)))]
        with torch.no_grad(), self.compute_loss_context_manager():
            found = self._log_probabilities(self.model, rows, [self._answers(row) for row in rows])
        p = [logp.logsumexp(0).exp().item() for logp in found]
        right = self._sampled(rows)
        mean, rate = sum(p) / len(p), right / (len(rows) * SAMPLES)
        return {
            "questions": len(rows), "p": mean, "p_least": min(p), "no_signal": sum(each < NO_SIGNAL for each in p),
            "samples": SAMPLES, "sampled": rate, "coverage": mean / rate if rate else None,
        }  # fmt: skip

    def _sampled(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Right ones among SAMPLES answers to each row; leaves the generators as they were."""
        repeated = [row for row in rows for _ in range(SAMPLES)]
        training = self.model.training
        with torch.random.fork_rng():
            torch.manual_seed(generator(self.args.seed, "look").getrandbits(63))
            self.model.train()
            prompts, images, fields = self._tokenize_prompts([row["prompt"] for row in repeated])
            completions, _ = self._generate_single_turn(prompts, images, fields, SAMPLES)
            self.model.train(training)
        texts = [_said(self._tokenizer, ids) for ids in completions]
        return sum(answer_of(text, row) == row["gold"] for text, row in zip(texts, repeated, strict=True))
