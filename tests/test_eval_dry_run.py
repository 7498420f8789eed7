"""`datagen eval --dry-run` against loopback servers: what it says is left is what the run then sends."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import quiz

from datagen import cli
from datagen.errors import UsageError
from datagen.eval.evaluate import Config, evaluate
from datagen.llm import Ledger
from datagen.llm.salvage import mark

NOBODY = "http://127.0.0.1:9/v1"


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    for name in ("OPENAI_API_KEY", "JUDGE_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def config(tmp_path):
    """`config(url, **options)`: an evaluation of a made benchmark of 12 items with clips."""
    data = quiz.write(tmp_path / "quiz", 12)

    def make(url=NOBODY, out="out", **options):
        options = {"condition": "none", "audio": data.parent / "audio", "price": (1.0, 2.0), **options}
        return Config("mmau", data, "stub", tmp_path / out, base_url=url, **options)

    return make


def dry(config):
    """The estimate; that it changes no file of the folder is seen here."""
    before = files(config.out)
    found = evaluate(config)
    assert files(config.out) == before
    return found


def files(folder):
    """But for the locks in a `-shm`."""
    if not folder.exists():
        return None
    contents = {path.name: None if path.suffix == ".sqlite-shm" else path.read_bytes() for path in folder.iterdir()}
    return contents, {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def sent(server, config):
    """How many questions the run itself sends."""
    server.bodies = []
    evaluate(config)
    return len(server.bodies)


def numbers(part):
    return part["calls"], part["known"], part["left"]


def test_after_half_of_a_run_the_other_half_is_left(config, serve):
    server = serve(quiz.skilled)
    options = {"condition": "audio,mismatched", "orders": "original,circular"}
    assert numbers(dry(config(server.url, dry_run=True, **options))) == (96 + 2, 0, 96 + 2)
    assert server.stats()["requests"] == 0
    assert sent(server, config(server.url, out="half", limit=6, ledger=config().out / "l.sqlite", **options)) == 48 + 2
    # The first six have another clip to be mismatched with where twelve are there, so half of half is known.
    options |= {"ledger": config().out / "l.sqlite"}
    found = dry(config(server.url, dry_run=True, **options))
    assert numbers(found["conditions"]["audio"]) == (48, 24, 24)
    assert found["left"] == sent(server, config(server.url, **options))
    done = dry(config(server.url, dry_run=True, **options))
    assert (done["left"], done["known"], done["cost_usd"]) == (0, 98, 0)


def test_nothing_is_made_or_sent_where_nothing_is(config, tmp_path):
    found = dry(config(dry_run=True, orders="original,shuffle:2", samples=2, limit=5, max_tokens=50))
    assert found["out"] == str(tmp_path / "out") and found["dry_run"] is True and not (tmp_path / "out").exists()
    assert (found["items"], found["predictions"]) == (5, 5 * 3 * 2)
    role = found["roles"]["model"]
    assert role["known"] == 0 and role["calls"] == role["left"] and role["completion_tokens"] == 50 * role["left"]
    assert role["cost_usd"] == found["cost_usd"] == (role["prompt_tokens"] + 2 * role["completion_tokens"]) / 1e6
    assert dry(config(dry_run=True, price=None))["cost_usd"] is None


def test_equal_questions_count_once_and_the_tokens_are_those_of_what_is_left(config, serve):
    server = serve(quiz.skilled)
    whole = dry(config(server.url, dry_run=True, condition="none,silence", orders="original,circular"))
    # The rotation by none is the original order.
    assert whole["conditions"]["none"]["predictions"] == 60 and numbers(whole["conditions"]["none"]) == (48, 0, 48)
    asked = sent(server, config(server.url, condition="none", out="none", ledger=config().out / "ledger.sqlite"))
    assert asked == 12
    found = dry(config(server.url, dry_run=True, condition="none,silence", orders="original,circular"))
    assert numbers(found["conditions"]["none"]) == (48, 12, 36)
    assert found["conditions"]["silence"] == whole["conditions"]["silence"]
    assert found["roles"]["model"]["completion_tokens"] == 256 * (36 + 48) + 2 * 8
    assert 0 < found["prompt_tokens"] < whole["prompt_tokens"]
    run = config(server.url, condition="none,silence", orders="original,circular")
    assert found["left"] == sent(server, run) == 36 + 48 + 2


def test_a_question_of_two_items_counts_once(config, serve, tmp_path, monkeypatch):
    monkeypatch.setattr("datagen.eval.estimate.TOGETHER", 1)
    server, file = serve(quiz.skilled), tmp_path / "twice.json"
    file.write_text(json.dumps([row | {"id": f"{row['id']}{turn}"} for turn in "ab" for row in quiz.rows(3)]))
    given = replace(config(server.url, dry_run=True), data=file)
    found = dry(given)
    assert found["predictions"] == 6 and numbers(found) == (3, 0, 3)
    assert sent(server, replace(given, dry_run=False)) == 3
    judged = dry(
        replace(given, judge_model="stub", judge_url=NOBODY, out=given.out / "new", ledger=given.out / "ledger.sqlite")
    )
    assert numbers(judged["roles"]["judge"]) == (3, 0, 3)


def test_what_was_refused_is_left_where_it_is_to_be_retried(config, serve):
    server = serve(quiz.skilled, faults={"filter": 0.5})
    result = evaluate(config(server.url))
    refused = len(result["unanswered"]["none"]["refused"])
    assert 0 < refused < 12
    assert numbers(dry(config(server.url, dry_run=True))) == (12, 12, 0)
    again = config(server.url, retry_failed=True, condition="none", dry_run=True)
    assert numbers(dry(again)) == (12, 12 - refused, refused)
    assert sent(server, config(server.url, retry_failed=True)) == refused


def test_a_judge_is_counted_by_the_answers_and_at_most_once_for_each_that_is_open(config, serve):
    server, judge = serve(lambda body: "" if "horn 3" in quiz.shown(body) else quiz.right(body)), serve(lambda b: "yes")
    options = {"judge_model": "stub", "judge_url": judge.url}
    evaluate(config(server.url, limit=8, out="half", ledger=config().out / "ledger.sqlite"))
    found = dry(config(server.url, dry_run=True, **options))
    assert numbers(found["roles"]["model"]) == (12, 8, 4)
    assert numbers(found["roles"]["judge"]) == (11, 0, 11)  # an empty answer is not judged
    assert (found["left"], found["cost_usd"]) == (15, None)
    assert judge.stats()["requests"] == 0
    run = config(server.url, **options)
    assert sent(server, run) == 4 and judge.stats()["requests"] == 11
    assert numbers(dry(config(server.url, dry_run=True, **options))) == (23, 23, 0)


def test_what_a_process_at_work_has_committed_is_known(config, serve):
    server = serve(quiz.skilled)
    ledger = config().out / "ledger.sqlite"
    open_ = Ledger(ledger)
    evaluate(config(server.url, out="half", limit=6, ledger=ledger))
    assert Path(f"{ledger}-wal").stat().st_size  # it is in the log alone
    assert numbers(dry(config(server.url, dry_run=True))) == (12, 6, 6)
    open_.close()
    assert not Path(f"{ledger}-wal").exists()
    assert numbers(dry(config(server.url, dry_run=True))) == (12, 6, 6)


def test_what_cannot_be_asked_is_no_call(config):
    given = config(dry_run=True, condition="audio,none")
    (given.audio / "item00002.wav").unlink()
    found = dry(given)["conditions"]
    assert (found["audio"]["calls"], found["audio"]["unanswered"]) == (11, {"audio_missing": 1})
    assert (found["none"]["calls"], found["none"]["unanswered"]) == (12, {})


def test_a_folder_of_another_evaluation_and_a_ledger_that_is_none_are_refused(config, serve, tmp_path):
    evaluate(config(serve(quiz.skilled).url))
    with pytest.raises(UsageError, match="holds another evaluation: prompt was"):
        dry(config(dry_run=True, prompt="letters"))
    (tmp_path / "text").write_text("no ledger " * 99)
    with pytest.raises(UsageError, match="text is no ledger"):
        dry(config(dry_run=True, ledger=tmp_path / "text"))
    mark(config().out / "ledger.sqlite")
    with pytest.raises(UsageError, match="is damaged: the same command without --dry-run mends it"):
        dry(config(dry_run=True))


def test_the_command_says_what_is_left(config, serve, tmp_path, monkeypatch, capsys):
    server = serve(quiz.skilled)
    evaluate(config(server.url, limit=3, out="half", ledger=tmp_path / "l.sqlite"))
    words = [
        "eval",
        "--benchmark",
        "mmau",
        "--data",
        str(tmp_path / "quiz/quiz.json"),
        "--condition",
        "none",
        "--dry-run",
    ]
    words += ["--model", "stub", "--base-url", NOBODY, "--out", "new", "--ledger", str(tmp_path / "l.sqlite")]
    monkeypatch.setattr(sys, "argv", ["datagen", *words, "--price", "1000,0"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert ended.value.code in (0, None) and out == ""
    assert "12 items, 12 predictions: 12 calls, 3 known, 9 left, about $" in err
    assert "  none       12 predictions: 12 calls, 3 known, 9 left, " in err and "out at most" in err
    monkeypatch.setattr(sys, "argv", ["datagen", *words, "--json"])
    with pytest.raises(SystemExit):
        cli.main()
    assert json.loads(capsys.readouterr().out)["left"] == 9
    assert not (tmp_path / "new").exists()
