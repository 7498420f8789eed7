"""Scenes of known truth, for `facts.py`: generated tones and recorded CC0 sounds (the demo clips), repeated, looped at
a known tempo, put in a known order, transposed, panned, stepped in level, reverberated, and mixed with noise.

SNR: power of the sounds while they sound over power of the noise, both over the whole band.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from datagen.seeds import derive

RATE = 16_000
CLIPS = Path(__file__).parent.parent / "datagen/sources/demo_clips"
ONE_SHOTS = (
    "bass_drum_hit",
    "cowbell_hit",
    "cymbal_soft",
    "snare_hit",
    "tom_low",
    "tom_high",
    "finger_snap",
    "crow_call",
    "hi_hat_open",
    "burp",
    "swish",
    "bell_ring",
    "piano_low",
)
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
    return shaped(
        np.fft.irfft(spectrum * np.where(bins > 40 * seconds, np.maximum(bins, 1) ** (-tilt / 2), 0)), 0.01, 0.03
    )


def transposed(signal: Signal, semitones: float) -> Signal:
    ratio = 2 ** (semitones / 12)
    return shaped(soxr.resample(signal, RATE * ratio, RATE, "HQ"), 0.001, 0.02)


def gain(signal: Signal, db: float) -> Signal:
    return (signal * 10 ** (db / 20)).astype(np.float32)


# ------------------------------------------------------------------------------------------------- putting it together


def mix(
    rng: np.random.Generator,
    placed: Sequence[Placed],
    seconds: float,
    snr: float | None,
    room: bool,
    stereo: bool,
    pan: tuple[float, float] | None = None,
) -> np.ndarray:
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


def row(
    rng: np.random.Generator, signals: Sequence[Signal], least: float = 0.3, most: float = 1.0
) -> tuple[list[float], float]:
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
    return Scene(
        "counted",
        mix(rng, placed, seconds, snr, room, False),
        ("counting", "timing", "pauses"),
        truth,
        snr,
        room,
        recorded,
        tuple(placed),
    )


def overlapping(rng: np.random.Generator, snr: float | None, room: bool) -> Scene:
    """Ringing sounds that begin before the last one has died away."""
    names = rng.choice(
        ["bell_ring", "cymbal_soft", "piano_low", "hi_hat_open", "cowbell_hit"], int(rng.integers(1, 3)), False
    )
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
    return Scene(
        "joined",
        mix(rng, placed, 0.5 * count, snr, room, False),
        ("pitch direction",),
        truth,
        snr,
        room,
        False,
        tuple(placed),
    )


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
    return Scene(
        "accelerated",
        mix(rng, placed, float(times[-1]) + 1.0, snr, room, False),
        ("rhythm",),
        truth,
        snr,
        room,
        recorded,
        tuple(placed),
    )


def sequenced(rng: np.random.Generator, snr: float | None, room: bool) -> Scene:
    """Two to four different recorded sounds."""
    names = rng.choice(ONE_SHOTS, int(rng.integers(2, 5)), replace=False)
    signals = [gain(recording(str(name)), float(rng.uniform(-6, 0))) for name in names]
    times, seconds = row(rng, signals)
    placed = [Placed(t, s) for t, s in zip(times, signals, strict=True)]
    return Scene(
        "sequenced",
        mix(rng, placed, seconds, snr, room, False),
        ("order", "brightness", "counting"),
        {},
        snr,
        room,
        True,
        tuple(placed),
    )


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
    return Scene(
        "melodic", mix(rng, placed, seconds, snr, room, False), skills, truth, snr, room, recorded, tuple(placed)
    )


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
    return Scene(
        "gliding",
        mix(rng, placed, len(signal) / RATE + 0.6, snr, room, False),
        ("pitch direction",),
        truth,
        snr,
        room,
        False,
        tuple(placed),
    )


def stepped(rng: np.random.Generator, snr: float | None, room: bool) -> Scene:
    """One sound at 2 to 5 levels: louder each time, softer each time, the same, or mixed."""
    signal, recorded, _ = one_shot(rng)
    count = int(rng.integers(2, 6))
    step = float(rng.uniform(4, max(4.5, min(8, 18 / (count - 1)))))
    word = str(rng.choice(["growing", "fading", "steady", "mixed"]))
    order = {
        "growing": np.arange(count),
        "fading": np.arange(count)[::-1],
        "steady": np.zeros(count),
        "mixed": rng.permutation(count),
    }[word]
    signals = [gain(signal, -step * float(count - 1 - k)) for k in order]
    times, seconds = row(rng, signals)
    placed = [Placed(t, s) for t, s in zip(times, signals, strict=True)]
    truth: dict[str, Any] = {"loudness": word if word != "mixed" and count > 2 else None}
    skills = ("loudness direction",) if truth["loudness"] else ("loudness comparison",)
    return Scene(
        "stepped", mix(rng, placed, seconds, snr, room, False), skills, truth, snr, room, recorded, tuple(placed)
    )


def swelling(rng: np.random.Generator, snr: float | None, room: bool) -> Scene:
    """One even sound that grows, fades, stays or swells."""
    recorded, seconds = bool(rng.random() < 0.5), float(rng.uniform(2.0, 3.0))
    signal = (
        recording(str(rng.choice(SUSTAINED)), seconds) if recorded else tone(float(rng.uniform(120, 800)), seconds, 4)
    )
    word, depth = str(rng.choice(["growing", "fading", "steady", "swelling"])), float(rng.uniform(12, 30))
    shape = {
        "growing": np.linspace(-depth, 0, len(signal)),
        "fading": np.linspace(0, -depth, len(signal)),
        "steady": np.zeros(len(signal)),
        "swelling": -depth * np.abs(np.linspace(-1, 1, len(signal))),
    }[word]
    placed = [Placed(0.0, (signal * 10 ** (shape / 20)).astype(np.float32))]
    return Scene(
        "swelling",
        mix(rng, placed, len(signal) / RATE, snr, room, False),
        ("loudness direction",),
        {"loudness": word},
        snr,
        room,
        recorded,
        tuple(placed),
    )


def sided(rng: np.random.Generator, snr: float | None, room: bool) -> Scene:
    """Two or three sounds, each at one side."""
    count = int(rng.integers(1, 4))
    made = [one_shot(rng) for _ in range(count)]
    sides = [float(rng.choice([-1, 1]) * rng.uniform(0.6, 1)) for _ in made]
    times, seconds = row(rng, [s for s, _, _ in made])
    placed = [Placed(t, s, None, side) for t, (s, _, _), side in zip(times, made, sides, strict=True)]
    same = len({side > 0 for side in sides}) == 1
    truth = {"position": ("right" if sides[0] > 0 else "left") if same else None}
    return Scene(
        "sided",
        mix(rng, placed, seconds, snr, room, True),
        ("spatial position",),
        truth,
        snr,
        room,
        any(r for _, r, _ in made),
        tuple(placed),
    )


def crossing(rng: np.random.Generator, snr: float | None, room: bool) -> Scene:
    """An even or a repeated sound that moves across."""
    if rng.random() < 0.5:
        recorded = bool(rng.random() < 0.5)
        signals = [recording(str(rng.choice(SUSTAINED)), 3.0) if recorded else burst(rng, 3.0, 1.0)]
    else:
        signal, recorded, _ = one_shot(rng)
        signals = [signal] * int(rng.integers(5, 9))
    times, _ = row(rng, signals, 0.2, 0.3)
    placed = [Placed(t - times[0], s) for t, s in zip(times, signals, strict=True)]
    end = placed[-1].time + len(signals[-1]) / RATE
    pan = (-1.0, 1.0) if rng.random() < 0.5 else (1.0, -1.0)
    truth = {"position": "left to right" if pan[0] < 0 else "right to left", "levels": None, "loudness": None}
    return Scene(
        "crossing",
        mix(rng, placed, end, snr, room, True, pan),
        ("spatial position",),
        truth,
        snr,
        room,
        recorded,
        tuple(placed),
    )


def hissing(rng: np.random.Generator, snr: float | None, room: bool) -> Scene:
    """Nothing but steady noise, or a held tone."""
    seconds = float(rng.uniform(2, 5))
    noise = bool(rng.random() < 0.5)
    f0 = float(rng.uniform(100, 1200))
    placed = [
        Placed(
            0.0,
            burst(rng, seconds, float(rng.uniform(0, 0.8))) if noise else tone(f0, seconds, 3),
            None if noise else f0,
        )
    ]
    truth: dict[str, Any] = {
        "character": "noise" if noise else "tone",
        "loudness": "steady",
        "f0": None if noise else f0,
    }
    truth["pitch"] = None if noise else "steady"
    skills = ("sound character",) if noise else ("sound character", "pitch height")
    return Scene(
        "hissing",
        mix(rng, placed, seconds, None if noise else snr, room, False),
        skills,
        truth,
        snr,
        room,
        False,
        tuple(placed),
    )


BUILDERS: tuple[Builder, ...] = (
    counted,
    overlapping,
    joined,
    looped,
    accelerated,
    sequenced,
    melodic,
    gliding,
    stepped,
    swelling,
    sided,
    crossing,
    hissing,
)


def scenes(count: int, seed: int) -> list[Callable[[], Scene]]:
    """`count` scenes to be built: all builders and SNRs in turn, every fourth in a room."""

    def later(i: int) -> Callable[[], Scene]:
        rng = np.random.default_rng(derive(seed, "facts", i))
        builder, snr = BUILDERS[i % len(BUILDERS)], SNRS[(i // len(BUILDERS)) % len(SNRS)]
        return lambda: builder(rng, snr, bool(rng.random() < 0.25))

    return [later(i) for i in range(count)]
