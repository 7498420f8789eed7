"""One question asked twice about the same audio, word for word or nearly so: the first in table order stays.

The same question about another clip is no duplicate. Clips with the same decoded audio count as one clip.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from datagen.language import words
from datagen.records import fold

if TYPE_CHECKING:
    import polars as pl

    from datagen.plugins import Context

__all__ = ["NEAR", "Duplicates", "repeats"]

NEAR = 0.8
"""Jaccard index of the word sets of question and answer from which two questions of a clip count as one.

The answer's words are part of it because "which comes first" and "which comes last" differ in one word of many.
"""


class Duplicates:
    """The same question twice about one clip, exactly (folded) or nearly (word overlap of 0.8 and more).

    Reasons `exact_duplicate` and `near_duplicate`; the score is the overlap with the question that stays.
    """

    def __init__(self, context: Context) -> None:
        pass

    def judge(self, table: pl.DataFrame) -> pl.DataFrame:
        """See `datagen.filters.Filter`; `sha256` (of the clip's audio) is used where the table has it."""
        import polars as pl

        columns = [clip_key(table), table["question"].to_list(), table["answer"].to_list()]
        clips: dict[str, list[int]] = {}
        for row, clip in enumerate(columns[0]):
            clips.setdefault(clip, []).append(row)
        sets = _by_rarity([_words(q, a) for q, a in zip(columns[1], columns[2], strict=True)])
        found: list[tuple[str, float | None]] = [("", None)] * table.height
        for rows in clips.values():
            if len(rows) > 1:
                for row, reason, score in repeats(rows, columns[1], sets):
                    found[row] = (reason, score)
        return pl.DataFrame(
            {
                "question_id": table["id"],
                "keep": [not reason for reason, _ in found],
                "reason": [reason for reason, _ in found],
                "score": [score for _, score in found],
            },
            schema_overrides={"reason": pl.String, "score": pl.Float64, "keep": pl.Boolean},
        )


def clip_key(table: pl.DataFrame) -> list[str]:
    """What names the audio of each row: its hash where there is one, else the clip's id."""
    import polars as pl

    if "sha256" not in table.columns:
        return table["clip_id"].to_list()
    known = pl.col("sha256").fill_null("") != ""
    return table.select(pl.when(known).then("sha256").otherwise("clip_id"))["sha256"].to_list()


def repeats(
    rows: Sequence[int], questions: Sequence[str], words: Sequence[Sequence[str]]
) -> Iterable[tuple[int, str, float]]:
    """(row, reason, score) of each row of one clip that repeats an earlier one that stays.

    `words[row]`: the distinct words, rarest first. Two sets with an overlap of NEAR share a word among the first
    n - ceil(NEAR·n) + 1 of each (Chaudhuri et al. 2006), so only rows that do are compared.
    """
    seen: set[str] = set()
    kept: dict[str, list[int]] = {}
    sets: dict[int, set[str]] = {}
    for row in rows:
        text = fold(questions[row])
        if text in seen:
            yield row, "exact_duplicate", 1.0
            continue
        sets[row] = set(words[row])
        rare = words[row][: int(len(words[row]) * (1 - NEAR) + 1e-9) + 1]
        others = {other for word in rare for other in kept.get(word, ())}
        score = max((_jaccard(sets[row], sets[other]) for other in others), default=0.0)
        if score >= NEAR:
            yield row, "near_duplicate", score
            continue
        seen.add(text)
        for word in rare:
            kept.setdefault(word, []).append(row)


def _jaccard(a: set[str], b: set[str]) -> float:
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared)


def _words(question: str, answer: str) -> set[str]:
    return {*words(question), *("= " + word for word in words(answer))}


def _by_rarity(sets: Sequence[set[str]]) -> list[list[str]]:
    count = Counter(word for words in sets for word in words)
    return [sorted(words, key=lambda word: (count[word], word)) for words in sets]
