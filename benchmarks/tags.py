"""How right are tags and transcripts? `python benchmarks/tags.py [--samples DIR] [--json]`

Real weights (YAMNet int8, Whisper tiny.en), fetched by `tests/real_weights.py`.

    tags          single recordings whose first, or one of whose first three tags is right, ranked without a threshold:
                  those of the demo, and with --samples those of two Debian packages that a name tells
    words         word error rate on sentences spoken by `espeak-ng`, clean and in white noise; left out without it
    transcripts   recordings without speech that were given a transcript, of which there should be none

    apt-get download sonic-pi-samples scratch && for f in *.deb; do dpkg-deb -x $f samples; done

Captioners were tuned with the demo and sonic-pi-samples in view; scratch was held out.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datagen.audio import RATE, Audio, load
from datagen.captioners.whisper import Whisper, clear
from datagen.captioners.yamnet import YAMNet
from datagen.plugins import Context
from datagen.prompts import Prompts
from datagen.seeds import derive

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "datagen/sources/demo_clips"

RIGHT: dict[str, tuple[str, ...]] = {
    "bass drum": ("Bass drum",),
    "burp": ("Burping, eructation",),
    "cash register bell": ("Cash register",),
    "choir": ("Choir",),
    "cowbell": ("Cowbell",),
    "crash cymbal": ("Cymbal",),
    "crow": ("Crow", "Caw"),
    "drum roll": ("Drum roll", "Snare drum"),
    "finger snap": ("Finger snapping",),
    "glass": ("Glass", "Singing bowl"),
    "guitar": ("Guitar", "Electric guitar", "Acoustic guitar", "Steel guitar, slide guitar", "Strum"),
    "hi-hat": ("Hi-hat", "Cymbal"),
    "piano": ("Piano",),
    "record hiss": ("Static", "Crackle", "Hiss"),
    "record scratch": ("Scratching (performance technique)",),
    "small bell": ("Bell", "Bicycle bell", "Ding", "Chime", "Doorbell", "Church bell", "Jingle, tinkle", "Jingle bell"),
    "snare drum": ("Snare drum", "Rimshot"),
    "synthesizer": ("Synthesizer",),
    "tabla": ("Tabla",),
    "tom drum": ("Drum",),
    "whoosh": ("Whoosh, swoosh, swish",),
    # scratch
    "baby cry": ("Baby cry, infant cry", "Crying, sobbing"),
    "bubbles": ("Gurgling", "Boiling"),
    "car": ("Car", "Car passing by"),
    "cat": ("Cat", "Meow", "Purr", "Caterwaul"),
    "clap": ("Clapping",),
    "cough": ("Cough", "Throat clearing"),
    "cricket": ("Cricket", "Insect"),
    "dog": ("Dog", "Bark", "Bow-wow", "Yip"),
    "door": ("Door", "Slam", "Sliding door", "Creak", "Squeak"),
    "duck": ("Duck", "Quack"),
    "footsteps": ("Walk, footsteps", "Run"),
    "goose": ("Goose", "Honk"),
    "gong": ("Gong",),
    "horse": ("Horse", "Neigh, whinny", "Clip-clop"),
    "laugh": ("Laughter", "Belly laugh", "Chuckle, chortle", "Giggle", "Snicker"),
    "motorcycle": ("Motorcycle",),
    "owl": ("Owl", "Hoot"),
    "rooster": ("Chicken, rooster", "Crowing, cock-a-doodle-doo"),
    "scream": ("Screaming", "Yell", "Shout"),
    "sewing machine": ("Sewing machine",),
    "shaker": ("Maraca", "Rattle (instrument)", "Rattle"),
    "sneeze": ("Sneeze",),
    "trumpet": ("Trumpet",),
    "typing": ("Typing", "Computer keyboard", "Typewriter"),
    "water": (
        "Water",
        "Water tap, faucet",
        "Sink (filling or washing)",
        "Drip",
        "Pour",
        "Fill (with liquid)",
        "Stream",
    ),
    "wolf": ("Howl",),
    "bird": ("Bird", "Bird vocalization, bird call, bird song", "Chirp, tweet"),
}
"""Label → the classes of AudioSet that are right for it: the class itself, its kinds, and its parent only
where AudioSet has no class for it (a tom)."""
COLLECTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "sonic-pi-samples": (
        "**/sonic-pi/samples/*.flac",
        {
            "bd_|drum_bass|drum_heavy": "bass drum", "sn_|drum_snare|elec_.*snare": "snare drum",
            "drum_tom": "tom drum", "drum_cymbal_(open|closed|pedal)": "hi-hat",
            "drum_cymbal|drum_splash|elec_cymbal": "crash cymbal",
            "drum_roll": "drum roll", "drum_cowbell": "cowbell", "tabla_|loop_tabla": "tabla", "guit_": "guitar",
            "misc_burp": "burp", "misc_crow": "crow", "perc_bell|elec_bell": "small bell", "perc_snap": "finger snap",
            "perc_till": "cash register bell", "perc_sw|ambi_.*w?oosh": "whoosh", "vinyl_hiss": "record hiss",
            "vinyl_": "record scratch", "ambi_choir": "choir", "ambi_glass": "glass", "ambi_piano": "piano",
        },
    ),
    "scratch": (
        "**/Sounds/*/*.*",
        {
            "BabyCry": "baby cry", "BellToll": "small bell", "Bird": "bird", "Bubbles": "bubbles", "CarPassing": "car",
            "Cat|Kitten|Meow": "cat", "Cough": "cough", "Cricket": "cricket", "CymbalCrash|RideCymbal": "crash cymbal",
            "Dog": "dog", "Door": "door", "Duck": "duck", "FingerSnap": "finger snap", "Footsteps": "footsteps",
            "Gong": "gong", "Goose": "goose", "Guitar": "guitar", "HandClap": "clap", "Horse": "horse",
            "Laugh": "laugh",
            "Motorcycle": "motorcycle", "Owl": "owl", "Rooster": "rooster", "Scream": "scream",
            "Sewing": "sewing machine",
            "Shaker": "shaker", "Sneeze": "sneeze", "Trumpet": "trumpet", "Typing": "typing",
            "Water": "water", "WolfHowl": "wolf",
        },
    ),
}  # fmt: skip
"""Debian package → its files, and how a name begins → the label; the first that fits."""
TALK = re.compile(r"Vocals|Beatbox|PartyNoise")
"""In the path of what has voices that may say words."""
SENTENCES = """
The old farmer carried a heavy basket of apples to the market
Please close the window before the rain begins to fall
My sister plays the violin in a small orchestra
The children were laughing near the river this afternoon
A black dog was sleeping under the kitchen table
We should leave early because the road will be busy
The doctor told him to drink more water every day
Nobody knew where the key to the garden shed was hidden
She bought fresh bread and cheese from the corner shop
The last bus to the city leaves just before midnight
His father built a wooden boat behind the house
They watched the sun go down over the quiet harbour
Can you tell me the way to the nearest station
The teacher wrote a long sentence on the board
Snow covered the mountains and the valley below
I left my umbrella on the train again this morning
The cat jumped from the roof and landed on its feet
Our neighbours are planning a party for the weekend
The engine made a strange noise and then it stopped
He opened the letter slowly and began to read
The museum is closed on Monday but open on Sunday
A cold wind was blowing from the north all night
The waiter brought coffee and a glass of orange juice
She had never seen such a large bird before
The bridge over the river was painted green last summer
Turn left at the church and walk straight ahead
The machine in the corner prints the tickets for the show
We heard footsteps in the hall and a knock at the door
The soup needs a little more salt and some pepper
It takes half an hour to walk around the lake
""".strip().splitlines()
VOICES = ("en-us", "en-gb+f3", "en-us+m3")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def models(yamnet: Path, whisper: Path) -> tuple[YAMNet, Whisper]:
    """Both captioners."""
    made = [Context(seed=0, prompts=Prompts(), model=str(path)) for path in (yamnet, whisper)]
    return YAMNet(made[0]), Whisper(made[1])


def demo_recordings() -> Iterator[tuple[str, Audio]]:
    """(label, audio) of the demo's single recordings."""
    for row in manifest():
        if row["kind"] == "recorded":
            yield row["labels"][0], load(DEMO / row["file"])


def demo_speech() -> Iterator[tuple[str, Audio]]:
    """(what is said, audio) of the demo's clips of nothing but speech."""
    for row in manifest():
        if row["labels"] == ["speech"]:
            yield row["caption"].split(": ", 1)[1], load(DEMO / row["file"])


def manifest() -> list[dict[str, Any]]:
    """The demo's clips."""
    return [json.loads(line) for line in (DEMO / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]


def named_samples(package: str, folder: Path) -> Iterator[tuple[str, Audio]]:
    """(label, audio) of the files of a package whose name tells what they are."""
    pattern, labels = COLLECTIONS[package]
    for file in sorted(folder.glob(pattern)):
        label = next((label for begin, label in labels.items() if re.match(begin, file.name)), None)
        if label:
            yield label, load(file)


def tagged(yamnet: YAMNet, clips: Iterable[tuple[str, Audio]]) -> dict[str, int]:
    """How many clips there are, and of how many the first tag, or one of three, is right."""
    counts = {"clips": 0, "top1": 0, "top3": 0}
    for label, audio in clips:
        names = [yamnet.names[index] for index in yamnet.ranked(yamnet.scores(audio))[:3]]
        counts["clips"] += 1
        counts["top1"] += names[0] in RIGHT[label]
        counts["top3"] += any(name in RIGHT[label] for name in names)
    return counts


def words(text: str) -> list[str]:
    """Lower-case words, digits up to ten spelt out."""
    return [
        NUMBERS[int(word)] if word.isdecimal() and int(word) < len(NUMBERS) else word
        for word in re.findall(r"[\w']+", text.casefold())
    ]


def errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Least number of words put in, left out or changed."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


def word_errors(whisper: Whisper, clips: Iterable[tuple[str, Audio]]) -> dict[str, Any]:
    """Word error rate, and how many clips got no transcript (all of their words count as errors)."""
    counts = {"clips": 0, "no_transcript": 0, "words": 0, "errors": 0}
    for text, audio in clips:
        segments, _ = whisper.transcribe(audio)
        said, heard = words(text), words(" ".join(segment.text for segment in segments))
        counts["clips"] += 1
        counts["no_transcript"] += not segments
        counts["words"] += len(said)
        counts["errors"] += errors(said, heard)
    return {**counts, "wer": round(counts["errors"] / counts["words"], 4)}


def spoken(noise_db: float | None) -> Iterator[tuple[str, Audio]]:
    """(sentence, espeak-ng's speech), with white noise at `noise_db` of signal to noise unless None."""
    with tempfile.TemporaryDirectory() as folder:
        for voice in VOICES:
            for sentence in SENTENCES:
                file = Path(folder) / "said.wav"
                subprocess.run(["espeak-ng", "-v", voice, "-s", "150", "-w", file, sentence], check=True, timeout=60)
                audio = load(file)
                if noise_db is not None:
                    rng = np.random.default_rng(derive(0, "noise", voice, sentence))
                    level = np.sqrt(np.mean(audio.mono**2)) * 10 ** (-noise_db / 20)
                    noisy = audio.mono + rng.normal(0, level, len(audio.mono)).astype(np.float32)
                    audio = Audio(noisy[None], RATE, RATE, 1)
                yield sentence, audio


def silent_demo() -> Iterator[tuple[str, Audio]]:
    """(name, audio) of the demo's clips without speech."""
    for row in manifest():
        if "speech" not in row["labels"]:
            yield row["file"], load(DEMO / row["file"])


def silent_samples(package: str, folder: Path) -> Iterator[tuple[str, Audio]]:
    """(name, audio) of the files of a package that hold no words."""
    for file in sorted(folder.glob(COLLECTIONS[package][0])):
        if not TALK.search(f"{file.parent.name}/{file.name}"):
            yield file.name, load(file)


def false_transcripts(whisper: Whisper, clips: Iterable[tuple[str, Audio]]) -> dict[str, Any]:
    """How many of the clips without speech passed the detector and got words, and which of these passed the bounds."""
    found, count, worded = [], 0, 0
    for name, audio in clips:
        segments, _ = whisper.heard(audio)
        count += 1
        worded += any(words(segment.text) for segment in segments)
        found += [f"{name}: {segment.text.strip()}" for segment in segments if clear(segment)]
    return {"clips": count, "words_without_bounds": worded, "transcripts": len(found), "examples": found[:10]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=Path, help="folder of the unpacked packages")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    sys.path.append(str(ROOT / "tests"))
    import real_weights

    yamnet, whisper = models(real_weights.yamnet(), real_weights.whisper())
    packages = list(COLLECTIONS) if args.samples else []
    noises = {"clean": None, "20 dB": 20.0, "10 dB": 10.0} if shutil.which("espeak-ng") else {}
    found: dict[str, Any] = {
        "tags": {"demo": tagged(yamnet, demo_recordings())}
        | {name: tagged(yamnet, named_samples(name, args.samples)) for name in packages},
        "transcripts": {"demo": false_transcripts(whisper, silent_demo())}
        | {name: false_transcripts(whisper, silent_samples(name, args.samples)) for name in packages},
        "words": {"demo": word_errors(whisper, demo_speech())}
        | {name: word_errors(whisper, spoken(noise)) for name, noise in noises.items()},
    }
    if args.json:
        print(json.dumps(found))
        return
    for kind, rows in found.items():
        for name, row in rows.items():
            print(f"{kind:<12} {name:<18}", *(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
