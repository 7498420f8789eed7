"""Measured facts and labels → questions, without a model: the answer is what was measured.

Every form of question is one row of FORMS: its id, its skill, its wordings, and a function that reads the facts and
gives the answer with its distractors, or None when the facts do not say enough. A form asks nothing when the truth
could be nearer to a distractor than the interval of the fact allows. To add a form, add a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, permutations
from random import Random
from typing import TYPE_CHECKING

from datagen.questions.vocabulary import distractors, domain, is_speech
from datagen.records import Caption, Clip, Fact, Failure, Question
from datagen.seeds import generator

if TYPE_CHECKING:
    from datagen.plugins import Context

__all__ = ["FORMS", "Draft", "Form", "Rules", "View"]

ORDINALS = ("first", "second", "third", "fourth", "fifth")
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
           "thirteen", "fourteen", "fifteen")  # fmt: skip


@dataclass(frozen=True)
class Draft:
    """What a form makes of one clip."""

    answer: str
    others: tuple[str, ...]
    """All wrong choices that may be shown; three are drawn when there are more."""
    facts: tuple[str, ...]
    """Names of the facts that make the answer true; `label` for a label."""


@dataclass(frozen=True)
class Form:
    """One kind of question."""

    id: str
    """Stable: it stands in the provenance of every question made."""
    skill: str
    wordings: tuple[str, ...]
    draw: Callable[[View, Random], Draft | None]
    share: float = 1.0
    """Share of the clips of which it may be asked; below 1 for what could be asked of nearly any, so that it does not
    crowd out the rest."""


@dataclass(frozen=True)
class View:
    """The facts and labels of one clip."""

    facts: Mapping[str, Fact]
    labels: tuple[str, ...]
    context: Context

    def __call__(self, name: str) -> tuple[float, float, float] | None:
        """low, value and high of a number; None when it was not measured."""
        fact = self.facts.get(name)
        if fact is None or fact.value is None:
            return None
        value = fact.value
        return (value if fact.low is None else fact.low, value, value if fact.high is None else fact.high)

    def word(self, name: str) -> str:
        """The text of a fact, empty when it was not measured."""
        fact = self.facts.get(name)
        return (fact.text or "") if fact else ""

    @property
    def count(self) -> int:
        """Number of separate sounds; 0 when it is not sure."""
        found = self("event.count")
        return int(found[1]) if found else 0

    def each(self, key: str, least: int = 2, most: int = 5) -> list[tuple[float, float, float]]:
        """The fact `key` of every event; empty unless all have it and there are `least` to `most`."""
        found = [self(f"event.{i}.{key}") for i in range(1, self.count + 1)]
        known = [f for f in found if f is not None]
        return known if len(known) == self.count and least <= self.count <= most else []


class Rules:
    """Questions whose answers are measured facts or the corpus's labels. No model."""

    def __init__(self, context: Context) -> None:
        self.context = context

    async def write(self, clip: Clip, captions: Sequence[Caption]) -> Sequence[Question | Failure]:
        """Up to `questions_per_clip` questions, of as many skills as there are facts for."""
        facts = {fact.name: fact for caption in reversed(captions) for fact in caption.facts}
        view = View(facts, clip.labels, self.context)
        made: list[Question] = []
        for form in self._order(clip):
            if len(made) == self.context.questions_per_clip:
                break
            rng = generator(self.context.seed, "rules", clip.id, form.id)
            draft = form.draw(view, rng)
            if draft is not None:
                made.append(_question(clip, form, draft, rng))
        return made

    def _order(self, clip: Clip) -> Iterator[Form]:
        """The forms allowed for this clip in an order drawn for it: one of each skill, then the rest."""
        rng = generator(self.context.seed, "rules", clip.id)
        drawn = [form for form in FORMS if rng.random() < form.share]
        rng.shuffle(drawn)
        first = {form.skill: form for form in reversed(drawn)}
        yield from (form for form in drawn if first[form.skill] is form)
        yield from (form for form in drawn if first[form.skill] is not form)


def _question(clip: Clip, form: Form, draft: Draft, rng: Random) -> Question:
    others = draft.others if len(draft.others) <= 3 else rng.sample(draft.others, 3)
    choices = [draft.answer, *others]
    rng.shuffle(choices)
    provenance = {"writer": "rules", "form": form.id, "facts": list(draft.facts), "keys": []}
    return Question.make(
        clip.id, rng.choice(form.wordings), choices, draft.answer,
        domain=domain(clip.labels), skill=form.skill, generator="rules", provenance=provenance,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ helpers


def _closed(name: str, words: Mapping[str, str], also: Sequence[str] = ()) -> Callable[[View, Random], Draft | None]:
    """A form whose choices are all that a fact in words can say."""

    def draw(view: View, rng: Random) -> Draft | None:
        text = view.word(name)
        if text not in words:
            return None
        return Draft(words[text], (*(w for key, w in words.items() if key != text), *also), (name,))

    return draw


def _ladder(
    rng: Random,
    found: tuple[float, float, float],
    step: Callable[[float, int], float],
    show: Callable[[float], str],
    *,
    low: float,
    high: float,
    tolerance: float,
) -> tuple[str, tuple[str, ...]] | None:
    """The value and three others on a ladder, the value on a rung drawn at random; None when they are too near.

    `tolerance`: largest part of the way to a neighbour that the interval of the fact may fill.
    """  # fmt: skip
    rungs = [k for k in range(-3, 4) if low <= step(found[1], k) <= high]
    starts = [k for k in range(-3, 1) if all(k + i in rungs for i in range(4))]
    if not starts:
        return None
    start = rng.choice(starts)
    values = [step(found[1], start + i) for i in range(4)]
    near = min(abs(v - found[1]) for k, v in enumerate(values, start) if k)
    texts = {k: show(v) for k, v in enumerate(values, start)}
    if max(found[2] - found[1], found[1] - found[0]) > tolerance * near or len(set(texts.values())) < 4:
        return None
    return texts[0], tuple(text for k, text in texts.items() if k)


def _seconds(x: float) -> str:
    text = f"{x:.1f}".removesuffix(".0") if x < 9.95 else f"{x:.0f}"
    return f"about {text} second{'' if text == '1' else 's'}"


def _times(ratio: float) -> Callable[[float, int], float]:
    return lambda value, k: value * ratio**k


def _plus(gap: float) -> Callable[[float, int], float]:
    return lambda value, k: value + gap * k


def _extreme(values: Sequence[tuple[float, float, float]], far: Callable[[float, float], bool]) -> int | None:
    """Index of the value that is clearly above all others: `far(low, high)` of it and of each other one."""
    if not values:
        return None
    best = max(range(len(values)), key=lambda i: values[i][1])
    return best if all(far(values[best][0], v[2]) for i, v in enumerate(values) if i != best) else None


def _ratio(least: float) -> Callable[[float, float], bool]:
    return lambda low, high: low > least * high


def _above(least: float) -> Callable[[float, float], bool]:
    return lambda low, high: low > high + least


def _names(view: View, key: str) -> tuple[str, ...]:
    return ("event.count", *(f"event.{i}.{key}" for i in range(1, view.count + 1)))


# ------------------------------------------------------------------------------------------------------------- drawers


def _counting(view: View, rng: Random) -> Draft | None:
    if not view.count or is_speech(view.labels):
        return None
    start = rng.randint(max(1, view.count - 3), view.count)
    numbers = [NUMBERS[n - 1] for n in range(start, start + 4) if n != view.count]
    return Draft(NUMBERS[view.count - 1], tuple(numbers), ("event.count",))


def _duration(view: View, rng: Random) -> Draft | None:
    found = view("duration")
    if not found or found[1] < 0.5:
        return None
    drawn = _ladder(rng, found, _times(1.7), _seconds, low=0.2, high=1e9, tolerance=0.2)
    return Draft(drawn[0], drawn[1], ("duration",)) if drawn else None


def _onset(view: View, rng: Random, which: str) -> Draft | None:
    """The first or the last onset; others are evenly spaced within the recording."""
    number = 1 if which == "first" else view.count
    name, whole = f"event.{number}.onset", view("duration")
    found = view(name)
    if not found or not whole or view.count > 6 or (which == "last" and view.count < 2) or is_speech(view.labels):
        return None
    gap = max(0.4, whole[1] / 6)
    drawn = _ladder(rng, found, _plus(gap), _moment, low=0.05, high=whole[1] - 0.1, tolerance=0.3)
    return Draft(drawn[0], drawn[1], (name, "event.count", "duration")) if drawn else None


def _moment(x: float) -> str:
    return _seconds(x) + " in"


def _loudest_part(view: View, rng: Random) -> Draft | None:
    found = view("loudest.at")
    parts = ("in the first third", "in the middle third", "in the last third")
    if not found or int(3 * found[0]) != int(3 * found[2]):
        return None
    answer = parts[int(3 * found[1])]
    return Draft(answer, tuple(p for p in parts if p != answer), ("loudest.at",))


def _pause_length(view: View, rng: Random) -> Draft | None:
    found = view("pause.longest")
    if not found or found[1] < 0.25:
        return None
    drawn = _ladder(rng, found, _times(2.0), _seconds, low=0.1, high=1e9, tolerance=0.4)
    return Draft(drawn[0], drawn[1], ("pause.longest",)) if drawn else None


def _pause_place(view: View, rng: Random) -> Draft | None:
    """Which gap between neighbours is the longest."""
    if not 3 <= view.count <= 5:
        return None
    gaps = []
    for i in range(1, view.count):
        end, begin = view(f"event.{i}.offset"), view(f"event.{i + 1}.onset")
        if not end or not begin:
            return None
        gaps.append((begin[0] - end[2], begin[1] - end[1], begin[2] - end[0]))
    best = _extreme(gaps, lambda low, high: low > 1.25 * max(high, 0.1))
    if best is None:
        return None
    places = [f"between the {ORDINALS[i]} and the {ORDINALS[i + 1]}" for i in range(len(gaps))]
    facts = ("event.count", *(f"event.{i}.{edge}" for i in range(1, view.count + 1) for edge in ("onset", "offset")))
    return Draft(places[best], tuple(p for i, p in enumerate(places) if i != best), facts)


def _silence_place(view: View, rng: Random) -> Draft | None:
    states = []
    for name in ("silence.leading", "silence.trailing"):
        found = view(name)
        if not found or (found[2] > 0.05 and found[0] < 0.15):
            return None
        states.append(found[0] >= 0.15)
    words = {
        (True, False): "only at the beginning",
        (False, True): "only at the end",
        (True, True): "at the beginning and at the end",
        (False, False): "neither at the beginning nor at the end",
    }
    answer = words[states[0], states[1]]
    return Draft(answer, tuple(w for w in words.values() if w != answer), ("silence.leading", "silence.trailing"))


def _silence_share(view: View, rng: Random) -> Draft | None:
    found = view("silence.share")
    shares = {
        0.0: "almost none of it",
        0.25: "about a quarter of it",
        0.5: "about half of it",
        0.75: "about three quarters",
    }
    for share, text in shares.items():
        if found and abs(found[0] - share) < 0.09 and abs(found[2] - share) < 0.09:
            return Draft(text, tuple(t for t in shares.values() if t != text), ("silence.share",))
    return None


def _most(view: View, rng: Random, key: str, far: Callable[[float, float], bool]) -> Draft | None:
    """Which of three to five events has most of something."""
    best = _extreme(view.each(key, 3), far)
    if best is None:
        return None
    names = [f"the {ORDINALS[i]} sound" for i in range(view.count)]
    return Draft(names[best], tuple(n for i, n in enumerate(names) if i != best), _names(view, key))


def _compared(
    view: View,
    rng: Random,
    key: str,
    far: Callable[[float, float], bool],
    same: Callable[[float, float], bool],
    words: tuple[str, str, str],
) -> Draft | None:
    """Two events: the first has more, the second has more, or both have the same."""  # fmt: skip
    values = view.each(key, 2, 2)
    if not values:
        return None
    best = _extreme(values, far)
    if best is None and not same(values[0][1], values[1][1]):
        return None
    answer = words[2 if best is None else best]
    return Draft(answer, tuple(w for w in words if w != answer), _names(view, key))


def _louder(view: View, rng: Random, least: int) -> Callable[[float, float], bool]:
    """2 dB between the intervals; 8 dB when the sounds differ in brightness, since the ear weighs frequencies."""
    colours = [v[1] for v in view.each("brightness", least)]
    alike = colours and max(colours) < 1.5 * min(colours)
    return _above(2.0 if alike else 8.0)


def _loudness_most(view: View, rng: Random) -> Draft | None:
    return _most(view, rng, "level", _louder(view, rng, 3))


def _loudness_compared(view: View, rng: Random) -> Draft | None:
    words = ("the first sound is louder", "the second sound is louder", "both are equally loud")
    colours = [v[1] for v in view.each("brightness", 2, 2)]
    alike = bool(colours) and max(colours) < 1.25 * min(colours)
    return _compared(view, rng, "level", _louder(view, rng, 2), lambda a, b: alike and abs(a - b) < 1, words)


def _sequence(
    view: View, rng: Random, key: str, far: Callable[[float, float], bool], words: Mapping[int, Sequence[str]]
) -> Draft | None:
    """Two or three events, told in their order by what sets them apart; the others are other orders."""
    values = view.each(key, 2, 3)
    if not values:
        return None
    ranked = sorted(range(len(values)), key=lambda i: values[i][1])
    if not all(far(values[b][0], values[a][2]) for a, b in pairwise(ranked)):
        return None
    names = words[len(values)]
    rank = [ranked.index(i) for i in range(len(values))]
    said = {order: ", then ".join(names[i] for i in order) for order in permutations(range(len(values)))}
    answer = said[tuple(rank)]
    return Draft(answer, tuple(text for text in said.values() if text != answer), _names(view, key))


def _lengths(view: View, rng: Random) -> Draft | None:
    """A short and a long sound, by onset and offset."""
    if view.count != 2:
        return None
    edges = [(view(f"event.{i}.onset"), view(f"event.{i}.offset")) for i in (1, 2)]
    lengths = []
    for onset, offset in edges:
        if not onset or not offset:
            return None
        lengths.append((offset[0] - onset[2], offset[1] - onset[1], offset[2] - onset[0]))
    best = _extreme(lengths, lambda low, high: low > 1.6 * max(high, 0.05))
    words = ("a long sound, then a short one", "a short sound, then a long one")
    if best is None:
        return None
    facts = tuple(f"event.{i}.{edge}" for i in (1, 2) for edge in ("onset", "offset"))
    return Draft(words[best], (words[1 - best], "two sounds of the same length"), ("event.count", *facts))


def _sides_in_order(view: View, rng: Random) -> Draft | None:
    sides = [_side(v) for v in view.each("side", 2, 3)]
    if not sides or None in sides or len(set(sides)) < 2:
        return None
    answer = ", then ".join(f"on the {side}" for side in sides)
    orders: list[tuple[str, ...]] = [("left", "right"), ("right", "left"), ("left", "left"), ("right", "right")]
    if len(sides) == 3:
        orders = [(a, b, c) for a in ("left", "right") for b in ("left", "right") for c in ("left", "right")]
    said = [", then ".join(f"on the {side}" for side in order) for order in orders]
    return Draft(answer, tuple(s for s in said if s != answer), _names(view, "side"))


def _side(found: tuple[float, float, float]) -> str | None:
    if found[0] > 4:
        return "right"
    return "left" if found[2] < -4 else None


def _position(view: View, rng: Random) -> Draft | None:
    """One side all the time, or a movement across."""
    words = {
        "left": "it stays on the left",
        "right": "it stays on the right",
        "left to right": "it moves from left to right",
        "right to left": "it moves from right to left",
    }
    name = "movement" if "movement" in view.facts else "side"
    text = view.word(name)
    if text not in words:
        return None
    return Draft(words[text], tuple(w for key, w in words.items() if key != text), (name,))


def _frequency(view: View, rng: Random) -> Draft | None:
    found = view("pitch.f0")
    if not found:
        return None
    drawn = _ladder(rng, found, _times(1.42), _hertz, low=50, high=4000, tolerance=0.3)
    return Draft(drawn[0], drawn[1], ("pitch.f0",)) if drawn else None


def _hertz(x: float) -> str:
    digits = -1 if x >= 100 else 0
    return f"about {round(x, digits):.0f} Hz"


def _tempo(view: View, rng: Random) -> Draft | None:
    """Others are never near the double or the half, which a listener may tap as well."""
    found = view("tempo")
    if not found:
        return None
    drawn = _ladder(rng, found, _times(1.32), _bpm, low=25, high=300, tolerance=0.3)
    return Draft(drawn[0], drawn[1], ("tempo",)) if drawn else None


def _bpm(x: float) -> str:
    return f"about {x:.0f} beats per minute"


def _source(view: View, rng: Random) -> Draft | None:
    if not view.labels:
        return None
    answer = rng.choice(view.labels)
    others = distractors(answer, view.labels, view.context, rng)
    return Draft(answer, others, ("label",)) if len(others) == 3 else None


# --------------------------------------------------------------------------------------------------------------- forms

LOUDNESS = {
    "growing": "it gets louder",
    "fading": "it gets softer",
    "steady": "it stays about the same",
    "swelling": "it gets louder, then softer",
}
PITCH = {
    "rising": "it goes up",
    "falling": "it goes down",
    "steady": "it stays about the same",
    "arched": "it goes up, then down",
}
SPACING = {
    "even": "at an even pace",
    "quickening": "faster and faster",
    "slowing": "more and more slowly",
}
ENERGY = {
    "low": "in the low range, below 500 Hz",
    "middle": "in the middle range, 500 to 2000 Hz",
    "high": "in the high range, above 2000 Hz",
}
CHARACTER = {"noise": "a steady noise without pitch", "tone": "a tone with a clear pitch"}

FORMS: tuple[Form, ...] = (
    Form("counting.events", "counting", (
        "How many separate sounds can be heard?",
        "Counting every separate hit, note or call, how many are there?",
        "How many distinct sound events does the recording hold?",
    ), _counting),
    Form("duration.recording", "duration", (
        "How long is the recording?",
        "About how much time passes from the start of the recording to its end?",
        "What is the total length of this audio?",
    ), _duration, 0.35),
    Form("timing.first", "timing", (
        "How far into the recording does the first sound begin?",
        "When does the first sound start?",
    ), partial(_onset, which="first"), 0.5),
    Form("timing.last", "timing", (
        "How far into the recording does the last sound begin?",
        "When does the final sound start?",
    ), partial(_onset, which="last")),
    Form("timing.loudest", "timing", (
        "In which part of the recording is its loudest moment?",
        "Where does the sound reach its greatest loudness?",
        "When is the peak of loudness heard?",
    ), _loudest_part, 0.6),
    Form("pauses.length", "pauses", (
        "How long is the longest pause between sounds?",
        "What is the length of the longest silent gap between sounds?",
    ), _pause_length),
    Form("pauses.place", "pauses", (
        "Between which two sounds is the longest pause?",
        "Where is the longest gap between neighbouring sounds?",
    ), _pause_place),
    Form("silence.place", "silence", (
        "Is there silence at the edges of the recording, and where?",
        "Where does the recording have a stretch of silence at its edges?",
    ), _silence_place, 0.4),
    Form("silence.share", "silence", (
        "How much of the recording is silent?",
        "What part of the recording is silence?",
    ), _silence_share, 0.4),
    Form("loudness.direction", "loudness direction", (
        "How does the loudness change over the recording?",
        "What happens to the volume from beginning to end?",
        "Which description fits the course of the loudness?",
    ), _closed("loudness.direction", LOUDNESS)),
    Form("loudness.most", "loudness comparison", (
        "Which of the sounds is the loudest?",
        "Which sound stands out as louder than all the others?",
    ), _loudness_most),
    Form("loudness.compared", "loudness comparison", (
        "How do the two sounds compare in loudness?",
        "Two sounds are heard. What is true of their volume?",
    ), _loudness_compared),
    Form("pitch.direction", "pitch direction", (
        "How does the pitch change over the recording?",
        "What does the pitch do from beginning to end?",
        "Which description fits the course of the pitch?",
    ), _closed("pitch.direction", PITCH)),
    Form("pitch.most", "pitch comparison", (
        "Which of the sounds has the highest pitch?",
        "Which sound is higher in pitch than all the others?",
    ), partial(_most, key="pitch", far=_ratio(1.08))),
    Form("pitch.compared", "pitch comparison", (
        "How do the two sounds compare in pitch?",
        "Two sounds are heard. What is true of their pitch?",
    ), partial(_compared, key="pitch", far=_ratio(1.08), same=lambda a, b: abs(math.log2(a / b)) < 0.02,
               words=("the first sound is higher", "the second sound is higher", "both have the same pitch"))),
    Form("pitch.frequency", "pitch height", (
        "What is the fundamental frequency of the tone?",
        "At about which frequency does the tone sound?",
    ), _frequency),
    Form("order.pitch", "order", (
        "In what order of pitch do the sounds come?",
        "Told by their pitch, how do the sounds follow each other?",
    ), partial(_sequence, key="pitch", far=_ratio(1.08),
               words={2: ("a low sound", "a high sound"), 3: ("the lowest", "the middle one", "the highest")})),
    Form("order.loudness", "order", (
        "In what order of loudness do the sounds come?",
        "Told by their loudness, how do the sounds follow each other?",
    ), lambda view, rng: _sequence(view, rng, "level", _louder(view, rng, 2), {
        2: ("a soft sound", "a loud sound"), 3: ("the softest", "the middle one", "the loudest")})),
    Form("order.brightness", "order", (
        "Told by how bright or dull they are, how do the sounds follow each other?",
        "In what order do dull and bright sounds come?",
    ), partial(_sequence, key="brightness", far=_ratio(1.3),
               words={2: ("a dull sound", "a bright sound"), 3: ("the dullest", "the middle one", "the brightest")})),
    Form("order.length", "order", (
        "Told by their length, how do the two sounds follow each other?",
        "Which describes the lengths of the two sounds, in order?",
    ), _lengths),
    Form("spatial.order", "spatial position", (
        "From which sides do the sounds come, in order?",
        "Where are the sounds heard, one after another?",
    ), _sides_in_order),
    Form("spatial.position", "spatial position", (
        "Where does the sound come from, and does it move?",
        "What is true of the position of the sound between the two sides?",
    ), _position),
    Form("tempo.bpm", "tempo", (
        "What is the tempo of the beat?",
        "How fast is the regular beat?",
        "Which tempo fits the pulse that is heard?",
    ), _tempo),
    Form("rhythm.spacing", "rhythm", (
        "How do the sounds follow each other in time?",
        "What is true of the pace at which the sounds come?",
    ), _closed("spacing", SPACING)),
    Form("brightness.range", "brightness", (
        "In which frequency range does most of the sound lie?",
        "Where is most of the energy of the sound?",
    ), _closed("energy", ENERGY), 0.5),
    Form("brightness.most", "brightness", (
        "Which of the sounds is the brightest, with the most treble?",
        "Which sound has the sharpest, most treble-rich tone?",
    ), partial(_most, key="brightness", far=_ratio(1.3))),
    Form("brightness.compared", "brightness", (
        "How do the two sounds compare in brightness?",
        "Two sounds are heard. Which of them has more treble?",
    ), partial(_compared, key="brightness", far=_ratio(1.3), same=lambda a, b: False,
               words=("the first sound is brighter", "the second sound is brighter", "both are equally bright"))),
    Form("character.kind", "sound character", (
        "Which description fits the sound best?",
        "What kind of sound is heard throughout?",
    ), _closed("character", CHARACTER, ("a row of dry clicks", "a long stretch of silence"))),
    Form("source.label", "source identification", (
        "Which of these is heard in the recording?",
        "What can be heard?",
        "Which sound source is present in the recording?",
    ), _source, 0.5),
)  # fmt: skip
