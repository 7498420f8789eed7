"""The local runner: real processors, tiny random weights of each class, a real ledger."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch

from datagen import audio
from datagen.errors import PermanentError, TransientError, UsageError
from datagen.llm import Ledger, Request, Sampling
from datagen.llm import weights as weights_module
from datagen.llm.local import LocalSender, local_client
from datagen.llm.local_model import LocalModel, Row, _Draws
from datagen.llm.weights import identify, open_folder
from datagen.sources import demo

CLIPS = Path(demo.__file__).with_name("demo_clips")
BELL, SPEECH, TILL = "bell_ring.flac", "speech_train.flac", "whoosh_then_till.flac"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """`tiny(kind)`: the folder of a tiny model, made once."""
    folder, made = tmp_path_factory.mktemp("tiny"), {}

    def get(kind):
        if kind not in made:
            made[kind] = tiny_models.make(kind, folder / kind)
        return made[kind]

    return get


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def run(tmp_path):
    """`run(folder, work, **options)`: the result of `work(client)`, against one ledger."""
    ledger = Ledger(tmp_path / "ledger.sqlite")

    def start(folder, work, **options):
        async def main():
            client = local_client(str(folder), ledger, **options)
            try:
                await client.preflight()
                return await work(client)
            finally:
                await client.close()

        return asyncio.run(main())

    yield start
    ledger.close()


def sound(name):
    data = base64.b64encode(audio.encode(audio.load(CLIPS / name))).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def request(text="What is heard?", clip=None, sample=0, limit=8, **sampling):
    content = [sound(clip), {"type": "text", "text": text}] if clip else text
    sampling = Sampling(max_tokens=limit, **sampling)
    return Request([{"role": "user", "content": content}], "p#1", sampling=sampling, sample=sample)


def mixed(n=12, temperature=0.9):
    """Prompts of mixed lengths, with and without audio."""
    clips = (BELL, None, SPEECH, None)
    return [
        request("Say what is heard. " * (1 + 3 * i % 5), clips[i % 4], i, temperature=temperature) for i in range(n)
    ]


def ask(*requests, raw=False):
    async def work(client):
        answers = await asyncio.gather(*(client.ask(one) for one in requests), return_exceptions=raw)
        return answers, client._sender

    return work


def texts(answers):
    return [answer.text for answer in answers]


# ── each class ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", tiny_models.HEARING)
def test_the_audio_tower_runs_once_for_all_captions_of_a_clip(tiny, run, kind):
    calls = Counter()

    async def work(client):
        model = client._sender.model
        model.load()
        model._model.get_submodule("model.audio_tower").register_forward_hook(lambda *_: calls.update(["tower"]))
        asked = [request(text, clip, sample, temperature=0.8) for clip in (BELL, SPEECH, TILL)
                 for text in ("What is heard?", "Which sounds come first?") for sample in range(3)]  # fmt: skip
        return await asyncio.gather(*(client.ask(one) for one in asked)), client._sender

    answers, sender = run(tiny(kind), work, audio=True)
    assert calls["tower"] == sender.model.encodings == 3
    assert len(set(texts(answers))) == 18  # other clips, prompts and draws give other noise
    assert all(0 < answer.completion_tokens <= 8 and answer.cost == 0 for answer in answers)


@pytest.mark.parametrize("kind", tiny_models.HEARING)
def test_an_audio_encoded_apart_is_the_audio_of_the_models_own_way(tiny, kind):
    """The processor's whole output, padded as it pads, through the model's own forward."""
    model = LocalModel(open_folder(str(tiny(kind)), audio=True))
    samples, messages = audio.load(CLIPS / BELL).mono.copy(), request(clip=BELL).messages
    samples[-2000:] = np.random.default_rng(0).uniform(-1, 1, 2000)  # loud to its last frame, which padding touches
    apart = model.row(messages, [model.sound(samples)], Sampling(max_tokens=6), 0)
    whole = model.whole_row(messages, [samples], Sampling(max_tokens=6), 0)
    assert torch.equal(apart.ids, whole.ids)
    mels = apart.sounds[0].features["input_features"]
    assert torch.equal(mels, whole.whole["input_features"][..., : mels.shape[-1]])
    logits = model.log_probabilities([apart])[0]
    with torch.inference_mode():
        own = torch.log_softmax(model._model(**whole.whole).logits[0, -1], -1)
    assert torch.allclose(logits, own, atol=1e-4)
    assert own.max() - own.min() > 0.1  # such as can differ
    assert model.generate([apart]) == model.generate([whole])


def test_a_longer_clip_is_heard_to_its_end(tiny):
    """35 s: two windows of Audio Flamingo 3, one pass of Qwen-Omni."""
    samples = np.tile(audio.load(CLIPS / SPEECH).mono, 20)[: 35 * 16_000]
    for kind in ("audioflamingo3", "qwen2_5_omni_thinker", "qwen3_omni_moe_thinker"):
        model = LocalModel(open_folder(str(tiny(kind)), audio=True))
        made, row = model.sound(samples), request(clip=BELL).messages
        shorter = model.sound(samples[: 34 * 16_000])
        assert made.tokens > shorter.tokens > 400
        first, second = (model.log_probabilities([model.row(row, [s], Sampling(), 0)]) for s in (made, shorter))
        assert not torch.allclose(first, second, atol=1e-4)


def test_a_model_of_no_known_class_runs_by_its_own_processor(tiny, run, monkeypatch):
    asked = [request("What is heard?", BELL, i, temperature=0.8) for i in range(3)] + [request("Hello")]
    expected = texts(run(tiny("qwen2_audio"), ask(*asked), audio=True)[0])
    monkeypatch.setattr("datagen.llm.local_model.ONE_ENCODING", frozenset())
    monkeypatch.setattr("datagen.llm.client.Ledger.find", lambda _, names: [None] * len(names))
    answers, sender = run(tiny("qwen2_audio"), ask(*asked), audio=True)
    assert texts(answers) == expected
    assert sender.model.encodings == 3  # one a caption, and it says so


# ── answers do not depend on the batch ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["qwen2_audio", "qwen2_5_omni_thinker"])
def test_texts_do_not_depend_on_the_batch(tiny, run, tmp_path, kind):
    alone, sender = run(tiny(kind), ask(*mixed()), audio=True, tokens=1)
    assert sender.batches == [1] * 12
    (tmp_path / "ledger.sqlite").unlink()
    for file in tmp_path.glob("ledger.sqlite*"):
        file.unlink()
    ledger = Ledger(tmp_path / "other.sqlite")

    async def main():
        client = local_client(str(tiny(kind)), ledger, audio=True)
        answers, sender = await ask(*reversed(mixed()))(client)
        await client.close()
        return answers, sender

    together, sender = asyncio.run(main())
    ledger.close()
    assert max(sender.batches) > 1
    assert texts(together)[::-1] == texts(alone)
    assert len(set(texts(alone))) == 12


def test_log_probabilities_alone_and_in_a_batch(tiny):
    for kind in tiny_models.KINDS:
        model = LocalModel(open_folder(str(tiny(kind)), audio=False))
        heard = [model.sound(audio.load(CLIPS / clip).mono) for clip in (BELL, SPEECH)] if kind != "causal" else []
        rows = [model.row(request("So? " * n).messages, [], Sampling(), 0) for n in (1, 9, 30)]
        rows += [
            model.row(request("So? " * n, BELL).messages, [s], Sampling(), 0)
            for n, s in zip((2, 20), heard, strict=False)
        ]
        together = model.log_probabilities(rows)
        alone = torch.cat([model.log_probabilities([row]) for row in rows])
        assert (together - alone).abs().max() < 1e-4


def test_a_seed_is_another_draw_and_greedy_is_none(tiny, run):
    asked = [request(sample=i, temperature=t, seed=s) for t in (0.0, 1.0) for i in (0, 1) for s in (1, 2)]
    said = texts(run(tiny("causal"), ask(*asked))[0])
    assert len(set(said[:4])) == 1 and len(set(said[4:])) == 4


def test_draws_follow_the_probabilities():
    """One draw of each of 4,000 rows a kind, every row with its own generator."""
    chances = torch.tensor([0.05, 0.4, 0.15, 0.3, 0.1])
    kinds = [Sampling(1.0), Sampling(1.0, top_p=0.69), Sampling(1.0, extra={"top_k": 3}), Sampling(0.5), Sampling(0.0)]
    rows = [Row(torch.zeros(1), (), kind, seed) for kind in kinds for seed in range(4000)]
    drawn = _Draws(rows, "cpu")(None, torch.log(chances).repeat(len(rows), 1)).exp()
    found = drawn.reshape(5, 4000, 5).mean(1)
    expected = torch.stack([
        chances, torch.tensor([0, 4 / 7, 0, 3 / 7, 0]), torch.tensor([0, 0.4, 0.15, 0.3, 0]) / 0.85,
        chances**2 / (chances**2).sum(), torch.tensor([0, 1.0, 0, 0, 0]),
    ])  # fmt: skip
    assert (found - expected).abs().max() < 0.03  # four standard deviations
    assert ((found == 0) == (expected == 0)).all()


# ── the ledger and the name of a model ───────────────────────────────────────────────────────────────────────────────


def test_committed_answers_are_never_asked_again(tiny, run):
    first, _ = run(tiny("qwen2_audio"), ask(*mixed(4)), audio=True)
    again, sender = run(tiny("qwen2_audio"), ask(*mixed(4)), audio=True)
    assert sender.batches == [] and "_model" not in vars(sender.model)  # not even loaded
    assert texts(again) == texts(first) and all(answer.cached for answer in again)


def test_a_folder_that_was_trained_on_answers_anew(tiny, run, tmp_path):
    folder = shutil.copytree(tiny("causal"), tmp_path / "model")
    before = run(folder, ask(request()))[0][0]
    moved = folder.rename(tmp_path / "moved")
    assert run(moved, ask(request()))[0][0].cached
    tiny_models.make("causal", moved, seed=1)
    after = run(moved, ask(request()))[0][0]
    assert not after.cached and after.key != before.key and after.text != before.text


def test_what_decides_answers_is_in_the_identity(tiny, tmp_path):
    folder = shutil.copytree(tiny("qwen2_audio"), tmp_path / "model")

    def name(dtype="float32"):
        return identify(open_folder(str(folder), audio=True), dtype)

    seen = {name(), name("bfloat16")}
    for file in (
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "chat_template.jinja",
        "processor_config.json",
    ):
        with (folder / file).open("a", encoding="utf-8") as stream:
            stream.write(" ")
        seen.add(name())
    assert len(seen) == 7
    (folder / "README.md").write_text("of no effect")
    (folder / "trainer_state.json").write_text("{}")
    assert name() in seen


def test_large_files_are_hashed_once(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(weights_module, "LARGE", 1)
    hashed = Counter()
    real = weights_module.hashlib.file_digest
    monkeypatch.setattr(
        weights_module.hashlib,
        "file_digest",
        lambda file, kind: hashed.update([Path(file.name).name]) or real(file, kind),
    )
    folder = open_folder(str(shutil.copytree(tiny("causal"), tmp_path / "model")), audio=False)
    first = identify(folder, "float32")
    assert identify(folder, "float32") == first and set(hashed.values()) == {1}
    weights = folder.path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)  # of the same size
    assert identify(folder, "float32") != first and hashed["model.safetensors"] == 2
    (tmp_path / "cache/datagen/weights.json").write_text("no JSON")
    identify(folder, "float32")
    assert hashed["model.safetensors"] == 3


# ── memory, limits, ends ─────────────────────────────────────────────────────────────────────────────────────────────


def out_of_memory(monkeypatch, most):
    real = LocalModel.generate

    def generate(self, rows):
        if len(rows) > most:
            raise torch.OutOfMemoryError(f"tried to allocate {len(rows)} rows")
        return real(self, rows)

    monkeypatch.setattr(LocalModel, "generate", generate)


def test_a_batch_that_does_not_fit_is_halved(tiny, run, tmp_path, monkeypatch):
    asked = [request("So? " * 5, sample=i, temperature=1.0) for i in range(16)]
    expected = texts(run(shutil.copytree(tiny("causal"), tmp_path / "m"), ask(*asked), tokens=1)[0])
    monkeypatch.setattr("datagen.llm.client.Ledger.find", lambda _, names: [None] * len(names))
    out_of_memory(monkeypatch, 3)
    answers, sender = run(tiny("causal"), ask(*asked))
    assert texts(answers) == expected
    assert sender.halvings >= 3 and max(sender.batches) <= 3
    assert sender.tokens < 4096  # later batches begin smaller


def test_a_row_that_never_fits_fails_alone_and_is_no_answer(tiny, run, monkeypatch):
    real = LocalModel.generate

    def generate(self, rows):
        if any(row.length > 100 for row in rows):
            raise torch.OutOfMemoryError("tried to allocate")
        return real(self, rows)

    monkeypatch.setattr(LocalModel, "generate", generate)
    monkeypatch.setattr("datagen.llm.local.BUCKET", 1000)
    asked = [request("So? " * n) for n in (2, 100, 3)]
    answers, _ = run(tiny("causal"), ask(*asked, raw=True))
    assert [type(answer).__name__ for answer in answers] == ["Answer", "TransientError", "Answer"]
    assert "out of memory" in str(answers[1])
    monkeypatch.setattr(LocalModel, "generate", real)
    again, _ = run(tiny("causal"), ask(*asked))
    assert [answer.cached for answer in again] == [True, False, True]


def test_batches_hold_rows_of_nearly_one_length(tiny, run, monkeypatch):
    seen = []
    real = LocalModel.generate
    monkeypatch.setattr(LocalModel, "generate", lambda self, rows: seen.append(list(rows)) or real(self, rows))
    run(tiny("causal"), ask(*(request("So? " * (1 + 40 * (i % 2)), sample=i) for i in range(12))), tokens=400)
    assert all(max(r.length for r in rows) <= 1.25 * min(r.length for r in rows) for rows in seen)
    assert all(len(rows) * (max(r.length for r in rows) + 8) <= 400 or len(rows) == 1 for rows in seen)
    assert max(len(rows) for rows in seen) > 2


def test_each_row_ends_at_its_own_limit_or_by_itself(tiny, run, tmp_path):
    folder = shutil.copytree(tiny("causal"), tmp_path / "model")
    asked = [request(limit=n) for n in (3, 8)]
    short, long = run(folder, ask(*asked))[0]
    assert (short.finish, short.completion_tokens, long.completion_tokens) == ("length", 3, 8)
    model = LocalModel(open_folder(str(folder), audio=False))
    row = model.row(request().messages, [], Sampling(max_tokens=8), 0)
    with torch.inference_mode():
        embeddings, mask = model._embed([row])
        ids = model._run([row], inputs_embeds=embeddings, attention_mask=mask)[0].tolist()
    settings = json.loads((folder / "generation_config.json").read_text())
    last = next(n for n in (6, 5, 4, 3, 2, 1) if ids[n] not in ids[:n])
    settings |= {"eos_token_id": [ids[last]], "temperature": 0.1, "repetition_penalty": 5.0, "do_sample": True}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    ended = run(folder, ask(request(limit=8)))[0][0]
    assert (ended.finish, ended.completion_tokens) == ("stop", last + 1)  # its own penalties stand aside
    assert long.text.startswith(ended.text)


def test_closing_ends_the_batch_and_commits_no_half_answer(tiny, run):
    steps = Counter()

    async def work(client):
        await client.ask(request(limit=1))
        client._sender.model._model.register_forward_hook(lambda *_: steps.update(["step"]))
        asking = asyncio.ensure_future(client.ask(request(limit=2000)))
        await asyncio.sleep(0.3)
        asking.cancel()
        before = steps["step"]
        await client.close()
        return await asyncio.gather(asking, return_exceptions=True), before, any(client.known([request(limit=2000)]))

    [error], before, known = run(tiny("causal"), work)
    assert isinstance(error, asyncio.CancelledError) and not known
    assert before > 0 and steps["step"] <= before + 2
    assert not any(thread.name.startswith(("model", "features")) for thread in threading.enumerate())


def test_features_are_made_once_for_requests_under_way(tiny, run, monkeypatch):
    made = Counter()
    real = LocalModel.sound
    monkeypatch.setattr(LocalModel, "sound", lambda self, x: made.update([len(x)]) or real(self, x))
    run(tiny("qwen3_omni_moe_thinker"), ask(*(request(str(i), BELL) for i in range(6))), audio=True)
    assert list(made.values()) == [1]


def test_audio_is_forgotten_when_much_was_heard(tiny, monkeypatch):
    monkeypatch.setattr("datagen.llm.local.KEPT", 150)

    async def main():
        sender = LocalSender(LocalModel(open_folder(str(tiny("audioflamingo3")), audio=True)), stats=None)
        for clip in (BELL, SPEECH, TILL):
            await sender._sound(sound(clip)["input_audio"]["data"])
        kept = [task.result().tokens for task in sender._sounds.values()]
        await sender.close()
        return kept

    assert sum(asyncio.run(main())) <= 150


def test_real_weights_answer(smollm2, run):
    """SmolLM2-135M-Instruct, the writer and reader of a laptop."""
    asked = [
        request(f"What is the capital of {country}? Answer in one word.", limit=12) for country in ("France", "Italy")
    ]
    answers, sender = run(smollm2, ask(*asked))
    assert "Paris" in answers[0].text and "Rome" in answers[1].text
    assert [answer.finish for answer in answers] == ["stop", "stop"] and sender.batches == [2]


# ── wrong calls ──────────────────────────────────────────────────────────────────────────────────────────────────────


def cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def drop(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def template(folder):
    (folder / "chat_template.jinja").unlink()


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (drop("config.json"), r"config\.json: No such file"),
        (lambda f: (f / "config.json").write_text("{"), r"config\.json: JSONDecodeError"),
        (lambda f: (f / "config.json").rename(f / "adapter_config.json"), "an adapter alone: merge it"),
        (drop("model.safetensors"), "holds no weights"),
        (lambda f: cut(f / "model.safetensors"), r"model\.safetensors is cut short"),
        (lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "x-1.safetensors"}}'),
         r"x-1\.safetensors is missing"),
        (drop("tokenizer.json", "tokenizer_config.json"), "holds no tokenizer"),
        (template, "has no chat template"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "cannot be loaded"),
    ],
)  # fmt: skip
def test_a_folder_that_cannot_be_run(tiny, run, tmp_path, spoil, line):
    folder = shutil.copytree(tiny("causal"), tmp_path / "model")
    spoil(folder)
    with pytest.raises(UsageError, match=line) as caught:
        run(folder, ask(request()))
    assert "\n" not in str(caught.value)


def test_a_folder_of_no_audio_model(tiny, run):
    with pytest.raises(UsageError, match="LlamaForCausalLM takes no audio: name the folder of one that listens"):
        run(tiny("causal"), ask(), audio=True)
    with pytest.raises(UsageError, match="causal takes no audio"):
        run(tiny("causal"), ask(request(clip=BELL)))


def test_an_audio_model_without_its_processor(tiny, run, tmp_path):
    folder = shutil.copytree(tiny("qwen2_audio"), tmp_path / "model")
    (folder / "processor_config.json").unlink()
    with pytest.raises(UsageError, match=r"holds no processor_config\.json"):
        run(folder, ask(), audio=True)


def test_weights_of_another_configuration(tiny, run, tmp_path):
    folder = shutil.copytree(tiny("causal"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(UsageError, match=r"weights such as model\.layers\.2.* are missing"):
        run(folder, ask(request()))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Qwen/Qwen2-Audio-7B-Instruct", "no such folder, and the Hub cannot be reached"),
        ("no such folder", "no Hub id of the form owner/name"),
        ("/no/such/folder", "no Hub id of the form owner/name"),
    ],
)
def test_a_hub_id_without_a_network(run, name, line):
    with pytest.raises(UsageError, match=line) as caught:
        run(name, ask())
    assert "\n" not in str(caught.value)


def test_a_parameter_that_is_not_known(tiny, run):
    with pytest.raises(UsageError, match="knows no sampling parameter 'presence_penalty'"):
        run(tiny("causal"), ask(request(extra={"presence_penalty": 1})))


def test_a_text_that_holds_the_audio_token_is_refused(tiny, run):
    asked = request("<|AUDIO|>", BELL), request("Hello", BELL)
    answers, _ = run(tiny("qwen2_audio"), ask(*asked, raw=True), audio=True)
    assert isinstance(answers[0], PermanentError) and "2 places for 1 audios" in str(answers[0])
    assert not isinstance(answers[1], TransientError | PermanentError)


@pytest.mark.parametrize("kind", tiny_models.HEARING)
def test_a_click_is_too_short_to_caption(tiny, kind):
    model = LocalModel(open_folder(str(tiny(kind)), audio=True))
    noise = np.random.default_rng(0).uniform(-1, 1, 400).astype(np.float32)
    assert model.sound(noise).tokens == 1
    with pytest.raises(PermanentError, match=r"audio of 0\.0249 s is shorter than 0\.025 s"):
        model.sound(noise[:-1])


def test_audio_that_is_none(tiny, run):
    broken = Request(
        [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]}],
        "p#1",
    )
    with pytest.raises(PermanentError, match="cannot be decoded"):
        run(tiny("qwen2_audio"), ask(broken), audio=True)
