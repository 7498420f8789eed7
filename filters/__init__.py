"""Questions → verdicts: one test a file. Adding one = a file, a line in FILTERS or PROBES, a test.

A Filter sees the whole table at once and asks nobody. A Probe asks a model about one question while clips are still
being worked on, and a Listener with the audio; it is put to every question whose wording passes (`wellformed`,
`answerable`, `modality`), whatever the other filters say, so that another choice of filters or thresholds pays nothing.

`--filters name=VALUE` gives a filter that says in `takes` what it takes its value, as `context.value`; the filter reads
it when it is made. `records.MEASURES` names the probes whose score is a column of the dataset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from datagen.records import Caption, Failure, Question, Verdict

if TYPE_CHECKING:
    import polars as pl

__all__ = ["DEFAULT", "FILTERS", "PROBES", "Filter", "Listener", "Probe"]


class Filter(Protocol):
    """Made by `factory(context: Context)`. May have `notes` after judging: name → figure or text for the funnel."""

    def judge(self, table: pl.DataFrame) -> pl.DataFrame:
        """`table`: the question columns of `records.schema(Question)` and `captions` (list[str], the clip's).

        Returns rows of `records.schema(Verdict)` less `filter` and what only probes say (`keys`, `low`, `high`), one
        for every row of `table`, in its order.
        """
        ...


class Probe(Protocol):
    """Made by `factory(context: Context)`. May have `role`, whose model it asks (reader, if not said), and

    `plan(captions) -> dict[str, readings.Plan]`, the calls for one question of a clip with so many captions.
    """

    async def probe(self, question: Question, captions: Sequence[Caption]) -> Verdict | Failure:
        """A verdict, or a Failure when the model could not be asked. Lets ServerLost, Denied and OverBudget through."""
        ...


class Listener(Protocol):
    """A probe that gets the audio; made, and with what else, as Probe is."""

    async def hear(self, question: Question, sound: Mapping[str, Any], silence: Mapping[str, Any]) -> Verdict | Failure:
        """As Probe.probe; the clip, and silence of its length, each as a part of a message to a model."""
        ...


FILTERS: dict[str, str] = {
    "wellformed": "datagen.filters.wellformed:Wellformed",
    "answerable": "datagen.filters.answerable:Answerable",
    "modality": "datagen.filters.modality:Modality",
    "relation": "datagen.filters.relation:Relation",
    "grounded": "datagen.filters.grounded:Grounded",
    "distractors": "datagen.filters.distractors:Distractors",
    "overlap": "datagen.filters.overlap:Overlap",
    "leakage": "datagen.filters.leakage:Leakage",
    "duplicates": "datagen.filters.duplicates:Duplicates",
    "semantic": "datagen.filters.semantic:Semantic",
    "answer_frequency": "datagen.filters.answer_frequency:AnswerFrequency",
    "templates": "datagen.filters.templates:Templates",
    "length": "datagen.filters.length:Length",
    "artefacts": "datagen.filters.artefacts:Artefacts",
    "positions": "datagen.filters.positions:Positions",
    "balance": "datagen.filters.balance:Balance",
}
PROBES: dict[str, str] = {
    "consistency": "datagen.filters.consistency:Consistency",
    "blind": "datagen.filters.blind:Blind",
    "audio_dependence": "datagen.filters.audio_dependence:AudioDependence",
    "self_agreement": "datagen.filters.self_agreement:SelfAgreement",
    "audio_contribution": "datagen.filters.audio_contribution:AudioContribution",
    "difficulty": "datagen.filters.difficulty:Difficulty",
}
DEFAULT = (
    "wellformed", "answerable", "modality", "relation", "distractors", "overlap", "grounded", "consistency",
    "leakage", "duplicates", "balance",
)  # fmt: skip
"""In the order of the funnel; a probe without a reader model, and `leakage` without `--against`, is left out, and the
funnel says so."""
