"""Runs of words that the questions of two sets share, as hashes in numpy: a million questions in seconds.

A question is known by its runs of 8 words, and for each choice by two runs that end with it, the words before being
the question's last, or its first. So neither the order of the choices nor one choice among four decides, nor a word
that was changed at one end of the question:

    "What can be heard right after the long whistle?"  a dog | a bell
    what can be heard right after the long      …
    right after the long whistle a dog          what can be heard right after a dog          and so for "a bell"

A run with a choice may be shorter, where there are no more words; then it is the question and the choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from datagen.language import word_lists

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    U64 = NDArray[np.uint64]

__all__ = ["LONG", "RUN", "Texts", "hashed"]

RUN, LONG = 8, 13
"""Words of a run, as in GPT-3's decontamination (Brown et al. 2020, https://arxiv.org/abs/2005.14165, app. C)."""
BASE = np.uint64(0x9E3779B97F4A7C15)
"""Odd, so that the powers of it never vanish modulo 2^64."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Hashes of the questions of one table; two that are equal are taken for the same words (64 bits)."""

    whole: U64
    """(rows,): of all words of the question, and of the choices in any order."""
    size: NDArray[np.int64]
    """(rows,): words of question and choices."""
    runs: dict[str, tuple[NDArray[np.int64], U64]]
    """(row, hash) of every run: `asked`, of 8 words of the question; `ending` and `beginning`, of 8, or fewer, of its
    end, or beginning, and a choice; `long`, of 13 of its end and a choice."""


@dataclass(frozen=True, slots=True)
class _Words:
    """Words of many texts, one after another."""

    values: U64
    lengths: NDArray[np.int64]

    @property
    def ends(self) -> NDArray[np.int64]:
        return np.cumsum(self.lengths)


def hashed(table: pl.DataFrame) -> Texts:
    """The hashes of `table` (question, choices)."""
    asked = _words(table["question"])
    long = table.select("choices").with_row_index("row").explode("choices", empty_as_null=False, keep_nulls=False)
    choices, owner = _words(long["choices"]), long["row"].to_numpy().astype(np.int64)
    some = choices.lengths > 0
    full = some & (asked.lengths[owner] + choices.lengths >= LONG)
    each, total = _mixed(_whole(choices)), np.zeros(table.height, np.uint64)
    np.add.at(total, owner[some], each[some])
    runs = {
        "asked": _rolling(asked, RUN),
        "ending": (owner[some], _joined(_tails(asked, RUN), choices, owner, RUN)[some]),
        "beginning": (owner[some], _joined(_heads(asked, RUN), choices, owner, RUN)[some]),
        "long": (owner[full], _joined(_tails(asked, LONG), choices, owner, LONG)[full]),
    }
    size = asked.lengths + np.bincount(owner, choices.lengths, table.height).astype(np.int64)
    return Texts(_mixed(_whole(asked)) * BASE + total, size, runs)


def _words(texts: pl.Series) -> _Words:
    import polars as pl

    lists = texts.alias("text").to_frame().select(words=word_lists(pl.col("text").fill_null("")))
    lengths = lists["words"].list.len().to_numpy().astype(np.int64)
    return _Words(lists.explode("words", empty_as_null=False, keep_nulls=False)["words"].hash().to_numpy(), lengths)


def _power(n: int) -> np.uint64:
    return np.uint64(pow(int(BASE), n, 1 << 64))


def _mixed(values: U64) -> U64:
    """The values spread over all bits, so that sums of them tell sets apart."""
    values = (values ^ (values >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
    return np.asarray(values ^ (values >> np.uint64(29)))


def _rolling(words: _Words, n: int) -> tuple[NDArray[np.int64], U64]:
    """(text, hash) of every run of n words within one text."""
    total = max(len(words.values) - n + 1, 0)
    runs = np.zeros(total, np.uint64)
    for i in range(n):
        runs = runs * BASE + words.values[i : i + total]
    text = np.repeat(np.arange(len(words.lengths)), words.lengths)
    inside = text[:total] == text[n - 1 :]
    return text[:total][inside], runs[inside]


def _tails(words: _Words, n: int) -> list[U64]:
    """For s = 0 … n, the hashes of the last s words of every text, of all of them where it has fewer."""
    tails = [np.zeros(len(words.lengths), np.uint64)]
    for s in range(n):
        there = words.lengths > s
        last = np.zeros(len(there), np.uint64)
        last[there] = words.values[(words.ends - 1 - s)[there]] * _power(s)
        tails.append(tails[-1] + last)
    return tails


def _heads(words: _Words, n: int) -> list[U64]:
    """For s = 0 … n, the hashes of the first s words of every text, of all of them where it has fewer."""
    heads = [np.zeros(len(words.lengths), np.uint64)]
    for s in range(n):
        there = words.lengths > s
        more = heads[-1].copy()
        more[there] = more[there] * BASE + words.values[(words.ends - words.lengths + s)[there]]
        heads.append(more)
    return heads


def _joined(before: list[U64], choices: _Words, owner: NDArray[np.int64], n: int) -> U64:
    """For each choice the hash of n words: its last n, and `before` it as many of the question's as are left."""
    own, size = _tails(choices, n)[n], np.minimum(choices.lengths, n)
    result = own.copy()
    for k in range(n):
        some = size == k
        result[some] += before[n - k][owner[some]] * _power(k)
    return result


def _whole(words: _Words) -> U64:
    """One hash of all words of every text, in order."""
    place = np.arange(len(words.values)) - np.repeat(words.ends - words.lengths, words.lengths)
    powers = np.cumprod(np.r_[np.uint64(1), np.full(max(int(words.lengths.max(initial=0)), 1), BASE, np.uint64)])
    sums = np.r_[np.uint64(0), np.cumsum(_mixed(words.values) * powers[place], dtype=np.uint64)]
    return np.asarray(sums[words.ends] - sums[words.ends - words.lengths] + words.lengths.astype(np.uint64))
