"""How many requests may be under way, how fast, and whether the server is there at all.

`Limiter`: additive increase, multiplicative decrease. A lone 429 costs its own request a wait and nothing else; a
burst (a fifth of what is in flight) halves the limit, and each further refusal of that burst lowers it by one, which
ends at what the server kept. Above that, growth is by probes that are taken back when they bring refusals.

`Health`: a server that cannot be reached, or fails many times in a row, is probed by one request at a time while the
others wait, until it answers or the patience ends.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

from datagen.errors import ServerLost

__all__ = ["Health", "Limiter"]

BURST_SHARE = 0.2
BURST_LEAST = 4
PROBE_EVERY = 0.5
"""Seconds of refusal-free full use before the limit is raised; doubles with each raise that fails."""
PROBE_SLOWEST = 60.0
FAILURES = 16
"""Failures in a row, without one success between, that mean a server is down."""
BACKOFF = 0.2
BACKOFF_LONGEST = 5.0


class Limiter:
    """Admits at most `limit` requests at a time, `rpm` requests and `tpm` tokens a minute."""

    def __init__(self, concurrency: int, rpm: int | None = None, tpm: int | None = None) -> None:
        self.most = concurrency
        self.limit = concurrency
        self.in_flight = 0
        self._waiting: deque[asyncio.Future[int]] = deque()
        self._requests = _Rate(rpm) if rpm else None
        self._tokens = _Rate(tpm) if tpm else None
        self._epoch = 0
        """Counts the cuts: a refusal of a request sent before the last one belongs to the burst that made it."""
        self._outcomes = self._refusals = 0
        self._safe = concurrency
        """The limit to go back to when a probe fails."""
        self._step = 1
        self._probe_every = PROBE_EVERY
        self._next_probe = 0.0

    async def acquire(self, tokens: int = 0) -> int:
        """Wait for a place; returns the epoch to hand back with the outcome."""
        if self.in_flight >= self.limit or self._waiting:
            epoch = await self._queue()
        else:
            self.in_flight += 1
            epoch = self._epoch
        try:
            if self._requests:
                await self._requests.wait(1)
            if self._tokens:
                await self._tokens.wait(tokens)
        except asyncio.CancelledError:
            self._leave()
            raise
        return epoch

    def release(self, epoch: int, *, refused: bool = False, more_tokens: int = 0) -> None:
        """Give the place back. `more_tokens`: what the request took beyond what was announced (may be negative)."""
        if self._tokens and more_tokens:
            self._tokens.take(more_tokens)
        self._outcomes += 1
        if refused:
            self._refused(epoch)
        elif self.limit < self.most:
            self._succeeded()
        if self._outcomes >= self.limit:
            self._outcomes = self._refusals = 0
        self._leave()

    async def _queue(self) -> int:
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the place was given at the very moment
                self._leave()
            raise

    def _leave(self) -> None:
        self.in_flight -= 1
        while self._waiting and self.in_flight < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(self._epoch)

    def _refused(self, epoch: int) -> None:
        if epoch < self._epoch:  # a straggler of the burst: what the server kept is less than what is still out
            self.limit = self._safe = max(1, min(self.limit, self.in_flight - 1))
            return
        self._refusals += 1
        if self.limit > self._safe:
            self._probe_every = min(PROBE_SLOWEST, self._probe_every * 2)
            self._cut(self._safe)
        elif self._refusals >= max(BURST_LEAST, BURST_SHARE * self.limit):
            self._cut(max(1, self.limit // 2))

    def _cut(self, limit: int) -> None:
        self.limit = self._safe = limit
        self._epoch += 1
        self._outcomes = self._refusals = 0
        self._step = 1
        self._schedule()

    def _succeeded(self) -> None:
        if self.in_flight < self.limit or time.monotonic() < self._next_probe:
            return
        self._safe = self.limit  # the last probe brought no refusal
        self.limit = min(self.most, self.limit + self._step)
        self._step *= 2
        self._schedule()

    def _schedule(self) -> None:
        self._next_probe = time.monotonic() + self._probe_every


class _Rate:
    """So many units a minute, evenly, with a reserve of one second's worth (at least one unit)."""

    def __init__(self, per_minute: int) -> None:
        self._each = 60 / per_minute
        self._due = 0.0

    async def wait(self, units: int) -> None:
        now = time.monotonic()
        self._due = max(self._due, now - max(1.0, self._each))
        self.take(units)
        if self._due > now:
            await asyncio.sleep(self._due - now)

    def take(self, units: int) -> None:
        self._due += units * self._each


class Health:
    """Whether a server answers; `patience` in seconds."""

    def __init__(self, url: str, patience: float) -> None:
        self.url = url
        self.patience = patience
        self._since: float | None = None
        """When the first of the present row of failures came."""
        self._failures = 0
        self._down = False
        self._last = ""
        self._backoff = BACKOFF
        self._turn = asyncio.Lock()

    @property
    def down(self) -> bool:
        """True while only probes are sent."""
        return self._down

    async def enter(self) -> bool:
        """Pass at once when the server is well; when it is down, wait to be the probe: True, call `leave` after it.

        Raises ServerLost at the end of the patience.
        """
        if not self._down:
            return False
        await self._turn.acquire()
        probing = False
        try:
            probing = await self._rest()
        finally:
            if not probing:
                self._turn.release()
        return probing

    def leave(self) -> None:
        """The probe is over."""
        self._turn.release()

    def succeeded(self) -> None:
        """The server answered a request, or said clearly that it will not."""
        self._failures = 0
        self._since = None
        self._down = False
        self._backoff = BACKOFF

    def failed(self, detail: str, *, unreachable: bool = False) -> None:
        """A request failed in a way that may be the server's state."""
        self._failures += 1
        self._since = self._since if self._since is not None else time.monotonic()
        self._last = detail
        if unreachable or self._failures >= FAILURES:
            self._down = True

    def refused(self, detail: str) -> None:
        """A 429: the server lives. Raises ServerLost when it has let nothing through for the patience."""
        self._since = self._since if self._since is not None else time.monotonic()
        self._last = detail
        if time.monotonic() - self._since > self.patience:
            raise self._lost()

    async def _rest(self) -> bool:
        """Pause before a probe; False when the server came back while this request waited for its turn."""
        if not self._down or self._since is None:
            return False
        left = self._since + self.patience - time.monotonic()
        if left <= 0:
            raise self._lost()
        await asyncio.sleep(min(left, self._backoff))
        self._backoff = min(BACKOFF_LONGEST, self._backoff * 2)
        return True

    def _lost(self) -> ServerLost:
        return ServerLost(
            f"no answer from {self.url} for {self.patience:g} s ({self._last}): see to the server and run again; "
            "every committed answer is kept"
        )
