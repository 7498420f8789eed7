"""The Batch API as a way to a model: requests gather into files, answered within a day at about half the price.

    complete(request) ─▶ queue ─▶ a batch (`batches`) ─▶ looked at every `poll` seconds ─▶ its reply
                          └── sent when no request has come since the last look, or when `rows` or `size` are reached

A request waits here like one that is under way to a server, so the engine and the ledger are those of the online way.
"""

from __future__ import annotations

import asyncio
import time

from datagen.errors import Denied, ModelError, PermanentError, TransientError
from datagen.llm.batch_api import BatchApi
from datagen.llm.batches import Batches, Said, Waiting, line_of, say
from datagen.llm.budget import Budget, Stats, batch_price_known
from datagen.llm.client import Client
from datagen.llm.form import Form, stepped_down
from datagen.llm.ledger import Ledger
from datagen.llm.pending import Name, under_way
from datagen.llm.reply import Completion, Reply, Unsupported, interpret
from datagen.llm.request import Endpoint, Request
from datagen.llm.sender import ATTEMPTS
from datagen.llm.transport import Http

__all__ = ["BatchSender", "server_client"]

ROWS = 50_000
SIZE = 200_000_000
"""Bytes of an input file, at OpenAI; the same bound as ROWS (https://platform.openai.com/docs/guides/batch)."""
SPARE = 16
"""Bytes by which a line may grow when a parameter gets its longer name."""
LONGEST = 20
"""Looks after which requests are sent although more of them keep coming."""


class BatchSender:
    """One model behind a server's Batch API. `rows` and `size` (bytes) bound a file; `poll`, `patience` in seconds."""

    def __init__(
        self, endpoint: Endpoint, ledger: Ledger, *, patience: float, poll: float, stats: Stats, rows: int = ROWS,
        size: int = SIZE, timeout: float = 600.0,
    ) -> None:  # fmt: skip
        self.endpoint = endpoint
        self.http = Http(endpoint, timeout=timeout, connections=4)
        self.api = BatchApi(self.http)
        self._ledger, self._stats = ledger, stats
        self._rows, self._size, self._poll, self._patience = min(rows, ROWS), min(size, SIZE), poll, patience
        self._form = Form()
        self._queue: dict[Name, Waiting] = {}
        self._queued = 0
        """Bytes of the queue."""
        self._full = asyncio.Event()
        self._made: Batches | None = None
        self._running: asyncio.Task[None] | None = None
        self._stopped: BaseException | None = None

    async def preflight(self) -> None:
        """Check in at most 5 s server, key, model and that there is a Batch API. Raises UsageError."""
        await self.http.preflight()
        await self.api.check()
        if not batch_price_known(self.endpoint):
            say(f"{self.endpoint.model}: no price of its batches is known: what is known of its price counts in full")

    async def close(self) -> None:
        """Stop looking; what is under way stays so, and the next process takes it over."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        if self._made is not None:
            self._made.close()
            self._made = None
        await self.http.close()

    async def complete(self, request: Request, key: str) -> tuple[Completion | PermanentError, int]:
        """What the model says for good, and the number of tries. Raises TransientError, ServerLost, Denied."""
        name = key, request.sampling.max_tokens
        last = TransientError("never asked")
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._once(name, request), attempt
            except PermanentError as error:
                self._batches.pending.drop([name])
                return error, attempt
            except Denied as error:
                if self._stopped is not None:
                    raise
                cure = f"check --model and the key in ${self.endpoint.key_env}"
                raise self._stop(Denied(f"{error}: {cure}", error.raw)) from None
            except TransientError as error:
                last = error
                self._batches.pending.drop([name])
                self._stats.retries += 1
        raise TransientError(f"{last}; {ATTEMPTS} attempts", last.raw)

    async def _once(self, name: Name, request: Request) -> Completion:
        said = await self._said(name, request)
        if said is None:
            assert self._stopped is not None
            raise _copied(self._stopped)
        try:
            return interpret(said.reply)
        except Unsupported as error:
            self._form = stepped_down(self._form, said.form, error, request)
            raise

    async def _said(self, name: Name, request: Request) -> Said | None:
        """The reply to one try, from a batch that is under way already if there is one; None when all has stopped."""
        if self._stopped is not None:
            return None
        place = self._batches.pending.find(name)
        if place is not None and place.reply is not None:
            return Said(Reply(place.status or 0, place.reply.encode(), self.http.url), Form())
        waiting = Waiting(request, asyncio.get_running_loop().create_future())
        if place is not None and place.token in self._batches:
            self._batches.waiting[name] = waiting
        else:
            self._enqueue(name, waiting)
        return await waiting.done

    def _enqueue(self, name: Name, waiting: Waiting) -> None:
        waiting.size = len(line_of(name, waiting.request, self._form, self.endpoint.model)) + SPARE
        if waiting.size > self._size:
            why = f"the request takes {waiting.size} bytes and a batch {self._size}: use --transport online"
            waiting.done.set_exception(PermanentError(why))
            return
        self._queue[name] = waiting
        self._queued += waiting.size
        if self._fills(self._batches.rows):
            self._full.set()

    def _fills(self, rows: int) -> bool:
        """Whether the queue holds so many requests, or a full file."""
        return len(self._queue) >= rows or self._queued >= self._size

    @property
    def _batches(self) -> Batches:
        """Made at the first request, because only then the server's address stands."""
        if self._made is None:
            self._made = Batches(
                self.api, self._ledger, self.endpoint.model, self.endpoint.identity, rows=self._rows,
                patience=self._patience, poll=self._poll, stats=self._stats,
            )  # fmt: skip
            self._running = asyncio.create_task(self._run(self._made))
            self._running.add_done_callback(self._ended)
        return self._made

    async def _run(self, batches: Batches) -> None:
        """Sends and looks until it is cancelled; what ends it is what every request gets from then on."""
        before = looks = 0
        while True:
            await self._pause(batches)
            looks = looks + 1 if self._queue else 0
            if len(self._queue) == before or looks > LONGEST:
                looks = 0
                await self._submit(batches, least=1)
            await self._submit(batches, least=batches.rows)
            before = len(self._queue)
            await batches.look()
            while batches.again:
                self._enqueue(*batches.again.popitem())

    async def _pause(self, batches: Batches) -> None:
        """Until the next look, or until there is a full file and the provider takes more."""
        if _held(batches):
            await asyncio.sleep(self._poll)
            return
        try:
            async with asyncio.timeout(self._poll):
                await self._full.wait()
        except TimeoutError:
            return

    async def _submit(self, batches: Batches, least: int) -> None:
        """Batches of what waits, while that is `least` requests or a full file, and the provider takes more."""
        while self._queue and self._fills(least) and not _held(batches):
            if rows := self._next(batches.rows):
                await batches.submit(rows, self._form)

    def _next(self, most: int) -> dict[Name, Waiting]:
        """What has waited longest, as much as one file takes."""
        chosen: dict[Name, Waiting] = {}
        size = 0
        for name, waiting in list(self._queue.items()):
            if len(chosen) >= most or size + waiting.size > self._size:
                break
            del self._queue[name]
            self._queued -= waiting.size
            if not waiting.done.done():  # else whoever asked has gone
                chosen[name] = waiting
                size += waiting.size
        if not self._fills(most):
            self._full.clear()
        return chosen

    def _ended(self, running: asyncio.Task[None]) -> None:
        if not running.cancelled() and (error := running.exception()) is not None:
            self._stop(error)

    def _stop(self, error: BaseException) -> BaseException:
        """From now on every request gets a copy of this error."""
        self._stopped = self._stopped or error
        waiting = [*self._queue.values(), *self._batches.waiting.values()]
        self._queue.clear()
        self._batches.waiting.clear()
        for one in waiting:
            if not one.done.done():
                one.done.set_result(None)
        return error


def server_client(
    endpoint: Endpoint, ledger: Ledger, *, batch_rows: int, batch_poll: float, patience: float, retry_failed: bool,
    concurrency: int = 256, budget: Budget | None = None, stats: Stats | None = None,
) -> Client:  # fmt: skip
    """The client of a served model, by the Batch API where the endpoint says so."""
    stats = stats if stats is not None else Stats()
    sender = None
    if endpoint.batch:
        sender = BatchSender(endpoint, ledger, patience=patience, poll=batch_poll, stats=stats, rows=batch_rows)
    elif rows := under_way(ledger, endpoint.identity):
        say(f"{endpoint.model}: {rows} requests are under way in batches, and asked and paid again without them")
    return Client(
        endpoint, ledger, budget=budget, patience=patience, retry_failed=retry_failed, concurrency=concurrency,
        stats=stats, sender=sender,
    )  # fmt: skip


def _held(batches: Batches) -> bool:
    return time.monotonic() < batches.held_until


def _copied(error: BaseException) -> BaseException:
    """Who gets it marks it with a key."""
    return type(error)(str(error), error.raw) if isinstance(error, ModelError) else error
