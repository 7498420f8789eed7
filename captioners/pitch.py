"""Fundamental frequency by autocorrelation, frame by frame, with how clear it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datagen.captioners.measure import BLOCK, STEP, Array, hann

__all__ = ["Pitch", "pitch"]


@dataclass(frozen=True)
class Pitch:
    """Fundamental frequency of frames 20 ms apart; 0 where none is clear."""

    f0: Array
    """(frames,) Hz"""
    clarity: Array
    """(frames,) 0..1: share of the power that repeats at f0"""
    step: float = 0.02


def pitch(mono: Array, rate: int, active: NDArray[np.bool_]) -> Pitch:
    """f0 from 55 to 2500 Hz of the frames named by `active` (10 ms apart), every second one looked at.

    The autocorrelation of 64 ms, from the power spectrum less that of the inactive frames; the first of its maxima that
    reaches 0.9 of the highest (McLeod and Wyvill, "A smarter way to find pitch", 2005). A frame whose spectrum has
    nothing at f0, 2 f0 or 3 f0 is left out: a chord repeats at a frequency that nobody plays.
    """
    size, hop = int(rate * 0.064), round(rate * STEP) * 2
    wanted = active[::2]
    f0, clarity = np.zeros(len(wanted), np.float32), np.zeros(len(wanted), np.float32)
    padded = np.pad(mono - mono.mean(), (size // 2, size // 2 + hop))
    noise = _noise(padded, size, hop, wanted)
    chosen = np.nonzero(wanted)[0]
    for first in range(0, len(chosen), BLOCK):
        block = chosen[first : first + BLOCK]
        f0[block], clarity[block] = _autocorrelate(padded, size, hop, block, noise, rate)
    return Pitch(f0, clarity)


def _spectra(padded: Array, size: int, hop: int, frames: NDArray[np.int64]) -> Array:
    from scipy import fft

    windows = np.lib.stride_tricks.sliding_window_view(padded, size)
    spectrum = fft.rfft(windows[np.minimum(frames * hop, len(windows) - 1)] * hann(size), 2 * size, axis=1)
    return np.asarray(spectrum.real**2 + spectrum.imag**2)


def _noise(padded: Array, size: int, hop: int, wanted: NDArray[np.bool_]) -> Array | float:
    """Mean power spectrum of up to 100 of the frames that are not wanted; 0 when there are fewer than 5."""
    quiet = np.nonzero(~wanted)[0]
    if len(quiet) < 5:
        return 0.0
    return np.asarray(_spectra(padded, size, hop, quiet[:: max(1, len(quiet) // 100)]).mean(axis=0))


def _autocorrelate(
    padded: Array, size: int, hop: int, frames: NDArray[np.int64], noise: Array | float, rate: int
) -> tuple[Array, Array]:
    from scipy import fft

    power = np.maximum(_spectra(padded, size, hop, frames) - noise, 0)
    power[:, : int(40 * 2 * size / rate)] = 0
    longest = int(rate / 55)
    window = fft.irfft(np.abs(fft.rfft(hann(size), 2 * size)) ** 2)[: longest + 2]
    r = fft.irfft(power, axis=1)[:, : longest + 2] / window
    r = r / np.maximum(r[:, :1], 1e-12)
    inner = (r[:, 1:-1] > r[:, :-2]) & (r[:, 1:-1] >= r[:, 2:])
    past = np.logical_or.accumulate(r[:, 1:-1] < 0.3, axis=1)  # beyond the peak at lag 0
    height = np.where(inner & past, r[:, 1:-1], -1.0)
    highest = height.max(axis=1)
    index = np.argmax(height >= 0.9 * np.maximum(highest, 1e-3)[:, None], axis=1) + 1
    rows = np.arange(len(r))
    a, p, c = r[rows, index - 1], r[rows, index], r[rows, np.minimum(index + 1, longest + 1)]
    lag = index + 0.5 * (a - c) / np.minimum(a - 2 * p + c, -1e-9)
    f0 = rate / np.maximum(lag, 1.0)
    good = (highest > 0) & (f0 <= 2500) & _supported(power, f0, 2 * size / rate)
    return np.where(good, f0, 0).astype(np.float32), np.where(good, np.clip(p, 0, 1), 0).astype(np.float32)


def _supported(power: Array, f0: Array, bins_per_hz: float) -> NDArray[np.bool_]:
    """Whether a harmonic 1, 2 or 3 is within 20 dB of the strongest bin, and no strong bin lies below f0."""
    rows, strongest = np.arange(len(power)), power.max(axis=1)
    found = np.zeros(len(power), bool)
    for harmonic in (1, 2, 3):
        centre = np.rint(harmonic * f0 * bins_per_hz).astype(int)
        near = [power[rows, np.clip(centre + d, 0, power.shape[1] - 1)] for d in (-2, -1, 0, 1, 2)]
        found |= np.max(near, axis=0) > 0.01 * strongest
    cumulative = np.cumsum(power, axis=1)
    below = cumulative[rows, np.clip((0.75 * f0 * bins_per_hz).astype(int) - 2, 0, power.shape[1] - 1)]
    return np.asarray(found & (below < 0.1 * cumulative[:, -1]))
