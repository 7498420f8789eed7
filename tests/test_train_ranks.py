"""Several processes of one training run: gloo on the processor, tiny models."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import quiz
import tiny_models
from safetensors.torch import load_file
from test_train import config, one_thread, questions_in, rows_of, teach_letters
from together import shared_by_fsdp2, together

from datagen.errors import Interrupted, UsageError
from datagen.train.alarms import WINDOW
from datagen.train.run import train
from datagen.train.watch import say

__all__ = ["one_thread"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("tiny"), {}

    def get(kind="causal"):
        if kind not in made:
            made[kind] = tiny_models.make(kind, folder / kind, teach=teach_letters)
        return made[kind]

    return get


@pytest.fixture
def questions(tmp_path):
    return questions_in(tmp_path / "set.jsonl", "q", 24)


def interrupted_at(settings, rank, step):
    """Trains; the process `rank` gets SIGTERM once `step` stands in the log."""
    import threading

    def wait():
        log = settings.out / "train.jsonl"
        while not log.exists() or f'"step": {step}, "accuracy"' not in log.read_text():
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGTERM)

    if os.environ["RANK"] == str(rank):
        threading.Thread(target=wait, daemon=True).start()
    return train(settings)


def test_two_processes_share_one_run_and_go_on_with_it_as_one(tiny, questions, tmp_path):
    held_out = questions_in(tmp_path / "held_out.jsonl", "h", 5)  # which two processes cannot share evenly
    options = {"held_out": held_out, "steps": 6, "beta": 0.04, "prompts_per_step": 3, "group_size": 4, "batch_size": 3}
    whole = config(questions, tiny(), tmp_path / "whole", **options)
    broken = config(questions, tiny(), tmp_path / "broken", **options)
    first, second = together(train, 2, whole)
    assert first["parameters_sha256"] == second["parameters_sha256"]
    assert first["fingerprints"]["inputs"]["processes"] == 2
    ended = together(interrupted_at, 2, broken, 1, 3)
    assert [type(error) for error in ended] == [Interrupted, Interrupted]
    resumed = together(train, 2, replace(broken, resume=True))
    assert resumed[0]["parameters_sha256"] == first["parameters_sha256"]
    rows = rows_of(whole.out)
    assert rows_of(broken.out) == rows
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5, 6]
    assert [row["held_out"]["n"] for row in rows if "held_out" in row] == [5, 5, 5, 5]
    assert all(6 < sum(row["picked"].values()) <= 12 for row in rows if "loss" in row)  # of both processes
    with pytest.raises(UsageError, match="processes was 2, now 1"):
        train(replace(broken, resume=True))


def test_a_checkpoint_counts_once_every_process_has_written_its_part(tiny, questions, tmp_path):
    options = {"steps": 4, "save_every": 2}
    once = config(questions, tiny(), tmp_path / "once", **options)
    first, _ = together(train, 2, once)
    state = json.loads((once.out / "run.json").read_text())
    (once.out / "run.json").write_text(json.dumps(state | {"status": "running"}))
    (once.out / "checkpoints" / "checkpoint-4" / "rng_state_1.pth").unlink()
    again, _ = together(train, 2, replace(once, resume=True))
    assert [row["step"] for row in rows_of(once.out)] == [1, 2, 3, 4]
    assert again["parameters_sha256"] == first["parameters_sha256"]
    assert (once.out / "checkpoints" / "checkpoint-4" / "rng_state_1.pth").exists()


def scripted(settings, answers=("A", "B", "C", "D D", "B A", "")):
    """Trains on answers that depend on their place in the step alone."""
    if settings.sharding == "fsdp2":
        shared_by_fsdp2()
    from datagen.train.trainer import Trainer

    def said(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
        first = self.accelerator.process_index * len(prompt_ids)
        picked = [answers[(first + n) * 7 % len(answers)] + "<|im_end|>" for n in range(len(prompt_ids))]
        return self._tokenizer(picked)["input_ids"], None

    Trainer._generate_single_turn = said
    return train(settings)


@pytest.mark.parametrize(
    ("options", "sharding"),
    [({"loss": "grpo", "beta": 0.1}, "none"), ({"loss": "dapo"}, "fsdp2"),
     pytest.param({"loss": "grpo", "beta": 0.1, "method": "lora"}, "fsdp2", marks=pytest.mark.slow)],
    ids=["grpo", "dapo-fsdp2", "lora-fsdp2"],
)  # fmt: skip
def test_two_processes_do_what_one_does_with_batches_of_twice_the_size(tiny, questions, tmp_path, options, sharding):
    options |= {"steps": 3, "prompts_per_step": 3, "group_size": 4, "learning_rate": 1e-3, "save_every": 3}
    one = config(questions, tiny(), tmp_path / "one", batch_size=6, **options)
    two = config(questions, tiny(), tmp_path / "two", batch_size=3, processes=2, sharding=sharding, **options)
    assert [state["status"] for state in together(scripted, 1, one)] == ["done"]
    assert [state["status"] for state in together(scripted, 2, two)] == ["done", "done"]
    for mine, theirs in zip(rows_of(one.out), rows_of(two.out), strict=True):
        for name in ("accuracy", "reward", "length", "loss", "grad_norm"):
            assert mine[name] == pytest.approx(theirs[name], abs=1e-6, rel=1e-4), name
        assert mine["picked"] == theirs["picked"]
    assert sum(row["accuracy"] for row in rows_of(one.out)) > 0
    assert_moved_alike(tiny(), one.out, two.out)


def assert_moved_alike(start, *runs):
    """The runs' tuned models are the same, and another than the one that they started with."""
    before, alone, both = (load_file(f / "model.safetensors") for f in (start, *(run / "model" for run in runs)))
    assert before.keys() == alone.keys() == both.keys()
    assert max(float((alone[name] - both[name]).abs().max()) for name in alone) < 2e-5
    assert max(float((alone[name] - before[name]).abs().max()) for name in alone) > 1e-3


def test_a_process_whose_rows_teach_nothing_waits_for_none_and_keeps_none_waiting(tiny, questions, tmp_path):
    # one group a process; the answers to the second are all wrong, so none of its rows is run
    answers = [*"ABCD", "", "", "", ""]
    answers = [answers[place] for place in sorted(range(8), key=lambda place: place * 7 % 8)]
    options = {"steps": 3, "learning_rate": 1e-3, "save_every": 3}
    one = config(questions, tiny(), tmp_path / "one", batch_size=8, **options)
    two = config(questions, tiny(), tmp_path / "two", batch_size=4, **options)
    together(scripted, 1, one, answers)
    found = together(scripted, 2, two, answers)
    assert [state["status"] for state in found] == ["done", "done"]
    assert [row["no_signal"] for row in rows_of(two.out)] == [0.5] * 3
    assert_moved_alike(tiny(), one.out, two.out)


@pytest.mark.parametrize(
    ("kind", "modality"),
    [("qwen2_5_omni_thinker", "audio"),
     *(pytest.param(*case, marks=pytest.mark.slow) for case in (
         ("qwen2_5_omni_thinker", "mixed"), ("qwen3_omni_moe_thinker", "audio"), ("qwen2_audio", "audio"),
         ("qwen2_audio", "mixed"),
     ))],
)  # fmt: skip
def test_two_processes_hear(tiny, tmp_path, kind, modality):
    questions, held_out = quiz.write(tmp_path / "quiz", 12), tmp_path / "held_out.json"
    rows = [row | {"id": f"held{n}", "question": "What was it?"} for n, row in enumerate(quiz.rows(5))]
    held_out.write_text(json.dumps(rows))
    options = {"modality": modality, "audio": tmp_path / "quiz" / "audio", "held_out": held_out, "steps": 2}
    first, second = together(train, 2, config(questions, tiny(kind), tmp_path / "out", **options))
    assert first["status"] == second["status"] == "done"
    assert first["parameters_sha256"] == second["parameters_sha256"]
    asked = [row["held_out"] for row in rows_of(tmp_path / "out") if "held_out" in row]
    assert [{condition: share["n"] for condition, share in one.items()} for one in asked] == [
        {"audio": 5, "mismatched": 5, "none": 5}
    ] * 2


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["exact", "choice", "supervised"])
def test_objectives_without_sampling_are_shared_too(tiny, questions, tmp_path, objective):
    options = {"objective": objective, "prompts_per_step": 8, "steps": 3}
    one = config(questions, tiny(), tmp_path / "one", batch_size=8, **options)
    two = config(questions, tiny(), tmp_path / "two", batch_size=4, **options)
    together(train, 1, one)
    together(train, 2, two)
    assert_moved_alike(tiny(), one.out, two.out)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow) for kind in ("qwen2_5_omni", "qwen3_omni_moe", "qwen2_audio")]
)
def test_models_that_listen_are_tuned_by_two_processes(tiny, questions, tmp_path, kind):
    options = {"method": "lora", "steps": 2, "learning_rate": 1e-2}
    first, second = together(train, 2, config(questions, tiny(kind), tmp_path / "out", **options))
    assert first["parameters_sha256"] == second["parameters_sha256"]
    assert (tmp_path / "out" / "model" / "config.json").exists()
    assert (tmp_path / "out" / "adapter" / "adapter_config.json").exists()


def test_an_alarm_ends_the_run_in_every_process(tiny, questions, tmp_path):
    options = {"prompt": "omni-r1", "steps": WINDOW + 10, "max_tokens": 1, "prompts_per_step": 2, "save_every": 100,
               "stop_on": ("zero-reward",)}  # fmt: skip
    found = together(train, 2, config(questions, tiny(), tmp_path / "out", **options))
    assert [state["steps"] for state in found] == [WINDOW, WINDOW]
    assert found[0]["stopped"].startswith("zero-reward")


# ── what is wrong ────────────────────────────────────────────────────────────────────────────────────────────────────


def of_its_own(settings):
    """Each process is given another set."""
    return train(replace(settings, data=Path(settings.data).with_name(f"set{os.environ['RANK']}.jsonl")))


def test_processes_that_were_given_other_sets_say_so(tiny, tmp_path):
    for rank in range(2):
        questions_in(tmp_path / f"set{rank}.jsonl", f"r{rank}", 24)
    found = together(of_its_own, 2, config(tmp_path / "set.jsonl", tiny(), tmp_path / "out"))
    assert [type(error) for error in found] == [UsageError, UsageError]
    assert "process 1 has data" in str(found[0])
    assert "process 0 has data" in str(found[1])
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_a_run_is_refused_by_all(tiny, questions, tmp_path):
    once = config(questions, tiny(), tmp_path / "out", steps=1, save_every=1)
    once.out.mkdir()
    (once.out / "run.json").write_text('{"fingerprints": {}}')
    found = together(train, 2, once)
    assert [type(error) for error in found] == [UsageError, UsageError]
    assert all("holds a run: go on with it by --resume" in str(error) for error in found)


def sized(options):
    return config("set.jsonl", "m", Path("out"), **options)


def test_the_batches_of_all_processes_must_divide_the_step():
    found = together(sized, 2, {"prompts_per_step": 3, "group_size": 4, "batch_size": 4})
    assert "--batch-size 4 in 2 processes: does not divide the 12 completions" in str(found[0])


def test_one_process_speaks(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        say(f"from {rank}")
    assert capsys.readouterr().err == "from 0\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        # as in the scripts that --print-launch writes; with --cpu accelerate starts one process, and says nothing
        ("accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
         "--mixed_precision", "no", "--dynamo_backend", "no", "--no_python"),
        ("torch.distributed.run", "--nproc-per-node", "2", "--no-python"),
    ],
    ids=["accelerate", "torchrun"],
)  # fmt: skip
def test_launchers_start_the_command_and_one_process_speaks(tiny, questions, tmp_path, launcher):
    call = [sys.executable, "-c", "from datagen.cli import main; main()", "train", "--data", questions,
            "--model", tiny(), "--out", tmp_path / "out", "--steps", "2", "--prompts-per-step", "2",
            "--group-size", "4", "--batch-size", "4", "--max-tokens", "3", "--prompt", "letters", "--json"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", *launcher, *call], capture_output=True, text=True, timeout=250, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert (found["status"], found["fingerprints"]["inputs"]["processes"]) == ("done", 2)
