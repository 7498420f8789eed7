"""`datagen eval --dry-run`: what a run would ask, what of it the ledger holds already, and what is left to pay.

The requests are those of the run, each looked up by its key, so calls are counted as they will be made: equal ones
once, at the first condition that asks them. Tokens and money are estimates of what is left: a token per 4 characters,
25 a second of audio, and every answer at its limit. What a judge is asked depends on the answers; where there is none
yet, it counts as a call with the longest text that it may read.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from datagen.eval import judging
from datagen.eval.asking import HEARING, Item, Lost
from datagen.eval.checking import asking_again, probes
from datagen.eval.predicting import AHEAD, AHEAD_WITH_AUDIO
from datagen.eval.preparing import Config, Parts
from datagen.llm import Client, Ledger, Request
from datagen.llm.request import names
from datagen.pool import in_order
from datagen.progress import Progress

__all__ = ["estimate"]

TOGETHER = 5_000
"""Predictions that are looked up at once."""
SUMS = ("calls", "known", "left", "prompt_tokens", "completion_tokens")
"""What is summed over the roles."""


class Asked(NamedTuple):
    """One prediction, without its audio."""

    item: Item
    places: Sequence[int]
    name: tuple[str, int]
    """Key and limit."""
    tokens: int
    """Of the prompt."""


@dataclass(slots=True)
class Count:
    """Calls of one kind; tokens are those of what is left."""

    calls: int = 0
    known: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    predictions: int = 0
    unanswered: Counter[str] = field(default_factory=Counter)
    """Predictions of which there is nothing to ask, by reason."""

    def add(self, known: bool, prompt: int, limit: int) -> None:
        """One more call."""
        self.calls += 1
        self.known += known
        self.prompt_tokens += 0 if known else prompt
        self.completion_tokens += 0 if known else limit

    def include(self, other: Count) -> None:
        """The calls of another kind."""
        for name in ("calls", "known", "prompt_tokens", "completion_tokens"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def told(self, client: Client) -> dict[str, Any]:
        """As `--json` says it."""
        return {
            "calls": self.calls, "known": self.known, "left": self.calls - self.known,
            "prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens,
            "cost_usd": client.price(self.prompt_tokens, self.completion_tokens),
        }  # fmt: skip


@dataclass(slots=True)
class Plan:
    """What the calls of an evaluation come to."""

    parts: Parts
    ledger: Ledger
    known: dict[str, bool] = field(default_factory=dict)
    """Key → whether its answer stands, of what was counted."""
    judged: set[str] = field(default_factory=set)
    judge: Count = field(default_factory=Count)

    async def condition(self, condition: str, progress: Progress) -> Count:
        """The predictions of one condition; as in a run, a bounded number of items holds its audio at a time."""
        count, waiting = Count(), list[Asked]()
        work = partial(asked, self.parts, condition)
        ahead = AHEAD_WITH_AUDIO if condition in HEARING else AHEAD
        async with contextlib.aclosing(in_order(work, self.parts.asking.items, ahead)) as done:
            async for rows in done:
                lost = [str(row).partition(":")[0] for row in rows if isinstance(row, Lost)]
                count.unanswered.update(lost)
                count.predictions += len(rows)
                waiting += [row for row in rows if isinstance(row, Asked)]
                if len(waiting) >= TOGETHER:
                    self.look_up(waiting, count)
                    waiting = []
                progress.answers(len(rows) - len(lost), len(lost))
        self.look_up(waiting, count)
        return count

    def look_up(self, rows: Sequence[Asked], count: Count) -> None:
        """Counts what was not counted before."""
        new = {row.name: row.tokens for row in rows if row.name[0] not in self.known}
        for (name, tokens), known in zip(new.items(), self.parts.client.holds(list(new)), strict=True):
            self.known[name[0]] = known
            count.add(known, tokens, name[1])
        if judge := self.parts.predicting.judge:
            self.count_judge(judge, rows)

    def count_judge(self, judge: Client, rows: Iterable[Asked]) -> None:
        """Its calls: those about answers that stand, and at most one for each other prediction."""
        rows = [row for row in rows if row.item.answer is not None]
        requests: dict[str, Request] = {}
        for row, stands in zip(rows, self.ledger.find([row.name for row in rows]), strict=True):
            if not self.known[row.name[0]]:
                longest = "x" * min(judging.TAIL, 4 * row.name[1])
                self.judge.add(False, judging.asked(row.item, row.places, longest).tokens(), judging.TOKENS)
            elif stands and stands.error is None and stands.text.strip():
                request = judging.asked(row.item, row.places, stands.text)
                requests.setdefault(request.key(judge.identity), request)
        new = [request for key, request in requests.items() if key not in self.judged]
        self.judged |= requests.keys()
        for request, known in zip(new, judge.known(new), strict=True):
            self.judge.add(known, request.tokens(), judging.TOKENS)


async def asked(parts: Parts, condition: str, item: Item) -> list[Asked | Lost]:
    """The predictions of an item under a condition."""
    asking, shown = parts.asking, parts.predicting.shown(item)
    try:
        context = await asking.context(condition, item)
    except Lost as error:
        return [error] * (len(shown) * asking.samples)
    rows: list[Asked | Lost] = []
    for _, _, places in shown:
        requests = asking.requests(item, context, places)
        keys = names(requests, parts.client.identity)
        rows += [Asked(item, places, name, one.tokens()) for name, one in zip(keys, requests, strict=True)]
    return rows


def check(client: Client, ledger: Ledger) -> Count:
    """What a server is asked before the first item, to see whether it hears."""
    count, requests = Count(), probes()
    for request, known in zip(requests, asking_again(client, ledger).known(requests), strict=True):
        count.add(known, request.tokens(), request.sampling.max_tokens)
    return count


async def estimate(config: Config, parts: Parts, ledger: Ledger) -> dict[str, Any]:
    """The shape of `datagen eval --dry-run --json`. Sends nothing."""
    plan, predictions = Plan(parts, ledger), parts.predicting.total * len(config.conditions)
    with Progress(predictions, {}, "predictions") as progress:
        conditions = {name: await plan.condition(name, progress) for name in config.conditions}
    model = Count()
    for count in (*conditions.values(), *([check(parts.client, ledger)] if config.base_url and config.hearing else [])):
        model.include(count)
    counts = {"model": model, "judge": plan.judge}
    roles = {
        role: {"model": client.endpoint.model, **counts[role].told(client)} for role, client in parts.clients.items()
    }
    costs = [role["cost_usd"] for role in roles.values()]
    return {
        "out": str(config.out), "dry_run": True, "items": len(parts.asking.items), "predictions": predictions,
        **{name: sum(role[name] for role in roles.values()) for name in SUMS},
        "cost_usd": None if None in costs else sum(costs), "roles": roles,
        "conditions": {
            name: {
                "predictions": count.predictions, **count.told(parts.client), "unanswered": dict(count.unanswered),
            }
            for name, count in conditions.items()
        },
    }  # fmt: skip
