"""The real command, called wrongly: one line on standard error with what, the value and the cure; exit 2; no file."""

from __future__ import annotations

import errno
import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datagen import cli


def call(monkeypatch, capsys, *words):
    """(exit code, standard output, standard error) of `datagen WORDS` in this process."""
    monkeypatch.setattr(sys, "argv", ["datagen", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0, *capsys.readouterr()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, with a folder `music` of one file that is no audio, and some inputs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "ev\x1b[31mil\nname.wav").write_text("x")
    (tmp_path / "afile").touch()
    (tmp_path / "twice.csv").write_text("file,file\na.wav,b.wav\n")
    (tmp_path / "qa.json").write_text('[{"video_name": "abc_000030"}]')
    (tmp_path / "vggsound.csv").write_text(f"abc,30,{'x' * 140_000},train\n")
    return tmp_path


BUILD = ("build", "--source", "demo", "--limit", "1")
MODEL = (*BUILD, "--model", "m", "--base-url")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("build",), "Missing option '--source'"),
        (("build", "--source", "nope"), "unknown source 'nope': use one of demo"),
        (("build", "--source", ":x"), "source ':x' cannot be imported"),
        (("build", "--source", "json:__name__"), "source 'json:__name__' is a str: name a class or function"),
        (("build", "--source", "\udcff"), "is not UTF-8"),
        (("build", "--source", "folder"), "add --audio DIR"),
        (("build", "--source", "folder", "--audio", "nope"), "--audio nope: No such file or directory"),
        (("build", "--source", "folder", "--annotations", "twice.csv"), "line 1: 2 columns 'file'"),
        (
            ("build", "--source", "avqa", "--annotations", "qa.json", "--audio", "music"),
            "vggsound.csv: no row can be read: line 1: field larger",
        ),
        ((*BUILD, "--bogus"), "No such option: --bogus"),
        ((*BUILD, "--seed", "x"), "Invalid value for '--seed'"),
        ((*BUILD, "--split", "2"), "--split 2.0: give a share"),
        ((*BUILD, "--limit", "0"), "--limit 0: give 1 or more"),
        ((*BUILD, "--patience", "nan"), "--patience nan: give 0 or more"),
        ((*BUILD, "--max-cost", "-1"), "--max-cost -1.0: give 0 or more"),
        ((*BUILD, "--max-cost", "inf"), "--max-cost inf: give at most 1,000,000,000"),
        ((*BUILD, "--price", "1e300,1"), "--price '1e300,1': give two numbers"),
        ((*BUILD, "--in-flight", "9" * 20), "--in-flight 99999999999999999999: give at most 1,000,000"),
        ((*BUILD, "--captions-per-clip", "10" * 5), "--captions-per-clip 1010101010: give at most 1,000"),
        ((*BUILD, "--batch-poll", "inf"), "--batch-poll inf: give more than 0 seconds"),
        ((*BUILD, "--captioner", ","), "--captioner ',': names none"),
        ((*BUILD, "--captioner", "nope"), "unknown captioner 'nope'"),
        ((*BUILD, "--filters", "nope"), "unknown filter 'nope'"),
        ((*BUILD, "--generator", "nope"), "unknown generator 'nope'"),
        ((*BUILD, "--out", "afile"), "--out afile: File exists"),
        ((*BUILD, "--out", "music"), "but no run.json: choose an empty folder"),
        ((*BUILD, "--ledger", "music"), "--ledger 'music': is a folder: give a file"),
        ((*BUILD, "--ledger", "l" * 300), "File name too long: give a shorter one"),
        ((*BUILD, "--out", "o" * 300), "File name too long: choose a folder that can be written"),
        (("inspect", "r" * 300, "x"), "File name too long: give a shorter one"),
        ((*BUILD, "--exclude-media", "nope"), "--exclude-media nope: No such file or directory: give a text file"),
        (
            (*BUILD, "--model", "", "--base-url", "http://a:b@c/v1"),
            "--base-url http://c/v1: nobody asks it, as no model",
        ),
        ((*BUILD, "--ledger", ""), "--ledger '.': is a folder"),
        ((*MODEL, "http://127.0.0.1:99999/v1"), "--base-url 'http://127.0.0.1:99999/v1' is no http address"),
        ((*MODEL, "http://127.0.0.1:port/v1"), "is no http address"),
        ((*MODEL, "http://exa mple/v1"), "is no http address"),
        ((*MODEL, "http://me:secret@[::1/v1"), "--base-url 'http://…' is no http address"),
        ((*MODEL, "http://[::1/v1", "--price", "1,1"), "--base-url 'http://…' is no http address"),
        (("inspect", "music"), "Missing argument 'id'"),
        (("inspect", "music", "x"), "music: holds no run.json"),
        (("export", "music", "--out", "x"), "Missing option '--format'"),
        (("export", "music", "--format", "trl", "--out", "x"), "music: holds no run.json"),
        (("export", "music", "--format", "csv", "--out", "x"), "--format 'csv': unknown: use one of trl"),
        (("list", "nope"), "unknown kind 'nope'"),
        (("nope",), "No such command 'nope'"),
    ],
)
def test_a_wrong_call_is_told_in_one_line_and_leaves_nothing(here, monkeypatch, capsys, words, says):
    before = sorted(here.rglob("*"))
    code, out, err = call(monkeypatch, capsys, *words)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("datagen: ")
    assert says in err
    assert [path for path in sorted(here.rglob("*")) if path not in before and path != here / "runs"] == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("source == 1", "(at line 1, column 9): give a TOML file"),
        ("sauce = 'demo'", "unknown key 'sauce': use against"),
        ("help = true", "unknown key 'help'"),
        ("limit = true", "limit = true: give a value like that of the flag"),
        ("limit = {a = 1}", 'limit = {"a": 1}: give a value like that of the flag'),
        ("retry-failed = 'maybe'", 'retry-failed = "maybe": give true or false'),
        ("json = 1", "json = 1: give true or false"),
        ("limit = 1.5", "Invalid value for '--limit'"),
        ("json = true\ncaptions_per_clip = 0", "--captions-per-clip 0: give 1 or more"),
    ],
)
def test_a_wrong_config_is_told_in_one_line(here, monkeypatch, capsys, text, says):
    (here / "c.toml").write_text(f"{text}\n")
    code, out, err = call(monkeypatch, capsys, "build", "--source", "demo", "--config", "c.toml")
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert says in err


def test_flags_win_over_the_config_and_one_json_object_is_printed(here, monkeypatch, capsys):
    (here / "c.toml").write_text("source = 'nope'\nlimit = 2\nfilters = ['wellformed', 'duplicates']\njson = true\n")
    code, out, err = call(monkeypatch, capsys, *BUILD, "--out", "r", "--captioner", "labels", "--config", "c.toml")
    assert json.loads(out)["clips"] == 1
    assert json.loads((here / "r/run.json").read_text())["config"]["filters"] == ["wellformed", "duplicates"]
    assert "\n" not in err.strip()
    assert code == 1  # one label alone gives no question


def test_a_folder_of_broken_files_ends_with_1_and_names_each_in_one_line_without_moving_the_cursor(
    here, monkeypatch, capsys
):
    code, out, err = call(monkeypatch, capsys, "build", "--source", "folder", "--audio", "music", "--out", "r")
    assert (code, out) == (1, "")
    assert r"  folder/ev\x1b[31mil\nname.wav: audio_corrupt: " in err
    assert "\x1b" not in err
    assert "1/1 clips" in err
    assert {"rejected.parquet", "run.json", "report.html"} <= {path.name for path in Path("r").iterdir()}


@pytest.mark.parametrize("text", ['{"config": 3}', "[]", "{"])
def test_a_run_json_of_others_stays_as_it_is(here, monkeypatch, capsys, text):
    (here / "theirs").mkdir()
    (here / "theirs/run.json").write_text(text)
    code, _, err = call(monkeypatch, capsys, *BUILD, "--out", "theirs")
    assert (code, err.count("\n")) == (2, 1), err
    assert (here / "theirs/run.json").read_text() == text


def test_a_run_killed_before_its_run_json_was_whole_can_go_on(here, monkeypatch, capsys):
    (here / "r").mkdir()
    (here / "r/run.json.tmp").write_text("{")
    code, _, err = call(monkeypatch, capsys, *BUILD, "--out", "r", "--captioner", "labels")
    assert code == 1, err
    (here / "r/clips.parquet").write_text("x")
    code, _, err = call(monkeypatch, capsys, "inspect", "r", "demo/")
    assert (code, err.count("\n")) == (2, 1), err
    assert "r: a table cannot be read" in err


def test_a_folder_whose_path_is_not_utf8_is_refused(here, monkeypatch, capsys):
    strange = here / os.fsdecode(b"\xff")
    try:
        strange.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    (strange / "a.wav").touch()
    monkeypatch.chdir(strange)
    code, _, err = call(monkeypatch, capsys, "build", "--source", "folder", "--audio", ".", "--out", here / "r")
    assert (code, err.count("\n")) == (2, 1), err
    assert r"\udcff: the path is not UTF-8" in err


def test_a_target_that_is_not_reached_is_told(here, monkeypatch, capsys):
    code, _, err = call(monkeypatch, capsys, *BUILD, "--target", "100", "--out", "r")
    kept = json.loads((here / "r/run.json").read_text())["counts"]["kept"]
    assert (code, err.splitlines()[-1]) == (0, f"--target 100: {kept} are kept, and there are no more clips")


def test_clips_that_are_all_left_out_are_named_as_the_reason(here, monkeypatch, capsys):
    code, _, err = call(monkeypatch, capsys, *BUILD, "--license", "nope", "--out", "r")
    assert (code, "no question was kept: the reasons are in rejected.parquet" in err) == (1, True), err


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_the_shell_closed_is_no_file_of_the_run(here, closed):
    words = [*BUILD[:3], "--limit", "8", "--out", "r", "--json"]
    build = shlex.join([sys.executable, "-c", "from datagen.cli import main; main()", *words])
    done = subprocess.run(f"{build} {closed}", shell=True, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [json.loads(line)["clips"] for line in done.stdout.splitlines()] == ([8] if closed == "2>&-" else [])
    assert json.loads((here / "r/run.json").read_text())["status"] == "done"


def test_files_are_opened_as_many_as_the_system_grants(here):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    code = "import resource, sys; from datagen.cli import main\ntry: main()\n"
    code += "finally: print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    done = subprocess.run(
        [sys.executable, "-c", code, "list", "exports"], capture_output=True, text=True, timeout=60, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard)),
    )  # fmt: skip
    assert int(done.stdout.split()[-1]) == min(cli.FILES, hard)


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "No space left on device: make room"),
        (errno.EROFS, "Read-only file system: make it writable"),
        (errno.EMFILE, "Too many open files: raise `ulimit -n`"),
    ],
)
def test_what_happens_to_files_is_told_in_one_line(here, monkeypatch, capsys, number, says):
    def broken(config):
        raise OSError(number, os.strerror(number), "r/run.json.tmp")

    monkeypatch.setattr("datagen.build.build", broken)
    told = f"datagen: r/run.json.tmp: {says}; the same command goes on where it was\n"
    assert call(monkeypatch, capsys, *BUILD) == (1, "", told)


def test_a_second_ctrl_c_still_ends_with_a_word(here, monkeypatch, capsys):
    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setattr("datagen.build.build", interrupted)
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    code, out, err = call(monkeypatch, capsys, *BUILD)
    now = {signal.signal(name, handler) for name, handler in before.items()}
    assert now == {signal.SIG_IGN}  # one more must not kill what ends already
    assert (code, out) == (130, "")
    assert err == "datagen: interrupted; the same command goes on where it was\n"


def test_ctrl_c_while_the_command_is_loaded_leaves_no_traceback(here):
    (here / "typer.py").write_text("import pathlib, time; pathlib.Path('loading').touch(); time.sleep(30)")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([".", str(Path(cli.__file__).parents[1])])}
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731  else not in the background of a shell
    job = subprocess.Popen(
        [sys.executable, "-m", "datagen", "--help"], stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=heed
    )
    while not (here / "loading").exists() and job.poll() is None:
        time.sleep(0.01)
    job.send_signal(signal.SIGINT)
    assert (job.communicate(timeout=20)[1], job.returncode) == ("datagen: interrupted\n", 130)


def test_help_alone_is_printed_whole(monkeypatch, capsys):
    code, out, err = call(monkeypatch, capsys)
    assert (code, out) == (2, "")
    assert "Commands:\n  build" in err
    assert call(monkeypatch, capsys, "--help")[0] == 0
