"""The words of a text that carry its content, lightly stemmed, so that "barks twice" and "2 barking dogs" share theirs.

Endings are English; other languages keep their words whole, and scripts without spaces are taken in pairs
of characters. What is denied ("there is no speech") counts as denied.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from datagen.filters.wordlists import NEGATION, NUMBERS, STOP
from datagen.language import UNSPACED

__all__ = ["STEMS", "content"]

DENIES = re.compile("|".join(NEGATION.values()))
CLAUSE_ENDS = frozenset(".,;:!?。，；！？") | {"but"}
EMPTY = frozenset(word for words in STOP.values() for word in words.split())
NOTHING = frozenset({None, "."})
WORD = re.compile(r"\w+(?:'\w+)?|[.,;:!?。，；！？]")
SPACELESS = re.compile(f"[{UNSPACED}\uac00-\ud7a3]")
"""Hangul too: its particles stand at the end of words."""


@lru_cache(maxsize=2**17)
def content(text: str, parts: bool = False) -> frozenset[str]:
    """The content words of `text`, those denied (up to the end of the clause) with a "!" before them.

    Of scripts without spaces the pairs of characters, and with `parts` also the single ones.
    """
    tokens = WORD.findall(text.casefold().replace("’", "'"))
    found = set(map(STEMS.__getitem__, tokens))
    if "!" not in found and "" not in found:
        return frozenset(found - NOTHING)  # type: ignore[arg-type]
    words: set[str] = set()
    denied = ""
    for token in tokens:
        stem = STEMS[token]
        if stem in ("!", "."):
            denied = "!" if stem == "!" else ""
        elif stem is not None:
            words.update(denied + piece for piece in ([stem] if stem else _pieces(token, parts)))
    return frozenset(words)


def _stem(token: str) -> str | None:
    """A word without its English ending.

    None for what has no content, "" for what is taken apart, "!" for what denies, "." for the end of a clause.
    """
    if token in CLAUSE_ENDS:
        return "."
    if DENIES.fullmatch(token):
        return "!"
    if token in EMPTY:
        return None
    token = token.partition("'")[0] or token
    if token in NUMBERS or token.isdigit():
        return NUMBERS.get(token, token.lstrip("0") or "0")
    if SPACELESS.search(token):
        return ""
    for ending in ("ing", "ed", "ly", "es", "s"):
        if token.endswith(ending) and len(token) - len(ending) >= 3:
            token = token.removesuffix(ending)
            break
    if len(token) > 3 and token[-1] == token[-2]:  # running, pass
        token = token[:-1]
    if len(token) > 3 and token[-1] == "e":  # bake, baking
        token = token[:-1]
    return token[:-1] + "i" if token[-1] == "y" else token


class _Stems(dict[str, str | None]):
    """Word → stem; emptied when it has grown past a million words."""

    def __missing__(self, token: str) -> str | None:
        if len(self) > 2**20:
            self.clear()
        self[token] = stem = _stem(token)
        return stem


STEMS = _Stems()


def _pieces(run: str, parts: bool) -> Iterable[str]:
    if len(run) == 1:
        return [run]
    pairs = [run[i : i + 2] for i in range(len(run) - 1)]
    return [*pairs, *run] if parts else pairs
