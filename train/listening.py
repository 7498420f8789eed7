"""Prompts with audio → token ids, and what is heard at each of them in every forward.

trl 1.16 carries token ids alone from generation to the loss, and drops a model's audio on the way without a word. Here
every place of an audio in a prompt has an id of its own, past the vocabulary,

    id = FIRST + MOST * number of the recording + place within it

and the embedding layer answers it with what the frozen audio tower makes of that recording. Ids stay with their row
when trl repeats, pads, shuffles, splits and buffers it, so no audio comes to another row, and no forward of them is
without: generation, old policy, reference, loss, whatever packs them. A recording is encoded alone, and once for all
prompts and forwards while it is remembered, so what is heard depends on no batch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from datagen.errors import UsageError
from datagen.llm.local_model import LocalModel, Sound, embedding
from datagen.llm.request import Sampling
from datagen.train.audio import TOKENS, TYPES, Recording, recordings_in, samples_of, text_in

if TYPE_CHECKING:
    from datagen.llm.weights import Folder
    from datagen.train.data import Deck

__all__ = ["FIRST", "MOST", "Listener"]

FIRST = 2**30
"""The first id of an audio: past every vocabulary."""
MOST = 2**14
"""More places than one audio takes: five minutes are 7,500."""
THREADS = 2
"""That decode and make features while the model works."""
KEPT = 64
"""Recordings that are remembered beyond those of two steps."""

Messages = Sequence[Mapping[str, Any]]


class Listener:
    """What makes the prompts of a policy, and puts into its forwards what it hears."""

    def __init__(self, folder: Folder, recordings: Iterable[Recording] = (), a_step: int = 0) -> None:
        """`recordings`: all of the run, with their hashes; `a_step`: how many one step hears.

        Raises UsageError for a model that is not trained with audio.
        """
        self.local = LocalModel(folder, device="cpu")
        by_hash = {recording.sha256: recording for recording in recordings}
        self._recordings = list(by_hash.values())
        self._numbers = {hash: number for number, hash in enumerate(by_hash)}
        if by_hash and self.local.type not in TYPES:
            raise UsageError(f"model {folder.name}: is not trained with audio ({self.local.type}): use --modality text")
        self._sounds: OrderedDict[int, Future[Sound]] = OrderedDict()
        self._most = KEPT + 2 * a_step
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="clips")
        self._model: Any = None
        self._instead: Mapping[int, int | None] = {}

    # ── prompts ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def ids(self, messages: Messages) -> list[int]:
        """Token ids of the prompt, in the model's own chat template; `recording` stands in a part of type audio."""
        numbers = [self._numbers[recording.sha256] for recording in recordings_in(messages)]
        sounds = [self._sound(number) for number in numbers]
        row = self.local.row(messages, sounds, Sampling(), 0)
        ids: list[int] = row.ids.tolist()
        if not numbers:
            return ids
        places = [FIRST + MOST * n + place for n, s in zip(numbers, sounds, strict=True) for place in range(s.tokens)]
        token, following = self.local.processor.audio_token_id, iter(places)
        return [next(following) if id == token else id for id in ids]

    def longer_than(self, deck: Deck, room: int) -> list[str]:
        """Ids of the examples whose prompt takes more than `room` tokens; what cannot be that long is not tokenized."""
        around = len(self.ids([{"role": "user", "content": ""}])) + 1
        found = []
        for row in map(replace(deck, audio_share=1.0).row, range(deck.places)):
            recordings, text = recordings_in(row["prompt"]), text_in(row["prompt"])
            most = around + len(text.encode()) + sum(TOKENS * r.seconds + 2 for r in recordings)
            if most > room and len(self.ids(row["prompt"])) > room:
                found.append(row["id"])
        return list(dict.fromkeys(found))

    def rendered(self, messages: Messages) -> str:
        """The prompt as text, one audio token for each audio."""
        return self.local.rendered(messages, Sampling())

    def ahead(self, recordings: Iterable[Recording]) -> None:
        """Begins with the features of what will be heard next."""
        for recording in recordings:
            self._begun(self._numbers[recording.sha256])

    def close(self) -> None:
        """Ends the threads, and what they still had to do."""
        self._pool.shutdown(cancel_futures=True)

    def number(self, recording: Recording) -> int:
        """The recording's own number in this run."""
        return self._numbers[recording.sha256]

    # ── forwards ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def attach(self, model: Any) -> None:
        """Lets `model` hear; the first one that is attached, the policy, encodes for all: towers are frozen."""
        if not self._recordings:
            return
        self._model = model if self._model is None else self._model
        table = model.get_input_embeddings()
        table.forward = partial(self._embedded, table.forward)

    @contextmanager
    def instead(self, others: Mapping[int, int | None]) -> Iterator[None]:
        """Within it a recording is heard as another one, or as None: as the model sees the place of an audio unheard.

        For measuring: ids stay as they are, so that only what is heard differs.
        """
        self._instead = others
        try:
            yield
        finally:
            self._instead = {}

    def _embedded(self, plain: Callable[[Any], Any], ids: Any) -> Any:
        """(…, hidden) of ids (…): of the vocabulary by `plain`, past it what is heard there."""
        heard = ids >= FIRST
        if not heard.any():
            return plain(ids)
        made = plain(ids.masked_fill(heard, self.local.processor.audio_token_id))
        values, codes = made[heard].detach().clone(), ids[heard] - FIRST
        numbers, places = codes // MOST, codes % MOST
        for number in numbers.unique().tolist():
            other = self._instead.get(number, number)
            if other is not None:
                there, sound = numbers == number, self._encoded(other)
                values[there] = sound[places[there] % len(sound)].to(values.dtype)
        return made.masked_scatter(heard.unsqueeze(-1), values)

    def _encoded(self, number: int) -> Any:
        """(tokens, hidden), without gradient, in the model's own precision."""
        import torch

        sound, model = self._sound(number), self._model
        if sound.embedding is None:
            tower = next(module for name, module in model.named_modules() if name.endswith("audio_tower"))
            was = tower.training
            tower.eval()
            whole = torch.autocast(model.device.type, enabled=False)
            with torch.inference_mode(mode=False), torch.no_grad(), whole:
                sound.embedding = embedding(model, self.local.type, sound)
            tower.train(was)
        return sound.embedding

    # ── features ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _sound(self, number: int) -> Sound:
        """Raises AudioError for a file that is not any more what it was before the first step."""
        return self._begun(number).result()

    def _begun(self, number: int) -> Future[Sound]:
        if number not in self._sounds:
            recording = self._recordings[number]
            self._sounds[number] = self._pool.submit(lambda: self.local.sound(samples_of(recording)))
        self._sounds.move_to_end(number)
        while len(self._sounds) > self._most:
            self._sounds.popitem(last=False)
        return self._sounds[number]
