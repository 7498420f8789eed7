"""`datagen train-export`: tiny Omnis, tuned by `datagen train`, written back whole."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import tiny_models
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_train import config, one_thread, questions_in, teach_letters

from datagen import cli
from datagen.errors import UsageError
from datagen.llm.local_model import load_weights
from datagen.llm.weights import open_folder
from datagen.train.exporting import train_export
from datagen.train.run import train

__all__ = ["one_thread"]
HEAD = "thinker.lm_head.weight"
OMNIS = ("qwen2_5_omni", "qwen3_omni_moe")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """`made(kind)`: a whole Omni in several shards with its voices, and a run that tuned its thinker."""
    top, found = tmp_path_factory.mktemp("export"), {}

    def get(kind):
        if kind not in found:
            base = tiny_models.make(kind, top / kind, teach=teach_letters)
            sharded(base)
            torch.save({"Chelsie": {"cond": torch.zeros(1)}}, base / "spk_dict.pt")
            questions = questions_in(top / f"{kind}.jsonl", "q", 24)
            options = {"method": "lora", "steps": 2, "save_every": 1, "learning_rate": 1e-2}
            train(config(questions, base, top / f"{kind}_run", **options))
            found[kind] = base, top / f"{kind}_run"
        return found[kind]

    return get


def sharded(folder):
    """The folder's weights in three shards with an index, as large ones are published."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {f"model-0000{n + 1}-of-00003.safetensors": names[n::3] for n in range(3)}
    for shard, inside in shards.items():
        save_file({name: tensors[name] for name in inside}, folder / shard, metadata={"format": "pt"})
    where = {name: shard for shard, inside in shards.items() for name in inside}
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def tensors_of(folder):
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as shard:
            found |= {name: shard.get_tensor(name) for name in shard.keys()}  # noqa: SIM118  (it is no mapping)
    return found


def logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(20, 50)[None], attention_mask=torch.ones(1, 30).long()).logits


def thinker(folder):
    return load_weights(open_folder(str(folder), audio=True), "float32")


def whole(kind, folder):
    import transformers

    names = {"qwen2_5_omni": "Qwen2_5OmniForConditionalGeneration", "qwen3_omni_moe": "Qwen3OmniMoeForConditionalGeneration"}  # fmt: skip  # noqa: E501
    return getattr(transformers, names[kind]).from_pretrained(folder)


@pytest.mark.parametrize("kind", OMNIS)
def test_a_tuned_thinker_loads_in_the_full_class_and_says_what_it_said(made, tmp_path, kind):
    base, run = made(kind)
    found = train_export(run, str(base), tmp_path / "out")
    tuned = logits(thinker(run / "model"))
    assert torch.equal(logits(whole(kind, tmp_path / "out").thinker), tuned)
    assert torch.equal(logits(thinker(tmp_path / "out")), tuned)
    assert not torch.allclose(logits(thinker(base)), tuned, atol=1e-3)
    before, after = tensors_of(base), tensors_of(tmp_path / "out")
    assert list(before) == list(after)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert len(moved) == found["changed"] > 0
    assert all(name.startswith("thinker.model.layers") for name in moved)
    same = {path.name for path in base.iterdir()} - {path.name for path in base.glob("*.safetensors")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in base.iterdir()}
    assert [name for name in same if (base / name).read_bytes() != (tmp_path / "out" / name).read_bytes()] == []
    if kind == "qwen2_5_omni":
        assert found["copied"] == sum(name.startswith(("talker.", "token2wav.")) for name in before) > 500
        assert whole(kind, tmp_path / "out").speaker_map.keys() == {"Chelsie"}


@pytest.mark.parametrize("kind", OMNIS)
@pytest.mark.parametrize("part", ["model", "adapter", "checkpoints/checkpoint-2"])
def test_model_adapter_and_checkpoint_of_a_run_give_the_same_thinker(made, tmp_path, kind, part):
    base, run = made(kind)
    train_export(run / part, str(base), tmp_path / "out")
    torch.testing.assert_close(logits(thinker(tmp_path / "out")), logits(thinker(run / "model")), atol=1e-6, rtol=0)


def test_a_checkpoint_of_full_tuning_is_taken(made, tmp_path):
    base, run = made("qwen2_5_omni")
    options = {"steps": 2, "save_every": 2, "learning_rate": 1e-2}
    train(config(run.parent / "qwen2_5_omni.jsonl", base, tmp_path / "run", **options))
    train_export(tmp_path / "run" / "checkpoints" / "checkpoint-2", str(base), tmp_path / "out")
    assert torch.equal(logits(thinker(tmp_path / "out")), logits(thinker(tmp_path / "run" / "model")))


def test_the_type_is_that_of_the_base_unless_another_is_told(made, tmp_path):
    base, run = made("qwen2_5_omni")
    half = tmp_path / "half"
    shutil.copytree(base, half)
    for shard in half.glob("*.safetensors"):
        save_file({name: tensor.bfloat16() for name, tensor in load_file(shard).items()}, shard)
    written = json.loads((half / "config.json").read_text()) | {"torch_dtype": "bfloat16"}
    (half / "config.json").write_text(json.dumps({name: value for name, value in written.items() if name != "dtype"}))
    train_export(run, str(half), tmp_path / "as_base")
    train_export(run, str(half), tmp_path / "told", dtype="float32")
    tuned, as_base, told = (tensors_of(folder) for folder in (run / "model", tmp_path / "as_base", tmp_path / "told"))
    for name, tensor in tuned.items():
        assert torch.equal(as_base[name], tensor.bfloat16())
        assert torch.equal(told[name], tensor)
    assert {told[name].dtype for name in told if name.startswith("talker.")} == {torch.bfloat16}
    assert whole("qwen2_5_omni", tmp_path / "as_base").thinker.lm_head.weight.dtype == torch.bfloat16
    assert torch.equal(logits(whole("qwen2_5_omni", tmp_path / "told").thinker), logits(thinker(run / "model")))
    index = json.loads((tmp_path / "told" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in told.values())


# ── what is wrong ────────────────────────────────────────────────────────────────────────────────────────────────────


def changed(run, folder, change):
    """A copy of the run's model/ with other tensors."""
    shutil.copytree(run / "model", folder)
    tensors = change(load_file(folder / "model.safetensors"))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t | {"model.layers.9.x": torch.zeros(1)}, "the base's thinker has no thinker.model.layers.9.x: "),
        (lambda t: {n: t[n] for n in t if n != HEAD}, "lacks thinker.lm_head.weight of the base's thinker"),
        (lambda t: t | {HEAD: t[HEAD][:-1].clone()}, "thinker.lm_head.weight is ["),
        (lambda t: t | {HEAD: t[HEAD] * float("nan")}, "thinker.lm_head.weight holds numbers"),
    ],
)
def test_what_is_no_thinker_of_the_base_is_refused_and_leaves_nothing(made, tmp_path, change, says):
    base, run = made("qwen2_5_omni")
    folder = changed(run, tmp_path / "tuned", change)
    with pytest.raises(UsageError, match="tuned: ") as raised:
        train_export(folder, str(base), tmp_path / "out")
    assert says in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["tuned"]


def test_numbers_that_the_told_type_cannot_hold_are_refused(made, tmp_path):
    base, run = made("qwen2_5_omni")
    folder = changed(run, tmp_path / "tuned", lambda t: t | {HEAD: t[HEAD] + 1e6})
    with pytest.raises(UsageError, match=r"holds numbers that are none in torch\.float16"):
        train_export(folder, str(base), tmp_path / "out", dtype="float16")


def test_a_wrong_call_is_told_in_one_line(made, tmp_path, monkeypatch, capsys):
    base, run = made("qwen2_5_omni")
    other, _ = made("qwen3_omni_moe")
    (tmp_path / "there").mkdir()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "run.json").write_text("{}")
    shutil.copytree(run / "adapter", tmp_path / "dora")
    tensors = load_file(run / "adapter" / "adapter_model.safetensors")
    save_file(tensors | {"x.lora_magnitude_vector": torch.zeros(1)}, tmp_path / "dora" / "adapter_model.safetensors")
    for words, says in [
        ((run, "--base", base, "--out", tmp_path / "there"), "is there already"),
        ((run, "--base", run / "model", "--out", tmp_path / "o"), "is no whole Omni but a qwen2_5_omni_thinker"),
        ((run, "--base", other, "--out", tmp_path / "o"), "the base's thinker a qwen3_omni_moe_thinker"),
        ((run / "adapter", "--base", other, "--out", tmp_path / "o"), "give the base it was tuned from"),
        ((tmp_path / "cut", "--base", base, "--out", tmp_path / "o"), "the run has no model/ yet"),
        ((tmp_path / "dora", "--base", base, "--out", tmp_path / "o"), "beside LoRA's A and B"),
        ((tmp_path, "--base", base, "--out", tmp_path / "o"), "holds neither config.json nor adapter_config.json"),
        ((run, "--base", base, "--out", tmp_path / "o", "--dtype", "int4"), "--dtype 'int4': use bfloat16"),
    ]:
        assert call(monkeypatch, capsys, *words, says=says) == (2, "", 1, True), says
    assert not (tmp_path / "o").exists()


def call(monkeypatch, capsys, *words, says):
    monkeypatch.setattr(sys, "argv", ["datagen", "train-export", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    return ended.value.code or 0, out, err.count("\n"), says in err


def test_the_command_prints_what_it_wrote(made, tmp_path, monkeypatch, capsys):
    base, run = made("qwen2_5_omni")
    monkeypatch.setattr(
        sys, "argv", ["datagen", "train-export", str(run), "--base", str(base), "--out", str(tmp_path / "o"), "--json"]
    )
    with pytest.raises(SystemExit) as ended:
        cli.main()
    found = json.loads(capsys.readouterr().out)
    assert not ended.value.code
    assert Path(found["out"]) == tmp_path / "o"
    assert (found["tuned"], found["dtype"]) == (88, "as the base")
