"""Source `avqa`: AVQA (Yang et al., ACM Multimedia 2022), human questions about 10 s clips of VGGSound.

    https://mn.cs.tsinghua.edu.cn/avqa        annotations: train_qa.json (40,425 questions), val_qa.json
    https://www.robots.ox.ac.uk/~vgg/data/vggsound       the clips; take a mirror, as AVQA distributes no audio

    $DATAGEN_DATA/avqa/ or ./data/avqa/       (--annotations a file or the folder, --audio another folder)
      train_qa.json                           read unless --annotations names another file
      vggsound.csv                            optional, VGGSound's own list (id,start,label,split): gives clips labels
      audio/-HG3Omg_89c_000030.wav            any folder below; also ..._30.wav, .mp4, .flac: see files.SUFFIXES

A file is a JSON array of {"id": 183, "video_name": "-HG3Omg_89c_000030", "video_id": 341, "question_text": …,
"multi_choice": [4, entries can be null or no strings], "answer": index, "question_relation": View | Both | Sound,
"question_type": Which | Come From | Happening | Where | Why | Before Next | When | Used For}. `video_name` is a YouTube
id and the second at which the clip begins, six digits. The rights in the sound stay with whoever made the videos, so
`license` is left empty.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datagen.errors import UsageError
from datagen.plugins import SourceOptions
from datagen.records import Clip, Failure, RawQuestion
from datagen.sources import vggsound
from datagen.sources.files import MEANING, places, printable
from datagen.sources.index import Index
from datagen.sources.tables import Listing
from datagen.sources.youtube import key, media

__all__ = ["Avqa"]

CURE = "put train_qa.json (from https://mn.cs.tsinghua.edu.cn/avqa) and a VGGSound mirror's audio there"


class Avqa:
    """One clip for each video that has a question, in the order in which the file first names them."""

    origin = (
        "AVQA (https://mn.cs.tsinghua.edu.cn/avqa), human questions about clips of VGGSound "
        "(https://www.robots.ox.ac.uk/~vgg/data/vggsound), which are stretches of 10 s of YouTube videos."
    )
    reattach = (
        "`media_id` is a YouTube id; the clip is that video's sound from `start` to `end` (s), as VGGSound cuts it."
    )

    def __init__(self, options: SourceOptions) -> None:
        self.file, root = places(options, "avqa", "train_qa.json", CURE)
        self.questions = _grouped(self.file)
        self.labels = _labels(self.file.with_name("vggsound.csv"))
        self.files = Index(root, key, "put the clips of a VGGSound mirror there, named like -HG3Omg_89c_000030.wav")

    def clips(self) -> Iterator[Clip | Failure]:
        """A Failure for each clip whose audio is not there: no mirror has all of them."""
        for name, questions in self.questions.items():
            clip_id, (video, start) = f"avqa/{name}", media(name)
            path = self.files.find(key(name))
            if isinstance(path, str):
                yield Failure("source", path, clip_id, f"{name}: {MEANING[path]}")
            else:
                yield Clip(
                    id=clip_id,
                    source="avqa",
                    path=str(path),
                    labels=self.labels.get(name, ()),
                    media_id=video,
                    media_start=start,
                    media_end=None if start is None else start + vggsound.SECONDS,
                    questions=tuple(questions),
                )


def _grouped(file: Path) -> dict[str, list[RawQuestion]]:
    """Every question by the name of its clip, `<id>_<6 digits>`. Raises UsageError for a file that is not AVQA's."""
    groups: dict[str, list[RawQuestion]] = {}
    for number, item in enumerate(_items(file)):
        name = item.get("video_name") if isinstance(item, dict) else None
        if not isinstance(name, str) or not name.strip() or name != printable(name):
            raise UsageError(
                f"--annotations {file}: item {number} has no text 'video_name': use AVQA's own train_qa.json"
            )
        video, start = media(name.strip())
        groups.setdefault(video if start is None else f"{video}_{int(start):06d}", []).append(_question(number, item))
    if not groups:
        raise UsageError(f"--annotations {file}: it holds no question: use AVQA's own train_qa.json")
    return groups


def _question(number: int, item: dict[str, Any]) -> RawQuestion:
    attributes = {key: item.get(key) for key in ("question_relation", "question_type")}
    return RawQuestion(
        id=printable(str(item.get("id", f"item {number}"))),
        question=_storable(item.get("question_text")),
        choices=_storable(item.get("multi_choice")),
        answer_index=item.get("answer"),
        attributes={key: printable(value) for key, value in attributes.items() if isinstance(value, str)},
    )


def _storable(value: Any) -> Any:
    """The value with every text in it `printable`; JSON can hold halves of surrogate pairs, tables cannot."""
    if isinstance(value, dict):
        return {printable(key): _storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return printable(value) if isinstance(value, str) else value


def _items(file: Path) -> list[Any]:
    try:
        text = file.read_text(encoding="utf-8-sig")
        # a decimal stays as it is written, and what JSON has no number for is null
        items = json.loads(text, parse_float=str, parse_constant=lambda _: None)
    except OSError as error:
        raise UsageError(
            f"--annotations {file}: {error.strerror}: take train_qa.json from https://mn.cs.tsinghua.edu.cn/avqa"
        ) from None
    except json.JSONDecodeError as error:
        raise UsageError(
            f"--annotations {file}: line {error.lineno} column {error.colno}: {error.msg}: it must be one JSON array"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--annotations {file}: {error}: it must be one JSON array in UTF-8") from None
    if not isinstance(items, list):
        raise UsageError(f"--annotations {file}: holds a {type(items).__name__}: it must be one JSON array")
    return items


def _labels(file: Path) -> dict[str, tuple[str, ...]]:
    """VGGSound's label of each clip by its name; empty without the file. Raises UsageError for a malformed line."""
    if not file.is_file():
        return {}
    labels: dict[str, tuple[str, ...]] = {}
    table = vggsound.table(file, option="")
    for item in Listing("vggsound", table, vggsound.segment).entries():
        if not isinstance(item, Failure):
            labels[item.key] = item.labels
        elif item.reason == "row_malformed":
            raise UsageError(f"{file}: {item.error}: {table.cure}, or move it away")
    return labels
