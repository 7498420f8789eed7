"""Shards and their merge: the bytes of one machine, whatever the number of shards; and what is refused."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import world
from model_server import ModelServer

from datagen.build import Config, build
from datagen.errors import UsageError
from datagen.llm import Ledger, Row
from datagen.merge import merge
from datagen.records import Caption, Clip, Fact, Failure
from datagen.run import Run, Spool, finished

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from kill import digests, write_clips

FILTERS = ("wellformed", "consistency", "audio_dependence", "blind=0.9", "overlap", "balance")


@pytest.fixture(scope="module")
def served():
    with ModelServer(world.respond) as server:
        yield server


@pytest.fixture(scope="module")
def llm(served, tmp_path_factory):
    """`llm(out, **changes)`: a build of 10 clips that can be heard and 2 that cannot, one of them the last."""
    clips = tmp_path_factory.mktemp("corpus") / "clips"
    write_clips(clips, 12)
    (clips / "clip00004.wav").write_bytes(b"no audio at all")
    table = clips.parent / "table.csv"
    names = sorted(path.name for path in clips.iterdir())
    (clips / names[-1]).unlink()
    table.write_text("file,labels\n" + "".join(f"{name},noise\n" for name in names))
    known = {
        "source": "folder", "audio": clips, "annotations": table, "model": "stub", "base_url": served.url,
        "questions_per_clip": 2, "captions_per_clip": 2, "filters": FILTERS, "readings": 2,
    }  # fmt: skip
    return lambda out, **changes: Config(**{**known, "out": out, **changes})


@pytest.fixture(scope="module")
def whole(llm, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, build(llm(out))


def build_shards(config, number, folder):
    """The folders of the shards of a build."""
    for index in range(number):
        build(config(folder / f"s{index}", shard=f"{index}/{number}"))
    return [folder / f"s{index}" for index in range(number)]


@pytest.fixture(scope="module")
def shards(llm, tmp_path_factory):
    """Three shards of `llm`. Not to be changed."""
    return build_shards(llm, 3, tmp_path_factory.mktemp("shards"))


@pytest.mark.parametrize("number", [3, 20])
def test_merged_shards_have_the_bytes_of_one_machine(llm, whole, tmp_path, number):
    runs = build_shards(llm, number, tmp_path)
    counts = merge(runs[::-1], tmp_path / "merged")
    assert digests(tmp_path / "merged") == digests(whole[0])
    same = ("clips", "captions", "questions", "kept", "rejected", "failed", "calls", "cost_usd")
    assert {name: counts[name] for name in same} == {name: whole[1][name] for name in same}
    assert counts["failed"] == {"audio": 1, "source": 1}
    merged, one = (json.loads((run / "run.json").read_text()) for run in (tmp_path / "merged", whole[0]))
    assert merged["fingerprints"] == one["fingerprints"] and merged["status"] == "done"


def test_a_merge_of_the_demo_has_the_bytes_of_one_machine(finished_demo, tmp_path):
    runs = build_shards(lambda out, shard: Config("demo", out=out, limit=24, shard=shard), 2, tmp_path)
    merge(runs, tmp_path / "merged")
    assert digests(tmp_path / "merged") == digests(finished_demo)


def test_the_limit_comes_before_the_shards(llm, tmp_path):
    build(llm(tmp_path / "whole", limit=7))
    merge(build_shards(lambda out, shard: llm(out, limit=7, shard=shard), 3, tmp_path), tmp_path / "merged")
    assert digests(tmp_path / "merged") == digests(tmp_path / "whole")


def test_a_merged_run_goes_on_as_a_run_and_pays_nothing(llm, shards, served, tmp_path):
    counts = merge(shards, tmp_path / "merged")
    before = served.stats()["requests"]
    other = {"filters": ("wellformed", "consistency", "balance"), "split": 0.5}
    again = build(llm(tmp_path / "merged", **other))
    assert (again["calls"], served.stats()["requests"]) == (0, before)
    build(llm(tmp_path / "whole", **other))
    assert digests(tmp_path / "merged") == digests(tmp_path / "whole")
    with closing(Ledger(tmp_path / "merged/ledger.sqlite")) as ledger:
        run = json.loads((tmp_path / "merged/run.json").read_text())["id"]
        assert ledger.totals(run=run).answers == counts["calls"] == ledger.totals().answers


def test_shards_may_share_a_ledger(llm, whole, tmp_path):
    runs = build_shards(lambda out, shard: llm(out, shard=shard, ledger=tmp_path / "shared.sqlite"), 2, tmp_path)
    assert merge(runs, tmp_path / "merged")["calls"] == whole[1]["calls"]
    assert digests(tmp_path / "merged") == digests(whole[0])


DIES = """
import os, sys
import datagen.finishing, datagen.merge, datagen.report
from datagen.llm import Ledger
moments = {"ledger": (Ledger, "totals"), "spool": (datagen.merge, "judge")}
moments |= {"tables": (datagen.finishing, "describe"), "dataset": (datagen.report, "write_report")}
place, name = moments[sys.argv[1]]
setattr(place, name, lambda *_, **__: os._exit(9))
datagen.merge.merge(sys.argv[3:], sys.argv[2])
"""


@pytest.mark.parametrize(
    "moment", ["spool", "dataset", *(pytest.param(moment, marks=pytest.mark.slow) for moment in ("ledger", "tables"))]
)
def test_a_merge_that_dies_begins_again_and_ends_with_the_same_bytes(moment, shards, whole, tmp_path):
    job = subprocess.run([sys.executable, "-c", DIES, moment, tmp_path / "m", *shards], timeout=120, check=False)
    assert job.returncode == 9
    if moment != "ledger":
        with pytest.raises(UsageError, match="not done"):
            finished(tmp_path / "m")
    merge(shards, tmp_path / "m")
    assert digests(tmp_path / "m") == digests(whole[0])
    assert not (tmp_path / "m/.spool").exists()


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("shard", "says"),
    [
        ("5/4", "--shard 5/4: there is no such shard: they are counted from 0, of 4 the last is 3/4"),
        ("4/4", "no such shard"),
        ("0/0", "give i/n with n of 1 or more"),
        ("x/y", "--shard 'x/y': give i/n"),
        ("1", "give i/n"),
        ("-1/4", "give i/n"),
        ("", "give i/n"),
        ("01/4", "--shard 01/4: write it 1/4"),
    ],
)
def test_a_shard_that_does_not_exist_is_refused(shard, says):
    with pytest.raises(UsageError, match=says):
        Config("demo", shard=shard)


def test_a_target_is_refused_for_a_shard():
    with pytest.raises(UsageError, match="--target 5: what is kept is known only after the merge"):
        Config("demo", shard="0/2", target=5)


def test_another_shard_in_the_folder_of_one_is_refused(llm, shards):
    with pytest.raises(UsageError, match='shard was "0/3", now "1/3"'):
        build(llm(shards[0], shard="1/3"))
    with pytest.raises(UsageError, match='shard was "0/3", now null'):
        build(llm(shards[0]))


def test_a_shard_is_no_finished_run(shards):
    with pytest.raises(UsageError, match="one shard of a run: bring all of them together by `datagen merge`"):
        finished(shards[0])


def changed(shard, folder, change):
    """A copy of a shard whose run.json was changed."""
    shutil.copytree(shard, folder)
    state = json.loads((folder / "run.json").read_text())
    change(state)
    (folder / "run.json").write_text(json.dumps(state))
    return folder


def running(state):
    state["status"] = "running"


def removed(*names):
    def change(state):
        for name in names[:-1]:
            state = state[name]
        del state[names[-1]]

    return change


def other_usage(state):
    state["usage"] = {"euros": 1}


def other_seed(state):
    state["fingerprints"]["inputs"]["seed"] = 7


def other_limit(state):
    state["fingerprints"]["derivation"]["limit"] = 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (running, "shard 1/3 is not done: give the same `datagen build` again"),
        (other_seed, "seed was 0 there, here 7"),
        (other_limit, "limit was null there, here 3"),
    ],
)
def test_shards_that_do_not_fit_are_refused(change, says, shards, tmp_path):
    runs = [shards[0], changed(shards[1], tmp_path / "s", change), shards[2]]
    with pytest.raises(UsageError, match=says):
        merge(runs, tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        *((removed(name), name) for name in ("id", "config", "usage", "stopped", "about")),
        (removed("fingerprints", "derivation"), "derivation"),
        (other_usage, "euros"),
    ],
)
def test_a_shard_whose_state_was_edited_is_told_in_a_line(change, why, shards, tmp_path):
    edited = changed(shards[1], tmp_path / "s", change)
    with pytest.raises(
        UsageError, match=rf"s/run\.json: not as `datagen build` wrote it \(.*{why}.*copy shard 1/3 again"
    ):
        merge([shards[0], edited, shards[2]], tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_shard_of_a_name_that_is_none_is_no_shard(shards, tmp_path):
    edited = changed(shards[1], tmp_path / "s", lambda state: state["fingerprints"]["inputs"].update(shard="1/x"))
    with pytest.raises(UsageError, match="is no shard"):
        merge([edited], tmp_path / "m")


def test_missing_and_doubled_and_strange_shards_are_refused(llm, shards, whole, tmp_path):
    with pytest.raises(UsageError, match="shard 0/3, 2/3 is missing"):
        merge([shards[1]], tmp_path / "m")
    with pytest.raises(UsageError, match=r"s0: shard 0/3 once more, after .*s0"):
        merge([shards[0], shards[0]], tmp_path / "m")
    with pytest.raises(UsageError, match="is no shard"):
        merge([shards[0], whole[0]], tmp_path / "m")
    with pytest.raises(UsageError, match=r"holds no run\.json"):
        merge([tmp_path / "nothing"], tmp_path / "m")
    build(llm(tmp_path / "half", shard="0/2"))
    with pytest.raises(UsageError, match=r"shard 0/2, but .* is 1/3: give those of one build"):
        merge([shards[1], tmp_path / "half"], tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_merge_overwrites_no_other_run(shards, whole, tmp_path):
    for out in (whole[0], shards[0]):
        before = digests(out)
        with pytest.raises(UsageError, match="holds a run already: choose another folder"):
            merge(shards, out)
        assert digests(out) == before
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match=r"but no run\.json: choose an empty folder"):
        merge(shards, tmp_path)


def test_a_shard_without_its_ledger_is_refused(shards, tmp_path):
    lonely = changed(shards[1], tmp_path / "s", lambda state: None)
    (lonely / "ledger.sqlite").unlink()
    with pytest.raises(UsageError, match=r"ledger\.sqlite: not there, or empty"):
        merge([shards[0], lonely, shards[2]], tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("file", ["captions.parquet", "questions.parquet", "rejected.parquet", "ledger.sqlite"])
@pytest.mark.parametrize("what", ["gone", "cut off", "another"])
def test_a_shard_of_which_a_file_is_not_whole_is_refused(shards, tmp_path, file, what):
    broken = changed(shards[1], tmp_path / "s", lambda state: None)
    content = (broken / file).read_bytes()
    (broken / file).unlink()
    if what == "cut off":
        (broken / file).write_bytes(content[: len(content) // 2] if file != "ledger.sqlite" else b"")
    if what == "another":
        shutil.copy(broken / "verdicts.parquet", broken / file)
    with pytest.raises(UsageError, match=rf"{file}: not there, or|is no ledger .*copy shard 1/3 again$") as raised:
        merge([shards[0], broken, shards[2]], tmp_path / "m")
    assert "--ledger" not in str(raised.value) and not (tmp_path / "m").exists()


def test_the_command_line_says_what_is_wrong_in_a_line(shards, tmp_path):
    command = [sys.executable, "-c", "from datagen.cli import main; main()", "merge", shards[0], "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == ["datagen: shard 1/3, 2/3 is missing: build it, and give its folder too"]


SBATCH = """#!/usr/bin/env bash
# Runs at once what Slurm would run: every task of an array in turn.
for option; do
  case $option in
    --array=0-*) tasks=$(seq 0 "${option#--array=0-}") ;;
    --wrap=*) command=${option#--wrap=} ;;
    --dependency=afterany:17) seen=yes ;;
  esac
done
for task in ${tasks:-0}; do SLURM_ARRAY_TASK_ID=$task bash -c "$command" >&2 || exit; done
echo 17
"""


@pytest.mark.slow
def test_the_slurm_script_submits_shards_and_a_merge(tmp_path, finished_demo):
    (tmp_path / "sbatch").write_text(SBATCH)
    (tmp_path / "datagen").write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "from datagen.cli import main; main()" "$@"\n'
    )
    for name in ("sbatch", "datagen"):
        (tmp_path / name).chmod(0o755)
    script = Path(__file__).parents[1] / "examples/slurm/submit"
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [script, tmp_path / "a run", "2", "--source", "demo", "--limit", "24"]
    subprocess.run(command, check=True, timeout=200, env=environment)
    assert digests(tmp_path / "a run") == digests(finished_demo)


# ── the parts of it ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sizes", [(2500,), (1, 1300, 0, 1199), (1000, 1000, 500), (0, 0)])
def test_joined_tables_have_the_bytes_of_one_spool(sizes, tmp_path):
    fact = Fact("tempo", value=120.0, low=118.0, high=122.0, unit="bpm")
    rows = [
        row
        for n in range(sum(sizes))
        for row in (
            Clip(f"demo/{n}", "demo", "x.wav", labels=("bell",) * (n % 3), start=None if n % 7 else 1.5),
            Caption(f"demo/{n}", 0, f"A bell, {n % 5}.", "acoustic", facts=(fact,) * (n % 2)),
        )
    ]

    def spooled(name, rows):
        run = Run(tmp_path / name)
        run.path.mkdir()
        spool = Spool(run)
        spool.add(rows)
        return run, spool

    def kept(run, spool):
        spool.close_segment()
        for record in (Clip, Caption, Failure):
            spool.keep(record)
        return digests(run.path)

    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    parts = [spooled(f"part{i}", rows[2 * s : 2 * (s + sizes[i])]) for i, s in enumerate(starts)]
    for part in parts:
        kept(*part)
    joined, spool = spooled("joined", [])
    for record, name in ((Clip, "clips"), (Caption, "captions"), (Failure, "rejected")):
        spool.extend(record, [run.path / f"{name}.parquet" for run, _ in parts])
    assert kept(joined, spool) == kept(*spooled("whole", rows))


def test_of_an_answer_and_an_error_to_one_question_the_answer_stands(tmp_path):
    def row(key, text, error=None):
        return Row(key, 8, "stop", 1, 1, 0.5, 1, error, text, "{}")

    async def fill(ledger, *rows):
        for one in rows:
            await ledger.put(one)

    for name, rows in {
        "a": [row("k1", "refused", "400"), row("k2", "first"), row("k3", "mine")],
        "b": [row("k1", "answer"), row("k2", "second"), row("k3", "refused", "400")],
    }.items():
        with closing(Ledger(tmp_path / name, run=name)) as ledger:
            asyncio.run(fill(ledger, *rows))
    with closing(Ledger(tmp_path / "both", run="both")) as ledger:
        for _ in range(2):  # a merge that is begun again
            ledger.absorb(tmp_path / "a", ["a", "b"])
            ledger.absorb(tmp_path / "b", ["a", "b"])
        found = {key: ledger.get(key) for key in ("k1", "k2", "k3")}
        assert ledger.totals(run="both").answers == 3
    assert {key: (row.text, row.error) for key, row in found.items()} == {
        "k1": ("answer", None), "k2": ("first", None), "k3": ("mine", None),
    }  # fmt: skip
