"""`--max-cost` admits clips in the order of the source, so that one budget gives one set.

A clip is admitted once what the clips before it cost, each at its worst while it is under way, leaves room for its own
worst case. What the room allows then depends on the answers alone: not on workers, shards, or runs that were killed.
A clip costs the list price of its answers, paid now or before. Below it the cap of each call (`llm.budget`) stands.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

__all__ = ["Admission", "Gate"]


class Gate(Protocol):
    """Who says whether a clip may begin; clips are numbered in the order of the source."""

    async def enter(self, clip: int) -> bool:
        """Waits until it is known whether there is money for the clip."""
        ...

    async def leave(self, clip: int, cost: int) -> None:
        """The clip is done; `cost` in picodollars. What is said of a clip once more changes nothing."""
        ...


class Admission:
    """A Gate for clips `first` to `end` − 1; `max_cost` and `worst`, the most that a clip may cost, in USD."""

    def __init__(self, max_cost: float, worst: float, first: int, end: int) -> None:
        self.terms = max_cost, worst, first, end
        self._room = round(max_cost * 1e12)
        self._worst = round(worst * 1e12)
        self._first, self._next, self._end = first, first, end
        """Clips before `_next` are admitted."""
        self._left = bytearray(end - first)
        self._under_way = 0
        self._changed = asyncio.Event()
        self._admit()

    async def enter(self, clip: int) -> bool:
        """Waits until it is known whether there is money for the clip."""
        while clip >= self._next and self._under_way:
            self._changed.clear()
            await self._changed.wait()
        return clip < self._next

    async def leave(self, clip: int, cost: int) -> None:
        """The clip is done; `cost` in picodollars."""
        if self._left[clip - self._first]:
            return
        self._left[clip - self._first] = 1
        self._under_way -= 1
        self._room += self._worst - cost
        self._admit()
        self._changed.set()

    def _admit(self) -> None:
        more = self._end - self._next
        if self._worst:
            more = min(more, max(0, self._room // self._worst))
        self._next += more
        self._under_way += more
        self._room -= more * self._worst
