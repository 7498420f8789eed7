"""Scoring: official figures to the last digit, the honest ones beside, and all that can be wrong in a file.

The scripts' behaviour is stated here a second time, from its description (docs/benchmarks.md), apart from the code.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datagen import cli
from datagen.errors import UsageError
from datagen.eval import BENCHMARKS
from datagen.eval.scoring import baselines, score
from datagen.plugins import known
from datagen.statistics import share

SHARED = Path(os.environ.get("DATAGEN_SHARED") or Path(__file__).parents[2] / "shared")
MMAU = SHARED / "data/mmau-test-mini.json"
SCRIPT = Path(os.environ.get("DATAGEN_MMAU_SCRIPT") or "/nowhere")
"""MMAU's evaluation.py, where somebody fetched it: its code is not ours to ship."""
real = pytest.mark.skipif(not MMAU.exists(), reason="the benchmark file lies beside the repository, where it is at all")

SOUNDS = ["a dog", "a big dog", "cats", "rain", "Rain falls", "the siren", "two", "3", "C# minor", "yes, twice", "no"]


def made(n=60, seed=0):
    """A benchmark in MMAU's form: choices that share words, two that are equal, a category that is a list."""
    rng = random.Random(seed)
    rows = []
    for number in range(n):
        choices = rng.sample(SOUNDS, rng.choice([2, 4, 5]))
        rows.append({
            "id": f"u{number}", "audio_id": f"{number}.wav", "question": f"Which sound, {number % 7}?",
            "choices": [*choices, choices[0]] if number == 5 else choices, "answer": rng.choice(choices),
            "dataset": rng.choice(["AudioSet", "meld"]), "task": rng.choice(["sound", "music", "speech"]),
            "split": "test-mini", "category": ["Reasoning"] if number == 3 else "Reasoning",
            "sub-category": f"kind {number % 5}", "difficulty": rng.choice(["easy", "medium", "hard"]),
        })  # fmt: skip
    return rows


def answers(rows, seed=1, key="model_output"):
    """Rows with predictions of every kind, right and wrong; some without the key."""
    rng = random.Random(seed)
    forms = [
        "{}",
        "The answer is {}.",
        "({l}) {}",
        "{l}",
        "",
        "{} {}",
        "['{}']",
        "a the {}",
        "{o} or {}",
        "not {}",
        "狗 {}",
        "NONE",
    ]
    out = []
    for row in rows:
        said, other = rng.choice([row["answer"], rng.choice(row["choices"])]), rng.choice(row["choices"])
        text = rng.choice(forms).format(said, said, o=other, l="ABCDEFGHI"[row["choices"].index(said)])
        out.append({**row, key: text} if rng.random() < 0.85 else row)
    return out


def files(folder, items, predictions):
    data, file = folder / "items.json", folder / "predictions.json"
    data.write_text(json.dumps(items))
    file.write_text(json.dumps(predictions))
    return data, file


def mmau_script(rows, key="model_output"):
    """MMAU's evaluation.py, from its description: {group: {value: (correct, n)}}."""

    def words(text):
        return {word.lower() for word in re.findall(r"\w+", text)}

    counts = {"total": {"": [0, 0]}, "task": {}, "difficulty": {}, "sub-category": {}}
    for row in rows:
        if key not in row:
            continue
        said, gold = words(row[key].lower()), words(row["answer"])
        others = {word for choice in row["choices"] for word in words(choice)} - gold
        right = bool(said) and not gold - said and not said & others
        for group, values in counts.items():
            cell = values.setdefault(row.get(group, ""), [0, 0])
            cell[0] += right
            cell[1] += 1
    return counts


def same(found, expected):
    """Whether a G has the counts of `expected`, and what follows from them."""
    for group, values in expected.items():
        cells = {"": found["total"]} if group == "total" else found[group]
        assert cells == {value: share(*cell) for value, cell in values.items()}


@pytest.mark.parametrize("seed", range(5))
def test_as_published_is_what_the_script_of_mmau_counts(tmp_path, seed):
    items = made(seed=seed)
    given = answers(items, seed)
    found = score(*files(tmp_path, items, given), "mmau")
    official, strict = found["matchers"]["official"], found["matchers"]["strict"]["missing_as_wrong"]
    same(official["as_published"], mmau_script(given))
    same(official["missing_as_wrong"], mmau_script([{"model_output": "", **row} for row in given]))
    assert official["as_published"]["total"]["n"] < strict["total"]["n"] == found["items"] == 60
    assert found["answered"] == sum("model_output" in row for row in given)
    assert set(strict) == {"total", "task", "difficulty", "sub-category", "category", "dataset"}
    assert strict["category"]["Reasoning"] == strict["total"]
    loss = found["format_loss"]["total"]
    right = official["missing_as_wrong"]["total"]["correct"], strict["total"]["correct"]
    assert loss["difference"] * 60 == pytest.approx(right[0] - right[1])
    assert loss["only_official"] - loss["only_strict"] == right[0] - right[1]
    assert loss["only_official"] > 0 < loss["only_strict"]


@real
def test_as_published_on_the_real_file(tmp_path):
    items = json.loads(MMAU.read_text())
    given = answers(items)
    (tmp_path / "p.json").write_text(json.dumps(given))
    same(score(MMAU, tmp_path / "p.json", "mmau")["matchers"]["official"]["as_published"], mmau_script(given))


@real
@pytest.mark.skipif(not SCRIPT.exists(), reason="DATAGEN_MMAU_SCRIPT names no copy of MMAU's evaluation.py")
@pytest.mark.parametrize("seed", range(3))
def test_as_published_is_what_the_script_itself_prints(tmp_path, seed):
    given = answers(json.loads(MMAU.read_text()), seed)
    file = tmp_path / "p.json"
    file.write_text(json.dumps(given))
    printed = subprocess.run(
        [sys.executable, SCRIPT, "--input", file], capture_output=True, text=True, check=True
    ).stdout
    lines = {m[1]: m[2] for m in re.finditer(r"^(.+?) ?: (\d+\.\d\d% over \d+) samples", printed, re.MULTILINE)}
    official = score(MMAU, file, "mmau")["matchers"]["official"]["as_published"]
    ours = {"Total Accuracy": official["total"]}
    for group in ("task", "difficulty", "sub-category"):
        ours |= official[group]
    assert {name: f"{100 * s['correct'] / s['n']:.2f}% over {s['n']}" for name, s in ours.items()} == lines


def test_a_key_of_another_name_is_read_and_named(tmp_path):
    items = made()
    for key in ("model_output", "model_prediction", "answer_prediction", "response", "prediction"):
        found = score(*files(tmp_path, items, answers(items, key=key)), "mmau")
        assert found["predictions"]["key"] == key
        same(found["matchers"]["official"]["as_published"], mmau_script(answers(items, key=key), key))


def test_bare_predictions_in_csv_and_lines_score_alike(tmp_path):
    items = made()
    given = [row for row in answers(items) if row.get("model_output")]
    data, file = files(tmp_path, items, [{"id": row["id"], "model_output": row["model_output"]} for row in given])
    expected = score(data, file, "mmau")
    lines = tmp_path / "p.jsonl"
    lines.write_text("\n".join(json.dumps(row) for row in json.loads(file.read_text())))
    import polars as pl

    table = pl.DataFrame(json.loads(file.read_text()))
    table.write_csv(tmp_path / "p.csv")
    table.write_parquet(tmp_path / "p.parquet")
    for other in (lines, tmp_path / "p.csv", tmp_path / "p.parquet"):
        found = score(data, other, "mmau")
        assert found["matchers"] == expected["matchers"]
        assert found["answered"] == len(given)


# ── the other benchmarks ─────────────────────────────────────────────────────────────────────────────────────────────


def test_mmar_groups_by_modality(tmp_path):
    rows = [
        {"id": f"x_{i}", "audio_path": "a.wav", "question": "q", "choices": ["a", "b"], "answer": "ab"[i % 2],
         "modality": ["mix-sound-music", "speech"][i % 2], "category": "Signal Layer", "sub-category": "s",
         "language": None, "source": "youtube", "answer_prediction": "a", "model_output": "b"}
        for i in range(10)
    ]  # fmt: skip
    found = score(*files(tmp_path, rows, rows), "mmar")
    assert found["predictions"]["key"] == "answer_prediction"
    published = found["matchers"]["official"]["as_published"]
    assert published["modality"] == {"mix-sound-music": share(5, 5), "speech": share(0, 5)}
    assert "language" not in published


def mmsu_script(rows):
    """mmsu_evaluation.py, from its description: (correct, n)."""
    correct = n = 0
    for row in rows:
        said = row.get("response", "")
        if not isinstance(said, str):
            continue
        said, place = said.strip().replace("\n", ""), None
        if said and said != "None":
            place = "ABCD".find(said[0])
            if place < 0:
                place = "ABCD".find(said[-2]) if len(said) > 1 else -1
            if place < 0:
                continue
        n += 1
        correct += place is not None and row["choice_" + "abcd"[place]] == row["answer_gt"]
    return correct, n


def test_mmsu_counts_letters_where_its_script_looks_for_them(tmp_path):
    rows = [
        {"id": f"s{i}", "question": "q", "choice_a": "Dog", "choice_b": "Cat", "choice_c": "", "choice_d": "",
         "answer_gt": ["Dog", "Cat"][i % 2], "task_name": "t", "category": "Perception", "sub-category": "Semantics"}
        for i in range(60)
    ]  # fmt: skip
    said = [
        "A",
        "B.",
        "The answer is B.",
        "Cat",
        "Dog",
        "C",
        "D",
        "",
        "None",
        "x",
        "(B)",
        "b",
        " \nB\n",
        "answer: A",
        None,
    ]
    given = [row | {"response": said[i % len(said)]} for i, row in enumerate(rows[:55])]
    given[7] = rows[7]
    found = score(*files(tmp_path, rows, given), "mmsu", labels="letters")
    total = found["matchers"]["official"]["as_published"]["total"]
    assert (total["correct"], total["n"]) == mmsu_script(given)
    assert 0 < total["correct"] < total["n"] < 55
    assert found["matchers"]["official"]["missing_as_wrong"]["total"] == share(total["correct"], 60)


def test_mmau_pro_is_scored_in_its_multiple_choice_part_and_has_no_published_figure(tmp_path):
    rows = [
        {"id": f"p{i}", "question": "q", "choices": ["x", "y"], "answer": "x", "category": c, "task_identifier": None}
        for i, c in enumerate(["sound", "sound", "multi"])
    ]
    rows.append(rows[0] | {"id": "o", "category": "open", "choices": None, "answer": "long"})
    found = score(*files(tmp_path, rows, [row | {"model_output": "x"} for row in rows[:3]]), "mmau-pro")
    assert (found["items"], found["set_aside"]) == (3, {"open": 1})
    official = found["matchers"]["official"]
    assert (official["as_published"], official["missing_as_wrong"]["total"]) == ({"total": share(0, 0)}, share(3, 3))
    assert "NV-Embed" in found["official_is"]


def test_every_benchmark_is_listed_with_what_it_is():
    listed = known("benchmarks")
    assert list(listed) == list(BENCHMARKS) == ["mmau", "mmar", "mmsu", "mmau-pro", "file"]
    assert all(len(what) > 20 for what in listed.values())


# ── what is wrong in a file of predictions ───────────────────────────────────────────────────────────────────────────

ITEMS = made(4)


def bare(*rows):
    return [dict(zip(("id", "model_output"), row, strict=False)) for row in rows]


GOLD = [(row["id"], row["answer"]) for row in ITEMS]


@pytest.mark.parametrize(
    ("given", "defects", "correct", "answered"),
    [
        (bare(*GOLD), {}, 4, 4),
        (bare(*GOLD[:2]), {"missing_id": ["u2", "u3"]}, 2, 2),
        (bare(*GOLD, ("zz", "x")), {"unknown_id": ["zz"]}, 4, 4),
        (bare(*GOLD, GOLD[0]), {"doubled_id": ["u0"]}, 4, 4),
        (bare(*GOLD, ("u0", "other")), {"doubled_id": ["u0"]}, 3, 3),  # two answers are none
        (bare(*GOLD[1:], ("u0",)), {"no_prediction": ["u0"]}, 3, 3),
        (bare(*GOLD[1:], ("u0", None)), {"no_prediction": ["u0"]}, 3, 3),
        (bare(*GOLD[1:], ("u0", "  ")), {"empty": ["u0"]}, 3, 4),
        (bare(*GOLD[1:], ("u0", ["x"])), {"not_text": ["u0"]}, 3, 3),
        (bare(*GOLD[1:], ("u0", {"x": 1})), {"not_text": ["u0"]}, 3, 3),
        (bare(*GOLD[1:], ("u0", True)), {"not_text": ["u0"]}, 3, 3),
        (bare(*GOLD[1:], ("u0", 7)), {"not_text": ["u0"]}, 3, 4),
        ([*bare(*GOLD[1:]), None], {"not_an_object": ["#4"], "missing_id": ["u0"]}, 3, 3),
        (
            [*bare(*GOLD[1:]), {"model_output": "x"}],
            {"no_id": ["#4"], "unknown_id": ["#4"], "missing_id": ["u0"]}, 3, 3,
        ),
        (
            [*bare(*GOLD[1:]), {"id": {"a": 1}, "model_output": "x"}],
            {"unknown_id": ["{'a': 1}"], "missing_id": ["u0"]}, 3, 3,
        ),
    ],
)  # fmt: skip
def test_defects_are_named_and_missing_is_wrong(tmp_path, given, defects, correct, answered):
    found = score(*files(tmp_path, ITEMS, given), "mmau")
    named = {name: cell["ids"] for name, cell in found["defects"]["predictions"].items()}
    assert named == defects
    for matcher in ("official", "strict"):
        assert found["matchers"][matcher]["missing_as_wrong"]["total"] == share(correct, 4)
    assert found["answered"] == answered
    faulty = {"unknown_id", "doubled_id", "no_id", "not_an_object", "not_text"}
    assert found["faults"] == sum(len(ids) for name, ids in defects.items() if name in faulty)


def test_an_item_without_an_answer_is_wrong_whatever_is_said(tmp_path):
    """MMAU's matcher finds an empty gold in any text without words of the choices."""
    items = [ITEMS[0] | {"answer": ""}, *ITEMS[1:]]
    given = [{"id": row["id"], "model_output": "zebra"} for row in items]
    official = score(*files(tmp_path, items, given), "mmau", allow_broken=True)["matchers"]["official"]
    assert official["as_published"]["total"] == share(1, 4)
    assert official["missing_as_wrong"]["total"] == share(0, 4)


def test_rows_that_come_twice_are_both_counted_as_published(tmp_path):
    rows = [row | {"model_output": row["answer"]} for row in ITEMS]
    rows.append(rows[0] | {"model_output": "other"})
    official = score(*files(tmp_path, ITEMS, rows), "mmau")["matchers"]["official"]
    same(official["as_published"], mmau_script(rows))
    assert official["as_published"]["total"] == share(4, 5)


def test_a_run_of_ours_is_scored_by_the_ids_of_its_questions(tmp_path):
    import polars as pl

    (tmp_path / "run/dataset/data").mkdir(parents=True)
    (tmp_path / "run/run.json").write_text("{}")
    table = pl.DataFrame({
        "id": ["q0", "q1"], "question": ["q", "q"], "choices": [["a", "b"]] * 2, "answer": ["a", "b"],
        "answer_index": [0, 1], "domain": ["sound", "music"], "skill": ["order"] * 2,
        "clip_id": ["demo/x"] * 2, "provenance": ["{}"] * 2,
    })  # fmt: skip
    table.write_parquet(tmp_path / "run/dataset/data/train-00000-of-00001.parquet")
    (tmp_path / "p.json").write_text(json.dumps([{"id": "q0", "response": "a"}, {"id": "q1", "response": "(A)"}]))
    strict = score(tmp_path / "run", tmp_path / "p.json")["matchers"]["strict"]["missing_as_wrong"]
    assert (strict["total"], strict["task"]["sound"], strict["skill"]) == (
        share(1, 2),
        share(1, 1),
        {"order": share(1, 2)},
    )


@pytest.mark.parametrize(
    "text", ["x" * 10**6, "a dog " * 170_000, "The answer is " * 70_000, "狗" * 300_000, "\n" * 10**6, "(A) " * 250_000]
)
def test_an_answer_of_a_megabyte_takes_no_minute(tmp_path, text):
    data, file = files(tmp_path, ITEMS, bare(("u0", text)))
    start = time.process_time()
    assert score(data, file, "mmau")["matchers"]["strict"]["missing_as_wrong"]["total"]["correct"] == 0
    assert time.process_time() - start < 20


def test_answers_in_other_scripts(tmp_path):
    items = [row | {"choices": ["狗叫声", "ضحك", "\ud800x"], "answer": "ضحك"} for row in ITEMS]
    given = bare(("u0", "ضحك"), ("u1", "答案是ضحك"), ("u2", "狗叫声"), ("u3", "\ud800"))
    found = score(*files(tmp_path, items, given), "mmau")["matchers"]
    assert found["strict"]["missing_as_wrong"]["total"] == share(2, 4)


def test_predictions_of_another_version_are_refused(tmp_path):
    items = made()
    given = answers(items)
    given[3] = given[3] | {"answer": "other"}
    given[4] = given[4] | {"question": "Another?"}
    given[5] = given[5] | {"choices": ["x", "y", given[5]["answer"]]}
    given[6] = given[6] | {"choices": [f" {choice.upper()}" for choice in reversed(given[6]["choices"])]}  # the same
    data, file = files(tmp_path, items, given)
    with pytest.raises(
        UsageError, match=r"3 rows \(u3, u4, u5\) hold another question, other choices or another answer"
    ):
        score(data, file, "mmau")
    found = score(data, file, "mmau", allow_broken=True)
    assert found["defects"]["predictions"]["other_version"]["ids"] == ["u3", "u4", "u5"]


def test_the_hub_layout_of_data_and_predictions_fit_together(tmp_path):
    items = made()
    labelled = [
        row | {"choices": [f"({'ABCDEF'[i]}) {choice}" for i, choice in enumerate(row["choices"])]}
        | {"answer": f"({'ABCDEF'[row['choices'].index(row['answer'])]}) {row['answer']}"}
        for row in items
    ]  # fmt: skip
    given = answers(items)
    plain = score(*files(tmp_path, items, given), "mmau")["matchers"]
    assert score(*files(tmp_path, labelled, given), "mmau")["matchers"] == plain


def test_a_broken_benchmark_file_is_refused_with_its_ids(tmp_path):
    items = [ITEMS[0] | {"answer": "nowhere"}, *ITEMS[1:], ITEMS[1]]
    data, file = files(tmp_path, items, bare(*GOLD))
    with pytest.raises(UsageError, match=r"doubled_id 2 \(u1, u1\); answer_not_among_choices 1 \(u0\): mend the file"):
        score(data, file, "mmau")
    found = score(data, file, "mmau", allow_broken=True)
    assert found["matchers"]["strict"]["missing_as_wrong"]["total"] == share(4, 5)
    assert found["defects"]["data"]["answer_not_among_choices"] == {"count": 1, "ids": ["u0"]}


@pytest.mark.parametrize(
    ("items", "given", "benchmark", "says"),
    [
        (ITEMS, [{"id": "a", "model_output": "x"}], "mmau", r"not one of its 1 ids is in .*items.json \(a\): give"),
        (ITEMS, [{"id": "u0", "text": "x"}], "mmau", "no model_output, .* in its rows; their keys are id, text"),
        (ITEMS, bare(*GOLD), "mmar", "is in the form mmau: name its benchmark, or file"),
        (ITEMS, bare(*GOLD), "nope", "unknown benchmark 'nope': use one of mmau"),
        ([row | {"answer": ""} for row in ITEMS], bare(*GOLD), "mmau", "holds no answers to score against"),
        ([], bare(*GOLD), "file", "holds no multiple-choice item"),
        ([{"a": 1}], bare(*GOLD), "mmau", "no multiple-choice set"),
        (ITEMS, 5, "mmau", "holds 5: give an array"),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_told_in_one_line(tmp_path, items, given, benchmark, says):
    with pytest.raises(UsageError, match=says) as told:
        score(*files(tmp_path, items, given), benchmark)
    assert "\n" not in str(told.value)


def test_no_predictions_at_all(tmp_path):
    found = score(*files(tmp_path, ITEMS, []), "mmau")
    assert found["matchers"]["official"]["as_published"] == {"total": share(0, 0)}
    assert found["matchers"]["strict"]["missing_as_wrong"]["total"] == share(0, 4)


# ── the commands ─────────────────────────────────────────────────────────────────────────────────────────────────────


def call(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["datagen", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0, *capsys.readouterr()


def test_the_commands_print_one_object_or_a_table(tmp_path, monkeypatch, capsys):
    items = made()
    data, file = files(tmp_path, items, answers(items))
    words = ("score", "--benchmark", "mmau", "--data", data, "--predictions", file)
    code, out, err = call(monkeypatch, capsys, *words, "--json", "--matcher", "strict")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert {"benchmark", "sha256", "items", "answered", "matchers", "baselines"} <= set(found)
    total = found["matchers"]["strict"]["missing_as_wrong"]["total"]
    assert found["headline"] == {"matcher": "strict", **total}
    code, out, err = call(monkeypatch, capsys, *words)
    assert (code, err) == (0, "")
    shown = f"{100 * total['accuracy']:.1f} [{100 * total['low']:.1f}, {100 * total['high']:.1f}]"
    assert re.search(rf"^total +60 .* {re.escape(shown)} ", out, re.MULTILINE)
    assert "always choice 1" in out
    code, out, err = call(monkeypatch, capsys, "baselines", "--benchmark", "mmau", "--data", data, "--json")
    found = json.loads(out)
    assert (code, err, found["items"], found["benchmark"]) == (0, "", 60, "mmau")
    assert {"random", "position", "last", "longest", "shortest", "choices_only"} <= set(found)
    code, out, err = call(monkeypatch, capsys, "baselines", "--benchmark", "file", "--data", data)
    assert (code, err) == (0, "")
    assert "in the file: duplicate_choices 1 (u5)" in out


def test_exit_codes(tmp_path, monkeypatch, capsys):
    data, file = files(tmp_path, ITEMS, bare(*GOLD, ("\x1b[31mzz", "x")))
    words = ("score", "--benchmark", "mmau", "--data", data, "--predictions", file)
    code, out, err = call(monkeypatch, capsys, *words)
    assert (code, "\x1b" in out + err) == (1, False)
    assert "in the predictions: unknown_id 1" in out
    assert "1 rows could not be used as they are" in err
    for more, says in (
        (("--matcher", "best"), "--matcher 'best': use official or strict"),
        (("--choice-labels", "numbers"), "--choice-labels 'numbers': use letters, text, both"),
        (("--predictions", tmp_path / "nope.json"), "no such file"),
    ):
        code, out, err = call(monkeypatch, capsys, *words, *more)
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert says in err


@real
def test_baselines_of_test_mini():
    found = baselines(MMAU, "mmau")
    assert found["position"][:4] == [0.395, 0.271, 0.208, 0.126]
    assert (found["items"], found["without_gold"]) == (1000, 0)
    assert found["choices_only"] > 0.427  # place and length alone reach that
    assert {name: cell["count"] for name, cell in found["defects"].items()} == {
        "duplicate_choices": 27,
        "list_category": 13,
    }
    assert found["version"].endswith("2025-08-09")


@real
def test_phrasings_of_right_answers():
    """The figures of docs/benchmarks.md."""
    code = "import runpy, sys; sys.argv = ['phrasings.py', '--json']; runpy.run_path(%r, run_name='__main__')"
    script = Path(__file__).parents[1] / "benchmarks/phrasings.py"
    out = subprocess.run([sys.executable, "-c", code % str(script)], capture_output=True, text=True, check=True).stdout
    found = {name: (cell["official"]["correct"], cell["strict"]["correct"])
             for name, cell in json.loads(out)["phrasings"].items()}  # fmt: skip
    assert found == {
        "x": (1000, 1000), "(A) x": (967, 1000), "The answer is x.": (907, 1000), "<answer>x</answer>": (1000, 1000),
        "A": (2, 998), "['x']": (1000, 1000), "one sentence of reasoning": (885, 1000), "UPPER CASE": (1000, 1000),
    }  # fmt: skip
