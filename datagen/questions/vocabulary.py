"""What the labels of a clip say of its domain, and which other labels may stand beside one as a wrong choice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datagen.plugins import Context

__all__ = ["distractors", "domain", "is_speech"]


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


SPEECH = _set(
    """speech speaking speaker talking talk voice conversation narration monologue dialogue whispering speaks says"""
)
MUSIC = _set(
    """music musical song singing choir guitar piano drum drums tabla synthesizer organ violin cello harp flute trumpet
    saxophone trombone clarinet accordion banjo mandolin ukulele sitar keyboard orchestra bass cymbal hat snare tom
    cowbell xylophone marimba vibraphone glockenspiel timpani tambourine maraca harmonica bagpipes didgeridoo zither
    rapping yodeling beatboxing melody chord"""
)
GENERAL = _set(
    """sound noise silence audio other background inside outside animal human people person music speech voice vehicle
    object thing environment ambient mechanism machine machinery"""
)
"""Labels of these words alone are likely true of any recording, so they never stand as a wrong choice."""
CONFUSABLE = (
    _set("synthesizer organ beep drone keyboard piano accordion tone electronic hum harmonica synth glass"),
    _set("cymbal hat crash tambourine maraca shaker"),
    _set("drum tabla snare tom bass percussion beat timpani roll"),
    _set(
        "bell chime glass cowbell gong xylophone glockenspiel marimba vibraphone jingle ding cash register till clink"
    ),
    _set("whoosh swish wind hiss static noise rain water stream river waterfall ocean wave air blowing spray fire"),
    _set("guitar banjo ukulele mandolin sitar harp zither lute string plucked bass"),
    _set("violin cello viola fiddle string orchestra bowed"),
    _set("flute clarinet oboe saxophone trumpet trombone tuba horn brass woodwind bagpipe whistle whistling"),
    _set(
        """car truck bus engine motor motorcycle traffic vehicle driving race tractor lawn mower chainsaw aircraft
        airplane helicopter boat train"""
    ),
    _set(
        """speech speaking talking voice conversation narration man woman male female child singing choir crowd laughter
        shouting crying"""
    ),
    _set("dog bark barking howl growl wolf fox coyote whimper"),
    _set("cat meow purr caterwaul"),
    _set("bird chirp tweet crow caw pigeon dove owl rooster chicken hen duck goose turkey parrot sparrow gull"),
    _set("snap clap click tap knock finger hand applause crack"),
    _set("burp hiccup cough sneeze snore snoring breathing gasp"),
    _set("gun gunshot explosion firework firecracker boom thunder bang"),
    _set("siren alarm horn buzzer ambulance police beep ringtone"),
    _set("scratch record vinyl scraping rewind backspin turntable"),
    _set("cow sheep goat pig horse cattle donkey moo bleat"),
    _set("insect cricket bee fly mosquito cicada buzz frog"),
)
"""Words, singular, of sources that are easily taken for each other."""
COMMON = 0.1
"""A label that more of the clips than this have may well be heard, unlabelled, in others too."""


def _words(label: str) -> frozenset[str]:
    """Lower-case words, singular."""
    found = re.findall(r"[^\W_]+", label.casefold())
    return frozenset(w[:-1] if len(w) > 3 and w.endswith("s") and not w.endswith("ss") else w for w in found)


def domain(labels: Sequence[str]) -> str:
    """speech, music or mixed where the labels say so, else sound."""
    kinds = {"speech" if _words(x) & SPEECH else "music" if _words(x) & MUSIC else "sound" for x in labels}
    return kinds.pop() if len(kinds) == 1 else "mixed" if kinds else "sound"


def is_speech(labels: Sequence[str]) -> bool:
    """Whether somebody speaks: words are no separate sounds."""
    return any(_words(label) & SPEECH for label in labels)


def distractors(answer: str, labels: Sequence[str], context: Context, rng: Random) -> tuple[str, ...]:
    """Three labels of other clips that are neither like one of this clip nor like each other; () when there are none.

    Never a general label, one that is common in the corpus, or one that stands beside `answer` on some clip: these may
    well be heard here, unlabelled.
    """
    common = max(3.0, COMMON * sum(context.vocabulary.values()))
    beside = context.together.get(answer, frozenset())
    taken, chosen = list(labels), list[str]()
    for label in sorted(context.vocabulary, key=lambda label: (rng.random(), label)):
        unfit = context.vocabulary[label] > common or label in beside or _words(label) <= GENERAL
        if unfit or len(label) > max(12, 2 * len(answer)) or any(_alike(label, other) for other in taken):
            continue
        chosen.append(label)
        taken.append(label)
        if len(chosen) == 3:
            return tuple(chosen)
    return ()


def _alike(a: str, b: str) -> bool:
    """Whether one could pass for the other: a word in common, one inside the other, or a group of the like."""
    x, y = _words(a), _words(b)
    if x & y or a.casefold() in b.casefold() or b.casefold() in a.casefold():
        return True
    return any(x & group and y & group for group in CONFUSABLE)
