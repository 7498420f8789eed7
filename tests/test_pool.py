"""The bounded pool: order, bounds, errors, and what happens when it is closed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

import pytest

from datagen.pool import WAITING, in_order


def drain(work, items, at_work):
    async def main():
        async with contextlib.aclosing(in_order(work, items, at_work)) as results:
            return [result async for result in results]

    return asyncio.run(main())


async def as_async(items):
    for item in items:
        await asyncio.sleep(0)
        yield item


@pytest.mark.parametrize("wrapped", [list, as_async])
def test_results_leave_in_order_and_at_most_so_many_are_at_work(wrapped):
    now = peak = 0

    async def work(item):
        nonlocal now, peak
        now += 1
        peak = max(peak, now)
        await asyncio.sleep(0.001 * (7 - item % 7))
        now -= 1
        return item

    assert drain(work, wrapped(range(50)), 5) == list(range(50))
    assert peak == 5


def test_nothing_in_nothing_out():
    assert drain(as_async, [], 3) == []


def test_a_slow_first_item_holds_back_only_so_many_results():
    taken = itertools.count()
    slow = asyncio.Event()

    async def work(item):
        next(taken)
        await (slow.wait() if item == 0 else asyncio.sleep(0))
        return item

    async def main():
        async with contextlib.aclosing(in_order(work, itertools.count(), 2)) as results:
            first = asyncio.ensure_future(anext(results))
            for _ in range(1000):
                await asyncio.sleep(0)
            begun = next(taken)
            slow.set()
            return begun, await first

    assert asyncio.run(main()) == (WAITING * 2, 0)


def test_an_error_comes_at_its_turn_and_what_is_at_work_is_cancelled():
    ended = []

    async def work(item):
        if item == 2:
            raise ValueError("two")
        try:
            await asyncio.sleep(0 if item < 2 else 60)
        except asyncio.CancelledError:
            ended.append(item)
            raise
        return item

    async def main():
        seen = []
        with pytest.raises(ValueError, match="two"):
            async with contextlib.aclosing(in_order(work, itertools.count(), 4)) as results:
                async for result in results:
                    seen.append(result)
        return seen

    assert asyncio.run(main()) == [0, 1]
    assert ended and all(item > 2 for item in ended)
