"""The measured facts of signals whose truth is known, and of signals that say nothing."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import facts as benchmark
import numpy as np
import pytest
from scenes import RATE, Placed, burst, gain, glide, mix, recording, scenes, tone

from datagen.captioners import acoustic
from datagen.captioners.acoustic import Acoustic
from datagen.captioners.wording import describe
from datagen.records import Clip, Fact

RNG = np.random.default_rng


def measured(*placed: Placed, seconds: float, snr: float | None = 20.0, stereo: bool = False, **how) -> dict[str, Fact]:
    channels = mix(RNG(1), placed, seconds, snr, False, stereo, **how)
    return {fact.name: fact for fact in acoustic.facts(channels, RATE)}


def repeated(signal: np.ndarray, times: list[float], sides: list[float] | None = None) -> list[Placed]:
    return [Placed(t, signal, None, side) for t, side in zip(times, sides or [0.0] * len(times), strict=True)]


# -------------------------------------------------------------------------------------- truth at 20 dB SNR


@pytest.mark.parametrize("bpm", [52, 76, 100, 133, 168])
@pytest.mark.parametrize("name", ["cowbell_hit", "snare_hit", "tom_low"])
def test_tempo_within_4_percent(bpm, name):
    beats = repeated(recording(name, 0.3), [0.2 + i * 60 / bpm for i in range(8)])
    assert measured(*beats, seconds=0.5 + 8 * 60 / bpm)["tempo"].value == pytest.approx(bpm, rel=0.04)


@pytest.mark.parametrize("f0", [70, 110, 262, 440, 997, 1760])
@pytest.mark.parametrize("partials", [1, 3, 8])
def test_f0_within_3_percent(f0, partials):
    fact = measured(Placed(0.3, tone(f0, 1.5, partials)), seconds=2.1)["pitch.f0"]
    assert fact.value == pytest.approx(f0, rel=0.03)
    assert fact.low <= f0 <= fact.high


@pytest.mark.parametrize("name", ["cowbell_hit", "finger_snap", "tom_high", "snare_hit", "crow_call"])
@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_onsets_within_50_ms_and_count_exact(name, count):
    times = [0.4 + 0.9 * i + 0.07 * (i % 3) for i in range(count)]
    found = measured(*repeated(recording(name, 0.5), times), seconds=1.2 + 0.9 * count)
    assert found["event.count"].value == count
    for i, time in enumerate(times, 1):
        assert found[f"event.{i}.onset"].value == pytest.approx(time, abs=0.05)


@pytest.mark.parametrize("word", ["growing", "fading"])
def test_loudness_steps(word):
    levels = [-18, -12, -6, 0] if word == "growing" else [0, -6, -12, -18]
    placed = [Placed(0.3 + 0.8 * i, gain(recording("tom_high", 0.5), db)) for i, db in enumerate(levels)]
    found = measured(*placed, seconds=3.6, snr=30.0)
    assert found["loudness.direction"].text == word
    assert found["loudness.change"].value == pytest.approx(levels[-1] - levels[0], abs=2)


@pytest.mark.parametrize(("ends", "word"), [((0, -20), "fading"), ((-20, 0), "growing"), ((0, 0), "steady")])
def test_loudness_of_one_sound(ends, word):
    held = burst(RNG(2), 3.0, 1.0)
    shaped = (held * 10 ** (np.linspace(*ends, len(held)) / 20)).astype(np.float32)
    assert measured(Placed(0.0, shaped), seconds=3.0, snr=None)["loudness.direction"].text == word


@pytest.mark.parametrize(
    ("signal", "word"),
    [
        (glide(200, 600, 2.0), "rising"),
        (glide(600, 200, 2.0), "falling"),
        (glide(200, 500, 1.0, 200), "arched"),
        (tone(300, 2.0, 4), "steady"),
    ],
)
def test_pitch_direction(signal, word):
    assert measured(Placed(0.2, signal), seconds=len(signal) / RATE + 0.4)["pitch.direction"].text == word


def test_order_by_pitch_and_brightness():
    found = measured(Placed(0.3, tone(300, 0.4, 3)), Placed(1.2, tone(900, 0.4, 3)), seconds=2.0)
    assert found["event.1.pitch"].high < found["event.2.pitch"].low
    assert found["event.1.brightness"].high < found["event.2.brightness"].low


@pytest.mark.parametrize(("side", "word"), [(-1.0, "left"), (1.0, "right"), (0.0, "middle")])
def test_side(side, word):
    placed = repeated(recording("cowbell_hit", 0.5), [0.3, 1.1, 1.9], [side] * 3)
    assert measured(*placed, seconds=2.8, stereo=True)["side"].text == word


@pytest.mark.parametrize(("pan", "word"), [((-1.0, 1.0), "left to right"), ((1.0, -1.0), "right to left")])
def test_movement(pan, word):
    found = measured(Placed(0.0, burst(RNG(3), 3.0, 1.0)), seconds=3.0, stereo=True, pan=pan)
    assert found["movement"].text == word


def test_silence_is_measured_at_both_ends_and_between():
    found = measured(*repeated(burst(RNG(4), 0.5, 0.0), [0.4, 1.6]), seconds=3.0, snr=None)
    truth = {"silence.leading": 0.4, "silence.trailing": 0.9, "pause.longest": 0.7}
    assert {name: found[name].value for name in truth} == pytest.approx(truth, abs=0.04)
    assert found["silence.share"].value == pytest.approx(2 / 3, abs=0.03)


def test_every_interval_holds_its_value():
    for build in scenes(24, 5):
        for fact in acoustic.facts(build().channels, RATE):
            assert fact.value is None or fact.low is None or fact.low <= fact.value <= fact.high, fact


# ----------------------------------------------------------------------------- what cannot be said is not said


def test_no_count_of_what_runs_together():
    """A fast roll: nobody counts it."""
    roll = repeated(recording("snare_hit", 0.2), [0.3 + 0.09 * i for i in range(12)])
    assert "event.count" not in measured(*roll, seconds=2.0)


def test_one_sound_of_two_bumps_is_not_two():
    """A recorded burp swells twice within 150 ms."""
    found = measured(*repeated(recording("burp", 1.0), [0.3, 1.7]), seconds=3.0)
    assert "event.count" not in found or found["event.count"].value == 2


def test_no_pitch_of_a_chord():
    chord = np.sum([tone(f, 1.5, 3) for f in (220, 277, 330)], axis=0)
    assert "pitch.f0" not in measured(Placed(0.2, chord), seconds=2.0)


def test_soft_sounds_are_no_background():
    """Three soft notes without gaps, then three loud ones: not three sounds."""
    notes = [Placed(0.5 * i, gain(tone(330, 0.5, 2, 1.5), -20 if i < 3 else 0)) for i in range(6)]
    count = measured(*notes, seconds=3.0, snr=None).get("event.count")
    assert count is None or count.value == 6


def test_no_tempo_without_a_grid():
    uneven = repeated(recording("cowbell_hit", 0.3), [0.2, 0.6, 1.5, 1.8, 2.9, 3.3])
    assert "tempo" not in measured(*uneven, seconds=4.0)


def test_no_side_in_mono_and_none_for_more_than_two_channels():
    for channels in (1, 6):
        sound = np.tile(burst(RNG(6), 1.0, 0.0), (channels, 1))
        assert not {"side", "movement"} & {fact.name for fact in acoustic.facts(sound, RATE)}


EDGES = {
    "one sample": np.zeros((1, 1)),
    "50 ms": RNG(0).standard_normal((1, 800)) * 0.1,
    "silence": np.zeros((2, RATE)),
    "a constant": np.full((1, RATE), 0.5),
    "one click": np.eye(1, RATE, 8000),
    "below 16 bit": RNG(0).standard_normal((1, RATE)) * 1e-7,
    "clipped": np.clip(RNG(0).standard_normal((2, 3 * RATE)) * 9, -1, 1),
    "six channels": RNG(0).standard_normal((6, RATE)) * 0.1,
    "opposite phase": np.outer([1, -1], burst(RNG(7), 1.0, 0.0)),
}


@pytest.mark.parametrize("name", EDGES)
def test_any_input_gives_finite_facts_and_a_sentence(name):
    found = acoustic.facts(EDGES[name].astype(np.float32), RATE)
    numbers = [x for fact in found for x in (fact.value, fact.low, fact.high) if x is not None]
    assert np.all(np.isfinite(numbers))
    assert describe(found).startswith("The recording lasts ")


@pytest.mark.parametrize("name", ["silence", "a constant", "below 16 bit"])
def test_silence_is_said_to_be_silent(name):
    assert (
        describe(acoustic.facts(EDGES[name].astype(np.float32), RATE)) == "The recording lasts 1 second. It is silent."
    )


def test_ten_minutes_stay_small():
    import tracemalloc

    sound = np.tile(burst(RNG(8), 10.0, 0.0), (1, 60))
    tracemalloc.start()
    acoustic.facts(sound, RATE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400e6


def test_equal_samples_give_equal_captions():
    context: object = None
    sound = scenes(12, 9)[3]().channels
    audio = SimpleNamespace(channels=sound, rate=RATE)
    one, two = (asyncio.run(Acoustic(context).caption(Clip("x/1", "x", ""), audio)) for _ in range(2))
    assert one == two
    assert [(c.captioner, c.aspect, c.index) for c in one] == [("acoustic", "acoustics", 0)]


# -------------------------------------------------------------------------------------------- the benchmark


@pytest.fixture(scope="module")
def result():
    return benchmark.summary(benchmark.run(195, seed=7))


def test_answers_are_right(result):
    assert result["overall"]["answers"] >= 500
    assert result["overall"]["accuracy"] >= 0.95
    assert result["without_easy"]["accuracy"] >= 0.95


@pytest.mark.parametrize("name", ["tempo ±4 %", "f0 ±3 %", "onset ±50 ms", "count exact"])
def test_tolerances_at_20_db(result, name):
    assert result["tolerance_at_20_db"][name]["within"] > 0
    assert result["tolerance_at_20_db"][name].get("outside", 0) == 0


def test_wrong_answers_are_found_wrong(monkeypatch):
    """The checker is no rubber stamp: with every answer swapped for another choice nearly all are wrong."""
    from dataclasses import replace

    ask = benchmark.Rules.write

    async def swapped(self, clip, captions):
        found = await ask(self, clip, captions)
        others = [(q.answer_index + 1) % len(q.choices) for q in found]
        return [replace(q, answer=q.choices[i], answer_index=i) for q, i in zip(found, others, strict=True)]

    monkeypatch.setattr(benchmark.Rules, "write", swapped)
    assert benchmark.summary(benchmark.run(39, seed=7))["overall"]["accuracy"] < 0.05
