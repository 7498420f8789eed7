"""Objectives without rollouts: the exact expected update against sampled groups, texts, runs on tiny real models."""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
import sys
import threading
import time

import pytest
import tiny_models
import torch
from test_train import CHOICES, one_thread, questions_in, teach_letters  # noqa: F401  (fixtures)
from trl.trainer.utils import nanstd

from datagen import cli
from datagen.errors import Interrupted, UsageError
from datagen.multiple_choice import LABELS, STYLES, read
from datagen.train.config import Config
from datagen.train.objectives import NO_SIGNAL, Enumerated, accepted, exact_loss, pass_weight
from datagen.train.run import train


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder of a tiny model for which each of four letters is about as likely."""
    return tiny_models.make("causal", tmp_path_factory.mktemp("tiny") / "causal", teach=teach_letters)


@pytest.fixture
def questions(tmp_path):
    return questions_in(tmp_path / "set.jsonl", "q", 24)


def config(questions, model, out, **changes):
    options = {
        "objective": "exact", "steps": 4, "prompts_per_step": 4, "batch_size": 2, "max_tokens": 3, "prompt": "letters",
        "learning_rate": 1e-3, "method": "full", "save_every": 2, "eval_every": 2,
    }  # fmt: skip
    return Config(data=questions, model=str(model), out=out, **{**options, **changes})


def rows_of(out):
    times = ("seconds", "elapsed", "training")
    rows = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in times} for row in rows]


# ── the expected update ──────────────────────────────────────────────────────────────────────────────────────────────

OUTCOMES, PASSING = 5, (1, 3)
"""A policy that says one of five texts, two of which pass."""


def policy(shift=0.0):
    theta = torch.tensor([0.3, -1.0, 0.8, -0.4, 0.1], dtype=torch.float64)
    theta[list(PASSING)] += shift
    return theta.requires_grad_()


def exact_gradient(theta, group_size):
    loss, _ = exact_loss(theta.log_softmax(0)[list(PASSING)], group_size)
    (gradient,) = torch.autograd.grad(-loss, theta)
    return gradient


def group_gradients(theta, said):
    """(groups, outcomes): what trl ascends for each group, with sequence sums. `said`: int64 (groups, G)."""
    rewards = torch.isin(said, torch.tensor(PASSING)).double()
    advantages = (rewards - rewards.mean(1, keepdim=True)) / (nanstd(rewards, dim=1, keepdim=True) + 1e-4)
    scores = torch.nn.functional.one_hot(said, OUTCOMES) - theta.detach().softmax(0)
    return (advantages[..., None] * scores).mean(1)


@pytest.mark.parametrize("group_size", [2, 4, 8])
def test_the_gradient_of_sampled_groups_converges_to_the_exact_one(group_size):
    theta = policy()
    wanted = exact_gradient(theta, group_size)
    off = []
    for groups in (1_000, 400_000):
        draw = torch.Generator().manual_seed(group_size)
        said = torch.multinomial(theta.detach().softmax(0), groups * group_size, replacement=True, generator=draw)
        found = group_gradients(theta, said.view(groups, group_size))
        error = found.std(0) / math.sqrt(groups)
        assert ((found.mean(0) - wanted).abs() < 4 * error).all()
        off.append(((found.mean(0) - wanted).norm() / wanted.norm()).item())
    assert off[1] < 0.01
    assert off[1] < off[0]


@pytest.mark.parametrize("shift", [-4.0, 0.0, 5.0])
@pytest.mark.parametrize("group_size", [2, 4, 8])
def test_it_is_the_mean_over_all_groups_that_there_are(group_size, shift):
    theta = policy(shift)
    said = torch.tensor(list(itertools.product(range(OUTCOMES), repeat=group_size)))
    weights = theta.detach().log_softmax(0)[said].sum(1).exp()
    mean = (weights[:, None] * group_gradients(theta, said)).sum(0)
    torch.testing.assert_close(exact_gradient(theta, group_size), mean, rtol=1e-6, atol=1e-15)


def test_an_infinite_group_ascends_two_arcsin_of_the_root():
    theta = policy()
    p = theta.softmax(0)[list(PASSING)].sum()
    (wanted,) = torch.autograd.grad(2 * p.sqrt().arcsin(), theta)
    torch.testing.assert_close(exact_gradient(theta, math.inf), wanted, rtol=1e-12, atol=0)
    theta = policy(1.0)
    large, limit = exact_gradient(theta, 600), exact_gradient(theta, math.inf)
    torch.testing.assert_close(large, limit, rtol=5e-3, atol=0)


@pytest.mark.parametrize(("p", "share"), [(0.01, 0.24), (0.1, 0.65), (0.5, 0.87)])
def test_a_group_of_eight_has_this_share_of_the_infinite_one(p, share):
    p = torch.tensor(p, dtype=torch.float64)
    assert round((pass_weight(p, 8) / pass_weight(p, math.inf)).item(), 2) == share


@pytest.mark.parametrize("group_size", [2, 8, math.inf])
@pytest.mark.parametrize("logp", [-800.0, -60.0, -1e-18, 0.0, 1e-7])
def test_no_probability_breaks_it(group_size, logp):
    given = torch.tensor([logp - math.log(2)] * 2, dtype=torch.float64, requires_grad=True)
    loss, seen = exact_loss(given, group_size)
    (gradient,) = torch.autograd.grad(loss, given)
    assert torch.isfinite(gradient).all()
    assert seen["no_signal"] == pytest.approx(1, abs=1e-5)
    if logp == -60:
        first = (group_size - 1) * math.exp(-60) if group_size == 2 else None
        assert first is None or gradient.sum().item() == pytest.approx(-first * math.sqrt(0.5), rel=1e-3)
        assert gradient.sum() < 0


# ── texts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def words():
    return tiny_models.tokenizer({}, tiny_models.CHAT)


def row(choices, gold, style="omni-r1"):
    return {"choices": choices, "gold": gold, "style": style, "labels": LABELS[style]}


def said(words, ids):
    return [words.decode(each, skip_special_tokens=True) for each in ids]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("gold", range(4))
def test_every_text_ends_and_is_read_as_the_right_choice(words, style, gold):
    choices = ["A dog", "a dog barking", "no rain", "B"]
    found = accepted(row(choices, gold, style), words, 40)
    texts = said(words, found)
    assert {read(text, choices, LABELS[style]) for text in texts} == {gold}
    assert len(set(texts)) == len(texts) >= 3
    assert all(ids.index(words.eos_token_id) == len(ids) - 1 for ids in found)


@pytest.mark.parametrize(
    ("choices", "gold", "style", "texts"),
    [
        (["a Dog", "cat"], 0, "omni-r1", {"a Dog", "a dog", "A Dog", "a Dog.", "a dog.", "A Dog."}),
        (["a", "e"], 0, "omni-r1", {"a", "A", "a.", "A."}),
        (["dog", "B"], 0, "letters",
         {"A", "A.", "A)", "(A)", "a", "(A) dog", "A. dog", "A) dog", "dog"}),
        # the text of this choice is the label of the other
        (["B", "dog"], 0, "letters", {"A", "A.", "A)", "(A)", "a", "(A) B", "A. B", "A) B"}),
        (["dog", "cat"], 1, "r1-aqa",
         {"<answer>cat</answer>", "<answer>Cat</answer>", "<answer> cat </answer>", "<answer> Cat </answer>",
          "cat", "Cat", "cat.", "Cat."}),
    ],
)  # fmt: skip
def test_what_the_reader_refuses_is_not_counted(words, choices, gold, style, texts):
    assert set(said(words, accepted(row(choices, gold, style), words, 40))) == texts


def test_a_text_that_fills_the_limit_needs_no_end(words):
    asked = row(["dog", "cat"], 0)
    length = len(words("dog", add_special_tokens=False)["input_ids"])
    for limit, ended in ((length - 1, None), (length, False), (length + 1, True)):
        given = accepted(asked, words, limit)
        found = dict(zip(said(words, given), given, strict=True))
        assert (found["dog"][-1] == words.eos_token_id if "dog" in found else None) is ended
        assert all(len(ids) <= limit for ids in found.values())


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def made(questions, model, out, **changes):
    """The trainer of a run, before its first step."""
    from datagen.train.data import material, read_set
    from datagen.train.making import make_trainer, quiet
    from datagen.train.policy import open_policy

    out.mkdir()
    run = config(questions, model, out, **changes)
    with quiet():
        return make_trainer(run, open_policy(run.model), material(read_set(questions), "text"), None, None)[0]


@pytest.mark.parametrize("objective", ["exact", "choice", "supervised"])
def test_what_is_enumerated_has_the_probabilities_of_the_model_alone(tiny, questions, tmp_path, objective):
    from datagen.train.policy import open_policy

    temperature = 0.7 if objective == "exact" else 1.0
    trainer = made(questions, tiny, tmp_path / "out", objective=objective, temperature=temperature, max_tokens=4)
    plain = open_policy(str(tiny)).weights("float32").eval()
    rows = [trainer.deck.row(place) for place in range(3)]
    answers = [trainer._answers(row) for row in rows]
    prompts, _, _ = trainer._tokenize_prompts([row["prompt"] for row in rows])
    with torch.no_grad():
        found = trainer._log_probabilities(trainer.model, rows, answers)
        for prompt, each, logp in zip(prompts, answers, found, strict=True):
            for ids, value in zip(each, logp, strict=True):
                logits = plain(input_ids=torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
                wanted = torch.log_softmax(logits / temperature, -1).gather(-1, torch.tensor(ids)[:, None]).sum()
                assert value.item() == pytest.approx(wanted.item(), abs=1e-4)
    assert isinstance(trainer, Enumerated)
    assert all((len(each) > 4, len(each) == 4, len(each) == 1)[("exact", "choice", "supervised").index(objective)]
               for each in answers)  # fmt: skip


def test_the_look_before_says_what_is_passed_and_how_much_of_it_is_enumerated(tiny, questions, tmp_path):
    from datagen.train.making import quiet

    trainer = made(questions, tiny, tmp_path / "out")
    state = torch.get_rng_state()
    with quiet():
        found, again = trainer.look(), trainer.look()
    assert torch.equal(torch.get_rng_state(), state)
    assert 0.1 < found["p"] < 0.4  # taught to say each of four letters about as often
    assert 0.5 < found["coverage"] < 2
    assert found["no_signal"] == 0
    assert found["coverage"] == found["p"] / found["sampled"]
    assert again == found


def test_where_nothing_passes_a_warm_start_is_offered(tiny, questions, tmp_path, capsys):
    run = config(questions, tiny, tmp_path / "out", prompt="omni-r1", max_tokens=12, steps=1)
    assert train(run)["start"]["no_signal"] == 8
    err = capsys.readouterr().err
    assert f"in 8 of 8 questions it is below {NO_SIGNAL:g}: neither exact nor sampled GRPO learns" in err
    assert f"--objective supervised --steps 20 --data {questions} --model {tiny} --out {run.out}-warm" in err


@pytest.mark.parametrize(
    ("objective", "changes"),
    [("exact", {}), ("exact", {"group_size": "inf", "method": "lora"}), ("choice", {}), ("supervised", {})],
)
def test_a_run_that_was_interrupted_ends_as_an_unbroken_one(tiny, questions, tmp_path, objective, changes):
    options = {"held_out": questions_in(tmp_path / "h.jsonl", "h", 6), "objective": objective, **changes}
    whole = train(config(questions, tiny, tmp_path / "whole", **options))
    broken = config(questions, tiny, tmp_path / "broken", **options)
    threading.Thread(target=interrupt_after, args=(broken.out / "train.jsonl", 2), daemon=True).start()
    with pytest.raises(Interrupted, match="with --resume goes on"):
        train(broken)
    resumed = train(config(questions, tiny, tmp_path / "broken", resume=True, **options))
    assert resumed["parameters_sha256"] == whole["parameters_sha256"]
    rows = rows_of(tmp_path / "whole")
    assert rows_of(broken.out) == rows
    asked = [row for row in rows if "held_out" in row]
    assert [(row["step"], row["questions"], row["held_out"]["n"]) for row in asked] == [
        (0, 0, 6),
        (2, 8, 6),
        (4, 16, 6),
    ]
    assert all(row["grad_norm"] > 0 and row["log_p"] < 0 for row in rows if "loss" in row)
    assert ("start" in whole) == (objective == "exact")
    times = [json.loads(line) for line in (broken.out / "train.jsonl").read_text().splitlines()]
    assert [row["elapsed"] for row in times] == sorted(row["elapsed"] for row in times)
    assert all(0 <= row["training"] < row["elapsed"] for row in times)


def interrupt_after(log, step):
    """SIGTERM to this process once `step` stands in the log."""
    while not log.exists() or f'"step": {step}, "accuracy"' not in log.read_text():
        time.sleep(0.005)
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_policy_that_never_passes_is_warmed_up_and_then_learns_from_what_it_would_say(tiny, tmp_path):
    path = tmp_path / "set.jsonl"
    rows = [{"id": f"q{n}", "question": "Hm?", "choices": ["bell", "dog"], "answer": "bell"} for n in range(24)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {"prompt": "omni-r1", "steps": 25, "prompts_per_step": 4, "batch_size": 4, "learning_rate": 3e-3,
               "max_tokens": 8}  # fmt: skip
    run = config(path, tiny, tmp_path / "cold", **options)
    assert train(run)["start"]["no_signal"] == 8
    assert accuracies(run)[-1] < NO_SIGNAL
    warm = config(path, tiny, tmp_path / "warm", objective="supervised", **options | {"steps": 15})
    train(warm)
    run = config(path, tmp_path / "warm/model", tmp_path / "out", **options)
    start = train(run)["start"]
    assert NO_SIGNAL < start["p"] < 0.7
    assert start["no_signal"] == 0
    assert accuracies(run)[-1] > 0.9
    assert [row for row in rows_of(run.out) if "loss" in row][-1]["no_signal"] > 0.5


def test_a_choice_is_learnt_and_its_place_is_counted(tiny, tmp_path):
    path = tmp_path / "set.jsonl"
    rows = [{"id": f"q{n}", "question": "Hm?", "choices": ["bell", "dog"], "answer": "bell"} for n in range(24)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {"prompt": "omni-r1", "steps": 25, "prompts_per_step": 4, "batch_size": 4, "learning_rate": 3e-3}
    run = config(path, tiny, tmp_path / "out", objective="choice", **options)
    train(run)
    assert accuracies(run)[-5:] == [1] * 5
    seen = [row for row in rows_of(run.out) if "loss" in row]
    assert all(sum(row["picked"].values()) == 4 and row["expected"] == {"A": 2, "B": 2} for row in seen)
    assert len({name for row in seen[-5:] for name in row["picked"]}) == 2


def accuracies(run):
    return [row["accuracy"] for row in rows_of(run.out) if "loss" in row]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--group-size", "inf"), "--group-size inf: give 2 or more: answers"),
        (("--objective", "exact", "--group-size", "1"), "--group-size 1: give 2 or more, or inf: answers"),
        (("--objective", "exact", "--beta", "0.1"), "--beta 0.1: is not for --objective exact: leave it out"),
        (("--objective", "exact", "--think"), "--think True: is not for --objective exact"),
        (("--objective", "choice", "--temperature", "2"), "--temperature 2.0: is not for --objective choice"),
        (("--objective", "supervised", "--batch-size", "3"), "does not divide the 16 questions of a step"),
    ],
)
def test_a_wrong_call_is_told_in_one_line(questions, monkeypatch, capsys, words, says):
    line = ["datagen", "train", "--data", questions, "--model", "m", "--out", questions.parent / "o", *words]
    monkeypatch.setattr(sys, "argv", list(map(str, line)))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (2, "", 1), err
    assert says in err


def test_answers_that_no_rollout_could_give_are_refused(tiny, questions, tmp_path):
    run = config(questions, tiny, tmp_path / "out", prompt="omni-r1", max_tokens=1)
    with pytest.raises(UsageError, match=r"--max-tokens 1: the right answer of 24 questions \(q0"):
        train(run)


def test_the_same_question_about_another_caption_may_be_held_out(tmp_path):
    from datagen.train.data import material, read_set
    from datagen.train.run import held_out_of

    for name, heard in (("train", "a bell, then a dog"), ("same", "a bell, then a dog"), ("other", "a dog, then rain")):
        rows = [{"id": f"{name}{n}", "question": "What is first?", "choices": CHOICES[n:], "answer": CHOICES[n],
                 "captions": [heard]} for n in range(2)]  # fmt: skip
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_set(tmp_path / "train.jsonl")
    for modality, file, shared in (("caption", "other", 0), ("caption", "same", 2), ("text", "other", 2)):
        run = config(tmp_path / "train.jsonl", "m", tmp_path, held_out=tmp_path / f"{file}.jsonl", modality=modality)
        questions = material(found, modality)
        if shared:
            with pytest.raises(UsageError, match=f"{shared} of its questions are trained on"):
                held_out_of(run, found, questions, None)
        else:
            assert len(held_out_of(run, found, questions, None).examples) == 2
