"""Training: tiny random models, real trl."""

from __future__ import annotations

import inspect
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest
import tiny_models

from datagen import cli
from datagen.errors import Interrupted, UsageError
from datagen.train.alarms import WINDOW, alarms
from datagen.train.config import Config
from datagen.train.run import train

CHOICES = ["bell", "dog", "rain", "wind"]
THREADS = "import torch; torch.set_num_threads(1); from datagen.cli import main; main()"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """`tiny(kind)`: a folder of a tiny model that was taught to answer with a letter, so that rewards differ."""
    folder, made = tmp_path_factory.mktemp("tiny"), {}

    def get(kind):
        if kind not in made:
            made[kind] = tiny_models.make(kind, folder / kind, teach=teach_letters)
        return made[kind]

    return get


def teach_letters(whole, words):
    """A few supervised steps, after which each of the four letters is about as likely."""
    import torch

    model = getattr(whole, "thinker", whole)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    ids = words([f"<|im_start|>assistant\n{letter}<|im_end|>" for letter in "ABCD"], return_tensors="pt")["input_ids"]
    for _ in range(80):
        loss = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.fixture(autouse=True)
def one_thread():
    """More than one only wait for each other at this size."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def questions(tmp_path):
    return questions_in(tmp_path / "set.jsonl", "q", 24)


def questions_in(path, name, number):
    rows = [
        {"id": f"{name}{n}", "question": f"What is {name}{n}?", "choices": CHOICES, "answer": CHOICES[n % 4]}
        for n in range(number)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def config(questions, model, out, **changes):
    options = {
        "steps": 4, "prompts_per_step": 2, "group_size": 4, "batch_size": 4, "max_tokens": 3, "prompt": "letters",
        "learning_rate": 1e-3, "method": "full", "save_every": 2, "eval_every": 2,
    }  # fmt: skip
    return Config(data=questions, model=str(model), out=out, **{**options, **changes})


def rows_of(out):
    rows = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    times = ("seconds", "elapsed", "training")
    return [{name: value for name, value in row.items() if name not in times} for row in rows]


# ── the contract with trl ────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_overridden_is_as_it_was_when_it_was_written():
    import trl
    from trl import GRPOTrainer

    assert trl.__version__.startswith("1.16."), "look through train/trainer.py before another version is allowed"
    expected = {
        "_generate_and_score_completions": ["self", "inputs"],
        "_generate_single_turn": [
            "self", "prompt_ids", "images", "multimodal_fields", "num_generations", "has_tool_images",
        ],
        "_tokenize_prompts": ["self", "prompts"],
        "_load_from_checkpoint": ["self", "resume_from_checkpoint", "model"],
        "_save_checkpoint": ["self", "model", "trial"],
        "_calculate_rewards": ["self", "inputs", "prompts", "completions", "completion_ids_list"],
        "_generate": ["self", "prompts"],
        "_prepare_inputs": ["self", "generation_batch"],
        "_compute_loss": ["self", "model", "inputs"],
        "_get_per_token_logps_and_entropies": [
            "self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size", "compute_entropy",
            "compute_aux_loss", "pixel_values", "image_grid_thw", "num_images", "pixel_attention_mask",
            "spatial_shapes", "num_tiles", "image_sizes", "token_type_ids", "mm_token_type_ids", "image_position_ids",
        ],
        "prediction_step": ["self", "model", "inputs", "prediction_loss_only", "ignore_keys"],
    }  # fmt: skip
    assert {name: list(inspect.signature(getattr(GRPOTrainer, name)).parameters) for name in expected} == expected
    from datagen.train.trainer import Trainer

    overridden = {name for name in vars(Trainer) if hasattr(GRPOTrainer, name) and not name.endswith("__")}
    assert overridden - {"_name"} == set(expected)
    source = inspect.getsource(GRPOTrainer)
    for used in ("self.generation_config", "self.generation_kwargs", "self.ref_model", "self.beta", "self._tokenizer",
                 "self.eos_token_ids", 'output = {\n            "prompt_ids"', '"advantages": advantages'):  # fmt: skip
        assert used in source, used


# ── a run, and a run that goes on ────────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_was_interrupted_ends_with_the_parameters_and_rewards_of_an_unbroken_one(tiny, questions, tmp_path):
    held_out = questions_in(tmp_path / "held_out.jsonl", "h", 6)
    options = {"held_out": held_out, "steps": 6, "beta": 0.04, "rewards": "accuracy,format=0.5"}
    whole = train(config(questions, tiny("causal"), tmp_path / "whole", **options))
    broken = config(questions, tiny("causal"), tmp_path / "broken", **options)
    threading.Thread(target=interrupt_after, args=(broken.out / "train.jsonl", 3), daemon=True).start()
    with pytest.raises(Interrupted, match="with --resume goes on"):
        train(broken)
    with (broken.out / "train.jsonl").open("a") as file:
        file.write('{"step": 99, "accuracy": 1}\n{"st')  # what a kill leaves behind the last checkpoint
    resumed = train(config(questions, tiny("causal"), tmp_path / "broken", **options, resume=True))
    assert resumed["parameters_sha256"] == whole["parameters_sha256"]
    rows = rows_of(whole["out"] if isinstance(whole["out"], Path) else Path(whole["out"]))
    assert rows_of(broken.out) == rows
    steps = [row for row in rows if "loss" in row]
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6]
    assert 0 < sum(row["accuracy"] for row in steps) < 6
    assert steps[0]["kl"] == 0 < steps[-1]["kl"]
    assert sum(sum(row["picked"].values()) for row in steps) > 24
    assert [row["held_out"]["n"] for row in rows if "held_out" in row] == [6, 6, 6, 6]
    assert whole["held_out_last"]["n"] == 6
    assert "<dt>status</dt><dd>done</dd>" in (broken.out / "report.html").read_text()
    assert whole["peak_bytes"] > 1e8


def test_answers_that_are_used_twice_are_counted_once(tiny, questions, tmp_path):
    train(config(questions, tiny("causal"), tmp_path / "out", iterations=2, steps=4))
    rows = rows_of(tmp_path / "out")
    assert [("accuracy" in row, sum(row["picked"].values()) > 0) for row in rows] == [(True, True), (False, False)] * 2
    assert "Right answers" in (tmp_path / "out" / "report.html").read_text()


def test_a_held_out_set_is_asked_greedily(tiny, questions, tmp_path):
    held_out = questions_in(tmp_path / "held_out.jsonl", "h", 40)
    train(config(questions, tiny("causal"), tmp_path / "out", held_out=held_out, eval_every=1, learning_rate=1e-12))
    counts = [row["held_out"]["correct"] for row in rows_of(tmp_path / "out") if "held_out" in row]
    assert len(counts) == 5
    assert len(set(counts)) == 1  # the policy does not move, and each of four letters is about as likely


@pytest.mark.slow
def test_a_run_that_was_killed_ends_with_the_parameters_and_rewards_of_an_unbroken_one(tiny, questions, tmp_path):
    words = ["--prompt", "letters", "--learning-rate", "1e-2", "--steps", "30", "--prompts-per-step", "2",
             "--group-size", "4", "--max-tokens", "3", "--save-every", "4", "--resume", "--json"]  # fmt: skip
    command = [sys.executable, "-c", THREADS, "train", "--data", questions, "--model", tiny("causal"), *words, "--out"]
    with subprocess.Popen([*command, tmp_path / "broken"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        log = tmp_path / "broken" / "train.jsonl"
        while not log.exists() or '"step": 14, "accuracy"' not in log.read_text():
            time.sleep(0.01)
        run.kill()
    whole, broken = (
        json.loads(subprocess.run([*command, tmp_path / name], capture_output=True, check=True, timeout=200).stdout)
        for name in ("whole", "broken")
    )
    assert broken["parameters_sha256"] == whole["parameters_sha256"]
    assert rows_of(tmp_path / "broken") == rows_of(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("tracker", ["tensorboard", "trackio"])
def test_a_tracker_of_transformers_gets_every_step_and_prints_nothing_among_the_results(
    tiny, questions, tmp_path, tracker
):
    if find_spec(tracker) is None:
        pytest.skip(f"{tracker} is not installed")
    words = ["--prompt", "letters", "--steps", "3", "--prompts-per-step", "2", "--max-tokens", "3", "--json"]
    command = [sys.executable, "-c", THREADS, "train", "--data", questions, "--model", tiny("causal"), *words]
    environment = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*command, "--out", tmp_path / "out", "--report-to", tracker], env=environment, capture_output=True, check=True,
        timeout=200,
    )  # fmt: skip
    assert json.loads(done.stdout)["steps"] == 3
    if tracker == "tensorboard":
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        held = EventAccumulator(str(tmp_path / "out" / "tensorboard"))
        held.Reload()
        rewards = [(event.step, event.value) for event in held.Scalars("train/reward")]
        idle = [event.value for event in held.Scalars("train/no_signal")]
        assert idle == [pytest.approx(row["no_signal"]) for row in rows_of(tmp_path / "out")]
    else:
        with closing(sqlite3.connect(tmp_path / "trackio" / "datagen.db")) as store:
            rows = [json.loads(row) for (row,) in store.execute("SELECT metrics FROM metrics ORDER BY id")]
        rewards = [(row["train/global_step"], row["train/reward"]) for row in rows if "train/reward" in row]
    wanted = [(row["step"], pytest.approx(row["reward"])) for row in rows_of(tmp_path / "out")]
    assert rewards == wanted


@pytest.mark.slow
def test_a_policy_learns_which_choice_is_right_wherever_it_is_shown(tiny, tmp_path):
    path = tmp_path / "set.jsonl"
    rows = [{"id": f"q{n}", "question": "Hm?", "choices": ["b", "d"], "answer": "b"} for n in range(24)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    train(
        config(path, tiny("causal"), tmp_path / "out", steps=150, prompts_per_step=8, group_size=8, batch_size=64,
               learning_rate=3e-3, save_every=150, seed=2)  # at such a rate others end in answers that are none
    )  # fmt: skip
    accuracy = [row["accuracy"] for row in rows_of(tmp_path / "out") if "loss" in row]
    assert sum(accuracy[:20]) / 20 < 0.6
    assert sum(accuracy[-20:]) / 20 > 0.95


def interrupt_after(log, step):
    """SIGTERM to this process once `step` stands in the log."""
    while not log.exists() or f'"step": {step}, "accuracy"' not in log.read_text():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)


def test_equal_rewards_move_nothing(tiny, questions, tmp_path):
    # eight times -0.3 are no advantage, but their rounding is 3e-4, and Adam divides by its own size
    options = {"max_tokens": 1, "prompt": "omni-r1", "rewards": "accuracy,overlong=0.3", "steps": 2,
               "group_size": 8, "batch_size": 8}  # fmt: skip
    found = train(config(questions, tiny("causal"), tmp_path / "out", **options))
    assert [row["grad_norm"] for row in rows_of(tmp_path / "out")] == [0, 0]
    assert [row["reward"] for row in rows_of(tmp_path / "out")] == [pytest.approx(-0.3)] * 2
    assert found["stopped"] is None


@pytest.mark.parametrize(
    "kind",
    [
        "qwen2_5_omni",
        "qwen2_5_omni_thinker",
        "qwen3_omni_moe",
        "qwen2_audio",
    ],
)
def test_a_model_that_listens_is_tuned_in_its_language_model_alone_and_saved_whole(tiny, questions, tmp_path, kind):
    import torch

    from datagen.llm.local_model import load_weights
    from datagen.llm.weights import open_folder

    found = train(config(questions, tiny(kind), tmp_path / "out", method="lora", steps=2, learning_rate=1e-2))
    before, after = (
        load_weights(open_folder(str(folder), audio=True), "float32")
        for folder in (tiny(kind), Path(found["out"]) / "model")
    )
    assert type(before) is type(after)
    names = [name for name, _ in before.named_parameters()]
    assert [name for name, _ in after.named_parameters()] == names
    moved = {n for n, (_, a), (_, b) in zip(names, before.named_parameters(), after.named_parameters(), strict=True)
             if not torch.equal(a, b)}  # fmt: skip
    assert moved
    assert all("layers" in name and "tower" not in name and "visual" not in name for name in moved)


@pytest.mark.parametrize(
    "kind",
    [
        "causal",
        "qwen2_5_omni",
        "qwen3_omni_moe",
        "qwen2_audio",
    ],
)
def test_log_probabilities_of_the_loss_are_those_of_the_model_alone_and_unpadded(tiny, questions, tmp_path, kind):
    import torch

    from datagen.train.data import material, read_set
    from datagen.train.making import make_trainer, quiet
    from datagen.train.policy import open_policy

    policy = open_policy(str(tiny(kind)))
    (tmp_path / "out").mkdir()
    with quiet():
        trainer, _ = make_trainer(
            config(questions, tiny(kind), tmp_path / "out"), policy, material(read_set(questions), "text"), None, None
        )
    plain = policy.weights("float32").eval()
    trainer.model.eval()
    rows = [torch.arange(20, 20 + length) for length in (9, 16)]
    ids, mask = torch.full((2, 16), policy.tokenizer.pad_token_id), torch.zeros(2, 16, dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, 16 - len(row) :], mask[number, 16 - len(row) :] = row, 1
    with torch.no_grad():
        found, _, _ = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, 4)
        for number, row in enumerate(rows):
            logits = plain(input_ids=row[None]).logits[0, -5:-1]
            wanted = torch.log_softmax(logits.float(), -1).gather(-1, row[-4:, None])[:, 0]
            torch.testing.assert_close(found[number].cpu(), wanted, atol=1e-5, rtol=1e-5)


# ── alarms ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def log(**changes):
    row = {"accuracy": 0.5, "no_signal": 0.3, "clipped": 0.1, "length": 10.0, "entropy": 1.0,
           "picked": {"A": 10, "B": 9, "C": 11}, "expected": {"A": 10.0, "B": 10.0, "C": 10.0}}  # fmt: skip
    return [row | changes] * WINDOW


@pytest.mark.parametrize(
    ("changes", "name", "says"),
    [
        ({"accuracy": 0.0}, "zero-reward", "not one right answer"),
        ({"no_signal": 0.96}, "no-signal", "96% of the groups"),
        ({"clipped": 0.51}, "clipped", "51% of the completions"),
        ({"length": 2.0, "accuracy": 0.4}, "length-collapse", "from 10 to 2.0 tokens"),
        ({"entropy": 0.09, "accuracy": 0.8}, "entropy-collapse", "from 1 to 0.09 nats a token with 80% right"),
        ({"picked": {"A": 25, "B": 5}}, "position", "83% of the answers are the choice at place A, chance is 33%"),
    ],
)
def test_each_alarm_is_raised_by_what_it_is_for_and_by_nothing_else(changes, name, says):
    found = alarms(log(**changes), log())
    assert list(found) == [name]
    assert says in found[name]
    assert alarms(log(**changes)[1:], log()) == {}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"length": 2.0},
        {"entropy": 0.01, "accuracy": 0.95},  # sure of what is right
        {"entropy": None},  # nothing is sampled
        {"picked": {}},
        {"picked": {"A": 12, "B": 9, "C": 9}},
    ],
)
def test_a_healthy_run_raises_none(changes):
    assert alarms(log(**changes), log(accuracy=0.4)) == {}


def test_steps_that_use_answers_again_are_no_evidence_of_anything():
    kept = {name: value for name, value in log()[0].items() if name in ("picked", "expected")}
    assert alarms([kept] * WINDOW, [kept] * WINDOW) == {}


def test_an_alarm_ends_the_run_where_the_call_asks_for_it(tiny, questions, tmp_path, capsys):
    out = tmp_path / "out"
    options = {"prompt": "omni-r1", "steps": WINDOW + 10, "max_tokens": 1, "prompts_per_step": 1}
    found = train(config(questions, tiny("causal"), out, stop_on=("zero-reward",), **options))
    assert found["steps"] == WINDOW
    assert found["stopped"].startswith("zero-reward: not one right answer")
    raised = [row for row in rows_of(out) if "alarm" in row]
    assert {row["alarm"]: row["stops"] for row in raised} == {"zero-reward": True, "no-signal": False, "clipped": False}
    assert f"step {WINDOW}: alarm zero-reward: not one right answer" in capsys.readouterr().err
    assert (out / "model" / "config.json").exists()


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────────────


def call(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["datagen", "train", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0, *capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--modality", "audio"), "--data set.jsonl: is no run that knows its clips: add --audio DIR"),
        (("--modality", "mixed", "--audio", "nowhere"), "--audio nowhere: No such file or directory"),
        (("--audio", "."), "--audio .: --modality text hears nothing"),
        (("--modality", "song"), "--modality 'song': use text or caption or audio or mixed"),
        (("--audio-share", "0"), "--audio-share 0.0: give a share above 0"),
        (("--objective", "guess"), "--objective 'guess': use sampled or exact or choice or supervised"),
        (("--modality", "caption"), "(caption_missing 24"),
        (("--loss", "ppo"), "--loss 'ppo': use grpo or dr_grpo"),
        (("--batch-size", "7"), "--batch-size 7: does not divide the 128 completions"),
        (("--group-size", "1"), "--group-size 1: give 2 or more"),
        (("--iterations", "3"), "--save-every 50: completions are used for 3 steps"),
        (("--curriculum", "spiral"), "--curriculum 'spiral': use easy-first, hard-first, signal-first"),
        (("--curriculum", "easy-first"), "0 of its rows can be trained on (difficulty_missing 24"),
        (("--steps", "0"), "--steps 0: give 1 or more"),
        (("--temperature", "nan"), "--temperature nan: give a number above 0"),
        (("--rewards", "accuracy,consistent"), "consistent compares thought and answer: add --think"),
        (("--report-to", "nothing"), "--report-to 'nothing': use tensorboard, trackio or another"),
        (("--report-to", "swanlab"), "--report-to swanlab: needs the package swanlab: pip install swanlab"),
        (("--rewards", "luck"), "--rewards 'luck': use accuracy"),
        (("--stop-on", "fire"), "--stop-on 'fire': use zero-reward"),
        (("--held-out", "set.jsonl"), "24 of its questions are trained on, such as q0"),
        (("--data", "nope.jsonl"), "nope.jsonl: no such file"),
        (("--model", "nowhere"), "model 'nowhere': no such folder"),
        (("--dry-run", "--model", "Qwen/Nothing"), "the dimensions of 'Qwen/Nothing' are not known"),
    ],
)
def test_a_wrong_call_is_told_in_one_line_and_leaves_nothing(questions, monkeypatch, capsys, words, says):
    monkeypatch.chdir(questions.parent)
    code, out, err = call(monkeypatch, capsys, "--data", "set.jsonl", "--model", "m", "--out", "o", *words)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert says in err
    assert [path.name for path in questions.parent.iterdir()] == ["set.jsonl"]


def test_a_call_that_was_killed_while_it_saved_its_model_is_ended_by_the_next(tiny, questions, tmp_path):
    once = config(questions, tiny("causal"), tmp_path / "out", steps=2)
    first = train(once)
    state = json.loads((once.out / "run.json").read_text())
    (once.out / "run.json").write_text(json.dumps(state | {"status": "running"}))
    (once.out / "model" / "config.json").write_text("cut")
    (once.out / "checkpoints" / "checkpoint-9").mkdir()  # begun, and not ended
    again = train(config(questions, tiny("causal"), tmp_path / "out", steps=2, resume=True))
    assert again["parameters_sha256"] == first["parameters_sha256"]
    assert json.loads((once.out / "model" / "config.json").read_text())["model_type"] == "llama"


def test_the_command_takes_a_file_of_options_and_prints_one_object(tiny, questions, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = {"model": str(tiny("causal")), "out": "out", "steps": 1, "prompts-per-step": 1, "group-size": 2,
               "batch-size": 2, "max-tokens": 2, "stop-on": ["clipped", "position"], "prompt": "letters"}  # fmt: skip
    (tmp_path / "c.toml").write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in options.items()))
    questions.write_text(questions.read_text() + '{"id": "x", "question": "?", "choices": ["a", "b"], "answer": "c"}\n')
    code, out, _ = call(monkeypatch, capsys, "--data", questions, "--config", "c.toml", "--json")
    found = json.loads(out)
    assert (code, found["steps"], found["status"], found["questions"]) == (0, 1, "done", 24)
    assert found["config"]["stop_on"] == ["clipped", "position"]
    assert found["left_out"] == {"answer_not_among_choices": 1}
    assert json.loads(Path("out/left_out.jsonl").read_text()) == {"id": "x", "reason": "answer_not_among_choices"}
    assert "What is q" in found["prompt"]
    assert found["prompt"].endswith("<|im_start|>assistant\n")
    code, out, err = call(monkeypatch, capsys, "--data", questions, "--config", "c.toml", "--out", "again")
    assert (code, out) == (0, "")
    assert "1 steps on 24 questions → again/model" in err


def test_a_folder_holds_one_run(tiny, questions, tmp_path):
    once = config(questions, tiny("causal"), tmp_path / "out", steps=1)
    train(once)
    with pytest.raises(UsageError, match="holds a run: go on with it by --resume"):
        train(once)
    with pytest.raises(UsageError, match="run of other inputs: steps was 1, now 2"):
        train(config(questions, tiny("causal"), tmp_path / "out", steps=2, resume=True))
    with pytest.raises(UsageError, match="the run is done"):
        train(config(questions, tiny("causal"), tmp_path / "out", steps=1, resume=True))


def test_a_dry_run_needs_no_torch_no_network_and_no_weights(questions):
    code = (
        "import socket, sys\n"
        "for name in ('torch', 'transformers', 'trl', 'peft', 'accelerate'): sys.modules[name] = None\n"
        "socket.socket.connect = None\n"
        "from datagen.cli import main; main()"
    )
    words = ["train", "--data", str(questions), "--model", "Qwen/Qwen2.5-Omni-7B", "--out", "o", "--dry-run", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=questions.parent, capture_output=True, text=True, timeout=60
    )
    found = json.loads(done.stdout)
    assert found["questions"] == 24
    assert found["fits"]["full"]["80"] is False
    assert found["fits"]["lora"]["80"] is True
    assert "estimate" in found["note"]
    assert [path.name for path in questions.parent.iterdir()] == ["set.jsonl"]
