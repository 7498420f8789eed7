"""Filter `templates`: no form of question takes over the dataset; and how varied the wording is.

A form is what the rules name (`provenance.form`), else the words of a question that very many questions have, in order:
"how many … does the … in the …". A word that is part of a form beyond the cap stands in at least that share of the
questions, so no other words need be looked at, in any language.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datagen.filters.caps import kinds, limit_of, place_in_group
from datagen.filters.readings import number
from datagen.filters.wording import verdicts
from datagen.language import word_lists
from datagen.seeds import draws

if TYPE_CHECKING:
    import polars as pl

    from datagen.plugins import Context

__all__ = ["FLOOR", "SHARE", "Templates", "distinct", "forms", "wordings"]

SHARE = 0.20
"""A form may hold this share of the kept questions."""
FLOOR = 20
"""So many of a wording are always allowed; of a rule's form, one."""
FEWEST_WORDS = 3
"""A wording that shares fewer words than these with very many others is no form."""
SAMPLE = 20_000
"""Questions in which words are counted. Distinct-n falls with the number of texts, so it is counted in so many."""


class Templates:
    """Forms of question beyond 20 % of the questions: a rule's own, or a wording that is filled in again and again.

    Reasons `form_cap`, `template_cap` (20 of a wording are always allowed). With fewer than 8 forms the share is 1.6 /
    their number. A corpus's own (human) questions are left as they are. Score: the share of all questions that the form
    would hold were this one the last of it to be kept. Notes: distinct-1 and distinct-2 (Li et al. 2016) of the
    questions' words, in at most 20,000 questions.
    """

    takes = "the share of the questions that a form may hold"

    def __init__(self, context: Context) -> None:
        given = number("templates", context.value)
        self.threshold = SHARE if given is None else given
        self.seed = context.seed
        self.notes: dict[str, float] = {}

    def judge(self, table: pl.DataFrame) -> pl.DataFrame:
        """See `datagen.filters.Filter`."""
        import polars as pl

        drawn = pl.Series(draws(self.seed, "cap", table["id"]), dtype=pl.UInt64)
        by_rule, by_wording = forms(table), wordings(table, drawn, self.threshold)
        places = place_in_group(by_rule, drawn), place_in_group(by_wording, drawn)
        limits = (
            limit_of(by_rule, self.threshold, 1, kinds(by_rule)),
            limit_of(by_wording, self.threshold, FLOOR, kinds(by_wording)),
        )
        self.notes = distinct(table, drawn)
        reason = (
            pl.when(places[0] > limits[0])
            .then(pl.lit("form_cap"))
            .when(places[1] > limits[1])
            .then(pl.lit("template_cap"))
            .otherwise(pl.lit(""))
        )
        return verdicts(table, reason, (places[0] + places[1]) / max(table.height, 1))


def forms(table: pl.DataFrame) -> pl.Series:
    """`provenance.form` of each row, empty where there is none."""
    import polars as pl

    return table.select(pl.col("provenance").str.json_path_match("$.form").fill_null(""))["provenance"]


def wordings(table: pl.DataFrame, drawn: pl.Series, share: float) -> pl.Series:
    """The words of each question that a `share` of all have, in order; empty where they make up less than half.

    Empty too for questions with a rule's form and for human ones. `drawn` says in which questions words are counted.
    """
    import re

    import polars as pl

    some = (
        table["question"]
        .gather(drawn.arg_sort()[:SAMPLE])
        .to_frame()
        .select(word_lists(pl.col("question")).list.unique())
    )
    counted = some.explode("question").drop_nulls()["question"].value_counts()
    common = counted.filter(pl.col("count") >= share * some.height)["question"].sort()
    if common.is_empty():
        return pl.Series("form", [""] * table.height, dtype=pl.String)
    pattern = "|".join(re.escape(word) for word in sorted(common, key=len, reverse=True))
    listed = table.select("generator", words=word_lists(pl.col("question")), rule=forms(table))
    common_ones = pl.element().filter(pl.element().str.contains(rf"^(?:{pattern})$"))
    listed = listed.with_columns(kept=pl.col("words").list.eval(common_ones))  # once: it is asked for three times
    many = pl.col("kept").list.len()
    free = (pl.col("generator") != "human") & (pl.col("rule") == "")
    is_form = free & (many >= FEWEST_WORDS) & (2 * many >= pl.col("words").list.len())
    form = pl.when(is_form).then(pl.col("kept").list.join(" ")).otherwise(pl.lit("")).fill_null("")
    return listed.select(form=form)["form"]


def distinct(table: pl.DataFrame, drawn: pl.Series) -> dict[str, float]:
    """Distinct words and pairs of words as shares of all of them (distinct-1, distinct-2), of the sampled questions."""
    import polars as pl

    some = table["question"].gather(drawn.arg_sort()[:SAMPLE]).to_frame().select(word=word_lists(pl.col("question")))
    long = some.with_row_index("row").explode("word").drop_nulls()
    pairs = long.select(pair=pl.concat_str("word", pl.col("word").shift(-1).over("row"), separator=" ")).drop_nulls()
    texts = {"distinct_1": long["word"], "distinct_2": pairs["pair"]}
    return {name: round(text.n_unique() / text.len(), 4) for name, text in texts.items() if text.len()}
