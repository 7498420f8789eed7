"""What filters of the wording share: rules put to a table at once, or to one question before a probe is paid.

A rule is one regular expression for both engines (polars' is Rust's: no look-around, no back-references), so that
nothing is said twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

    from datagen.records import Question

__all__ = ["Rule", "broken_rule", "folded", "found_reason", "key", "verdicts"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A reason to drop, and what the text looks like then."""

    reason: str
    where: str
    """`question` or `choices`: the text of the question, or all choices with a line each."""
    pattern: str
    """On text folded by `folded`, a choice a line."""
    ascii: str = ""
    """The part of the pattern that a text in ASCII can match, where that is less: half the work."""
    harmless: str = ""
    """What is taken out of the text before the search."""


def broken_rule(question: Question, rules: Sequence[Rule]) -> str | None:
    """The reason of the first rule that a question breaks."""
    texts = {"question": _fold(question.question), "choices": "\n".join(map(_fold, question.choices))}
    for rule in rules:
        text = texts[rule.where]
        search = _compiled(rule.ascii if rule.ascii and text.isascii() else rule.pattern).search
        if (found := search(text)) and rule.harmless:
            found = search(_compiled(rule.harmless).sub(" ", text))
        if found:
            return rule.reason
    return None


_compiled = cache(re.compile)


def found_reason(table: pl.DataFrame, rules: Sequence[Rule]) -> pl.Series:
    """The reason of the first rule that each row breaks, empty where it breaks none; null texts break none."""
    import polars as pl

    texts = table.select(
        question=folded(pl.col("question")), choices=folded(pl.col("choices").list.join("\n", ignore_nulls=True))
    )
    reason = pl.lit("")
    for rule in reversed(rules):
        found = texts[rule.where].str.contains(rule.pattern).fill_null(False)
        if rule.harmless and found.any():
            rest = texts[rule.where].filter(found).str.replace_all(rule.harmless, " ")
            found = found.scatter(found.arg_true(), rest.str.contains(rule.pattern))
        if found.any():
            reason = pl.when(found).then(pl.lit(rule.reason)).otherwise(reason)
    return texts.select("question", reason=reason)["reason"]


def _fold(text: str) -> str:
    return text.lower().replace("’", "'")


def folded(text: pl.Expr) -> pl.Expr:
    """`text` in lower case with straight apostrophes."""
    return text.str.to_lowercase().str.replace_all("’", "'", literal=True)


def key(text: pl.Expr) -> pl.Expr:
    """The form in which texts count as equal, as `datagen.records.fold` has it: NFKC, lower case, single spaces."""
    return text.str.normalize("NFKC").str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()


def verdicts(
    table: pl.DataFrame, reason: pl.Expr | pl.Series, score: pl.Expr | pl.Series | None = None
) -> pl.DataFrame:
    """What a filter returns (`datagen.filters.Filter`): a row for each of `table`, kept where `reason` is empty."""
    import polars as pl

    return table.select(
        question_id=pl.col("id").cast(pl.String),
        keep=pl.lit(True),
        reason=reason,
        score=(pl.lit(None) if score is None else score).cast(pl.Float64),
    ).with_columns(keep=pl.col("reason") == "")
