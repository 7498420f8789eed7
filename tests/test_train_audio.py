"""Training with audio: tiny random models that listen, real clips, real trl."""

from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import quiz
import soundfile
import tiny_models
from test_train import interrupt_after, one_thread, rows_of, teach_letters  # noqa: F401
from together import together

from datagen.errors import Interrupted, UsageError
from datagen.train.audio import Recording
from datagen.train.config import Config
from datagen.train.data import CONDITIONS, Deck, Example, conditions_of
from datagen.train.listening import FIRST, MOST
from datagen.train.run import train

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
    from datagen.train.making import make_trainer, quiet
    from datagen.train.policy import open_policy

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

    from datagen.train.making import quiet

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
    heard = []
    listener._model.model.audio_tower.register_forward_hook(lambda *_: heard.append(1))
    alone = [table(torch.tensor([row]))[0] for row in ids]
    longest = max(map(len, ids))
    order = [3, 1, 1, 0, 2, 3]
    together = table(torch.tensor([[0] * (longest - len(ids[n])) + ids[n] for n in order]))
    for row, number in zip(together, order, strict=True):
        assert torch.equal(row[longest - len(ids[number]) :], alone[number])
    assert heard == [1] * 4  # each recording once, for all of these
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
    assert found["shared_prompt"]["used"]
    assert any(row["grad_norm"] > 0 for row in rows_of(once.out))
    assert Path(found["out"], "model", "config.json").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"beta": 0.04},
        pytest.param({"refill": 2}, marks=pytest.mark.slow),
        pytest.param({"objective": "exact", "batch_size": 2}, marks=pytest.mark.slow),
        pytest.param({"method": "lora", "loss": "dapo", "iterations": 2}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_run_with_audio_that_was_interrupted_ends_as_an_unbroken_one(tiny, questions, tmp_path, options):
    options |= {"modality": "mixed", "steps": 6, "held_out": held_out_in(tmp_path)}
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
    steps = [row for row in rows if "loss" in row]
    if "beta" in options:
        assert steps[0]["kl"] == 0 < steps[-1]["kl"]  # the reference hears what the policy hears
    if "objective" not in options:
        sampled = [row["sampled"] for row in steps if "sampled" in row]  # of each step's token ids
        assert len(set(sampled)) == 6 // options.get("iterations", 1)
    assert {tuple(row["held_out"]) for row in rows if "held_out" in row} == {("audio", "mismatched", "none")}
    assert all(one["n"] == 4 for one in whole["held_out_last"].values())
    assert 0 < sum(row.get("accuracy") or 0 for row in steps) < 6


def test_two_processes_hear_alike(tiny, questions, tmp_path):
    (questions.parent / "audio/item00005.wav").write_bytes(b"RIFF no audio")  # told by the one that decodes it
    options = {"modality": "mixed", "held_out": held_out_in(tmp_path), "steps": 2, "batch_size": 2}
    both = together(train, 2, config(questions, tiny("qwen2_5_omni_thinker"), tmp_path / "out", **options))
    assert both[0]["parameters_sha256"] == both[1]["parameters_sha256"]
    assert both[0]["left_out"] == both[1]["left_out"] == {"audio_corrupt": 1}
    assert both[0]["hearing"]["others"] == 0 < both[0]["hearing"]["swapped"]
    assert both[0]["shared_prompt"]["used"]
    assert {name: one["n"] for name, one in both[0]["held_out_last"].items()} == dict.fromkeys(CONDITIONS, 4)


@pytest.mark.parametrize("objective", ["exact", "choice", "supervised"])
def test_every_objective_hears(tiny, questions, tmp_path, objective):
    once = config(questions, tiny("qwen2_5_omni_thinker"), tmp_path / "out", objective=objective, batch_size=2)
    found = train(replace(once, modality="mixed", steps=2))
    assert found["shared_prompt"]["used"]
    assert found["hearing"]["swapped"] > 0
    assert all(row["grad_norm"] > 0 for row in rows_of(once.out))


def loud(whole, words):
    """A random tower says nearly the same of every clip; what differs is made as loud as words are."""
    import torch

    teach_letters(whole, words)
    last = whole.model.audio_tower.proj
    last.weight.data *= 100
    heard = {"input_features": torch.zeros(1, 80, 60), "feature_attention_mask": torch.ones(1, 60, dtype=torch.long)}
    with torch.no_grad():
        last.bias -= whole.get_audio_features(**heard).pooler_output.mean(0)


@pytest.mark.slow
def test_a_policy_learns_what_can_only_be_heard(tmp_path):
    (tmp_path / "audio").mkdir()
    for name, number in (("train", 24), ("held", 12)):
        rows = []
        for n in range(number):
            draw = np.random.default_rng([n, number])
            samples = draw.standard_normal(16_000) if n % 2 else np.sin(np.arange(16_000) * draw.uniform(0.1, 0.3))
            soundfile.write(tmp_path / f"audio/{name}{n}.wav", samples * 0.1, 16_000)
            rows.append({"id": f"{name}{n}", "question": f"Hm {name}?", "choices": ["A", "B"], "answer": "AB"[n % 2]})
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    options = {"steps": 200, "prompts_per_step": 8, "group_size": 8, "batch_size": 64, "learning_rate": 1e-3,
               "save_every": 200, "eval_every": 20, "held_out": tmp_path / "held.json",
               "prompt": "omni-r1"}  # fmt: skip
    model = tiny_models.make("qwen2_5_omni_thinker", tmp_path / "model", teach=loud)
    train(config(tmp_path / "train.json", model, tmp_path / "out", **options, audio=tmp_path / "audio"))
    rows = rows_of(tmp_path / "out")
    accuracy = [row["accuracy"] for row in rows if "loss" in row][-60:]
    asked = [row["held_out"] for row in rows if "held_out" in row][-3:]
    assert sum(accuracy) / 60 > 0.9
    right = [{name: one["correct"] for name, one in each.items()} for each in asked]
    assert max(each["audio"] for each in right) == 12  # clips that it was not trained on
    assert max(each["mismatched"] for each in right) < 10 > max(each["none"] for each in right)


def held_out_in(tmp_path):
    """Four questions about clips of their own, beside those that are trained on."""
    rows = [row | {"id": f"held{n}", "question": "What was it?"} for n, row in enumerate(quiz.rows(4))]
    path = tmp_path / "held_out.json"
    path.write_text(json.dumps(rows))
    return path


# ── what cannot be heard ─────────────────────────────────────────────────────────────────────────────────────────────


def test_questions_whose_audio_cannot_be_had_are_left_out_and_listed(tiny, questions, tmp_path):
    audio, rows = questions.parent / "audio", quiz.rows(12)
    (audio / "item00001.wav").unlink()
    soundfile.write(audio / "item00002.wav", np.zeros(30 * 16_000 + 1, np.float32), 16_000)
    soundfile.write(audio / "item00003.wav", np.ones(300, np.float32) / 2, 16_000)
    (audio / "item00004.wav").write_bytes(b"RIFF no audio")
    rows[5]["question"] = "What is <|AUDIO|> here?"
    rows[6]["answer"] = "none of them"
    questions.write_text(json.dumps(rows))
    found = train(config(questions, tiny("qwen2_audio"), tmp_path / "out", steps=1))
    assert found["questions"] == 6
    listed = [json.loads(line) for line in (tmp_path / "out/left_out.jsonl").read_text().splitlines()]
    assert {row["id"]: row["reason"] for row in listed} == {
        "item00001": "audio_missing", "item00002": "audio_longer_than_model", "item00003": "audio_too_short",
        "item00004": "audio_corrupt", "item00005": "audio_token_in_text", "item00006": "answer_not_among_choices",
    }  # fmt: skip
    assert found["left_out"] == dict(Counter(row["reason"] for row in listed))


def test_a_folder_that_holds_less_than_half_is_taken_for_the_wrong_one(tiny, questions, tmp_path):
    for number in range(7):
        (questions.parent / f"audio/item{number:05d}.wav").unlink()
    with pytest.raises(UsageError, match=r"the audio of 7 of 12 questions cannot be had \(audio_missing 7 \(item00000"):
        train(config(questions, tiny("qwen2_audio"), tmp_path / "out", steps=1))
    assert not (tmp_path / "out").exists()


def test_a_prompt_that_leaves_no_room_for_an_answer_is_told_before_training(tiny, questions, tmp_path):
    folder = tmp_path / "short"
    shutil.copytree(tiny("qwen2_5_omni_thinker"), folder)
    about = json.loads((folder / "config.json").read_text())
    about["text_config"]["max_position_embeddings"] = 256
    (folder / "config.json").write_text(json.dumps(about))
    rows = quiz.rows(12)
    rows[4]["question"] = "What? " * 100
    soundfile.write(questions.parent / "audio/item00007.wav", np.zeros(8 * 16_000, np.float32), 16_000)
    questions.write_text(json.dumps(rows))
    with pytest.raises(
        UsageError, match=r"takes 256 tokens, fewer than the prompts of 2 questions \(item0000[47], item0"
    ):
        train(config(questions, folder, tmp_path / "out", steps=1))


def test_a_model_that_hears_nothing_is_refused(tiny, questions, tmp_path):
    with pytest.raises(UsageError, match="LlamaForCausalLM takes no audio"):
        train(config(questions, tiny("causal"), tmp_path / "out"))


def test_a_run_of_ours_knows_its_clips(tiny, tmp_path):
    from datagen.build import Config as Build
    from datagen.build import build

    build(Build(source="demo", out=tmp_path / "run", limit=12))
    found = train(config(tmp_path / "run", tiny("qwen2_audio"), tmp_path / "out", audio=None, steps=1))
    assert found["questions"] > 4
    assert "<|AUDIO|>" in found["prompt"]


def test_an_exported_file_names_its_clips(tiny, tmp_path):
    from datagen.build import Config as Build
    from datagen.build import build
    from datagen.export import export
    from datagen.sources.demo import CLIPS

    build(Build(source="demo", out=tmp_path / "run", limit=12))
    export(tmp_path / "run", "ms-swift", tmp_path / "swift.jsonl", audio=CLIPS)
    found = train(config(tmp_path / "swift.jsonl", tiny("qwen2_audio"), tmp_path / "out", audio=CLIPS, steps=1))
    assert found["questions"] > 4
    assert found["left_out"] == {}
    assert "<audio>" not in found["prompt"]


def test_arms_differ_in_the_audio_alone(tiny, questions, tmp_path):
    trainer, _ = trainer_of(config(questions, tiny("qwen2_5_omni_thinker"), tmp_path / "out"))
    deck, rendered = trainer.deck, trainer.listener.rendered
    heard = rendered(deck.row(3)["prompt"])
    assert heard.count("<|audio_bos|><|AUDIO|><|audio_eos|>") == 1
    text = rendered(replace(deck, audio_share=0.0).row(3)["prompt"])
    assert heard.replace("<|audio_bos|><|AUDIO|><|audio_eos|>", "") == text


def test_a_dry_run_counts_the_audio(questions):
    from datagen.train.dry_run import dry_run

    soundfile.write(questions.parent / "audio/item00003.wav", np.zeros(4 * 16_000, np.float32), 16_000)
    found = [dry_run(config(questions, "Qwen/Qwen2-Audio-7B", Path("o"), modality=modality, audio=audio))
             for modality, audio in (("text", None), ("audio", questions.parent / "audio"))]  # fmt: skip
    assert found[1]["prompt_tokens"] - found[0]["prompt_tokens"] == pytest.approx(4 * 25, abs=1)


def test_another_sound_is_another_run(tiny, questions, tmp_path):
    once = config(questions, tiny("qwen2_audio"), tmp_path / "out", steps=2, save_every=1)
    train(once)
    soundfile.write(questions.parent / "audio/item00000.wav", np.ones(4000, np.float32) / 2, 16_000)
    with pytest.raises(UsageError, match="run of other inputs: sounds was"):
        train(config(questions, tiny("qwen2_audio"), tmp_path / "out", steps=2, save_every=1, resume=True))


# ── the order of the run ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_share_of_the_places_is_heard_and_all_else_is_equal():
    text, mixed, audio = (Deck(EXAMPLES, 3, audio_share=share) for share in (0.0, 0.3, 1.0))
    heard = [mixed.condition(place) == "audio" for place in range(900)]
    assert 200 < sum(heard) < 340
    for place in range(40):
        rows = [deck.row(place) for deck in (text, mixed, audio)]
        assert len({(row["id"], tuple(row["choices"]), row["gold"]) for row in rows}) == 1
        asked = rows[0]["prompt"][0]["content"]
        with_audio = [{"type": "audio", "recording": EXAMPLES[int(rows[0]["id"][1])].recordings[0]}]
        with_audio.append({"type": "text", "text": asked})
        assert rows[2]["prompt"][0]["content"] == with_audio
        assert rows[1]["prompt"] == rows[2 if heard[place] else 0]["prompt"]
    assert audio.heard(range(3, 6)) == [audio.row(n)["prompt"][0]["content"][0]["recording"] for n in (3, 4, 5)]


def test_a_held_out_set_is_asked_with_its_own_audio_that_of_another_and_none():
    deck = Deck(EXAMPLES, 3, shuffled=False, conditions=conditions_of(EXAMPLES))
    assert deck.places == 27
    rows = [deck.row(place) for place in range(27)]
    assert [row["condition"] for row in rows] == ["audio"] * 9 + ["mismatched"] * 9 + ["none"] * 9
    for own, other, none in zip(rows[:9], rows[9:18], rows[18:], strict=True):
        assert own["id"] == other["id"] == none["id"]
        assert own["choices"] == other["choices"] == none["choices"]
        sounds = [row["prompt"][0]["content"][0]["recording"].sha256 for row in (own, other)]
        assert sounds[0] != sounds[1]  # of nine examples three each have the same sound
        assert isinstance(none["prompt"][0]["content"], str)
    assert deck.heard(range(26, 40)) == []
    assert conditions_of(EXAMPLES[::3]) == ("audio", "none")  # all of one sound
    assert conditions_of([Example("t", "?", ("a", "b"), 0)]) == ()
