"""Filter `leakage`: no question meets a test item of `--against`, by its words, its recording or its sound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datagen.filters.readings import number
from datagen.filters.wording import verdicts
from datagen.leakage import compare
from datagen.text_leakage import OVERLAP

if TYPE_CHECKING:
    import polars as pl

    from datagen.plugins import Context

__all__ = ["Leakage"]


class Leakage:
    """Questions that meet a test item of `--against`: the same words, or a clip of the same recording.

    Reasons `exact_question`, `same_audio`, `media_id`, `text_overlap` (see `datagen.leakage`); what was met stands in
    the `error` of rejected.parquet. Score: how much of an item is there, also where it is kept, or the share of
    landmarks. Notes: the benchmarks, and audio that could not be read.
    """

    role = "against"
    takes = "the score from which the words of a question meet an item"

    def __init__(self, context: Context) -> None:
        assert context.against is not None
        self.benchmarks = context.against
        given = number("leakage", context.value)
        self.least = OVERLAP if given is None else given
        self.notes: dict[str, Any] = {}

    def judge(self, table: pl.DataFrame) -> pl.DataFrame:
        """See `datagen.filters.Filter`; with the column `error` beside."""
        found = compare(table, self.benchmarks, self.least)
        named = [f"{source['name']} {source['sha256'][:8]}" for source in self.benchmarks.sources]
        self.notes = {"against": ", ".join(named)}
        recordings = self.benchmarks.recordings
        if recordings and recordings.unread:
            self.notes["audio_not_read"] = len(recordings.unread)
        return verdicts(table, found["reason"], found["score"]).with_columns(error=found["met"])
