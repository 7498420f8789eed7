"""Is this the same recording? Landmarks of the spectrum (Wang 2003, "An industrial-strength audio search algorithm").

Pairs of neighbouring spectral peaks are hashed by their two frequencies and the time between them. A copy of a
recording shares many of them *at one shift of time*, whatever its gain, codec, rate or cut; another recording shares
few and at any shift. Silence has none, and clips under 1.5 s have too few: equal decoded audio is found by its hash.

    index = Index([("mmau/1", landmarks(samples)), …])          the few clips of a benchmark
    index.matches(landmarks(other))                             one clip of a corpus, against all of them

Recall after MP3, gain, cut and noise, and false alarms: `python benchmarks/fingerprints.py` (docs/leakage.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["RATE", "Index", "Landmarks", "Match", "landmarks"]

RATE = 16_000
"""Hz of the samples."""
FRAME, HOP = 1024, 256
"""Samples of a spectrum (64 ms) and between two (16 ms)."""
SILENT = 1e-3
"""Magnitude of a sine 18 dB below the last of 16 bits."""
LOWEST = 4
"""The first bin that counts (62 Hz): below is rumble."""
REACH_BINS, REACH_FRAMES = 5, 4
"""A peak is the greatest value within so many bins and frames to each side."""
DENSITY = 50
"""Peaks kept of each second, the most prominent first."""
NEIGHBOURS, PAIRS = 24, 12
"""Later peaks that a peak may be paired with, and the most pairs that begin in one frame, the nearest first."""
MOST_BINS, MOST_FRAMES = 63, 63
"""The widest pair: about 1 kHz and 1 s apart."""
FLOOR = 1e-4
"""Of the loudest bin (-80 dB): below it is codec noise."""
LEAST_SHARED = 8
"""Different hashes at one shift; fewer are met by chance among tones."""
LEAST_SHARE = 0.08
"""Of the hashes of the clip that has fewer."""

Landmarks = tuple["NDArray[np.uint32]", "NDArray[np.int32]"]


@dataclass(frozen=True, slots=True)
class Match:
    """One clip of an index that holds the same audio."""

    name: str
    shared: int
    """Different hashes that both have at this shift."""
    share: float
    """Of the hashes of the clip that has fewer, at most 1."""
    shift: float
    """Seconds into the indexed clip at which the other begins; negative where it begins earlier."""


def landmarks(samples: NDArray[Any]) -> Landmarks:
    """(hashes uint32, frames int32) of float samples (n,) at 16 kHz, in order of time; empty for silence."""
    frames, bins = _peaks(np.asarray(samples, dtype=np.float32))
    hashes: list[NDArray[np.uint32]] = []
    times: list[NDArray[np.int32]] = []
    # The k-th neighbour in time of every peak at once; far ones are wide pairs and fall out.
    for k in range(1, NEIGHBOURS + 1):
        if k >= len(frames):
            break
        apart, interval = frames[k:] - frames[:-k], bins[k:] - bins[:-k]
        fits = (apart >= 1) & (apart <= MOST_FRAMES) & (np.abs(interval) <= MOST_BINS)
        packed = (bins[:-k] << 13) | ((interval + 64) << 6) | apart
        hashes.append(packed[fits].astype(np.uint32))
        times.append(frames[:-k][fits].astype(np.int32))
    if not hashes:
        return np.empty(0, np.uint32), np.empty(0, np.int32)
    time, pairs = np.concatenate(times), np.concatenate(hashes)
    order = np.argsort(time, kind="stable")
    return _thinned(pairs[order], time[order])


def _thinned(hashes: NDArray[np.uint32], times: NDArray[np.int32]) -> Landmarks:
    """At most PAIRS of each frame: rows come sorted by frame, and within one in order of distance."""
    starts = np.flatnonzero(np.r_[True, times[1:] != times[:-1]])
    rank = np.arange(len(times)) - np.repeat(starts, np.diff(np.r_[starts, len(times)]))
    keep = rank < PAIRS
    return hashes[keep], times[keep]


def _peaks(samples: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(frame, bin) of the peaks, in order of frame, then bin."""
    from scipy.ndimage import maximum_filter, uniform_filter

    none = np.empty(0, np.int64)
    if len(samples) < FRAME:
        samples = np.pad(samples, (0, FRAME - len(samples)))
    samples = samples - samples.mean()
    windows = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP]
    power = np.abs(np.fft.rfft(windows * np.hanning(FRAME).astype(np.float32), axis=1))[:, : FRAME // 2]
    power[:, :LOWEST] = 0
    loudest = float(power.max(initial=0.0))
    if loudest <= SILENT:
        return none, none
    level = np.log(np.maximum(power, loudest * FLOOR)).astype(np.float32)
    tops = level == maximum_filter(level, size=(2 * REACH_FRAMES + 1, 2 * REACH_BINS + 1))
    tops &= power > loudest * FLOOR
    frame, place = np.nonzero(tops)
    prominence = (level - uniform_filter(level, size=(4 * REACH_FRAMES + 1, 4 * REACH_BINS + 1)))[frame, place]
    second = frame // (RATE // HOP)
    order = np.lexsort((place, frame, -prominence, second))
    starts = np.flatnonzero(np.r_[True, second[order][1:] != second[order][:-1]])
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    kept = np.sort(order[rank < DENSITY])
    return frame[kept], place[kept]


class Index:
    """Landmarks of many clips, sorted by hash: 12 bytes each, some 200 a second of audio."""

    def __init__(self, clips: Sequence[tuple[str, Landmarks]]) -> None:
        self.names = [name for name, _ in clips]
        self.sizes = np.array([len(hashes) for _, (hashes, _) in clips], dtype=np.int64)
        hashes = np.concatenate([marks[0] for _, marks in clips] or [np.empty(0, np.uint32)])
        order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[order]
        self._times = np.concatenate([marks[1] for _, marks in clips] or [np.empty(0, np.int32)])[order]
        self._clips = np.repeat(np.arange(len(clips), dtype=np.int32), self.sizes)[order]

    def matches(self, marks: Landmarks) -> list[Match]:
        """The indexed clips that hold the same audio, most shared first."""
        hashes, times = marks
        low, high = np.searchsorted(self._hashes, hashes, "left"), np.searchsorted(self._hashes, hashes, "right")
        count = high - low
        if not count.sum():
            return []
        query = np.repeat(np.arange(len(hashes)), count)
        found = np.arange(len(query)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low, count)
        shift = self._times[found].astype(np.int64) - times[query]
        best: dict[str, Match] = {}
        for slack in (0, 1):
            for match in self._votes(hashes[query], self._clips[found], shift, slack, len(hashes)):
                if match.name not in best or match.shared > best[match.name].shared:
                    best[match.name] = match
        return sorted(best.values(), key=lambda match: (-match.shared, match.name))

    def _votes(
        self, hashes: NDArray[np.uint32], clips: NDArray[np.int32], shift: NDArray[np.int64], slack: int, size: int
    ) -> list[Match]:
        """Different hashes for each (clip, shift in steps of two frames), for one of the two ways to cut the steps."""
        step = (shift + slack) // 2 + (1 << 24)
        key = (clips.astype(np.int64) << 26) | step
        pairs = np.unique(np.stack([key, hashes.astype(np.int64)]), axis=1)
        keys, shared = np.unique(pairs[0], return_counts=True)
        some = shared >= LEAST_SHARED
        found = []
        for key_, number in zip(keys[some].tolist(), shared[some].tolist(), strict=True):
            clip, at = key_ >> 26, (key_ & ((1 << 26) - 1)) - (1 << 24)
            share = min(1.0, number / max(1, min(size, int(self.sizes[clip]))))
            if share >= LEAST_SHARE:
                found.append(Match(self.names[clip], number, share, (at * 2 - slack) * HOP / RATE))
        return found
