"""What a form of question reads from the facts of a clip: the answer and its distractors, or None when unsure.

Nothing is drawn when the truth could be nearer to a distractor than the interval of the fact allows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from random import Random
from typing import TYPE_CHECKING

from datagen.questions.vocabulary import distractors, is_speech
from datagen.records import Fact

if TYPE_CHECKING:
    from datagen.plugins import Context

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


# ------------------------------------------------------------------------------------------------------------ helpers


def closed(name: str, words: Mapping[str, str], also: Sequence[str] = ()) -> Callable[[View, Random], Draft | None]:
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


def ratio(least: float) -> Callable[[float, float], bool]:
    """Clearly greater by a factor."""
    return lambda low, high: low > least * high


def _above(least: float) -> Callable[[float, float], bool]:
    return lambda low, high: low > high + least


def _facts_of(view: View, key: str) -> tuple[str, ...]:
    return ("event.count", *(f"event.{i}.{key}" for i in range(1, view.count + 1)))


# ------------------------------------------------------------------------------------------------------------- drawers


def counting(view: View, rng: Random) -> Draft | None:
    """How many events; not of speech, whose words are no separate sounds."""
    if not view.count or is_speech(view.labels):
        return None
    start = rng.randint(max(1, view.count - 3), view.count)
    numbers = [NUMBERS[n - 1] for n in range(start, start + 4) if n != view.count]
    return Draft(NUMBERS[view.count - 1], tuple(numbers), ("event.count",))


def duration(view: View, rng: Random) -> Draft | None:
    """The length of the whole."""
    found = view("duration")
    if not found or found[1] < 0.5:
        return None
    drawn = _ladder(rng, found, _times(1.7), _seconds, low=0.2, high=1e9, tolerance=0.2)
    return Draft(drawn[0], drawn[1], ("duration",)) if drawn else None


def onset(view: View, rng: Random, which: str) -> Draft | None:
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


def loudest_part(view: View, rng: Random) -> Draft | None:
    """Which third holds the peak of loudness."""
    found = view("loudest.at")
    parts = ("in the first third", "in the middle third", "in the last third")
    if not found or int(3 * found[0]) != int(3 * found[2]):
        return None
    answer = parts[int(3 * found[1])]
    return Draft(answer, tuple(p for p in parts if p != answer), ("loudest.at",))


def pause_length(view: View, rng: Random) -> Draft | None:
    """The longest silence between sounds."""
    found = view("pause.longest")
    if not found or found[1] < 0.25:
        return None
    drawn = _ladder(rng, found, _times(2.0), _seconds, low=0.1, high=1e9, tolerance=0.4)
    return Draft(drawn[0], drawn[1], ("pause.longest",)) if drawn else None


def pause_place(view: View, rng: Random) -> Draft | None:
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
    others = [p for i, p in enumerate(places) if i != best]
    return Draft(places[best], (*others, "neither, all are equally long") if len(places) == 2 else tuple(others), facts)


def silence_place(view: View, rng: Random) -> Draft | None:
    """Whether the recording begins and ends in silence."""
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


def silence_share(view: View, rng: Random) -> Draft | None:
    """The part of the recording that is silent, in quarters."""
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


def most(view: View, rng: Random, key: str, far: Callable[[float, float], bool]) -> Draft | None:
    """Which of three to five events has most of something."""
    best = _extreme(view.each(key, 3), far)
    if best is None:
        return None
    names = [f"the {ORDINALS[i]} sound" for i in range(view.count)]
    return Draft(names[best], tuple(n for i, n in enumerate(names) if i != best), _facts_of(view, key))


def compared(
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
    return Draft(answer, tuple(w for w in words if w != answer), _facts_of(view, key))


def louder(view: View, rng: Random, least: int) -> Callable[[float, float], bool]:
    """2 dB between the intervals; 8 dB when the sounds differ in brightness, since the ear weighs frequencies."""
    colours = [v[1] for v in view.each("brightness", least)]
    alike = colours and max(colours) < 1.5 * min(colours)
    return _above(2.0 if alike else 8.0)


def loudness_most(view: View, rng: Random) -> Draft | None:
    """The loudest of three to five events."""
    return most(view, rng, "level", louder(view, rng, 3))


def loudness_compared(view: View, rng: Random) -> Draft | None:
    """Which of two events is louder; equal only when they also sound alike."""
    words = ("the first sound is louder", "the second sound is louder", "both are equally loud")
    colours = [v[1] for v in view.each("brightness", 2, 2)]
    alike = bool(colours) and max(colours) < 1.25 * min(colours)
    return compared(view, rng, "level", louder(view, rng, 2), lambda a, b: alike and abs(a - b) < 1, words)


def sequence(
    view: View, rng: Random, key: str, far: Callable[[float, float], bool], words: Mapping[int, Sequence[str]]
) -> Draft | None:
    """Two or three events, told in their order by what sets them apart; the others are other orders.

    `words`: number of events → their names from least to most, and for two events what they are when equal.
    """
    values = view.each(key, 2, 3)
    if not values:
        return None
    ranked = sorted(range(len(values)), key=lambda i: values[i][1])
    if not all(far(values[b][0], values[a][2]) for a, b in pairwise(ranked)):
        return None
    names = words[len(values)]
    rank = [ranked.index(i) for i in range(len(values))]
    said = {order: ", then ".join(names[i] for i in order) for order in permutations(range(len(values)))}
    if len(values) == 2:
        said[()] = names[2]
    answer = said[tuple(rank)]
    return Draft(answer, tuple(text for text in said.values() if text != answer), _facts_of(view, key))


def lengths(view: View, rng: Random) -> Draft | None:
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


def sides_in_order(view: View, rng: Random) -> Draft | None:
    """Left and right for each of two or three events."""
    sides = [_side(v) for v in view.each("side", 2, 3)]
    if not sides or None in sides or len(set(sides)) < 2:
        return None
    answer = ", then ".join(f"on the {side}" for side in sides)
    orders: list[tuple[str, ...]] = [("left", "right"), ("right", "left"), ("left", "left"), ("right", "right")]
    if len(sides) == 3:
        orders = [(a, b, c) for a in ("left", "right") for b in ("left", "right") for c in ("left", "right")]
    said = [", then ".join(f"on the {side}" for side in order) for order in orders]
    return Draft(answer, tuple(s for s in said if s != answer), _facts_of(view, "side"))


def _side(found: tuple[float, float, float]) -> str | None:
    if found[0] > 4:
        return "right"
    return "left" if found[2] < -4 else None


def position(view: View, rng: Random) -> Draft | None:
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


def frequency(view: View, rng: Random) -> Draft | None:
    """The fundamental frequency of a held tone."""
    found = view("pitch.f0")
    if not found:
        return None
    drawn = _ladder(rng, found, _times(1.35), _hertz, low=50, high=4000, tolerance=0.3)
    return Draft(drawn[0], drawn[1], ("pitch.f0",)) if drawn else None


def _hertz(x: float) -> str:
    digits = -1 if x >= 100 else 0
    return f"about {round(x, digits):.0f} Hz"


def tempo(view: View, rng: Random) -> Draft | None:
    """Others are never near the double or the half, which a listener may tap as well."""
    found = view("tempo")
    if not found:
        return None
    drawn = _ladder(rng, found, _times(1.32), _bpm, low=25, high=300, tolerance=0.3)
    return Draft(drawn[0], drawn[1], ("tempo",)) if drawn else None


def _bpm(x: float) -> str:
    return f"about {x:.0f} beats per minute"


def source(view: View, rng: Random) -> Draft | None:
    """One label of the clip among labels of others."""
    if not view.labels:
        return None
    answer = rng.choice(view.labels)
    others = distractors(answer, view.labels, view.context, rng)
    return Draft(answer, others, ("label",)) if len(others) == 3 else None
