"""A model on this machine behind the same `Client` as a server: one ledger, one protocol.

    complete(request) ─▶ threads: decode, features, prompt ─▶ waiting rows ─▶ the model's thread: a batch ─▶ Completion

The rows that wait while the model works make its next batch: the oldest one and those of nearly its length, as many
as `tokens` (prompt and answer, padding included) allow. A batch that does not fit into memory is halved, and `tokens`
with it. Features are made ahead in threads, once for each audio, so that the model need not wait for them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import os
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from datagen.errors import PermanentError, TransientError, UsageError
from datagen.llm.budget import Budget, Stats
from datagen.llm.client import Client
from datagen.llm.ledger import Ledger
from datagen.llm.reply import Completion
from datagen.llm.request import Endpoint, Request
from datagen.llm.weights import identify, open_folder
from datagen.plugins import needs
from datagen.seeds import derive

if TYPE_CHECKING:
    from datagen.llm.local_model import Array, LocalModel, Row, Said, Sound

__all__ = ["LocalEndpoint", "LocalSender", "local_client"]

T = TypeVar("T")

TOKENS = {"cpu": 4096, "cuda": 32_768}
"""Of a batch, prompt and answer of every row as long as those of the longest."""
BUCKET = 1.25
"""Prompts of one batch differ in length by this factor at most, either way from the oldest."""
LINGER = 0.01
"""Seconds that the first row waits for others."""
KEPT = 65_536
"""Tokens of audio that are kept encoded beyond the rows that need them."""
KNOWN = {"top_k", "chat_template_kwargs"}
"""What `Sampling.extra` may hold."""


@dataclass(frozen=True, slots=True)
class LocalEndpoint(Endpoint):
    """A model on this machine; `revision` is the hash of all that decides its answers."""

    @property
    def identity(self) -> str:
        """The hash alone: a folder may move or be named anew, and one that was trained on is another model."""
        return f"local:{self.revision}"


def local_client(
    name: str,
    ledger: Ledger,
    *,
    audio: bool = False,
    revision: str = "",
    budget: Budget | None = None,
    retry_failed: bool = False,
    stats: Stats | None = None,
    tokens: int | None = None,
    device: str = "",
) -> Client:
    """A Client of the folder or Hub id `name`; with `audio`, of a model that listens.

    `tokens` bounds a batch, see TOKENS. Raises UsageError, one line, for a folder that cannot be run.
    """
    needs("models", "torch", "transformers", "torchvision")
    folder = open_folder(name, audio=audio, revision=revision)
    from datagen.llm.local_model import LocalModel

    model = LocalModel(folder, device)
    endpoint = LocalEndpoint(folder.name, "", identify(folder, model.dtype), price_in=0.0, price_out=0.0)
    stats = stats if stats is not None else Stats()
    sender = LocalSender(model, stats=stats, tokens=tokens)
    return Client(endpoint, ledger, budget=budget, retry_failed=retry_failed, stats=stats, sender=sender)


@dataclass(slots=True)
class _Waiting:
    row: Row
    done: asyncio.Future[Said]


class LocalSender:
    """Collects rows into batches for one model; all of it but the model and the features lives on the loop's thread."""

    def __init__(self, model: LocalModel, *, stats: Stats, tokens: int | None = None) -> None:
        self.model = model
        self.tokens = tokens or TOKENS["cpu" if model.device == "cpu" else "cuda"]
        self.batches: list[int] = []
        """Rows of each batch that was run."""
        self.halvings = 0
        self.seconds = 0.0
        """That the model worked; loading it is not counted."""
        self.waited = 0.0
        """Seconds that it had nothing to do, between its first batch and its last."""
        self._stats = stats
        self._waiting: deque[_Waiting] = deque()
        self._filled = asyncio.Event()
        self._sounds: OrderedDict[str, asyncio.Task[Sound]] = OrderedDict()
        self._running: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="features")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._ended: float | None = None

    async def preflight(self) -> None:
        """Load tokenizer and processor; the weights are loaded with the first batch. Raises UsageError."""
        try:
            await self._in_threads(lambda: self.model.processor)
        except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
            why = " ".join(str(error).split())[:200]
            raise UsageError(
                f"model {self.model.folder.path}: its tokenizer or processor cannot be loaded ({why})"
            ) from None

    async def complete(self, request: Request, key: str) -> tuple[Completion | PermanentError, int]:
        """The model's answer, after one try. Raises TransientError when one row alone is too large for the memory."""
        if unknown := sorted(request.sampling.extra.keys() - KNOWN):
            raise UsageError(
                f"model {self.model.folder.name}: knows no sampling parameter {unknown[0]!r}: leave it out"
            )
        self._stats.in_flight += 1
        try:
            row = await self._row(request, derive(request.sampling.seed or 0, "row", key))
            said = await self._submit(row)
        except PermanentError as error:
            return error, 1
        finally:
            self._stats.in_flight -= 1
        return Completion(said.text, said.finish, row.length, said.tokens), 1

    async def together(self, requests: Mapping[str, Request]) -> list[Said]:
        """What the model says to requests (by key) in one batch, whatever their lengths; for checking.

        Raises PermanentError and TransientError as `complete` does.
        """
        seeds = [derive(request.sampling.seed or 0, "row", key) for key, request in requests.items()]
        rows = [await self._row(request, seed) for request, seed in zip(requests.values(), seeds, strict=True)]
        results = await asyncio.get_running_loop().run_in_executor(self._thread, self._generate, rows)
        said = []
        for result in results:
            if isinstance(result, Exception):
                raise result
            said.append(result)
        return said

    async def close(self) -> None:
        """Ends the batch under way at its next token, and the threads."""
        self.model.stopping = True
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running
        for pool in (self._threads, self._thread):
            await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)

    # ── from a request to a row ──────────────────────────────────────────────────────────────────────────────────────

    async def _row(self, request: Request, seed: int) -> Row:
        parts = [_audio(part) for message in request.messages for part in _parts(message)]
        audios = [audio for audio in parts if audio is not None]
        if audios and not self.model.folder.hears:
            raise UsageError(f"model {self.model.folder.name} takes no audio: name one that listens")
        if audios and not self.model.one_encoding:
            return await self._in_threads(partial(self._whole, request, audios, seed))
        sounds = await asyncio.gather(*(self._sound(audio) for audio in audios))
        return await self._in_threads(partial(self.model.row, request.messages, sounds, request.sampling, seed))

    def _whole(self, request: Request, audios: Sequence[str], seed: int) -> Row:
        samples = [_decoded(audio, self._rate) for audio in audios]
        return self.model.whole_row(request.messages, samples, request.sampling, seed)

    async def _sound(self, audio: str) -> Sound:
        """The features of a base64 file, made once for all requests under way and a while longer."""
        name = hashlib.blake2b(audio.encode(), digest_size=16).hexdigest()
        task = self._sounds.get(name)
        if task is None or (task.done() and not _succeeded(task)):
            task = self._sounds[name] = asyncio.ensure_future(self._in_threads(partial(self._features, audio)))
        self._sounds.move_to_end(name)
        sound = await asyncio.shield(task)
        self._forget()
        return sound

    def _features(self, audio: str) -> Sound:
        return self.model.sound(_decoded(audio, self._rate))

    @property
    def _rate(self) -> int:
        return int(self.model.processor.feature_extractor.sampling_rate)

    def _forget(self) -> None:
        """Drops the audio that was asked about longest ago; rows under way hold their own."""
        done = [(name, task.result().tokens) for name, task in self._sounds.items() if _succeeded(task)]
        over = sum(tokens for _, tokens in done) - KEPT
        for name, tokens in done[:-1]:
            if over <= 0:
                return
            del self._sounds[name]
            over -= tokens

    async def _in_threads(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    # ── from rows to batches ─────────────────────────────────────────────────────────────────────────────────────────

    async def _submit(self, row: Row) -> Said:
        if self.model.stopping:
            raise TransientError(f"model {self.model.folder.name} is closed")
        if self._running is None:
            self._running = asyncio.ensure_future(self._work())
        waiting = _Waiting(row, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._filled.set()
        return await waiting.done

    async def _work(self) -> None:
        """One batch after the other, for as long as the sender is open."""
        try:
            with contextlib.suppress(UsageError):  # told to the rows of the first batch, which try once more
                await asyncio.get_running_loop().run_in_executor(self._thread, self.model.load)
            while True:
                self._filled.clear()
                if not self._waiting:
                    await self._filled.wait()
                    await asyncio.sleep(LINGER)
                if batch := self._take():
                    await self._run(batch)
        finally:
            for waiting in self._waiting:
                waiting.done.cancel()

    def _take(self) -> list[_Waiting]:
        """The oldest row and others of its limit and nearly its length, in order of arrival."""
        self._waiting = deque(waiting for waiting in self._waiting if not waiting.done.done())  # less the cancelled
        batch: list[_Waiting] = []
        for waiting in self._waiting:
            near = not batch or _near(waiting.row, batch[0].row)
            if near and (not batch or _cost([w.row for w in batch] + [waiting.row]) <= self.tokens):
                batch.append(waiting)
        chosen = {id(waiting) for waiting in batch}
        self._waiting = deque(waiting for waiting in self._waiting if id(waiting) not in chosen)
        return batch

    async def _run(self, batch: list[_Waiting]) -> None:
        rows = [waiting.row for waiting in batch]
        results: Sequence[Said | Exception]
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._thread, self._generate, rows)
        except asyncio.CancelledError:
            for waiting in batch:
                waiting.done.cancel()
            raise
        except Exception as error:  # noqa: BLE001  (raised again, where the rows are waited for)
            results = [error] * len(batch)
        for waiting, result in zip(batch, results, strict=True):
            if waiting.done.done():
                continue
            if isinstance(result, Exception):
                waiting.done.set_exception(result)
            else:
                waiting.done.set_result(result)

    # ── in the model's thread ────────────────────────────────────────────────────────────────────────────────────────

    def _generate(self, rows: list[Row]) -> list[Said | Exception]:
        self.model.load()
        started = time.monotonic()
        if self._ended is not None:
            self.waited += started - self._ended
        results = self._fitted(rows)
        self._ended = time.monotonic()
        self.seconds += self._ended - started
        return results

    def _fitted(self, rows: list[Row]) -> list[Said | Exception]:
        """In as many parts as the memory asks for."""
        import torch

        try:
            said = self.model.generate(rows)
            self.batches.append(len(rows))
            return [*said]
        except torch.OutOfMemoryError:
            pass  # left here, so that the traceback holds no tensor while the halves are tried
        if self.model.device != "cpu":
            torch.cuda.empty_cache()
        if len(rows) == 1:
            return [TransientError(f"model {self.model.folder.name}: {rows[0].length} tokens alone are out of memory")]
        self.halvings += 1
        self.tokens = min(self.tokens, _cost(rows) // 2)
        middle = len(rows) // 2
        return [*self._fitted(rows[:middle]), *self._fitted(rows[middle:])]


def _cost(rows: Sequence[Row]) -> int:
    """Tokens that a batch takes, padding and whole answers included."""
    return len(rows) * (max(row.length for row in rows) + rows[0].sampling.max_tokens)


def _near(row: Row, first: Row) -> bool:
    same = row.sampling.max_tokens == first.sampling.max_tokens and (row.whole is None) == (first.whole is None)
    return same and first.length / BUCKET <= row.length <= first.length * BUCKET


def _succeeded(task: asyncio.Task[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _parts(message: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    content = message["content"]
    return [] if isinstance(content, str) else content


def _audio(part: Mapping[str, Any]) -> str | None:
    return str(part["input_audio"]["data"]) if part["type"] == "input_audio" else None


def _decoded(audio: str, rate: int) -> Array:
    """float32 (n,), mono at `rate` Hz, of a base64 file. Raises PermanentError."""
    import soundfile
    import soxr

    try:
        channels, native = soundfile.read(io.BytesIO(base64.b64decode(audio)), dtype="float32", always_2d=True)
    except (ValueError, RuntimeError) as error:
        raise PermanentError(f"the audio of the request cannot be decoded ({error})") from None
    mono: Array = channels.mean(axis=1, dtype=np.float32)
    if native != rate:
        mono = soxr.resample(mono, native, rate, quality="HQ")
    return mono
