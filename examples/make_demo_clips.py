"""Makes the clips of the source `demo`: CC0 recordings, arrangements of them, and generated music and speech.

    apt-get download sonic-pi-samples && dpkg-deb -x sonic-pi-samples_*.deb samples      # Debian, any release from 12
    python examples/make_demo_clips.py samples datagen/sources/demo_clips                # needs espeak-ng on the PATH

Runs again to the same bytes with the same versions of espeak-ng, libsndfile and soxr. A sample is used only when the
package's `copyright` file names that very file as CC0; the script stops at any other. Nothing here is random.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

RATE = 16_000
PACKAGE = "Debian sonic-pi-samples 3.2.2~repack-8"
Signal = np.ndarray
"""float32 (samples,) or (samples, 2) at RATE."""


@dataclass(frozen=True)
class Made:
    """One clip and its line of the manifest."""

    name: str
    family: str
    """sound, music, speech or mixed"""
    kind: str
    """recorded (one recording), arranged (recordings put together) or generated (no recording in it)"""
    label: str
    """The labels, comma between; the first is the class."""
    caption: str
    signal: Signal
    used: tuple[str, ...] = ()
    """The recordings in it, by name in the package."""
    made: str = ""
    """How, where it is more than a trim."""


# ---------------------------------------------------------------------------------------------------- building blocks


def silence(seconds: float) -> Signal:
    """Digital silence."""
    return np.zeros(round(seconds * RATE), np.float32)


def faded(signal: Signal, attack: float = 0.005, release: float = 0.02) -> Signal:
    """With straight ramps at both ends, in seconds, so that no cut clicks."""
    out = signal.astype(np.float32).copy()
    a, r = min(len(out) // 2, round(attack * RATE)), min(len(out) // 2, round(release * RATE))
    out[:a] *= np.linspace(0, 1, a, dtype=np.float32)
    out[len(out) - r :] *= np.linspace(1, 0, r, dtype=np.float32)
    return out


def peak(signal: Signal, level: float) -> Signal:
    """Scaled so that its largest sample is `level`."""
    scaled: Signal = signal * (level / np.abs(signal).max())
    return scaled.astype(np.float32)


def sequence(*parts: Signal, gap: float = 0.0) -> Signal:
    """The parts one after another, `gap` seconds of silence between them."""
    out: list[Signal] = []
    for part in parts:
        out += [part, silence(gap)]
    return np.concatenate(out[:-1])


def placed(seconds: float, events: Sequence[tuple[float, Signal]]) -> Signal:
    """Each signal added at its time in seconds; what would pass the end is cut there."""
    out = silence(seconds)
    for time, signal in events:
        start = round(time * RATE)
        part = signal[: max(0, len(out) - start)]
        out[start : start + len(part)] += part
    return out


def note(midi: float, seconds: float, partials: Sequence[float] = (1, 0.5, 0.25, 0.12), decay: float = 2.5) -> Signal:
    """A plucked harmonic tone; `partials` are the amplitudes of f0, 2 f0 …, `decay` is in 1/s."""
    t = np.arange(round(seconds * RATE)) / RATE
    f0 = 440 * 2 ** ((midi - 69) / 12)
    wave = sum(a * np.sin(2 * np.pi * f0 * (i + 1) * t) for i, a in enumerate(partials) if f0 * (i + 1) < 7_000)
    return faded(0.25 * wave * np.exp(-decay * t), 0.01, 0.03)


def melody(midis: Sequence[float], seconds: float, **shape: object) -> Signal:
    """Notes of equal length, one after another; `shape` as for `note`."""
    return sequence(*(note(m, seconds, **shape) for m in midis))  # type: ignore[arg-type]


def glide(low: float, high: float, seconds: float) -> Signal:
    """A tone whose frequency moves evenly in octaves from `low` to `high` Hz."""
    f = low * (high / low) ** np.linspace(0, 1, round(seconds * RATE))
    phase = 2 * np.pi * np.cumsum(f) / RATE
    return faded(0.3 * (np.sin(phase) + 0.3 * np.sin(2 * phase)), 0.03, 0.05)


def ramp(signal: Signal, first_db: float, last_db: float) -> Signal:
    """With a gain that moves evenly in decibels from `first_db` to `last_db`."""
    return (signal * 10 ** (np.linspace(first_db, last_db, len(signal)) / 20)).astype(np.float32)


def gain(signal: Signal, db: float) -> Signal:
    """Amplified by `db` decibels."""
    return (signal * 10 ** (db / 20)).astype(np.float32)


def pan(signal: Signal, first: float, last: float | None = None) -> Signal:
    """Stereo with equal power; -1 is left, 1 is right, moving evenly from `first` to `last`."""
    angle = (np.linspace(first, first if last is None else last, len(signal)) + 1) * np.pi / 4
    return np.stack([signal * np.cos(angle), signal * np.sin(angle)], axis=1).astype(np.float32)


def speak(text: str, voice: str, pitch: int = 50, speed: int = 150) -> Signal:
    """What espeak-ng says, resampled and at one loudness."""
    command = ["espeak-ng", "-v", voice, "-p", str(pitch), "-s", str(speed), "--stdout", text]
    wav = subprocess.run(command, check=True, capture_output=True).stdout
    signal, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    return faded(peak(soxr.resample(signal, rate, RATE, "HQ"), 0.5))


class Samples:
    """The recordings of the package that its copyright file names as CC0."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "usr/share/sonic-pi/samples"
        text = (folder / "usr/share/doc/sonic-pi-samples/copyright").read_text(encoding="utf-8")
        stanza = re.compile(
            r"^Files: etc/samples/(\S+)\.flac\nCopyright: \d+ (.*)\n(?:Source:)?\s*(\S+)\nLicense: CC0$", re.M
        )
        self.authors = {name: (author.split(" <")[0], url) for name, author, url in stanza.findall(text)}

    def __call__(self, name: str, seconds: float = 8.0, start: float = 0.0, level: float = 0.6) -> Signal:
        """`seconds` of the recording from `start`, mono, at 16 kHz, with its peak at `level`."""
        self.origin(name)
        signal, rate = soundfile.read(self.folder / f"{name}.flac", dtype="float32", always_2d=True)
        mono = soxr.resample(signal.mean(axis=1), rate, RATE, "HQ")
        return faded(peak(mono[round(start * RATE) : round((start + seconds) * RATE)], level), 0.002, 0.05)

    def origin(self, name: str) -> str:
        """Where it is from; stops for one that is not named as CC0."""
        if name not in self.authors:
            sys.exit(f"{name}.flac: the package does not name it as CC0: use another")
        author, url = self.authors[name]
        return f"{PACKAGE}, {name}.flac, by {author}, {url}"


# ----------------------------------------------------------------------------------------------------------- the clips


def recorded(get: Samples) -> list[Made]:
    """One recording each, trimmed, with a little silence around the short ones."""
    rows = [  # name, family, label, recording, from s, length s, caption
        ("choir_chord", "music", "choir", "ambi_choir", 0, 8, "A choir of voices holds a chord."),
        ("whoosh_dark", "sound", "whoosh", "ambi_dark_woosh", 0, 4, "A low, dark whoosh swells and fades away."),
        ("whoosh_airy", "sound", "whoosh", "ambi_swoosh", 0, 4, "An airy whoosh goes by."),
        ("glass_hum", "sound", "glass", "ambi_glass_hum", 1, 3.5, "A glass hums with a steady, ringing tone."),
        ("glass_rub", "sound", "glass", "ambi_glass_rub", 0, 3.2, "The rim of a glass is rubbed and sings."),
        ("piano_low", "music", "piano", "ambi_piano", 0, 3, "A low sound drones inside a piano, then stops."),
        ("bass_drum_hit", "music", "bass drum", "drum_bass_hard", 0, 1, "A single hard hit on a bass drum."),
        ("cowbell_hit", "music", "cowbell", "drum_cowbell", 0, 1, "A cowbell is struck once."),
        ("cymbal_crash", "music", "crash cymbal", "drum_splash_hard", 0, 3, "A cymbal is struck hard and rings out."),
        ("cymbal_soft", "music", "crash cymbal", "drum_splash_soft", 0, 2, "A cymbal is struck softly and rings out."),
        ("hi_hat_open", "music", "hi-hat", "drum_cymbal_open", 0, 2, "An open hi-hat is struck once and sizzles."),
        ("drum_roll", "music", "drum roll, snare drum", "drum_roll", 0, 4, "A long roll on a snare drum."),
        ("snare_hit", "music", "snare drum", "drum_snare_hard", 0, 1, "A single sharp hit on a snare drum."),
        ("tom_low", "music", "tom drum", "drum_tom_lo_hard", 0, 1, "A low tom drum is struck once."),
        ("tom_high", "music", "tom drum", "drum_tom_hi_hard", 0, 1, "A high tom drum is struck once."),
        ("guitar_fifths", "music", "guitar", "guit_e_fifths", 0, 4, "Notes are plucked on a guitar and left to ring."),
        ("guitar_slide", "music", "guitar", "guit_e_slide", 0, 4, "A note slides on a guitar and dies away."),
        ("guitar_chord", "music", "guitar", "guit_em9", 0, 4, "A guitar chord is played note by note."),
        ("guitar_harmonics", "music", "guitar", "guit_harmonics", 0, 3.5, "High, clear harmonics ring on a guitar."),
        ("tabla_loop", "music", "tabla", "loop_tabla", 0, 4, "A rhythm is played on tabla drums."),
        ("drone", "music", "synthesizer", "ambi_drone", 0, 4, "A synthesizer holds a dark, steady drone."),
        ("burp", "sound", "burp", "misc_burp", 0, 1, "Somebody burps."),
        ("crow_call", "sound", "crow", "misc_crow", 0, 1, "A crow caws once."),
        ("bell_ring", "sound", "small bell", "perc_bell", 0, 4, "A small bell is struck and rings for a long time."),
        ("finger_snap", "sound", "finger snap", "perc_snap", 0, 1, "Somebody snaps their fingers once."),
        (
            "cash_register",
            "sound",
            "cash register bell",
            "perc_till",
            0,
            3,
            "A cash register rings and clatters.",
        ),
        ("swish", "sound", "whoosh", "perc_swash", 0, 1, "A short, fast swish through the air."),
        (
            "record_backspin",
            "sound",
            "record scratch",
            "vinyl_backspin",
            0,
            2,
            "A record is spun backwards on a turntable.",
        ),
        (
            "record_rewind",
            "sound",
            "record scratch",
            "vinyl_rewind",
            0,
            3,
            "A record is wound back fast on a turntable.",
        ),
        ("record_hiss", "sound", "record hiss", "vinyl_hiss", 0, 3, "The hiss and crackle of a worn record, no music."),
    ]
    made = []
    for name, family, label, source, start, seconds, caption in rows:
        signal = get(source, seconds, start)
        rest = silence(max(0.0, 1.6 - len(signal) / RATE))
        signal = sequence(silence(0.25), signal, rest) if len(rest) else signal
        made.append(Made(name, family, "recorded", label, caption, signal, (source,)))
    return made


def counted(get: Samples) -> list[Made]:
    """One recorded sound several times, with pauses."""
    rows = [
        ("crow_calls", "sound", "crow", "misc_crow", 3, 0.6, "A crow caws three times."),
        (
            "cowbell_hits",
            "music",
            "cowbell",
            "drum_cowbell",
            5,
            0.35,
            "A cowbell is struck five times at an even pace.",
        ),
        ("finger_snaps", "sound", "finger snap", "perc_snap2", 4, 0.7, "Somebody snaps their fingers four times."),
        ("burps", "sound", "burp", "misc_burp", 2, 0.8, "Somebody burps twice."),
        ("snare_hits", "music", "snare drum", "drum_snare_hard", 6, 0.3, "A snare drum is struck six times, evenly."),
        ("tom_hits", "music", "tom drum", "drum_tom_lo_hard", 3, 0.4, "A low tom drum is struck three times."),
        ("record_scratches", "sound", "record scratch", "vinyl_scratch", 4, 0.5, "A record is scratched four times."),
        ("bass_drum_hits", "music", "bass drum", "drum_heavy_kick", 2, 0.9, "A bass drum is struck twice."),
    ]
    return [
        Made(name, family, "arranged", label, caption,
             sequence(silence(0.3), sequence(*[get(source, 0.8)] * times, gap=gap), silence(0.3)), (source,),
             f"repeated {times} times with {gap} s of silence between")
        for name, family, label, source, times, gap, caption in rows
    ]  # fmt: skip


def ordered(get: Samples) -> list[Made]:
    """Different recorded sounds one after another."""
    rows = [
        ("crow_bell_snare", "mixed", ["misc_crow", "perc_bell", "drum_snare_hard"],
         ["crow", "small bell", "snare drum"], "A crow caws, then a bell rings, then a snare drum is hit."),
        ("till_then_crow", "sound", ["perc_till", "misc_crow"], ["cash register bell", "crow"],
         "A cash register rings, then a crow caws."),
        ("snap_then_guitar", "mixed", ["perc_snap", "guit_harmonics"], ["finger snap", "guitar"],
         "Somebody snaps their fingers, then guitar harmonics ring."),
        ("whoosh_then_till", "sound", ["ambi_swoosh", "perc_till"], ["whoosh", "cash register bell"],
         "A whoosh goes by, then a cash register rings."),
        ("cymbal_tom_burp", "mixed", ["drum_splash_soft", "drum_tom_hi_hard", "misc_burp"],
         ["crash cymbal", "tom drum", "burp"], "A cymbal rings, then a tom is hit, then somebody burps."),
        ("bell_then_piano", "mixed", ["perc_bell", "ambi_piano"], ["small bell", "piano"],
         "A bell rings, then a low piano sound drones."),
        ("snare_cowbell_tom", "music", ["drum_snare_hard", "drum_cowbell", "drum_tom_lo_hard"],
         ["snare drum", "cowbell", "tom drum"], "A snare drum is hit, then a cowbell, then a tom."),
        ("crow_then_cowbell", "mixed", ["misc_crow", "drum_cowbell"], ["crow", "cowbell"],
         "A crow caws, then a cowbell is struck."),
        ("kick_snap_crow_tom", "mixed", ["drum_heavy_kick", "perc_snap2", "misc_crow", "drum_tom_hi_hard"],
         ["bass drum", "finger snap", "crow", "tom drum"],
         "A bass drum is hit, fingers snap, a crow caws, then a tom is hit."),
        ("burp_then_scratch", "sound", ["misc_burp", "vinyl_scratch"], ["burp", "record scratch"],
         "Somebody burps, then a record is scratched."),
    ]  # fmt: skip
    return [
        Made(name, family, "arranged", ", ".join(labels), caption,
             sequence(silence(0.25), sequence(*(get(s, 1.3) for s in sources), gap=0.5), silence(0.25)), tuple(sources),
             "one after another with 0.5 s of silence between")
        for name, family, sources, labels, caption in rows
    ]  # fmt: skip


def beats(get: Samples) -> list[Made]:
    """Drum patterns at a known tempo: bass drum on 1 and 3, snare drum on 2 and 4, hi-hat on every quaver."""
    used = ("drum_heavy_kick", "drum_snare_hard", "drum_cymbal_closed")
    kick, snare, hat = (get(name, 0.4) for name in used)
    made = []
    for bpm, words in ((80, "slow"), (100, "medium-paced"), (120, "quick"), (140, "fast")):
        beat = 60 / bpm
        events = [(0.1 + i * beat, (kick, snare)[i % 2]) for i in range(8)]
        events += [(0.1 + i * beat / 2, gain(hat, -14)) for i in range(16)]
        made.append(
            Made(f"beat_{words.replace('-', '_')}", "music", "arranged", "bass drum, snare drum, hi-hat",
                 f"A {words} drum beat with bass drum, snare and hi-hat.", placed(0.1 + 8 * beat, events), used,
                 f"two bars of 4/4 at {bpm} beats per minute")
        )  # fmt: skip
    return made


def sides(get: Samples) -> list[Made]:
    """Stereo: where a sound is, and where it goes."""
    bell, crow, snap = get("perc_bell", 2.5), get("misc_crow"), get("perc_snap2")
    row = sequence(silence(0.2), snap, silence(0.5), snap, silence(0.5), snap, silence(0.4))
    steps = melody([60, 60, 60, 60, 60, 60], 0.45, decay=1.0)
    pad = silence(0.25)
    return [
        Made("bell_at_side", "sound", "arranged", "small bell", "A bell rings on the left.",
             pan(sequence(pad, bell), -1), ("perc_bell",), "put to the left"),
        Made("snaps_at_side", "sound", "arranged", "finger snap", "Fingers are snapped three times on the right.",
             pan(row, 1), ("perc_snap2",), "repeated 3 times, put to the right"),
        Made("crow_and_bell_sides", "sound", "arranged", "crow, small bell",
             "A crow caws on the left, then a bell rings on the right.",
             np.concatenate([pan(sequence(pad, crow, silence(0.5)), -1), pan(bell, 1)]),
             ("misc_crow", "perc_bell"), "one after another, the first left, the second right"),
        Made("notes_crossing", "music", "generated", "synthesizer",
             "A synthesizer repeats one note while it moves from left to right.", pan(steps, -1, 1)),
        Made("drums_at_sides", "music", "arranged", "tom drum, snare drum",
             "A tom is hit on the right, then a snare drum on the left.",
             np.concatenate([pan(sequence(pad, get("drum_tom_lo_hard"), pad), 1),
                             pan(sequence(get("drum_snare_hard"), pad), -1)]),
             ("drum_tom_lo_hard", "drum_snare_hard"), "one after another, the first right, the second left"),
        Made("cowbell_crossing", "music", "arranged", "cowbell", "A cowbell is struck six times, from right to left.",
             pan(sequence(silence(0.2), sequence(*[get("drum_cowbell")] * 6, gap=0.3)), 1, -1), ("drum_cowbell",),
             "repeated 6 times with 0.3 s of silence between, moved from right to left"),
    ]  # fmt: skip


def louder_and_softer(get: Samples) -> list[Made]:
    """One recorded sound at several loudnesses, in steps of 8 dB."""
    rows = [
        ("cowbell_steps", "cowbell", "drum_cowbell", (-16, -8, 0),
         "A cowbell is struck three times, louder each time."),
        ("tom_steps", "tom drum", "drum_tom_hi_hard", (0, -8, -16), "A tom is hit three times, softer each time."),
        ("snare_accent", "snare drum", "drum_snare_hard", (-12, -12, 0, -12),
         "A snare drum is hit four times, the third time much harder."),
    ]  # fmt: skip
    return [
        Made(name, "music", "arranged", label, caption,
             sequence(silence(0.3), sequence(*(gain(get(source), db) for db in levels), gap=0.35), silence(0.3)),
             (source,), f"repeated at {', '.join(map(str, levels))} dB with 0.35 s of silence between")
        for name, label, source, levels, caption in rows
    ]  # fmt: skip


def generated_music() -> list[Made]:
    """Synthesised melodies, glides and swells of known shape."""
    organ: dict[str, object] = {"partials": (1, 0.6, 0.4, 0.3), "decay": 0.0}
    soft: dict[str, object] = {"partials": (1, 0.2), "decay": 1.5}
    major = [60, 62, 64, 65, 67, 69, 71, 72]
    chord = np.sum([note(m, 3.5, (1, 0.6, 0.4), 0.0) for m in (57, 61, 64)], axis=0)
    loud = gain(melody([64] * 3, 0.5, **soft), 6)
    pulse = placed(4.0, [(0.2 + i * 0.6, note(76, 0.15, (1, 0.3), 8.0)) for i in range(6)])
    rows: list[tuple[str, str, str, Callable[[], Signal]]] = [
        ("scale_up", "synthesizer", "A synthesizer plays a major scale upwards.", lambda: melody(major, 0.4)),
        ("scale_down", "synthesizer", "A synthesizer plays a major scale downwards.", lambda: melody(major[::-1], 0.4)),
        ("arpeggio_up", "synthesizer", "An organ-like tone climbs through a broken chord.",
         lambda: melody([48, 52, 55, 60, 64, 67], 0.5, **organ)),
        ("arpeggio_down", "synthesizer", "An organ-like tone descends through a broken minor chord.",
         lambda: melody([72, 67, 63, 60, 55, 51], 0.5, **organ)),
        ("tone_low", "synthesizer", "An organ-like tone holds one low note.", lambda: note(45, 3.0, **organ)),  # type: ignore[arg-type]
        ("tone_high", "synthesizer", "A synthesizer holds one high note.", lambda: note(81, 3.0, (1, 0.3), 0.0)),
        ("glide_up", "synthesizer", "A smooth electronic tone slides upwards.", lambda: glide(180, 900, 3.0)),
        ("glide_down", "synthesizer", "A smooth electronic tone slides downwards.", lambda: glide(1_000, 150, 3.0)),
        ("chord_growing", "synthesizer", "An organ-like chord grows steadily louder.", lambda: ramp(chord, -30, -2)),
        ("chord_fading", "synthesizer", "An organ-like chord fades slowly away.", lambda: ramp(chord, -2, -32)),
        ("soft_then_loud", "synthesizer", "The same note sounds three times softly, then three times loudly.",
         lambda: sequence(gain(loud, -20), loud)),
        ("loud_then_soft", "synthesizer", "The same note sounds three times loudly, then three times softly.",
         lambda: sequence(loud, gain(loud, -20))),
        ("beeps", "beep", "An electronic beep sounds six times at an even pace.", lambda: pulse),
    ]  # fmt: skip
    return [
        Made(name, "sound" if label == "beep" else "music", "generated", label, caption, build())
        for name, label, caption, build in rows
    ]


def generated_speech(get: Samples) -> list[Made]:
    """Sentences of our own said by espeak-ng, alone and after a recorded sound."""
    tail, bell = silence(0.3), get("perc_bell", 1.5)
    door = speak("The visitor has arrived.", "en-gb+m3")
    rows = [
        ("speech_train", "en-us+m1", 40, 150, "A synthetic low voice says: The morning train leaves in ten minutes.",
         "The morning train leaves in ten minutes."),
        ("speech_garden", "en-gb+f3", 70, 150, "A synthetic high voice says: Please water the plants in the garden.",
         "Please water the plants in the garden."),
        ("speech_numbers", "en-us+f2", 65, 130, "A synthetic voice counts slowly: One. Two. Three. Four.",
         "One. Two. Three. Four."),
        ("speech_question", "en-gb+m7", 45, 160, "A synthetic voice asks: Did you remember to lock the back door?",
         "Did you remember to lock the back door?"),
        ("speech_weather", "en-us+f4", 80, 190, "A synthetic voice says quickly: It will rain all day tomorrow.",
         "It will rain all day tomorrow."),
    ]  # fmt: skip
    made = [
        Made(name, "speech", "generated", "speech", caption, sequence(tail, speak(text, voice, pitch, speed), tail))
        for name, voice, pitch, speed, caption, text in rows
    ]
    made.append(
        Made("bell_then_speech", "mixed", "arranged", "small bell, speech",
             "A bell rings, then a synthetic voice says: The visitor has arrived.",
             sequence(silence(0.25), bell, silence(0.4), door, tail), ("perc_bell",), "followed by generated speech")
    )  # fmt: skip
    return made


# --------------------------------------------------------------------------------------------------------- the folder


def origin(clip: Made, get: Samples) -> str:
    """The manifest's sentence on where the sound is from."""
    sources = "; ".join(dict.fromkeys(get.origin(name) for name in clip.used))
    made = clip.made or ("trimmed" if clip.used else "generated by examples/make_demo_clips.py")
    if clip.family in ("speech", "mixed") and "speech" in clip.label:
        made += ", speech by espeak-ng 1.51 from a sentence of our own"
    return f"{sources}; {made}" if sources else made


def media_id(clip: Made, get: Samples) -> str:
    """The Freesound id, when the clip is made of one recording: clips of equal id never part at a split."""
    return get.authors[clip.used[0]][1].rstrip("/").rpartition("/")[2] if len(clip.used) == 1 else ""


def main(samples: Path, out: Path) -> None:
    """Writes every clip and manifest.jsonl into `out`."""
    get = Samples(samples)
    clips = [*recorded(get), *counted(get), *ordered(get), *beats(get), *sides(get), *louder_and_softer(get),
             *generated_music(), *generated_speech(get)]  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.flac"):
        old.unlink()
    lines = []
    for clip in sorted(clips, key=lambda c: c.name):
        level = np.abs(clip.signal).max()
        if not 0.05 < level < 1:
            sys.exit(f"{clip.name}: peaks at {level:.2f}, not between 0.05 and 1: change its gain")
        file = out / f"{clip.name}.flac"
        soundfile.write(file, clip.signal, RATE, "PCM_16", compression_level=1.0)
        content, labels = file.read_bytes(), clip.label.split(", ")
        line = {
            "file": file.name, "labels": labels, "class": labels[0], "family": clip.family, "kind": clip.kind,
            "caption": clip.caption, "origin": origin(clip, get), "media_id": media_id(clip, get), "license": "CC0-1.0",
            "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content),
        }  # fmt: skip
        lines.append(json.dumps(line, ensure_ascii=False))
    (out / "manifest.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    total = sum(json.loads(line)["bytes"] for line in lines)
    print(f"{len(lines)} clips, {total} bytes in {out}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
