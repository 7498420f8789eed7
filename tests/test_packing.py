"""Shared prompts: the same log-probabilities and gradients as one row an answer, for every policy that is trained."""

from __future__ import annotations

import pytest
import tiny_models

from datagen.train import packing
from datagen.train.packing import Group, give_head, log_probabilities, one_row_each

POLICIES = ("causal", "qwen2_5_omni_thinker", "qwen3_omni_moe_thinker", "qwen2_audio")
TEMPERATURE = 0.7


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """`policy(kind)`: a fresh tiny model that takes packed rows, its towers frozen."""
    from datagen.train.policy import open_policy

    folder = tmp_path_factory.mktemp("tiny")

    def get(kind):
        if not (folder / kind).exists():
            tiny_models.make(kind, folder / kind)
        model = open_policy(str(folder / kind)).weights("float32")
        give_head(model)
        return model

    return get


@pytest.fixture(autouse=True)
def one_thread():
    """More than one only wait for each other at this size."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def drawn(*shape, seed=0):
    import torch

    return torch.randint(20, 250, shape, generator=torch.Generator().manual_seed(seed))


def groups():
    """Prompts and answers of different lengths; a prompt of one token, answers of one."""
    lengths = [(17, (5, 3, 9)), (30, (1, 4)), (1, (4, 2))]
    return [
        Group(drawn(prompt, seed=n), [drawn(length, seed=10 * n + length) for length in answers])
        for n, (prompt, answers) in enumerate(lengths)
    ]


def plainly(model, asked, **inputs):
    """[(log-probabilities, entropies)] of each answer by the model's own forward, each answer in a call of its own."""
    import torch

    found = []
    for group in one_row_each(asked):
        (answer,) = group.completions
        ids = torch.cat([group.prompt, answer])[None]
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **inputs).logits
        logs = torch.log_softmax(logits[0, len(group.prompt) - 1 : -1] / TEMPERATURE, -1)
        found.append((logs.gather(-1, answer[:, None])[:, 0], -(logs.exp() * logs).sum(-1)))
    return found


def gradients(model, log_probs):
    """Of a weighted sum of all log-probabilities, by name."""
    import torch

    model.zero_grad()
    weights = torch.randn(len(log_probs), generator=torch.Generator().manual_seed(1))
    (log_probs * weights).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def compare(model, asked, **inputs):
    """Largest difference of log-probabilities and entropies; largest relative one of a parameter's gradient."""
    import torch

    scored = log_probabilities(model, asked, TEMPERATURE)
    plain = plainly(model, asked, **inputs)
    counts = [len(logs) for logs, _ in plain]
    ours = torch.cat([row[:n] for row, n in zip(scored.log_probs, counts, strict=True)])
    entropy = torch.cat([row[:n] for row, n in zip(scored.entropy, counts, strict=True)])
    assert not any(row[n:].any() for row, n in zip(scored.log_probs, counts, strict=True))
    theirs, spread = (torch.cat(values) for values in zip(*plain, strict=True))
    apart = max((ours - theirs).abs().max().item(), (entropy - spread).abs().max().item())
    wanted, found = gradients(model, theirs), gradients(model, ours)
    assert found.keys() == wanted.keys()
    relative = max(((found[name] - g).norm() / g.norm().clamp(min=1e-6)).item() for name, g in wanted.items())
    return apart, relative


@pytest.mark.parametrize("kind", POLICIES)
def test_shared_prompts_change_no_log_probability_and_no_gradient(policy, kind):
    apart, relative = compare(policy(kind), groups())
    assert apart <= 1e-5
    assert relative <= 1e-4


def test_a_mask_by_which_answers_see_each_other_is_found_out(policy, monkeypatch):
    one = packing._row

    def merged(group):
        ids, positions, parts = one(group)
        return ids, positions, parts.clamp(max=1)

    monkeypatch.setattr(packing, "_row", merged)
    apart, relative = compare(policy("causal"), groups())
    assert apart > 1e-3
    assert relative > 1e-2


def test_positions_that_run_on_are_found_out(policy, monkeypatch):
    import torch

    one = packing._row
    monkeypatch.setattr(packing, "_row", lambda group: (ids := one(group)[0], torch.arange(len(ids)), one(group)[2]))
    assert compare(policy("qwen2_5_omni_thinker"), groups())[0] > 1e-3


def test_a_group_too_long_for_one_row_takes_more(policy, monkeypatch):
    monkeypatch.setattr(packing, "LONGEST", 24)
    assert [len(row.completions) for row in packing._rows(groups()[0])] == [2, 1]
    apart, relative = compare(policy("causal"), groups())
    assert apart <= 1e-5
    assert relative <= 1e-4


@pytest.mark.parametrize("kind", ["qwen2_5_omni_thinker", "qwen3_omni_moe_thinker", "qwen2_audio"])
def test_audio_is_heard_by_every_answer(policy, tmp_path, kind):
    import numpy as np
    import soundfile
    import torch

    from datagen.llm.weights import open_folder
    from datagen.train.audio import Recording
    from datagen.train.listening import FIRST, Listener

    model = policy(kind)
    folder = open_folder(model.name_or_path, audio=True)
    soundfile.write(tmp_path / "noise.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 16_000), 16_000, "PCM_16")
    listener = Listener(folder, [recording := Recording(tmp_path / "noise.wav", sha256="noise")])
    part = {"type": "audio", "recording": recording}
    heard = torch.tensor(listener.ids([{"role": "user", "content": [part, {"type": "text", "text": "What?"}]}]))
    asked = Group(heard, [drawn(3, seed=1), drawn(6, seed=2)])
    plain = Group(heard.where(heard < FIRST, listener.local.processor.audio_token_id), asked.completions)
    features = listener.local.sound(soundfile.read(tmp_path / "noise.wav", dtype="float32")[0]).features
    with torch.no_grad():
        wanted = [row for row, _ in plainly(model, [plain], **features)]
        deaf = log_probabilities(model, [plain], TEMPERATURE).log_probs
        listener.attach(model)
        found = log_probabilities(model, [groups()[0], asked], TEMPERATURE).log_probs[3:]
    for row, one, unheard in zip(found, wanted, deaf, strict=True):
        torch.testing.assert_close(row[: len(one)], one, atol=1e-5, rtol=0)
        assert (unheard[: len(one)] - one).abs().max() > 1e-3
    listener.close()
