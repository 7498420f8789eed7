"""Training with audio: tiny random models that listen, real clips, real trl."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import quiz
import soundfile
import tiny_models
from test_train import interrupt_after, one_thread, rows_of, teach_letters  # noqa: F401

from datagen.errors import Interrupted
from datagen.train.audio import Recording
from datagen.train.data import Deck, Example
from datagen.train.listening import FIRST, MOST
from datagen.train.run import Config, train

KINDS = ("qwen2_5_omni_thinker", "qwen3_omni_moe_thinker", "qwen2_audio")
EXAMPLES = [
    Example(f"e{n}", "?", ("a", "b"), 0, (), "sound", (Recording(Path(f"{n}.wav"), sha256=f"{n % 3}"),))
    for n in range(9)
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """`tiny(kind)`: a folder of a tiny model that was taught to answer with a letter, so that rewards differ."""
    folder, made = tmp_path_factory.mktemp("tiny"), {}

    def get(kind):
        if kind not in made:
            made[kind] = tiny_models.make(kind, folder / kind, teach=teach_letters)
        return made[kind]

    return get


@pytest.fixture
def questions(tmp_path):
    """Twelve questions, each about a clip of its own, of 0.2 to 0.35 s."""
    return quiz.write(tmp_path / "quiz", 12)


def config(questions, model, out, **changes):
    options = {
        "steps": 4, "prompts_per_step": 2, "group_size": 4, "batch_size": 4, "max_tokens": 3, "prompt": "letters",
        "learning_rate": 1e-3, "method": "full", "save_every": 2, "eval_every": 2, "modality": "audio",
        "audio": questions.parent / "audio",
    }  # fmt: skip
    return Config(data=questions, model=str(model), out=out, **{**options, **changes})


def trainer_of(config):
    """A trainer before its first step, and the plain model of its folder."""
    from datagen.llm.local_model import LocalModel
    from datagen.train.audio import Recordings, audible
    from datagen.train.data import material, read_set
    from datagen.train.policy import open_policy
    from datagen.train.run import make_trainer, quiet

    policy = open_policy(config.model, audio=True)
    recordings = Recordings(config.data, config.audio)
    questions = material(read_set(config.data), config.modality, recordings=recordings)
    config.out.mkdir()
    with quiet():
        trainer, _ = make_trainer(config, policy, audible(questions, LocalModel(policy.folder)), None, None)
    return trainer, policy


# ── what is heard ────────────────────────────────────────────────────────────────────────────────────────────────────


def stock_inputs(processor, prompts):
    """What the model's own processor makes of them, every audio padded as it does so."""
    texts, sounds = [], []
    for prompt in prompts:
        parts = [{"type": p["type"], p["type"]: p.get("text", "")} for p in prompt[0]["content"]]
        chat = [{"role": "user", "content": parts}]
        texts.append(processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))
        sounds += [soundfile.read(p["recording"].path, dtype="float32")[0] for p in prompt[0]["content"][:1]]
    return processor(text=texts, audio=sounds, return_tensors="pt", padding=True, audio_kwargs={"sampling_rate": 16000})


@pytest.mark.parametrize("kind", KINDS)
def test_every_forward_hears_what_the_model_hears_by_its_own_processor(tiny, questions, tmp_path, kind):
    import torch
    from transformers import AutoProcessor
    from trl.trainer.utils import pad

    from datagen.train.run import quiet

    trainer, policy = trainer_of(config(questions, tiny(kind), tmp_path / "out"))
    prompts = [trainer.deck.row(place)["prompt"] for place in (0, 1, 2)]
    ids, images, fields = trainer._tokenize_prompts(prompts)
    assert (images, fields) == (None, {})
    plain = policy.weights("float32").eval()
    trainer.model.eval()
    stock = stock_inputs(AutoProcessor.from_pretrained(policy.folder.path), prompts)
    tail = torch.arange(20, 28).repeat(3, 1)  # eight tokens of an answer
    tensors = [torch.tensor(row) for row in ids]
    mine = torch.cat([pad(tensors, padding_value=trainer._tokenizer.pad_token_id, padding_side="left"), tail], 1)
    mask = torch.cat([stock["attention_mask"], torch.ones_like(tail)], 1)
    with torch.no_grad():
        found, _, _ = trainer._get_per_token_logps_and_entropies(trainer.model, mine, mask, 8)
        inputs = {**stock, "input_ids": torch.cat([stock["input_ids"], tail], 1), "attention_mask": mask}
        logits = plain(**inputs).logits[:, -9:-1]
    wanted = torch.log_softmax(logits.float(), -1).gather(-1, tail[..., None])[..., 0]
    torch.testing.assert_close(found.cpu(), wanted, atol=1e-5, rtol=1e-5)
    said = plain.generate(**stock, max_new_tokens=4, do_sample=False, pad_token_id=0)[:, stock["input_ids"].shape[1] :]
    trainer.model.training = False  # greedy, as the held-out set is asked
    with quiet():
        mine, _ = trainer._generate_single_turn(ids, None, {}, 1)
    assert [one[:3] for one in mine] == [row[: len(one)][:3] for row, one in zip(said.tolist(), mine, strict=True)]


def test_each_row_has_its_own_audio_in_whatever_order_it_comes(tiny, questions, tmp_path):
    import torch

    trainer, _ = trainer_of(config(questions, tiny("qwen2_5_omni_thinker"), tmp_path / "out"))
    listener, table = trainer.listener, trainer.model.get_input_embeddings()
    rows = [trainer.deck.row(place) for place in range(4)]
    ids, _, _ = trainer._tokenize_prompts([row["prompt"] for row in rows])
    numbers = [{(id - FIRST) // MOST for id in row if id >= FIRST} for row in ids]
    assert numbers == [{listener.number(row["prompt"][0]["content"][0]["recording"])} for row in rows]
    assert len(set(map(tuple, numbers))) == 4
    alone = [table(torch.tensor([row]))[0] for row in ids]
    longest = max(map(len, ids))
    order = [3, 1, 1, 0, 2, 3]
    together = table(torch.tensor([[0] * (longest - len(ids[n])) + ids[n] for n in order]))
    for row, number in zip(together, order, strict=True):
        assert torch.equal(row[longest - len(ids[number]) :], alone[number])
    assert trainer.listener._model.model.audio_tower.training is trainer.model.training


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("modality", ["audio", "mixed", "text"])
def test_a_model_that_listens_is_tuned_in_every_modality(tiny, questions, tmp_path, kind, modality):
    audio = None if modality == "text" else questions.parent / "audio"
    once = config(questions, tiny(kind), tmp_path / "out", modality=modality, audio=audio, steps=2, method="lora")
    found = train(once)
    assert (found["status"], found["steps"], found["questions"]) == ("done", 2, 12)
    first = {"audio": "audio", "text": "none", "mixed": Deck(EXAMPLES, 0, audio_share=0.5).condition(0)}[modality]
    assert ("<|AUDIO|>" in found["prompt"]) == (first == "audio")
    assert any(row["grad_norm"] > 0 for row in rows_of(once.out))
    assert Path(found["out"], "model", "config.json").exists()


def test_a_run_with_audio_that_was_interrupted_ends_as_an_unbroken_one(tiny, questions, tmp_path):
    options = {"modality": "mixed", "steps": 6, "beta": 0.04, "held_out": held_out_in(tmp_path), "iterations": 1}
    model = tiny("qwen2_5_omni_thinker")
    whole = train(config(questions, model, tmp_path / "whole", **options))
    broken = config(questions, model, tmp_path / "broken", **options)
    threading.Thread(target=interrupt_after, args=(broken.out / "train.jsonl", 3), daemon=True).start()
    with pytest.raises(Interrupted, match="with --resume goes on"):
        train(broken)
    resumed = train(config(questions, model, tmp_path / "broken", **options, resume=True))
    assert resumed["parameters_sha256"] == whole["parameters_sha256"]
    rows = rows_of(tmp_path / "whole")
    assert rows_of(broken.out) == rows
    assert {tuple(row["held_out"]) for row in rows if "held_out" in row} == {("audio", "mismatched", "none")}
    assert all(one["n"] == 4 for one in whole["held_out_last"].values())
    assert 0 < sum(row["accuracy"] for row in rows if "loss" in row) < 6


def held_out_in(tmp_path):
    """Four questions about clips of their own, beside those that are trained on."""
    rows = [row | {"id": f"held{n}", "question": "What was it?"} for n, row in enumerate(quiz.rows(4))]
    path = tmp_path / "held_out.json"
    path.write_text(json.dumps(rows))
    return path
