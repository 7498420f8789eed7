"""Each format against its documentation and its readers that install; test_export_consumers.py runs the others."""

from __future__ import annotations

import json
import re
from pathlib import Path

import datasets
import polars as pl
import pyarrow.parquet as pq
import pytest
import soundfile

from datagen.build import Config, build
from datagen.cli import app
from datagen.dataset import published, write_shards
from datagen.errors import UsageError
from datagen.export import EXPORTS, export
from datagen.multiple_choice import LABELS, read, render, solution, string_match
from datagen.plugins import known
from datagen.sources.attach import AudioFolder
from datagen.sources.demo import CLIPS

PAGE = Path(__file__).parents[1] / "docs/exports.md"
WITH_AUDIO = {name: CLIPS for name, kind in EXPORTS.items() if kind.audio == "always"}
"""Formats that need --audio."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A real run of demo clips, built once."""
    folder = tmp_path_factory.mktemp("export") / "run"
    assert build(Config(source="demo", out=folder, limit=24, split=0.3))["kept"] > 10
    return folder


@pytest.fixture(scope="module")
def kept(run):
    """Split → rows of its dataset."""
    return {
        name: pl.read_parquet(run / f"dataset/data/{name}-*.parquet").to_dicts() for name in ("train", "validation")
    }


def made_run(folder, rows, **state):
    """A run directory whose dataset holds `rows`, each only what differs from a plain question."""
    (folder / "dataset/data").mkdir(parents=True)
    plain = {"question": "Who?", "choices": ["dog", "cat"], "answer": "cat", "answer_index": 1, "domain": "sound"}
    whole = [
        dict.fromkeys(published().names) | plain | {"id": str(n), "skill": "x", "captions": []} | row for n, row in rows
    ]
    schema = published()
    table = pl.from_arrow(schema.empty_table())
    table = pl.concat([table, pl.DataFrame(whole, schema=table.schema)]) if whole else table
    write_shards(table, pl.int_range(table.height, eager=True), folder / "dataset/data", "train", schema)
    (folder / "run.json").write_text(json.dumps({"status": "done", "fingerprints": {}} | state))
    return folder


def lines(path):
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def records(path, name):
    return json.loads(path.read_bytes()) if EXPORTS[name].array else lines(path)


# ── every format ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", EXPORTS)
def test_the_json_loader_of_datasets_gives_back_every_row_in_order_without_captions(name, run, kept, tmp_path):
    found = export(run, name, tmp_path / "out.json", split="all", audio=WITH_AUDIO.get(name))
    rows = kept["train"] + kept["validation"]
    assert found == {
        "out": str(tmp_path / "out.json"),
        "format": name,
        "split": "all",
        "rows": len(rows),
        "skipped": {},
        "skipped_list": None,
    }
    read_back = datasets.load_dataset(
        "json", data_files=str(tmp_path / "out.json"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert read_back["id"][:] == [row["id"] for row in rows]
    assert read_back.to_list() == records(tmp_path / "out.json", name)
    assert "captions" not in read_back.column_names
    assert all(row["captions"][0] not in (tmp_path / "out.json").read_text() for row in rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "out.json"]


@pytest.mark.parametrize("name", EXPORTS)
def test_captions_come_when_they_are_asked_for(name, run, kept, tmp_path):
    export(run, name, tmp_path / "out", captions=True, audio=WITH_AUDIO.get(name))
    assert [row["captions"] for row in records(tmp_path / "out", name)] == [row["captions"] for row in kept["train"]]


@pytest.mark.parametrize("name", ["trl", "ms-swift"])
@pytest.mark.parametrize("style", LABELS)
def test_the_prompt_and_the_solution_are_those_of_the_style(name, style, run, kept, tmp_path):
    export(run, name, tmp_path / "out", split="validation", prompt=style)
    for row, record in zip(kept["validation"], lines(tmp_path / "out"), strict=True):
        (message,) = record["prompt"] if name == "trl" else record["messages"]
        assert message == {"role": "user", "content": render(row["question"], row["choices"], style)}
        assert read(record["solution"], record["choices"], LABELS[style]) == row["answer_index"]
        assert record["answer_index"] == row["answer_index"]


def test_every_format_is_listed_and_described():
    assert set(known("exports")) == set(EXPORTS)
    assert all(text.endswith(".") for text in known("exports").values())
    assert all("https://" in (kind.record.__doc__ or "") for kind in EXPORTS.values())


# ── their readers ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.filterwarnings("ignore::FutureWarning")  # transformers on the words of trl
def test_trl_takes_a_grpo_step_on_the_file(run, tmp_path):
    import torch
    import trl

    model, tokenizer = tiny_model()
    export(run, "trl", tmp_path / "train.jsonl")
    dataset = datasets.load_dataset(
        "json", data_files=str(tmp_path / "train.jsonl"), split="train", cache_dir=str(tmp_path / "cache")
    )
    seen = []

    def reward(prompts, completions, solution, choices, answer_index, **columns):
        seen.extend(zip(prompts, solution, choices, answer_index, columns["id"], strict=True))
        right = [read(text, menu, "text") for text, menu in zip(solution, choices, strict=True)]
        assert right == answer_index
        return [float(len(completion[0]["content"]) + place) for place, completion in enumerate(completions)]

    before = model.lm_head.weight.detach().clone()
    config = trl.GRPOConfig(
        output_dir=str(tmp_path / "trained"), use_cpu=True, bf16=False, gradient_checkpointing=False, max_steps=1,
        per_device_train_batch_size=4, num_generations=2, max_completion_length=4, learning_rate=0.1, report_to=[],
        save_strategy="no", disable_tqdm=True, logging_strategy="no", dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = trl.GRPOTrainer(
        model=model, reward_funcs=reward, args=config, train_dataset=dataset, processing_class=tokenizer
    )
    trainer.train()
    assert trainer.state.global_step == 1
    assert not torch.equal(before, model.lm_head.weight)
    written = {row["id"]: row for row in lines(tmp_path / "train.jsonl")}
    assert len(seen) == 4
    for prompt, *gold, id in seen:
        row = written[id]
        assert [prompt, *gold] == [row["prompt"], row["solution"], row["choices"], row["answer_index"]]


def tiny_model():
    """A random llama of 2 layers and a tokenizer of bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({token: n for n, token in enumerate([*alphabet, "<eos>"])}, []))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", pad_token="<eos>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=2048, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
    )  # fmt: skip
    return LlamaForCausalLM(config), tokenizer


@pytest.mark.parametrize("form", [str, lambda text: [{"role": "assistant", "content": text}]])  # ms-swift's, trl's
def test_the_reward_of_the_page_gives_1_for_the_gold_alone(form, run, tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    space = {}
    exec(code, space)
    for style in ("omni-r1", "r1-aqa"):
        export(run, "trl", tmp_path / style, prompt=style)
        rows = lines(tmp_path / style)
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        golds = [form(text) for text in columns["solution"]]
        others = [form(row["choices"][row["answer_index"] - 1]) for row in rows]
        assert space["right"](golds, **columns) == [1.0] * len(rows)
        assert space["right"](others, **columns) == [0.0] * len(rows)


def test_the_page_has_a_row_for_each_format_with_the_fields_of_its_records(run, tmp_path):
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (.*)$", PAGE.read_text(), re.MULTILINE))
    assert list(rows) == list(EXPORTS)
    for name, kind in EXPORTS.items():
        audios = {"never": [None], "always": [CLIPS], "optional": [None, CLIPS]}[kind.audio]
        for audio in audios:
            export(run, name, tmp_path / "out", audio=audio)
            told = set(re.findall(r"[a-z][\w-]+", rows[name].split(" | ")[0]))
            assert set(records(tmp_path / "out", name)[0]) <= told, name


def test_ms_swift_has_one_tag_for_the_one_file_of_each_row(run, tmp_path):
    export(run, "ms-swift", tmp_path / "out", audio=CLIPS)
    for row in lines(tmp_path / "out"):
        assert row["messages"][0]["content"].count("<audio>") == len(row["audios"]) == 1
        assert row["messages"][0]["content"].startswith("<audio>")
        assert soundfile.info(row["audios"][0]).frames


def test_r1_aqa_has_the_keys_of_its_readme_and_the_loaders_solution(run, kept, tmp_path):
    keys = (
        "id", "video_name", "video_id", "question_text", "multi_choice", "answer", "question_relation",
        "question_type", "dataset_name", "audio_path",
    )  # fmt: skip
    export(run, "r1-aqa", tmp_path / "out", audio=CLIPS)
    for row, record in zip(kept["train"], lines(tmp_path / "out"), strict=True):
        assert tuple(record) == keys
        assert record["dataset_name"] == "AVQA"  # of any other, its loader makes no prompt
        gold = f"<answer>{record['multi_choice'][record['answer']]}</answer>"
        assert gold == solution(row["choices"], row["answer_index"], "r1-aqa")
        assert soundfile.info(record["audio_path"]).frames


def test_mmaus_script_finds_what_it_counts_by_and_credits_every_gold(run, kept, tmp_path):
    export(run, "mmau", tmp_path / "out.json", split="all", audio=CLIPS)
    found = json.loads((tmp_path / "out.json").read_text())
    assert found
    for record in found:
        assert record["task"] in ("sound", "music", "speech")  # any other is a KeyError there
        assert record["difficulty"] in ("easy", "medium", "hard")
        assert string_match(record["answer"], record["answer"], record["choices"])
        assert (CLIPS / record["audio_id"]).is_file()
    keys = (
        "id", "audio_id", "question", "choices", "answer", "dataset", "task", "split", "category", "sub-category",
        "difficulty",
    )  # fmt: skip
    assert {tuple(record) for record in found} == {keys}


def test_mmau_counts_a_mixed_question_under_sound(tmp_path):
    export(made_run(tmp_path / "run", [(1, {"domain": "mixed"})]), "mmau", tmp_path / "out")
    (record,) = json.loads((tmp_path / "out").read_text())
    assert record["task"] == "sound"


def test_nemo_rl_is_audiomcqs_manifest_with_audio_and_input_and_answer_without(run, kept, tmp_path):
    export(run, "nemo-rl", tmp_path / "heard", audio=CLIPS)
    export(run, "nemo-rl", tmp_path / "read")
    keys = ("source_dataset", "id", "question_type", "audio_path", "question", "answer", "choices")
    for row, heard, text in zip(kept["train"], lines(tmp_path / "heard"), lines(tmp_path / "read"), strict=True):
        assert tuple(heard) == keys
        assert (CLIPS / heard["audio_path"]).is_file()
        assert not Path(heard["audio_path"]).is_absolute()
        assert text["input"] == render(row["question"], row["choices"], "r1-aqa")
        assert "audio_path" not in text
        assert heard["answer"] == text["answer"] == row["answer"]


# ── audio put back ───────────────────────────────────────────────────────────────────────────────────────────────────


def clip(source, name, media_id="", start=None, end=None):
    return {"source": source, "clip_id": f"{source}/{name}", "media_id": media_id, "start": start, "end": end}


@pytest.mark.parametrize(
    ("row", "file"),
    [
        (clip("avqa", "-a_b_000030", "-a_b", 30.0, 40.0), "deep/-a_b_30.mp4"),  # unpadded, with a dash and a _
        (clip("other", "17", "xyz", 0.0, 10.0), "xyz_000000.wav"),  # any source that names a YouTube video
        (clip("avqa", "xyz_000001", "xyz", 1.0, 11.0), "audio_missing"),  # another second of it
        (clip("other", "18", "xyz", 0.5, 10.5), "audio_missing"),  # none cuts at half a second
        (clip("folder", "deep/-a_b_30.mp4"), "deep/-a_b_30.mp4"),
        (clip("folder", "two.wav"), "two.wav"),
        (clip("demo", "two"), "two.wav"),  # of two.mp3 and two.wav
        (clip("folder", "two.wav@1-2", start=1.0, end=2.0), "audio_not_cut"),
        (clip("folder", "no.wav@1-2", start=1.0, end=2.0), "audio_missing"),
        (clip("folder", "../outside.wav"), "audio_outside_folder"),
        (clip("folder", "link.wav"), "audio_outside_folder"),
        (clip("folder", ""), "audio_missing"),
    ],
)
def test_the_file_of_a_clip(tmp_path, row, file):
    root = tmp_path / "audio"
    (root / "deep").mkdir(parents=True)
    for name in ("deep/-a_b_30.mp4", "xyz_000000.wav", "two.wav", "two.mp3", "../outside.wav"):
        (root / name).touch()
    (root / "link.wav").symlink_to(tmp_path / "outside.wav")
    found = AudioFolder(root).find(row)
    assert found == (file if file.startswith("audio_") else root.resolve() / file)


@pytest.mark.parametrize(("seconds", "file"), [(10.5, "dQw4w9WgXcQ.wav"), (12.0, "audio_not_cut")])
def test_a_file_named_by_the_video_alone_is_the_clip_unless_it_is_longer(tmp_path, seconds, file):
    soundfile.write(tmp_path / "dQw4w9WgXcQ.wav", [0.0] * int(8000 * seconds), 8000)
    row = clip("vggsound", "dQw4w9WgXcQ_000030", "dQw4w9WgXcQ", 30.0, 40.0)
    found = AudioFolder(tmp_path).find(row)
    assert found == (file if file.startswith("audio_") else tmp_path.resolve() / file)


def test_rows_without_audio_are_left_out_counted_and_listed(tmp_path, monkeypatch, capsys):
    there, cut, missing = clip("folder", "a.wav"), clip("folder", "a.wav@1-2", "", 1.0, 2.0), clip("folder", "b.wav")
    run = made_run(tmp_path / "run", enumerate([there, missing, cut, missing]))
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio/a.wav").touch()
    words = ["export", run, "--format", "ms-swift", "--out", tmp_path / "out", "--audio", tmp_path / "audio", "--json"]
    assert app([str(word) for word in words], standalone_mode=False) == 1
    assert json.loads(capsys.readouterr().out) == {
        "out": str(tmp_path / "out"),
        "format": "ms-swift",
        "split": "train",
        "rows": 1,
        "skipped": {"audio_missing": 2, "audio_not_cut": 1},
        "skipped_list": str(tmp_path / "out.skipped.jsonl"),
    }
    assert [row["audios"] for row in lines(tmp_path / "out")] == [[str((tmp_path / "audio/a.wav").resolve())]]
    assert lines(tmp_path / "out.skipped.jsonl") == [
        {"id": "1", "clip_id": "folder/b.wav", "reason": "audio_missing"},
        {"id": "2", "clip_id": "folder/a.wav@1-2", "reason": "audio_not_cut"},
        {"id": "3", "clip_id": "folder/b.wav", "reason": "audio_missing"},
    ]
    export(run, "ms-swift", tmp_path / "out")  # an earlier list would be about another file
    assert not (tmp_path / "out.skipped.jsonl").exists()


# ── what is wrong is told in one line, and leaves what was there ─────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ({"format": "csv"}, "--format 'csv': unknown: use one of trl, ms-swift, r1-aqa, mmau, nemo-rl"),
        ({"split": "test"}, "--split 'test': use train, validation or all"),
        ({"split": "validation"}, "holds no question in the split validation"),
        ({"prompt": "chatty"}, "--prompt 'chatty': use one of omni-r1, r1-aqa, letters"),
        ({"format": "mmau", "prompt": "letters"}, "mmau writes its own prompt"),
        ({"format": "r1-aqa"}, "add --audio DIR"),
        ({"audio": "audio"}, "--audio audio: the GRPOTrainer of trl 1.16 drops audio"),
        ({"format": "mmau", "audio": "nowhere"}, "--audio nowhere: No such file or directory"),
        ({"format": "mmau", "audio": "empty"}, "--audio empty: no audio file below it"),
        ({"format": "mmau", "audio": "audio"}, "no row has its file there (audio_missing 2: no such file"),
        ({"out": "audio"}, "--out audio: is a folder"),
        ({"out": "nowhere/out"}, "--out nowhere/out: No such file or directory: name a file in a folder"),
        ({"out": f"{'x' * 300}"}, "File name too long"),
        ({"run": "empty"}, "empty: holds no run.json"),
        ({"run": "kept_none", "split": "all"}, "kept_none: holds no question: build more"),
        ({"run": "running"}, "running: the run is not done"),
        ({"run": "broken"}, "cannot be read"),
    ],
)
def test_a_wrong_call(call, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [(n, clip("folder", f"{n}.wav")) for n in range(2)]
    made_run(Path("run"), rows)
    made_run(Path("running"), rows, status="running")
    made_run(Path("kept_none"), [])
    shard = next(made_run(Path("broken"), rows).glob("dataset/data/*"))
    shard.write_bytes(shard.read_bytes()[:-9])
    for folder in ("audio", "empty"):
        Path(folder).mkdir()
    Path("audio/x.wav").touch()
    Path("out").write_text("earlier")
    before = sorted(Path().rglob("*"))
    with pytest.raises(UsageError) as raised:
        export(**{"run": Path("run"), "format": "trl"} | {  # type: ignore[arg-type]
            name: Path(value) if name in ("run", "out", "audio") else value
            for name, value in ({"out": "out"} | call).items()
        })  # fmt: skip
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
    assert sorted(Path().rglob("*")) == before
    assert Path("out").read_text() == "earlier"


def test_a_shard_of_no_rows_stands_beside_full_ones(run, tmp_path):
    data = made_run(tmp_path / "run", []) / "dataset/data"
    table = pq.read_table(next((run / "dataset/data").glob("train-*")))
    pq.write_table(table, data / "train-00001-of-00002.parquet")
    assert export(tmp_path / "run", "mmau", tmp_path / "out")["rows"] == table.num_rows
    assert len(json.loads((tmp_path / "out").read_text())) == table.num_rows
