"""`datagen eval` against loopback servers: conditions, orders, readings, figures, resumption and bad input."""

from __future__ import annotations

import gc
import json
import shutil
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import quiz
import soundfile
from evaluate import committed, kills
from model_server import Connection, ModelServer

from datagen import cli
from datagen.errors import UsageError
from datagen.eval.asking import CONDITIONS
from datagen.eval.evaluate import Config, evaluate
from datagen.eval.outputs import opened
from datagen.eval.scoring import score


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    for name in ("OPENAI_API_KEY", "JUDGE_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(tmp_path, serve):
    """`run(responder, n=…, **options) -> (result, folder, server)`, on a made benchmark of n items with clips."""
    servers = {}

    def start(responder=quiz.skilled, n=12, out="out", file=None, server=None, **options):
        data = file or tmp_path / f"quiz{n}/quiz.json"
        if not data.exists():
            quiz.write(data.parent, n)
        if server is None:
            server = servers.setdefault(responder, serve(responder))
        server.bodies = []
        audio = options.pop("audio", data.parent / "audio")
        config = Config("mmau", data, "stub", tmp_path / out, base_url=server.url, audio=audio, **options)
        return evaluate(config), opened(tmp_path / out), server

    return start


def cell(result, condition="audio", order="original"):
    [found] = [c for c in result["cells"] if (c["condition"], c["order"]) == (condition, order)]
    return found


def questions(server):
    """The requests that ask about an item."""
    return [body for body in server.bodies if quiz.shown(body)]


# ── orders and readings ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("prompt", ["omni-r1", "r1-aqa", "letters"])
def test_a_right_answer_is_right_wherever_it_is_shown(prompt, run):
    result, folder, server = run(condition="none", orders="original,shuffle:3,circular", prompt=prompt)
    for order, rows in (("original", 12), ("shuffle:3", 36), ("circular", 48)):
        found = cell(result, "none", order)
        assert (found["rows"], found["answered"], found["not_read"]) == (rows, rows, 0)
        assert found["strict"]["total"]["accuracy"] == 1
        assert (found["consistency"], found["always_right"]) == ((None, None) if order == "original" else (1, 1))
    assert cell(result, "none")["official"]["total"]["accuracy"] == (0 if prompt == "letters" else 1)
    for line in folder.lines():
        number = int(line.id[4:])
        assert line.reading == quiz.gold(number)
        assert sorted(line.shown) == [0, 1, 2, 3]
    # the rotation by none is the original order: the same question is asked once
    asked = Counter(quiz.text(body) for body in server.bodies)
    assert max(asked.values()) == 1 and len(asked) < 12 * 8


def test_a_model_that_takes_the_first_choice_is_found_out_by_rotations(run):
    result, folder, _ = run(quiz.first, condition="none", orders="original,circular")
    found = cell(result, "none", "circular")
    golds = [quiz.gold(number) for number in range(12)]
    assert cell(result, "none")["strict"]["total"]["correct"] == golds.count(0)
    assert found["strict"]["total"]["accuracy"] == 0.25
    assert (found["consistency"], found["always_right"]) == (0, 0)
    assert [place["picked"] for place in found["positions"]] == [48, 0, 0, 0]
    assert [place["gold"]["accuracy"] for place in found["positions"]] == [1, 0, 0, 0]
    assert [place["gold"]["n"] for place in found["positions"]] == [12] * 4
    assert {tuple(line.shown) for line in folder.lines()} == {(0, 1, 2, 3), (1, 2, 3, 0), (2, 3, 0, 1), (3, 0, 1, 2)}


def test_figures_are_those_of_the_answers(tmp_path, run):
    rows = [
        {**row, "question": row["question"].upper() if n > 9 else row["question"]}
        for n, row in enumerate(quiz.rows(30))
    ]
    file = tmp_path / "quiz.json"
    file.write_text(json.dumps(rows))
    result, folder, _ = run(quiz.mixed, n=30, file=file, condition="none")
    expected = [number % 5 < 3 or (number % 5 == 3 and quiz.gold(number) == 0) for number in range(30)]
    found = cell(result, "none")
    assert found["strict"]["total"]["correct"] == sum(expected) == found["official"]["total"]["correct"]
    assert found["not_read"] == 6
    assert [line.strict for line in folder.lines()] == expected
    clustered = found["strict"]["total"]["clustered"]
    assert clustered["clusters"] == 10 and clustered["low"] < sum(expected) / 30 < clustered["high"]
    by_task = found["strict"]["task"]
    assert {task: part["n"] for task, part in by_task.items()} == {"sound": 10, "music": 10, "speech": 10}
    assert sum(part["correct"] for part in by_task.values()) == sum(expected)
    assert result["baselines"]["position"][0] == pytest.approx(sum(quiz.gold(n) == 0 for n in range(30)) / 30)
    assert folder.items()["id"].to_list() == [row["id"] for row in quiz.rows(30)]


def test_figures_are_those_that_score_gives_to_the_same_texts(tmp_path, run):
    result, folder, _ = run(quiz.mixed, n=30, condition="none", prompt="letters")
    sent = [{"id": line.id, "model_output": line.text} for line in folder.lines()]
    (tmp_path / "sent.jsonl").write_text("\n".join(map(json.dumps, sent)))
    scored = score(tmp_path / "quiz30/quiz.json", tmp_path / "sent.jsonl", "mmau", labels="letters")
    for matcher in ("official", "strict"):
        theirs, ours = scored["matchers"][matcher]["missing_as_wrong"], cell(result, "none")[matcher]
        assert theirs.keys() == ours.keys()
        assert {k: v for k, v in ours["total"].items() if k != "clustered"} == theirs["total"]
        for group in theirs.keys() - {"total"}:
            assert {v: s["correct"] for v, s in ours[group].items()} == {
                v: s["correct"] for v, s in theirs[group].items()
            }
    assert cell(result, "none")["format_loss"]["difference"] == scored["format_loss"]["total"]["difference"] < 0


def test_the_gold_shown_again_in_an_equal_choice_is_right(tmp_path, run):
    rows = [{**quiz.rows(1)[0], "choices": ["bell 0", "horn 0", "Bell 0"], "answer": "bell 0"}]
    file = tmp_path / "doubled/quiz.json"
    file.parent.mkdir()
    file.write_text(json.dumps(rows))
    last = lambda body: "C"  # noqa: E731  ("Bell 0", or after a turn "bell 0" or "horn 0")
    result, folder, _ = run(last, file=file, condition="none", orders="circular", prompt="letters")
    assert [line.reading for line in folder.lines()] == [0, 0, 1]
    assert cell(result, "none", "circular")["strict"]["total"]["correct"] == pytest.approx(2 / 3)


def test_several_samples_are_drawn_with_seeds_of_their_own(run):
    result, folder, server = run(n=4, condition="none", samples=3)
    assert [(line.id[-1], line.sample) for line in folder.lines()] == [(str(i), s) for i in range(4) for s in range(3)]
    seeds = Counter(body["seed"] for body in server.bodies)
    assert len(seeds) == 3 and all(body["temperature"] == 1 for body in server.bodies)
    assert cell(result, "none")["strict"]["total"]["n"] == 4
    _, _, server = run(n=4, condition="none", out="one")
    assert all(body["temperature"] == 0 and "seed" not in body for body in server.bodies)


# ── conditions ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_condition_sends_what_it_says(tmp_path, run):
    captions = tmp_path / "captions.jsonl"
    captions.write_text(
        "".join(json.dumps({"id": r["id"], "caption": f"Noise, {r['id']}."}) + "\n" for r in quiz.rows(12))
    )
    result, folder, server = run(condition=",".join(CONDITIONS), captions=captions)
    assert [c["condition"] for c in result["cells"]] == list(CONDITIONS)
    assert all(c["strict"]["total"]["accuracy"] == 1 for c in result["cells"])
    own = {number: quiz.samples(number) for number in range(12)}
    told, sent = [], {number: [] for number in range(12)}
    for body in questions(server):
        number = int(quiz.shown(body)[0].split()[1])
        sound = quiz.heard(body)
        if sound is None:
            told.append(quiz.text(body))
        else:
            sent[number].append(sound)
    assert len(told) == 24 and sum("described as follows: Noise, item" in text for text in told) == 12
    lines = {(line.condition, line.row): line for line in folder.lines()}
    for number, sounds in sent.items():
        assert len(sounds) == 4
        others = [sound for sound in sounds if not np.array_equal(sound, own[number])]
        assert len(others) == 3  # its own once
        other = int(lines["mismatched", number].heard[4:])
        assert other != number and other % 3 == number % 3  # of the same task
        assert any(np.array_equal(sound, own[other]) for sound in others)
        made = [sound for sound in others if not np.array_equal(sound, own[other])]
        assert all(len(sound) == len(own[number]) for sound in made)
        assert sum(not sound.any() for sound in made) == 1
        [noise] = [sound for sound in made if sound.any()]
        assert 0.04 < np.sqrt(np.mean((noise / 32768.0) ** 2)) < 0.06
    assert all(line.heard is None for line in folder.lines() if line.condition != "mismatched")


def test_a_mismatched_clip_is_never_the_same_audio_under_another_name(tmp_path, run):
    file = quiz.write(tmp_path / "same", 6)
    clips = sorted((tmp_path / "same/audio").iterdir())
    for clip in clips[1:5]:  # five of six are one recording, one of them as FLAC under the name of a WAV
        shutil.copy(clips[0], clip)
    sound, rate = soundfile.read(clips[0], dtype="int16")
    soundfile.write(tmp_path / "flac", sound, rate, format="FLAC")
    shutil.move(tmp_path / "flac", clips[1])
    rows = [{**row, "task": "sound"} for row in quiz.rows(6)]
    file.write_text(json.dumps(rows))
    _, folder, _ = run(file=file, condition="mismatched")
    assert [line.heard for line in folder.lines()][:5] == ["item00005"] * 5


def test_clips_are_found_by_content_and_by_name_and_none_is_dropped(tmp_path, run):
    file = quiz.write(tmp_path / "odd", 8)
    audio = tmp_path / "odd/audio"
    sound, rate = soundfile.read(audio / "item00000.wav")
    soundfile.write(tmp_path / "x.mp3", np.tile(sound, 5), rate)
    shutil.move(tmp_path / "x.mp3", audio / "item00000.wav")  # MP3 under the name of a WAV
    soundfile.write(audio / "item00001.flac", sound, rate)
    (audio / "item00001.wav").unlink()
    (audio / "deep/er").mkdir(parents=True)
    shutil.move(audio / "item00002.wav", audio / "deep/er")
    (audio / "item00003.wav").write_bytes(b"RIFF....WAVEjunk")
    (audio / "item00004.wav").unlink()
    (audio / "item00005.wav").write_bytes(b"")
    result, folder, server = run(file=file, condition="audio,silence,none")
    assert result["unanswered"]["audio"] == result["unanswered"]["silence"]
    lost = {id: reason for reason, ids in result["unanswered"]["audio"].items() for id in ids}
    assert lost.keys() == {"item00003", "item00004", "item00005"} and lost["item00004"] == "audio_missing"
    assert cell(result)["strict"]["total"]["n"] == 8 and cell(result)["strict"]["total"]["correct"] == 5
    assert cell(result, "none")["strict"]["total"]["correct"] == 8
    assert all((line.text is None) == (line.error is not None) for line in folder.lines())
    assert str(tmp_path) not in (tmp_path / "out/predictions.jsonl").read_text()
    files = folder.items()["audio_files"].to_list()
    assert files[:3] == [["item00000.wav"], ["item00001.flac"], ["deep/er/item00002.wav"]] and files[4] is None
    shutil.copy(audio / "item00006.wav", audio / "item00004.wav")
    again, _, server = run(file=file, condition="audio,silence,none")  # what was lost alone is asked
    assert [quiz.shown(body)[0] for body in questions(server)] == ["bell 4"] * 2
    assert cell(again)["strict"]["total"]["correct"] == 6


# ── the folder ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_second_run_asks_nothing_and_writes_the_same_bytes(tmp_path, run):
    run(quiz.mixed, orders="circular", condition="audio,mismatched")
    names = ("items.parquet", "predictions.jsonl", "result.json")
    before = {name: (tmp_path / "out" / name).read_bytes() for name in names}
    latency = tmp_path / "out/latency.jsonl"
    timed = latency.read_text().splitlines()
    latency.write_text("\n".join(timed)[:-5])  # as a kill leaves it
    assert len(timed) == 96 and all(json.loads(line)["seconds"] > 0 for line in timed)
    result, _, server = run(quiz.mixed, orders="circular", condition="audio,mismatched")
    assert server.bodies == [] and result["spent"]["calls"] == 0
    assert {name: (tmp_path / "out" / name).read_bytes() for name in names} == before
    assert latency.read_text() == "\n".join(timed)[:-5] + "\n"
    other, _, _ = run(quiz.mixed, orders="circular", condition="audio,mismatched", out="other", seed=0)
    assert (tmp_path / "other/predictions.jsonl").read_bytes() == before["predictions.jsonl"]
    assert other["usage"] == result["usage"] and other["usage"]["answers"] == 96


def test_cycles_are_looked_for_rarely_while_it_runs(run):
    seen = set()
    run(lambda body: seen.add(gc.get_threshold()[0]) or quiz.right(body), condition="none")
    assert min(seen) > gc.get_threshold()[0]


@pytest.mark.parametrize("change", [{"prompt": "letters"}, {"seed": 1}, {"limit": 3}, {"condition": "silence"}])
def test_a_folder_holds_one_evaluation(change, run):
    run()
    with pytest.raises(UsageError, match=r"holds another evaluation: .* choose another --out"):
        run(**change)


@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_a_killed_evaluation_goes_on_to_the_same_bytes_and_asks_nothing_twice(rounds, tmp_path):
    found = kills(rounds, items=300, folder=tmp_path, seed=1)
    assert found["equal"] == rounds and found["reasked_committed"] == 0, found
    assert found["killed_between"] >= 1, found  # at least one was killed after the first answer and before the last


def test_answers_outlive_a_call_that_is_wrong_at_its_end(tmp_path, run, monkeypatch):
    def fails(*args):
        raise UsageError("the data file went away")

    with monkeypatch.context() as patch, pytest.raises(UsageError, match="went away"):
        patch.setattr("datagen.eval.evaluate.write_submission", fails)
        run(condition="none", submission=tmp_path / "sent.json")
    result, _, server = run(condition="none")
    assert result["spent"] == {"calls": 0, "cached": 12, "cost_usd": 0} and server.bodies == []


def test_a_submission_is_scored_as_the_run_was(tmp_path, run):
    result, _, _ = run(quiz.mixed, condition="none", prompt="letters", submission=tmp_path / "sent.json")
    rows = json.loads((tmp_path / "sent.json").read_text())
    assert [{k: v for k, v in row.items() if not k.startswith("model_")} for row in rows] == quiz.rows(12)
    assert all(row["model_output"] == row["model_prediction"] for row in rows)
    given = score(tmp_path / "quiz12/quiz.json", tmp_path / "sent.json", "mmau")
    right = cell(result, "none")["strict"]["total"]["correct"]
    assert given["matchers"]["official"]["as_published"]["total"]["correct"] == right > 0


def test_a_test_set_without_answers_is_asked_for_its_submission(tmp_path, run):
    file = tmp_path / "blind/quiz.json"
    file.parent.mkdir()
    file.write_text(json.dumps([{k: v for k, v in row.items() if k != "answer"} for row in quiz.rows(5)]))
    result, folder, _ = run(file=file, condition="none", orders="circular", submission=tmp_path / "sent.json")
    found = result["cells"][0]
    assert (found["answered"], found["strict"], found["consistency"], found["always_right"]) == (20, None, 1, None)
    assert result["baselines"] is None and all(line.strict is None for line in folder.lines())
    sent = [row["model_output"] for row in json.loads((tmp_path / "sent.json").read_text())]
    assert sent == [row["answer"] for row in quiz.rows(5)]


# ── models that misbehave ────────────────────────────────────────────────────────────────────────────────────────────


def test_empty_refused_and_cut_answers_are_wrong_and_counted(run, serve):
    says = {0: "", 1: "I'm sorry, but I can't help with that.", 2: "bell bell bell bell horn"}
    server = serve(lambda body: says[int(quiz.shown(body)[0].split()[1]) % 3], finish="length")
    result, folder, _ = run(server=server, condition="none", max_tokens=5)
    found = cell(result, "none")
    assert (found["answered"], found["empty"], found["cut"], found["not_read"]) == (12, 4, 12, 12)
    assert found["strict"]["total"]["correct"] == 0 and result["unanswered"] == {}
    assert {line.finish for line in folder.lines()} == {"length"}


def test_a_question_that_the_server_refuses_is_listed_and_wrong(run, serve):
    server = serve(quiz.skilled, faults={"filter": 0.4}, seed=3)
    result, folder, _ = run(server=server, condition="none")
    refused = result["unanswered"]["none"]["refused"]
    assert 0 < len(refused) < 12
    total = cell(result, "none")["strict"]["total"]
    assert (total["correct"], total["n"]) == (12 - len(refused), 12)
    assert [line.id for line in folder.lines() if line.error] == refused


def test_a_server_that_dies_half_way_leaves_a_run_that_goes_on(tmp_path, monkeypatch, capsys):
    data, left = quiz.write(tmp_path / "quiz", 400, audio=False), [50]

    def dying(body):
        left[0] -= 1
        if left[0] < 0:
            server.status = 401  # the key is no longer good
        return quiz.skilled(body)

    with ModelServer(dying) as server:
        call = ["eval", "--benchmark", "mmau", "--data", str(data), "--model", "stub", "--base-url", server.url,
                "--condition", "none", "--out", str(tmp_path / "out")]  # fmt: skip
        assert command(monkeypatch, *call) == 1
        assert "401" in capsys.readouterr().err and not (tmp_path / "out/result.json").exists()
        kept = committed(tmp_path / "out")
        assert 0 < kept < 400
        server.status, left[0] = 0, 10**6
        assert command(monkeypatch, *call, "--json") is None
        # What the first call had under way may still be on its way to the server, so its count tells nothing.
        assert json.loads(capsys.readouterr().out)["spent"]["calls"] == 400 - kept


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["datagen", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


@pytest.mark.parametrize("status", [400, 500])
def test_a_server_that_takes_no_audio_is_told_before_the_first_item(status, run, serve, monkeypatch):
    monkeypatch.setattr("datagen.llm.sender.FIRST_WAIT", 0.001)
    server = serve(quiz.skilled, status=status)
    with pytest.raises(UsageError, match=rf"'stub' takes no audio \(.*{status}.*use --condition none or caption"):
        run(server=server)
    assert questions(server) == []
    server.status = 0
    result, _, _ = run(server=server)  # mended, and the refusal is not remembered
    assert cell(result)["strict"]["total"]["correct"] == 12


def test_a_server_that_leaves_audio_out_without_a_word_is_found_by_its_tokens(run, serve, monkeypatch):
    """`transformers serve` does so for a model that hears nothing."""
    complete = Connection.complete

    def dropping(self, body, prompt, fault):
        content = body["messages"][0]["content"]
        if not isinstance(content, str):
            body["messages"][0]["content"] = [part for part in content if part["type"] == "text"]
        complete(self, body, prompt, fault)

    monkeypatch.setattr(Connection, "complete", dropping)
    with pytest.raises(UsageError, match=r"takes no audio \(\d+ prompt tokens with one second of it, \d+ without\)"):
        run(server=serve(quiz.skilled))


def test_a_judge_is_a_third_column(run, serve):
    verdicts = {0: "yes", 1: "No.", 2: "<think>yes or no</think> Yes", 3: "yes and no"}
    judge = serve(lambda body: verdicts[int(quiz_number(body)) % 4])
    judge.bodies = []
    result, folder, _ = run(quiz.mixed, n=20, condition="none", judge_model="stub", judge_url=judge.url)
    found = cell(result, "none")["judge"]
    assert found["total"]["correct"] == 10 and found["not_judged"] == 5
    assert [line.judge for line in folder.lines()][:4] == [True, False, True, None]
    assert "Right choice: " in quiz.text(judge.bodies[0]) and result["judge"]["model"] == "stub"


def quiz_number(body):
    return quiz.text(body).partition("Right choice: ")[2].split()[1]


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"condition": "loud"}, "--condition 'loud': use audio, none"),
        ({"condition": "none,none"}, "name each condition once"),
        ({"orders": "shuffle:0"}, "--orders 'shuffle:0': use original, circular or shuffle:K"),
        ({"prompt": "haiku"}, "--prompt 'haiku': use omni-r1, r1-aqa, letters"),
        ({"samples": 0}, "--samples 0: give 1 or more"),
        ({"samples": 10**11}, "--samples 100000000000: give at most 10,000"),
        ({"max_tokens": 2**70}, "--max-tokens 1180591620717411303424: give at most 10,000,000"),
        ({"audio": None}, "--condition audio needs the clips: add --audio DIR"),
        ({"audio": Path("/nowhere")}, "--audio /nowhere: No such file"),
        ({"condition": "caption"}, "no item has a caption: add --captions FILE"),
        ({"judge_model": "x"}, "--judge-model and --judge-url belong together"),
        ({"check_batch": 4}, "--check-batch: the batches of a server are its own"),
        ({"max_cost": 1.0}, "--max-cost needs a price"),
        ({"max_cost": float("nan")}, "--max-cost nan: give 0 or more"),  # no sum is above NaN: it would bound nothing
        ({"patience": -1.0}, "--patience -1.0: give 0 or more"),
        ({"batch_rows": 0}, "--batch-rows 0: give 1 or more"),
        ({"ledger": Path("/")}, "--ledger '/': is a folder: give a file"),
        ({"submission": Path("/nowhere/x.json")}, "--submission /nowhere/x.json: no folder /nowhere: make it first"),
    ],
)
def test_a_wrong_call_is_told_in_one_line_and_asks_nothing(options, message, run, serve, tmp_path):
    server = serve(quiz.skilled)
    with pytest.raises(UsageError) as told:
        run(server=server, **options)
    assert message in str(told.value) and "\n" not in str(told.value)
    assert server.bodies == [] and not (tmp_path / "out").exists()


def test_a_folder_of_other_audio_is_refused(tmp_path, run):
    (tmp_path / "other").mkdir()
    soundfile.write(tmp_path / "other/x.wav", np.zeros(99), 16_000)
    with pytest.raises(UsageError, match=r"holds the clip of not one of 12 items \(item00000, "):
        run(audio=tmp_path / "other")


def test_broken_answers_are_refused_with_their_ids_unless_allowed(tmp_path, run):
    rows = quiz.rows(6)
    rows[1]["answer"] = "a cat"
    rows[2]["choices"] = None
    rows[3]["question"] = None
    file = tmp_path / "broken/quiz.json"
    file.parent.mkdir()
    file.write_text(json.dumps(rows))
    with pytest.raises(UsageError, match=r"answer_not_among_choices 2 \(item00001, .*--allow-broken"):
        run(file=file, condition="none")
    result, _, _ = run(file=file, condition="none", orders="circular", allow_broken=True)
    assert result["unanswered"] == {"none": {"not_askable": ["item00002", "item00003"]}}
    found = cell(result, "none", "circular")
    assert (found["strict"]["total"]["correct"], found["strict"]["total"]["n"]) == (3, 6)
    assert found["rows"] == 4 * 5 + 1


def test_the_command_says_the_figures_and_ends_with_1_where_answers_are_missing(tmp_path, serve, monkeypatch, capsys):
    data = quiz.write(tmp_path / "quiz", 6)
    (tmp_path / "quiz/audio/item00002.wav").unlink()
    places = ["--data", str(data), "--audio", str(tmp_path / "quiz/audio"), "--out", str(tmp_path / "out")]
    call = ["eval", "--benchmark", "mmau", *places, "--model", "stub", "--base-url", serve(quiz.skilled).url]
    assert command(monkeypatch, *call) == 1
    out, err = capsys.readouterr()
    assert "audio      original  5 of 6" in out and "83.3 [43.6, 97.0]" in out
    assert "without an answer, which counts as wrong: audio_missing 1" in err
    assert command(monkeypatch, *call, "--json") == 1
    result = json.loads(capsys.readouterr().out)
    assert result["unanswered"] == {"audio": {"audio_missing": ["item00002"]}} and result["spent"]["calls"] == 0


# ── other benchmarks ─────────────────────────────────────────────────────────────────────────────────────────────────


def answer(server, tmp_path, benchmark, rows, **options):
    """One evaluation of rows in another benchmark's form, in every rotation; the text of each line by item and turn."""
    file = tmp_path / f"{benchmark}.json"
    file.write_text(json.dumps(rows))
    config = Config(benchmark, file, "stub", tmp_path / benchmark, base_url=server.url, orders="circular", **options)
    return evaluate(config), list(opened(tmp_path / benchmark).lines())


def test_mmsu_reads_letters_by_what_was_shown(tmp_path, serve):
    names = ("choice_a", "choice_b", "choice_c", "choice_d")
    rows = [
        {"id": row["id"], "audio_path": "x", "question": row["question"], "answer_gt": row["answer"], "task_name": "t",
         "category": "c", "sub-category": "s", **dict(zip(names, row["choices"], strict=True))}
        for row in quiz.rows(6)
    ]  # fmt: skip
    result, lines = answer(serve(quiz.skilled), tmp_path, "mmsu", rows, condition="none", prompt="letters",
                           submission=tmp_path / "sent.json")  # fmt: skip
    found = cell(result, "none", "circular")
    assert found["official"]["total"]["accuracy"] == found["strict"]["total"]["accuracy"] == 1
    assert len({line.text for line in lines}) == 4
    assert json.loads((tmp_path / "sent.json").read_text())[0]["response"] == rows[0]["answer_gt"]


def test_mmau_pro_sends_all_clips_of_an_item_and_asks_no_open_question(tmp_path, serve):
    quiz.write(tmp_path / "quiz", 4)
    rows = [
        {"id": row["id"], "audio_path": [f"data/item0000{n}.wav", f"data/item0000{(n + 1) % 4}.wav"],
         "question": row["question"], "choices": row["choices"], "answer": row["answer"],
         "category": "open" if n == 3 else "mixes", "task_identifier": "t"}
        for n, row in enumerate(quiz.rows(4))
    ]  # fmt: skip
    server = serve(quiz.skilled)
    server.bodies = []
    result, _ = answer(server, tmp_path, "mmau-pro", rows, audio=tmp_path / "quiz/audio")
    assert result["set_aside"] == {"open": 1} and result["items"] == 3
    for body in questions(server):
        assert [part["type"] for part in body["messages"][0]["content"]] == ["input_audio", "input_audio", "text"]
    assert cell(result, order="circular")["official"]["total"]["accuracy"] == 1


def test_a_dataset_of_ours_finds_its_clips_by_the_clips_name(tmp_path, serve):
    quiz.write(tmp_path / "quiz", 3)
    rows = [
        {"id": f"q{n}", "question": row["question"], "choices": row["choices"], "answer": row["answer"], "answer_index":
         quiz.gold(n), "clip_id": f"folder/deep/item0000{n}", "provenance": "{}", "captions": ["A sound."]}
        for n, row in enumerate(quiz.rows(3))
    ]  # fmt: skip
    result, lines = answer(
        serve(quiz.skilled), tmp_path, "file", rows, condition="audio,caption", audio=tmp_path / "quiz/audio"
    )
    assert result["unanswered"] == {} and len(lines) == 24
    assert cell(result, "caption", "circular")["strict"]["total"]["correct"] == 3
