"""How far a question table can be answered without its clips and without its questions.

Always the first choice, always the last, the longest, the shortest, and a small model of the choices alone; and, with
the question but without its sense, the choice that shares most words with it. A table is sound where none of them is
above `random`.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from datagen.language import word_lists, words
from datagen.statistics import share

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from scipy.sparse import csr_matrix

__all__ = ["WORTH", "baselines", "by_item", "choices_only"]

FOLDS = 5
MOST_ITEMS = 20_000
"""`choices_only` looks at no more items than these; ±0.7 points is the interval there."""
FEWEST_ITEMS = 50
WORDS = 4_096
"""Buckets that the words of the choices are hashed into."""
WORTH = ("last", "longest", "shortest", "overlap")
"""The baselines that `by_item` gives beside the place of the gold."""
SLICE = 50_000
"""Items whose choices stand one a row at a time."""


def baselines(table: pl.DataFrame) -> dict[str, Any]:
    """The shape of `datagen baselines --json`, for a table with `question`, `choices` (list[str]), `answer`.

    Fractions in 0..1; `position` has the share of golds at index 0, 1, …, where the gold is the first choice equal to
    the answer. Ties of length (in characters) are split evenly. Beside them `intervals` has count, n and Wilson's
    interval of each, and `without_gold` counts answers that are no choice (wrong under every baseline). Figures are
    None where the table has too few items to tell.
    """
    import polars as pl

    n, rows = table.height, by_item(table)
    at = dict(rows["gold"].drop_nulls().value_counts().iter_rows())
    widest = table["choices"].list.len().max() if n else 0
    intervals: dict[str, Any] = {"position": [share(at.get(i, 0), n) for i in range(int(str(widest or 0)))]}
    for name in WORTH:
        intervals[name] = share(float(rows[name].sum()), n)
    intervals["choices_only"] = choices_only(table)
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
    import polars as pl

    def at_most(column: str, extreme: pl.Expr) -> pl.Expr:
        return pl.col("right").filter(pl.col(column) == extreme).mean()

    rows = _by_choice(table).with_columns(shared=_shared(table)).group_by("row").agg(
        random=pl.col("right").mean(),
        gold=pl.col("place").filter(pl.col("right")).first(),
        last=pl.col("right").last().cast(pl.Float64),
        longest=at_most("length", pl.col("length").max()),
        shortest=at_most("length", pl.col("length").min()),
        overlap=at_most("shared", pl.col("shared").max()),
    )  # fmt: skip
    sizes = table.select(size=pl.col("choices").list.len().fill_null(0)).with_row_index("row")
    found = sizes.join(rows, on="row", how="left", maintain_order="left").drop("row")
    return found.with_columns(pl.col("random", *WORTH).fill_null(0.0))


def _shared(table: pl.DataFrame) -> pl.Series:
    """For each choice, in the order of `_by_choice`, how many different words it has in common with its question."""
    import polars as pl

    asked = word_lists(pl.col("question").fill_null("")).list.unique()
    some = table.filter(pl.col("choices").list.len() > 0)
    long = some.select("choices", words=asked).with_row_index("row").explode("choices")
    own = word_lists(pl.col("choices").fill_null("")).list.unique()
    return long.select(shared=own.list.set_intersection("words").list.len())["shared"]


def _by_choice(table: pl.DataFrame) -> pl.DataFrame:
    """One row a choice: row, place, choice, length (characters), right (it is the gold)."""
    import polars as pl

    long = (
        table.select("choices", "answer")
        .with_row_index("row")
        .filter(pl.col("choices").list.len() > 0)
        .explode("choices")
    )
    equal = pl.col("choices") == pl.col("answer")
    return long.select(
        "row",
        place=pl.int_range(pl.len(), dtype=pl.Int64).over("row"),
        choice=pl.col("choices"),
        length=pl.col("choices").str.len_chars().cast(pl.Int64),
        right=equal & (equal.cast(pl.Int32).cum_sum().over("row") == 1),
    )


def choices_only(table: pl.DataFrame) -> dict[str, Any] | None:
    """Accuracy of a model that sees the choices and neither question nor clip, in 5-fold cross-validation.

    A conditional logit (McFadden 1974) over the place, length and words of each choice, with an L2 penalty. Items of
    one clip, or of one question text where the table has no `clip_id`, stand in one fold. None below 50 items. Above
    20,000 items a part is taken, by a hash of clip and question.
    """
    import numpy as np
    import polars as pl

    group = "clip_id" if "clip_id" in table.columns else "question"
    keys = [
        zlib.crc32(f"{g}\x1f{q}".encode())
        for g, q in table.select(pl.col(group), pl.col("question").alias("q")).iter_rows()
    ]
    if table.height > MOST_ITEMS:
        chosen = np.sort(np.argsort(np.array(keys), kind="stable")[:MOST_ITEMS])
        table = table[chosen.tolist()]
    long = _by_choice(table)
    answerable = long.group_by("row").agg(pl.col("right").any()).filter(pl.col("right"))["row"]
    if answerable.len() < FEWEST_ITEMS:
        return None
    long = long.filter(pl.col("row").is_in(answerable.implode()))
    features, item = _features(long), long["row"].to_numpy()
    right = long["right"].to_numpy()
    folds = np.array([zlib.crc32(str(g).encode()) % FOLDS for g in table[group]])[item]
    correct = 0.0
    for fold in range(FOLDS):
        train, test = folds != fold, folds == fold
        if train.any() and test.any():
            weights = _fit(features[train], item[train], right[train])
            correct += _credit(features[test] @ weights, item[test], right[test])
    return share(correct, table.height)


def _features(long: pl.DataFrame) -> csr_matrix:
    """(choices, features): place, last, length against the other choices of the item, longest, shortest, words."""
    import numpy as np
    import polars as pl
    from scipy.sparse import csr_matrix, hstack

    length = pl.col("length").log1p()
    shape = long.select(
        relative=length - length.mean().over("row"),
        longest=pl.col("length") == pl.col("length").max().over("row"),
        shortest=pl.col("length") == pl.col("length").min().over("row"),
        last=pl.col("place") == pl.col("place").max().over("row"),
        **{f"place{i}": pl.col("place") == i for i in range(10)},
    )
    hashed_words = [
        (row, zlib.crc32(word.encode()) % WORDS)
        for row, choice in enumerate(long["choice"])
        for word in set(words(choice))
    ]
    at = np.array(hashed_words, dtype=np.int64).reshape(-1, 2)
    hashed = csr_matrix((np.ones(len(at)), (at[:, 0], at[:, 1])), shape=(long.height, WORDS))
    return hstack([csr_matrix(shape.to_numpy().astype(np.float64)), hashed], format="csr")


def _fit(features: csr_matrix, item: np.ndarray, right: np.ndarray, penalty: float = 1.0) -> np.ndarray:
    """Weights that maximise the likelihood of the right choice within its item, less the penalty."""
    import numpy as np
    from scipy.optimize import minimize

    starts = np.flatnonzero(np.r_[True, item[1:] != item[:-1]])
    sizes = np.diff(np.r_[starts, len(item)])
    target = right / np.repeat(np.add.reduceat(right.astype(np.float64), starts), sizes)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        score = features @ weights
        score -= np.repeat(np.maximum.reduceat(score, starts), sizes)
        total = np.repeat(np.add.reduceat(np.exp(score), starts), sizes)
        value = -(target * (score - np.log(total))).sum() + penalty / 2 * (weights**2).sum()
        return float(value), features.T @ (np.exp(score) / total - target) + penalty * weights

    # Not L-BFGS-B: its small matrices are shared out by BLAS to all cores, 10 times slower where these are busy.
    options = {"maxiter": 100, "gtol": 1e-5 * len(starts)}
    fitted = minimize(loss, np.zeros(features.shape[1]), jac=True, method="CG", options=options)
    return np.asarray(fitted.x)


def _credit(score: np.ndarray, item: np.ndarray, right: np.ndarray) -> float:
    """Items whose best-scored choice is right; equal best scores share one point."""
    import numpy as np

    starts = np.flatnonzero(np.r_[True, item[1:] != item[:-1]])
    sizes = np.diff(np.r_[starts, len(item)])
    best = score >= np.repeat(np.maximum.reduceat(score, starts), sizes) - 1e-9
    return float(
        (np.add.reduceat((best & right).astype(float), starts) / np.add.reduceat(best.astype(float), starts)).sum()
    )
