"""Questions made by rule: true, closed, balanced, and of many kinds."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.plugins import Context
from datagen.questions.drawing import View
from datagen.questions.forms import FORMS
from datagen.questions.rules import Rules
from datagen.questions.vocabulary import distractors, domain
from datagen.records import Caption, Clip, Fact, Question

DEMO = Path(__file__).parent.parent / "datagen/sources/demo_clips"
VOCABULARY = {"bell": 3, "crow": 2, "dog barking": 4, "guitar": 3, "rain": 2, "speech": 9, "whoosh": 2, "zipper": 1}


def context(n: int = 99, seed: int = 0, **more) -> Context:
    return Context(seed=seed, prompts=None, questions_per_clip=n, vocabulary=VOCABULARY, **more)


def number(name: str, value: float, spread: float = 0.0) -> Fact:
    return Fact(name, value, None, value - spread, value + spread)


def three_sounds() -> list[Fact]:
    facts = [number("duration", 4.0), number("event.count", 3)]
    pitches, levels, brightness, sides = (300, 900, 500), (-34, -10, -22), (400, 2000, 900), (12, -12, 12)
    for i in range(3):
        start = (0.5, 1.2, 2.9)[i]
        facts += [number(f"event.{i + 1}.onset", start, 0.02), number(f"event.{i + 1}.offset", start + 0.3, 0.05),
                  number(f"event.{i + 1}.pitch", pitches[i], 5), number(f"event.{i + 1}.level", levels[i], 1),
                  number(f"event.{i + 1}.brightness", brightness[i], 30),
                  number(f"event.{i + 1}.side", sides[i], 1)]  # fmt: skip
    return facts


def two_sounds() -> list[Fact]:
    facts = [number("duration", 3.0), number("event.count", 2)]
    for i, (start, length, pitch, level) in enumerate([(0.5, 0.2, 300, -30), (1.2, 1.0, 900, -10)], 1):
        facts += [number(f"event.{i}.onset", start, 0.02), number(f"event.{i}.offset", start + length, 0.03),
                  number(f"event.{i}.pitch", pitch, 5), number(f"event.{i}.level", level, 1),
                  number(f"event.{i}.brightness", pitch, 20)]  # fmt: skip
    return facts


WHOLE = [
    number("pause.longest", 0.8, 0.03), number("silence.leading", 0.5, 0.02), number("silence.trailing", 0.0, 0.01),
    number("silence.share", 0.5, 0.02), number("loudest.at", 0.5, 0.02), number("pitch.f0", 440, 5),
    number("tempo", 100, 1), Fact("loudness.direction", None, "growing"), Fact("pitch.direction", None, "rising"),
    Fact("spacing", None, "even"), Fact("energy", 0.9, "low"), Fact("side", -10, "left"),
    Fact("character", None, "tone"),
]  # fmt: skip


def ask(facts: list[Fact], labels: tuple[str, ...] = ("crow",), clip: str = "x/1", **how) -> list[Question]:
    caption = Caption(clip, 0, "text", "acoustic", "acoustics", tuple(facts))
    return list(asyncio.run(Rules(context(**how)).write(Clip(clip, "x", "", labels=labels), [caption])))


def by_form(facts: list[Fact], form: str, labels: tuple[str, ...] = ("crow",)) -> Question | None:
    """The form's question, whichever of many clips its share lets it be asked of."""
    for i in range(60):
        for q in ask(facts, labels, f"x/{i}"):
            if q.provenance["form"] == form:
                return q
    return None


# ----------------------------------------------------------------------------------------------- the truth

ANSWERS = {
    "counting.events": "three",
    "duration.recording": "about 4 seconds",
    "timing.first": "about 0.5 seconds in",
    "timing.last": "about 2.9 seconds in",
    "timing.loudest": "in the middle third",
    "pauses.length": "about 0.8 seconds",
    "pauses.place": "between the second and the third",
    "silence.place": "only at the beginning",
    "silence.share": "about half of it",
    "loudness.direction": "it gets louder",
    "loudness.most": "the second sound",
    "pitch.direction": "it goes up",
    "pitch.most": "the second sound",
    "pitch.frequency": "about 440 Hz",
    "order.pitch": "the lowest, then the highest, then the middle one",
    "order.loudness": "the softest, then the loudest, then the middle one",
    "order.brightness": "the dullest, then the brightest, then the middle one",
    "spatial.order": "on the right, then on the left, then on the right",
    "spatial.position": "it stays on the left",
    "tempo.bpm": "about 100 beats per minute",
    "rhythm.spacing": "at an even pace",
    "brightness.range": "in the low range, below 500 Hz",
    "brightness.most": "the second sound",
    "character.kind": "a tone with a clear pitch",
    "source.label": "crow",
}
OF_TWO = {
    "loudness.compared": "the second sound is louder",
    "pitch.compared": "the second sound is higher",
    "brightness.compared": "the second sound is brighter",
    "order.length": "a short sound, then a long one",
}


@pytest.mark.parametrize(("form", "answer"), ANSWERS.items())
def test_answer_of_every_form(form, answer):
    question = by_form(three_sounds() + WHOLE, form)
    assert question is not None and question.answer == answer


@pytest.mark.parametrize(("form", "answer"), OF_TWO.items())
def test_answer_of_every_form_for_two_sounds(form, answer):
    question = by_form(two_sounds(), form)
    assert question is not None and question.answer == answer


def test_no_form_is_left_out_above():
    assert set(ANSWERS) | set(OF_TWO) == {form.id for form in FORMS}


def test_at_least_eight_skills_each_in_several_wordings():
    assert len({form.skill for form in FORMS}) >= 8
    assert all(len(form.wordings) >= 2 for form in FORMS)
    assert len({form.id for form in FORMS}) == len(FORMS)


# ------------------------------------------------------------------------------- near a distractor: not asked


TWO = number("event.count", 2)


@pytest.mark.parametrize(
    ("form", "facts"),
    [
        ("tempo.bpm", [number("tempo", 100, 12)]),
        ("pitch.frequency", [number("pitch.f0", 440, 70)]),
        ("duration.recording", [number("duration", 4, 1)]),
        ("timing.loudest", [number("loudest.at", 0.33, 0.02)]),
        ("silence.share", [number("silence.share", 0.38, 0.02)]),
        ("silence.place", [number("silence.leading", 0.1, 0.1), number("silence.trailing", 0, 0)]),
        ("pauses.length", [number("pause.longest", 0.8, 0.4)]),
        ("pitch.compared", [TWO, number("event.1.pitch", 440, 9), number("event.2.pitch", 460, 9)]),
        ("loudness.compared", [TWO, number("event.1.level", -20, 1), number("event.2.level", -18, 1)]),
        ("spatial.order", [TWO, number("event.1.side", 5, 2), number("event.2.side", -9, 2)]),
        ("counting.events", []),
    ],
)  # fmt: skip
def test_not_asked_when_a_distractor_is_within_reach(form, facts):
    assert by_form(facts, form, ()) is None


def test_words_are_no_separate_sounds():
    assert by_form(three_sounds(), "counting.events", ("speech",)) is None


# -------------------------------------------------------------------------------------------- every question

FORBIDDEN = re.compile(
    r"\b(captions?|videos?|images?|visible|seen|pictures?|descriptions? says|all of the above)\b", re.I
)
NAMES = [f"event.{i}.{key}" for i in (1, 2, 3) for key in ("onset", "offset", "level", "pitch", "brightness", "side")]
numbers = st.builds(number, st.sampled_from([*NAMES, "duration", "tempo", "pitch.f0", "pause.longest", "loudest.at"]),
                    st.floats(0, 900), st.floats(0, 50))  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(numbers, max_size=25), st.integers(0, 9), st.integers(0, 10**6))
def test_questions_are_wellformed_for_any_facts(facts, count, seed):
    for q in ask([number("event.count", count), *facts, *WHOLE], seed=seed):
        assert 3 <= len(q.choices) <= 4 and q.answer == q.choices[q.answer_index]
        assert not FORBIDDEN.search(q.question) and not FORBIDDEN.search(" ".join(q.choices))
        assert q.answer.casefold() not in q.question.casefold()
        lengths = [len(c) for c in q.choices]
        assert max(lengths) <= 3 * min(lengths) + 12


def test_provenance_and_kind():
    for q in ask(three_sounds() + WHOLE):
        assert set(q.provenance) == {"writer", "form", "facts", "keys"} and q.provenance["writer"] == "rules"
        assert q.provenance["form"] in {f.id for f in FORMS} and q.provenance["facts"]
        assert (q.generator, q.domain) == ("rules", "sound")


def test_as_many_as_asked_for_and_of_different_skills_first():
    for n in (1, 4, 7):
        questions = ask(three_sounds() + WHOLE, n=n)
        assert len(questions) == n == len({q.skill for q in questions})


def test_seed_and_clip_decide_alone():
    facts = three_sounds() + WHOLE
    assert ask(facts, seed=3) == ask(list(reversed(facts)), seed=3)
    assert ask(facts, seed=3) != ask(facts, seed=4)
    assert [q.question for q in ask(facts, n=4)] != [q.question for q in ask(facts, n=4, clip="x/2")]


def test_no_facts_and_no_labels_give_no_question():
    assert ask([], ()) == []


def test_answer_positions_and_ranks_are_even():
    """Neither the place of the answer nor its rank among the numbers gives it away."""
    places, ranks = Counter(), Counter()
    for i in range(400):
        for q in ask([number("tempo", 100, 1), number("duration", 8.0)], (), f"x/{i}"):
            values = sorted(float(re.findall(r"[\d.]+", c)[0]) for c in q.choices)
            places[q.answer_index] += 1
            ranks[values.index(float(re.findall(r"[\d.]+", q.answer)[0]))] += 1
    for counts in (places, ranks):
        assert max(counts.values()) < 1.35 * min(counts[i] for i in range(4))


# --------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("labels", "kind"),
    [(("Speech",), "speech"), (("Guitar", "drums"), "music"), (("dog barking",), "sound"), ((), "sound"),
     (("bell", "speech"), "mixed"), (("man speaking",), "speech")],
)  # fmt: skip
def test_domain(labels, kind):
    assert domain(labels) == kind


@pytest.mark.parametrize(
    ("answer", "labels", "never"),
    [
        ("dog barking", ("dog barking",), {"dogs", "barking", "dog howling", "a dog barking loudly"}),
        ("crow", ("crow", "rain"), {"crow", "crows cawing", "bird", "rain", "rain on a roof", "stream"}),
        ("guitar", ("guitar",), {"guitars", "banjo", "electric guitar"}),
        ("zipper", ("zipper",), {"sound", "speech", "music", "noise"}),
    ],
)
def test_no_distractor_that_could_be_true(answer, labels, never):
    rest = {"bell": 1, "sneeze": 1, "zipper": 1, "violin": 1, "keys jangling": 1}
    given_words = Context(seed=0, prompts=None, vocabulary=dict.fromkeys([*never, *rest, *labels], 1))
    for seed in range(40):
        found = distractors(answer, labels, given_words, Random(seed))
        assert len(found) == 3 and not set(found) & (never | set(labels))


def test_no_distractor_that_stands_beside_the_answer_elsewhere():
    words = Context(seed=0, prompts=None, vocabulary=dict.fromkeys(["bell", "crow", "rain", "zipper", "violin"], 1),
                    together={"bell": frozenset({"crow"})})  # fmt: skip
    assert all("crow" not in distractors("bell", ("bell",), words, Random(seed)) for seed in range(20))


def test_not_asked_with_too_few_labels():
    few = Context(seed=0, prompts=None, vocabulary={"dog barking": 1, "dogs": 1, "crow": 2, "bell": 1})
    source = next(form for form in FORMS if form.id == "source.label")
    assert source.draw(View({}, ("dog barking",), few), Random(0)) is None


# ----------------------------------------------------------------------------------------------- the demo


def test_no_form_above_a_fifth_of_the_demo():
    import soundfile

    from datagen.captioners.acoustic import facts

    rows = [json.loads(line) for line in (DEMO / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    words = Counter(label for row in rows for label in row["labels"])
    rules = Rules(Context(seed=0, prompts=None, vocabulary=dict(sorted(words.items()))))
    forms, skills = Counter(), Counter()
    for row in rows:
        sound, rate = soundfile.read(DEMO / row["file"], dtype="float32", always_2d=True)
        clip = Clip("demo/" + row["file"], "demo", "", labels=tuple(row["labels"]))
        caption = Caption(clip.id, 0, "text", "acoustic", "acoustics", tuple(facts(sound.T.copy(), rate)))
        for q in asyncio.run(rules.write(clip, [caption])):
            forms[q.provenance["form"]] += 1
            skills[q.skill] += 1
    assert sum(forms.values()) >= 100
    assert max(forms.values()) <= 0.2 * sum(forms.values())
    assert len(skills) >= 8
