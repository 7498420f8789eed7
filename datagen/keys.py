"""Keys of servers: from an environment variable or the file that one names, and out of all that is shown or kept."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from datagen.errors import UsageError

__all__ = ["hidden", "key_of"]

LEAST = 8
"""Characters from which a key is no word that an answer may hold by chance (such as `EMPTY`, for servers of one's own).
"""
LONGEST = 10_000
"""Characters of a key; more is another file than was meant."""
HIDDEN = b"***"


def key_of(name: str) -> str:
    """The key in `$NAME`, else in the file that `$NAME_FILE` names; "" where neither is set. Raises UsageError."""
    text, file = os.environ.get(name, ""), os.environ.get(f"{name}_FILE")
    if not text and file:
        try:
            with Path(file).open(encoding="utf-8-sig") as stream:
                text = stream.read(LONGEST + 1)
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "is no text"
            raise UsageError(f"${name}_FILE {file}: {why}: name a file that holds the key and nothing else") from None
        name = f"{name}_FILE"
        if not text.strip() or len(text) > LONGEST:
            raise UsageError(f"${name} {file}: holds no key: name a file that holds the key and nothing else")
    if not re.fullmatch(r"[!-~]*", text.strip()):
        raise UsageError(f"${name} holds characters that no key has (spaces, line breaks, no ASCII): set it again")
    return text.strip()


def hidden(body: bytes, secrets: Iterable[str], *, least: int = LEAST) -> bytes:
    """`body` without those of `secrets` that have `least` characters or more: servers repeat what they were sent."""
    for secret in secrets:
        if len(secret) >= least and secret.encode() in body:
            body = body.replace(secret.encode(), HIDDEN)
    return body
