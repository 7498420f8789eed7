"""What Ctrl-C and SIGTERM do while a block runs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["heeding"]


@contextmanager
def heeding(handler: Callable[[int, FrameType | None], object], *, once: bool = False) -> Iterator[None]:
    """Ctrl-C and SIGTERM call `handler` in the block, only the first of them where it is `once`; then what they did
    before is in force again.

    What is ignored stays so, as `nohup` and a shell's `&` want it. Outside the main thread, which alone may say what
    signals do, nothing changes.
    """
    main = threading.current_thread() is threading.main_thread()
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM) if main}
    before = {name: earlier for name, earlier in before.items() if earlier is not signal.SIG_IGN}

    def put_back() -> None:
        for name, earlier in before.items():
            signal.signal(name, earlier)

    def act(number: int, frame: FrameType | None) -> None:
        if once:
            put_back()
        handler(number, frame)

    try:
        for name in before:
            signal.signal(name, act)
        yield
    finally:
        put_back()
