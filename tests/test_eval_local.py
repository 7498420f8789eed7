"""`datagen eval` with models on this machine: tiny random weights of real classes, real processors, real audio."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
import quiz
import tiny_models

from datagen.errors import UsageError
from datagen.eval import preparing as module
from datagen.eval.asking import CONDITIONS
from datagen.eval.evaluate import Config, evaluate
from datagen.eval.outputs import opened
from datagen.llm.local_model import LocalModel

FILES = ("items.parquet", "predictions.jsonl", "result.json")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Folders of a tiny thinker that hears and of a tiny language model."""
    folder = tmp_path_factory.mktemp("tiny")
    return {kind: tiny_models.make(kind, folder / kind) for kind in ("qwen2_5_omni_thinker", "causal")}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """`run(folder, **options) -> (result, the finished folder, the model that was used)`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    used = []

    def spy(*args, **options):
        used.append(make(*args, **options))
        return used[-1]

    make = module.local_client
    monkeypatch.setattr(module, "local_client", spy)
    data = quiz.write(tmp_path / "quiz", 4)

    def start(folder, out="out", **options):
        options = {"audio": tmp_path / "quiz/audio", "max_tokens": 4, **options}
        result = evaluate(Config("mmau", data, str(folder), tmp_path / out, **options))
        return result, opened(tmp_path / out), used[-1].sender.model

    return start


def captions(tmp_path):
    file = tmp_path / "captions.json"
    file.write_text(json.dumps([{"id": row["id"], "captions": ["Noise.", "A bell."]} for row in quiz.rows(4)]))
    return file


def test_a_dry_run_loads_neither_weights_nor_processor(tiny, run, tmp_path, monkeypatch):
    options = {"condition": "audio,none", "orders": "circular"}
    run(tiny["qwen2_5_omni_thinker"], out="half", limit=2, ledger=tmp_path / "ledger.sqlite", **options)
    for name in ("load", "_load_processor"):
        monkeypatch.delattr(LocalModel, name)
    options |= {"audio": tmp_path / "quiz/audio", "max_tokens": 4, "ledger": tmp_path / "ledger.sqlite"}
    model = str(tiny["qwen2_5_omni_thinker"])
    found = evaluate(Config("mmau", tmp_path / "quiz/quiz.json", model, tmp_path / "out", dry_run=True, **options))
    assert (found["calls"], found["known"], found["left"], found["cost_usd"]) == (32, 16, 16, 0)
    assert not (tmp_path / "out").exists()


def test_a_thinker_answers_under_every_condition_and_order(tiny, run, tmp_path):
    options = {
        "condition": ",".join(CONDITIONS),
        "orders": "original,shuffle:2,circular",
        "captions": captions(tmp_path),
    }
    result, _, model = run(tiny["qwen2_5_omni_thinker"], **options)
    assert [(c["condition"], c["order"], c["rows"], c["answered"]) for c in result["cells"]] == [
        (condition, order, rows, rows)
        for condition in CONDITIONS
        for order, rows in (("original", 4), ("shuffle:2", 8), ("circular", 16))
    ]
    # Every clip is encoded once for all of its prompts: 4 clips, 4 of silence, 4 of noise; mismatched has none anew.
    assert model.encodings == 12
    check, model_said = result["batch_check"], result["model"]
    assert check == {"items": 4, "equal": 4, "different": []}
    assert (model_said["runner"], model_said["type"]) == ("local", "qwen2_5_omni_thinker")
    assert "<|AUDIO|>" in result["prompt"]["rendered"] and "Which sound of recording 0" in result["prompt"]["rendered"]
    assert result["usage"]["cost_usd"] == 0

    before = {name: (tmp_path / "out" / name).read_bytes() for name in FILES}
    again, _, model = run(tiny["qwen2_5_omni_thinker"], **options)
    assert again["spent"]["calls"] == 0 and "_model" not in vars(model)  # the weights were not even loaded
    assert {name: (tmp_path / "out" / name).read_bytes() for name in FILES} == before


def test_weights_that_were_trained_on_never_get_the_old_answers(tiny, run, tmp_path):
    folder, ledger = tmp_path / "model", tmp_path / "answers.sqlite"
    shutil.copytree(tiny["causal"], folder)
    first, _, _ = run(folder, condition="none", ledger=ledger)
    same, _, _ = run(folder, condition="none", ledger=ledger, out="same")
    tiny_models.make("causal", folder, seed=1)
    other, _, _ = run(folder, condition="none", ledger=ledger, out="other")
    assert (first["spent"]["calls"], same["spent"]["calls"], other["spent"]["calls"]) == (4, 0, 4)
    assert first["model"]["identity"] == same["model"]["identity"] != other["model"]["identity"]


def test_a_language_model_answers_without_audio_and_is_refused_with_it(tiny, run, tmp_path):
    result, folder, _ = run(
        tiny["causal"], condition="none,caption", captions=captions(tmp_path), audio=None, samples=2
    )
    assert [c["answered"] for c in result["cells"]] == [8, 8]
    assert {line.finish for line in folder.lines()} <= {"stop", "length"}
    texts = [line.text for line in folder.lines()]
    assert len(set(texts)) > 8  # drawn, each with a seed of its own
    with pytest.raises(UsageError, match="LlamaForCausalLM takes no audio"):
        run(tiny["causal"], out="deaf")


def test_a_batch_that_changes_answers_is_told(tiny, run, monkeypatch):
    generate = LocalModel.generate

    def leaking(model, rows):  # what a mask that forgets the padding does to the shorter rows
        said = generate(model, rows)
        longest = max(row.length for row in rows)
        return [
            s if row.length == longest else type(s)("other", s.finish, s.tokens)
            for s, row in zip(said, rows, strict=True)
        ]

    monkeypatch.setattr(LocalModel, "generate", leaking)
    result, _, _ = run(tiny["qwen2_5_omni_thinker"], check_batch=3)
    check = result["batch_check"]
    assert check["items"] == 3 and check["equal"] == 3 - len(check["different"]) < 3


def test_the_system_prompt_is_what_the_template_adds(tiny):
    from datagen.llm.weights import open_folder

    model = LocalModel(open_folder(str(tiny["causal"]), audio=False))
    assert model.system_prompt() is None
    plain = model.processor.chat_template
    model.processor.chat_template = (
        "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}" + plain
    )
    assert model.system_prompt() == "Be kind."
    model.processor.chat_template = "{{ raise_exception('no system turn') if messages[0]['role'] == 'system' }}" + plain
    assert model.system_prompt() is None


@contextlib.contextmanager
def transformers_serve(folder, log):
    """`transformers serve` of one folder on loopback; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hub = log.with_name("hub")
    hub.mkdir(exist_ok=True)
    command = [sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve", str(folder),
               "--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]  # fmt: skip
    env = {**os.environ, "HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, env=env) as server:
        try:
            for _ in range(240):
                with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
                assert server.poll() is None, log.read_text()[-2000:]
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["qwen2_audio", "qwen2_5_omni_thinker"])
def test_a_real_server_and_the_local_runner_give_one_model_the_same_answers(kind, run, tmp_path):
    pytest.importorskip("fastapi")
    folder = tiny_models.make(kind, tmp_path / "model")
    local, here, _ = run(folder, out="here", condition="audio,none", max_tokens=8)
    with transformers_serve(folder, tmp_path / "log") as url:
        served = evaluate(Config("mmau", tmp_path / "quiz/quiz.json", str(folder), tmp_path / "there", base_url=url,
                                 audio=tmp_path / "quiz/audio", condition="audio,none", max_tokens=8))  # fmt: skip
    texts = [[line.text.strip() for line in lines.lines()] for lines in (here, opened(tmp_path / "there"))]
    assert texts[0] == texts[1] and len(texts[0]) == 8
    assert served["usage"]["prompt_tokens"] == local["usage"]["prompt_tokens"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_real_server_of_a_model_that_hears_nothing_is_refused(tiny, tmp_path):
    pytest.importorskip("fastapi")
    data = quiz.write(tmp_path / "quiz", 4)
    with (
        transformers_serve(tiny["causal"], tmp_path / "log") as url,
        pytest.raises(UsageError, match="takes no audio"),
    ):
        evaluate(Config("mmau", data, str(tiny["causal"]), tmp_path / "out", base_url=url, audio=data.parent / "audio"))
