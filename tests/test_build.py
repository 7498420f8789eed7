"""The whole build: real clips, a real loopback model server, a real ledger; the same bytes whatever the workers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import world
from kill import write_clips
from model_server import ModelServer

from datagen.build import Config, build
from datagen.errors import Denied, UsageError
from datagen.llm.budget import price_of
from datagen.parts import server

COMMAND = [sys.executable, "-c", "from datagen.cli import main; main()"]


def digests(run: Path) -> dict[str, str]:
    files = [*run.glob("*.parquet"), *(path for path in (run / "dataset").rglob("*") if path.is_file())]
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def served():
    with ModelServer(world.respond, latency=0.002) as server:
        yield server


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "clips"
    write_clips(folder, 12)
    return folder


@pytest.fixture(scope="module")
def llm(served, clips):
    def config(out, **changes):
        known = {"source": "folder", "audio": clips, "model": "stub", "base_url": served.url, "questions_per_clip": 2}
        return Config(**{**known, "out": out, "captions_per_clip": 2, **changes})

    return config


@pytest.fixture(scope="module")
def run(llm, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, build(llm(out))


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "demo"
    return out, build(Config("demo", out=out))


def test_the_demo_keeps_enough_questions_of_enough_skills(demo):
    out, counts = demo
    kept = pl.read_parquet(out / "dataset/data/*.parquet")
    forms = kept["provenance"].str.json_path_match("$.form").value_counts(sort=True)
    assert counts["kept"] == kept.height >= 60
    assert kept["skill"].n_unique() >= 8
    assert forms["count"][0] <= 0.2 * kept.height


def test_the_demo_has_the_same_bytes_for_any_number_of_workers(demo, tmp_path):
    build(Config("demo", out=tmp_path / "one", workers=1))
    assert digests(tmp_path / "one") == digests(demo[0])
    build(Config("demo", out=tmp_path / "one", workers=7))
    assert digests(tmp_path / "one") == digests(demo[0])


def test_a_build_imports_no_more_than_it_needs(tmp_path):
    code = (
        "import sys; from pathlib import Path; from datagen.build import Config, build\n"
        "build(Config('demo', out=Path(sys.argv[1]), limit=12))\n"
        "print({'av', 'datasets', 'pandas', 'pyarrow.compute', 'torch'} & set(sys.modules))"
    )
    call = [sys.executable, "-c", code, str(tmp_path / "run")]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "set()\n"


def test_answers_stand_at_every_place_equally_often(demo):
    table = pl.concat(
        pl.read_parquet(file).with_columns(split=pl.lit(file.name[:5])) for file in demo[0].glob("dataset/data/*")
    ).with_columns(size=pl.col("choices").list.len())
    for group in table.partition_by("split", "size"):
        counts = [(group["answer_index"] == place).sum() for place in range(group["size"][0])]
        assert max(counts) - min(counts) <= 1


def test_every_question_is_kept_or_rejected_once(run):
    out, counts = run
    kept = pl.read_parquet(out / "dataset/data/*.parquet")["id"].to_list()
    dropped = pl.read_parquet(out / "rejected.parquet")["question_id"].to_list()
    assert sorted(kept + dropped) == sorted(pl.read_parquet(out / "questions.parquet")["id"])
    assert counts["questions"] - counts["kept"] == sum(sum(why.values()) for why in counts["rejected"].values())
    funnel = json.loads((out / "run.json").read_text())["funnel"]
    assert all(step["in"] - step["out"] == sum(step["reasons"].values()) for step in funnel)


@pytest.mark.parametrize("workers", [1, 7])
def test_a_model_built_set_has_the_same_bytes_for_any_number_of_workers(run, llm, tmp_path, workers):
    build(llm(tmp_path / "again", workers=workers))
    assert digests(tmp_path / "again") == digests(run[0])


def test_other_filters_pay_nothing(run, llm, tmp_path, served):
    shutil.copytree(run[0], tmp_path / "r")
    before = served.stats()["requests"]
    counts = build(llm(tmp_path / "r", filters=("wellformed", "consistency", "balance"), split=0.5))
    assert (counts["calls"], served.stats()["requests"]) == (0, before)


def test_another_threshold_of_a_rule_pays_nothing(run, llm, tmp_path, served):
    shutil.copytree(run[0], tmp_path / "r")
    before = served.stats()["requests"]
    strict = build(llm(tmp_path / "r", filters=("wellformed", "overlap=0")))
    loose = build(llm(tmp_path / "r", filters=("wellformed", "overlap=1")))
    assert 0 == strict["kept"] < loose["kept"] == loose["questions"]
    assert served.stats()["requests"] == before


@pytest.mark.parametrize("name", ["overlap", "grounded", "duplicates", "answer_frequency", "templates"])
def test_a_wrong_threshold_of_a_rule_is_told(name, tmp_path):
    with pytest.raises(UsageError, match=f"--filters {name}=half: give a number from 0 to 1"):
        build(Config("demo", out=tmp_path / "r", filters=(f"{name}=half",)))


def test_all_rejected_leaves_every_file_and_ends_with_1(tmp_path):
    (tmp_path / "mine.py").write_text(PLUGIN.replace("% 2 == 1", ">= 0"))
    filters = "wellformed,mine:Odd,distractors,balance,length,templates"
    command = [*COMMAND, "build", "--source", "demo", "--limit", "6", "--filters", filters, "--out", tmp_path / "r"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(tmp_path)}
    )
    assert done.returncode == 1, done.stderr
    assert "no question was kept: the reasons are in rejected.parquet" in done.stderr
    assert set(pl.read_parquet(tmp_path / "r/rejected.parquet")["reason"]) == {"odd"}
    kept = pl.read_parquet(tmp_path / "r/dataset/data/train-00000-of-00001.parquet")
    assert kept.height == 0 and (tmp_path / "r/report.html").exists() and (tmp_path / "r/dataset/README.md").exists()


@pytest.mark.parametrize(("change", "says"), [({"seed": 1}, "seed was 0, now 1"), ({"language": "French"}, "language")])
def test_other_inputs_are_refused(run, llm, change, says):
    with pytest.raises(UsageError, match=says):
        build(llm(run[0], **change))


def test_a_dry_run_sends_and_writes_nothing(llm, tmp_path, served):
    before = served.stats()["requests"]
    estimate = build(llm(tmp_path / "r", dry_run=True))
    assert estimate["calls"] == 12 * (2 + 1 + 2 * 3)
    assert served.stats()["requests"] == before
    assert not (tmp_path / "r").exists()


def test_the_target_is_met_to_the_question(llm, tmp_path):
    counts = build(llm(tmp_path / "r", target=9))
    assert counts["kept"] == pl.read_parquet(tmp_path / "r/dataset/data/*.parquet").height == 9
    assert counts["clips"] < 12


def test_a_limit_can_grow_in_place(llm, tmp_path):
    assert build(llm(tmp_path / "r", limit=3))["clips"] == 3
    grown = build(llm(tmp_path / "r", limit=5))
    assert (grown["clips"], grown["calls"]) == (5, 2 * (2 + 1 + 2 * 3))


def test_a_model_that_talks_nonsense_leaves_its_raw_answers(clips, serve, tmp_path):
    server = serve(lambda body: "I like trains.")
    counts = build(Config("folder", audio=clips, out=tmp_path, model="stub", base_url=server.url, limit=2))
    rejected = pl.read_parquet(tmp_path / "rejected.parquet")
    assert (counts["kept"], counts["failed"]) == (0, {"write": 2})
    assert all("I like trains." in raw for raw in rejected["raw"])


def test_no_server_is_said_within_five_seconds(clips, tmp_path):
    started = time.monotonic()
    with pytest.raises(UsageError, match="no server answers at"):
        build(Config("folder", audio=clips, out=tmp_path, model="m", base_url="http://127.0.0.1:9"))
    assert time.monotonic() - started < 15  # 5 s, and what a busy machine adds


def test_a_server_that_denies_stops_the_run(clips, serve, tmp_path):
    server = serve(status=401)
    with pytest.raises((UsageError, Denied), match="OPENAI_API_KEY"):
        build(Config("folder", audio=clips, out=tmp_path, model="stub", base_url=server.url))


def test_broken_files_are_listed_and_the_tables_written(tmp_path):
    (tmp_path / "clips").mkdir()
    for name in ("a.wav", "b.mp3"):
        (tmp_path / "clips" / name).write_bytes(b"no audio at all")
    command = [
        *COMMAND,
        "build",
        "--source",
        "folder",
        "--audio",
        tmp_path / "clips",
        "--out",
        tmp_path / "r",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    counts = json.loads(done.stdout)
    assert (done.returncode, counts["clips"], counts["failed"]) == (1, 0, {"audio": 2})
    assert pl.read_parquet(tmp_path / "r/rejected.parquet")["clip_id"].to_list() == ["folder/a.wav", "folder/b.mp3"]
    assert (tmp_path / "r/report.html").exists()


def test_ctrl_c_leaves_a_run_that_goes_on(clips, serve, run, tmp_path):
    server = serve(world.respond, latency=0.2)
    options = ["--captions-per-clip", "2", "--questions-per-clip", "2", "--workers", "1", "--model", "stub"]
    command = [*COMMAND, "build", "--source", "folder", "--audio", clips, "--out", tmp_path / "r", *options]
    job = subprocess.Popen([*command, "--base-url", server.url], stderr=subprocess.PIPE, text=True)
    while not server.stats()["answered"]:
        time.sleep(0.05)
    job.send_signal(signal.SIGINT)
    _, said = job.communicate(timeout=30)
    assert (job.returncode, said.splitlines()[-1].startswith("datagen: interrupted")) == (130, True), said
    server.latency = 0.0
    assert subprocess.run([*command, "--base-url", server.url], stderr=subprocess.PIPE, timeout=60).returncode == 0
    assert digests(tmp_path / "r") == digests(run[0])


PLUGIN = """
import polars as pl
from datagen.records import Caption
class Hears:
    def __init__(self, context): ...
    async def caption(self, clip, audio): return [Caption(clip.id, 0, "A barking dog is heard.", "mine")]
class Odd:
    def __init__(self, context): ...
    def judge(self, table):
        odd = table["answer_index"] % 2 == 1
        reason = pl.when(odd).then(pl.lit("odd")).otherwise(pl.lit(""))
        return table.select(question_id="id", keep=~odd, reason=reason, score=pl.lit(None, pl.Float64))
"""


def test_plug_ins_come_from_outside(clips, tmp_path):
    (tmp_path / "mine.py").write_text(PLUGIN)
    options = ["--captioner", "mine:Hears,acoustic", "--filters", "wellformed,mine:Odd", "--limit", "6", "--json"]
    command = [*COMMAND, "build", "--source", "demo", "--out", tmp_path / "r", *options]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rejected"]["mine:Odd"]["odd"] > 0
    assert "mine" in pl.read_parquet(tmp_path / "r/captions.parquet")["captioner"].to_list()


def test_a_key_is_in_no_byte_of_a_run(clips, served, tmp_path):
    key = "sk-marked-1234567890"
    options = ["--model", "stub", "--base-url", served.url, "--limit", "2", "--json"]
    command = [*COMMAND, "build", "--source", "folder", "--audio", clips, "--out", tmp_path / "r", *options]
    environment = {**os.environ, "OPENAI_API_KEY": key}
    done = subprocess.run(command, capture_output=True, timeout=60, env=environment)
    assert done.returncode == 0
    written = [path.read_bytes() for path in (tmp_path / "r").rglob("*") if path.is_file()]
    assert len(written) > 8
    assert not any(key.encode() in data for data in [*written, done.stdout, done.stderr])


def test_clips_that_the_call_leaves_out_are_listed_and_no_failure(tmp_path):
    counts = build(Config("demo", out=tmp_path / "r", license=("CC-BY-4.0",)))
    assert (counts["clips"], counts["failed"]) == (0, {})
    assert set(pl.read_parquet(tmp_path / "r/rejected.parquet")["reason"]) == {"license_excluded"}


def test_a_server_named_apart_never_gets_the_key_of_another(clips, serve, monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-writer")
    monkeypatch.setenv("CAPTIONER_API_KEY", "sk-ears")
    writer, ears = serve(world.respond), serve(world.respond)
    writer.bodies, ears.bodies = [], []
    urls = {"base_url": writer.url, "captioner_url": ears.url}
    build(Config("folder", audio=clips, out=tmp_path, model="stub", limit=1, captioner_model="stub", **urls))
    assert ears.headers and all("sk-ears" in head and "sk-writer" not in head for head in ears.headers)
    assert writer.headers and all("sk-writer" in head for head in writer.headers)


def test_the_money_ends_before_the_clips_do(clips, serve, tmp_path):
    server = serve(world.respond)
    config = Config("folder", audio=clips, out=tmp_path, model="stub", base_url=server.url, workers=1)
    with pytest.raises(UsageError, match="--price"):
        build(replace(config, max_cost=1.0))
    counts = build(replace(config, max_cost=0.011, price=(0.0, 1.0)))
    assert 0 < counts["cost_usd"] <= 0.011
    assert "over_budget" in pl.read_parquet(tmp_path / "rejected.parquet")["reason"].to_list()
    again = build(replace(config, max_cost=0.011, price=(0.0, 1.0)))
    assert again["cost_usd"] == 0 and again["clips"] == counts["clips"] < 12
    assert build(replace(config, price=(0.0, 1.0)))["clips"] == 12


def test_a_price_is_that_of_servers_whose_own_is_not_known():
    config = Config("demo", price=(1.0, 2.0))
    known = server(config, "writer", "gpt-4o-mini", "https://api.openai.com/v1")
    mine = server(config, "captioner", "gpt-4o-mini", "http://127.0.0.1:8000/v1")
    assert (known.price_in, known.price_out) == (None, None) and price_of(known) == pytest.approx((0.15, 0.6))
    assert price_of(mine) == (1.0, 2.0)
    batches = replace(config, transport="batch")
    assert price_of(server(batches, "writer", "gpt-4o-mini", "https://api.openai.com/v1")).prompt < 0.1
    assert price_of(server(batches, "writer", "llama-3.3-70b-versatile", "https://api.groq.com/openai/v1")).prompt == 1


@pytest.mark.parametrize("flag", ["captioner", "generator", "filters"])
def test_a_plug_in_of_another_shape_is_refused_in_a_line(flag, tmp_path):
    name = "fractions:Fraction"
    with pytest.raises(UsageError, match="'fractions:Fraction' has no method"):
        build(Config("demo", out=tmp_path / "r", **{flag: (name,) if flag == "filters" else name}))
