"""Filter `wellformed`: what is wrong with the form of a question can be seen without reading it.

Exact, so there is no score and no threshold. What the words say is for `answerable` and `modality`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from datagen.filters.wording import Rule, broken_rule, folded, found_reason, verdicts

if TYPE_CHECKING:
    import polars as pl

    from datagen.plugins import Context
    from datagen.records import Question

__all__ = ["Wellformed", "problem"]

QUESTION_CHARACTERS = 1000
CHOICE_CHARACTERS = 300
"""Longer ones are nothing to keep in mind while listening; the longest of MMAU test-mini have 246 and 150."""
BROKEN = "\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ufffd"
"""Control characters, also those of writing direction, and what stands for undecodable bytes."""
LABEL = r"(?:[a-j]|[1-9])[).:]\s+\S"
RULES = (
    Rule("broken_text", "question", rf"[{BROKEN}\n]"),
    Rule("broken_text", "choices", f"[{BROKEN}]"),
    Rule("too_short", "question", r"^(?:[\W_]*[^\W_]){0,3}[\W_]*$"),
    Rule("too_short", "choices", r"(?m)^[^\w\n]*$"),
    Rule("label_in_choice", "choices", r"(?m)^[\[(][a-j1-9][)\]]\s*\S"),
    Rule("label_in_choice", "choices", rf"(?m)^{LABEL}(?s:.*)\n{LABEL}"),  # one that looks like a label may be "C: sus"
)
SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a character; no table can hold it."""
ARTICLE = re.compile(r"^(?:an?|the)\s+")
SHORT_ANSWER = 2
"""Answers of so few characters ("no", "2", "A") stand in many questions without giving anything away."""


class Wellformed:
    """Bad form: labels in choices, the answer in the question, broken text, texts too long or too short, null fields.

    Reasons: null_field, too_long, broken_text, too_short, label_in_choice, answer_in_question.
    """

    def __init__(self, context: Context) -> None: ...

    def judge(self, table: pl.DataFrame) -> pl.DataFrame:
        """See `datagen.filters.Filter`."""
        import polars as pl

        texts = pl.col("choices")
        null = pl.any_horizontal(pl.col("question", "choices", "answer", "answer_index").is_null())
        longest = texts.list.eval(pl.element().str.len_chars()).list.max()
        lines = texts.list.eval(pl.element().str.contains("\n", literal=True)).list.any()
        first = table.select(
            reason=pl.when(null | texts.list.eval(pl.element().is_null()).list.any()).then(pl.lit("null_field"))
            .when((pl.col("question").str.len_chars() > QUESTION_CHARACTERS) | (longest > CHOICE_CHARACTERS))
            .then(pl.lit("too_long"))
            .when(lines).then(pl.lit("broken_text"))
            .otherwise(pl.lit(""))
        )["reason"]  # fmt: skip
        reason = first.zip_with(first != "", found_reason(table, RULES))
        given = given_away(table.filter(reason == ""))
        rows = (reason == "").arg_true().filter(given)
        return verdicts(table, reason.scatter(rows, "answer_in_question"))


def problem(question: Question) -> str | None:
    """The reason for which a question is dropped, None when it is well formed."""
    texts = [question.question, *question.choices]
    if len(texts[0]) > QUESTION_CHARACTERS or any(len(choice) > CHOICE_CHARACTERS for choice in question.choices):
        return "too_long"
    if any(map(SURROGATE.search, texts)) or any("\n" in text for text in texts):
        return "broken_text"
    if reason := broken_rule(question, RULES):
        return reason
    return "answer_in_question" if _gives_away(question.question, question.choices, question.answer_index) else None


def given_away(table: pl.DataFrame) -> pl.Series:
    """Whether each question holds its answer and no other choice ("the dog or the cat?" holds both)."""
    import polars as pl

    bare = folded(pl.col("answer")).str.strip_chars(" .!?").str.replace(ARTICLE.pattern, "")
    held = table.select(folded(pl.col("question")).str.contains(bare, literal=True)).to_series()
    rows = table.filter(held).select("question", "choices", "answer_index").iter_rows()
    return held.scatter(held.arg_true(), [_gives_away(*row) for row in rows]) if held.any() else held


def _gives_away(question: str, choices: Sequence[str], answer: int) -> bool:
    text = f" {' '.join(question.casefold().split())} "
    return _holds(text, choices[answer]) and not any(
        _holds(text, choice) for index, choice in enumerate(choices) if index != answer
    )


def _holds(text: str, choice: str) -> bool:
    form = ARTICLE.sub("", " ".join(choice.casefold().split()).strip(" .!?"))
    if len(form) <= SHORT_ANSWER and form.isascii():
        return False
    start = text.find(form)
    while start >= 0:
        before, after = text[start - 1], text[start + len(form)]
        if not ((before.isascii() and before.isalnum()) or (after.isascii() and after.isalnum())):
            return True
        start = text.find(form, start + 1)
    return False
