"""Questions → verdicts: one test a file. Adding one = a file, a line in FILTERS or PROBES, a test.

A Filter sees the whole table at once and asks nobody. A Probe asks a model about one question while clips are still
being worked on; it is put to every question whose wording passes (`wellformed`, `answerable`, `modality`), whatever the
other filters say, so that another choice of filters or thresholds pays nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from datagen.records import Caption, Failure, Question, Verdict

if TYPE_CHECKING:
    import polars as pl

__all__ = ["DEFAULT", "FILTERS", "PROBES", "Filter", "Probe"]


class Filter(Protocol):
    """Made by `factory(context: Context)`."""

    def judge(self, table: pl.DataFrame) -> pl.DataFrame:
        """`table`: the question columns of `records.schema(Question)` and `captions` (list[str], the clip's).

        Returns rows of `records.schema(Verdict)` less the columns `filter` and `keys`, one for every row of `table`,
        in its order.
        """
        ...


class Probe(Protocol):
    """Made by `factory(context: Context)`."""

    async def probe(self, question: Question, captions: Sequence[Caption]) -> Verdict | Failure:
        """A verdict, or a Failure when the model could not be asked. Lets ServerLost, Denied and OverBudget through."""
        ...


FILTERS: dict[str, str] = {
    "wellformed": "datagen.filters.wellformed:Wellformed",
    "answerable": "datagen.filters.answerable:Answerable",
    "modality": "datagen.filters.modality:Modality",
    "relation": "datagen.filters.relation:Relation",
    "grounded": "datagen.filters.grounded:Grounded",
    "distractors": "datagen.filters.distractors:Distractors",
    "overlap": "datagen.filters.overlap:Overlap",
    "duplicates": "datagen.filters.duplicates:Duplicates",
    "answer_frequency": "datagen.filters.answer_frequency:AnswerFrequency",
    "templates": "datagen.filters.templates:Templates",
    "length": "datagen.filters.length:Length",
    "positions": "datagen.filters.positions:Positions",
    "balance": "datagen.filters.balance:Balance",
}
PROBES: dict[str, str] = {
    "consistency": "datagen.filters.consistency:Consistency",
}
DEFAULT = (
    "wellformed", "answerable", "modality", "relation", "distractors", "overlap", "grounded", "consistency",
    "duplicates", "balance",
)  # fmt: skip
"""In the order of the funnel; a probe without a reader model is left out, and the funnel says so."""
