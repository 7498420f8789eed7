"""Filter `difficulty`: how often does the model that is to be trained answer rightly, before it is trained?

A group of rollouts that are all right or all wrong has no advantage and teaches GRPO nothing, so such questions are
dropped before RL. The policy gets what training will give it, question and choices alone in the prompt of `export`
(omni-r1), and is drawn from at temperature 1; the choices stand in another order each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from datagen.errors import PermanentError, TransientError, UsageError
from datagen.filters.readings import HUNDREDTH, TOKENS, Plan, asked_of, gather, orders, share, unread
from datagen.llm import Request, Sampling
from datagen.multiple_choice import LABELS, render
from datagen.records import Caption, Failure, Question, Verdict

if TYPE_CHECKING:
    from datagen.llm import Answer
    from datagen.multiple_choice import Style
    from datagen.plugins import Context

__all__ = ["Difficulty", "bounds"]

STYLE: Style = "omni-r1"
SAMPLED = Sampling(temperature=1.0, max_tokens=TOKENS)


class Difficulty:
    """The pass rate of a policy model on `--policy-samples` samples of the question's text.

    A column; with `difficulty=0.1:0.9` what is right more seldom is dropped as `too_hard`, more often as `too_easy`.
    `low` and `high`: Wilson's interval. Failure (stage "read"): refused, transient.
    """

    role = "policy"
    takes = "LOW:HIGH, the pass rates that are kept"

    def __init__(self, context: Context) -> None:
        self._policy = asked_of(context.policy, "difficulty", "--policy-model ID")
        self._bounds = bounds(context.value)
        self._context = context

    def plan(self, captions: int) -> dict[str, Plan]:
        """Calls for one question."""
        return {"policy": Plan("policy", self._context.policy_samples, 80, 40)}

    async def probe(self, question: Question, captions: Sequence[Caption]) -> Verdict | Failure:
        """A verdict on one question; the captions are not looked at."""
        permuted = orders(question, self._context.seed, self._context.policy_samples)
        try:
            answers = await asyncio.gather(*(self._ask(question, i, order) for i, order in enumerate(permuted)))
        except (PermanentError, TransientError) as error:
            return unread(question, error)
        found = gather(question, permuted, answers, LABELS[STYLE])
        low, high = self._bounds
        reason = "too_hard" if found.share < low - HUNDREDTH else "too_easy" if found.share > high + HUNDREDTH else ""
        return share("difficulty", question, found, reason)

    async def _ask(self, question: Question, sample: int, order: Sequence[int]) -> Answer:
        text = render(question.question, [question.choices[index] for index in order], STYLE)
        request = Request([{"role": "user", "content": text}], f"policy.{STYLE}", sampling=SAMPLED, sample=sample)
        return await self._policy.ask(request)


def bounds(value: str | None) -> tuple[float, float]:
    """Least and greatest pass rate that is kept, from `LOW:HIGH`. Raises UsageError for anything else."""
    if value is None:
        return 0.0, 1.0
    try:
        low, high = map(float, value.split(":"))
        if not 0 <= low <= high <= 1:
            raise ValueError
    except ValueError:
        raise UsageError(f"--filters difficulty={value}: give LOW:HIGH from 0 to 1, like 0.1:0.9") from None
    return low, high
