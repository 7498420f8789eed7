"""Are the measured facts, and the answers that the rules make of them, true? `python benchmarks/facts.py [--json]`

Scenes of known truth are built from generated tones and from recorded CC0 sounds (the demo clips): repeated, looped at
a known tempo, put in a known order, transposed, panned, stepped in level, reverberated, and mixed with noise at 0 to
20 dB. The real captioner and the real writer then work on the sound alone, and a checker that knows only what was
built says which choice is right. It never sees a fact. Where it does not know, the answer is not counted, and how many
these are is reported, as is how often nothing was asked of a scene built for a skill (abstained).

SNR: power of the sounds while they sound over power of the noise, both over the whole band.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import soundfile
import soxr

from datagen.captioners.acoustic import Acoustic
from datagen.plugins import Context
from datagen.questions.rules import FORMS, Rules, View
from datagen.records import Clip, Fact, Question
from datagen.seeds import derive, generator

RATE = 16_000
CLIPS = Path(__file__).parent.parent / "datagen/sources/demo_clips"
ONE_SHOTS = ("bass_drum_hit", "cowbell_hit", "cymbal_soft", "snare_hit", "tom_low", "tom_high", "finger_snap", "crow_call",
             "hi_hat_open", "burp", "swish", "bell_ring", "piano_low")  # fmt: skip
"""Recordings of one hit, call or note each, by their captions."""
SUSTAINED = ("drone", "glass_hum", "record_hiss")
"""Recordings of one even sound."""
TONAL = ("glass_hum", "glass_rub", "cowbell_hit")
"""Recordings with one pitch, which is not known but can be moved by a known interval."""
SNRS: tuple[float | None, ...] = (0.0, 5.0, 10.0, 20.0, None)
"""dB; None is no noise at all."""
Signal = np.ndarray
"""float32 (samples,) at RATE."""


@dataclass(frozen=True)
class Placed:
    """One sound of a scene, as it was put there."""

    time: float
    """s, of the first sample"""
    signal: Signal
    """with its gain, without pan, room or noise"""
    f0: float | None = None
    """Hz, or on any scale that holds for all sounds of the scene when `relative`"""
    side: float = 0.0
    """-1 left, 1 right"""


@dataclass(frozen=True)
class Scene:
    """A sound and all that is known of it."""

    name: str
    channels: np.ndarray
    targets: tuple[str, ...]
    """Skills that it was built for."""
    truth: dict[str, Any]
    snr: float | None = None
    room: bool = False
    recorded: bool = False
    placed: tuple[Placed, ...] = ()


# ----------------------------------------------------------------------------------------------------------- material


@lru_cache(maxsize=64)
def recording(name: str, seconds: float = 1.2) -> Signal:
    """A demo clip without what is 40 dB below its peak at either end, cut to `seconds`."""
    signal, _ = soundfile.read(CLIPS / f"{name}.flac", dtype="float32")
    loud = np.flatnonzero(np.abs(signal) > 0.01 * np.abs(signal).max())
    return shaped(signal[loud[0] : loud[0] + round(seconds * RATE)][: loud[-1] - loud[0] + 1], 0.001, 0.03)


def shaped(signal: Signal, attack: float, release: float) -> Signal:
    """Straight ramps at both ends, in s, and a peak of 0.3."""
    out = np.array(signal, np.float32)
    a, r = (min(len(out) // 2, round(x * RATE)) for x in (attack, release))
    out[:a] *= np.linspace(0, 1, a, dtype=np.float32)
    out[len(out) - r :] *= np.linspace(1, 0, r, dtype=np.float32)
    return out * np.float32(0.3 / np.abs(out).max())


def tone(f0: float, seconds: float, partials: int, decay: float = 0.0) -> Signal:
    """Harmonics falling by 6 dB an octave."""
    t = np.arange(round(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * k * f0 * t + k) / k for k in range(1, partials + 1) if k * f0 < 7_500)
    return shaped(wave * np.exp(-decay * t), 0.01, 0.03)


def glide(first: float, last: float, seconds: float, then: float | None = None) -> Signal:
    """Even in octaves from `first` to `last` Hz, and as slowly on to `then`."""
    f = first * (last / first) ** np.linspace(0, 1, round(seconds * RATE))
    if then:
        f = np.concatenate([f, last * (then / last) ** np.linspace(0, 1, round(seconds * RATE))])
    phase = 2 * np.pi * np.cumsum(f) / RATE
    return shaped(np.sin(phase) + 0.4 * np.sin(2 * phase) + 0.2 * np.sin(3 * phase), 0.02, 0.05)


def burst(rng: np.random.Generator, seconds: float, tilt: float) -> Signal:
    """Noise whose power falls by frequency to the `tilt`."""
    spectrum = np.fft.rfft(rng.standard_normal(round(seconds * RATE)))
    bins = np.arange(len(spectrum))
    return shaped(np.fft.irfft(spectrum * np.where(bins > 40 * seconds, np.maximum(bins, 1) ** (-tilt / 2), 0)), 0.01, 0.03)


def transposed(signal: Signal, semitones: float) -> Signal:
    ratio = 2 ** (semitones / 12)
    return shaped(soxr.resample(signal, RATE * ratio, RATE, "HQ"), 0.001, 0.02)


def gain(signal: Signal, db: float) -> Signal:
    return (signal * 10 ** (db / 20)).astype(np.float32)


# ------------------------------------------------------------------------------------------------- putting it together


def mix(rng: np.random.Generator, placed: Sequence[Placed], seconds: float, snr: float | None, room: bool, stereo: bool,
        pan: tuple[float, float] | None = None) -> np.ndarray:  # fmt: skip
    """(channels, samples): the sounds, in a room, with noise; `pan` moves the whole from one side to the other."""
    samples = round(seconds * RATE)
    out = np.zeros((2 if stereo else 1, samples + RATE))
    for p in placed:
        start = round(p.time * RATE)
        weights = (math.cos((p.side + 1) * math.pi / 4), math.sin((p.side + 1) * math.pi / 4)) if stereo else (1.0,)
        for channel, weight in zip(out, weights, strict=True):
            channel[start : start + len(p.signal)] += weight * p.signal
    out = out[:, :samples]
    if pan and stereo:
        angle = (np.linspace(*pan, samples) + 1) * np.pi / 4
        out = np.stack([out.sum(axis=0) * np.cos(angle), out.sum(axis=0) * np.sin(angle)]) / math.sqrt(2)
    if room:
        out = np.stack([reverberate(rng, channel) for channel in out])
    if snr is not None:
        heard = (out**2).sum(axis=0)
        power = heard[heard > 1e-4 * heard.max()].mean() / len(out)
        noise = np.stack([background(rng, samples) for _ in out])
        out += noise * math.sqrt(power / (noise**2).mean()) * 10 ** (-snr / 20)
    return (out * min(1.0, 0.9 / max(np.abs(out).max(), 1e-9))).astype(np.float32)


def background(rng: np.random.Generator, samples: int) -> Signal:
    """White or pink noise, or the recorded hiss and crackle of a record, turned at a random point and repeated."""
    kind = rng.integers(3)
    if kind < 2:
        return burst(rng, (samples + 1) / RATE, float(kind))[:samples]
    hiss = np.roll(recording("record_hiss", 3.0), int(rng.integers(3 * RATE)))
    return np.tile(hiss, samples // len(hiss) + 1)[:samples]


def reverberate(rng: np.random.Generator, signal: np.ndarray) -> np.ndarray:
    """With a tail of decaying noise: RT60 of 0.2 to 0.7 s, 3 to 12 dB below the direct sound in energy."""
    from scipy.signal import fftconvolve

    rt60, ratio = rng.uniform(0.2, 0.7), rng.uniform(3, 12)
    t = np.arange(round(rt60 * RATE)) / RATE
    tail = rng.standard_normal(len(t)) * 10 ** (-3 * t / rt60)
    tail[: round(0.004 * RATE)] = 0
    tail *= 10 ** (-ratio / 20) / math.sqrt(float((tail**2).sum()))
    tail[0] = 1.0
    return np.asarray(fftconvolve(signal, tail)[: len(signal)])


def one_shot(rng: np.random.Generator) -> tuple[Signal, bool, float | None]:
    """A recorded or a generated single sound; whether it is recorded; its f0 where there is a known one."""
    if rng.random() < 0.6:
        return recording(str(rng.choice(ONE_SHOTS))), True, None
    if rng.random() < 0.5:
        return burst(rng, float(rng.uniform(0.08, 0.5)), float(rng.uniform(0, 2))), False, None
    f0 = float(rng.uniform(120, 1500))
    return tone(f0, float(rng.uniform(0.15, 0.6)), int(rng.integers(1, 6)), 4.0), False, f0


def row(rng: np.random.Generator, signals: Sequence[Signal], least: float = 0.3, most: float = 1.0) -> tuple[list[float], float]:
    """Start times one after another with gaps drawn from least to most, and the whole length."""
    times, t = [], float(rng.uniform(0.2, 0.8))
    for signal in signals:
        times.append(t)
        t += len(signal) / RATE + float(rng.uniform(least, most))
    return times, t


# --------------------------------------------------------------------------------------------------------------- scenes

Builder = Callable[[np.random.Generator, float | None, bool], Scene]


def counted(rng: np.random.Generator, snr: float | None, room: bool) -> Scene:
    """One sound 1 to 8 times."""
    signal, recorded, f0 = one_shot(rng)
    signals = [signal] * int(rng.integers(1, 9))
    times, seconds = row(rng, signals)
    placed = [Placed(t, s, f0) for t, s in zip(times, signals, strict=True)]
    truth = {"f0": f0, "pitch": "steady" if f0 else None}
    return Scene("counted", mix(rng, placed, seconds, snr, room, False), ("counting", "timing", "pauses"),
                 truth, snr, room, recorded, tuple(placed))  # fmt: skip


def overlapping(rng: np.random.Generator, snr: float | None, room: bool) -> Scene:
    """Ringing sounds that begin before the last one has died away."""
    names = rng.choice(["bell_ring", "cymbal_soft", "piano_low", "hi_hat_open", "cowbell_hit"], int(rng.integers(1, 3)), False)
    times = 0.3 + np.cumsum(rng.uniform(0.3, 0.9, int(rng.integers(2, 8))))
    placed = [Placed(float(t), recording(str(rng.choice(names)), 2.0)) for t in times]
    scene = mix(rng, placed, float(times[-1]) + 2.3, snr, room, False)
    return Scene("overlapping", scene, ("counting",), {}, snr, room, True, tuple(placed))


def joined(rng: np.random.Generator, snr: float | None, room: bool) -> Scene:
    """Notes without a gap, of one pitch or stepwise, at one level or some soft and some loud."""
    base, count = float(rng.uniform(150, 600)), int(rng.integers(4, 8))
    word = str(rng.choice(["rising", "falling", "steady"]))
    steps = {"rising": 2.0, "falling": -2.0, "steady": 0.0}[word] * np.arange(count)
    levels = rng.choice([0.0, -float(rng.uniform(10, 20))], count) if rng.random() < 0.5 else np.zeros(count)
    f0s = [float(f) for f in base * 2 ** (steps / 12)]
    notes = [gain(tone(f, 0.5, 3, 1.5), float(level)) for f, level in zip(f0s, levels, strict=True)]
    placed = [Placed(0.5 * i, s, f) for i, (s, f) in enumerate(zip(notes, f0s, strict=True))]
    truth: dict[str, Any] = {"pitch": word, "f0": base if word == "steady" else None}
    return Scene("joined", mix(rng, placed, 0.5 * count, snr, room, False), ("pitch direction",), truth,
                 snr, room, False, tuple(placed))  # fmt: skip


def looped(rng: np.random.Generator, snr: float | None, room: bool) -> Scene:
    """One short sound, or a drum pattern, at a known tempo."""
    bpm, beats = float(rng.uniform(50, 170)), int(rng.integers(4, 13))
    if rng.random() < 0.4:
        kick, snare, hat = (recording(name, 0.35) for name in ("bass_drum_hit", "snare_hit", "hi_hat_open"))
        events = [(i, (kick, snare)[i % 2]) for i in range(beats)] + [(i / 2, gain(hat, -15)) for i in range(2 * beats)]
        recorded, truth = True, {"tempo": bpm, "levels": None, "spacing": "even"}
    else:
        signal, recorded, _ = one_shot(rng)
        events = [(i, signal[: round(0.7 * 60 / bpm * RATE)]) for i in range(beats)]
        events = [(i, shaped(s, 0.0, 0.02)) for i, s in events]
        truth = {"tempo": bpm, "spacing": "even"}
    placed = [Placed(0.2 + i * 60 / bpm, s) for i, s in sorted(events, key=lambda event: event[0])]
    scene = mix(rng, placed, 0.4 + beats * 60 / bpm, snr, room, False)
    return Scene("looped", scene, ("tempo",), truth, snr, room, recorded, tuple(placed))


def accelerated(rng: np.random.Generator, snr: float | None, room: bool) -> Scene:
    """A short sound whose distance grows, shrinks or stays."""
    signal, recorded, _ = one_shot(rng)
    word = str(rng.choice(["even", "quickening", "slowing"]))
    count = int(rng.integers(5, 9))
    ratio = {"even": 1.0, "quickening": 0.8, "slowing": 1.25}[word]
    gaps = (0.9 if ratio < 1 else 0.45) * ratio ** np.arange(count)
    short = shaped(signal[: round(0.7 * gaps.min() * RATE)], 0.0, 0.02)
    times = 0.3 + np.concatenate([[0], np.cumsum(gaps[:-1])])
    placed = [Placed(float(t), short) for t in times]
    truth: dict[str, Any] = {"spacing": word} if ratio != 1 else {"spacing": word, "tempo": 60 / float(gaps[0])}
    return Scene("accelerated", mix(rng, placed, float(times[-1]) + 1.0, snr, room, False), ("rhythm",), truth,
                 snr, room, recorded, tuple(placed))  # fmt: skip


def sequenced(rng: np.random.Generator, snr: float | None, room: bool) -> Scene:
    """Two to four different recorded sounds."""
    names = rng.choice(ONE_SHOTS, int(rng.integers(2, 5)), replace=False)
    signals = [gain(recording(str(name)), float(rng.uniform(-6, 0))) for name in names]
    times, seconds = row(rng, signals)
    placed = [Placed(t, s) for t, s in zip(times, signals, strict=True)]
    return Scene("sequenced", mix(rng, placed, seconds, snr, room, False), ("order", "brightness", "counting"),
                 {}, snr, room, True, tuple(placed))  # fmt: skip


def melodic(rng: np.random.Generator, snr: float | None, room: bool) -> Scene:
    """Two to seven notes, generated or a transposed recording: upwards, downwards or in any order."""
    count, recorded = int(rng.integers(2, 8)), bool(rng.random() < 0.4)
    steps = np.cumsum(rng.integers(1, 5, count)) if count > 3 else np.cumsum(rng.integers(2, 8, count))
    order = str(rng.choice(["up", "down", "any"]))
    semitones = {"up": steps, "down": steps[::-1], "any": rng.permutation(steps)}[order].astype(float)
    semitones -= semitones.mean()
    if recorded:
        source = recording(str(rng.choice(TONAL)), 0.6)
        notes = [transposed(source, s) for s in semitones]
    else:
        base, partials = float(rng.uniform(150, 700)), int(rng.integers(1, 7))
        notes = [tone(base * 2 ** (s / 12), 0.45, partials, 1.5) for s in semitones]
        f0s = base * 2 ** (semitones / 12)
    times, seconds = row(rng, notes, 0.15, 0.5)
    scale = [2 ** (s / 12) for s in semitones] if recorded else [float(f) for f in f0s]
    placed = [Placed(t, s, f) for t, s, f in zip(times, notes, scale, strict=True)]
    truth: dict[str, Any] = {"relative": recorded, "character": None if recorded else "tone"}
    if count > 2:
        truth["pitch"] = {"up": "rising", "down": "falling", "any": None}[order]
    skills = ("pitch direction",) if count > 5 and order != "any" else ("pitch comparison",)
    return Scene("melodic", mix(rng, placed, seconds, snr, room, False), skills, truth, snr, room, recorded, tuple(placed))


def gliding(rng: np.random.Generator, snr: float | None, room: bool) -> Scene:
    """A glide upwards, downwards, up and down again, or a held tone."""
    low, seconds = float(rng.uniform(120, 500)), float(rng.uniform(1.5, 4))
    high = low * 2 ** float(rng.uniform(0.5, 1.8))
    word = str(rng.choice(["rising", "falling", "steady", "arched"]))
    signal = {
        "rising": lambda: glide(low, high, seconds),
        "falling": lambda: glide(high, low, seconds),
        "steady": lambda: tone(low, seconds, int(rng.integers(1, 7))),
        "arched": lambda: glide(low, high, seconds, low),
    }[word]()
    placed = [Placed(0.3, signal, low if word == "steady" else None)]
    truth = {"pitch": word, "f0": low if word == "steady" else None, "loudness": "steady", "character": "tone"}
    return Scene("gliding", mix(rng, placed, len(signal) / RATE + 0.6, snr, room, False), ("pitch direction",), truth,
                 snr, room, False, tuple(placed))  # fmt: skip


def stepped(rng: np.random.Generator, snr: float | None, room: bool) -> Scene:
    """One sound at 2 to 5 levels: louder each time, softer each time, the same, or mixed."""
    signal, recorded, _ = one_shot(rng)
    count = int(rng.integers(2, 6))
    step = float(rng.uniform(4, max(4.5, min(8, 18 / (count - 1)))))
    word = str(rng.choice(["growing", "fading", "steady", "mixed"]))
    order = {"growing": np.arange(count), "fading": np.arange(count)[::-1], "steady": np.zeros(count),
             "mixed": rng.permutation(count)}[word]  # fmt: skip
    signals = [gain(signal, -step * float(count - 1 - k)) for k in order]
    times, seconds = row(rng, signals)
    placed = [Placed(t, s) for t, s in zip(times, signals, strict=True)]
    truth: dict[str, Any] = {"loudness": word if word != "mixed" and count > 2 else None}
    skills = ("loudness direction",) if truth["loudness"] else ("loudness comparison",)
    return Scene("stepped", mix(rng, placed, seconds, snr, room, False), skills, truth, snr, room, recorded, tuple(placed))


def swelling(rng: np.random.Generator, snr: float | None, room: bool) -> Scene:
    """One even sound that grows, fades, stays or swells."""
    recorded, seconds = bool(rng.random() < 0.5), float(rng.uniform(2.0, 3.0))
    signal = recording(str(rng.choice(SUSTAINED)), seconds) if recorded else tone(float(rng.uniform(120, 800)), seconds, 4)
    word, depth = str(rng.choice(["growing", "fading", "steady", "swelling"])), float(rng.uniform(12, 30))
    shape = {"growing": np.linspace(-depth, 0, len(signal)), "fading": np.linspace(0, -depth, len(signal)),
             "steady": np.zeros(len(signal)), "swelling": -depth * np.abs(np.linspace(-1, 1, len(signal)))}[word]  # fmt: skip
    placed = [Placed(0.0, (signal * 10 ** (shape / 20)).astype(np.float32))]
    return Scene("swelling", mix(rng, placed, len(signal) / RATE, snr, room, False), ("loudness direction",),
                 {"loudness": word}, snr, room, recorded, tuple(placed))  # fmt: skip


def sided(rng: np.random.Generator, snr: float | None, room: bool) -> Scene:
    """Two or three sounds, each at one side."""
    count = int(rng.integers(1, 4))
    made = [one_shot(rng) for _ in range(count)]
    sides = [float(rng.choice([-1, 1]) * rng.uniform(0.6, 1)) for _ in made]
    times, seconds = row(rng, [s for s, _, _ in made])
    placed = [Placed(t, s, None, side) for t, (s, _, _), side in zip(times, made, sides, strict=True)]
    same = len({side > 0 for side in sides}) == 1
    truth = {"position": ("right" if sides[0] > 0 else "left") if same else None}
    return Scene("sided", mix(rng, placed, seconds, snr, room, True), ("spatial position",), truth,
                 snr, room, any(r for _, r, _ in made), tuple(placed))  # fmt: skip


def crossing(rng: np.random.Generator, snr: float | None, room: bool) -> Scene:
    """An even or a repeated sound that moves across."""
    if rng.random() < 0.5:
        recorded = bool(rng.random() < 0.5)
        signals = [recording(str(rng.choice(SUSTAINED)), 3.0) if recorded else burst(rng, 3.0, 1.0)]
    else:
        signal, recorded, _ = one_shot(rng)
        signals = [signal] * int(rng.integers(5, 9))
    times, seconds = row(rng, signals, 0.2, 0.3)
    placed = [Placed(t - times[0], s) for t, s in zip(times, signals, strict=True)]
    end = placed[-1].time + len(signals[-1]) / RATE
    pan = (-1.0, 1.0) if rng.random() < 0.5 else (1.0, -1.0)
    truth = {"position": "left to right" if pan[0] < 0 else "right to left", "levels": None, "loudness": None}
    return Scene("crossing", mix(rng, placed, end, snr, room, True, pan), ("spatial position",), truth,
                 snr, room, recorded, tuple(placed))  # fmt: skip


def hissing(rng: np.random.Generator, snr: float | None, room: bool) -> Scene:
    """Nothing but steady noise, or a held tone."""
    seconds = float(rng.uniform(2, 5))
    noise = bool(rng.random() < 0.5)
    f0 = float(rng.uniform(100, 1200))
    placed = [Placed(0.0, burst(rng, seconds, float(rng.uniform(0, 0.8))) if noise else tone(f0, seconds, 3), None if noise else f0)]
    truth: dict[str, Any] = {"character": "noise" if noise else "tone", "loudness": "steady", "f0": None if noise else f0}
    truth["pitch"] = None if noise else "steady"
    skills = ("sound character",) if noise else ("sound character", "pitch height")
    return Scene("hissing", mix(rng, placed, seconds, None if noise else snr, room, False), skills, truth,
                 snr, room, False, tuple(placed))  # fmt: skip


BUILDERS: tuple[Builder, ...] = (counted, overlapping, joined, looped, accelerated, sequenced, melodic, gliding, stepped, swelling, sided, crossing, hissing)  # fmt: skip


def scenes(count: int, seed: int) -> list[Callable[[], Scene]]:
    """`count` scenes to be built: all builders and SNRs in turn, every fourth in a room."""

    def later(i: int) -> Callable[[], Scene]:
        rng = np.random.default_rng(derive(seed, "facts", i))
        builder, snr = BUILDERS[i % len(BUILDERS)], SNRS[(i // len(BUILDERS)) % len(SNRS)]
        return lambda: builder(rng, snr, bool(rng.random() < 0.25))

    return [later(i) for i in range(count)]


# -------------------------------------------------------------------------------------------------------------- checker


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
    f, power = spectrum(signal)
    spectral = np.fft.rfft(signal)
    if weighted:
        g = f**2
        spectral = spectral * (12194**2 * g**2 / ((g + 20.6**2) * np.sqrt((g + 107.7**2) * (g + 737.9**2)) * (g + 12194**2)))
    squared = np.fft.irfft(spectral, len(signal)) ** 2
    mean = np.convolve(squared, np.ones(800) / 800, "same") if len(squared) > 800 else squared
    return float(10 * np.log10(mean.max() + 1e-12))


NUMBER = {w: i for i, w in enumerate("one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen".split(), 1)}  # fmt: skip
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
    return {{(True, True): "at the beginning and at the end", (True, False): "only at the beginning",
             (False, True): "only at the end", (False, False): "neither at the beginning nor at the end"}[lead, tail]}  # fmt: skip


def silent_share(question: Question, scene: Scene) -> Right:
    mask = quiet(scene)
    if mask is None and (scene.room or scene.snr is None):
        return None
    share = 0.0 if mask is None else float(mask.mean())
    table = {0.0: "almost none of it", 0.25: "about a quarter of it", 0.5: "about half of it", 0.75: "about three quarters"}
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
    word = "steady" if np.ptp(levels) < 2 else "growing" if np.all(moves > 0) else "fading" if np.all(moves < 0) else None
    return by_words(question, word, LOUDNESS)


POSITION = {"left": "it stays on the left", "right": "it stays on the right", "left to right": "it moves from left to right",
            "right to left": "it moves from right to left"}  # fmt: skip
PITCH = {"rising": "it goes up", "falling": "it goes down", "steady": "it stays about the same", "arched": "it goes up, then down"}
LOUDNESS = {"growing": "it gets louder", "fading": "it gets softer", "steady": "it stays about the same",
            "swelling": "it gets louder, then softer"}  # fmt: skip
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
    "order.pitch": lambda q, s: ordered(q, s, "f0", {2: ("a low sound", "a high sound"), 3: ("the lowest", "the middle one", "the highest")}),
    "order.loudness": lambda q, s: ordered(q, s, "level", {2: ("a soft sound", "a loud sound"), 3: ("the softest", "the middle one", "the loudest")}),
    "order.brightness": lambda q, s: ordered(q, s, "brightness", {2: ("a dull sound", "a bright sound"), 3: ("the dullest", "the middle one", "the brightest")}),
    "order.length": lengths,
    "spatial.order": sides,
    "spatial.position": lambda q, s: by_words(q, s.truth.get("position"), POSITION),
    "tempo.bpm": tempo,
    "rhythm.spacing": lambda q, s: by_words(q, s.truth.get("spacing"), SPACING),
    "brightness.range": energy,
    "brightness.most": lambda q, s: most(q, s, "brightness"),
    "brightness.compared": lambda q, s: compared(q, s, "brightness", lambda a, b: False),
    "character.kind": lambda q, s: by_words(q, s.truth.get("character"), CHARACTER),
}  # fmt: skip
"""Form → the right choices by what was built. A form without a row here is never counted."""


# --------------------------------------------------------------------------------------------------------------- totals


@dataclass
class Tally:
    """Answers of one skill at one SNR."""

    right: int = 0
    wrong: int = 0
    unknown: int = 0
    built: int = 0
    """Scenes built for the skill"""
    asked: int = 0
    """of which so many led to a question of it"""


@dataclass
class Result:
    """Everything that a run found."""

    tallies: dict[tuple[str, str], Tally] = field(default_factory=lambda: defaultdict(Tally))
    errors: list[dict[str, Any]] = field(default_factory=list)
    tolerance: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))


def run(count: int, seed: int = 0) -> Result:
    """Builds, listens, asks and checks `count` scenes."""
    result = Result()
    context = Context(seed=seed, prompts=None, questions_per_clip=99)  # type: ignore[arg-type]
    captioner, writer = Acoustic(context), Rules(context)
    for i, build in enumerate(scenes(count, seed)):
        scene = build()
        clip = Clip(f"facts/{i}", "facts", "")
        audio: Any = SimpleNamespace(channels=scene.channels, rate=RATE)
        (caption,) = asyncio.run(captioner.caption(clip, audio))
        questions = asyncio.run(writer.write(clip, [caption]))
        facts = {f.name: f for f in caption.facts}
        _check(result, scene, [q for q in questions if isinstance(q, Question)], i)
        _abstentions(result, scene, View(facts, (), context), i)
        _tolerances(result, scene, facts)
    return result


def _row(scene: Scene) -> str:
    return "clean" if scene.snr is None else f"{scene.snr:.0f} dB"


def _check(result: Result, scene: Scene, questions: Sequence[Question], number: int) -> None:
    for q in questions:
        tally = result.tallies[q.skill, _row(scene)]
        check = CHECKS.get(q.provenance["form"])
        right = check(q, scene) if check else None
        if right is None:
            tally.unknown += 1
        elif q.answer in right:
            tally.right += 1
        else:
            tally.wrong += 1
            result.errors.append({
                "scene": number, "built": scene.name, "snr": scene.snr, "room": scene.room, "recorded": scene.recorded,
                "form": q.provenance["form"], "answer": q.answer, "right": sorted(right), "choices": list(q.choices),
            })  # fmt: skip


def _abstentions(result: Result, scene: Scene, view: View, number: int) -> None:
    for skill in scene.targets:
        tally = result.tallies[skill, _row(scene)]
        tally.built += 1
        forms = [f for f in FORMS if f.skill == skill]
        tally.asked += any(f.draw(view, generator(0, number, f.id)) is not None for f in forms)


def _tolerances(result: Result, scene: Scene, facts: dict[str, Fact]) -> None:
    """At 20 dB and better: tempo ±4 %, f0 ±3 %, onsets ±50 ms, count exact."""
    if scene.snr is not None and scene.snr < 20:
        return

    def note(name: str, value: float | None, ok: Callable[[float], bool]) -> None:
        result.tolerance[name]["abstained" if value is None else "within" if ok(value) else "outside"] += 1

    def number(name: str) -> float | None:
        return facts[name].value if name in facts else None

    if (bpm := scene.truth.get("tempo")) is not None:
        note("tempo ±4 %", number("tempo"), lambda v: abs(v / bpm - 1) <= 0.04)
    if (f0 := scene.truth.get("f0")) is not None:
        note("f0 ±3 %", number("pitch.f0"), lambda v: abs(v / f0 - 1) <= 0.03)
    known = distinct(scene)
    if scene.name in ("hissing", "crossing", "gliding", "swelling"):
        return
    n = number("event.count")
    note("count exact", n, lambda v: v == len(known))
    if n != len(known):
        return
    for i, p in enumerate(known, 1):
        note("onset ±50 ms", number(f"event.{i}.onset"), lambda v, p=p: abs(v - begin(p)) <= 0.05)
        if p.f0 and not scene.truth.get("relative"):
            note("f0 ±3 %", number(f"event.{i}.pitch"), lambda v, p=p: abs(v / p.f0 - 1) <= 0.03)


def summary(result: Result) -> dict[str, Any]:
    """The shape of --json."""
    names = ["clean" if s is None else f"{s:.0f} dB" for s in SNRS]

    def total(chosen: Sequence[Tally]) -> dict[str, Any]:
        right, wrong = sum(t.right for t in chosen), sum(t.wrong for t in chosen)
        built, asked = sum(t.built for t in chosen), sum(t.asked for t in chosen)
        return {
            "answers": right + wrong, "right": right, "accuracy": round(right / (right + wrong), 4) if right + wrong else None,
            "unknown": sum(t.unknown for t in chosen), "built_for": built, "abstained": built - asked,
            "abstention": round(1 - asked / built, 4) if built else None,
        }  # fmt: skip

    skills = sorted({skill for skill, _ in result.tallies})
    return {
        "overall": total(list(result.tallies.values())),
        "skill": {s: total([t for (skill, _), t in result.tallies.items() if skill == s]) for s in skills},
        "snr": {n: total([t for (_, snr), t in result.tallies.items() if snr == n]) for n in names},
        "skill_snr": {s: {n: total([result.tallies[s, n]]) for n in names if (s, n) in result.tallies} for s in skills},
        "tolerance_at_20_db": {name: dict(c) for name, c in sorted(result.tolerance.items())},
        "errors": result.errors,
    }


def table(found: dict[str, Any]) -> str:
    """For people."""
    lines = [f"{'':24}{'answers':>8}{'right':>8}{'unknown':>9}{'built for':>11}{'abstained':>11}"]

    def line(name: str, t: dict[str, Any]) -> str:
        right = "" if t["accuracy"] is None else f"{100 * t['accuracy']:.1f} %"
        silent = "" if t["abstention"] is None else f"{100 * t['abstention']:.0f} %"
        return f"{name:24}{t['answers']:>8}{right:>8}{t['unknown']:>9}{t['built_for']:>11}{silent:>11}"

    lines.append(line("overall", found["overall"]))
    lines += ["", *(line(n, t) for n, t in found["snr"].items()), "", *(line(n, t) for n, t in found["skill"].items())]
    names = list(found["snr"])
    lines += ["", "right / answers (abstained) by skill and SNR", f"{'':24}" + "".join(f"{n:>18}" for n in names)]
    for skill, cells in found["skill_snr"].items():
        shown = []
        for n in names:
            c = cells.get(n)
            silent = f" ({100 * c['abstention']:.0f} %)" if c and c["abstention"] is not None else ""
            shown.append(f"{c['right']}/{c['answers']}{silent}" if c else "")
        lines.append(f"{skill:24}" + "".join(f"{s:>18}" for s in shown))
    lines += ["", "at 20 dB and better"]
    for name, c in found["tolerance_at_20_db"].items():
        said = c.get("within", 0) + c.get("outside", 0)
        lines.append(f"{name:24}{c.get('within', 0)} of {said} within, {c.get('abstained', 0)} abstained")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clips", type=int, default=550, help="scenes to build")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object, with every wrong answer")
    options = parser.parse_args()
    found = summary(run(options.clips, options.seed))
    print(json.dumps(found) if options.json else table(found))
    sys.exit(0 if found["overall"]["accuracy"] and found["overall"]["accuracy"] >= 0.95 else 1)


if __name__ == "__main__":
    main()
