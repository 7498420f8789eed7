"""Which choice is right by what was built, for `facts.py`: from the scene alone, never from a measured fact."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scenes import RATE, Placed, Scene, Signal

from datagen.records import Question


def envelope(signal: Signal) -> np.ndarray:
    """RMS of 10 ms."""
    whole = len(signal) // 160 * 160
    return np.sqrt((signal[:whole].reshape(-1, 160).astype(float) ** 2).mean(axis=1)) if whole else np.zeros(1)


def begin(p: Placed) -> float:
    """When it is within 20 dB of its peak for the first time."""
    size = np.abs(p.signal)
    return p.time + float(np.argmax(size > 0.1 * size.max())) / RATE


def length(p: Placed) -> float:
    """s within 25 dB of its loudest 10 ms."""
    e = envelope(p.signal)
    loud = np.flatnonzero(e > 10 ** (-25 / 20) * e.max())
    return float(loud[-1] - loud[0] + 1) / 100


def spectrum(signal: Signal) -> tuple[np.ndarray, np.ndarray]:
    return np.fft.rfftfreq(len(signal), 1 / RATE), np.abs(np.fft.rfft(signal)) ** 2


def centroid(signal: Signal) -> float:
    f, power = spectrum(signal)
    return float((f * power)[f > 50].sum() / power[f > 50].sum())


def level(signal: Signal, weighted: bool) -> float:
    """dB of the loudest 50 ms, A-weighted if wanted."""
    f, spectral = np.fft.rfftfreq(len(signal), 1 / RATE), np.fft.rfft(signal)
    if weighted:
        g = f**2
        spectral = spectral * (
            12194**2 * g**2 / ((g + 20.6**2) * np.sqrt((g + 107.7**2) * (g + 737.9**2)) * (g + 12194**2))
        )
    squared = np.fft.irfft(spectral, len(signal)) ** 2
    mean = np.convolve(squared, np.ones(800) / 800, "same") if len(squared) > 800 else squared
    return float(10 * np.log10(mean.max() + 1e-12))


NUMBER = {
    w: i
    for i, w in enumerate(
        [
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
        ],
        1,
    )
}
ORDINAL = {w: i for i, w in enumerate(("first", "second", "third", "fourth", "fifth"))}
Right = set[str] | None
"""The choices that are right; None when it is not known. No choice may be right."""


def nearest(question: Question, truth: float | None, ratio: bool = True) -> Right:
    """The choice whose number is nearest to the truth, when it is not worlds away."""
    if truth is None:
        return None
    numbers = {c: float(next(w for w in c.split() if w.replace(".", "").isdigit())) for c in question.choices}
    far = (lambda x: abs(math.log(max(x, 0.05) / max(truth, 0.05)))) if ratio else (lambda x: abs(x - truth))
    return {min(numbers, key=lambda c: far(numbers[c]))}


def numbered(question: Question, index: int) -> Right:
    word = list(ORDINAL)[index]
    return {c for c in question.choices if word in c}


def by_words(question: Question, word: str | None, table: dict[str, str]) -> Right:
    """The choice that says what the builder's word means."""
    return None if word is None else {c for c in question.choices if c == table[word]}


def values(scene: Scene, key: str) -> list[float] | None:
    """What the sounds measure by themselves, before the mix; None when it is not known."""
    if key in scene.truth and scene.truth[key] is None:
        return None
    if key == "f0":
        known = [p.f0 for p in scene.placed]
        return None if None in known else [f for f in known if f]
    if key == "level":
        return [level(p.signal, False) for p in scene.placed] if scene.truth.get("levels", 0) is not None else None
    if key == "weighted":
        return [level(p.signal, True) for p in scene.placed]
    if key == "brightness":
        return [centroid(p.signal) for p in scene.placed]
    return [length(p) for p in scene.placed]


def compared(question: Question, scene: Scene, key: str, same: Callable[[float, float], bool]) -> Right:
    """For two sounds: which has more, or neither. No choice is right when there are not two."""
    known = values(scene, key)
    if known is None:
        return None
    if len(known) != 2:
        return set()
    if same(*known):
        return {c for c in question.choices if "both" in c}
    best = int(known[1] > known[0])
    if key == "level":
        other = values(scene, "weighted")
        if other and (other[1] > other[0]) != bool(best):
            return None
    return numbered(question, best)


def most(question: Question, scene: Scene, key: str) -> Right:
    known = values(scene, key)
    if known is None:
        return None
    best = int(np.argmax(known))
    if key == "level" and int(np.argmax(values(scene, "weighted") or [])) != best:
        return None
    return numbered(question, best) if best < 5 else set()


def ordered(question: Question, scene: Scene, key: str, words: dict[int, tuple[str, ...]]) -> Right:
    known = values(scene, key)
    if known is None:
        return None
    if len(known) not in words:
        return set()
    if key == "level" and np.any(np.argsort(known) != np.argsort(values(scene, "weighted") or [])):
        return None
    ranks = np.argsort(np.argsort(known))
    return {", then ".join(words[len(known)][r] for r in ranks)}


def lengths(question: Question, scene: Scene) -> Right:
    known = values(scene, "length") or []
    if len(known) != 2 or scene.room:
        return None if scene.room else set()
    ratio = known[1] / known[0]
    if 1 / 1.15 < ratio < 1.15:
        return {"two sounds of the same length"}
    if 1 / 1.4 < ratio < 1.4:
        return None
    return {"a short sound, then a long one" if ratio > 1 else "a long sound, then a short one"}


def gaps(scene: Scene) -> list[float]:
    """s between the end of a sound and the begin of the next, as built."""
    return [b.time - a.time - len(a.signal) / RATE for a, b in zip(scene.placed[:-1], scene.placed[1:], strict=True)]


def quiet(scene: Scene) -> np.ndarray | None:
    """Which 10 ms are silent; None when there is noise or a room."""
    if scene.snr is not None or scene.room or scene.name == "hissing":
        return None
    power = sum(envelope(c) ** 2 for c in scene.channels)
    return np.asarray(power < 1e-6)


def silent_edges(question: Question, scene: Scene) -> Right:
    mask = quiet(scene)
    if mask is None:
        return None if scene.room else {"neither at the beginning nor at the end"} if scene.snr is not None else None
    lead, tail = (int(np.argmin(m)) > 10 for m in (mask, mask[::-1]))
    return {
        {
            (True, True): "at the beginning and at the end",
            (True, False): "only at the beginning",
            (False, True): "only at the end",
            (False, False): "neither at the beginning nor at the end",
        }[lead, tail]
    }


def silent_share(question: Question, scene: Scene) -> Right:
    mask = quiet(scene)
    if mask is None and (scene.room or scene.snr is None):
        return None
    share = 0.0 if mask is None else float(mask.mean())
    table = {
        0.0: "almost none of it",
        0.25: "about a quarter of it",
        0.5: "about half of it",
        0.75: "about three quarters",
    }
    return {table[min(table, key=lambda s: abs(s - share))]}


def longest_pause(question: Question, scene: Scene) -> Right:
    mask = quiet(scene)
    if mask is None:
        return None
    inner = "".join("#" if m else " " for m in mask).strip("#").split()
    return nearest(question, max((len(run) for run in inner), default=0) / 100)


def loudest_part(question: Question, scene: Scene) -> Right:
    """From the sounds as built; unknown in a moving pan or when two thirds differ by less than 1 dB."""
    clean = np.zeros(scene.channels.shape[1] + RATE)
    for p in scene.placed:
        clean[round(p.time * RATE) : round(p.time * RATE) + len(p.signal)] += p.signal
    power = np.convolve(envelope(clean[: scene.channels.shape[1]]) ** 2, np.ones(20) / 20, "same")
    thirds = [10 * math.log10(part.max() + 1e-12) for part in np.array_split(power, 3)]
    ranked = sorted(thirds)
    if scene.name == "crossing" or ranked[2] - ranked[1] < 1:
        return None
    return {("in the first third", "in the middle third", "in the last third")[int(np.argmax(thirds))]}


def energy(question: Question, scene: Scene) -> Right:
    """From the sounds as built, together."""
    total = np.zeros(3)
    for p in scene.placed:
        f, power = spectrum(p.signal)
        total += [power[(f > 50) & (f < 500)].sum(), power[(f >= 500) & (f < 2000)].sum(), power[f >= 2000].sum()]
    words = ("low range", "middle range", "high range")
    return {c for c in question.choices if words[int(total.argmax())] in c}


def sides(question: Question, scene: Scene) -> Right:
    if scene.name == "crossing":
        return None
    return {", then ".join("on the right" if p.side > 0 else "on the left" for p in scene.placed)}


def distinct(scene: Scene) -> list[Placed]:
    """The sounds that begin at different times, in order; of those that begin together the first."""
    known: list[Placed] = []
    for p in scene.placed:
        if not known or p.time - known[-1].time > 0.02:
            known.append(p)
    return known


def loudness(question: Question, scene: Scene) -> Right:
    """As the builder says; else from the levels of three or more sounds, or from the envelope of a single one."""
    if "loudness" in scene.truth or scene.name == "overlapping":
        return by_words(question, scene.truth.get("loudness"), LOUDNESS)
    levels = values(scene, "level")
    if levels is None or len(levels) == 2:
        return None
    if len(levels) == 1:
        e = 20 * np.log10(envelope(scene.placed[0].signal) + 1e-9)
        levels = [float(part.mean()) for part in np.array_split(e[e > e.max() - 25], 4)]
    moves = np.diff(levels)
    word = (
        "steady" if np.ptp(levels) < 2 else "growing" if np.all(moves > 0) else "fading" if np.all(moves < 0) else None
    )
    return by_words(question, word, LOUDNESS)


POSITION = {
    "left": "it stays on the left",
    "right": "it stays on the right",
    "left to right": "it moves from left to right",
    "right to left": "it moves from right to left",
}
PITCH = {
    "rising": "it goes up",
    "falling": "it goes down",
    "steady": "it stays about the same",
    "arched": "it goes up, then down",
}
LOUDNESS = {
    "growing": "it gets louder",
    "fading": "it gets softer",
    "steady": "it stays about the same",
    "swelling": "it gets louder, then softer",
}
SPACING = {"even": "at an even pace", "quickening": "faster and faster", "slowing": "more and more slowly"}
CHARACTER = {"noise": "a steady noise without pitch", "tone": "a tone with a clear pitch"}


def onset(question: Question, scene: Scene, index: int) -> Right:
    known = distinct(scene)
    return nearest(question, begin(known[index]), ratio=False)


def tempo(question: Question, scene: Scene) -> Right:
    return nearest(question, scene.truth.get("tempo"))


def pauses_place(question: Question, scene: Scene) -> Right:
    known = gaps(scene)
    if not known:
        return set()
    ordinals = list(ORDINAL)
    best = int(np.argmax(known))
    return {f"between the {ordinals[best]} and the {ordinals[best + 1]}"} if best < 4 else set()


def counting(question: Question, scene: Scene) -> Right:
    known = distinct(scene)
    return {c for c in question.choices if NUMBER[c] == len(known)}


CHECKS: dict[str, Callable[[Question, Scene], Right]] = {
    "counting.events": counting,
    "duration.recording": lambda q, s: nearest(q, s.channels.shape[1] / RATE),
    "timing.first": lambda q, s: onset(q, s, 0),
    "timing.last": lambda q, s: onset(q, s, -1),
    "timing.loudest": loudest_part,
    "pauses.length": longest_pause,
    "pauses.place": pauses_place,
    "silence.place": silent_edges,
    "silence.share": silent_share,
    "loudness.direction": loudness,
    "loudness.most": lambda q, s: most(q, s, "level"),
    "loudness.compared": lambda q, s: compared(q, s, "level", lambda a, b: abs(a - b) < 1.5),
    "pitch.direction": lambda q, s: by_words(q, s.truth.get("pitch"), PITCH),
    "pitch.most": lambda q, s: most(q, s, "f0"),
    "pitch.compared": lambda q, s: compared(q, s, "f0", lambda a, b: abs(math.log2(a / b)) < 0.03),
    "pitch.frequency": lambda q, s: nearest(q, s.truth.get("f0")),
    "order.pitch": lambda q, s: ordered(
        q, s, "f0", {2: ("a low sound", "a high sound"), 3: ("the lowest", "the middle one", "the highest")}
    ),
    "order.loudness": lambda q, s: ordered(
        q, s, "level", {2: ("a soft sound", "a loud sound"), 3: ("the softest", "the middle one", "the loudest")}
    ),
    "order.brightness": lambda q, s: ordered(
        q,
        s,
        "brightness",
        {2: ("a dull sound", "a bright sound"), 3: ("the dullest", "the middle one", "the brightest")},
    ),
    "order.length": lengths,
    "spatial.order": sides,
    "spatial.position": lambda q, s: by_words(q, s.truth.get("position"), POSITION),
    "tempo.bpm": tempo,
    "rhythm.spacing": lambda q, s: by_words(q, s.truth.get("spacing"), SPACING),
    "brightness.range": energy,
    "brightness.most": lambda q, s: most(q, s, "brightness"),
    "brightness.compared": lambda q, s: compared(q, s, "brightness", lambda a, b: False),
    "character.kind": lambda q, s: by_words(q, s.truth.get("character"), CHARACTER),
}
"""Form → the right choices by what was built. A form without a row here is never counted."""
