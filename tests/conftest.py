from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from model_server import ModelServer


@pytest.fixture
def serve() -> Iterator[Callable[..., ModelServer]]:
    """`serve(**options) -> ModelServer`: a loopback model server that ends with the test."""
    with ExitStack() as stack:

        def start(*args: Any, **options: Any) -> ModelServer:
            return stack.enter_context(ModelServer(*args, **options))

        yield start
