"""One question asked twice about the same audio, word for word or nearly so: the first in table order stays.

The same question about another clip is no duplicate. Clips with the same decoded audio count as one clip.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from datagen.filters.readings import number
from datagen.filters.wording import key, verdicts
from datagen.language import word_lists

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from datagen.plugins import Context

__all__ = ["NEAR", "Duplicates", "near_pairs"]

NEAR = 0.8
"""Jaccard index of the word sets of question and answer from which two questions of a clip count as one.

The answer's words are part of it because "which comes first" and "which comes last" differ in one word of many.
"""
SLICE = 50_000
"""Questions whose words are looked at together."""
PAIRS = 20_000_000
"""Pairs looked at together; bounds the memory when one clip has very many questions."""


class Duplicates:
    """The same question twice about one clip, exactly (folded) or nearly (word overlap of 0.8 and more).

    Reasons `exact_duplicate` and `near_duplicate`; the score is the overlap with the question that stays.
    """

    takes = "the overlap of words from which two questions are one"

    def __init__(self, context: Context) -> None:
        given = number("duplicates", context.value)
        self.threshold = NEAR if given is None else given

    def judge(self, table: pl.DataFrame) -> pl.DataFrame:
        """See `datagen.filters.Filter`; `sha256` (of the clip's audio) is used where the table has it."""
        import numpy as np
        import polars as pl

        clip = clip_key(table)
        words = word_sets(table)
        text = pl.concat([texts(part) for part in table.select("question").iter_slices(SLICE)] or [texts(table)])
        number = pl.DataFrame({"clip": clip, "text": text, "words": words.hash()}).with_row_index()
        origin = number.select(pl.col("index").first().over("clip", "text")).to_series().to_numpy()
        stands = number.select(pl.col("index").first().over("clip", "words")).to_series().to_numpy()
        alone = np.flatnonzero(stands == np.arange(table.height))
        pairs = near_pairs(clip.gather(alone), words.gather(alone), self.threshold)
        pairs = pairs.select(a=pl.Series(alone[pairs["a"]]), b=pl.Series(alone[pairs["b"]]), score="score")
        found = list(fates(origin, stands, pairs))
        rows = pl.Series([row for row, _, _ in found], dtype=pl.UInt32)
        none = pl.repeat(None, table.height, dtype=pl.Float64, eager=True)
        reason = pl.repeat("", table.height, dtype=pl.String, eager=True)
        return verdicts(
            table,
            reason.scatter(rows, pl.Series([reason for _, reason, _ in found], dtype=pl.String)),
            none.scatter(rows, pl.Series([score for _, _, score in found], dtype=pl.Float64)),
        )


def clip_key(table: pl.DataFrame) -> pl.Series:
    """A number for the audio of each row: one for equal hashes where there are hashes, else for equal clip ids."""
    import polars as pl

    named = pl.col("clip_id")
    if "sha256" in table.columns:
        named = pl.when(pl.col("sha256").fill_null("") != "").then("sha256").otherwise("clip_id")
    return table.select(clip=named.cast(pl.Categorical)).to_series().to_physical()


def texts(table: pl.DataFrame) -> pl.Series:
    """A hash of each question, equal where they count as equal."""
    import polars as pl

    return table.select(text=key(pl.col("question").fill_null("")).hash())["text"]


def word_sets(table: pl.DataFrame) -> pl.Series:
    """The distinct words of question and answer of each row as sorted numbers (list[u32]), the rarest word lowest."""
    import numpy as np
    import polars as pl

    parts = [coded_words(part) for part in table.select("question", "answer").iter_slices(SLICE)]
    every = pl.concat([pl.Series(dtype=pl.UInt32), *(coded.to_physical() for _, coded in parts)])
    rarity = np.argsort(np.argsort(np.bincount(every.to_numpy()), kind="stable"), kind="stable").astype(np.uint64)
    sets = [_sets(counts, rarity[coded.to_physical().to_numpy()]) for counts, coded in parts]
    return pl.concat([pl.Series(dtype=pl.List(pl.UInt32)), *sets])


def coded_words(table: pl.DataFrame) -> tuple[np.ndarray, pl.Series]:
    """The number of words of question and answer in each row, (rows,), and all of them (categorical).

    The numbers of categories mean the same in several such series as long as one of them lives.
    """
    import numpy as np
    import polars as pl

    answer = word_lists(pl.col("answer").fill_null("")).list.eval("= " + pl.element())
    lists = table.select(words=pl.concat_list(word_lists(pl.col("question").fill_null("")), answer))["words"]
    counts = lists.list.len().to_numpy().astype(np.int64)
    return counts, lists.explode(empty_as_null=False, keep_nulls=False).cast(pl.Categorical)


def _sets(counts: np.ndarray, numbers: np.ndarray) -> pl.Series:
    """The distinct `numbers` (uint64) of each row in order, `counts` of which belong to it (list[u32])."""
    import numpy as np
    import polars as pl

    rows = np.repeat(np.arange(len(counts), dtype=np.uint64), counts)
    sets = pl.Series((rows << np.uint64(32)) | numbers).unique().sort().to_numpy()  # numpy's own takes 20 times as long
    table = pl.DataFrame({"row": (sets >> np.uint64(32)).astype(np.uint32), "words": sets.astype(np.uint32)})
    grouped = table.group_by("row", maintain_order=True).agg("words")
    each = pl.DataFrame({"row": np.arange(len(counts), dtype=np.uint32)})
    return each.join(grouped, on="row", how="left", maintain_order="left")["words"].fill_null([])


def near_pairs(clip: pl.Series, words: pl.Series, near: float) -> pl.DataFrame:
    """Pairs of rows of one clip whose word sets overlap by `near` and more: a < b (rows), score; in the order of b.

    Two sets with an overlap of `near` share a word among the rarest n - ceil(near·n) + 1 of each (Chaudhuri et al.
    2006), so only rows that do are compared.
    """
    import polars as pl

    size = pl.col("words").list.len()
    table = pl.DataFrame({"clip": clip, "words": words}).with_row_index("row").filter((pl.len() > 1).over("clip"))
    rare = table.select(
        "clip", "row", size=size, word=pl.col("words").list.head((size * (1 - near) + 1e-9).floor() + 1)
    )
    rare = rare.explode("word", empty_as_null=False, keep_nulls=False).filter((pl.len() > 1).over("clip", "word"))
    rare = rare.sort("clip", "word", "row")
    squares = rare.select(pl.len().over("clip", "word").cast(pl.Int64).cum_sum() // PAIRS).to_series()
    found = [_compared(part.drop("part"), words, near) for part in rare.with_columns(part=squares).partition_by("part")]
    empty = pl.DataFrame(schema={"a": pl.UInt32, "b": pl.UInt32, "score": pl.Float64})
    return pl.concat([empty, *found]).unique().sort("b", "a")


def _compared(rare: pl.DataFrame, words: pl.Series, near: float) -> pl.DataFrame:
    """Those pairs of rows with a rare word in common that overlap by `near` and more."""
    import polars as pl

    pairs = rare.join(rare, on=["clip", "word"], suffix="_b").filter(
        (pl.col("row") < pl.col("row_b"))
        & (pl.min_horizontal("size", "size_b") >= near * pl.max_horizontal("size", "size_b") - 1e-9)
    )
    pairs = pairs.select(a="row", b="row_b", sizes=pl.col("size") + pl.col("size_b")).unique(["a", "b"])
    pairs = pairs.with_columns(first=words.gather(pairs["a"]), second=words.gather(pairs["b"]))
    shared = pl.col("first").list.set_intersection("second").list.len()
    return pairs.select("a", "b", score=shared / (pl.col("sizes") - shared)).filter(pl.col("score") >= near)


def fates(origin: np.ndarray, stands: np.ndarray, pairs: pl.DataFrame) -> Iterator[tuple[int, str, float]]:
    """(row, reason, score) of every row that repeats an earlier one that stays, in order.

    `origin`, `stands`: the first row of the clip with the same text, and with the same words, which stands for all that
    have them; `pairs`: of `near_pairs`, between such rows. Only rows that could repeat another are gone through.
    """
    import numpy as np

    near: dict[int, list[tuple[int, float]]] = {}
    for a, b, score in pairs.iter_rows():
        near.setdefault(b, []).append((a, score))
        near.setdefault(a, []).append((b, score))
    every = np.arange(len(origin))
    wanted = np.union1d(np.flatnonzero((origin != every) | (stands != every)), np.array(list(near), dtype=np.int64))
    dropped, kept_again = set[int](), set[int]()
    for row in wanted.tolist():
        text, words = int(origin[row]), int(stands[row])
        if text != row and (text not in dropped or text in kept_again):
            dropped.add(row)
            yield row, "exact_duplicate", 1.0
            continue
        scores = [score for other, score in near.get(words, ()) if other < row and other not in dropped]
        if words != row and words not in dropped:
            scores.append(1.0)
        if scores:
            dropped.add(row)
            yield row, "near_duplicate", max(scores)
        elif text != row:
            kept_again.add(text)
