"""The whole way to the Hub and back, against a loopback Hub: real builds, real HTTP, the real clients."""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
from pathlib import Path

import polars as pl
import pytest
import world
from hub_server import HubServer, connect
from model_server import ModelServer
from test_cli import call

from datagen import dataset
from datagen.build import Config, build
from datagen.llm.request import public_name
from datagen.publish import BUILT_FROM, build_toml, contents, public_url, publish
from datagen.run import Run

# huggingface_hub passes LFS bodies to httpx2 in a way that httpx2 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
OURS = {"README.md", "audit.json", "build.toml"}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)  # between two tries
    with HubServer(tmp_path / "hub", page=3) as server:
        connect(server, monkeypatch)
        yield server
        huggingface_hub.close_session()


def built(out: Path, rows_a_shard: int, **options) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "ROWS_A_SHARD", rows_a_shard)
        assert build(Config(source="demo", limit=14, out=out, **options))["kept"] > 20
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run whose set has three shards or more."""
    out = built(tmp_path_factory.mktemp("runs") / "first", 8)
    assert len(list((out / "dataset" / "data").iterdir())) > 3
    return out


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    """A run of the same clips with another split and fewer shards."""
    return built(tmp_path_factory.mktemp("runs") / "second", 1000, split=0.4, filters=("wellformed", "duplicates"))


def data(run: Path) -> dict[str, bytes]:
    return {f"data/{path.name}": path.read_bytes() for path in (run / "dataset" / "data").iterdir()}


def stored(hub: HubServer, revision: str = "main") -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in hub.files("me/set", revision).items() if name[:4] != ".git"}


def shards(hub: HubServer, revision: str = "main") -> dict[str, bytes]:
    return {name: content for name, content in stored(hub, revision).items() if name not in OURS}


# ── there and back ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_set_goes_in_one_commit_with_card_figures_and_configuration(hub, run, monkeypatch, capsys):
    code, out, err = call(monkeypatch, capsys, "publish", run, "me/set", "--private", "--json")
    done = json.loads(out)
    assert (code, err) == (0, "")
    assert [done[k] for k in ("changed", "private", "dry_run", "left_out")] == [True, True, False, []]
    assert [commit.oid for commit in hub.commits("me/set")][:-1] == [done["commit"]]
    assert hub.repos["dataset", "me/set"].private
    files = stored(hub)
    assert {row["path"]: row["bytes"] for row in done["files"]} == {name: len(text) for name, text in files.items()}
    assert files.keys() == OURS | data(run).keys()
    assert shards(hub) == data(run)
    assert b'load_dataset("me/set", split="train")' in files["README.md"]
    state = json.loads((run / "run.json").read_text())
    audit = json.loads(files["audit.json"])
    assert audit["kept"] == state["counts"]["kept"]
    assert audit["baselines"] == state["baselines"] and audit["funnel"] == state["funnel"]


def test_figures_of_an_audit_go_along_without_ids_and_names_when_they_are_of_this_set(run, monkeypatch, capsys):
    file = run / "audit.json"
    try:
        code, out, _ = call(monkeypatch, capsys, "audit", run, "--against", run / "dataset", "--json")
        assert code == 0
        file.write_text(out)
        found, sent = json.loads(out), json.loads(contents(run, "me/set", None)["audit.json"])["audit"]
        assert {name: one["count"] for name, one in sent["findings"].items()} == {
            name: one["count"] for name, one in found["findings"].items()
        }
        assert found["findings"] and sent["positions"] == found["positions"]
        assert sent["leakage"]["met"] == len(found["leakage"]["met"]) > 0
        ids = pl.read_parquet(run / "dataset" / "data" / "*.parquet")["id"]
        assert not [id for id in ids if id in json.dumps(sent)]
        for text in (json.dumps(found | {"sha256": "0"}), "{", "[]", "{}"):
            file.write_text(text)
            code, out, err = call(monkeypatch, capsys, "publish", run, "me/set", "--dry-run")
            assert (code, out, err.count("\n")) == (2, "", 1)
            assert "write it again by" in err
    finally:
        file.unlink()
    assert json.loads(contents(run, "me/set", None)["audit.json"])["audit"] is None


def test_datasets_loads_back_equal_tables_whole_and_streamed(hub, run):
    import datasets

    publish(run, "me/set")
    for split in ("train", "validation"):
        made = pl.read_parquet(run / "dataset" / "data" / f"{split}-*.parquet")
        whole = datasets.load_dataset("me/set", split=split)
        assert whole.features == datasets.Features.from_arrow_schema(dataset.published())
        assert pl.from_arrow(whole.data.table).equals(made)
        assert list(datasets.load_dataset("me/set", split=split, streaming=True)) == made.to_dicts()


def test_another_set_takes_the_place_of_the_first_in_one_more_commit(hub, run, other):
    first = publish(run, "me/set")["commit"]
    hub.write("me/set", {"LICENSE": b"mine"})
    done = publish(other, "me/set")
    assert set(done["deleted"]) == data(run).keys() - data(other).keys()
    assert shards(hub) == data(other) | {"LICENSE": b"mine"}
    assert [commit.title for commit in hub.commits("me/set")] == [
        "Publish the set by datagen", "written", "Publish the set by datagen", "initial commit",
    ]  # fmt: skip
    assert shards(hub, first) == data(run)


def test_the_same_set_again_is_no_commit_and_sends_nothing(hub, run, monkeypatch, capsys):
    first = publish(run, "me/set")
    sent = dict(hub.received)
    code, out, err = call(monkeypatch, capsys, "publish", run, "me/set")
    assert (code, out) == (0, "")
    assert f"(public), already there as commit {first['commit'][:8]}" in err
    assert hub.received == sent and len(hub.commits("me/set")) == 2


def test_a_branch_is_made_and_the_main_one_stays(hub, run, other):
    import datasets

    publish(run, "me/set")
    done = publish(other, "me/set", revision="v2")
    assert done["url"].endswith("/datasets/me/set/tree/v2")
    assert shards(hub) == data(run)
    assert shards(hub, "v2") == data(other)
    assert b'load_dataset("me/set", revision="v2", split="train")' in stored(hub, "v2")["README.md"]
    assert not publish(other, "me/set", revision="v2")["changed"]
    loaded = datasets.load_dataset("me/set", revision="v2", split="train")
    assert loaded["id"] == pl.read_parquet(other / "dataset/data/train-*.parquet")["id"].to_list()


def test_the_published_configuration_builds_the_same_set(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "build.toml").write_text(build_toml(json.loads((run / "run.json").read_text())))
    monkeypatch.setattr(dataset, "ROWS_A_SHARD", 8)
    monkeypatch.chdir(tmp_path)
    code, _, err = call(monkeypatch, capsys, "build", "--source", "demo", "--config", "build.toml")
    assert code == 0, err
    assert data(tmp_path / "runs" / "demo") == data(run)


def test_a_dry_run_lists_what_would_go_without_token_or_network(hub, run, monkeypatch, capsys):
    (run / "dataset" / "data" / "clip.wav").write_bytes(b"RIFF")
    connect(hub, monkeypatch, token=None)
    code, out, err = call(monkeypatch, capsys, "publish", run, "me/set", "--dry-run")
    (run / "dataset" / "data" / "clip.wav").unlink()
    assert (code, err, hub.requests) == (0, "left out: data/clip.wav\n", [])
    listed = dict(reversed(line.split()) for line in out.splitlines())
    assert listed.keys() == OURS | data(run).keys()
    assert all(int(listed[name]) == len(content) for name, content in data(run).items())


# ── what stays at home ───────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_of_the_machine_goes(hub, tmp_path, monkeypatch):
    from datagen.sources.demo import CLIPS

    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    model = f"{tmp_path}/models/stub-7b"
    with ModelServer(world.respond, models=[model, "stub-7b"]) as server:
        url = server.url.replace("://", "://user:sesame@")
        config = Config(
            source="folder", audio=CLIPS, limit=8, out=tmp_path / "run", model=model,
            base_url=server.url, captioner_url=url, captioner_model="stub-7b", ledger=tmp_path / "all.sqlite",
        )  # fmt: skip
        assert build(config)["kept"]
    publish(tmp_path / "run", "me/set")
    table = pl.read_parquet(hub.files("me/set")["data/train-00000-of-00001.parquet"])
    text = str(table.to_dicts()) + str({name: content for name, content in stored(hub).items() if name in OURS})
    assert "stub-7b" in text
    for secret in (str(tmp_path), str(CLIPS.parent), "127.0.0.1", "sesame", "sk-secret", "sqlite"):
        assert secret not in text, secret
    made = tomllib.loads(stored(hub)["build.toml"].decode())
    assert (made["audio"], made["model"], made["limit"]) == (CLIPS.name, "stub-7b", 8)


def test_every_option_of_a_build_is_published_or_left_out_on_purpose():
    at_home = {"out", "workers", "ledger", "max_cost", "price", "patience", "retry_failed", "dry_run"}
    at_home |= {"engine", "shard", "in_flight", "transport", "batch_rows", "batch_poll"}
    assert {field.name for field in dataclasses.fields(Config)} == {*BUILT_FROM, *at_home}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("gpt-4o-mini", "gpt-4o-mini"),
        ("Qwen/Qwen2-Audio-7B-Instruct", "Qwen/Qwen2-Audio-7B-Instruct"),
        ("accounts/fireworks/models/llama", "accounts/fireworks/models/llama"),
        ("data/qa.json", "data/qa.json"),  # below the working directory
        ("/srv/me/models/qwen/", "qwen"),
        ("~/models/qwen", "qwen"),
        ("../models/qwen", "qwen"),
        (r"C:\models\qwen", "qwen"),
        (r"\\server\models\qwen", "qwen"),
        ("file:///srv/models/qwen", "qwen"),
        ("https://me:word@host.org/a.json?token=x#y", "https://host.org/a.json"),
        ("hf://datasets/me/set", "hf://datasets/me/set"),
    ],
)
def test_of_a_path_the_name_is_published(text, name):
    assert public_name(text) == name


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://api.openai.com/v1", True),
        ("https://generativelanguage.googleapis.com/v1beta/openai/", True),
        ("http://api.openai.com/v1", False),
        ("https://localhost/v1", False),
        ("https://10.0.0.7/v1", False),
        ("https://[::1]/v1", False),
        ("https://gpu7.lab.internal/v1", False),
        ("https://models.example.org:8443/v1", False),
        ("https://me:word@models.example.org/v1", False),
        ("https://models.example.org/v1?key=abc", False),
        ("https://models.example.org/0123456789abcdef0123456789abcdef/v1", False),
    ],
)
def test_an_address_goes_only_where_it_is_anybodys(url, public):
    assert public_url(url) is public


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("repo", "words", "says"),
    [
        ("set", (), "'set': is no name of a dataset: use OWNER/NAME"),
        ("me/set/more", (), "'me/set/more': is no name of a dataset"),
        ("me/a b", (), "'me/a b': is no name of a dataset"),
        ("me/set", ("--revision", "a b"), "--revision 'a b': is no name of a branch"),
        ("me/set", ("--revision", "0" * 40), "is no name of a branch"),
        ("me/set", ("--revision", "../main"), "is no name of a branch"),
    ],
)
def test_a_wrong_name_is_told_before_anything_is_asked(hub, run, monkeypatch, capsys, repo, words, says):
    code, out, err = call(monkeypatch, capsys, "publish", run, repo, *words)
    assert (code, out, err.count("\n"), hub.requests) == (2, "", 1, [])
    assert says in err


def changed(run: Path, copy: Path, **state) -> Path:
    """A copy of the run with another run.json."""
    import shutil

    shutil.copytree(run, copy)
    old = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({**old, **state}))
    return copy


@pytest.mark.parametrize(
    ("state", "damage", "says"),
    [
        ({"status": "running"}, None, "the build is running: let it finish"),
        ({"counts": {"kept": 0}}, None, "no question was kept, so there is nothing to publish"),
        ({}, lambda d: (d / "README.md").unlink(), "has no README.md: start the build again"),
        ({}, lambda d: next((d / "data").glob("train-00001*")).unlink(), "questions, run.json says"),
        ({}, lambda d: next((d / "data").iterdir()).write_bytes(b"PAR1 no"), "start the build again to write it anew"),
        ({}, lambda d: (d.parent / "run.json").unlink(), "holds no run.json"),
        ({}, lambda d: (d.parent / "run.json").write_text("{"), "it is no run.json of ours"),
    ],
)
def test_a_run_that_is_not_whole_is_refused(hub, run, tmp_path, monkeypatch, capsys, state, damage, says):
    copy = changed(run, tmp_path / "copy", **state)
    if damage:
        damage(copy / "dataset")
    for words in ((), ("--dry-run",)):
        code, out, err = call(monkeypatch, capsys, "publish", copy, "me/set", *words)
        assert (code, out, err.count("\n"), hub.requests) == (2, "", 1, []), err
        assert says in err


def test_a_run_that_is_being_built_is_not_published(hub, run, monkeypatch, capsys):
    with Run(run).held():
        code, _, err = call(monkeypatch, capsys, "publish", run, "me/set")
    assert (code, err.count("\n"), hub.requests) == (2, 1, [])
    assert f"process {os.getpid()} is working in it" in err


@pytest.mark.parametrize(
    ("token", "repo", "says"),
    [
        (None, "me/set", "no token for the Hub: set HF_TOKEN, or run `hf auth login`"),
        ("hf_other", "me/set", "the Hub does not know the token (401 Invalid credentials in Authorization header)"),
        ("hf_read", "me/set", "the token may not write there (403 You don't have the rights to write to me/set)"),
        ("hf_write", "else/set", "use one that may write as else"),
    ],
)
def test_who_may_not_write_is_told_so(hub, run, monkeypatch, capsys, token, repo, says):
    connect(hub, monkeypatch, token)
    code, out, err = call(monkeypatch, capsys, "publish", run, repo)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert says in err
    assert not hub.repos


def test_what_is_public_is_not_taken_for_private(hub, run, monkeypatch, capsys):
    hub.write("me/set", {"a.txt": b""})
    code, _, err = call(monkeypatch, capsys, "publish", run, "me/set", "--private")
    assert (code, err.count("\n")) == (2, 1)
    assert "me/set: is public already, and --private cannot hide it" in err
    assert len(hub.commits("me/set")) == 1


@pytest.mark.parametrize(
    ("request_", "status", "code", "says"),
    [
        ("GET /api/datasets/me/set", 401, 2, "the Hub does not know the token (401"),
        ("POST /api/repos/create", 403, 2, "the token may not write there (403"),
        ("POST /api/repos/create", 409, 1, "changed by someone else meanwhile (409"),
        ("POST .*/preupload/main", 403, 2, "the token may not write there (403"),
        ("POST .*/commit/main", 404, 2, "not found (404"),
        ("POST .*/commit/main", 409, 1, "changed by someone else meanwhile (409"),
        ("POST .*/commit/main", 400, 1, "the Hub refuses (400"),
        ("POST .*/commit/main", 500, 1, "the Hub fails (500"),
        ("POST .*/commit/main", 0, 1, "the connection to the Hub broke ("),
        ("POST .*/objects/batch", 500, 1, "the Hub fails (500"),
        ("PUT /_lfs/", 500, 1, "the Hub fails (500"),
        ("POST .*/verify", 404, 2, "not found (404"),
    ],
)
def test_every_fault_is_one_line_publishes_nothing_and_goes_on(
    hub, run, monkeypatch, capsys, request_, status, code, says
):
    hub.fail(request_, status)
    found, out, err = call(monkeypatch, capsys, "publish", run, "me/set")
    assert (found, out) == (code, ""), err
    assert [line for line in err.splitlines() if line.startswith("datagen: ")] == [err.splitlines()[-1]]
    assert says in err.splitlines()[-1]
    if hub.repos:
        assert len(hub.commits("me/set")) == 1
    hub.faults.clear()
    assert call(monkeypatch, capsys, "publish", run, "me/set")[0] == 0
    assert shards(hub) == data(run)


def test_a_commit_in_between_is_a_conflict_and_not_a_mixture(hub, run, monkeypatch, capsys):
    from datagen import publish as module

    looked = module.differences

    def meanwhile(*args):
        found = looked(*args)
        hub.write("me/set", {"data/train-00009-of-00010.parquet": b"theirs"})
        return found

    monkeypatch.setattr(module, "differences", meanwhile)
    code, _, err = call(monkeypatch, capsys, "publish", run, "me/set")
    assert (code, err.count("\n")) == (1, 1)
    assert "me/set: changed by someone else meanwhile (412 A commit has happened since" in err
    monkeypatch.undo()
    assert shards(hub) == {"data/train-00009-of-00010.parquet": b"theirs"}


def test_after_a_break_in_mid_upload_only_what_is_missing_is_sent(hub, run, monkeypatch, capsys):
    import hashlib

    sizes = {hashlib.sha256(content).hexdigest(): len(content) for _, content in sorted(data(run).items())}
    broken = list(sizes)[-1]
    hub.cut(f"PUT /_lfs/{broken}", after=1000)
    code, _, err = call(monkeypatch, capsys, "publish", run, "me/set")
    assert code == 1
    assert "the connection to the Hub broke" in err.splitlines()[-1]
    assert err.splitlines()[-1].endswith("start the same command again")
    assert len(hub.commits("me/set")) == 1
    assert hub.received == {**sizes, broken: 6 * 1000}  # a first try and five more
    hub.faults.clear()
    hub.received.clear()
    assert call(monkeypatch, capsys, "publish", run, "me/set")[0] == 0
    assert hub.received == {broken: sizes[broken]}
    assert shards(hub) == data(run)


def test_a_hub_out_of_reach_is_told(hub, tmp_path, run, monkeypatch, capsys):
    with HubServer(tmp_path / "gone") as gone:
        connect(gone, monkeypatch)
    code, _, err = call(monkeypatch, capsys, "publish", run, "me/set")
    assert (code, err.count("\n")) == (1, 1)
    assert "the connection to the Hub broke" in err


def test_a_hub_without_xet_is_told_with_the_cure(hub, run):
    import subprocess
    import sys

    pytest.importorskip("hf_xet")
    command = [sys.executable, "-c", "from datagen.cli import main; main()", "publish", str(run), "me/set"]
    environment = {**os.environ, **hub.environment(), "HF_HUB_DISABLE_XET": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert "set HF_HUB_DISABLE_XET=1 where HF_ENDPOINT has no Xet" in done.stderr
