"""Money and tokens: prices, the cap, what was spent, and what a run would cost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from datagen.errors import OverBudget
from datagen.llm.request import Answer, Endpoint, Request

__all__ = [
    "Budget",
    "Estimate",
    "Price",
    "Stats",
    "Usage",
    "batch_price_known",
    "estimate",
    "metered",
    "price_of",
    "priced",
]

PROMPT_MARGIN = 1.5
"""Worst case over the estimate of a prompt's tokens."""


class Price(NamedTuple):
    """USD per million tokens."""

    prompt: float
    completion: float

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float:
        """USD of one answer at list price."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


def price_of(endpoint: Endpoint) -> Price | None:
    """The endpoint's own price, else the library's for a provider whose address it knows, else None.

    For an endpoint that is asked by the Batch API, that of its batches where the library has one.
    The model's name alone is not enough: open weights on one's own server cost no provider's price.
    """
    if endpoint.price_in is not None and endpoint.price_out is not None:
        return Price(endpoint.price_in, endpoint.price_out)
    if endpoint.local:
        return None
    import genai_prices  # 0.4 s to import

    thousand = genai_prices.Usage(input_tokens=1000, output_tokens=1000)
    kind = {"processing": "batch"} if endpoint.batch else None
    try:
        found = genai_prices.calc_price(
            thousand, endpoint.model, provider_api_url=endpoint.base_url, price_context=kind
        )
    except LookupError:
        return None
    return Price(float(found.input_price) * 1000, float(found.output_price) * 1000)


def priced(endpoint: Endpoint, price: tuple[float, float] | None) -> Endpoint:
    """The endpoint at `price`, USD per million tokens in and out, where none of its own is known."""
    if price is None or (batch_price_known(endpoint) if endpoint.batch else price_of(endpoint) is not None):
        return endpoint
    return replace(endpoint, price_in=price[0], price_out=price[1])


def batch_price_known(endpoint: Endpoint) -> bool:
    """Whether the price of an answer by the Batch API is known, by the endpoint or by the library."""
    if endpoint.price_in is not None and endpoint.price_out is not None:
        return True
    full = price_of(replace(endpoint, batch=False))
    return full is not None and price_of(endpoint) != full


@dataclass(slots=True)
class Stats:
    """Counters that a progress bar reads; one may be shared by several clients."""

    calls: int = 0
    """Questions answered by a server (not by the ledger), with or without success."""
    cached: int = 0
    in_flight: int = 0
    """HTTP requests under way."""
    retries: int = 0
    refusals: int = 0
    """429 and 503 among the retries."""
    failed: int = 0
    batches: int = 0
    """Made by this process, with the Batch API."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    """USD at list price spent by this process; answers without a known price add nothing."""


@dataclass(slots=True)
class Usage:
    """What a piece of work used, paid now or before: equal work gives equal sums, in any order of answers."""

    answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    picodollars: int = 0
    """List price; whole numbers, because a sum of floats depends on its order."""
    unpriced: int = 0
    keys: set[str] = field(default_factory=set, repr=False, compare=False)
    """Answers counted so far: one that serves twice was paid once."""

    @property
    def cost_usd(self) -> float | None:
        """List price in USD; None when that of some answer is unknown."""
        return None if self.unpriced else self.picodollars / 1e12

    def count(self, answer: Answer) -> None:
        """One more answer, unless it was counted already."""
        if answer.key in self.keys:
            return
        self.keys.add(answer.key)
        self.answers += 1
        self.prompt_tokens += answer.prompt_tokens
        self.completion_tokens += answer.completion_tokens
        self.picodollars += round((answer.cost or 0.0) * 1e12)
        self.unpriced += answer.cost is None

    def add(self, other: Usage) -> None:
        """Another piece of work."""
        self.answers += other.answers
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.picodollars += other.picodollars
        self.unpriced += other.unpriced


METER: ContextVar[Usage | None] = ContextVar("meter", default=None)


@contextlib.contextmanager
def metered() -> Iterator[Usage]:
    """Counts each answer that `Client.ask` gives inside the block, once, also in tasks that are started there."""
    usage = Usage()
    token = METER.set(usage)
    try:
        yield usage
    finally:
        METER.reset(token)


class Budget:
    """The cap of `--max-cost` over all clients of a run, counting what is in flight at its worst case.

    `spent` carries what the run cost before (`Ledger.totals(run=…)`).
    """

    def __init__(self, max_cost: float | None = None, spent: float = 0.0) -> None:
        self.max_cost = max_cost
        self.spent = spent
        self.reserved = 0.0
        self._settled = asyncio.Event()

    async def admit(self, worst: float) -> None:
        """Reserve `worst` USD; waits while calls in flight may leave room. Raises OverBudget when they cannot."""
        if self.max_cost is None:
            return
        while self.spent + self.reserved + worst > self.max_cost:
            if not self.reserved or self.spent + worst > self.max_cost:
                raise OverBudget(
                    f"the next call may cost {worst:.6f} USD and {self.spent:.6f} of {self.max_cost:g} USD are spent: "
                    "raise --max-cost to go on"
                )
            self._settled.clear()
            await self._settled.wait()
        self.reserved += worst

    def settle(self, worst: float, cost: float) -> None:
        """Turn a reservation into what the call cost."""
        self.spent += cost
        if self.max_cost is not None:
            self.reserved = max(0.0, self.reserved - worst)
            if self.reserved < 1e-9:  # the rounding of many sums must not count as a call in flight
                self.reserved = 0.0
            self._settled.set()


@dataclass(frozen=True, slots=True)
class Estimate:
    """What asking would take, without asking. Prompts: characters / 4, audio 25 tokens/s; answers at their limit."""

    calls: int
    prompt_tokens: int
    completion_tokens: int
    """Upper bound: the sum of max_tokens."""
    cost: float | None
    """USD at list price, an upper bound in the answers; None when the price is unknown."""


def estimate(requests: Iterable[Request], endpoint: Endpoint) -> Estimate:
    """Calls, tokens and cost of `requests` for a dry run; nothing is sent."""
    calls = prompt = completion = 0
    for request in requests:
        calls += 1
        prompt += request.tokens()
        completion += request.sampling.max_tokens
    price = price_of(endpoint)
    return Estimate(calls, prompt, completion, price.cost(prompt, completion) if price else None)
