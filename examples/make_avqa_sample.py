"""A small corpus in AVQA's published layout, with real audio (the demo clips), to rehearse `--source avqa`.

    python examples/make_avqa_sample.py avqa        # writes avqa/train_qa.json and avqa/audio/

Its rows are as odd as the real ones: null and number choices, questions about what is seen, several questions for one
clip, names padded, unpadded and .mp4, and one clip whose audio is not there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import av
import soundfile

from datagen.sources import demo

CLIPS = Path(demo.__file__).with_name("demo_clips")
ROWS: list[tuple[str, str, str, list[Any], int, str, str]] = [
    ("crow_calls", "aaaaaaaaaa1_000030.wav", "What animal is in the video?",
     ["crow", "dog", "cat", "cow"], 0, "Both", "Which"),
    ("crow_calls", "aaaaaaaaaa1_000030.wav", "What colour is the animal?",
     ["black", "red", "blue", "white"], 0, "View", "Which"),
    ("crow_calls", "aaaaaaaaaa1_000030.wav", "How many birds are in the video?",
     [1, 2, 3, None], 0, "Sound", "Which"),
    ("bell_ring", "-bbbbbbbbb2_30.wav", "What makes the sound in the video?",
     ["bell", "drum", None, "horn"], 0, "Sound", "Come From"),
    ("snare_hits", "c_cccccccc3_000120.flac", "What happens in the video?",
     ["drumming", "singing", "rain", "fire"], 0, "Sound", "Happening"),
    ("speech_train", "ddddddddd_4_000007.mp4", "Where might this be?",
     ["a station", "a kitchen", "a pool", "a farm"], 0, "Both", "Where"),
    ("guitar_chord", "eeeeeeeeee5_000000.mp4", "What is being played?",
     ["guitar", "flute", "drum", "organ"], 0, "Sound", "Which"),
    ("burp_then_scratch", "ffffffffff6_000060.wav", "What comes after the burp?",
     ["a scratch", "a bell", "a bark", "a shot"], 0, "Sound", "Before Next"),
    ("cowbell_hits", "gggggggggg7_000010.wav", "What is hit in the video?",
     ["cowbell", "gong", "cowbell", "drum"], 0, "Sound", "Which"),
    ("piano_low", "hhhhhhhhhh8_000010.wav", "Which instrument sounds?",
     ["piano", "violin", "harp", "tuba"], 7, "Sound", "Which"),
    ("", "iiiiiiiiii9_000010.wav", "What passes by?",
     ["a car", "a train", "a bus", "a ship"], 1, "Sound", "Which"),
    ("tabla_loop", "jjjjjjjjj10_000010.wav", "Why is there a rhythm?",
     ["drumming", "walking", "rain", "typing"], 0, "Sound", "Why"),
]  # fmt: skip
"""Demo clip, file name, question, choices, answer, relation, type."""


def write_audio(clip: str, path: Path) -> None:
    """The demo clip under another name, and as AAC in a video container where the name says .mp4."""
    samples, rate = soundfile.read(CLIPS / f"{clip}.flac", dtype="float32", always_2d=True)
    if path.suffix != ".mp4":
        soundfile.write(path, samples, rate)
        return
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples.mean(axis=1)[None, :], format="fltp", layout="mono")
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def main(out: Path) -> None:
    """Writes the annotations and the audio below `out`."""
    (out / "audio").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (clip, name, question, choices, answer, relation, kind) in enumerate(ROWS):
        video, start = Path(name).stem.rsplit("_", 1)
        rows.append(
            {
                "id": number,
                "video_name": f"{video}_{int(start):06d}",
                "video_id": number,
                "question_text": question,
                "multi_choice": choices,
                "answer": answer,
                "question_relation": relation,
                "question_type": kind,
            }
        )
        if clip:
            write_audio(clip, out / "audio" / name)
    (out / "train_qa.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
