"""A study end to end on a tiny policy: real trainings and evaluations in processes of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import tiny_models

from datagen import cli
from datagen.errors import UsageError
from datagen.train.controls import coin, with_shuffled_gold
from datagen.train.data import material, read_set
from datagen.transfer import transfer
from datagen.transfer.cells import Cell, Cells
from datagen.transfer.sets import make_set
from datagen.transfer.study import Chain, flags, read_study

CHOICES = ["bell", "dog", "rain", "wind"]
STUDY = """
model = "{model}"
seeds = [0]
held_out = "held_out.jsonl"
questions = 16

[train]
steps = 2
prompts_per_step = 2
group_size = 4
batch_size = 8
max_tokens = 3
prompt = "letters"
method = "full"
learning_rate = 1e-3
eval_every = 2

[chains.raw]
data = "set.jsonl"

[arms.text]
[arms.coin]
control = "random-reward"
[arms.broken]
max_tokens = 3
modality = "caption"

[benchmarks.quiz]
benchmark = "file"
data = "quiz.jsonl"
condition = "none"
prompt = "letters"
max_tokens = 3
check_batch = 0
"""


def datagen(monkeypatch, *words):
    """The exit code of a command."""
    monkeypatch.setattr(sys, "argv", ["datagen", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def write(path, name, number):
    rows = [
        {"id": f"{name}{n}", "question": f"What is {name}{n}?", "choices": CHOICES, "answer": CHOICES[n % 4], "n": n}
        for n in range(number)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with sets and a benchmark, in which the commands are run."""
    write(tmp_path / "set.jsonl", "q", 24)
    write(tmp_path / "held_out.jsonl", "h", 6)
    write(tmp_path / "quiz.jsonl", "b", 20)
    (tmp_path / "study.toml").write_text(STUDY.format(model="model"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


@pytest.mark.parametrize("seeds", [[0], pytest.param([0, 1], marks=pytest.mark.slow)])
def test_a_study_trains_asks_compares_and_shows_what_failed(place, monkeypatch, capsys, seeds):
    n, study = len(seeds), STUDY.format(model="model").replace("seeds = [0]", f"seeds = {seeds}")
    (place / "study.toml").write_text(study)
    tiny_models.make("causal", place / "model")
    assert datagen(monkeypatch, "transfer", "study.toml", "--out", "study", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    states = {name: state["status"] for name, state in found["cells"].items()}
    assert Counter(states.values()) == {"done": 1 + 4 * n, "failed": n, "not run": n}
    assert states["train/broken/raw/0"] == "failed" and states[f"eval/quiz/broken/raw/{seeds[-1]}"] == "not run"
    assert "caption_missing" in found["cells"]["train/broken/raw/0"]["error"]
    quiz = found["benchmarks"]["quiz"]
    assert [(arm["arm"], arm["control"], arm["seeds"]) for arm in quiz["arms"]] == [
        ("text", None, seeds), ("coin", "random-reward", seeds), ("broken", None, []),
    ]  # fmt: skip
    assert [(row["arm"], row["against"], row["what"], row["seeds"]) for row in quiz["contrasts"]] == [
        ("text", "base", "none, original", n), ("coin", "base", "none, original", n),
        ("text", "coin", "none, original", n),
    ]  # fmt: skip
    [base] = quiz["base"]
    result = json.loads((place / "study/eval/quiz/base/result.json").read_text())
    assert base["strict"]["accuracy"] == result["cells"][0]["strict"]["total"]["accuracy"]
    text = quiz["arms"][0]
    [row] = text["accuracy"]
    by_seed = row["strict"]["by_seed"]
    assert row["strict"]["accuracy"] == pytest.approx(sum(by_seed) / n)
    assert row["strict"]["low"] < row["strict"]["high"]  # also of a policy that has nothing right
    assert quiz["contrasts"][0]["value"] == pytest.approx(row["strict"]["accuracy"] - base["strict"]["accuracy"])
    assert text["gains"]["hearing"] is None and text["gains"]["knowledge"]["value"] == quiz["contrasts"][0]["value"]
    assert found["sets"]["raw"]["questions"] == 16
    log = [json.loads(line) for line in (place / "study/train/coin/raw/0/train.jsonl").read_text().splitlines()]
    steps = [row for row in log if "loss" in row]
    assert any(row["reward"] != row["accuracy"] for row in steps)
    page = (place / "study/report.html").read_text()
    assert "caption_missing" in page and "random-reward" in page

    records = [place / f"study/cells/{name}.json" for name in states if states[name] == "done"]
    before = [record.stat().st_mtime_ns for record in records]
    again = transfer(Path("study.toml"), Path("study"))
    assert [record.stat().st_mtime_ns for record in records] == before
    assert again["benchmarks"] == found["benchmarks"]
    (place / "study.toml").write_text(study.replace("steps = 2", "steps = 3", 1))
    with pytest.raises(UsageError, match="train/text/raw/0 was done with another steps: choose another folder"):
        transfer(Path("study.toml"), Path("study"))


@pytest.mark.slow
def test_the_rate_that_is_best_on_the_held_out_set_is_taken_by_every_arm_for_itself(place, capsys):
    tiny_models.make("causal", place / "model")
    search = "[search]\nlearning_rates = [1e-2, 1e-9]\nsteps = 1\n\n[train]"
    (place / "study.toml").write_text(STUDY.format(model="model").replace("[train]", search))
    found = transfer(Path("study.toml"), Path("study"))
    for arm in ("text", "coin"):
        told = found["rates"][f"{arm}/raw"]
        assert [one["rate"] for one in told["tries"]] == [1e-9, 1e-2]
        most = max(one["held_out"]["correct"] for one in told["tries"])
        assert told["chosen"] == next(one["rate"] for one in told["tries"] if one["held_out"]["correct"] == most)
        run = json.loads((place / f"study/train/{arm}/raw/0/run.json").read_text())
        assert run["config"]["learning_rate"] == told["chosen"] and run["steps"] == 2
    assert found["rates"]["broken/raw"] == {"chosen": False, "tries": []}
    assert found["cells"]["train/broken/raw/0"]["status"] == "not run"


SLEEPS = """
import sys
from pathlib import Path
import datagen.transfer.cells as cells

cells.DATAGEN = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"]
cells.Cells(Path("study"), print).run(cells.Cell("slow", [], {}), done=Path("never"))
"""
"""A study of one cell that does nothing for a minute."""


def begun():
    """The study, and the process id of its command."""
    study = subprocess.Popen(
        [sys.executable, "-c", SLEEPS], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    log, until = Path("study/cells/slow.log"), time.monotonic() + 60
    while not (log.exists() and log.read_text().endswith("\n")):
        assert study.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    return study, int(log.read_text())


def test_a_study_that_is_interrupted_tells_its_command_and_goes_on(place):
    study, _ = begun()
    study.send_signal(signal.SIGTERM)
    _, error = study.communicate(timeout=20)
    assert "Interrupted: interrupted in slow; the same command goes on where it was" in error
    assert not (place / "study/cells/slow.json").exists()
    cells = Cells(Path("study"), print)
    assert cells.run(Cell("slow", ["list", "sources"], {}), done=place / "set.jsonl")
    assert cells.states["slow"]["status"] == "done"


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_study_that_is_killed_takes_its_command_along(place):
    study, command = begun()
    study.kill()
    study.communicate(timeout=20)
    until = time.monotonic() + 20
    while Path(f"/proc/{command}").exists() and "sleep" in Path(f"/proc/{command}/cmdline").read_text():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[arms.text]", "[arms.base]"), "arms.base: is there in every study"),
        (('control = "random-reward"', 'control = "luck"'), "control 'luck': use random-reward"),
        (
            ('control = "random-reward"', 'control = "foreign-text"'),
            "data and control = 'foreign-text' belong together",
        ),
        (("[arms.text]", "[arms.text]\nepochs = 3"), "arms.text: 'epochs': is no flag of the command"),
        (("[arms.text]", "[arms.text]\nseed = 3"), "arms.text: seed is the study's own"),
        (("[arms.text]", "[arms.text]\nmodality = 'ears'"), "arms.text: --modality 'ears': use"),
        (('condition = "none"', 'condition = "audio"'), "benchmarks.quiz: --condition audio needs the clips"),
        (("seeds = [0]", "seeds = [0, 0]"), r"seeds \[0, 0\]: give a list of whole numbers, each once"),
        (("questions = 16", "questions = 1"), "questions 1: give a whole number from 2 on"),
        (("[chains.raw]", "[chains.'../raw']"), "chains.../raw: name it with letters"),
        (
            ('held_out = "held_out.jsonl"\nquestions = 16', "[search]\nlearning_rates = [1e-3, 1e-4]"),
            "name held_out",
        ),
        (("[train]", "[trian]"), "'trian': use"),
        (("model =", "model"), "give a study as docs/transfer.md shows one"),
    ],
)
def test_a_study_that_cannot_be_says_why_before_anything_runs(place, change, message):
    (place / "study.toml").write_text(STUDY.format(model="model").replace(*change, 1))
    with pytest.raises(UsageError, match=message):
        read_study(Path("study.toml"))


def test_an_arm_that_is_to_hear_says_that_it_has_no_clips_before_anything_runs(place):
    (place / "study.toml").write_text(
        STUDY.format(model="model").replace("[arms.text]", "[arms.text]\nmodality = 'audio'")
    )
    with pytest.raises(UsageError, match=r"arms.text: --data .*: is no run that knows its clips: add --audio DIR"):
        transfer(Path("study.toml"), Path("study"))


def test_a_dry_run_prints_the_commands_and_leaves_nothing(place, monkeypatch, capsys):
    assert datagen(monkeypatch, "transfer", "study.toml", "--out", "study", "--dry-run") in (0, None)
    lines = capsys.readouterr().out.splitlines()
    typed = [line for line in lines if line.startswith("datagen ")]
    assert len(typed) == 4  # base and three trainings; evaluations wait for what they are of
    assert "--control random-reward" in typed[2] and "--seed 0" in typed[2] and "--resume" in typed[2]
    assert not (place / "study/study.json").exists() and not (place / "study/cells").exists()


def test_chains_cut_their_sets_alike_and_where_sees_every_column(place):
    study = read_study(Path("study.toml"))
    raw = make_set(study, "raw", Chain("raw", "set.jsonl"), place / "sets")
    again = make_set(study, "raw", Chain("raw", "set.jsonl"), place / "sets")
    assert raw == again and raw.questions == 16
    whole = make_set(replace(study, questions=None), "aware", Chain("aware", "set.jsonl", "n >= 20"), place / "sets")
    assert pl.read_parquet(place / "sets/aware/data/*.parquet")["id"].to_list() == ["q20", "q21", "q22", "q23"]
    assert whole.questions == 4
    with pytest.raises(UsageError, match=r"where 'm > 1': .*: use SQL over id, question, choices, answer, n"):
        make_set(study, "raw", Chain("raw", "set.jsonl", "m > 1"), place / "sets")
    with pytest.raises(UsageError, match="questions 16: small has 4: ask for no more"):
        make_set(study, "small", Chain("small", "set.jsonl", "n >= 20"), place / "sets")


def test_a_coin_is_fair_knows_nothing_and_falls_again_as_it_fell():
    tosses = [coin(0)([None] * 8, place=[place] * 8) for place in range(500)]
    heads = sum(map(sum, tosses))
    assert 1900 < heads < 2100
    assert tosses == [coin(0)(["other"] * 8, place=[place] * 8) for place in range(500)]
    assert tosses != [coin(1)([None] * 8, place=[place] * 8) for place in range(500)]


def test_shuffled_golds_are_drawn_evenly_whatever_the_gold_was(place):
    write(place / "many.jsonl", "m", 800)
    true = material(read_set("many.jsonl"), "text")
    drawn = with_shuffled_gold(true, 0)
    assert drawn == with_shuffled_gold(true, 0) != with_shuffled_gold(true, 1)
    pairs = Counter(zip((e.gold for e in true.examples), (e.gold for e in drawn.examples), strict=True))
    assert len(pairs) == 16 and all(25 < n < 80 for n in pairs.values())


def test_flags_are_typed_as_the_command_line_reads_them():
    given = {"batch_size": 4, "think": True, "dry_run": False, "model_revision": "", "stop_on": ["clipped", "position"]}
    assert flags(given) == ["--batch-size", "4", "--think", "--stop-on", "clipped,position"]
