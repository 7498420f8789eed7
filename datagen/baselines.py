"""How far a question table can be answered without its clips and without its questions.

Always the first choice, always the last, the longest, the shortest, and a small model of the choices alone; and, with
the question but without its sense, the choice that shares most words with it. A table is sound where none of them is
above `random`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datagen.chooser import Flat, best, featured, flatten, folds, mixed, out_of_fold, sample
from datagen.statistics import share

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

__all__ = ["MODELS", "WORTH", "baselines", "by_item", "guessed"]

MOST_ITEMS = 20_000
"""`guessed` looks at no more items than these; ±0.7 points is the interval there."""
FEWEST_ITEMS = 50
MODELS = {"choices_only": False, "question_and_choices": True}
"""Linear model that guesses → whether it sees the question."""
WORTH = ("last", "longest", "shortest", "overlap")
"""The baselines that `by_item` gives beside the place of the gold."""
SLICE = 50_000
"""Items whose choices stand one a row at a time."""


def baselines(table: pl.DataFrame, items: pl.DataFrame | None = None) -> dict[str, Any]:
    """The shape of `datagen baselines --json`, for a table with `question`, `choices` (list[str]), `answer`.

    Fractions in 0..1; `position` has the share of golds at index 0, 1, …, where the gold is the first choice equal to
    the answer. Ties of length (in characters) are split evenly. Beside them `intervals` has count, n and Wilson's
    interval of each, and `without_gold` counts answers that are no choice (wrong under every baseline). Figures are
    None where the table has too few items to tell. `items`: `gates.worth(table)`, where it is at hand.
    """
    import polars as pl

    rows = by_item(table).with_columns(**guessed(table, "choices_only")) if items is None else items
    n, guesses = table.height, rows["choices_only"].drop_nulls()
    at = dict(rows["gold"].drop_nulls().value_counts().iter_rows())
    widest = table["choices"].list.len().max() if n else 0
    intervals: dict[str, Any] = {"position": [share(at.get(i, 0), n) for i in range(int(str(widest or 0)))]}
    for name in WORTH:
        intervals[name] = share(float(rows[name].sum()), n)
    intervals["choices_only"] = share(float(guesses.sum()), guesses.len()) if guesses.len() else None
    return {
        "items": n,
        "random": rows.filter(pl.col("size") > 0)["random"].mean(),
        "position": [place["accuracy"] for place in intervals["position"]],
        **{name: s and s["accuracy"] for name, s in intervals.items() if name != "position"},
        "without_gold": n - sum(at.values()),
        "intervals": intervals,
    }


def by_item(table: pl.DataFrame) -> pl.DataFrame:
    """What each baseline is worth in each item, in the order of `table`; 0 where its answer is no choice.

    `size` (number of choices), `gold` (place of the first choice equal to the answer, null without one), `random` (what
    chance is worth) and WORTH: 1, 0, or the share where several choices are equally long, or share as many words.
    """
    import polars as pl

    parts = [_of_slice(part) for part in table.select("question", "choices", "answer").iter_slices(SLICE)]
    return pl.concat(parts or [_of_slice(table)])


def _of_slice(table: pl.DataFrame) -> pl.DataFrame:
    import numpy as np
    import polars as pl

    flat = flatten(table)
    length = flat.texts.str.len_chars().to_numpy().astype(np.float64)
    scores = {
        "last": flat.place.astype(np.float64), "longest": length, "shortest": -length, "overlap": _shared(flat)
    }  # fmt: skip
    gold = np.zeros(len(flat.rows), dtype=np.int64)
    gold[flat.known] = flat.place[flat.right]
    some = pl.DataFrame(
        {
            "row": flat.rows,
            "gold": pl.Series(gold).set(pl.Series(~flat.known), None),
            "random": flat.known / flat.sizes,
            **{name: best(score, flat) for name, score in scores.items()},
        }
    )
    sizes = table.select(size=pl.col("choices").list.len().fill_null(0)).with_row_index("row")
    found = sizes.join(some, on=pl.col("row").cast(pl.Int64), how="left", maintain_order="left")
    return found.select("size", "gold", pl.col("random", *WORTH).fill_null(0.0))


def _shared(flat: Flat) -> np.ndarray:
    """How many different words each choice has in common with its question, (choices,)."""
    import numpy as np
    import polars as pl

    (asked, lengths), (words, counts) = flat.asked, flat.words
    choice = np.repeat(np.arange(len(counts)), counts)
    question = np.repeat(np.arange(len(lengths)), flat.sizes)[choice]
    keys = pl.Series(mixed(words, question.astype(np.uint64)))
    there = pl.Series(mixed(asked, np.repeat(np.arange(len(lengths)), lengths).astype(np.uint64))).unique()
    both = keys.is_in(there.implode()).to_numpy()
    same = pl.DataFrame({"choice": choice[both], "key": keys.to_numpy()[both]}).unique()
    return np.bincount(same["choice"].to_numpy(), minlength=len(counts)).astype(np.float64)


def guessed(table: pl.DataFrame, *names: str) -> dict[str, pl.Series]:
    """What each of MODELS that is named is worth in each item, in 5-fold cross-validation by clip, or
    by question text without clips (`chooser.fit`).

    They see the choices with their places. Null for all below 50 items that have an answer, and for those that are not
    looked at above 20,000; these are drawn by a hash of their texts.
    """
    import numpy as np
    import polars as pl

    rows = sample(table, MOST_ITEMS)
    part = table[rows]
    flat, fold = flatten(part), folds(part)
    found = {name: pl.repeat(None, table.height, dtype=pl.Float64, eager=True) for name in names}
    if flat.known.sum() < FEWEST_ITEMS:
        return found
    for name in names:
        items = featured(flat, question=MODELS[name], place=True)
        credit = np.zeros(part.height)
        credit[items.rows] = out_of_fold(items, fold[items.rows])
        found[name].scatter(rows, credit)
    return found
