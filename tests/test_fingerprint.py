"""Copies of a recording are found by their landmarks, and other recordings are not."""

from __future__ import annotations

import numpy as np
import pytest
from fingerprints import FORMS, made

from datagen.fingerprint import RATE, Index, landmarks


@pytest.fixture(scope="module")
def clips():
    clips, related = made(8)
    assert not related
    return clips


@pytest.fixture(scope="module")
def index(clips):
    return Index([(name, landmarks(samples)) for name, samples in clips.items()])


@pytest.mark.parametrize("form", [form for form in FORMS if not form.startswith("noise")])
def test_a_changed_copy_is_found_and_no_other(form, clips, index):
    for number, (name, samples) in enumerate(clips.items()):
        found = index.matches(landmarks(FORMS[form](samples, number)))
        assert [match.name for match in found] == [name]


def test_the_shift_is_where_the_cut_begins(clips, index):
    samples = clips["made/3"]
    for start in (0.0, 1.234, 4.5):
        match = index.matches(landmarks(samples[int(start * RATE) :]))[0]
        assert match.name == "made/3"
        assert match.shift == pytest.approx(start, abs=0.04)
        assert 0 < match.share <= 1


def test_a_longer_recording_that_holds_the_clip_is_found(clips, index):
    inside = np.concatenate([clips["made/1"][: 5 * RATE] * 0.5, clips["made/7"]])
    found = {match.name: match.shift for match in index.matches(landmarks(inside))}
    assert found.keys() == {"made/1", "made/7"}
    assert found["made/7"] == pytest.approx(-5, abs=0.04)


@pytest.mark.parametrize("samples", [np.zeros(RATE), np.zeros(0), np.zeros(10), np.full(RATE, 0.5)])
def test_silence_and_nothing_match_nothing(samples, index):
    marks = landmarks(samples)
    assert len(marks[0]) < 8
    assert not index.matches(marks)
    assert not Index([]).matches(marks)


def test_noise_is_no_copy_of_noise():
    noise = [np.random.default_rng(seed).normal(size=10 * RATE).astype(np.float32) for seed in range(6)]
    index = Index([(str(seed), landmarks(samples)) for seed, samples in enumerate(noise)])
    assert [[match.name for match in index.matches(landmarks(samples))] for samples in noise] == [[c] for c in "012345"]
