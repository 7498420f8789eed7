"""Filter `distractors`: wrong choices are other answers than the right one, and look like it.

Two choices that say the same, or of which one holds the other ("a dog", "a barking dog"), leave no single right answer;
an answer that alone has an article, a figure or a full stop is found by looking. Whether a caption supports a wrong
choice is judged with the support of the answer, by `grounded`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from datagen.filters.content import STEMS
from datagen.filters.grounded import RELATING
from datagen.filters.wording import folded, verdicts
from datagen.filters.wordlists import NUMBERS

if TYPE_CHECKING:
    import polars as pl

    from datagen.plugins import Context

__all__ = ["Distractors", "likeness"]

ARTICLES = frozenset(("a", "an", "the"))
TOKEN = re.compile(r"(?<!\w)-?\d+(?:[.,:/]\d+)*%?|[\w#♯♭+'°]+|&")
"""A word or a number as a choice has it: "F#" is not "F", "0.5" not "5"."""
ORDERED = frozenset(("then", "before", "after", "followed", "than", "to", "from", "into", "only", "just", "without"))
"""Words that make the order, or the rest of a choice, matter."""
SLICE = 50_000
"""Questions whose words are looked at together."""
FEATURES = {
    "article": r"^(?:an?|the|[Aa]n?|[Tt]he)\s",
    "figure": r"^[^\n]*\d",
    "full_stop": r"[.。]\s*$",
    "capital": r"^\p{Lu}",
}
"""What an answer may have alone, or alone lack, among three choices and more."""


class Distractors:
    """Choices that say the same or hold the answer, and answers that alone look different from all wrong choices.

    Reasons `same_choice` (but for articles, endings, figures, spaces, or the order of two things), `nested_choice` (the
    words of the answer are part of a wrong choice's, or the reverse; not of measured questions, whose choices exclude
    each other), `odd_one_out` (the answer alone has, or lacks, an article, a figure, a full stop or a capital).
    Score: 1 for equal choices; else the share of words of the answer's nearest neighbour, 0 where none is looked at.
    """

    def __init__(self, context: Context) -> None: ...

    def judge(self, table: pl.DataFrame) -> pl.DataFrame:
        """See `datagen.filters.Filter`."""
        import polars as pl

        parts = list(table.select("answer", "choices").iter_slices(SLICE)) or [table]
        odd, may_be = pl.concat(map(odd_one_out, parts)), pl.concat(map(candidates, parts))
        rows = may_be.arg_true()
        some = table.select("question", "choices", "answer", "generator")[rows]
        found = [likeness(*row) for row in some.iter_rows()]
        reason = pl.Series([reason for reason, _ in found], dtype=pl.String)
        scores = pl.zeros(table.height, dtype=pl.Float64, eager=True)
        scores = scores.scatter(rows, pl.Series([score for _, score in found], dtype=pl.Float64))
        alike = pl.repeat("", table.height, dtype=pl.String, eager=True).scatter(rows, reason)
        look = pl.when(odd).then(pl.lit("odd_one_out")).otherwise(pl.lit(""))
        return verdicts(table, pl.when(alike != "").then(alike).otherwise(look), scores)


def odd_one_out(table: pl.DataFrame) -> pl.Series:
    """Whether the answer alone has, or alone lacks, one of FEATURES."""
    import polars as pl

    size = pl.col("choices").list.len()
    lines = table.select("answer", size=size, lines=pl.col("choices").list.join("\n", ignore_nulls=True))
    found = []
    for pattern in FEATURES.values():
        mine = pl.col("answer").str.contains(pattern)
        all_ = pl.col("lines").str.count_matches(f"(?m){pattern}")
        found.append((mine & (all_ == 1)) | (~mine & (all_ == pl.col("size") - 1)))
    return lines.select(odd=pl.any_horizontal(found).fill_null(False) & (pl.col("size") > 2))["odd"]


def candidates(table: pl.DataFrame) -> pl.Series:
    """Whether two words of the choices begin alike, or one is a number: of all rows whose choices may be alike."""
    import polars as pl

    lines = folded(pl.col("choices").list.join("\n", ignore_nulls=True))
    bare = lines.str.replace_all(r"\b(?:an?|the)\b|-|(?:ing|ed|es|s)\b", "")
    word = pl.element()
    begun = bare.str.extract_all(r"\w+").list.eval(
        pl.when(word.str.len_chars() > 5).then(word.str.slice(0, 5)).otherwise(word.str.slice(0, 3))
    )
    numbers = lines.str.contains(r"\b(?:one|two|three|four|five|six|seven|eight|nine|ten|once|twice)\b")
    alike = (begun.list.n_unique() < begun.list.len()) | (numbers & lines.str.contains(r"\d"))
    return table.select(alike.fill_null(False)).to_series()


def likeness(question: str | None, choices: Sequence[str], answer: str, generator: str) -> tuple[str, float]:
    """(reason or '', score) of one question's choices."""
    spoken = [_spoken(choice or "") for choice in choices]
    own = _spoken(answer or "")
    nearest = max((_jaccard(own.words, other.words) for other in spoken if other is not own), default=0.0)
    joined = {choice.joined for choice in spoken}
    within = any(a.words <= b.words or b.words <= a.words for a, b in combinations(spoken, 2))
    if len(joined) == len(spoken) and not within:
        return "", nearest
    relating = bool(RELATING.search((question or "").casefold()))
    if min(len(joined), len({_key(choice.order, relating) for choice in spoken})) < len(spoken):
        return "same_choice", 1.0
    if generator == "rules":
        return "", nearest
    nested = any(_nested(own.order, other.order) for other in spoken if other is not own)
    return ("nested_choice" if nested else ""), nearest


class Spoken(NamedTuple):
    """The words of a choice as they count: stemmed, without articles."""

    order: tuple[str, ...]
    words: frozenset[str]
    joined: str


@lru_cache(maxsize=2**17)
def _spoken(choice: str) -> Spoken:
    tokens = [token for token in TOKEN.findall(choice.casefold().replace("’", "'")) if token not in ARTICLES]
    stems = ((token, STEMS[token]) for token in tokens)
    order = tuple(stem if stem and stem not in ".!" else token for token, stem in stems)
    return Spoken(order, frozenset(order), "".join(order))


def _key(words: tuple[str, ...], relating: bool) -> tuple[str, ...]:
    """Equal for choices that say the same: two things, or a thing and what it does, may stand in either order."""
    if relating or not ORDERED.isdisjoint(words):
        return words
    free = len(words) == 2 or "and" in words or "&" in words or "with" in words
    return tuple(sorted(words)) if free else words


def _nested(own: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether the words of the one stand, in order, within the other, and the rest does not exclude it."""
    short, long = sorted((own, other), key=len)
    within = short and f" {' '.join(short)} " in f" {' '.join(long)} "
    return bool(within) and not any(map(_excludes, Counter(long) - Counter(short)))


def _excludes(word: str) -> bool:
    return word in ORDERED or word[-1].isdigit() or word in NUMBERS.values() or STEMS.get(word) == "!"


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    together = len(a | b)
    return len(a & b) / together if together else 0.0
