"""Progress on standard error: a live line in a terminal, a plain line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from datagen.records import LEFT_OUT, Clip, Failure, Question

if TYPE_CHECKING:
    from datagen.llm import Client

__all__ = ["Progress"]

EVERY = 10.0
"""Seconds between plain lines."""


class Progress:
    """Counts clips, questions and failures, and shows them with calls in flight, cost so far and projected, and ETA."""

    def __init__(self, total: int, clients: Mapping[str, Client], unit: str = "clips") -> None:
        self.total, self.unit = total, unit
        self.stats = [client.stats for client in set(clients.values())]
        self.done = self.clips = self.questions = self.failures = 0
        self.started = self.said = time.monotonic()
        self._live: Any = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(
                get_renderable=self._render, console=Console(stderr=True), refresh_per_second=4, transient=True
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        if self.done:
            print(self.line(), file=sys.stderr)  # noqa: T201

    def clip(self, rows: Iterable[object]) -> None:
        """One more clip is done, with these rows."""
        for row in rows:
            self.clips += isinstance(row, Clip)
            self.questions += isinstance(row, Question)
            self.failures += isinstance(row, Failure) and row.reason not in LEFT_OUT
            self.done += isinstance(row, Clip) or (isinstance(row, Failure) and row.stage == "audio")
        self.tell()

    def shard(self, counts: Mapping[str, Any]) -> None:
        """One more shard is done, with these counts; its calls go to the last of `stats`."""
        self.done += counts["clips"] + counts["failed"].get("audio", 0)
        self.clips += counts["clips"]
        self.questions += counts["questions"]
        self.failures += sum(counts["failed"].values())
        self.stats[-1].calls += counts["calls"]
        self.stats[-1].cost += counts["cost_usd"]
        self.tell()

    def tell(self) -> None:
        """Says a line where it is time for one."""
        now = time.monotonic()
        if self._live is None and now - self.said >= EVERY:
            self.said = now
            print(self.line(), file=sys.stderr, flush=True)  # noqa: T201

    def line(self) -> str:
        """What there is to say, in one line."""
        elapsed = max(time.monotonic() - self.started, 1e-9)
        rate = self.done / elapsed
        parts = [f"{self.done}/{self.total} {self.unit}", f"{rate:.1f}/s"]
        if self.unit == "clips":
            parts.append(f"{self.questions} questions")
        if self.failures:
            parts.append(f"{self.failures} failed")
        if self.stats:
            cost = sum(s.cost for s in self.stats)
            parts.append(f"{sum(s.calls for s in self.stats)} calls ({sum(s.in_flight for s in self.stats)} in flight)")
            parts.append(f"${cost:.2f} of about ${cost / max(self.done, 1) * self.total:.2f}")
        if 0 < self.done < self.total:
            left = int((self.total - self.done) / rate)
            parts.append(f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left")
        return " · ".join(parts)

    def answers(self, answered: int, lost: int) -> None:
        """Some more answers, and questions that got none; for an evaluation."""
        self.done += answered + lost
        self.failures += lost
        self.tell()

    def _render(self) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        grid = Table.grid(padding=(0, 1))
        grid.add_row(ProgressBar(total=max(self.total, 1), completed=self.done, width=30), self.line())
        return grid
