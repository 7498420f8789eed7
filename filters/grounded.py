"""Grounding: the captions speak of the answer, and of no wrong choice as much.

Lexical and cheap: content words, lightly stemmed, so that "barks twice" speaks of "2 barking dogs"; in scripts without
spaces pairs of characters. What a caption denies ("there is no speech") counts as denied. Whether an answer *follows*
from the captions is for a reader to say (`consistency`).

Numbers count as words, whether digits or spelled: a number that no caption names is not supported, which is how counts
that a writer made up are found. Answers without content words ("Yes", "the first one") cannot be judged and are kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from datagen.filters.content import content
from datagen.filters.readings import number
from datagen.filters.wording import verdicts

if TYPE_CHECKING:
    import polars as pl

    from datagen.plugins import Context

__all__ = ["SUPPORT", "Grounded", "support"]

SUPPORT = 0.5
"""Least share of the answer's words that one caption holds; also the share from which a wrong choice is supported."""
INFERRED = frozenset({"cause", "function"})
"""Skills whose answers are concluded, so that no caption need say them; they are scored and not dropped for it."""
RELATED = frozenset({"order", "counting", "comparison", "change", "time"})
"""Skills that put things in relation which may all be heard, so that wrong choices may be supported."""
RELATING = re.compile(
    r"\b(?:first|last|before|after|next|finally|follow(?:s|ed|ing)?|order|sequence|between|than|while|during"
    r"|at the (?:beginning|start|end)|how (?:many|often|much)|most(?! likely| probabl)|least"
    r"|(?:loud|quiet|soft|high|low|fast|slow|long|short|bright|dark|dull|near|clos)est)\b"
)
"""English words of questions that do so, whatever their skill is called."""


class Grounded:
    """Whether a caption supports the answer, and none of the wrong choices as well.

    Reasons: answer_unsupported (less than SUPPORT), distractor_supported (SUPPORT and more, and as much as the answer;
    not where the question puts sounds in relation that may all be heard). Score: the share of the answer's own words
    that the best caption holds; null where it has none. Questions of the rules are measured (kept, 1.0); human ones
    were not written from captions (kept, null).
    """

    takes = "the least share of the answer's words that a caption holds"

    def __init__(self, context: Context) -> None:
        given = number("grounded", context.value)
        self.threshold = SUPPORT if given is None else given

    def judge(self, table: pl.DataFrame) -> pl.DataFrame:
        """See `datagen.filters.Filter`. Works through the table in slices, so that it is never whole in Python."""
        import polars as pl

        columns = ("question", "choices", "answer_index", "skill", "generator", "captions")
        reasons, scores = list[str](), list[float | None]()
        for part in table.select(columns).iter_slices(10_000):
            for row in part.iter_rows():
                reason, score = _judge(row, self.threshold)
                reasons.append(reason)
                scores.append(score)
        return verdicts(table, pl.Series(reasons, dtype=pl.String), pl.Series(scores, dtype=pl.Float64))


def _judge(row: tuple[Any, ...], least: float) -> tuple[str, float | None]:
    """(reason or '', score) of question, choices, answer_index, skill, generator and captions."""
    question, choices, answer, skill, generator, captions = row
    if generator in ("rules", "human"):
        return "", 1.0 if generator == "rules" else None
    if not choices or answer is None or not question:
        return "", None
    shares = support(choices, captions or ())
    score = shares[answer]
    if score is None:
        return "", None
    if score < least and skill not in INFERRED:
        return "answer_unsupported", score
    best = max((share or 0.0 for index, share in enumerate(shares) if index != answer), default=0.0)
    if best < max(least, score) or skill in RELATED or RELATING.search(question.casefold()):
        return "", score
    return "distractor_supported", score


def support(choices: Sequence[str], captions: Sequence[str]) -> list[float | None]:
    """For each choice the greatest share of its words that one caption holds, None for a choice without content words.

    Words that stand in every choice tell nothing apart and do not count, unless a choice has no others.
    """
    words = [content(choice or "") for choice in choices]
    if common := frozenset.intersection(*words):
        words = [own - common or own for own in words]
    held, together = _held(tuple(captions))
    return [0.0 if own and own.isdisjoint(together) else _share(own, held) for own in words]


def _share(words: frozenset[str], held: Sequence[frozenset[str]]) -> float | None:
    return max([len(words & caption) for caption in held], default=0) / len(words) if words else None


@lru_cache(maxsize=64)
def _held(captions: tuple[str | None, ...]) -> tuple[tuple[frozenset[str], ...], frozenset[str]]:
    """The words of each caption, and of all; the questions of a clip follow each other and ask for the same again."""
    held = tuple(content.__wrapped__(caption or "", parts=True) for caption in captions)
    return held, frozenset().union(*held)
