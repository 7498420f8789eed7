"""Which published recording is this? Names of YouTube and Freesound recordings in ids, addresses and names of files.

    https://www.youtube.com/watch?v=-HG3Omg_89c   youtu.be/…   /shorts/…   /embed/…          youtube:-HG3Omg_89c
    -HG3Omg_89c   -HG3Omg_89c_000030   Y-HG3Omg_89c.wav   qx8hrhBZJ98_00-01-32_00-02-02     (AVQA, VGGSound, AudioCaps,
                                                                                              AudioSet, MMAR)
    freesound.org/s/123   freesound.org/people/x/sounds/123   123__user__name.wav             freesound:123
    1-100032-A-0.wav (ESC-50)   100032-3-0-0.wav (UrbanSound8K)
    BV1AeZzYTEKq in an address of bilibili                                                    bilibili:BV1AeZzYTEKq

A name of eleven characters may be a word: where it does not stand in a field for media ids it counts as YouTube's only
when it does not read as words, and ends in a character that the 64-bit number behind an id can have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

__all__ = ["media_ids"]

ADDRESSES = (
    (
        "youtube",
        re.compile(r"(?:youtu\.be/|youtube(?:-nocookie)?\.com/\S*?(?:[?&]v=|shorts/|embed/|live/))([\w-]{11})"),
    ),
    ("freesound", re.compile(r"freesound\.org/(?:people/[^/\s]+/sounds|s|data/previews/\d+)/(\d+)")),
    ("bilibili", re.compile(r"bilibili\.com/\S*?(BV\w{10})")),
)
FREESOUND = re.compile(r"(\d+)__[^_].*__.*|[1-5]-(\d+)-[A-Z]-\d+|(\d{2,7})-\d-\d+-\d+")
"""Freesound's own downloads, ESC-50, UrbanSound8K: whole names without their ending."""
YOUTUBE = re.compile(r"Y?([A-Za-z0-9_-]{10}[AEIMQUYcgkosw048])(?:_[\d.:-]+)*", re.ASCII)
WORDS = re.compile(r"[A-Za-z]?[a-z]*(?:[_-][A-Za-z]?[a-z]*)*[_-]?\d*|[^a-z]*")
"""What reads as words and a number, or has no small letter: `Recording_4`, `hello-world`, `20240131104`."""
ENDING = re.compile(r"(?:\.(?:wav|flac|mp3|ogg|opus|m4a|aac|mp4|mkv|webm))+$", re.IGNORECASE)


def media_ids(names: Iterable[str], *, known: bool = False) -> Iterator[str]:
    """`kind:id` of every recording that the names of one thing tell of.

    `known`: they come from a field that holds media ids, so that eleven characters are YouTube's and digits are
    Freesound's; what is neither stands for itself, as `id:…`.
    """
    for name in names:
        addressed = [f"{kind}:{found[1]}" for kind, pattern in ADDRESSES if (found := pattern.search(name))]
        if addressed:
            yield from addressed
            continue
        stem = ENDING.sub("", name.strip().rpartition("/")[2])
        if found := FREESOUND.fullmatch(stem):
            yield f"freesound:{found[found.lastindex or 0]}"
        elif known and stem.isdecimal():
            yield f"freesound:{int(stem)}"
        elif (found := YOUTUBE.fullmatch(stem)) and (known or not WORDS.fullmatch(found[1])):
            yield f"youtube:{found[1]}"
        elif known and stem:
            yield f"id:{stem}"
