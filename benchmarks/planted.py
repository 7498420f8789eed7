"""Does every filter find what it is there for? Planted defects and clean rows, by filter.

    python benchmarks/planted.py [--only answerable,modality] [--json]

Prints {filter: {planted, found, false_alarms, clean}}; exit 1 where a filter has fewer than 20 planted, finds less than
90 % of them, or drops more than 2 % of the clean rows. To add a filter, add a function to PLANTS that returns Counts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import planted_texts as texts
import polars as pl
import soundfile
from fingerprints import FORMS, made
from generated import questions
from planted_probes import PROBED, items, verdicts_on

from datagen.audio import RATE, load, sha256
from datagen.baselines import baselines
from datagen.filters import FILTERS
from datagen.filters.positions import reletter
from datagen.leakage import Benchmarks, read
from datagen.plugins import Context, resolve
from datagen.prompts import Prompts

__all__ = ["PLANTS", "counts", "passes"]

Counts = dict[str, int]
"""planted, found, false_alarms, clean"""
CLEAN = 1_000
"""Generated clean rows beside the planted ones."""
ITEMS = questions(1_000, seed=11, defects=False).select("question", "choices", name=pl.format("item {}", "id"))
CONTEXT = Context(seed=0, prompts=Prompts(), against=Benchmarks(ITEMS, {"youtube:-HG3Omg_89c": "a video"}))


def counts(verdicts: pl.DataFrame, planted: Sequence[bool]) -> Counts:
    """What the verdicts found of `planted`, a flag a row."""
    dropped, bad = ~verdicts["keep"], pl.Series(planted, dtype=pl.Boolean)
    return {
        "planted": int(bad.sum()),
        "found": int((dropped & bad).sum()),
        "false_alarms": int((dropped & ~bad).sum()),
        "clean": int((~bad).sum()),
    }


def passes(found: Counts) -> bool:
    """At least 20 planted, 90 % of them found, at most 2 % false alarms."""
    enough = found["planted"] >= 20 and found["found"] >= 0.9 * found["planted"]
    return enough and found["false_alarms"] <= 0.02 * found["clean"]


def judged(name: str, bad: Sequence[dict[str, Any]], clean: Sequence[dict[str, Any]] = ()) -> Counts:
    """The filter `name` on planted rows, clean ones written by hand, and generated clean ones; each row a change of a
    generated one, which says what the row is about."""
    base = questions(CLEAN + len(bad) + len(clean), seed=1, defects=False).drop("defect")
    changed = [old | new for old, new in zip(base.iter_rows(named=True), [*bad, *clean], strict=False)]
    rows = [row | {"answer_index": row["choices"].index(row["answer"])} for row in changed]
    table = pl.concat([pl.DataFrame(rows, schema=base.schema), base[len(rows) :]])
    verdicts = resolve("filter", name, FILTERS, "judge")(CONTEXT).judge(table)
    return counts(verdicts, [i < len(bad) for i in range(table.height)])


def asked(items: Iterable[tuple[str, Sequence[str]]], **fields: Any) -> list[dict[str, Any]]:
    """Rows of (question, choices), the first choice being the answer."""
    return [{"question": text, "choices": list(choices), "answer": choices[0], **fields} for text, choices in items]


def with_choice(choice: str) -> dict[str, Any]:
    """A row in which one wrong choice is `choice`."""
    return {"choices": ["a barking dog", "a ringing bell", choice, "a passing car"], "answer": "a barking dog"}


def answerable() -> Counts:
    """Choices that are none, questions without an answer."""
    bad = [with_choice(choice) for choice in texts.CHOICES_THAT_ARE_NONE]
    bad += [{"question": question} for question in texts.QUESTIONS_WITHOUT_ANSWER]
    return judged("answerable", bad, asked(texts.ANSWERS_THAT_LOOK_EMPTY))


def modality() -> Counts:
    """Questions and choices of what is seen or written, answers that quote a caption."""
    bad = [{"question": question} for question in texts.QUESTIONS_OF_WHAT_IS_SEEN]
    bad += [with_choice(choice) for choice in texts.CHOICES_OF_WHAT_IS_SEEN]
    return judged("modality", bad, asked(texts.SOUND_WORDS_THAT_LOOK_LIKE_SIGHT))


def wellformed() -> Counts:
    """Labels, answers in questions, broken and empty texts, and odd ones in which nothing is wrong."""
    return judged("wellformed", asked(texts.BADLY_FORMED), asked(texts.WELL_FORMED))


def relation() -> Counts:
    """A corpus's own questions about what is seen, and the same of written ones."""
    view = [
        {"generator": "human", "provenance": f'{{"attributes":{{"question_relation":"{word}"}}}}'} for word in VIEWS
    ]
    colour = [{"generator": "human", "question": question} for question in texts.QUESTIONS_OF_COLOUR]
    heard = [row | {"provenance": row["provenance"].replace("iew", "oth")} for row in view]
    written = [row | {"generator": "llm"} for row in [*view, *colour]]
    return judged("relation", view + colour, [row for row in heard if "oth" in row["provenance"]] + written)


VIEWS = ["View"] * 10 + ["view"] * 4 + [" View "] * 2


def grounded() -> Counts:
    """Answers that no caption speaks of, wrong choices that one does."""
    bad = [
        {"captions": list(captions), "choices": list(choices), "answer": choices[0], "question": "What is going on?"}
        for captions, choices in texts.UNSUPPORTED
    ]
    good = [row | {"answer": choices[-1]} for row, (_, choices) in zip(bad, texts.UNSUPPORTED, strict=True)]
    return judged("grounded", bad, [row for row, (_, choices) in zip(good, texts.UNSUPPORTED, strict=True)])


def distractors() -> Counts:
    """Choices that say the same, that hold the answer, or that make the answer stand out."""
    bad = [*texts.CHOICES_THAT_SAY_THE_SAME, *texts.CHOICES_WITHIN_CHOICES, *texts.ANSWERS_THAT_STAND_OUT]
    rows = [asked(("What is it?", choices) for choices in group) for group in (bad, texts.CHOICES_THAT_DIFFER)]
    return judged("distractors", *rows)


def overlap() -> Counts:
    """Questions that share a word with the answer alone."""
    return judged("overlap", asked(texts.QUESTIONS_THAT_SHARE_WORDS), asked(texts.QUESTIONS_THAT_SHARE_NONE))


def leakage() -> Counts:
    """Items of a benchmark as they are, reordered, reworded, in part, and cuts of a video; the same question with other
    choices, or with one of them, is clean, and so are the items of another benchmark."""
    rows = ITEMS.head(20 * len(texts.SAME_ITEM)).rows()
    bad = []
    for i, (question, choices, _) in enumerate(rows):
        asked, offered = texts.SAME_ITEM[i % len(texts.SAME_ITEM)](question, choices)
        bad.append({"question": asked, "choices": offered, "answer": offered[0]})
    bad += [{"clip_id": f"gen/-HG3Omg_89c_{i:06}"} for i in range(20)]
    others = questions(len(rows), seed=12, defects=False)["choices"].to_list()
    good = [
        {
            "question": row[0],
            "choices": [row[1][0], *other[1:]] if i % 2 else other,
            "answer": row[1][0] if i % 2 else other[0],
        }
        for i, (row, other) in enumerate(zip(rows, others, strict=True))
    ]
    found = judged("leakage", bad, good)
    return {name: number + leaked_audio()[name] for name, number in found.items()}


@cache
def leaked_audio() -> Counts:
    """Clips that are in a folder of a benchmark's audio: quieter, as MP3, cut, or cut, quieter and MP3; and others."""
    clips, _ = made(60)
    samples = list(clips.values())
    with TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "test").mkdir()
        for i, sound in enumerate(samples[:24]):
            soundfile.write(folder / f"test/{i}.wav", list(LEAKS.values())[i % len(LEAKS)](sound, i), RATE)
        for i, sound in enumerate(samples):
            soundfile.write(folder / f"{i}.flac", sound, RATE)
        rows = questions(len(samples), seed=14, defects=False).drop("defect").with_columns(
            path=pl.Series([str(folder / f"{i}.flac") for i in range(len(samples))]),
            sha256=pl.Series([sha256(load(folder / f"{i}.flac")) for i in range(len(samples))]),
            cut_start=pl.lit(None, pl.Float64), cut_end=pl.lit(None, pl.Float64),
        )  # fmt: skip
        context = replace(CONTEXT, against=read([], folder / "test"))
        verdicts = resolve("filter", "leakage", FILTERS, "judge")(context).judge(rows)
    return counts(verdicts, [i < 24 for i in range(len(samples))])


LEAKS = {name: FORMS[name] for name in ("gain_-20_dB", "mp3_middle", "cut_to_70_%", "cut_to_50_%_quiet_mp3")}


def duplicates() -> Counts:
    """A question again about its clip, in another case, spacing, order, or with a word more."""
    base = questions(CLEAN, seed=2, defects=False).drop("defect")
    kinds = list(texts.SAME_QUESTION)
    copies = base.head(5 * len(kinds)).with_columns(
        id=pl.format("again {}", "id"),
        question=pl.Series(
            [kinds[i % len(kinds)](text) for i, text in enumerate(base["question"].head(5 * len(kinds)))]
        ),
    )
    elsewhere = base.tail(100).with_columns(
        id=pl.format("elsewhere {}", "id"), sha256=pl.lit("other"), clip_id=pl.col("id")
    )
    elsewhere = elsewhere.with_columns(sha256="clip_id")
    table = pl.concat([base, copies, elsewhere])
    verdicts = resolve("filter", "duplicates", FILTERS, "judge")(CONTEXT).judge(table)
    return counts(verdicts, [id.startswith("again ") for id in table["id"]])


def semantic(model: str, rows: int = CLEAN) -> Counts:
    """Pairs of questions of one clip that ask the same in other words; clean: pairs that do not, and generated rows."""
    table = questions(rows, seed=13, defects=False).drop("defect")
    pairs = [*texts.SAME_MEANING, *texts.OTHER_MEANING]
    changes = [
        {"id": f"{i} {place}", "clip_id": f"pair/{i}", "sha256": "", "question": question, "answer": answer}
        for i, pair in enumerate(pairs)
        for place, (question, answer) in enumerate(pair)
    ]
    changed = [old | new for old, new in zip(table.iter_rows(named=True), changes, strict=False)]
    table = pl.concat([pl.DataFrame(changed, schema=table.schema), table[len(changes) :]])
    context = replace(CONTEXT, value=model)
    verdicts = resolve("filter", "semantic", FILTERS, "judge")(context).judge(table)
    return counts(verdicts, [i < 2 * len(texts.SAME_MEANING) and i % 2 == 1 for i in range(table.height)])


# ── filters that drop as much as is too much: what is planted is the surplus, whichever rows hold it ──────────────────


def surplus(name: str, table: pl.DataFrame, bad: pl.Series, allowed: float) -> Counts:
    """A filter of shares: rows `bad` may hold the share `allowed` of what is kept; all others are clean."""
    verdicts = resolve("filter", name, FILTERS, "judge")(CONTEXT).judge(table)
    kept, clean = verdicts["keep"], int((~bad).sum())
    planted = int(bad.sum() - allowed / (1 - allowed) * clean)
    left = max(0, int((kept & bad).sum() - allowed / (1 - allowed) * int((kept & ~bad).sum())))
    return {"planted": planted, "found": planted - left, "false_alarms": int((~kept & ~bad).sum()), "clean": clean}


def answer_frequency() -> Counts:
    """One answer in 15 % of the questions, in several cases and spacings."""
    table = questions(2_000, seed=3, defects=False)
    bad = pl.Series([i % 7 == 0 for i in range(table.height)])
    spelled = pl.Series(["a Dog", "A dog", "a  dog", "a dog ", "A DOG"]).gather([i % 5 for i in range(table.height)])
    table = table.with_columns(answer=pl.when(bad).then(spelled).otherwise("answer"))
    return surplus("answer_frequency", table, bad, 0.05)


def templates() -> Counts:
    """A wording filled in again and again in 40 % of the questions, with one to three words."""
    table = questions(2_000, seed=4, defects=False)
    bad = pl.Series([i % 5 < 2 for i in range(table.height)])
    filled = pl.format(
        "How many times does the {} start and stop in the clip?", pl.col("answer").str.strip_prefix("a ")
    )
    return surplus("templates", table.with_columns(question=pl.when(bad).then(filled).otherwise("question")), bad, 0.20)


def length() -> Counts:
    """40 % of the answers are the longest choice, or the shortest; what is found is how far the gate brings it down."""
    found = dict.fromkeys(("planted", "found", "false_alarms", "clean"), 0)
    for change in (pl.format("{}, over and over", "answer"), pl.lit("dog")):
        table = questions(4_000, seed=5, defects=False)
        some = pl.int_range(pl.len()) % 5 == 0
        new = pl.when(some).then(change).otherwise("answer")
        choices = [
            pl.when(pl.col("answer_index") == i).then(new).otherwise(pl.col("choices").list.get(i)) for i in range(4)
        ]
        changed = table.with_columns(choices=pl.concat_list(choices), answer=new)
        judge = resolve("filter", "length", FILTERS, "judge")(CONTEXT)
        before, after = (worth(part) for part in (changed, changed.filter(judge.judge(changed)["keep"])))
        found["planted"] += int(before)
        found["found"] += int(before - max(after, 0))
        found["false_alarms"] += int((~judge.judge(table)["keep"]).sum())
        found["clean"] += table.height
    return found


def worth(table: pl.DataFrame) -> float:
    """Questions more than by chance in which the longest, or the shortest, choice is right: whichever is more."""
    figures = baselines(table)
    return table.height * (max(figures["longest"], figures["shortest"]) - figures["random"])


def positions() -> Counts:
    """40 % of the answers stand first; found is what no longer does, false alarms are questions that became others."""
    table = questions(2_000, seed=6, defects=False)
    table = table.with_columns(
        choices=pl.when(pl.int_range(pl.len()) % 5 == 0)
        .then(pl.concat_list("answer", pl.col("choices").list.set_difference(pl.concat_list("answer"))))
        .otherwise("choices")
    ).filter(pl.col("choices").list.len() == 4)
    first = table["choices"].list.first() == table["answer"]
    table = table.with_columns(answer_index=pl.when(first).then(0).otherwise("answer_index").cast(pl.Int32))
    after = reletter(table, 0)
    even = table.height / 4
    same = after["choices"].list.sort() == table["choices"].list.sort()
    right = after.select(pl.col("choices").list.get(pl.col("answer_index")) == pl.col("answer")).to_series()
    planted = int(first.sum() - even)
    return {
        "planted": planted,
        "found": planted - max(0, int((after["answer_index"] == 0).sum() - even)),
        "false_alarms": int((~(same & right)).sum()),
        "clean": table.height,
    }


def balance() -> Counts:
    """One answer in 15 %, and one form of the rules in 40 %, of the questions."""
    found = dict.fromkeys(("planted", "found", "false_alarms", "clean"), 0)
    table = questions(4_000, seed=7, defects=False)
    row = pl.Series(range(table.height))
    often, form = row % 7 == 0, row % 5 < 2
    named = pl.when(form).then(pl.lit("one")).otherwise("form " + (row % 19).cast(pl.String))
    rows = [
        (table.with_columns(answer=pl.when(often).then(pl.lit("a dog")).otherwise("answer")), often, 0.05),
        (table.with_columns(provenance=pl.lit('{"form":"') + named + pl.lit('"}')), form, 0.20),
    ]
    for changed, wrong, share in rows:
        for name, number in surplus("balance", changed, wrong, share).items():
            found[name] += number
    return found


def probed(name: str) -> Counts:
    """A filter that asks a model, which is scripted."""
    value, change = PROBED[name]
    rows = items(change)
    return counts(verdicts_on(name, value, rows), [planted for _, _, planted in rows])


def artefacts() -> Counts:
    """A word that only answers have in 20 % of the questions, and one that only their distractors have.

    Found are the right guesses of the model of the choices, beyond those by chance, that `artefacts=aflite` takes away.
    """
    table = questions(4_000, seed=8, defects=False)
    bad = pl.int_range(pl.len()) % 5 == 0
    row = table.with_columns(other=pl.when(bad).then(pl.lit(" nearby")).otherwise(pl.lit("")))
    row = row.with_columns(mark=pl.col("other").str.replace("nearby", "gently"))
    choices = [
        pl.col("choices").list.get(i) + pl.when(pl.col("answer_index") == i).then("mark").otherwise("other")
        for i in range(4)
    ]
    changed = row.with_columns(choices=pl.concat_list(choices), answer=pl.col("answer") + pl.col("mark"))
    changed = changed.drop("other", "mark")
    keep = judge_with("artefacts", "aflite", changed)["keep"]
    before, after = (guessed_right(part) for part in (changed, changed.filter(keep)))
    dropped = ~judge_with("artefacts", "aflite", table)["keep"]
    return {
        "planted": int(before),
        "found": int(before - max(after, 0)),
        "false_alarms": int(dropped.sum()),
        "clean": table.height,
    }


def judge_with(name: str, value: str, table: pl.DataFrame) -> pl.DataFrame:
    """What a filter with a value says of a table."""
    return resolve("filter", name, FILTERS, "judge")(replace(CONTEXT, value=value)).judge(table)  # type: ignore[no-any-return]


def guessed_right(table: pl.DataFrame) -> float:
    """Questions more than by chance that a model of the choices alone has right."""
    figures = baselines(table)
    return float(table.height * (figures["choices_only"] - figures["random"]))


PLANTS: dict[str, Callable[[], Counts]] = {
    "wellformed": wellformed,
    "answerable": answerable,
    "modality": modality,
    "relation": relation,
    "grounded": grounded,
    "distractors": distractors,
    "overlap": overlap,
    "leakage": leakage,
    "duplicates": duplicates,
    "answer_frequency": answer_frequency,
    "templates": templates,
    "length": length,
    "positions": positions,
    "artefacts": artefacts,
    "balance": balance,
    **{name: partial(probed, name) for name in PROBED},
}
"""Filter → what it made of its planted rows."""


def main() -> None:
    """Prints the table; exit 1 when a filter does not pass."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default=",".join(PLANTS))
    parser.add_argument("--semantic-model", help="folder or Hub id of all-MiniLM-L6-v2: adds `semantic`")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = {name: PLANTS[name]() for name in args.only.split(",") if name}
    if args.semantic_model:
        found["semantic"] = semantic(args.semantic_model)
    if args.json:
        print(json.dumps(found))
    else:
        for name, row in found.items():
            print(f"{name:<18}", row, "" if passes(row) else "FAILS")
    sys.exit(not all(map(passes, found.values())))


if __name__ == "__main__":
    main()
