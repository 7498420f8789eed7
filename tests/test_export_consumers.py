"""The programs that exports are for, on real exports. Each wants its own versions, so they run where they are named:

    MS_SWIFT_PYTHON=PYTHON CONSUMERS=FOLDER pytest -m slow tests/test_export_consumers.py

PYTHON has ms-swift, and for the clones torchaudio, soundfile and ray; FOLDER holds clones of github.com/Sakshi113/MMAU,
github.com/xiaomi-research/r1-aqa and github.com/NVIDIA-NeMo/RL under these names (MMAU, r1-aqa, RL).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from datagen.build import Config, build
from datagen.export import export
from datagen.multiple_choice import render, solution
from datagen.sources.demo import CLIPS

PYTHON = os.environ.get("MS_SWIFT_PYTHON", "")
CONSUMERS = Path(os.environ.get("CONSUMERS", "nowhere"))
pytestmark = pytest.mark.slow


def clone(name):
    return pytest.mark.skipif(not (PYTHON and (CONSUMERS / name).is_dir()), reason=f"no CONSUMERS/{name}")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("consumers") / "run"
    assert build(Config(source="demo", out=folder, limit=24, split=0.3))["kept"] > 10
    return folder


@pytest.fixture(scope="module")
def kept(run):
    return pl.read_parquet(run / "dataset/data/train-*.parquet").to_dicts()


def outcome(code, *words, cwd, python=PYTHON):
    """The JSON on the last line that `code` prints, run as the consumer's own program."""
    environment = {**os.environ, "PYTHONPATH": "", "HF_HOME": f"{cwd}/home", "MODELSCOPE_CACHE": str(cwd)}
    done = subprocess.run(
        [python, "-c", code, *map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().split("\n")[-1])


MS_SWIFT = """
import json, sys
from swift.dataset import load_dataset
dataset, _ = load_dataset([sys.argv[1]], num_proc=1, remove_unused_columns=False)
print("\\n" + json.dumps(list(dataset)))
"""


@pytest.mark.skipif(not PYTHON, reason="MS_SWIFT_PYTHON names no python that has ms-swift")
@pytest.mark.parametrize("audio", [None, CLIPS])
def test_ms_swifts_own_preprocessor_keeps_messages_audios_and_what_the_reward_needs(run, tmp_path, audio):
    export(run, "ms-swift", tmp_path / "train.jsonl", audio=audio)
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_bytes().split(b"\n")[:-1]]
    for found, row in zip(outcome(MS_SWIFT, tmp_path / "train.jsonl", cwd=tmp_path), rows, strict=True):
        assert found.get("audios") == row.get("audios")
        for name in ("messages", "solution", "choices", "answer_index"):
            assert found[name] == row[name]


R1_AQA = """
import json, sys
sys.path.insert(0, sys.argv[1])
import soundfile, torch, torchaudio
def load(path):  # torchaudio's own needs the libraries of FFmpeg
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return torch.from_numpy(samples.T), rate
torchaudio.load = load
from dataset.dataset import AudioDataset
rows = [row | {"audio": len(row["audio"])} for row in AudioDataset(sys.argv[2])]
print("\\n" + json.dumps(rows))
"""


@clone("r1-aqa")
def test_r1_aqas_own_loader_makes_our_prompt_and_our_solution(run, kept, tmp_path):
    export(run, "r1-aqa", tmp_path / "train.jsonl", audio=CLIPS)
    found = outcome(R1_AQA, (CONSUMERS / "r1-aqa/src").resolve(), tmp_path / "train.jsonl", cwd=tmp_path)
    for loaded, row in zip(found, kept, strict=True):
        assert loaded["prompt"][0]["content"][1]["text"] == render(row["question"], row["choices"], "r1-aqa")
        assert loaded["solution"] == solution(row["choices"], row["answer_index"], "r1-aqa")
        assert loaded["audio"] > 0


NEMO_RL = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from nemo_rl.data.datasets import load_response_dataset
from nemo_rl.data.datasets.response_datasets import audiomcq
folder = Path(sys.argv[2])
audiomcq._resolve_snapshot_root = lambda: str(folder)
asked = {"dataset_name": "audiomcq", "split": "train", "processor": "vlm_hf_data_processor"}
heard = load_response_dataset(asked)
rows = [heard.preprocessor(row) for row in heard.dataset]
for row in rows:
    row["messages"][0]["content"][0]["audio"] = len(row["messages"][0]["content"][0]["audio"])
asked = {"dataset_name": "ResponseDataset", "split": "train", "processor": "math_hf_data_processor",
         "data_path": str(folder / "text.jsonl"), "input_key": "input", "output_key": "answer"}
print("\\n" + json.dumps({"heard": rows, "text": list(load_response_dataset(asked).dataset)}))
"""


@clone("RL")
def test_nemo_rls_own_datasets_make_our_prompt_and_our_answer(run, kept, tmp_path):
    for file in CLIPS.glob("*.flac"):
        (tmp_path / file.name).symlink_to(file)
    export(run, "nemo-rl", tmp_path / "data.jsonl", audio=CLIPS)
    export(run, "nemo-rl", tmp_path / "text.jsonl")
    found = outcome(NEMO_RL, (CONSUMERS / "RL").resolve(), tmp_path, cwd=tmp_path)
    expected = [(render(row["question"], row["choices"], "r1-aqa"), row["answer"]) for row in kept]
    text = [tuple(message["content"] for message in row["messages"]) for row in found["text"]]
    heard = [(row["messages"][0]["content"][1]["text"], row["messages"][1]["content"]) for row in found["heard"]]
    assert text == expected
    assert sorted(heard) == sorted(expected)  # shuffled
    assert all(row["messages"][0]["content"][0]["audio"] > 0 for row in found["heard"])


@clone("MMAU")
def test_mmaus_own_script_credits_every_gold(run, kept, tmp_path):
    export(run, "mmau", tmp_path / "out.json", audio=CLIPS)
    rows = json.loads((tmp_path / "out.json").read_text())
    (tmp_path / "predicted.json").write_text(json.dumps([row | {"model_output": row["answer"]} for row in rows]))
    done = subprocess.run(
        [sys.executable, CONSUMERS / "MMAU/evaluation.py", "--input", tmp_path / "predicted.json"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert f"Total Accuracy: 100.00% over {len(kept)} samples" in done.stdout, done.stderr
