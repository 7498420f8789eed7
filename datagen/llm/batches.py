"""The batches of one model on one server, from a file of requests to the replies that somebody waits for.

    submit(rows) ─▶ pending, file, upload, create          look() ─▶ still at work | its lines handed out | asked again

`pending` knows what is in a batch before the batch is made, so that a process that ends at any instant leaves nothing
to pay twice: the next one takes over the batches, also one whose id never arrived.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import IO, NamedTuple, TypeVar

import orjson

from datagen.errors import Denied, PermanentError, ServerLost, TransientError
from datagen.llm.batch_api import ENDED, BatchApi, Told
from datagen.llm.budget import Stats
from datagen.llm.form import Form
from datagen.llm.ledger import Ledger
from datagen.llm.pending import Name, Pending
from datagen.llm.reply import Misaddressed, Refused, Reply
from datagen.llm.request import Request
from datagen.llm.sender import backoff

__all__ = ["Batches", "Said", "Waiting", "line_of", "say"]

T = TypeVar("T")

OTHERS = 900.0
"""Seconds after which a batch without an id is no longer held to be in the making by another process."""
FULL = ("token_limit_exceeded",)
"""The provider's queue takes no more tokens of this model; nothing was run."""
NO_MONEY = ("billing_hard_limit_reached", "insufficient_quota")


class Said(NamedTuple):
    """A reply, and the form of the request that it answers."""

    reply: Reply
    form: Form


@dataclass(slots=True)
class Waiting:
    """A request that somebody waits for."""

    request: Request
    done: asyncio.Future[Said | None]
    """None when all has stopped."""
    size: int = 0
    """Bytes of its line, at most."""


@dataclass(slots=True)
class Batch:
    """One that is on the server, or is being looked for there."""

    id: str | None
    form: Form
    made: float
    ours: bool = True
    """False while another process may still be making it."""


class Batches:
    """`patience` and `poll` in seconds; `rows`, the most of a batch, goes down when the provider's queue is full."""

    def __init__(
        self, api: BatchApi, ledger: Ledger, model: str, identity: str, *, rows: int, patience: float, poll: float,
        stats: Stats,
    ) -> None:  # fmt: skip
        self.api, self.model, self.rows = api, model, rows
        self.waiting: dict[Name, Waiting] = {}
        """What is in a batch and waited for."""
        self.again: dict[Name, Waiting] = {}
        """What came back untried and is to be put into another batch."""
        self.held_until = 0.0
        """Monotonic seconds before which no batch is to be made, because the provider's queue was full."""
        self._ledger, self._patience, self._poll, self._stats = ledger, patience, poll, stats
        self._holds = 0
        self._unsettled = False
        """Whether replies were handed out whose rows `pending` still has."""
        self.pending = Pending(ledger, api.http.base, identity)
        self._open: dict[str, Batch] = {}
        """By token: those whose replies have not come."""
        for token, id, run, made in self.pending.open():
            ours = run == ledger.run or time.time() - made > OTHERS
            self._open[token] = Batch(id, Form(), made, ours)
            left = len(self.pending.rows(token))
            stats.in_flight += left
            say(f"batch {id or 'of unknown id'} with {left} requests is under way already: waiting for it")

    def __contains__(self, token: str) -> bool:
        """Whether the batch with this token is under way."""
        return token in self._open

    def close(self) -> None:
        """What is under way stays so, and the next process takes it over."""
        self.pending.settle()
        self.pending.close()

    async def look(self) -> None:
        """How far every batch is; hands out what has come. Raises Denied, ServerLost, LedgerError."""
        if self._unsettled:
            self._unsettled = False
            self.pending.settle()
        for token, batch in list(self._open.items()):
            await self._look(token, batch)

    # ── from requests to a batch ─────────────────────────────────────────────────────────────────────────────────────

    async def submit(self, rows: dict[Name, Waiting], form: Form) -> None:
        """One file and its batch. Raises Denied, ServerLost, LedgerError."""
        token = uuid.uuid4().hex
        self.pending.add(token, rows)
        batch = self._open[token] = Batch(None, form, time.time())
        self.waiting |= rows
        self._stats.in_flight += len(rows)
        try:
            with self._file() as file:
                await asyncio.to_thread(self._write, file, rows, form)
                uploaded = await self._patiently(partial(self.api.upload, file))
            batch.id = await self._create(token, uploaded, batch.made)
        except PermanentError as error:
            raise Denied(f"{error}: check --model and --batch-rows, or use --transport online", error.raw) from None
        self.pending.created(token, batch.id)
        self._stats.batches += 1
        say(f"batch {batch.id}: {len(rows)} requests sent")

    async def _create(self, token: str, file: str, made: float) -> str:
        """The id of the new batch. A try whose reply was lost may have made it: that is looked up, not paid again."""
        tries = 0

        async def once() -> str:
            nonlocal tries
            tries += 1
            found = await self.api.find(token, made) if tries > 1 else None
            return (found or await self.api.create(file, token)).id

        return await self._patiently(once)

    def _write(self, file: IO[bytes], rows: Mapping[Name, Waiting], form: Form) -> None:
        file.writelines(line_of(name, waiting.request, form, self.model) for name, waiting in rows.items())
        file.flush()

    def _file(self) -> IO[bytes]:
        """Without a name, so that nothing of it stays, however the process ends; where there is room for the ledger."""
        return tempfile.TemporaryFile(dir=self._ledger.path.parent)

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Tries again what may pass. Raises ServerLost at the end of the patience."""
        began, tries = time.monotonic(), 0
        while True:
            try:
                return await work()
            except TransientError as error:
                tries += 1
                asked = error.retry_after if isinstance(error, Refused) else None
                wait = asked if asked is not None else backoff(self.api.http.base, tries)
                if time.monotonic() - began + wait > self._patience:
                    raise ServerLost(
                        f"no answer from {self.api.http.base} for {self._patience:g} s ({error}): see to the server "
                        "and run again; every batch goes on, and every committed answer is kept"
                    ) from None
            await asyncio.sleep(wait)

    # ── from a batch to the replies ──────────────────────────────────────────────────────────────────────────────────

    async def _look(self, token: str, batch: Batch) -> None:
        if batch.id is None:
            await self._search(token, batch)
        if batch.id is None:
            return
        try:
            told = await self._patiently(partial(self.api.get, batch.id))
        except (Misaddressed, PermanentError) as error:
            self._return(token, f"batch {batch.id} is not to be had any more ({error})")
            return
        if told.status == "failed" and not told.files:
            self._refused(token, told)
        elif told.status in ENDED:
            await self._deliver(token, batch, told)

    async def _search(self, token: str, batch: Batch) -> None:
        """For the batch whose making an earlier process did not live to see."""
        told = await self._patiently(partial(self.api.find, token, batch.made))
        if told is not None:
            batch.id = told.id
            self.pending.created(token, told.id)
        elif batch.ours or time.time() - batch.made > OTHERS:
            self._return(token, "the batch was never made", counted=False)

    async def _deliver(self, token: str, batch: Batch, told: Told) -> None:
        """Every line to whoever waits for it; what nobody waits for is kept, and what has no reply asked again."""
        left = {f"{key}-{limit}": (key, limit) for key, limit in self.pending.rows(token)}
        sent, reasons = len(left), dict[str, str]()
        kept: dict[Name, Reply] = {}
        with self._file() as file:
            for id in told.files:
                if not await self._fetched(id, file):
                    continue
                for number, line in enumerate(self.api.lines(file)):
                    if number % 1000 == 999:
                        await asyncio.sleep(0)  # what was handed out goes to the ledger meanwhile
                    if line.reply is None:
                        reasons[line.name] = line.reason
                    elif (name := left.pop(line.name, None)) is not None and not self._hand(name, line.reply, batch):
                        kept[name] = line.reply
        for name in [name for name in kept if self._hand(name, kept[name], batch)]:  # asked for meanwhile
            del kept[name]
        self.pending.keep({name: (reply.status, reply.body.decode()) for name, reply in kept.items()}, left.values())
        for shown, name in left.items():
            why = reasons.get(shown, "it brought no line for this")
            self._fail(name, TransientError(f"batch {told.id} {told.status}: {why}"))
        self._end(token, sent)
        self._unsettled = True
        self.held_until, self._holds = 0.0, 0
        say(f"batch {told.id} {told.status}: {sent - len(left)} of {sent} replies")

    async def _fetched(self, id: str, file: IO[bytes]) -> bool:
        try:
            await self._patiently(partial(self.api.fetch, id, file))
        except (Misaddressed, PermanentError):  # it is gone: its rows have no reply
            return False
        return True

    def _hand(self, name: Name, reply: Reply, batch: Batch) -> bool:
        """Whether somebody waited for it."""
        waiting = self.waiting.pop(name, None)
        if waiting is None or waiting.done.done():
            return False
        waiting.done.set_result(Said(reply, batch.form))
        return True

    def _fail(self, name: Name, error: TransientError | PermanentError) -> None:
        waiting = self.waiting.pop(name, None)
        if waiting is not None and not waiting.done.done():
            waiting.done.set_exception(error)

    def _refused(self, token: str, told: Told) -> None:
        """A batch failed its validation: nothing of it was run. Raises Denied when money is what is missing."""
        codes = {problem.code for problem in told.problems}
        why = f"batch {told.id} failed: " + ("; ".join(p.message for p in told.problems[:3]) or "no reason was given")
        say(why)
        rows = self.pending.lines(token)
        if codes.intersection(NO_MONEY):
            self._return(token, why)
            raise Denied(f"{why}: add credit or give another key")
        if codes.intersection(FULL):
            self.rows = max(1, len(rows) // 2)
            self.held_until = time.monotonic() + self._poll * min(64, 2**self._holds)
            self._holds += 1
            self._return(token, why, counted=len(rows) == 1)
            return
        named = {p.line: p.message for p in told.problems if p.line in rows}
        for line, message in named.items():
            self._fail(rows[line], PermanentError(f"{self.api.http.base} refused it: {message}"))
        self._return(token, why, counted=not named)

    def _return(self, token: str, why: str, *, counted: bool = True) -> None:
        """A batch brought nothing; `counted` when that is one of the tries of its requests."""
        rows = self.pending.rows(token)
        self.pending.drop(rows)
        self._end(token, len(rows))
        for name in rows:
            if counted:
                self._fail(name, TransientError(why))
            elif (waiting := self.waiting.pop(name, None)) is not None:
                self.again[name] = waiting

    def _end(self, token: str, rows: int) -> None:
        del self._open[token]
        self._stats.in_flight -= rows


def line_of(name: Name, request: Request, form: Form, model: str) -> bytes:
    """The line of a request in an input file."""
    value = {
        "custom_id": f"{name[0]}-{name[1]}", "method": "POST", "url": "/v1/chat/completions",
        "body": form.body(request, model),
    }  # fmt: skip
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


def say(text: str) -> None:
    """A line for whoever waits: hours may pass without another sign."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201
