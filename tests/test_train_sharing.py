"""The trainer's shared prompts and skipped rows: beside trl's own path on the same rows."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from test_train import config, questions, rows_of, tiny  # noqa: F401
from together import together

from datagen.train import packing, sharing
from datagen.train.run import train

PLAIN, SHARED = {"used": False}, {"used": True}


@pytest.fixture(autouse=True)
def one_thread():
    """More than one only wait for each other at this size."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def trainer(tiny, questions, tmp_path):  # noqa: F811
    """`trainer(kind, **options)`: as a run makes it, before its first step."""
    from datagen.train.data import material, read_set
    from datagen.train.making import make_trainer, quiet
    from datagen.train.policy import open_policy

    def make(kind="causal", **options):
        policy = open_policy(str(tiny(kind)))
        (tmp_path / "out").mkdir(exist_ok=True)
        chosen = config(questions, tiny(kind), tmp_path / "out", batch_size=8, **options)
        with quiet():
            made, _ = make_trainer(chosen, policy, material(read_set(questions), "text"), None, None)
        made.current_gradient_accumulation_steps = 1
        made.model.train()
        return made

    return make


def stored(trainer, advantages=(1.0, -0.5, 0.25, -1.0, 0.5, 2.0, -1.5, 0.75)):
    """Two groups of four completions as trl keeps them, padded; old and reference log-probabilities a little apart."""
    import torch

    draw = torch.Generator().manual_seed(0)
    prompts = [torch.randint(20, 250, (n,), generator=draw).tolist() for n in (23, 40)]
    answers = [torch.randint(20, 250, (n,), generator=draw).tolist() for n in (3, 1, 5, 2, 4, 4, 2, 6)]
    ids, mask, longest = sharing.padded([prompts[n // 4] for n in range(8)], answers, "cpu")
    trainer.sharing = PLAIN
    with torch.no_grad():
        now, _, _ = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, longest)
    return {
        "prompt_ids": ids[:, :-longest], "prompt_mask": mask[:, :-longest], "completion_ids": ids[:, -longest:],
        "completion_mask": mask[:, -longest:], "advantages": torch.tensor(advantages),
        "num_items_in_batch": mask[:, -longest:].sum(),
        "old_per_token_logps": now + 0.1 * torch.randn(now.shape, generator=draw) * mask[:, -longest:],
        "ref_per_token_logps": now + 0.1 * torch.randn(now.shape, generator=draw) * mask[:, -longest:],
    }  # fmt: skip


def of_loss(trainer, batch, how):
    """Loss and gradients, by name."""
    trainer.sharing = how
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    return loss.item(), {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}


def apart(ours, theirs):
    """Largest relative difference of a parameter's gradient."""
    assert ours.keys() == theirs.keys()
    return max(((ours[n] - g).norm() / g.norm().clamp(min=1e-9)).item() for n, g in theirs.items())


def without(batch, *names):
    return {name: value for name, value in batch.items() if name not in names}


@pytest.mark.parametrize("kind", ["causal", "qwen2_5_omni", "qwen3_omni_moe", "qwen2_audio"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_step_on_stored_completions_is_that_of_trl(trainer, kind, method):
    import torch

    made = trainer(kind, method=method)
    batch = without(stored(made), "old_per_token_logps")
    ids, mask = (torch.cat([batch[f"prompt_{n}"], batch[f"completion_{n}"]], 1) for n in ("ids", "mask"))
    scored = []
    for made.sharing in (PLAIN, SHARED):
        logs, entropy, _ = made._get_per_token_logps_and_entropies(made.model, ids, mask, 6, 3, compute_entropy=True)
        scored.append((logs, entropy))
    torch.testing.assert_close(scored[1], scored[0], atol=1e-5, rtol=0)
    assert apart(of_loss(made, batch, SHARED)[1], of_loss(made, batch, PLAIN)[1]) <= 1e-4


@pytest.mark.parametrize(
    "options",
    [
        {"beta": 0.04},
        {"iterations": 2},
        {"iterations": 2, "beta": 0.04},
        *({"loss": loss, "iterations": 2} for loss in ("dr_grpo", "dapo", "bnpo", "gspo")),
        {"temperature": 0.6},
    ],
    ids=str,
)
def test_so_is_every_loss(trainer, options):
    made = trainer(**options)
    batch = stored(made)
    for advantages in (batch["advantages"], batch["advantages"] * batch["advantages"].new_tensor([1] * 4 + [0] * 4)):
        batch["advantages"] = advantages
        (ours, found), (theirs, wanted) = (of_loss(made, batch, how) for how in (SHARED, PLAIN))
        assert ours == pytest.approx(theirs, abs=1e-5)
        assert max(g.norm() for g in wanted.values()) > 1e-3
        assert apart(found, wanted) <= 1e-4


def test_a_broken_mask_is_found_out_by_the_same_comparison(trainer, monkeypatch):
    made = trainer()
    batch = stored(made)
    merged(monkeypatch)
    assert apart(of_loss(made, batch, SHARED)[1], of_loss(made, batch, PLAIN)[1]) > 1e-2


def merged(monkeypatch):
    """Answers see each other."""
    one = packing._row
    monkeypatch.setattr(packing, "_row", lambda group: (*one(group)[:2], one(group)[2].clamp(max=1)))


# ── rows that teach nothing ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def run_rows(monkeypatch):
    """How many completions each forward ran."""
    counts = []
    forward = sharing.log_probabilities

    def counted(model, groups, *args):
        counts.append(sum(len(group.completions) for group in groups))
        return forward(model, groups, *args)

    monkeypatch.setattr(sharing, "log_probabilities", counted)
    return counts


@pytest.mark.parametrize(("beta", "rows"), [(0.0, 4), (0.04, 8)])
def test_rows_without_advantage_are_run_only_where_they_are_held_to_a_reference(trainer, run_rows, beta, rows):
    made = trainer(beta=beta)
    batch = without(stored(made, (1.0, -0.5, 0.25, -0.75, 0, 0, 0, 0)), "old_per_token_logps")
    _, found = of_loss(made, batch, SHARED)
    assert run_rows == [rows]
    assert apart(found, of_loss(made, batch, PLAIN)[1]) <= 1e-4


def test_a_batch_that_teaches_nothing_still_passes_the_model(trainer, run_rows):
    made = trainer()
    batch = stored(made, (0.0,) * 8)
    loss, found = of_loss(made, batch, SHARED)
    assert (loss, run_rows) == (0, [1])
    assert found.keys() == of_loss(made, batch, PLAIN)[1].keys()
    assert not any(gradient.any() for gradient in found.values())


def test_entropy_is_that_of_the_rows_that_were_run(trainer):
    import torch

    made = trainer()
    batch = without(stored(made, (1.0, -0.5, 0.25, -0.75, 0, 0, 0, 0)), "old_per_token_logps")
    of_loss(made, batch, SHARED)
    half = {name: value[:4] if value.ndim else value for name, value in batch.items()}
    of_loss(made, half, PLAIN)
    ours, theirs = made._metrics["train"]["entropy"]
    assert ours == pytest.approx(theirs, abs=1e-5)
    of_loss(made, batch | {"advantages": torch.zeros(8)}, SHARED)
    assert len(made._metrics["train"]["entropy"]) == 2


def test_a_process_with_nothing_to_learn_from_waits_for_no_one(tiny, questions, tmp_path):  # noqa: F811
    first, second = together(train, 2, config(questions, tiny("causal"), tmp_path / "out", steps=6, group_size=4))
    assert first["parameters_sha256"] == second["parameters_sha256"]
    assert {row["no_signal"] for row in rows_of(tmp_path / "out") if "loss" in row} >= {0.5}  # of a group each


# ── generation ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["causal", "qwen2_5_omni", "qwen3_omni_moe", "qwen2_audio"])
def test_each_prompt_is_run_once_for_answers_that_are_drawn_as_before(trainer, monkeypatch, kind):
    import torch
    from trl import GRPOTrainer

    from datagen.train.making import quiet

    made = trainer(kind, max_tokens=6, temperature=3.0)
    bare = made._bare(made.model)
    prompts = [[5, *range(30, 30 + n)] for n in (9, 14) for _ in range(4)]
    passed = []
    bare.get_decoder().register_forward_pre_hook(
        lambda _, args, kwargs: passed.append(next(kwargs[n].shape[:2] for n in ("input_ids", "inputs_embeds")
                                                   if kwargs.get(n) is not None)), with_kwargs=True,
    )  # fmt: skip
    drawn = []
    for generate in (made._generate_single_turn, lambda *args: GRPOTrainer._generate_single_turn(made, *args)):
        torch.manual_seed(0)
        with quiet():
            drawn.append(generate(prompts, None, {}, 4)[0])
    assert drawn[0] == drawn[1]
    assert len(set(map(tuple, drawn[0]))) > 4
    assert passed[0] == (2, 15)
    assert Counter(passed)[8, 15] == 1
    assert Counter(passed)[8, 1] == len(passed) - 2


# ── whole runs ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("options", [{}, {"beta": 0.04, "iterations": 2}, {"method": "lora", "beta": 0.04}], ids=str)
def test_a_run_ends_where_one_without_shared_prompts_does(tiny, questions, tmp_path, monkeypatch, options):  # noqa: F811
    from datagen.train.trainer import Trainer

    ours = train(config(questions, tiny("causal"), tmp_path / "ours", **options))
    assert ours["shared_prompt"]["used"]
    assert ours["shared_prompt"]["gradients"] < 1e-4
    monkeypatch.setattr(Trainer, "shares", False)
    train(config(questions, tiny("causal"), tmp_path / "theirs", **options))
    logs = [rows_of(tmp_path / name) for name in ("ours", "theirs")]
    for one, other in zip(*logs, strict=True):
        assert one["picked"] == other["picked"]
        same = other.keys() & {"accuracy", "length", "reward", "kl", "grad_norm", "loss"}
        assert [one[name] for name in same] == [pytest.approx(other[name], rel=1e-3, abs=1e-5) for name in same]
    parameters = [flat(tmp_path / name / "model") for name in ("ours", "theirs")]
    import torch

    torch.testing.assert_close(*parameters, atol=1e-4, rtol=0)


def flat(folder):
    import torch
    from safetensors.torch import load_file

    return torch.cat([value.flatten() for _, value in sorted(load_file(folder / "model.safetensors").items())])


def test_a_run_whose_model_cannot_share_says_so_and_goes_on(tiny, questions, tmp_path, monkeypatch, capsys):  # noqa: F811
    from datagen.train.trainer import Trainer

    with monkeypatch.context() as patched:
        merged(patched)
        broken = train(config(questions, tiny("causal"), tmp_path / "broken", max_tokens=6))
    said = capsys.readouterr().err
    assert said.count("every answer gets a prompt of its own") == 1
    monkeypatch.setattr(Trainer, "shares", False)
    plain = train(config(questions, tiny("causal"), tmp_path / "plain", max_tokens=6))
    assert broken["parameters_sha256"] == plain["parameters_sha256"]
    found = json.loads((tmp_path / "broken" / "run.json").read_text())["shared_prompt"]
    assert not found["used"]
    assert found["gradients"] > 1e-3
