"""Filter `artefacts`: how far a question's answer can be told from its text, by models that never saw its clip.

Two linear models, of the choices alone and of question and choices, on hashed words, pairs of words and length,
cross-validated by clip (`datagen/chooser.py`). That is a column: what can be told from text may be what a model learns.

`artefacts=aflite` drops by adversarial filtering (AFLite: Sakaguchi et al. 2019, https://arxiv.org/abs/1907.10641; Le
Bras et al. 2020, https://arxiv.org/abs/2002.04108): an ensemble of both models is fitted on random halves of the clips,
and the rows go that it has right most often, some at a time. There it differs from the papers: it stops as soon as both
models are within half a point of chance, and a step is half of what is still too much, not a fixed number of rows.
It costs valid questions: whatever is easy looks like an artefact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datagen.baselines import MODELS
from datagen.chooser import (
    Featured,
    best,
    cross_validated,
    featured,
    fit,
    flatten,
    folds,
    naive_bayes,
    out_of_fold,
    sample,
)
from datagen.errors import UsageError
from datagen.filters.length import clusters, excess
from datagen.filters.wording import verdicts
from datagen.seeds import derive, draws

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from datagen.plugins import Context

__all__ = ["Artefacts", "aflite"]

FITTED = 50_000
"""Rows that the models are fitted on, drawn by a hash of their texts; all are scored."""
LOOKED_AT = 20_000
"""Rows in which the gates are judged, as `datagen/baselines.py` does."""
MEMBERS, TRAINED, PREDICTABLE = 8, 10_000, 0.75
"""Of each of both models in the ensemble; rows that one is fitted on, at most half; share of right guesses (tau)."""
NEAR = 0.005
"""Accuracy above chance where it ends, or one standard error where that is more. Well inside the gate of 2 points, as
other models and orders of the choices find a bit more."""
AT_ONCE = 100_000
"""Rows among which the ensemble looks; more are dealt to several ensembles, by clip."""
FEWEST = 50


class Artefacts:
    """How probable the answer is by the text alone; with `artefacts=aflite` what is predictable is dropped.

    Reason `predictable`. Score: the probability that the model of question and choices gives to the answer. Places do
    not count: `positions` evens them at no cost. Notes: points above chance of both models, and with `aflite`, before
    and after, of naive Bayes too, a judge of another family on held-out clips; and how many measured questions went.
    """

    takes = "aflite, which drops what is predictable"

    def __init__(self, context: Context) -> None:
        if context.value not in (None, "aflite"):
            raise UsageError(f"--filters artefacts={context.value}: use artefacts=aflite, or artefacts for a column")
        self.removes, self.seed = context.value is not None, context.seed
        self.notes: dict[str, str] = {}

    def judge(self, table: pl.DataFrame) -> pl.DataFrame:
        """See `datagen.filters.Filter`."""
        import numpy as np
        import polars as pl

        score = cross_validated(table, question=True, place=False, fitted=FITTED).probability
        kept = np.ones(table.height, dtype=bool)
        if self.removes and table.height >= FEWEST:
            for rows in _dealt(table, self.seed):
                kept[rows] = ~aflite(table[rows], self.seed)
        self.notes = self._told(table, kept)
        reason = pl.Series(["predictable", ""]).gather(kept.astype(np.int64))
        return verdicts(table, reason, pl.Series(score, dtype=pl.Float64))

    def _told(self, table: pl.DataFrame, kept: np.ndarray) -> dict[str, str]:
        import polars as pl

        if table.height < FEWEST:
            return {"models": "too few questions to tell"}
        after = table.filter(pl.Series(kept))
        notes = {name: _above(table, after, question, "linear") for name, question in MODELS.items()}
        if self.removes:
            notes["judge"] = _above(table, after, False, "naive Bayes")
            measured = (table["generator"] == "rules").fill_null(False).to_numpy()
            if measured.any():
                notes["measured"] = f"{(measured & ~kept).sum()} of {measured.sum()} measured questions dropped"
        return notes


def _above(before: pl.DataFrame, after: pl.DataFrame, question: bool, family: str) -> str:
    """Points above chance of a model on held-out clips, before and after."""
    said = []
    for table in (before, after) if after.height < before.height else (before,):
        part = table[sample(table, LOOKED_AT)]
        items = featured(flatten(part), question=question, place=False)
        right = out_of_fold(items, folds(part)[items.rows], naive_bayes if family == "naive Bayes" else fit)
        said.append(f"{100 * float((right - items.chance).mean()):+.1f}" if len(right) else "–")
    return f"{' → '.join(said)} points above chance ({family}, held-out clips)"


def _dealt(table: pl.DataFrame, seed: int) -> list[np.ndarray]:
    """The rows of each ensemble, with all rows of a clip in one."""
    import numpy as np

    parts = -(-table.height // AT_ONCE)
    part = draws(seed, "ensemble", table["clip_id"].fill_null("")) % np.uint64(parts)
    return [rows for i in range(parts) if len(rows := np.flatnonzero(part == i))]


def aflite(table: pl.DataFrame, seed: int) -> np.ndarray:
    """Which rows are predictable, (rows,): without them both models are near chance, or none is left to drop."""
    import numpy as np

    order = sample(table, table.height)
    table = table[order]
    clips, fold, drawn = clusters(table), folds(table), draws(seed, "predictable", table["id"])
    flat = flatten(table)
    models = [featured(flat, question=question, place=False) for question in MODELS.values()]
    rows = models[0].rows
    alive = np.ones(len(rows), dtype=bool)
    step = 0
    while surplus := max(_surplus(items, alive, clips[rows], fold[rows]) for items in models):
        draw = derive(seed, "aflite", step)
        score = np.mean([_predictability(items, alive, clips[rows], draw) for items in models], axis=0)
        ready = np.flatnonzero(alive & (score >= PREDICTABLE))
        gone = ready[np.lexsort((drawn[rows][ready], -score[ready]))][: max(1, surplus // 2)]
        alive[gone] = False
        step += 1
        if len(gone) < max(1, surplus // 2):
            break
    dropped = np.zeros(table.height, dtype=bool)
    dropped[order[rows[~alive]]] = True
    return dropped


def _surplus(items: Featured, alive: np.ndarray, clips: np.ndarray, fold: np.ndarray) -> int:
    """How many right guesses too many a cross-validated model makes; 0 where it is near enough to chance."""
    import numpy as np

    looked = np.flatnonzero(alive)[:LOOKED_AT]  # rows stand in the order of a hash
    if len(looked) < FEWEST:
        return 0
    some = np.zeros(len(alive), dtype=bool)
    some[looked] = True
    part = items.only(some)
    mean, error = excess(out_of_fold(part, fold[some]) - part.chance, clips[some])
    return int(mean / (1 - part.chance.mean()) * np.count_nonzero(alive)) if mean > max(NEAR, error) else 0


def _predictability(items: Featured, alive: np.ndarray, clips: np.ndarray, seed: int) -> np.ndarray:
    """The share of guesses of the members that are right, each on clips that it was not fitted on, (questions,)."""
    import numpy as np

    rng = np.random.default_rng(seed)
    right, asked = np.zeros(len(alive)), np.zeros(len(alive))
    most = min(TRAINED, int(np.count_nonzero(alive)) // 2)
    for _ in range(MEMBERS):
        rank = rng.permutation(int(clips.max()) + 1)[clips]
        train = alive & (rank < np.partition(rank[alive], most)[most])
        if not train.any():
            continue
        part = items.only(train)
        credit = best(items.features.scores(fit(part.features, part.sizes, part.right)), items)
        right[~train] += credit[~train]
        asked[~train] += 1
    return right / np.maximum(asked, 1)
