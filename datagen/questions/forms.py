"""Every form of question that the rules can ask: one row each. To add a form, add a row.

A row is an id that stays, a skill, the wordings, and a function of `drawing.py` that reads the facts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

from datagen.questions import drawing as d
from datagen.questions.drawing import Draft, View

__all__ = ["FORMS", "Form"]


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
BY_PITCH = {
    2: ("a low sound", "a high sound", "two equally high sounds"),
    3: ("the lowest", "the middle one", "the highest"),
}
BY_LOUDNESS = {
    2: ("a soft sound", "a loud sound", "two equally loud sounds"),
    3: ("the softest", "the middle one", "the loudest"),
}
BY_BRIGHTNESS = {
    2: ("a dull sound", "a bright sound", "two equally bright sounds"),
    3: ("the dullest", "the middle one", "the brightest"),
}

FORMS: tuple[Form, ...] = (
    Form("counting.events", "counting", (
        "How many separate sounds can be heard?",
        "Counting every separate hit, note or call, how many are there?",
        "How many distinct sound events does the recording hold?",
    ), d.counting),
    Form("duration.recording", "duration", (
        "How long is the recording?",
        "About how much time passes from the start of the recording to its end?",
        "What is the total length of this audio?",
    ), d.duration, 0.35),
    Form("timing.first", "timing", (
        "How far into the recording does the first sound begin?",
        "When does the first sound start?",
    ), partial(d.onset, which="first"), 0.5),
    Form("timing.last", "timing", (
        "How far into the recording does the last sound begin?",
        "When does the final sound start?",
    ), partial(d.onset, which="last")),
    Form("timing.loudest", "timing", (
        "In which part of the recording is its loudest moment?",
        "Where does the sound reach its greatest loudness?",
        "When is the peak of loudness heard?",
    ), d.loudest_part, 0.6),
    Form("pauses.length", "pauses", (
        "How long is the longest pause between sounds?",
        "What is the length of the longest silent gap between sounds?",
    ), d.pause_length),
    Form("pauses.place", "pauses", (
        "Between which two sounds is the longest pause?",
        "Where is the longest gap between neighbouring sounds?",
    ), d.pause_place),
    Form("silence.place", "silence", (
        "Is there silence at the edges of the recording, and where?",
        "Where does the recording have a stretch of silence at its edges?",
    ), d.silence_place, 0.4),
    Form("silence.share", "silence", (
        "How much of the recording is silent?",
        "What part of the recording is silence?",
    ), d.silence_share, 0.4),
    Form("loudness.direction", "loudness direction", (
        "How does the loudness change over the recording?",
        "What happens to the volume from beginning to end?",
        "Which description fits the course of the loudness?",
    ), d.closed("loudness.direction", LOUDNESS)),
    Form("loudness.most", "loudness comparison", (
        "Which of the sounds is the loudest?",
        "Which sound stands out as louder than all the others?",
    ), d.loudness_most),
    Form("loudness.compared", "loudness comparison", (
        "How do the two sounds compare in loudness?",
        "Two sounds are heard. What is true of their volume?",
    ), d.loudness_compared),
    Form("pitch.direction", "pitch direction", (
        "How does the pitch change over the recording?",
        "What does the pitch do from beginning to end?",
        "Which description fits the course of the pitch?",
    ), d.closed("pitch.direction", PITCH)),
    Form("pitch.most", "pitch comparison", (
        "Which of the sounds has the highest pitch?",
        "Which sound is higher in pitch than all the others?",
    ), partial(d.most, key="pitch", far=d.ratio(1.08))),
    Form("pitch.compared", "pitch comparison", (
        "How do the two sounds compare in pitch?",
        "Two sounds are heard. What is true of their pitch?",
    ), partial(d.compared, key="pitch", far=d.ratio(1.08), same=lambda a, b: abs(a - b) < 0.014 * a,
               words=("the first sound is higher", "the second sound is higher", "both have the same pitch"))),
    Form("pitch.frequency", "pitch height", (
        "What is the fundamental frequency of the tone?",
        "At about which frequency does the tone sound?",
    ), d.frequency),
    Form("order.pitch", "order", (
        "In what order of pitch do the sounds come?",
        "Told by their pitch, how do the sounds follow each other?",
    ), partial(d.sequence, key="pitch", far=d.ratio(1.08),
               words=BY_PITCH)),
    Form("order.loudness", "order", (
        "In what order of loudness do the sounds come?",
        "Told by their loudness, how do the sounds follow each other?",
    ), lambda view, rng: d.sequence(view, rng, "level", d.louder(view, rng, 2), BY_LOUDNESS)),
    Form("order.brightness", "order", (
        "Told by how bright or dull they are, how do the sounds follow each other?",
        "In what order do dull and bright sounds come?",
    ), partial(d.sequence, key="brightness", far=d.ratio(1.3),
               words=BY_BRIGHTNESS)),
    Form("order.length", "order", (
        "Told by their length, how do the two sounds follow each other?",
        "Which describes the lengths of the two sounds, in order?",
    ), d.lengths),
    Form("spatial.order", "spatial position", (
        "From which sides do the sounds come, in order?",
        "Where are the sounds heard, one after another?",
    ), d.sides_in_order),
    Form("spatial.position", "spatial position", (
        "Where does the sound come from, and does it move?",
        "What is true of the position of the sound between the two sides?",
    ), d.position),
    Form("tempo.bpm", "tempo", (
        "What is the tempo of the beat?",
        "How fast is the regular beat?",
        "Which tempo fits the pulse that is heard?",
    ), d.tempo),
    Form("rhythm.spacing", "rhythm", (
        "How do the sounds follow each other in time?",
        "What is true of the pace at which the sounds come?",
    ), d.closed("spacing", SPACING)),
    Form("brightness.range", "brightness", (
        "In which frequency range does most of the sound lie?",
        "Where is most of the energy of the sound?",
    ), d.closed("energy", ENERGY), 0.5),
    Form("brightness.most", "brightness", (
        "Which of the sounds is the brightest, with the most treble?",
        "Which sound has the sharpest, most treble-rich tone?",
    ), partial(d.most, key="brightness", far=d.ratio(1.3))),
    Form("brightness.compared", "brightness", (
        "How do the two sounds compare in brightness?",
        "Two sounds are heard. Which of them has more treble?",
    ), partial(d.compared, key="brightness", far=d.ratio(1.3), same=lambda a, b: False,
               words=("the first sound is brighter", "the second sound is brighter", "both are equally bright"))),
    Form("character.kind", "sound character", (
        "Which description fits the sound best?",
        "What kind of sound is heard throughout?",
    ), d.closed("character", CHARACTER, ("a row of dry clicks", "a long stretch of silence"))),
    Form("source.label", "source identification", (
        "Which of these is heard in the recording?",
        "What can be heard?",
        "Which sound source is present in the recording?",
    ), d.source, 0.5),
)  # fmt: skip
