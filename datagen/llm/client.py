"""One coroutine from a question to its committed answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from datagen.errors import DatagenError, ModelError, PermanentError, UsageError
from datagen.llm.budget import METER, PROMPT_MARGIN, Budget, Price, Stats, price_of
from datagen.llm.ledger import Ledger, Row
from datagen.llm.reply import Completion
from datagen.llm.request import Answer, Endpoint, Request, digest, names, public_name
from datagen.llm.sender import Sender

__all__ = ["Client", "Sends"]


LOOKED_UP = 50_000
"""Requests that `Client.known` looks up in the index together, where neighbours share a page: 10 MB of keys."""
READ = 5_000
"""Of those that the index does not settle, how many rows are in memory at a time."""


class Sends(Protocol):
    """The way to a model: a server (`datagen.llm.sender`) or weights on this machine (`datagen.llm.local`)."""

    async def preflight(self) -> None:
        """Check in at most 5 s that it can answer. Raises UsageError, one line."""
        ...

    async def complete(self, request: Request, key: str) -> tuple[Completion | PermanentError, int]:
        """What the model says for good, and the number of tries."""
        ...

    async def close(self) -> None:
        """Give back what it holds."""
        ...


class Client:
    """Asks one model; make one Client for each Endpoint of a run, so that each has one limiter.

    `patience`: seconds to wait for a server that is lost. `concurrency`: most requests under way. `timeout`: seconds
    for one request. `retry_failed` asks once more what the ledger has as a permanent error. `budget` and `stats` may
    be shared between clients. `sender` takes the place of the way to the endpoint's server.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        ledger: Ledger,
        *,
        budget: Budget | None = None,
        patience: float = 300.0,
        retry_failed: bool = False,
        concurrency: int = 256,
        timeout: float = 600.0,
        stats: Stats | None = None,
        sender: Sends | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.identity = endpoint.identity
        self.stats = stats if stats is not None else Stats()
        self._ledger = ledger
        self._budget = budget if budget is not None else Budget()
        self._sender = sender or Sender(
            endpoint, patience=patience, timeout=timeout, concurrency=concurrency, stats=self.stats
        )
        self._asking: dict[tuple[str, int], asyncio.Future[Row]] = {}
        self._retry_failed = retry_failed
        self._retried: set[tuple[str, int]] = set()
        self._price: Price | None = None
        self._priced = False

    @property
    def sender(self) -> Sends:
        """The way to the model."""
        return self._sender

    def price(self, prompt_tokens: float, completion_tokens: float) -> float | None:
        """USD at list price; None when the price is unknown."""
        if not self._priced:
            self._price = price_of(self.endpoint)
            self._priced = True
        return self._price.cost(prompt_tokens, completion_tokens) if self._price else None

    async def preflight(self) -> None:
        """Check server, key, model and price in at most 5 s. Raises UsageError, one line."""
        if self.price(0, 0) is None and self._budget.max_cost is not None:
            raise UsageError(
                f"--max-cost needs a price and none is known for {self.endpoint.model!r} at "
                f"{public_name(self.endpoint.base_url)}: add --price IN,OUT (USD per million tokens)"
            )
        await self._sender.preflight()

    async def ask(self, request: Request) -> Answer:
        """The answer, from the ledger or, once it is committed there, from the server.

        Equal questions under way are asked once. Raises PermanentError (stored), TransientError, ServerLost, Denied,
        OverBudget, LedgerError. A cancelled call is abandoned; once it is answered, the answer is committed still.
        """
        answer = _answer(*await self._row(request))
        if (meter := METER.get()) is not None:
            meter.count(answer)
        return answer

    async def _row(self, request: Request) -> tuple[Row, bool]:
        """The row, and whether it was there already."""
        canonical = request.canonical(self.identity)
        name = digest(canonical), request.sampling.max_tokens
        while True:
            if (row := self._stands(name, await self._ledger.look_up(*name))) is not None:
                self.stats.cached += 1
                return row, True
            # Whoever asked before is here still: it ends in a turn of the loop after that in which its row is seen.
            if (asking := self._asking.get(name)) is None:
                return await self._lead(request, name, canonical), False
            await asyncio.wait([asking])
            if not asking.cancelled():  # else whoever asked was cancelled, and this call takes its place
                return asking.result(), False

    def known(self, requests: Iterable[Request]) -> Iterator[bool]:
        """Of each, whether `ask` would send nothing; tells what is left of a run without asking it."""
        pending = names(requests, self.identity)
        while some := list(islice(pending, LOOKED_UP)):
            yield from self.holds(some)

    def holds(self, some: Sequence[tuple[str, int]]) -> list[bool]:
        """`known` of requests of which there are key and limit, all at once."""
        held: dict[int, set[str]] = {}
        for limit in {limit for _, limit in some}:
            keys = [key for key, its in some if its == limit]
            held[limit] = self._ledger.holds(keys, limit, errors=not self._retry_failed)
        left = [(key, limit) for key, limit in some if key not in held[limit]]
        for start in range(0, len(left), READ):
            part = left[start : start + READ]
            for name, row in zip(part, self._ledger.find(part), strict=True):
                if self._stands(name, row) is not None:
                    held[name[1]].add(name[0])
        return [key in held[limit] for key, limit in some]

    async def close(self) -> None:
        """Close the connections, or end the model's thread. The ledger stays open: it may serve other clients."""
        await self._sender.close()

    def _stands(self, name: tuple[str, int], row: Row | None) -> Row | None:
        if row is not None and row.error is not None and self._retry_failed and name not in self._retried:
            return None
        return row

    async def _lead(self, request: Request, name: tuple[str, int], canonical: bytes) -> Row:
        """Ask for all who want the same answer."""
        asking = self._asking[name] = asyncio.get_running_loop().create_future()
        try:
            row = await self._run(request, name, canonical)
            asking.set_result(row)
        except DatagenError as error:
            asking.set_exception(error)
            asking.exception()  # counts as seen when nobody else waits
            raise
        finally:
            del self._asking[name]
            asking.cancel()  # does nothing once it is set
        return row

    async def _run(self, request: Request, name: tuple[str, int], canonical: bytes) -> Row:
        worst = self._worst(request)
        await self._budget.admit(worst)
        cost = 0.0
        try:
            row = await self._ask_server(request, name, canonical.decode())
            cost = row.cost or 0.0
        except ModelError as error:
            self.stats.failed += 1
            error.key = name[0]
            raise
        finally:
            self._budget.settle(worst, cost)
        self._count(row)
        if row.error is not None:
            self._retried.add(name)
        return await self._ledger.put(row)

    async def _ask_server(self, request: Request, name: tuple[str, int], canonical: str) -> Row:
        said, attempts = await self._sender.complete(request, name[0])
        if isinstance(said, PermanentError):
            return Row(*name, "error", 0, 0, 0.0, attempts, str(said), said.raw, canonical)
        used, made = said.prompt_tokens, said.completion_tokens
        cost = self.price(used, made)
        return Row(*name, said.finish, used, made, cost, attempts, None, said.text, canonical)

    def _worst(self, request: Request) -> float:
        """USD that the call can cost, 0 when nothing caps them."""
        if self._budget.max_cost is None:
            return 0.0
        return self.price(request.tokens() * PROMPT_MARGIN, request.sampling.max_tokens) or 0.0

    def _count(self, row: Row) -> None:
        self.stats.calls += 1
        self.stats.failed += row.error is not None
        self.stats.prompt_tokens += row.prompt_tokens
        self.stats.completion_tokens += row.completion_tokens
        self.stats.cost += row.cost or 0.0


def _answer(row: Row, cached: bool) -> Answer:
    if row.error is not None:
        raise PermanentError(row.error, row.text, row.key)
    return Answer(
        row.key, row.text, row.finish, row.prompt_tokens, row.completion_tokens, row.cost, row.attempts, cached
    )
