"""Filter `relation`: the published rule for AVQA, as R1-AQA and Omni-R1 use it.

Of the corpus's own questions it drops those that annotators answered by looking (`question_relation` is View) and those
that ask for a colour. Written questions pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datagen.plugins import Context

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Relation"]

COLOUR = r"(?i)\bcolou?r(s|ed|ful)?\b"


class Relation:
    """The corpus's own questions that were answered by looking: relation View, or about a colour."""

    def __init__(self, context: Context) -> None: ...

    def judge(self, table: pl.DataFrame) -> pl.DataFrame:
        """Looks at generator, question and provenance."""
        import polars as pl

        human = pl.col("generator") == "human"
        relation = pl.col("provenance").str.json_path_match("$.attributes.question_relation")
        reason = (
            pl.when(human & (relation.str.strip_chars().str.to_lowercase() == "view"))
            .then(pl.lit("view_relation"))
            .when(human & pl.col("question").str.contains(COLOUR))
            .then(pl.lit("colour_question"))
            .otherwise(pl.lit(""))
        )
        return table.select(
            question_id=pl.col("id"), keep=reason == "", reason=reason, score=pl.lit(None, dtype=pl.Float64)
        )
