"""What training is refused for in one line, and a disk that fills up while it saves: tiny models, a real limit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import test_train
from test_train import call, config, one_thread, questions, rows_of, tiny  # noqa: F401  (fixtures)

from datagen.errors import Interrupted, UsageError
from datagen.train import preflight
from datagen.train.preflight import check_device, last_checkpoint, room
from datagen.train.run import train

# ── without a GPU ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def no_gpu(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_a_large_model_is_refused_without_a_gpu_before_it_is_fetched(questions, tmp_path, monkeypatch, capsys, no_gpu):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    words = ("--data", "set.jsonl", "--model", "Qwen/Qwen2.5-Omni-7B", "--out", "o")
    code, out, err = call(monkeypatch, capsys, *words)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert "--model Qwen/Qwen2.5-Omni-7B: 8.9 billion parameters and no GPU" in err
    assert "36 GB of memory here: use a machine with a GPU, or --allow-cpu" in err
    assert [path.name for path in tmp_path.iterdir()] == ["set.jsonl"]
    check_device("Qwen/Qwen2.5-Omni-7B", allow_cpu=True)


def test_a_folder_is_known_by_its_configuration_and_what_is_small_or_unknown_passes(tiny, tmp_path, no_gpu):  # noqa: F811
    for model in ("HuggingFaceTB/SmolLM2-1.7B-Instruct", "owner/unknown", str(tiny("causal"))):
        check_device(model, allow_cpu=False)
    large = {"model_type": "llama", "hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 32,
             "intermediate_size": 11008, "vocab_size": 32000}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(large))
    with pytest.raises(UsageError, match=r"6\.7 billion parameters and no GPU"):
        check_device(str(tmp_path), allow_cpu=False)


def test_a_gpu_is_asked_nothing(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_device("Qwen/Qwen2.5-Omni-7B", allow_cpu=False)


# ── checkpoints and models that do not belong together ───────────────────────────────────────────────────────────────


def other_model(folder):
    """A causal model of another width with the same tokenizer."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    words = AutoTokenizer.from_pretrained(folder)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(words), eos_token_id=words.eos_token_id, **shape)).save_pretrained(
        folder
    )
    return folder


def begun(questions, model, out, **changes):  # noqa: F811
    """A run that was interrupted behind its first checkpoint."""
    test_train.threading.Thread(target=test_train.interrupt_after, args=(out / "train.jsonl", 2), daemon=True).start()
    with pytest.raises(Interrupted):
        train(config(questions, model, out, steps=40, **changes))
    return out


@pytest.mark.parametrize(
    ("changes", "there", "says"),
    [
        ({}, {}, "is of another model: hidden_size is 32 there and 64 here"),
        ({"method": "lora"}, {"lora_rank": 2}, "is of another model: r is 2 there and 16 here"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(tiny, questions, tmp_path, changes, there, says):  # noqa: F811
    model = tiny("causal")
    out = begun(questions, model, tmp_path / "out", **changes)
    other = model if there else other_model(shutil.copytree(model, tmp_path / "other"))
    elsewhere = begun(questions, other, tmp_path / "elsewhere", **changes, **there)
    shutil.rmtree(out / "checkpoints")
    shutil.copytree(elsewhere / "checkpoints", out / "checkpoints")
    with pytest.raises(UsageError, match=says):
        train(config(questions, model, out, steps=40, resume=True, **changes))


def test_a_run_goes_on_with_no_other_model_and_no_adapter_is_a_model(tiny, questions, tmp_path):  # noqa: F811
    out = begun(questions, tiny("causal"), tmp_path / "out", method="lora")
    other = other_model(shutil.copytree(tiny("causal"), tmp_path / "other"))
    with pytest.raises(UsageError, match="holds a run of other inputs: model was"):
        train(config(questions, other, out, steps=40, method="lora", resume=True))
    with pytest.raises(UsageError, match="holds an adapter alone: merge it into its base"):
        train(config(questions, last_checkpoint(out / "checkpoints"), tmp_path / "again"))


def test_a_checkpoint_without_its_configuration_is_refused(tiny, questions, tmp_path):  # noqa: F811
    out = begun(questions, tiny("causal"), tmp_path / "out")
    (last_checkpoint(out / "checkpoints") / "config.json").unlink()
    with pytest.raises(UsageError, match=r"config.json: .*No such file.*take the folder away"):
        train(config(questions, tiny("causal"), out, steps=40, resume=True))


# ── a disk that is full ──────────────────────────────────────────────────────────────────────────────────────────────

LIMITED = """
import resource
import torch; torch.set_num_threads(1)
from datagen.cli import main
from datagen.train.watch import Watch
saved = Watch.on_save
def then_no_file_may_grow_beyond(self, *args, **kwargs):
    saved(self, *args, **kwargs)
    resource.setrlimit(resource.RLIMIT_FSIZE, (BYTES, BYTES))
Watch.on_save = then_no_file_may_grow_beyond
main()
"""


@pytest.mark.parametrize(
    "limit",
    [
        700_000,  # the weights can be written, their optimizer of 1 MB cannot
        pytest.param(100_000, marks=pytest.mark.slow),  # nor can they
    ],
)
def test_a_disk_that_fills_up_leaves_the_last_checkpoint_to_go_on_from(tiny, questions, tmp_path, limit):  # noqa: F811
    words = ["--prompt", "letters", "--learning-rate", "1e-2", "--steps", "6", "--prompts-per-step", "2",
             "--group-size", "4", "--batch-size", "4", "--max-tokens", "3", "--save-every", "2", "--eval-every", "2",
             "--method", "full", "--json"]  # fmt: skip
    code = LIMITED.replace("BYTES", str(limit))
    command = [sys.executable, "-c", code, "train", "--data", questions, "--model", tiny("causal"), *words, "--out"]
    done = subprocess.run([*command, tmp_path / "full"], capture_output=True, text=True, timeout=200, check=False)
    last = done.stderr.splitlines()[-1]
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (1, "", False), done.stderr
    assert "the disk is full" in last
    assert "checkpoint-2 stands: make room, and give the same command with --resume" in last
    assert last_checkpoint(tmp_path / "full" / "checkpoints").name == "checkpoint-2"
    whole, again = (
        train(config(questions, tiny("causal"), tmp_path / name, steps=6, learning_rate=1e-2, resume=True))
        for name in ("whole", "full")
    )
    assert again["parameters_sha256"] == whole["parameters_sha256"]
    assert rows_of(tmp_path / "full") == rows_of(tmp_path / "whole")


@pytest.mark.slow
def test_a_run_on_a_small_disk_goes_on_when_there_is_more_room(tiny, questions, tmp_path, monkeypatch, capsys):  # noqa: F811
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", disk], check=False).returncode:
        pytest.skip("no file system may be mounted here")
    words = ["--data", questions, "--model", tiny("causal"), "--out", disk / "out", "--prompt", "letters", "--steps", 6,
             "--prompts-per-step", 2, "--group-size", 4, "--batch-size", 4, "--max-tokens", 3, "--save-every", 2,
             "--eval-every", 2, "--method", "full", "--learning-rate", 1e-2]  # fmt: skip
    try:
        code, _, err = call(monkeypatch, capsys, *words)
        assert (code, "the disk is full" in err.splitlines()[-1], "Traceback" in err) == (1, True, False), err
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        again = train(config(questions, tiny("causal"), disk / "out", steps=6, learning_rate=1e-2, resume=True))
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
    whole = train(config(questions, tiny("causal"), tmp_path / "whole", steps=6, learning_rate=1e-2))
    assert again["parameters_sha256"] == whole["parameters_sha256"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("PytorchStreamWriter failed")])
def test_without_a_checkpoint_it_says_so_and_other_errors_are_left_alone(tmp_path, error):
    with pytest.raises(preflight.DatagenError, match="there is no checkpoint yet: make room"), room(tmp_path):
        raise error
    with pytest.raises(RuntimeError, match="mat1 and mat2"), room(tmp_path):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(FileNotFoundError), room(tmp_path):
        Path(tmp_path / "no").read_text()
