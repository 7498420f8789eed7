"""Filter `balance`: no answer, no form of question and no length of answer takes over the dataset.

Each cap is a filter of its own (`answer_frequency`, `templates`, `length`); put one after another, each would undo a
little of the one before. Here they are applied in turn until none drops anything, so all hold for what is kept.
`positions.reletter` runs when all dropping is over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from datagen.filters import answer_frequency, length, templates
from datagen.filters.caps import capped, kinds, limit_of, place_in_group
from datagen.filters.wording import verdicts
from datagen.seeds import draws

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from datagen.plugins import Context

__all__ = ["Balance", "winners"]

PRIOR, PRIOR_FLOOR = 1.5, 1
"""Within a form an answer text may be right this many times as often as by chance among the questions that offer it,
and once more. What wins more often can be guessed without listening: on the demo, a model of the choices alone falls
from 46 % to 30 %, the share by chance being 26 %."""
Rule = Callable[["pl.Series"], "pl.Series"]
"""Rows still kept (bool, one a row) → rows to drop now."""


class Balance:
    """Caps together: answer texts (5 %), forms and wordings (20 %), length, and no answer that wins in its form.

    Reasons `answer_prior` (within a rule's form, a text is right more than 1.5 times as often as by chance, and once
    more), `answer_cap`, `form_cap`, `template_cap`, `answer_length`; the last four as in the filters of that name.
    All are of what is kept in the end: they are applied in turn until none drops anything. No score: the single filters
    have it.
    """

    def __init__(self, context: Context) -> None:
        self.seed = context.seed

    def judge(self, table: pl.DataFrame) -> pl.DataFrame:
        """See `datagen.filters.Filter`; the table holds what all earlier filters kept."""
        import polars as pl

        rules = self.rules(table)
        alive, before = pl.repeat(True, table.height, dtype=pl.Boolean, eager=True), -1
        reasons = pl.repeat("", table.height, dtype=pl.String, eager=True)
        while before != (before := int(alive.sum())):
            for reason, rule in rules.items():
                gone = rule(alive)
                reasons = reasons.zip_with(~gone, pl.repeat(reason, table.height, eager=True))
                alive = alive & ~gone
        return verdicts(table, reasons)

    def rules(self, table: pl.DataFrame) -> dict[str, Rule]:
        """Reason → the rule, in the order in which they are applied."""
        import polars as pl

        drawn = pl.Series(draws(self.seed, "cap", table["id"]), dtype=pl.UInt64)
        forms, wordings = templates.forms(table), templates.wordings(table, drawn, templates.SHARE)
        return {
            "answer_prior": _prior(table, forms, pl.Series(draws(self.seed, "prior", table["id"]), dtype=pl.UInt64)),
            "answer_cap": _cap(answer_frequency.answers(table), drawn, answer_frequency.SHARE, answer_frequency.FLOOR),
            "form_cap": _cap(forms, drawn, templates.SHARE, 1),
            "template_cap": _cap(wordings, drawn, templates.SHARE, templates.FLOOR),
            "answer_length": _length(table, draws(self.seed, "length", table["id"])),
        }


def _cap(names: pl.Series, drawn: pl.Series, share: float, floor: int) -> Rule:
    groups = kinds(names)

    def rule(alive: pl.Series) -> pl.Series:
        import polars as pl

        living = names.zip_with(alive, pl.repeat("", names.len(), eager=True))
        limit = limit_of(names.filter(alive), share, floor, groups)
        return capped(living, drawn, limit)

    return rule


def _length(table: pl.DataFrame, drawn: np.ndarray) -> Rule:
    credit, chance = length.credits(table)
    clips = length.clusters(table)

    def rule(alive: pl.Series) -> pl.Series:
        import numpy as np
        import polars as pl

        rows = np.flatnonzero(alive.to_numpy())
        gone = np.zeros(table.height, dtype=bool)
        gone[rows] = length.surplus((credit - chance[:, None])[rows], clips[rows], drawn[rows]) > 0
        return pl.Series(gone)

    return rule


def _prior(table: pl.DataFrame, forms: pl.Series, drawn: pl.Series) -> Rule:
    import polars as pl

    offers = table.select("choices", "answer", form=forms, drawn=drawn).with_row_index("row")
    offers = offers.filter(pl.col("form") != "")

    def rule(alive: pl.Series) -> pl.Series:
        gone = pl.zeros(alive.len(), dtype=pl.Boolean, eager=True)
        return gone.scatter(winners(offers.filter(alive.gather(offers["row"]))), True)

    return rule


def winners(offers: pl.DataFrame) -> pl.Series:
    """Rows whose answer is right too often for its form. `offers`: row, form, choices, answer, drawn."""
    import polars as pl

    each = offers.select("form", choice="choices", weight=1 / pl.col("choices").list.len()).explode("choice")
    limits = each.group_by("form", "choice").agg(chance=pl.col("weight").sum())
    # The rounding of the sum may not decide.
    limits = limits.with_columns(limit=(pl.col("chance") * PRIOR + PRIOR_FLOOR + 1e-9).floor())
    placed = offers.with_columns(
        place=place_in_group(
            offers.select(pl.concat_str("form", "answer", separator="\x1f")).to_series(), offers["drawn"]
        )
    )
    placed = placed.join(limits, left_on=["form", "answer"], right_on=["form", "choice"])
    return placed.filter(pl.col("place") > pl.col("limit"))["row"]
