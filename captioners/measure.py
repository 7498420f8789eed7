"""Signals → numbers: band powers, sound events, pitch, tempo and position, each with how far it can be trusted.

Everything is a function of the samples alone. Times are seconds, levels decibels; frames are 10 ms apart and 32 ms
long, frame i is centred on i · 10 ms. What is measured here is turned into facts and words in `acoustic.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Bands", "Event", "Pulse", "attacks", "bands", "decibels", "events", "hann", "pulse", "smooth"]

Array = NDArray[np.float32]
STEP = 0.01
"""Seconds from frame to frame."""
BANDS = 24
SILENT = 1e-9
"""Band power of -90 dB re full scale: what lies below counts as silence."""
DEPTH = 1e-6
"""-60 dB: what lies so far below the strongest band is not looked at."""
CLOSE = 0.18
"""Seconds between onsets below which nobody counts by ear, and two bumps may well be one sound."""
HEADROOM = 6.0
"""dB by which the highest peak passes the least one looked for: sounds softer by this much would have been found."""
TONAL = 10.0
"""dB by which one band of the background passes its neighbours, from which it is a held tone rather than noise."""
RESTLESS = 5.0
"""dB by which the mean between events passes the background, from which it is no steady background."""
BLOCK = 3000
"""Frames transformed at once, so that ten minutes need no more memory than half a minute."""


@dataclass(frozen=True)
class Bands:
    """Power of 24 mel bands from 50 Hz to the Nyquist frequency."""

    power: Array
    """(channels, frames, 24), mean square re full scale"""
    floor: Array
    """(channels, 24): the steady background, at least 60 dB below the strongest band"""
    centres: Array
    """(24,) Hz"""

    @property
    def total(self) -> Array:
        """(frames, 24): mean over channels, so that sounds in opposite phase do not cancel."""
        return np.asarray(self.power.mean(axis=0))

    @property
    def background(self) -> Array:
        """(24,)"""
        return np.asarray(self.floor.mean(axis=0))


@dataclass(frozen=True)
class Event:
    """One sound that stands out of what is around it."""

    onset: float
    onset_range: tuple[float, float]
    offset: float
    offset_range: tuple[float, float]
    rise: float
    """dB above the quieter side of its surroundings, in its own bands"""
    start: int
    """Frames start .. stop are the loud part (within 20 dB of its peak, in its own bands)."""
    stop: int
    entire: bool
    """Begins after the recording does and ends before it."""


@dataclass(frozen=True)
class Pulse:
    """A regular beat."""

    bpm: float
    spread: float
    """Relative: half of the interval in which the truth is expected."""
    beats: int


@lru_cache(maxsize=8)
def _filters(size: int, rate: int) -> tuple[Array, Array]:
    """(bins, 24) weights that add the bins of each mel band, and the centres in Hz."""
    frequencies = np.fft.rfftfreq(size, 1 / rate)
    low, high = (2595 * np.log10(1 + f / 700) for f in (50.0, rate / 2))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 1) / 2595) - 1)
    weights = ((frequencies[:, None] >= edges[:-1]) & (frequencies[:, None] < edges[1:])).astype(np.float32)
    return weights, np.sqrt(edges[:-1] * edges[1:]).astype(np.float32)


def _frames(signal: Array, size: int, hop: int, first: int, last: int) -> Array:
    """(last - first, size) view of `signal`, which is padded by size // 2 on both sides."""
    windows = np.lib.stride_tricks.sliding_window_view(signal, size)
    return np.asarray(windows[first * hop : (last - 1) * hop + 1 : hop])


def hann(size: int) -> Array:
    """A periodic Hann window."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)


def smooth(x: Array, frames: int) -> Array:
    """Running mean over `frames` along the first axis, shorter at the ends."""
    from scipy.ndimage import uniform_filter1d

    return np.asarray(np.maximum(uniform_filter1d(x, frames, axis=0, mode="nearest"), 0))


def decibels(x: Array) -> Array:
    """10 log10, finite for zero."""
    return np.asarray(10 * np.log10(np.maximum(x, 1e-12)))


def bands(channels: Array, rate: int) -> Bands:
    """Band powers of (channels, samples) float32; at least one frame."""
    from scipy import fft

    size, hop = int(rate * 0.032), round(rate * STEP)
    weights, centres = _filters(size, rate)
    window = hann(size)
    scale = 2 / (size * float((window**2).sum()))
    count = channels.shape[1] // hop + 1
    centred = channels - channels.mean(axis=1, keepdims=True)
    padded = np.pad(centred, ((0, 0), (size // 2, size // 2 + hop)))
    power = np.empty((len(channels), count, BANDS), np.float32)
    for c, signal in enumerate(padded):
        for first in range(0, count, BLOCK):
            last = min(first + BLOCK, count)
            spectrum = fft.rfft(_frames(signal, size, hop, first, last) * window, axis=1)
            power[c, first:last] = (spectrum.real**2 + spectrum.imag**2) @ weights * scale
    return Bands(power, _floor(power, weights.sum(axis=0)), centres)


def _floor(power: Array, bins: Array) -> Array:
    """The background of each channel and band, from its quietest 2 %, as minimum statistics do (Martin, 2001).

    The power of noise over `bins` bins and 30 ms is chi-squared; its 2 % quantile says what its mean is.
    """
    from scipy.special import gammaincinv

    least = max(SILENT, float(power.max(initial=0.0)) * DEPTH)
    freedom = 3.0 * bins  # overlapping Hann windows: 30 ms hold one and a half independent frames
    share = 2 * gammaincinv(freedom / 2, 0.02) / freedom
    quiet = np.stack([np.quantile(smooth(p, 3), 0.02, axis=0) for p in power])
    return np.asarray(np.maximum(quiet / share, least), np.float32)


def _excess(power: Array, floor: Array, frames: int) -> Array:
    """(frames, 24) dB above the background; 0 is the background itself."""
    return decibels(np.maximum(smooth(power, frames) / floor, 1.0))


def _salience(excess: Array, top: int = 5) -> Array:
    """(frames,): mean of the `top` bands that stand out most, so that a tone counts as much as a noise burst."""
    return np.asarray(np.partition(excess, BANDS - top, axis=1)[:, BANDS - top :].mean(axis=1))


def attacks(b: Bands) -> tuple[NDArray[np.int64], Array]:
    """Frames at which some bands rise suddenly above what they were in the last 120 ms, and by how many dB."""
    from scipy.ndimage import maximum_filter1d
    from scipy.signal import find_peaks

    level = _excess(b.total, b.background, 3)
    before = maximum_filter1d(
        level, 10, axis=0, origin=4, mode="constant", cval=3.0
    )  # frames t-9 .. t, or the background
    before = np.concatenate([np.full((2, BANDS), 3.0), before])[: len(level)]
    ahead = np.concatenate([level[2:], np.repeat(level[-1:], min(2, len(level)), axis=0)])[: len(level)]
    strength = _salience(np.maximum(ahead - before, 0))
    peaks, _ = find_peaks(np.concatenate([[0], strength, [0]]), height=2.0, distance=6)
    return peaks - 1, strength[peaks - 1]


def events(b: Bands) -> tuple[list[Event], bool]:
    """The events in order, and whether their number is beyond doubt.

    An event is a peak of the salience with a topographic prominence. The number is in doubt when some prominence lies
    between "clearly one" and "clearly none"; when two follow each other too fast to be told apart; when one is cut by
    an end of the recording and hardly stands out (it may be the background that sets in); when one sets in too slowly;
    when sounds a little softer would drown in the background; when something goes on between them; or when something
    strikes inside one.
    """
    from scipy.signal import find_peaks

    salience = _salience(_excess(b.total, b.background, 5))
    uneven = 1e-6 * np.arange(len(salience))  # equal peaks of one plateau would each count in full
    salience = np.concatenate([[0], salience + uneven, [0]])
    peaks, found = find_peaks(salience, prominence=3.0)
    if not len(peaks):
        return [], True
    least, sure, alike = _threshold(found["prominences"])
    sure &= bool(salience.max() >= least + HEADROOM)
    chosen = peaks[found["prominences"] >= least]
    if not len(chosen):
        return [], False
    valleys = [int(lo + np.argmin(salience[lo : hi + 1])) for lo, hi in pairwise(chosen)]
    edges = [0, *valleys, len(salience) - 1]
    fine = np.concatenate([[0], _salience(_excess(b.total, b.background, 1), 5), [0]])
    made = [
        _event(salience, fine, int(lo), int(peak), int(hi))
        for lo, peak, hi in zip(edges[:-1], chosen, edges[1:], strict=True)
    ]
    close = any(after.onset - before.onset < CLOSE for before, after in pairwise(made))
    cut = any(not event.entire and event.rise < 20 for event in made)
    slow = len(made) > 1 and any(event.onset_range[1] - event.onset_range[0] > 0.35 for event in made)
    return made, sure and not (close or cut or slow or _restless(b, made) or _struck_inside(b, made, alike))


def _restless(b: Bands, made: Sequence[Event]) -> bool:
    """Whether more goes on between the events than a steady, toneless background: soft sounds may be taken for it."""
    from scipy.ndimage import median_filter

    level = decibels(b.background)
    if float((level - median_filter(level, 7, mode="nearest")).max()) > TONAL:
        return True
    frames = np.arange(b.power.shape[1]) * STEP
    between = np.ones(len(frames), bool)
    for event in made:
        between &= (frames < event.onset_range[0] - 0.05) | (frames > event.offset_range[1] + 0.15)
    if between.sum() < 8:
        return False
    over = decibels(b.total[between].mean(axis=0) / b.background)
    return bool(np.sort(over)[-3:].mean() > RESTLESS)


def _threshold(prominences: Array) -> tuple[float, bool, bool]:
    """The least prominence in dB of an event, whether none lies near it, and whether the events are much alike.

    Where the highest are much alike and all others less than a third of them, these are taken for crackle or wobble.
    """
    ranked = np.sort(np.append(prominences, 0.0))[::-1]
    highest = float(ranked[0])
    clear = max(6.0, 0.2 * highest)
    lowest, rest = float(ranked[ranked >= clear].min(initial=np.inf)), float(ranked[ranked < clear].max())
    if rest <= min(max(3.2, 0.09 * highest), 0.5 * lowest):
        return clear, True, False
    for high, low in pairwise(ranked[1:]):
        if high >= max(10.0, 0.7 * highest) and low <= 0.3 * high:
            return float(high), True, True
    return clear, False, False


def _event(salience: Array, fine: Array, lo: int, peak: int, hi: int) -> Event:
    """The event around `peak` between the valleys `lo` and `hi` (frames, counted from 1)."""
    top = float(salience[peak])
    base_before, base_after = float(salience[lo]), float(salience[hi])

    def limit(depth: float, share: float) -> float:
        return max(top - depth, base_before + share * (top - base_before))

    def last_below(level: float, before: int) -> int:
        below = np.flatnonzero(fine[lo:before] < level)
        return lo + int(below[-1]) + 1 if len(below) else lo

    reached = lo + int(np.argmax(fine[lo : peak + 1] >= min(limit(9, 0.7), float(fine[lo : peak + 1].max()))))
    on = last_below(limit(18, 0.5), reached)
    early = last_below(limit(35, 0.25), on)

    def falling(depth: float, share: float) -> float:
        level = max(top - depth, base_after + share * (top - base_after))
        above = np.nonzero(salience[peak : hi + 1] >= level)[0]
        return peak + float(above[-1])

    def seconds(frame: float) -> float:
        return max(0.0, (frame - 1) * STEP)

    off = falling(25, 0.25)
    loud = np.nonzero(salience[lo : hi + 1] >= max(top - 20, 0.3 * top))[0] + lo - 1
    near = loud[(loud >= on - 1) & (loud <= off - 1)]
    return Event(
        onset=seconds(on) + 0.005,
        onset_range=(seconds(early) - 0.02, seconds(reached) + 0.03),
        offset=seconds(off),
        offset_range=(seconds(falling(14, 0.5)) - 0.03, seconds(falling(40, 0.1)) + 0.03),
        rise=top - min(base_before, base_after),
        start=int(near[0]) if len(near) else peak - 1,
        stop=int(near[-1]) + 1 if len(near) else peak,
        entire=on > 3 and off < len(salience) - 4,
    )


def _struck_inside(b: Bands, made: Sequence[Event], alike: bool) -> bool:
    """Whether an attack falls where no event begins; one that is faint beside like events does not count."""
    frames, strength = attacks(b)
    if not len(frames):
        return False
    starts = np.array([e.onset_range for e in made])
    times = frames[:, None] * STEP
    at_start = ((times > starts[:, 0] - 0.1) & (times < starts[:, 1] + 0.1)).any(axis=1)
    limit = max(3.0, (0.3 * float(strength[at_start].min(initial=10.0))) if alike else 0.12 * float(strength.max()))
    return bool(np.any(strength[~at_start] > limit))


def pulse(b: Bands) -> Pulse | None:
    """The beat, when at least four strong attacks fall on an even grid and weak ones do not make it doubtful.

    The strength of an attack is a rise of amplitude, not of decibels, so that a soft hi-hat between beats stays weak.
    """
    from scipy.signal import find_peaks

    amplitude = np.sqrt(smooth(b.total, 2) / max(float(b.total.max()), 1e-12))
    past = np.concatenate([amplitude[:1].repeat(min(4, len(amplitude)), axis=0), amplitude[:-4]])[: len(amplitude)]
    rise = np.maximum(amplitude - past, 0).sum(axis=1)
    peaks, found = find_peaks(
        np.concatenate([np.zeros(1), rise, np.zeros(1)]), height=0.05 * rise.max(initial=0) + 1e-6, distance=9
    )
    times, strength = (peaks - 1) * STEP, found["peak_heights"]
    if len(times) < 4:
        return None
    strong = times[strength >= 0.5 * np.quantile(strength, 0.9)]
    return _grid(strong, times)


def _grid(strong: Array, every: Array) -> Pulse | None:
    """The period on which all of the `strong` times lie, unless `every` time says something else."""
    if len(strong) < 4:
        return None
    gaps = np.diff(strong)
    period = float(np.median(gaps))
    steps = np.rint(gaps / period)
    if (
        not 0.25 <= period <= 2.0
        or np.any(steps != 1)
        or np.any(np.abs(gaps - period) > np.maximum(0.07 * period, 0.025))
    ):
        return None
    index = np.arange(len(strong))
    slope, start = np.polyfit(index, strong, 1)
    error = float(np.abs(strong - (start + slope * index)).max())
    bpm = 60 / float(slope)
    return Pulse(bpm, max(0.01, 2 * error / float(strong[-1] - strong[0])), len(strong)) if every.size else None
