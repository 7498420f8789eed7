"""Recipes, launch scripts, and whether the estimate knows the models that it names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from datagen import cli
from datagen.errors import UsageError
from datagen.train.launching import CONFIGURATIONS, script
from datagen.train.memory import Load, device_bytes
from datagen.train.shapes import SHAPES

RECIPES = Path(__file__).parent.parent / "examples" / "train"


def call(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["datagen", "train", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0, *capsys.readouterr()


# ── recipes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", ["3b", "7b"])
@pytest.mark.parametrize("kind", ["lora-24gb", "lora-48gb", "lora-80gb", "full-8x48gb", "full-8x80gb"])
def test_a_recipe_is_read_and_fits_where_its_name_says(monkeypatch, capsys, tmp_path, size, kind):
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(monkeypatch, capsys, "--config", RECIPES / f"{size}-{kind}.toml", "--dry-run", "--json")
    found = json.loads(out)
    method, _, where = kind.partition("-")
    processes, _, gigabytes = where.removesuffix("gb").rpartition("x")
    assert (code, found["method"], found["processes"]) == (0, method, int(processes or 1))
    assert found["model"] == f"Qwen/Qwen2.5-Omni-{size.upper()}"
    assert found["fits"][method][gigabytes] is True
    assert "estimate" in found["note"]


def test_there_are_no_other_recipes_and_the_configurations_are_those_that_are_printed():
    assert len(list(RECIPES.glob("*gb.toml"))) == 10
    for name, text in CONFIGURATIONS.items():
        assert (RECIPES / f"accelerate-{name}.yaml").read_text() == text


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_accelerate_reads_the_configurations(name):
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    read = load_config_from_file(str(RECIPES / f"accelerate-{name}.yaml"))  # refuses keys that it does not know
    inner = {"fsdp2": read.fsdp_config, "zero3": read.deepspeed_config}[name]
    assert str(read.distributed_type.value) == {"fsdp2": "FSDP", "zero3": "DEEPSPEED"}[name]
    flags = {action.dest for action in launch_command_parser()._actions}
    assert not set(inner) - flags


# ── scripts ──────────────────────────────────────────────────────────────────────────────────────────────────────────

STUB = '#!/usr/bin/env bash\nprintf "%s\\0" "$(basename "$0")" "$@"\n'
SRUN = '#!/usr/bin/env bash\nshift\nexport SLURM_PROCID=1\nexec "$@"\n'


@pytest.mark.parametrize("launcher", ["accelerate", "torchrun", "slurm"])
@pytest.mark.parametrize("sharding", ["none", "fsdp2", "zero3"])
def test_a_script_starts_the_call_word_for_word(monkeypatch, capsys, tmp_path, launcher, sharding):
    processes = "16" if launcher == "slurm" else "8"
    words = ["--data", "a 'set'", "--model", "m", "--out", "$HOME/o", "--processes", processes, "--batch-size", "4",
             "--sharding", sharding]  # fmt: skip
    code, printed, err = call(monkeypatch, capsys, *words, "--print-launch", launcher)
    if launcher == "torchrun" and sharding != "none":
        assert (code, printed) == (2, "")
        assert "shards nothing" in err
        return
    assert code == 0
    bin, here = tmp_path / "bin", tmp_path / "here"
    bin.mkdir()
    here.mkdir()
    stubs = {"accelerate": STUB, "torchrun": STUB, "srun": SRUN, "scontrol": "#!/bin/sh\necho n1\necho n2\n"}
    for name, text in stubs.items():
        (bin / name).write_text(text)
        (bin / name).chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", printed], cwd=here, capture_output=True, text=True, timeout=30, check=True,
        env={"PATH": f"{bin}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "n[1-2]"},
    )  # fmt: skip
    started = done.stdout.split("\0")[:-1]
    at = started.index("datagen")
    assert started[at:] == ["datagen", "train", *words]
    if launcher == "torchrun":
        from torch.distributed.run import get_args_parser

        read = get_args_parser().parse_args(started[1:])
        assert (read.nproc_per_node, read.no_python, read.training_script) == ("8", True, "datagen")
        return
    from accelerate.commands.launch import launch_command_parser

    assert started[:2] == ["accelerate", "launch"]
    read = launch_command_parser().parse_args(started[2:])
    machines = (read.num_machines, read.num_processes, read.machine_rank, read.main_process_ip)
    assert machines == ((2, 16, 1, "n1") if launcher == "slurm" else (1, 8, None, None))
    assert (read.no_python, read.training_script) == (True, "datagen")
    if sharding == "none":
        assert read.multi_gpu
    else:
        assert (here / read.config_file).read_text() == CONFIGURATIONS[sharding]


def test_what_no_script_can_do_is_told():
    with pytest.raises(UsageError, match="--print-launch 'mpi': use accelerate, torchrun, slurm"):
        script("mpi", [], 2, "none")
    with pytest.raises(UsageError, match="--processes 16: torchrun is given up to 8"):
        script("torchrun", [], 16, "none")
    with pytest.raises(UsageError, match="--processes 12: slurm is given up to 8, slurm also their multiples"):
        script("slurm", [], 12, "none")


def test_a_script_does_not_print_itself_again():
    for flag in (["--print-launch", "slurm"], ["--print-launch=slurm"]):
        assert "print-launch" not in script("slurm", ["train", *flag, "--json"], 1, "none")


def test_a_run_that_was_not_started_as_it_says_is_refused(monkeypatch, capsys):
    code, _, err = call(monkeypatch, capsys, "--data", "d", "--model", "m", "--out", "o", "--processes", "4")
    assert (code, err.count("\n")) == (2, 1)
    assert "--processes 4: 1 started" in err
    code, _, err = call(monkeypatch, capsys, "--data", "d", "--model", "m", "--out", "o", "--sharding", "fsdp2")
    assert code == 2
    assert "--sharding fsdp2: this was started with none" in err
    heard = ("--data", "d", "--model", "m", "--out", "o", "--modality", "audio", "--sharding", "fsdp2")
    code, _, err = call(monkeypatch, capsys, *heard)
    assert code == 2
    assert "--sharding fsdp2: is not for --modality audio so far" in err


# ── the estimate ─────────────────────────────────────────────────────────────────────────────────────────────────────


def empty(model):
    """The class of a named model with that model's dimensions, no memory behind it."""
    import torch
    import transformers

    shape = SHAPES[model]
    text = {
        "hidden_size": shape.hidden, "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads, "intermediate_size": shape.intermediate, "vocab_size": shape.vocab,
        "head_dim": shape.width, "tie_word_embeddings": shape.tied,
    }  # fmt: skip
    with torch.device("meta"):
        if "Qwen2.5-Omni" in model:
            seen = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420}  # published; the class has others
            kind = transformers.Qwen2_5OmniThinkerConfig(text_config=text, vision_config=seen)
            kind.vision_config.out_hidden_size = kind.audio_config.output_dim = shape.hidden
            return transformers.Qwen2_5OmniThinkerForConditionalGeneration(kind)
        if "Qwen3-Omni" in model:
            text |= {"num_experts": shape.experts, "num_experts_per_tok": shape.active}
            text |= {"moe_intermediate_size": shape.intermediate}
            kind = transformers.Qwen3OmniMoeThinkerConfig(text_config=text)
            kind.vision_config.out_hidden_size = kind.audio_config.output_dim = shape.hidden
            return transformers.Qwen3OmniMoeThinkerForConditionalGeneration(kind)
        if "Qwen2-Audio" in model:
            kind = transformers.Qwen2AudioConfig(text_config={"model_type": "qwen2", **text})
            return transformers.Qwen2AudioForConditionalGeneration(kind)
        if "SmolLM2" in model:
            return transformers.LlamaForCausalLM(transformers.LlamaConfig(**text))
        return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**text))


@pytest.mark.parametrize("model", SHAPES)
def test_parameters_are_counted_as_the_class_has_them(model):
    from datagen.train.policy import _in_tower, _linear_layers

    made, shape = empty(model), SHAPES[model]
    towers = sum(p.numel() for name, p in made.named_parameters() if _in_tower(name))
    language = sum(p.numel() for name, p in made.named_parameters() if not _in_tower(name))
    assert shape.language == pytest.approx(language, rel=1e-3)
    assert shape.towers == pytest.approx(towers, rel=0.02)
    linear = dict(made.named_modules())
    lora = sum(16 * (linear[name].in_features + linear[name].out_features) for name in _linear_layers(made))
    assert shape.lora(16) == lora


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_parts_of_the_estimate_are_those_of_a_step_that_was_measured(method):
    """In float32 on the processor, where numbers take twice the bytes of bfloat16 and autocast holds no copies."""
    import torch
    from peft import get_peft_model
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from datagen.train.making import quiet
    from datagen.train.policy import Policy
    from datagen.train.shapes import Shape

    shape = Shape(256, 4, 8, 2, 1024, 1000)
    text = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2,
            "intermediate_size": 1024, "vocab_size": 1000, "tie_word_embeddings": False}  # fmt: skip
    model = Qwen2ForCausalLM(Qwen2Config(**text))
    if method == "lora":
        with quiet():
            model = get_peft_model(model, Policy.adapters(None, model, 16))
    load = Load(8, 8, 48, 16, 16, 0.0, checkpointing=False)
    said = device_bytes(shape, load, method)
    ids = torch.randint(1000, (8, 64))
    stored = {}

    def keep(tensor):
        stored[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    standing = {p.untyped_storage().data_ptr() for p in model.parameters()}
    optimizer = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = model(input_ids=ids, logits_to_keep=1)
    kept = sum(storage.nbytes() for place, storage in stored.items() if place not in standing)
    out.logits.sum().backward()
    optimizer.step()
    trained = [p for p in model.parameters() if p.requires_grad]
    weights = sum(p.nbytes for p in model.parameters())
    copies = 2 * shape.language if method == "full" else -2 * shape.language  # autocast's; LoRA's base in bfloat16
    assert said["weights"] - copies == pytest.approx(weights, rel=0.01)
    assert said["gradients"] == pytest.approx(sum(p.grad.nbytes for p in trained), rel=0.01)
    moments = [s[name].nbytes for s in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    assert said["optimizer"] == pytest.approx(sum(moments), rel=0.01)
    assert 0.6 < 2 * said["activations"] / kept < 1.7
    model.config.use_cache = True
    cache = model(input_ids=ids).past_key_values
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert 2 * (said["kv_cache"] - 2 * 4 * 8 * 1000) == held
