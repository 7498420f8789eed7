"""Measured facts → sentences; what is not among the facts is not said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from datagen.records import Fact

__all__ = ["describe"]


def describe(found: Sequence[Fact]) -> str:
    """Fluent English for the facts; what is not among them is not said."""
    named = {fact.name: fact for fact in found}
    sentences = [f"The recording lasts {_seconds(named['duration'])}."]
    if (share := named.get("silence.share")) and share.low == 1.0:
        return " ".join([*sentences, "It is silent."])
    for say in (_say_events, _say_silence, _say_loudness, _say_pitch, _say_tempo, _say_colour, _say_sides):
        sentences += say(named)
    return " ".join(sentences)


def _seconds(fact: Fact) -> str:
    value = fact.value or 0.0
    text = f"{value:.2g}" if value < 1 else f"{value:.1f}".removesuffix(".0")
    return f"{text} second" + ("" if text == "1" else "s")


ORDINALS = (
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
)
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def _say_events(named: dict[str, Fact]) -> Iterator[str]:
    count = int(named["event.count"].value or 0) if "event.count" in named else 0
    if not count:
        return
    yield "It holds one single sound." if count == 1 else f"It holds {NUMBERS[count]} separate sounds."
    onsets = [(i, named[f"event.{i}.onset"]) for i in range(1, count + 1) if f"event.{i}.onset" in named]
    if onsets and count > 1:
        yield "They begin at " + ", ".join(f"{fact.value:.2f}" for _, fact in onsets) + " seconds."
    elif onsets:
        yield f"It begins {_seconds(onsets[0][1])} in."
    if count > 1:
        for key, more in (("level", "the loudest"), ("pitch", "the highest in pitch"), ("brightness", "the brightest")):
            if (best := _greatest(named, count, key)) is not None:
                yield f"The {ORDINALS[best]} is {more}."


def _greatest(named: dict[str, Fact], count: int, key: str) -> int | None:
    """Index of the event whose interval lies above that of all others; None when there is none."""
    all_ = [named.get(f"event.{i}.{key}") for i in range(1, count + 1)]
    known = [fact for fact in all_ if fact is not None]
    if len(known) < count:
        return None
    best = max(range(count), key=lambda i: known[i].value or 0.0)
    others = max((fact.high or 0.0) for i, fact in enumerate(known) if i != best)
    return best if (known[best].low or 0.0) > others else None


def _say_silence(named: dict[str, Fact]) -> Iterator[str]:
    if (lead := named.get("silence.leading")) and (lead.low or 0) > 0.1:
        yield f"It starts with {_seconds(lead)} of silence."
    if (tail := named.get("silence.trailing")) and (tail.low or 0) > 0.1:
        yield f"It ends with {_seconds(tail)} of silence."
    if pause := named.get("pause.longest"):
        yield f"The longest pause lasts {_seconds(pause)}."


def _say_loudness(named: dict[str, Fact]) -> Iterator[str]:
    if fact := named.get("loudness.direction"):
        words = {
            "growing": "It grows louder.",
            "fading": "It fades to a softer level.",
            "steady": "The loudness stays about the same.",
            "swelling": "It grows louder and then fades again.",
        }
        yield words[fact.text or ""]
    if fact := named.get("loudest.at"):
        part = ("beginning", "middle", "end")[min(2, int(3 * (fact.value or 0.0)))]
        yield f"The loudest moment is in the {part} third."


def _say_pitch(named: dict[str, Fact]) -> Iterator[str]:
    if fact := named.get("pitch.direction"):
        words = {
            "rising": "The pitch rises",
            "falling": "The pitch falls",
            "steady": "The pitch stays the same",
            "arched": "The pitch rises and then falls",
        }
        f0 = named.get("pitch.f0")
        yield words[fact.text or ""] + (f", near {f0.value:.0f} Hz." if f0 else ".")


def _say_tempo(named: dict[str, Fact]) -> Iterator[str]:
    if fact := named.get("tempo"):
        yield f"There is a regular beat of about {fact.value:.0f} beats per minute."
    if fact := named.get("spacing"):
        yield {
            "even": "The sounds are evenly spaced.",
            "quickening": "The sounds follow each other faster and faster.",
            "slowing": "The sounds follow each other more and more slowly.",
        }[fact.text or ""]


def _say_colour(named: dict[str, Fact]) -> Iterator[str]:
    if fact := named.get("energy"):
        yield f"Most of the energy is in the {fact.text} frequencies."
    if fact := named.get("character"):
        yield {"noise": "It is a steady noise without pitch.", "tone": "It is a clear tone."}[fact.text or ""]


def _say_sides(named: dict[str, Fact]) -> Iterator[str]:
    if fact := named.get("side"):
        yield "It comes from the middle." if fact.text == "middle" else f"It comes from the {fact.text}."
    if fact := named.get("movement"):
        yield f"It moves from {fact.text}."
