"""Filter `modality`: the question is about what is heard, not about what is seen or about the notes on the clip.

A question that speaks of the video, or of "the description", gives away how it was made and cannot be answered by
listening; an answer that is a whole stretch of a caption can be told from its distractors by its style alone. The lists
stand in `wordlists.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datagen.filters.wording import Rule, broken_rule, folded, found_reason, verdicts
from datagen.filters.wordlists import HEARD, SEEN, SEEN_IN_CHOICES, pattern, unlisted

if TYPE_CHECKING:
    import polars as pl

    from datagen.plugins import Context
    from datagen.records import Question

__all__ = ["QUOTED", "Modality", "problem"]

QUOTED = 7
"""Words in a row that an answer may not have from a caption, when no other choice does."""
RULES = (
    Rule("seen_in_question", "question", pattern(SEEN), pattern(SEEN, ascii=True), harmless=pattern({"en": HEARD})),
    Rule("seen_in_choice", "choices", pattern(SEEN_IN_CHOICES), pattern(SEEN_IN_CHOICES, ascii=True)),
)


class Modality:
    """Words of what is seen or read (video, image, caption, "the description says"); answers that quote a caption.

    Reasons: seen_in_question, seen_in_choice, quotes_caption (the whole answer, of 7 words and more, stands in a
    caption and no other choice does; not for measured and human questions). Score: the words of an answer that a
    caption holds whole, 0 where none does.
    """

    def __init__(self, context: Context) -> None:
        self.notes = {"no_word_list_for": context.language} if unlisted(context.language) else {}

    def judge(self, table: pl.DataFrame) -> pl.DataFrame:
        """See `datagen.filters.Filter`."""
        import polars as pl

        quoted = quotes(table, QUOTED)
        reason = found_reason(table, RULES)
        written = ~table["generator"].is_in(["rules", "human"])
        quoting = pl.when((reason == "") & (quoted >= QUOTED) & written).then(pl.lit("quotes_caption"))
        return verdicts(table, quoting.otherwise(reason), quoted)


def quotes(table: pl.DataFrame, least: float) -> pl.Series:
    """Words of each answer that some caption holds whole and that no other choice shares, 0 where none does.

    Only answers of `least` words and more are looked for.
    """
    import polars as pl

    size = pl.col("answer").str.strip_chars().str.count_matches(r"\s+").fill_null(0) + 1
    long = table.lazy().select("answer", "choices", "captions", size=size).with_row_index("row")
    held = (
        long.filter(pl.col("size") >= least)
        .with_columns(held=_plain(pl.col("captions").list.join(" | ", ignore_nulls=True)))
        .filter(pl.col("held").str.contains(_plain(pl.col("answer")), literal=True))
        .explode("choices")
        .filter(pl.col("held").str.contains(_plain(pl.col("choices")), literal=True))
        .group_by("row").agg(pl.len(), pl.col("size").first())
        .filter(pl.col("len") == 1).select("row", "size").collect()
    )  # fmt: skip
    return pl.zeros(table.height, pl.UInt32, eager=True).scatter(held["row"], held["size"])


def _plain(text: pl.Expr) -> pl.Expr:
    return folded(text).str.replace_all(r"[^\w]+", " ").str.strip_chars()


def problem(question: Question) -> str | None:
    """The reason for which a question is dropped whatever its captions are, None when there is none."""
    return broken_rule(question, RULES)
