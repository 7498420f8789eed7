"""No answer text and no form of question takes over the dataset, and the answer stands anywhere.

The caps drop questions; which ones is drawn by (seed, question id). `reletter` runs when all dropping is over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from datagen.records import fold
from datagen.seeds import derive, generator

if TYPE_CHECKING:
    import polars as pl

    from datagen.plugins import Context

__all__ = ["Balance", "cap", "reletter"]

ANSWER_SHARE, ANSWER_FLOOR = 0.05, 20
"""An answer text may hold this share of the kept questions; 20 are always allowed, so small sets lose none."""
FORM_SHARE = 0.20
"""A form (`provenance.form`) may hold this share. Questions without a form are not capped."""
LOOSER = 1.6
"""With k texts (or forms) the share is at least 1.6 / k: what 4 forms make up cannot be at 20 % each."""
PRIOR, PRIOR_FLOOR = 1.5, 1
"""Within a form an answer text may be right this many times as often as by chance among the questions that offer it,
and once more. What wins more often can be guessed without listening: on the demo, a model of the choices alone falls
from 46 % to 30 %, the share by chance being 26 %."""


class Balance:
    """Caps: no answer text above 5 % of the questions (20 are always allowed), no form above 20 %, no answer that wins.

    Reasons `answer_prior` (within a form, a text is right more than 1.5 times as often as by chance, and once more),
    `answer_cap` and `form_cap`. All are of what is kept in the end: the caps are applied in turn until none drops
    anything. With fewer than 32 answer texts or 8 forms the share is 1.6 / their number. Questions without a form (a
    language model's) have no `answer_prior`.
    """

    def __init__(self, context: Context) -> None:
        self.seed = context.seed

    def judge(self, table: pl.DataFrame) -> pl.DataFrame:
        """See `datagen.filters.Filter`; the table holds what all earlier filters kept."""
        import polars as pl

        ids = table["id"].to_list()
        groups = {
            "answer_cap": ([fold(answer) for answer in table["answer"]], ANSWER_SHARE, ANSWER_FLOOR),
            "form_cap": (forms(table), FORM_SHARE, 1),
        }
        kinds = {reason: len(set(names) - {""}) for reason, (names, _, _) in groups.items()}
        offers = list(zip(forms(table), table["choices"].to_list(), table["answer"].to_list(), strict=True))
        alive, reasons, before = list(range(table.height)), [""] * table.height, -1
        while len(alive) != before:
            before = len(alive)
            for row in winners(alive, offers, ids, self.seed):
                reasons[row] = "answer_prior"
            alive = [row for row in alive if not reasons[row]]
            for reason, (names, share, floor) in groups.items():
                at_most = max(share, LOOSER / max(kinds[reason], 1))
                limit = max(floor, cap(Counter(names[row] for row in alive if names[row]), len(alive), at_most))
                for row in surplus(alive, names, ids, limit, self.seed):
                    reasons[row] = reason
                alive = [row for row in alive if not reasons[row]]
        return pl.DataFrame(
            {"question_id": ids, "keep": [not reason for reason in reasons], "reason": reasons, "score": None},
            schema={"question_id": pl.String, "keep": pl.Boolean, "reason": pl.String, "score": pl.Float64},
        )


def winners(
    alive: Sequence[int], offers: Sequence[tuple[str, Sequence[str], str]], ids: Sequence[str], seed: int
) -> list[int]:
    """Rows whose answer is right too often for its form; `offers`: form, choices and answer of each row."""
    chance: dict[tuple[str, str], float] = {}
    groups: dict[tuple[str, str], list[int]] = {}
    for row in alive:
        form, choices, answer = offers[row]
        if form:
            groups.setdefault((form, answer), []).append(row)
            for choice in choices:
                chance[form, choice] = chance.get((form, choice), 0.0) + 1 / len(choices)
    over = []
    for kind, rows in groups.items():
        limit = int(chance[kind] * PRIOR + PRIOR_FLOOR + 1e-9)  # the sum's rounding may not decide
        over += sorted(rows, key=lambda row: (derive(seed, "prior", ids[row]), ids[row]))[limit:]
    return over


def forms(table: pl.DataFrame) -> list[str]:
    """`provenance.form` of each row, empty where there is none."""
    import polars as pl

    return table.select(pl.col("provenance").str.json_path_match("$.form").fill_null(""))["provenance"].to_list()


def cap(counts: Counter[str], total: int, share: float) -> int:
    """The most rows that each group may keep so that none has more than `share` of all that are left.

    `total`: rows in all, those of no group too. At least 1, below which nothing is left to balance.
    """
    rest = total - sum(counts.values())
    low, high = 1, max(counts.values(), default=1)
    while low < high:  # allowed limits are an unbroken run from 1 up: what is left is a concave function of the limit
        middle = (low + high + 1) // 2
        left = rest + sum(min(count, middle) for count in counts.values())
        low, high = (middle, high) if middle <= share * left + 1e-9 else (low, middle - 1)
    return low


def surplus(alive: Sequence[int], names: Sequence[str], ids: Sequence[str], limit: int, seed: int) -> list[int]:
    """Rows beyond `limit` of their group; the order in which a group's rows go is drawn by (seed, id)."""
    groups: dict[str, list[int]] = {}
    for row in alive:
        groups.setdefault(names[row], []).append(row)
    over = [rows for name, rows in groups.items() if name and len(rows) > limit]
    return [row for rows in over for row in sorted(rows, key=lambda r: (derive(seed, "cap", ids[r]), ids[r]))[limit:]]


def reletter(table: pl.DataFrame, seed: int) -> pl.DataFrame:
    """`table` with the choices of each question in a new order, in which every place holds the answer equally often.

    Within each split and number of choices the counts of `answer_index` differ by at most 1. The order is a function
    of the seed, the question ids and the sets of choices alone, so neither rows nor choices may arrive in another order
    and change it. Needs `id`, `choices`, `answer`, `answer_index`, and `split` where there is one.
    """
    import polars as pl
    import pyarrow as pa

    ids, sizes = table["id"].to_list(), table["choices"].list.len().to_list()
    splits = table["split"].to_list() if "split" in table.columns else [""] * table.height
    groups: dict[tuple[str, int], list[int]] = {}
    for row, group in enumerate(zip(splits, sizes, strict=True)):
        groups.setdefault(group, []).append(row)
    places = [0] * table.height
    for (part, size), rows in groups.items():
        rows.sort(key=lambda row: (derive(seed, "place", ids[row]), ids[row]))
        first = derive(seed, "first place", part, size)
        for rank, row in enumerate(rows):
            places[row] = (first + rank) % size
    ordered = []
    for start in range(0, table.height, SLICE):  # a list of all choices as Python texts would take 4 kB a question
        some = table.slice(start, SLICE).select("id", "choices", "answer")
        drawn = zip(some.iter_rows(), places[start : start + SLICE], strict=True)
        ordered.append(
            pa.array(
                [
                    reordered(question_id, choices, answer, place, seed)
                    for (question_id, choices, answer), place in drawn
                ],
                pa.list_(pa.string()),
            )
        )
    lettered = pl.from_arrow(pa.chunked_array(ordered, pa.list_(pa.string())))
    return table.with_columns(
        pl.Series("choices", lettered, dtype=pl.List(pl.String)),
        pl.Series("answer_index", places, dtype=table.schema["answer_index"]),
    )


SLICE = 5_000
"""Questions reordered at a time."""


def reordered(question_id: str, choices: Sequence[str], answer: str, place: int, seed: int) -> list[str]:
    """The choices with the answer at `place` and the others shuffled by (seed, id)."""
    others = sorted(choices)
    others.remove(answer)
    generator(seed, "choices", question_id).shuffle(others)
    return [*others[:place], answer, *others[place:]]
