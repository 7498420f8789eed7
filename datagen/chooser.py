"""Small models that choose among the choices of a question by their text alone, without its clip.

    flatten          the choices of a table, one after another
    featured         hashed words and pairs of words, length and place of each; with the question, what goes with what
    fit              a linear model: conditional logit
    naive_bayes      a model of another family, which judges what was removed with the help of the linear one
    cross_validated  5-fold by clip: what is right for each question, and the probability given to its answer

Everything is a function of the texts alone, in numpy: importing scipy.sparse takes a tenth of a second, and the base
install has no scikit-learn.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from datagen.language import word_lists

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

__all__ = [
    "FOLDS", "Featured", "Features", "Flat", "Guesses", "best", "cluster_names", "cross_validated", "featured", "fit",
    "flatten", "folds", "hashed_words", "mixed", "naive_bayes", "out_of_fold", "probability", "sample",
]  # fmt: skip

FOLDS = 5
BUCKETS = 2**16
"""Columns that words, pairs of words and what they go with are hashed into."""
SHAPE = 14
"""Columns before them: shorter or longer than the others, longest, shortest, last, places 1 to 10."""
COLUMNS = SHAPE + BUCKETS
SLICE = 50_000
"""Questions that are turned into features at a time."""
STEPS, BATCH, RATE = 200, 256, 0.03
"""Of `fit`: steps, questions in each, and how far the first one goes."""
Fit = Callable[["Features", "np.ndarray", "np.ndarray"], "np.ndarray"]
"""(features, sizes, right) → weights (COLUMNS,)"""


@dataclass(frozen=True)
class Flat:
    """The choices of the rows that have any, one after another."""

    rows: np.ndarray
    """Place of each question in the table, (questions,)."""
    sizes: np.ndarray
    """Its choices, (questions,)."""
    starts: np.ndarray
    """Where they begin, (questions,)."""
    questions: pl.Series
    texts: pl.Series
    """(choices,)"""
    right: np.ndarray
    """Whether a choice is the first that equals the answer, (choices,)."""

    @property
    def place(self) -> np.ndarray:
        """0, 1, … within each question, (choices,)."""
        import numpy as np

        return np.asarray(np.arange(len(self.texts)) - np.repeat(self.starts, self.sizes))

    @property
    def known(self) -> np.ndarray:
        """Whether the answer is among the choices, (questions,)."""
        import numpy as np

        return np.asarray(_per_question(self.right, self.starts) > 0)

    @cached_property
    def words(self) -> tuple[np.ndarray, np.ndarray]:
        """`hashed_words` of the choices."""
        return hashed_words(self.texts)

    @cached_property
    def asked(self) -> tuple[np.ndarray, np.ndarray]:
        """`hashed_words` of the questions."""
        return hashed_words(self.questions)


def flatten(table: pl.DataFrame) -> Flat:
    """`table`: `question`, `choices` (list[str]), `answer`. A choice that is null is empty."""
    import numpy as np
    import polars as pl

    sizes = table["choices"].list.len().fill_null(0).to_numpy().astype(np.int64)
    rows = np.flatnonzero(sizes)
    some = table.select("question", "choices", "answer").filter(pl.Series(sizes > 0, dtype=pl.Boolean))
    sizes, texts = sizes[rows], some["choices"].explode(empty_as_null=False, keep_nulls=False)
    starts = np.cumsum(sizes) - sizes
    equal = (texts == some["answer"].gather(np.repeat(np.arange(len(rows)), sizes))).fill_null(False).to_numpy()
    nth = np.cumsum(equal)
    right = equal & (nth - np.repeat((nth - equal)[starts], sizes) == 1)
    return Flat(rows, sizes, starts, some["question"].fill_null(""), texts.fill_null(""), right)


def _per_question(values: np.ndarray, starts: np.ndarray, how: Any = None) -> np.ndarray:
    """Sum of `values` (choices,) within each question, or `how`, a ufunc, instead of the sum."""
    import numpy as np

    numbers = values.astype(np.float64)
    return np.asarray((how or np.add).reduceat(numbers, starts)) if len(starts) else np.zeros(0)


def best(score: np.ndarray, flat: Flat | Featured) -> np.ndarray:
    """1 where the choice with the highest score is right, (questions,); equal ones share the point."""
    import numpy as np

    top = score >= np.repeat(_per_question(score, flat.starts, np.maximum), flat.sizes) - 1e-9
    return np.asarray(_per_question(top & flat.right, flat.starts) / _per_question(top, flat.starts))


def probability(score: np.ndarray, items: Flat | Featured) -> np.ndarray:
    """What the scores give to the right choice after a softmax within each question, (questions,)."""
    import numpy as np

    size = np.exp(score - np.repeat(_per_question(score, items.starts, np.maximum), items.sizes))
    return np.asarray(_per_question(size * items.right, items.starts) / _per_question(size, items.starts))


# ── features ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Features:
    """A sparse table of (choices, COLUMNS): the length of a choice in column 0, and 1 in those that it has."""

    length: np.ndarray
    """How much longer a choice is than those of its question, (choices,)."""
    columns: np.ndarray
    """Of each choice in order, at least one, (elements,), int32."""
    counts: np.ndarray
    """How many each choice has, (choices,)."""

    @property
    def starts(self) -> np.ndarray:
        """Where the columns of each choice begin, (choices,)."""
        import numpy as np

        return np.asarray(np.cumsum(self.counts) - self.counts)

    def at(self, choices: np.ndarray) -> Features:
        """The choices at these places."""
        counts = self.counts[choices]
        _, places = _ragged(counts, self.starts[choices])
        return Features(self.length[choices], self.columns[places], counts)

    def scores(self, weights: np.ndarray, row: np.ndarray | None = None) -> np.ndarray:
        """What the weights make of each choice, (choices,). `row`: which row of `weights` is meant for each."""
        import numpy as np

        if row is None:
            weights, row = weights[None], np.zeros(len(self.counts), dtype=np.int64)
        if not len(row):
            return np.zeros(0)
        parts = weights[np.repeat(row, self.counts), self.columns]
        return np.asarray(np.add.reduceat(parts, self.starts) + self.length * weights[row, 0])


@dataclass(frozen=True, slots=True)
class Featured:
    """Questions whose answer is among their choices, ready for a model."""

    rows: np.ndarray
    """Place of each question in the table, (questions,)."""
    sizes: np.ndarray
    """Its choices, (questions,)."""
    right: np.ndarray
    """Whether a choice is the answer, (choices,)."""
    features: Features

    @property
    def starts(self) -> np.ndarray:
        """Where the choices of each question begin, (questions,)."""
        import numpy as np

        return np.asarray(np.cumsum(self.sizes) - self.sizes)

    @property
    def chance(self) -> np.ndarray:
        """What a guess is worth, (questions,)."""
        return 1 / self.sizes

    def only(self, some: np.ndarray) -> Featured:
        """The questions at which `some`, (questions,), is true."""
        import numpy as np

        choices = np.repeat(some, self.sizes)
        features = self.features.at(np.flatnonzero(choices))
        return Featured(self.rows[some], self.sizes[some], self.right[choices], features)


def featured(flat: Flat, *, question: bool, place: bool) -> Featured:
    """The questions that have an answer, with the features of `featurise`."""
    features = featurise(flat, question=question, place=place)
    return Featured(flat.rows, flat.sizes, flat.right, features).only(flat.known)


def featurise(flat: Flat, *, question: bool, place: bool) -> Features:
    """The shape of each choice, its words and pairs of words.

    With `question` also each word of the choice with the first two words of the question, and the whole choice with
    each word of the question. Without `place` the choices may stand in any order.
    """
    import numpy as np

    (words, counts), number = flat.words, np.arange(len(flat.texts))
    owner = np.repeat(number, counts)
    length, shape = _shape(flat, place)
    cells = [(row << 17) | column for column, row in shape.items()]
    cells += [_cells(owner, words), _cells(*_pairs(words, counts))]
    if question:
        asked, lengths = flat.asked
        opening = _folded(asked, lengths, most=2)
        whole = _folded(words, counts)
        of_choice = np.repeat(np.arange(len(flat.sizes)), flat.sizes)
        cells.append(_cells(owner, mixed(opening[of_choice[owner]], words)))
        again, at = _ragged(lengths[of_choice], (np.cumsum(lengths) - lengths)[of_choice])
        cells.append(_cells(again, mixed(asked[at], whole[again])))
        del again, at
    table = np.concatenate(cells)
    cells.clear()
    table.sort()
    table = table[np.append(True, table[1:] != table[:-1])] if len(table) else table
    return Features(length, (table & 0x1FFFF).astype(np.int32), np.bincount(table >> 17, minlength=len(number)))


def _cells(row: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The cells of hashed features: 17 bits for the column below the number of the choice."""
    import numpy as np

    return (row << 17) | (SHAPE + (value >> np.uint64(11)) % np.uint64(BUCKETS)).astype(np.int64)


def _shape(flat: Flat, place: bool) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """How much longer each choice is than those of its question, and column → the choices that have it."""
    import numpy as np

    length = np.log1p(flat.texts.str.len_chars().to_numpy().astype(np.float64))
    spread = [np.repeat(_per_question(length, flat.starts, how), flat.sizes) for how in (np.maximum, np.minimum)]
    mean = np.repeat(_per_question(length, flat.starts) / flat.sizes, flat.sizes)
    shape = {1 + i: np.flatnonzero(length == most) for i, most in enumerate(spread)}
    if place:
        shape[3] = flat.starts + flat.sizes - 1
        shape |= {4 + i: np.flatnonzero(flat.place == i) for i in range(10)}
    return length - mean, shape


def hashed_words(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """The words of all texts as uint64 hashes, one after another, and their number in each text."""
    import numpy as np
    import polars as pl

    lists = texts.rename("word").to_frame().select(word_lists(pl.col("word")))
    counts = lists["word"].list.len().to_numpy().astype(np.int64)
    long = lists.explode("word", empty_as_null=False, keep_nulls=False)
    names = long["word"].unique()
    hashes = [zlib.crc32(name.encode()) for name in names]
    known = pl.DataFrame({"word": names, "hash": pl.Series(hashes, dtype=pl.UInt64)})
    found = long.join(known, on="word", how="left", maintain_order="left")["hash"].to_numpy().astype(np.uint64)
    return mixed(found, np.zeros_like(found)), counts


def mixed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """One hash of two, which knows the first from the second."""
    import numpy as np

    z = a * np.uint64(0x9E3779B97F4A7C15) + b + np.uint64(0x7F4A7C15)
    z = (z ^ (z >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return np.asarray(z ^ (z >> np.uint64(32)))


def _pairs(words: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Owner and hash of each two words that stand side by side, the ends of the text included."""
    import numpy as np

    size = counts + 1
    starts = np.cumsum(size) - size
    padded = np.zeros(int(size.sum()), dtype=np.uint64)
    inner = np.ones(len(padded), dtype=bool)
    inner[starts] = False
    padded[inner] = words
    following = np.append(padded[1:], np.uint64(0))
    return np.repeat(np.arange(len(counts)), size), mixed(padded, following)


def _folded(words: np.ndarray, counts: np.ndarray, most: int | None = None) -> np.ndarray:
    """One hash for the words of each text, or for the first `most` of them."""
    import numpy as np

    starts, folded = np.cumsum(counts) - counts, np.zeros(len(counts), dtype=np.uint64)
    for step in range(int(min(counts.max(initial=0), most or 32))):
        some = np.flatnonzero(counts > step)
        folded[some] = mixed(folded[some], words[starts[some] + step])
    return folded


def _ragged(counts: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Owner and place of runs: `counts[i]` places from `starts[i]` on, for every i."""
    import numpy as np

    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts - starts, counts)


# ── models ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def fit(features: Features, sizes: np.ndarray, right: np.ndarray, penalty: float = 1.0) -> np.ndarray:
    """Weights of a conditional logit (McFadden 1974) with an L2 penalty; every question has a right choice.

    By AdaGrad (Duchi et al. 2011) in batches of questions, as they stand, with the second half of the steps averaged:
    20 times as fast as conjugate gradients, and it learns less by heart.
    """
    import numpy as np

    merged, used, group, times = _merged(features)
    batches = list(_batches(merged, sizes, right))
    moved, total, squares = (np.full(len(times), start) for start in (0.0, 0.0, 1e-8))  # weights in units of RATE
    unit, shrink, some = RATE * times, RATE * penalty / len(sizes), np.empty_like(moved)
    for step in range(STEPS):
        slope = batches[step % len(batches)].slope(np.multiply(moved, unit, out=some))
        slope += np.multiply(moved, shrink, out=some)
        squares += np.multiply(slope, slope, out=some)
        moved -= np.divide(slope, np.sqrt(squares, out=some), out=some)
        if step >= STEPS // 2:
            total += moved
    total *= RATE / (STEPS - STEPS // 2)
    weights = np.zeros(COLUMNS)
    weights[0], weights[used] = total[0], total[group]
    return weights


def _merged(features: Features) -> tuple[Features, np.ndarray, np.ndarray, np.ndarray]:
    """Columns that the same choices have as one, which is their place in every sum and so their weight.

    The features by group of columns, the length as group 0; the columns that some choice has, and the group of each;
    the columns of each group.
    """
    import numpy as np

    number = np.arange(len(features.counts), dtype=np.uint64)
    marks = mixed(number, number) / 2.0**64  # their sum tells one set of choices from another
    sums = np.bincount(features.columns, np.repeat(marks, features.counts), COLUMNS)
    used = np.flatnonzero(sums)
    _, first, group, times = np.unique(sums[used], return_index=True, return_inverse=True, return_counts=True)
    names = np.zeros(COLUMNS, dtype=np.int32)
    names[used[first]] = np.arange(1, len(first) + 1)
    columns = names[features.columns]
    held = columns > 0
    merged = Features(features.length, columns[held], np.add.reduceat(held, features.starts, dtype=np.int64))
    return merged, used, group + 1, np.append(1.0, times)


@dataclass(frozen=True, slots=True)
class Batch:
    """Some of the questions that `fit` looks at in one step, as tables of (places, questions): sums down a column."""

    columns: np.ndarray
    """Of all choices, (elements,)."""
    cell: np.ndarray
    """Where in the flat table the choice stands that has each of them, (elements,)."""
    length: np.ndarray
    """`Features.length`, 0 where a question has fewer choices."""
    absent: np.ndarray
    """-inf there, 0 elsewhere."""
    right: np.ndarray
    """1 for the answer, 0 elsewhere."""

    def slope(self, weights: np.ndarray) -> np.ndarray:
        """The gradient of the mean of -log(share of the right choice), (columns,)."""
        import numpy as np

        parts = weights.take(self.columns, mode="clip")
        share = self.length * weights[0]
        share += np.bincount(self.cell, parts, share.size).reshape(share.shape)
        share += self.absent
        share -= share.max(0)
        np.exp(share, out=share)
        share /= share.sum(0)
        share -= self.right
        share /= share.shape[1]
        slope = np.bincount(self.columns, share.ravel().take(self.cell, mode="clip"), len(weights))
        slope[0] = np.vdot(share, self.length)
        return slope


def _batches(features: Features, sizes: np.ndarray, right: np.ndarray) -> Iterator[Batch]:
    import numpy as np

    for first in range(0, len(sizes), BATCH):
        counts = sizes[first : first + BATCH]
        begin, shape = int(sizes[:first].sum()), (int(counts.max()), len(counts))
        choices = np.arange(begin, begin + counts.sum())
        part = features.at(choices)
        question, place = _ragged(counts, np.zeros_like(counts))
        cell = place * len(counts) + question
        length, absent, good = np.zeros(shape), np.full(shape, -np.inf), np.zeros(shape)
        length.flat[cell], absent.flat[cell], good.flat[cell] = part.length, 0.0, right[choices]
        yield Batch(part.columns.astype(np.int64), np.repeat(cell, part.counts), length, absent, good)


def naive_bayes(features: Features, sizes: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Weights of naive Bayes: log of how much more often a feature stands with right choices than with wrong ones.

    Counts of both are smoothed by 1; of lengths it knows the longest and the shortest alone.
    """
    import numpy as np

    seen = np.bincount(features.columns, minlength=COLUMNS)
    good = np.bincount(features.at(np.flatnonzero(right)).columns, minlength=COLUMNS)
    seen[0] = good[0] = 0
    n, wins = len(right), int(right.sum())
    return np.asarray(np.log((good + 1) / (wins + 2)) - np.log((seen - good + 1) / (n - wins + 2)))


# ── 5-fold, by clip ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Guesses:
    """What a model that never saw a question's clip says of it, by row of the table."""

    credit: np.ndarray
    """1 where it chooses right, 0 where wrong; ties share the point, (rows,)."""
    probability: np.ndarray
    """What it gives to the answer, (rows,); 0 where the answer is no choice."""


def cluster_names(table: pl.DataFrame) -> pl.Series:
    """What makes rows depend on each other: the clip, or the text of the question where clips are not known."""
    if "clip_id" in table.columns and not table["clip_id"].null_count():
        return table["clip_id"]
    return table["question"].fill_null("")


def folds(table: pl.DataFrame) -> np.ndarray:
    """0 to 4 for each row, equal for rows of one cluster, (rows,)."""
    import numpy as np

    codes = {name: zlib.crc32(str(name).encode()) % FOLDS for name in cluster_names(table).unique()}
    return np.array([codes[name] for name in cluster_names(table)], dtype=np.int64)


def sample(table: pl.DataFrame, most: int) -> np.ndarray:
    """At most `most` rows, drawn by a hash of their texts and in its order: that of the table decides nothing."""
    import numpy as np
    import polars as pl

    choices = pl.col("choices").list.join("\x1e", ignore_nulls=True).fill_null("")
    named = table.select(pl.col("question").fill_null(""), choices, cluster=cluster_names(table))
    texts = named.select(pl.concat_str(pl.all(), separator="\x1f")).to_series()
    keys = np.fromiter((zlib.crc32(text.encode()) for text in texts), dtype=np.int64, count=table.height)
    return np.argsort(keys, kind="stable")[:most]


def cross_validated(
    table: pl.DataFrame, *, question: bool, place: bool = True, fitted: int = 20_000, model: Fit = fit
) -> Guesses:
    """Every row is judged by a model that was fitted on other clips, of at most `fitted` rows."""
    import numpy as np

    def looked_at(part: pl.DataFrame) -> Featured:
        return featured(flatten(part), question=question, place=place)

    fold, some = folds(table), sample(table, fitted)
    items = looked_at(table[some])
    weights = _by_fold(items, fold[some][items.rows], model)
    found = Guesses(np.zeros(table.height), np.zeros(table.height))
    whole = len(some) == table.height
    parts = ((start + np.arange(part.height), looked_at(part)) for start, part in slices(table))
    for rows, part in [(some, items)] if whole else parts:
        at = rows[part.rows]
        score = _scores(part, weights, fold[at])
        found.credit[at], found.probability[at] = best(score, part), probability(score, part)
    return found


def out_of_fold(items: Featured, fold: np.ndarray, model: Fit = fit) -> np.ndarray:
    """What a model fitted on the other folds is worth in each question, (questions,). `fold`: 0 to 4, (questions,)."""
    return best(_scores(items, _by_fold(items, fold, model), fold), items)


def _by_fold(items: Featured, fold: np.ndarray, model: Fit) -> np.ndarray:
    """The weights of a model fitted on all but one fold, for each of them: (FOLDS, COLUMNS)."""
    import numpy as np

    weights = np.zeros((FOLDS, COLUMNS))
    for k in range(FOLDS):
        train = items.only(fold != k)
        if len(train.rows):
            weights[k] = model(train.features, train.sizes, train.right)
    return weights


def _scores(items: Featured, weights: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """The score of each choice by the weights that never saw its fold, (choices,)."""
    import numpy as np

    return items.features.scores(weights, np.repeat(fold, items.sizes))


def slices(table: pl.DataFrame) -> Iterator[tuple[int, pl.DataFrame]]:
    """Parts of a table that are looked at one at a time, each with its first row."""
    for i, part in enumerate(table.iter_slices(SLICE)):
        yield i * SLICE, part
