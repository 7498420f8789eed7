"""Filter `semantic`: one question asked twice about one clip in other words, by sentence embeddings (extra `[models]`).

Embeddings cannot tell "before the bell" from "after the bell" (cosine 0.95). Questions that differ in a word or two are
therefore left to `duplicates`: only a pair that shares fewer than half of its words can be one in other words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from datagen.errors import UsageError
from datagen.filters.duplicates import clip_key
from datagen.filters.wording import verdicts
from datagen.language import words
from datagen.plugins import needs

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from datagen.plugins import Context

__all__ = ["ALIKE", "FEWER", "Semantic", "embedded"]

ALIKE = 0.64
"""Cosine of question and answer from which two questions of a clip ask the same (all-MiniLM-L6-v2)."""
FEWER = 0.5
"""Jaccard index of the questions' words below which a pair is looked at."""
ROWS = 20_000
"""Questions whose embeddings are in memory together, whole clips."""
BATCH, TOKENS = 64, 256


class Semantic:
    """One question twice about one clip in other words: cosine of sentence embeddings of question and answer.

    Reason `semantic_duplicate`; the score is the greatest cosine with an earlier question of the clip that stays, also
    where it is kept; null for the first. Pairs that share half of their words and more are not looked at.
    """

    takes = "MODEL of sentence embeddings, a folder or Hub id, or MODEL:COSINE"

    def __init__(self, context: Context) -> None:
        if not context.value:
            raise UsageError("--filters semantic: names no model: use semantic=FOLDER or semantic=HUB_ID")
        given = re.fullmatch(r"(.+):(0?\.\d+|[01](?:\.0*)?)", context.value)
        self.model, self.alike = (given[1], float(given[2])) if given else (context.value, ALIKE)
        _encoder(self.model)

    def judge(self, table: pl.DataFrame) -> pl.DataFrame:
        """See `datagen.filters.Filter`; `sha256` (of the clip's audio) is used where the table has it."""
        import polars as pl

        rows = table.select("question", "answer", clip=clip_key(table)).fill_null("").with_row_index("row")
        rows = rows.filter((pl.len() > 1).over("clip")).sort("clip", "row")
        scores = pl.repeat(None, table.height, dtype=pl.Float64, eager=True)
        for part in _whole_clips(rows):
            vectors = embedded((part["question"] + " " + part["answer"]).to_list(), self.model)
            for clip in part.with_row_index("place").partition_by("clip", maintain_order=True):
                found = _scores(vectors[clip["place"].to_numpy()], clip["question"].to_list(), self.alike)
                scores = scores.scatter(clip["row"], pl.Series(found, dtype=pl.Float64))
        reason = pl.when(scores >= self.alike).then(pl.lit("semantic_duplicate")).otherwise(pl.lit(""))
        return verdicts(table, reason, scores)


def _whole_clips(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """`rows`, sorted by clip, in parts of some ROWS rows that cut no clip."""
    import polars as pl

    last = rows.select(pl.col("row").cum_count().max().over("clip") // ROWS).to_series()
    yield from rows.with_columns(part=last).partition_by("part", maintain_order=True)


def _scores(vectors: np.ndarray, questions: Sequence[str], alike: float) -> list[float | None]:
    """For each question of one clip its greatest cosine with an earlier one that stays and has other words."""
    told = [frozenset(words(text)) for text in questions]
    cosines = vectors @ vectors.T
    kept: list[int] = []
    scores: list[float | None] = []
    for i, own in enumerate(told):
        others = [j for j in kept if len(own & told[j]) < FEWER * len(own | told[j])]
        scores.append(max((round(float(cosines[i, j]), 4) for j in others), default=None))
        if (scores[-1] or 0.0) < alike:
            kept.append(i)
    return scores


def embedded(texts: Sequence[str], model: str) -> np.ndarray:
    """Sentence embeddings, float32 (texts, dimensions) of length 1: the mean over the tokens of the last layer.

    Raises UsageError for a model that cannot be loaded.
    """
    import numpy as np
    import torch

    tokenize, encode = _encoder(model)
    unique = sorted(set(texts), key=lambda text: (len(text), text))  # alike in length: little padding
    found: list[np.ndarray] = []
    for start in range(0, len(unique), BATCH):
        batch = tokenize(
            unique[start : start + BATCH], padding=True, truncation=True, max_length=TOKENS, return_tensors="pt"
        )
        with torch.inference_mode():
            states = encode(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1)
        mean = (states * mask).sum(1) / mask.sum(1)
        found.append(torch.nn.functional.normalize(mean, dim=1).float().numpy())
    place = {text: i for i, text in enumerate(unique)}
    rows = np.concatenate(found) if found else np.empty((0, 1), np.float32)
    return np.asarray(rows[[place[text] for text in texts]])


@cache
def _encoder(model: str) -> tuple[Any, Any]:
    """(tokenizer, encoder), loaded once."""
    needs("models", "torch", "transformers")
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        return AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).eval()
    except (OSError, ValueError, KeyError) as error:
        why = " ".join(str(error).split())[:200]
        raise UsageError(f"--filters semantic={model}: {why}: name a folder or Hub id of sentence embeddings") from None
