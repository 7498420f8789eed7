"""Grounding: the captions speak of the answer, and of no wrong choice as much.

Lexical and cheap: content words, lightly stemmed, so that "barks twice" speaks of "2 barking dogs"; in scripts without
spaces pairs of characters. What a caption denies ("there is no speech") counts as denied. Whether an answer *follows*
from the captions is for a reader to say (`consistency`).

Numbers count as words, whether digits or spelled: a number that no caption names is not supported, which is how counts
that a writer made up are found. Answers without content words ("Yes", "the first one") cannot be judged and are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from datagen.language import UNSPACED

if TYPE_CHECKING:
    import polars as pl

    from datagen.plugins import Context

__all__ = ["SUPPORT", "Grounded", "support"]

SUPPORT = 0.5
"""Least share of the answer's words that one caption holds; also the share from which a wrong choice is supported."""
INFERRED = frozenset({"cause", "function"})
"""Skills whose answers are concluded, so that no caption need say them; they are scored and not dropped for it."""
RELATED = frozenset({"order", "counting", "comparison", "change", "time"})
"""Skills that put things in relation which may all be heard, so that wrong choices may be supported."""
RELATING = re.compile(
    r"\b(?:first|last|before|after|next|finally|follow(?:s|ed|ing)?|order|sequence|between|than|while|during"
    r"|at the (?:beginning|start|end)|how (?:many|often|much)|most(?! likely| probabl)|least"
    r"|(?:loud|quiet|soft|high|low|fast|slow|long|short|bright|dark|dull|near|clos)est)\b"
)
"""English words of questions that do so, whatever their skill is called."""

NEGATION = re.compile(r"no|not|without|never|neither|nor|none|\w+n't|kein\w*|nicht|ohne|sans|sin")
CLAUSE_ENDS = frozenset(".,;:!?。，；！？") | {"but"}
CONTENTLESS = frozenset(".")
WORD = re.compile(r"\w+(?:'\w+)?|[.,;:!?。，；！？]")
STOP = frozenset(
    {
        *(
            "a",
            "an",
            "the",
            "of",
            "in",
            "on",
            "at",
            "to",
            "and",
            "or",
            "with",
            "by",
            "for",
            "from",
            "as",
            "into",
            "then",
        ),
        *(
            "is",
            "are",
            "was",
            "were",
            "be",
            "been",
            "being",
            "it",
            "its",
            "this",
            "that",
            "these",
            "those",
            "there",
            "but",
        ),
        *("some", "someone", "something", "who", "which", "what", "both", "either", "only", "very", "yes"),
        *("first", "second", "third", "last"),
        *("hear", "hears", "heard", "hearing", "sound", "sounds", "sounding", "audio", "recording", "clip"),
    }
)
"""English words without content here, and those that any caption may hold."""
COUNTED = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
NUMBERS = {word: str(number) for number, word in enumerate(COUNTED)} | {
    "once": "1", "single": "1", "twice": "2", "pair": "2", "couple": "2", "thrice": "3",
}  # fmt: skip
SPACELESS = re.compile(f"[{UNSPACED}\uac00-\ud7a3]")
"""Hangul too: its particles stand at the end of words."""


class Grounded:
    """Whether a caption supports the answer, and none of the wrong choices as well.

    Reasons: answer_unsupported (less than SUPPORT), distractor_supported (SUPPORT and more, and as much as the answer;
    not where the question puts sounds in relation that may all be heard). Score: the share of the answer's own words
    that the best caption holds; null where it has none. Questions of the rules are measured (kept, 1.0); human ones
    were not written from captions (kept, null).
    """

    def __init__(self, context: Context) -> None: ...

    def judge(self, table: pl.DataFrame) -> pl.DataFrame:
        """See `datagen.filters.Filter`. Works through the table in slices, so that it is never whole in Python."""
        import polars as pl

        columns = ("question", "choices", "answer_index", "skill", "generator", "captions")
        found: list[tuple[str, float | None]] = []
        for part in table.select(columns).iter_slices(10_000):
            found += (_judge(*row) for row in part.iter_rows())
        return pl.DataFrame(
            {
                "question_id": table["id"],
                "keep": [not reason for reason, _ in found],
                "reason": [reason for reason, _ in found],
                "score": [score for _, score in found],
            },
            schema={"question_id": pl.String, "keep": pl.Boolean, "reason": pl.String, "score": pl.Float64},
        )


def _judge(
    question: str, choices: Sequence[str], answer: int, skill: str, generator: str, captions: Sequence[str]
) -> tuple[str, float | None]:
    """(reason or '', score)"""
    if generator in ("rules", "human"):
        return "", 1.0 if generator == "rules" else None
    shares = support(choices, captions)
    score = shares[answer]
    if score is None:
        return "", None
    if score < SUPPORT and skill not in INFERRED:
        return "answer_unsupported", score
    if skill in RELATED or RELATING.search(question.casefold()):
        return "", score
    best = max((share or 0.0 for index, share in enumerate(shares) if index != answer), default=0.0)
    return "distractor_supported" if best >= max(SUPPORT, score) else "", score


def support(choices: Sequence[str], captions: Sequence[str]) -> list[float | None]:
    """For each choice the greatest share of its words that one caption holds, None for a choice without content words.

    Words that stand in every choice tell nothing apart and do not count, unless a choice has no others.
    """
    words = [_words(choice) for choice in choices]
    common = set.intersection(*words)
    held = _held(tuple(captions))
    return [_share(own - common or own, held) for own in words]


def _share(words: set[str], held: Sequence[frozenset[str]]) -> float | None:
    return max([len(words & caption) for caption in held], default=0) / len(words) if words else None


@lru_cache(maxsize=64)
def _held(captions: tuple[str, ...]) -> tuple[frozenset[str], ...]:
    """The words of each caption; the questions of a clip follow each other, so this is asked for again at once."""
    return tuple(frozenset(_words(caption, parts=True)) for caption in captions)


def _words(text: str, *, parts: bool = False) -> set[str]:
    """The content words of `text`, those denied (up to the end of the clause) with a "!" before them.

    Of scripts without spaces the pairs of characters, and with `parts` also the single ones.
    """
    tokens = WORD.findall(text.casefold().replace("’", "'"))
    stems = [_stem(token) for token in tokens]
    if "!" not in stems and "" not in stems:
        return set(filter(None, stems)) - CONTENTLESS
    words: set[str] = set()
    denied = ""
    for token, stem in zip(tokens, stems, strict=True):
        if stem in ("!", "."):
            denied = "!" if stem == "!" else ""
        elif stem is not None:
            words.update(denied + piece for piece in ([stem] if stem else _pieces(token, parts)))
    return words


@lru_cache(maxsize=2**16)
def _stem(token: str) -> str | None:
    """A word without its English ending.

    None for what has no content, "" for what is taken apart, "!" for what denies, "." for the end of a clause.
    """
    if token in CLAUSE_ENDS:
        return "."
    if NEGATION.fullmatch(token):
        return "!"
    if token in STOP:
        return None
    token = token.partition("'")[0]
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


def _pieces(run: str, parts: bool) -> Iterable[str]:
    if len(run) == 1:
        return [run]
    pairs = [run[i : i + 2] for i in range(len(run) - 1)]
    return [*pairs, *run] if parts else pairs
