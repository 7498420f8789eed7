"""Measured facts of a clip, and the sentences that say them: no model, and no guess.

Every fact carries the interval in which the truth is expected; what is not sure is not said. Names, with units:

    duration s · silence.leading s · silence.trailing s · pause.longest s · silence.share 0..1
    event.count · event.<i>.onset s · .offset s · .level dB · .pitch Hz · .brightness Hz · .side dB     i = 1 …
    loudness.direction growing, fading, steady, swelling · loudness.change dB · loudest.at 0..1 of the duration
    pitch.direction rising, falling, steady, arched · pitch.range semitones · pitch.f0 Hz
    tempo bpm · spacing even, quickening, slowing · brightness Hz · energy low, middle, high
    side left, middle, right · movement left to right, right to left · character noise, tone, speech

Accuracy on signals of known truth: `python benchmarks/facts.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from datagen.captioners import measure
from datagen.captioners.measure import STEP, Array, Bands, Event, decibels, smooth
from datagen.captioners.pitch import Pitch, pitch
from datagen.captioners.wording import describe
from datagen.records import Caption, Clip, Fact, Failure

if TYPE_CHECKING:
    from datagen.audio import Audio
    from datagen.plugins import Context

__all__ = ["Acoustic", "facts"]

LONGEST_LIST = 8
"""Events beyond which no count is said: nobody counts so far by ear, and soft ones hide between so many."""


class Acoustic:
    """Measured facts of the sound: duration, events, loudness, pitch, tempo, brightness, left and right. No model."""

    def __init__(self, context: Context) -> None:
        pass

    async def caption(self, clip: Clip, audio: Audio) -> Sequence[Caption | Failure]:
        """One caption of aspect `acoustics`, with the facts that its text says."""
        found = await asyncio.to_thread(facts, audio.channels, audio.rate)
        return [Caption(clip.id, 0, describe(found), "acoustic", "acoustics", tuple(found))]


@dataclass(frozen=True)
class Heard:
    """What the single facts are read from."""

    bands: Bands
    events: list[Event]
    certain: bool
    """The number of events is beyond doubt."""
    level: Array
    """(frames,) power above the background, 50 ms mean"""
    active: np.ndarray
    """(frames,) bool: clearly above the background, or everywhere when there is no quiet background"""
    pitch: Pitch
    duration: float


def facts(channels: Array, rate: int) -> list[Fact]:
    """All facts of (channels, samples) float32 that are sure, in a fixed order."""
    heard = _listen(channels, rate)
    found = [Fact("duration", _round(heard.duration), None, _round(heard.duration), _round(heard.duration), "s")]
    for part in (_silence, _events, _loudness, _pitch, _tempo, _brightness, _sides, _character):
        found += part(heard)
    return found


def _round(x: float) -> float:
    return round(float(x), 4)


def _number(name: str, value: float, low: float, high: float, unit: str) -> Fact:
    return Fact(name, _round(value), None, _round(min(low, value)), _round(max(high, value)), unit)


def _listen(channels: Array, rate: int) -> Heard:
    b = measure.bands(channels, rate)
    found, certain = measure.events(b)
    above = np.maximum(b.total - b.background, 0)
    level = smooth(above.sum(axis=1), 5)
    background = float(b.background.sum())
    active = smooth(b.total, 5).sum(axis=1) > max(3 * background, measure.SILENT * 24)
    if not active.any() and _broad(b).max() > 1e-6:
        active = np.ones(len(level), bool)
    heard = pitch(channels.mean(axis=0), rate, active)
    return Heard(b, found, certain, level, active, heard, channels.shape[1] / rate)


def _broad(b: Bands) -> Array:
    """(frames,) power of all bands, 50 ms mean, background included."""
    return smooth(b.total.sum(axis=1), 5)


# ------------------------------------------------------------------------------------------------- silence and events


def _silence(heard: Heard) -> Iterator[Fact]:
    """Silence is -60 dB full scale or less, and 35 dB below the loudest 50 ms."""
    level = decibels(heard.bands.total.sum(axis=1))
    limit = min(-60.0, max(float(level.max()) - 35, -90.0))
    quiet, stricter = level < limit, level < limit - 8
    if quiet.all():
        yield Fact("silence.share", 1.0, None, 1.0, 1.0, "")
        return
    (sure, loose) = (_runs(q) for q in (stricter, quiet))
    edges = 0.04 * len(loose) / heard.duration
    yield _number("silence.share", quiet.mean(), stricter.mean() - 0.02, quiet.mean() + edges + 0.02, "")
    first, last = int(np.argmin(quiet)), int(np.argmin(quiet[::-1]))
    yield _number("silence.leading", first * STEP, int(np.argmin(stricter)) * STEP - 0.03, first * STEP + 0.03, "s")
    yield _number("silence.trailing", last * STEP, int(np.argmin(stricter[::-1])) * STEP - 0.1, last * STEP + 0.05, "s")
    inner = [stop - start for start, stop in loose if start > 0 and stop < len(quiet)]
    inner_sure = [stop - start for start, stop in sure if start > 0 and stop < len(quiet)]
    if inner and inner_sure and max(inner) >= 10:
        yield _number("pause.longest", max(inner) * STEP, max(inner_sure) * STEP - 0.03, max(inner) * STEP + 0.03, "s")


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """(start, stop) of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _events(heard: Heard) -> Iterator[Fact]:
    if not heard.certain or not 0 < len(heard.events) <= LONGEST_LIST:
        return
    count = float(len(heard.events))
    yield Fact("event.count", count, None, count, count, "")
    for i, event in enumerate(heard.events, 1):
        name = f"event.{i}"
        if event.onset > 0.02 and event.onset_range[1] - event.onset_range[0] < 0.2:
            yield _number(f"{name}.onset", event.onset, *event.onset_range, "s")
        if event.offset < heard.duration - 0.03:
            yield _number(f"{name}.offset", event.offset, *event.offset_range, "s")
        yield from _event_level(heard, event, name)
        yield from _event_pitch(heard, event, name)
        yield from _event_brightness(heard, event, name)
        yield from _event_side(heard, event, name)


def _event_level(heard: Heard, event: Event, name: str) -> Iterator[Fact]:
    """The loudest 50 ms, power above the background."""
    peak = float(heard.level[event.start : event.stop].max())
    floor = float(heard.bands.background.sum())
    margin = 0.75 + float(decibels(np.array(1 + floor / max(peak, 1e-12))))
    level = float(decibels(np.array(peak)))
    yield _number(f"{name}.level", level, level - margin, level + margin, "dB")


def _event_pitch(heard: Heard, event: Event, name: str) -> Iterator[Fact]:
    """Where most of the loud part has one clear pitch."""
    first, last = (event.start + 1) // 2, event.stop // 2
    f0 = heard.pitch.f0[first:last]
    f0 = f0[heard.pitch.clarity[first:last] >= 0.8]
    if len(f0) < max(4, 0.6 * (last - first)):
        return
    low, middle, high = np.quantile(f0, [0.1, 0.5, 0.9])
    if high / low < 1.04:
        yield _number(f"{name}.pitch", middle, min(low, middle * 0.99), max(high, middle * 1.01), "Hz")


def _event_brightness(heard: Heard, event: Event, name: str) -> Iterator[Fact]:
    yield from _centroid(heard, slice(event.start, event.stop), f"{name}.brightness")


def _centroid(heard: Heard, part: slice | np.ndarray, name: str) -> Iterator[Fact]:
    """Power-weighted mean frequency; the interval also holds what another share of the background would make it."""
    b = heard.bands
    total = b.total[part].mean(axis=0)
    values = []
    for share in (1.0, 0.6, 1.4):
        power = np.maximum(total - share * b.background / 1.25, 0)
        if power.sum() < 0.5 * b.background.sum() or power.sum() <= 0:
            return
        values.append(float((power * b.centres).sum() / power.sum()))
    yield _number(name, values[0], min(values) * 0.9, max(values) * 1.1, "Hz")


def _event_side(heard: Heard, event: Event, name: str) -> Iterator[Fact]:
    """Level right less level left."""
    if len(heard.bands.power) == 2:
        balance, spread = _balance(heard.bands, slice(event.start, event.stop))
        if spread < 4:
            yield _number(f"{name}.side", balance, balance - spread, balance + spread, "dB")


def _balance(b: Bands, part: slice | np.ndarray) -> tuple[float, float]:
    """dB by which the right is louder than the left, background taken off, and its uncertainty."""
    power = b.power[:, part].mean(axis=1)
    over = np.maximum(power - b.floor / 1.25, 0).sum(axis=1)
    noise = b.floor.sum(axis=1)
    if over.max() < 0.5 * noise.mean():
        return 0.0, 99.0
    least = np.maximum(over, 0.1 * noise) + 1e-10
    balance = float(10 * np.log10(least[1] / least[0]))
    weakest = float(noise.mean() / over.max())
    return float(np.clip(balance, -30, 30)), 0.5 + 3 * weakest


# ---------------------------------------------------------------------------------------------------- level and pitch


def _loudness(heard: Heard) -> Iterator[Fact]:
    series = _loudness_series(heard)
    if series is not None:
        change = float(series[-1] - series[0])
        direction = _direction(series, step=6.0, slack=1.5, steady=2.5)
        if direction and not (direction == "flat" and _may_be_a_part(heard, series)):
            words = {"up": "growing", "down": "fading", "flat": "steady", "arch": "swelling"}
            yield Fact("loudness.direction", None, words[direction])
            yield _number("loudness.change", change, change - 2, change + 2, "dB")
    slow = smooth(heard.level, 20)
    if len(slow) >= 100 and slow.max() > 0:
        thirds = np.array([decibels(part.max()) for part in np.array_split(slow, 3)])
        best = int(thirds.argmax())
        at, edge = (float(slow.argmax()) + 0.5) / len(slow), best / 3
        sure = thirds[best] - np.delete(thirds, best).max() > 4 and edge + 0.04 < at < edge + 1 / 3 - 0.04
        if sure:
            yield _number("loudest.at", at, at - 0.02, at + 0.02, "")


def _loudness_series(heard: Heard) -> Array | None:
    """dB of at least three events, or of six equal parts of one sound without gaps; None when neither is there."""
    if heard.certain and len(heard.events) >= 3:
        return decibels(np.array([heard.level[e.start : e.stop].max() for e in heard.events]))
    level = smooth(_broad(heard.bands), 10)
    if (len(heard.events) > 1 and heard.certain) or not heard.active.any():
        return None
    first, last = max(_runs(heard.active), key=lambda run: run[1] - run[0])
    if last - first < max(60, 0.95 * heard.active.sum()):
        return None
    trimmed = level[first + 3 : last - 3]
    parts = np.array_split(decibels(trimmed), 6)
    wobble = max(float(np.ptp(part - np.linspace(part[0], part[-1], len(part)))) for part in parts)
    return None if wobble > 9 else np.array([np.median(part) for part in parts])


def _may_be_a_part(heard: Heard, series: Array) -> bool:
    """Whether an even level may be the top of a swell whose rest is taken for background, or part of a slow one."""
    near = float(np.median(series)) < float(decibels(heard.bands.background.sum())) + 10
    trend = len(set(np.sign(np.diff(series)))) == 1 and abs(float(series[-1] - series[0])) > 1
    return trend or (near and float(heard.active.mean()) < 0.97)


def _direction(series: Array, *, step: float, slack: float, steady: float) -> str:
    """up, down, arch or flat; empty when it is neither clearly."""
    moves, top = np.diff(series), int(np.argmax(series))
    if np.ptp(series) <= steady:
        return "flat"
    if series[-1] - series[0] >= step and np.all(moves > -slack) and series[-1] >= series.max() - slack / 2:
        return "up"
    if series[0] - series[-1] >= step and np.all(moves < slack) and series[0] >= series.max() - slack / 2:
        return "down"
    inner = 0 < top < len(series) - 1
    if inner and min(series[top] - series[0], series[top] - series[-1]) >= step:
        return "arch" if np.all(moves[:top] > -slack) and np.all(moves[top:] < slack) else ""
    return ""


def _pitch(heard: Heard) -> Iterator[Fact]:
    """From the frames that are loud and have a clear pitch, when these are most of the loud ones."""
    level = heard.level[::2][: len(heard.pitch.f0)]
    loud = heard.active[::2][: len(level)] & (level > 0.003 * level.max(initial=0))
    clear = loud & (heard.pitch.clarity >= 0.8)
    if clear.sum() < 10 or clear.sum() < 0.75 * loud.sum():
        return
    semitones = 12 * np.log2(heard.pitch.f0[clear] / 440)
    if np.any(np.abs(np.diff(semitones)) > 10):  # an octave jump is more often an error than music
        return
    series = np.array([np.median(part) for part in np.array_split(semitones, 5)])
    spread = float(np.quantile(semitones, 0.95) - np.quantile(semitones, 0.05))
    direction = _direction(series, step=3.0, slack=0.6, steady=0.6)
    if direction == "flat" and spread > 1.0:
        direction = ""
    if direction:
        words = {"up": "rising", "down": "falling", "flat": "steady", "arch": "arched"}
        yield Fact("pitch.direction", None, words[direction])
        yield _number("pitch.range", spread, spread - 0.5, spread + 0.5, "semitones")
    if direction == "flat":
        low, f0, high = np.quantile(heard.pitch.f0[clear], [0.05, 0.5, 0.95])
        yield _number("pitch.f0", f0, min(low, 0.985 * f0), max(high, 1.015 * f0), "Hz")


def _tempo(heard: Heard) -> Iterator[Fact]:
    beat = measure.pulse(heard.bands)
    if beat:
        yield _number("tempo", beat.bpm, beat.bpm * (1 - beat.spread), beat.bpm * (1 + beat.spread), "bpm")
    if heard.certain and 4 <= len(heard.events) <= LONGEST_LIST:
        gaps = np.diff([e.onset for e in heard.events])
        moves = np.diff(gaps)
        if np.ptp(gaps) <= 0.1 * gaps.mean() + 0.02:
            yield Fact("spacing", None, "even")
        elif np.all(moves < -0.01) and gaps[0] > 1.5 * gaps[-1]:
            yield Fact("spacing", None, "quickening")
        elif np.all(moves > 0.01) and gaps[-1] > 1.5 * gaps[0]:
            yield Fact("spacing", None, "slowing")


# ----------------------------------------------------------------------------------------- colour, place and character


def _brightness(heard: Heard) -> Iterator[Fact]:
    if not heard.active.any():
        return
    yield from _centroid(heard, heard.active, "brightness")
    b = heard.bands
    power = np.maximum(b.total[heard.active].mean(axis=0) - b.background / 1.25, 0)
    if power.sum() < 2 * b.background.sum():
        return
    where = np.digitize(b.centres, [500, 2000])
    shares = np.array([power[where == i].sum() for i in range(3)]) / power.sum()
    if shares.max() >= 0.75:
        yield Fact("energy", _round(shares.max()), ("low", "middle", "high")[int(shares.argmax())])


def _sides(heard: Heard) -> Iterator[Fact]:
    if len(heard.bands.power) != 2 or heard.active.sum() < 10:
        return
    parts = [_balance(heard.bands, part) for part in np.array_split(np.flatnonzero(heard.active), 5)]
    balance, spread = np.array([p[0] for p in parts]), max(p[1] for p in parts)
    if spread > 3:
        return
    if np.all(np.abs(balance) > 5) and len(set(np.sign(balance))) == 1:
        yield Fact("side", _round(balance.mean()), "right" if balance[0] > 0 else "left")
    elif np.all(np.abs(balance) < 1.5):
        yield Fact("side", _round(balance.mean()), "middle")
    elif np.all(np.diff(balance) > -1) and balance[0] < -4 and balance[-1] > 4:
        yield Fact("movement", _round(np.ptp(balance)), "left to right")
    elif np.all(np.diff(balance) < 1) and balance[0] > 4 and balance[-1] < -4:
        yield Fact("movement", _round(np.ptp(balance)), "right to left")


def _character(heard: Heard) -> Iterator[Fact]:
    """Only the plain cases: a steady wide noise without pitch, or a clear tone nearly all the time."""
    clarity = heard.pitch.clarity[heard.active[::2][: len(heard.pitch.clarity)]]
    if len(clarity) < 25:
        return
    if np.mean(clarity >= 0.9) > 0.85:
        yield Fact("character", None, "tone")
        return
    power = np.sort(heard.bands.total[heard.active].mean(axis=0)[4:])
    wobble = float(np.std(decibels(_broad(heard.bands))[heard.active]))
    if np.mean(clarity >= 0.5) < 0.05 and power[4] > 0.01 * power[-1] and wobble < 2:
        yield Fact("character", None, "noise")
