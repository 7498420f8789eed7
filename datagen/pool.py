"""Coroutines at work together: a bounded pool whose results leave in the order of the items, and a few at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Sequence,
)  # fmt: skip
from typing import Any, TypeVar

__all__ = ["in_order", "together"]

T = TypeVar("T")
R = TypeVar("R")
WAITING = 16
"""Results that may wait for a slow one before them, times the items at work."""


async def in_order(
    work: Callable[[T], Coroutine[Any, Any, R]], items: Iterable[T] | AsyncIterable[T], at_work: int
) -> AsyncGenerator[R, None]:
    """What `work` makes of each item, in their order.

    At most `at_work` items are at work, and 16 times as many results wait for a slow one before them; an item is taken
    when there is a place for it, so `items` may be endless. What `work` raises is raised when its turn comes. Iterate
    within `contextlib.aclosing`: what is at work is cancelled then, and waited for. Async `items` are the caller's to
    close.
    """
    slots = asyncio.Semaphore(at_work)
    pending: deque[asyncio.Task[R]] = deque()
    source = aiter(items) if isinstance(items, AsyncIterable) else iter(items)
    try:
        while True:
            await slots.acquire()
            try:
                task = asyncio.create_task(work(await _next(source)))  # the task alone decides how long the item lives
            except StopAsyncIteration:
                break
            task.add_done_callback(lambda _: slots.release())
            pending.append(task)
            while pending and (pending[0].done() or len(pending) >= WAITING * at_work):
                yield await pending.popleft()
        while pending:
            yield await pending.popleft()
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def _next(source: Iterator[T] | AsyncIterator[T]) -> T:
    """The next item. Raises StopAsyncIteration."""
    if isinstance(source, AsyncIterator):
        return await anext(source)
    for item in source:
        return item
    raise StopAsyncIteration


def together(works: Iterable[Awaitable[R]]) -> Awaitable[Sequence[R]]:
    """`asyncio.gather`, but one alone is awaited as it is: a task costs as much as a tenth of a call."""
    several = list(works)  # now, not when it is awaited: the iterable may depend on a variable of a loop
    return _alone(several[0]) if len(several) == 1 else asyncio.gather(*several)


async def _alone(work: Awaitable[R]) -> Sequence[R]:
    return [await work]
