"""`datagen export`: a run's dataset in the form that a trainer or a benchmark reads; docs/exports.md shows each.

A format is a plain function from a row to a record. Its row holds the published columns of `datagen.dataset` but
`captions` and `provenance`, and

    prompt     the text that asks the question, by `multiple_choice.render`
    solution   the gold text of that prompt, by `multiple_choice.solution`
    split      train or validation
    audio      path of the clip's file, None without --audio

Rows are streamed from the shards, so memory does not grow with their number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from datagen.dataset import SPLITS, measured
from datagen.errors import UsageError
from datagen.multiple_choice import STYLES, Style, render, solution
from datagen.records import MEASURES
from datagen.run import finished, replacing
from datagen.sources.attach import AudioFolder
from datagen.sources.files import MEANING

__all__ = ["EXPORTS", "Format", "export"]

Row = Mapping[str, Any]
COLUMNS = (
    "id", "question", "choices", "answer", "answer_index", "domain", "skill", "source", "clip_id", "media_id", "start",
    "end",
)  # fmt: skip


# ── the formats ──────────────────────────────────────────────────────────────────────────────────────────────────────


def trl(row: Row) -> dict[str, Any]:
    """GRPO of trl: conversational, prompt only; all else goes to the reward function. JSON lines, text only.

    https://huggingface.co/docs/trl/dataset_formats#prompt-only
    """
    return {"id": row["id"], "prompt": [{"role": "user", "content": row["prompt"]}], **_rewarded(row)}


def ms_swift(row: Row) -> dict[str, Any]:
    """GRPO of ms-swift: messages, with audio also audios; all else goes to the reward function. JSON lines.

    https://swift.readthedocs.io/en/latest/Customization/Custom-dataset.html
    """
    content, audios = row["prompt"], {}
    if row["audio"]:
        content, audios = f"<audio>{content}", {"audios": [row["audio"]]}
    return {"id": row["id"], "messages": [{"role": "user", "content": content}], **audios, **_rewarded(row)}


def r1_aqa(row: Row) -> dict[str, Any]:
    """R1-AQA's training file: AVQA's keys, dataset_name and audio_path. JSON lines, needs --audio.

    https://github.com/xiaomi-research/r1-aqa#data-preparation. Its loader makes prompt and solution itself, for rows
    whose dataset_name is AVQA. `video_id` is AVQA's own number, which no clip of ours has.
    """
    return {
        "id": row["id"],
        "video_name": row["clip_id"].removeprefix(f"{row['source']}/"),
        "video_id": None,
        "question_text": row["question"],
        "multi_choice": row["choices"],
        "answer": row["answer_index"],
        "question_relation": "Sound",
        "question_type": row["skill"],
        "dataset_name": "AVQA",
        "audio_path": row["audio"],
    }


def mmau(row: Row) -> dict[str, Any]:
    """MMAU's benchmark file, which its evaluation.py scores once model_output is added. One JSON array.

    https://github.com/Sakshi113/MMAU. The script knows the tasks sound, music and speech and the difficulties easy,
    medium and hard, and stops at any other: a mixed question is counted under sound, and all are called medium.
    """
    return {
        "id": row["id"],
        **({"audio_id": row["audio"]} if row["audio"] else {}),
        "question": row["question"],
        "choices": row["choices"],
        "answer": row["answer"],
        "dataset": row["source"],
        "task": "sound" if row["domain"] == "mixed" else row["domain"],
        "split": row["split"],
        "category": "",
        "sub-category": row["skill"],
        "difficulty": "medium",
    }


def nemo_rl(row: Row) -> dict[str, Any]:
    """NeMo RL: AudioMCQ's manifest with audio, input and answer of its ResponseDataset without. JSON lines.

    https://github.com/NVIDIA-NeMo/RL/blob/main/nemo_rl/data/datasets/response_datasets/audiomcq.py
    """
    return {
        "source_dataset": row["source"],
        "id": row["id"],
        "question_type": row["domain"],
        **({"audio_path": row["audio"]} if row["audio"] else {"input": row["prompt"]}),
        "question": row["question"],
        "answer": row["answer"],
        "choices": row["choices"],
    }


def _rewarded(row: Row) -> dict[str, Any]:
    """What a reward function needs."""
    return {name: row[name] for name in ("solution", "choices", "answer_index", "domain", "skill")}


@dataclass(frozen=True)
class Format:
    """How the records of a format are made and written."""

    record: Callable[[Row], dict[str, Any]]
    style: Style | None = None
    """The prompt that its consumer writes; None where the file holds the prompt, and --prompt chooses."""
    audio: Literal["optional", "never", "always"] = "optional"
    relative: bool = False
    """Whether audio is named from the folder --audio on, and not by a whole path."""
    array: bool = False
    """One JSON array, and not one record a line."""


EXPORTS: Mapping[str, Format] = {
    "trl": Format(trl, audio="never"),
    "ms-swift": Format(ms_swift),
    "r1-aqa": Format(r1_aqa, style="r1-aqa", audio="always"),
    "mmau": Format(mmau, style="omni-r1", relative=True, array=True),
    "nemo-rl": Format(nemo_rl, style="r1-aqa", relative=True),
}


# ── from the run to the file ─────────────────────────────────────────────────────────────────────────────────────────


def export(
    run: Path,
    format: str,
    out: Path,
    *,
    split: str = "train",
    prompt: str | None = None,
    captions: bool = False,
    audio: Path | None = None,
) -> dict[str, Any]:
    """Writes the questions of a finished run to `out` and returns the shape of `datagen export --json`.

    A row whose audio is not below `audio` is left out, counted, and listed with its reason in OUT.skipped.jsonl.
    Raises UsageError, and leaves `out` as it was, when the call is wrong or nothing can be exported.
    """
    kind, style = checked(format, prompt, audio)
    splits = SPLITS if split == "all" else (split,)
    if not set(splits) <= set(SPLITS):
        raise UsageError(f"--split {split!r}: use {', '.join(SPLITS)} or all")
    shards = shards_of(run, splits)
    found = AudioFolder(audio) if audio else None
    listing = out.with_name(out.name + ".skipped.jsonl")
    skipped: Counter[str] = Counter()
    with ExitStack() as files:
        try:
            if out.is_dir():
                raise UsageError(f"--out {out}: is a folder: name a file")
            file, left_out = (files.enter_context(replacing(path)) for path in (out, listing))
        except OSError as error:
            raise UsageError(f"--out {out}: {error.strerror}: name a file in a folder that can be written") from None
        written = Records(file, kind.array)
        for row in read(shards, [*COLUMNS, *(["captions"] if captions else [])]):
            reason = attach(row, found, kind.relative)
            if reason:
                skipped[reason] += 1
                left_out.write(_json({"id": row["id"], "clip_id": row["clip_id"], "reason": reason}) + b"\n")
                continue
            row["prompt"] = render(row["question"], row["choices"], style)
            row["solution"] = solution(row["choices"], row["answer_index"], style)
            written.add(kind.record(row) | {name: row[name] for name in (*MEASURES, "captions") if name in row})
        written.close()
        if not written.rows:
            raise UsageError(nothing(run, split, audio, skipped))
    if not skipped:
        listing.unlink()
    return {
        "out": str(out), "format": format, "split": split, "rows": written.rows, "skipped": dict(skipped),
        "skipped_list": str(listing) if skipped else None,
    }  # fmt: skip


def checked(format: str, prompt: str | None, audio: Path | None) -> tuple[Format, Style]:
    """The format and the style of its prompts. Raises UsageError for what does not go together."""
    kind = EXPORTS.get(format)
    if kind is None:
        raise UsageError(f"--format {format!r}: unknown: use one of {', '.join(EXPORTS)}")
    if prompt is not None and prompt not in STYLES:
        raise UsageError(f"--prompt {prompt!r}: use one of {', '.join(STYLES)}")
    if prompt is not None and kind.style:
        raise UsageError(f"--prompt {prompt}: {format} writes its own prompt: leave --prompt out")
    if audio is None and kind.audio == "always":
        raise UsageError(f"--format {format}: its loader opens the audio of every row: add --audio DIR")
    if audio is not None and kind.audio == "never":
        raise UsageError(
            f"--audio {audio}: the GRPOTrainer of trl 1.16 drops audio from its loss without a word: "
            "leave --audio out, or use --format ms-swift"
        )
    chosen: Style = next((known for known in STYLES if known == prompt), "omni-r1")
    return kind, kind.style or chosen


def shards_of(run: Path, splits: Sequence[str]) -> list[tuple[str, Path]]:
    """(split, parquet file) of a finished run, in order. Raises UsageError where there is none."""
    data = finished(run).path / "dataset" / "data"
    return [(split, file) for split in splits for file in sorted(data.glob(f"{split}-*.parquet"))]


def read(shards: Sequence[tuple[str, Path]], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of the shards with their `split` and measures. Raises UsageError for a file that cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for split, path in shards:
        try:
            with pq.ParquetFile(path) as file:
                wanted = [*columns, *measured(file.schema_arrow.names)]  # of measures the number, without its interval
                for batch in file.iter_batches(1_000, columns=wanted):
                    for row in batch.to_pylist():
                        yield row | {"split": split}
        except (OSError, KeyError, pa.ArrowException) as error:
            why = str(error).split("\n")[0]
            raise UsageError(f"{path}: cannot be read: {why}: start the build again to write it anew") from None


def attach(row: dict[str, Any], found: AudioFolder | None, relative: bool) -> str:
    """Sets `audio` of a row; the reason where its file is not there, else nothing."""
    row["audio"] = None
    if found is None:
        return ""
    path = found.find(row)
    if isinstance(path, str):
        return path
    row["audio"] = path.relative_to(found.root).as_posix() if relative else str(path)
    return ""


def nothing(run: Path, split: str, audio: Path | None, skipped: Mapping[str, int]) -> str:
    """Why no row was written, in one line."""
    if not skipped:
        which = "question" if split == "all" else f"question in the split {split}"
        return f"{run}: holds no {which}: build more, or choose another --split"
    reason, rows = max(skipped.items(), key=lambda item: item[1])
    return f"--audio {audio}: no row has its file there ({reason} {rows}: {MEANING[reason]}): name another folder"


class Records:
    """Writes records one a line, or as one JSON array."""

    def __init__(self, file: IO[bytes], array: bool) -> None:
        self.file = file
        self.rows = 0
        self.first, self.between, self.last = (b"[\n", b",\n", b"\n]\n") if array else (b"", b"\n", b"\n")

    def add(self, record: Mapping[str, Any]) -> None:
        """One more record."""
        self.file.write((self.between if self.rows else self.first) + _json(record))
        self.rows += 1

    def close(self) -> None:
        """Ends the last line, and the array."""
        self.file.write(self.last)


def _json(value: Any) -> bytes:
    import orjson

    return orjson.dumps(value)
