"""RUN/report.html: one page to look at and listen to what a build made. It needs no network and no other file."""

from __future__ import annotations

import json
import struct
import zlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from datagen import audio as sound
from datagen.dataset import positions, template
from datagen.errors import AudioError
from datagen.run import replace_text
from datagen.seeds import draws

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

__all__ = ["spectrogram", "write_report"]

ITEMS = 30
SECONDS = 30.0
"""Audio of one item in the page."""
MEDIA_BYTES = 6_000_000
"""Sound and pictures of the whole page, as base64; items beyond say that theirs was left out."""
EXAMPLES, TEXT = 3, 600
"""Rejected rows shown of each reason, and the most characters of a text of theirs."""

Place = tuple[str, float | None, float | None]
"""File, start and end in seconds."""


def write_report(run: Path, clip_files: Mapping[str, Place] | None = None) -> None:
    """Writes report.html from run.json, the tables and the dataset of `run`.

    `clip_files`: clip id → (file, start, end) where the audio is not (any more) where clips.parquet says. An item whose
    audio cannot be opened says so.
    """
    import polars as pl

    state = json.loads((run / "run.json").read_text(encoding="utf-8"))
    kept = kept_questions(run)
    items = items_of(run, sample(kept, ITEMS, state["seed"]))
    add_media(items, clip_files)
    page = template("report.html").render(
        run=state,
        rows=kept.height,
        baselines=state["baselines"],
        gates=state["gates"],
        positions=positions(kept),
        skills=kept["skill"].value_counts().sort("count", "skill", descending=[True, False]).rows(),
        domains=kept["domain"].value_counts().sort("count", "domain", descending=[True, False]).rows(),
        splits=kept.group_by("split", maintain_order=True).agg(pl.len(), pl.col("clip_id").n_unique()).rows(),
        lengths=lengths(kept),
        items=items,
        rejected=rejected(run, state["seed"]),
    )
    replace_text(run / "report.html", page)


def kept_questions(run: Path) -> pl.DataFrame:
    """What the plots need of the published questions, with `split`."""
    import polars as pl

    columns = ["id", "clip_id", "choices", "answer", "answer_index", "domain", "skill"]
    files = sorted((run / "dataset" / "data").glob("*.parquet"))
    tables = [
        pl.scan_parquet(file).select(columns).with_columns(split=pl.lit(file.name.split("-")[0])) for file in files
    ]
    return pl.concat(tables).collect()


def sample(kept: pl.DataFrame, n: int, seed: int) -> pl.DataFrame:
    """`n` rows in which skills take turns and no clip comes twice while there are others; drawn by (seed, id)."""
    import polars as pl

    ranks = pl.Series("rank", draws(seed, "report", kept["id"]), dtype=pl.UInt64)
    drawn = kept.select("id", "clip_id", "skill").with_columns(ranks).sort("rank")
    drawn = drawn.with_columns(again=pl.int_range(pl.len()).over("clip_id"))
    drawn = drawn.with_columns(turn=pl.int_range(pl.len()).over("skill", "again"))
    chosen = drawn.sort("again", "turn", "skill").head(n).sort("skill", "rank")
    return chosen.select("id").join(kept, on="id", how="left", maintain_order="left")


def lengths(kept: pl.DataFrame) -> dict[str, Any]:
    """Characters of answers and of the other choices: shares in equal bins up to `longest`, and the means."""
    import numpy as np

    long = kept.select("choices", "answer").explode("choices")
    right = (long["choices"] == long["answer"]).fill_null(False)
    size = long["choices"].str.len_chars()
    longest = max(int(size.quantile(0.99, interpolation="higher") or 1), 1)
    edges = np.linspace(0, longest, min(longest, 24) + 1)
    series = {}
    for name, part in (("answer", size.filter(right)), ("other", size.filter(~right))):
        counts, _ = np.histogram(part.clip(upper_bound=longest).to_numpy(), edges)
        series[name] = {"mean": part.mean(), "shares": (counts / max(part.len(), 1)).tolist()}
    return {"longest": longest, "bins": len(edges) - 1, **series}


def items_of(run: Path, chosen: pl.DataFrame) -> list[dict[str, Any]]:
    """Everything that the page says of the chosen questions but their sound."""
    clips = rows_by(run, "clips", "id", chosen["clip_id"])
    captions = rows_by(run, "captions", "clip_id", chosen["clip_id"])
    questions = rows_by(run, "questions", "id", chosen["id"])
    verdicts = rows_by(run, "verdicts", "question_id", chosen["id"])
    return [
        {
            **row,
            "question": questions[row["id"]][0]["question"],
            "clip": clips[row["clip_id"]][0],
            "captions": captions.get(row["clip_id"], []),
            "verdicts": verdicts.get(row["id"], []),
            "provenance": json.dumps(json.loads(questions[row["id"]][0]["provenance"]), indent=2, ensure_ascii=False),
        }
        for row in chosen.iter_rows(named=True)
    ]


def rows_by(run: Path, table: str, column: str, values: pl.Series) -> dict[str, list[dict[str, Any]]]:
    """Value of `column` → the rows of one table of the run that have it, for the values asked for."""
    import polars as pl

    found: dict[str, list[dict[str, Any]]] = {}
    wanted = pl.scan_parquet(run / f"{table}.parquet").filter(pl.col(column).is_in(values.unique().implode()))
    for row in wanted.collect().iter_rows(named=True):
        found.setdefault(row[column], []).append(row)
    return found


def rejected(run: Path, seed: int) -> list[dict[str, Any]]:
    """Reasons with their counts, most first, and a few rows of each drawn by (seed, ids)."""
    import polars as pl

    table = pl.scan_parquet(run / "rejected.parquet").with_row_index("row")
    keys = table.select("row", "stage", "reason").collect()
    keys = keys.with_columns(draw=pl.Series(draws(seed, "rejected", map(str, keys["row"])), dtype=pl.UInt64))
    groups = keys.group_by("stage", "reason").agg(pl.len(), pl.col("row").sort_by("draw").head(EXAMPLES))
    groups = groups.sort("len", "stage", "reason", descending=[True, False, False])
    shown = [row for rows in groups["row"] for row in rows]
    found = {r["row"]: r for r in table.filter(pl.col("row").is_in(shown)).collect().iter_rows(named=True)}
    return [{**group, "examples": [_cut(found[row]) for row in group["row"]]} for group in groups.to_dicts()]


def _cut(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v[:TEXT] + " …" if isinstance(v, str) and len(v) > TEXT else v for k, v in row.items()}


# ── sound ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def add_media(items: Sequence[dict[str, Any]], clip_files: Mapping[str, Place] | None) -> None:
    """Puts `player` and `picture` (data: URIs, or empty) and `silent` (why there are none) into each item."""

    def place_of(clip: Mapping[str, Any]) -> Place | None:
        return (clip["path"], clip["start"], clip["end"]) if clip_files is None else clip_files.get(clip["id"])

    spent = 0
    with ThreadPoolExecutor(2) as threads:  # decoding, encoding and transforms let go of the interpreter
        for row, media in zip(items, threads.map(media_of, [place_of(row["clip"]) for row in items]), strict=True):
            if isinstance(media, AudioError):
                row |= {"player": "", "picture": "", "silent": f"{media.reason}: {Path(row['clip']['path']).name}"}
                continue
            spent += len(media["player"]) + len(media["picture"])
            if spent > MEDIA_BYTES:
                media = {"player": "", "picture": "", "silent": "left out to keep this page small"}
            row |= media


def media_of(place: Place | None) -> dict[str, str] | AudioError:
    """Sound and spectrogram of (the first 30 s of) a clip, or why it cannot be opened.

    Up to a second is FLAC, which takes a tenth of the time of MP3; more would make the page large.
    """
    if place is None:
        return AudioError("audio_missing", "no file is named for it")
    file, start, end = place
    try:
        audio = sound.load(Path(file), start=start, end=end)
    except AudioError as error:
        return error
    audio = replace(audio, channels=audio.channels[:, : int(SECONDS * audio.rate)])
    kind: Literal["flac", "mp3"] = "flac" if len(audio.mono) <= audio.rate else "mp3"
    return {
        "player": _data_uri({"flac": "audio/flac", "mp3": "audio/mpeg"}[kind], sound.encode(audio, kind)),
        "picture": _data_uri("image/png", spectrogram(audio.mono, audio.rate)),
        "silent": "",
    }


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{b64encode(content).decode()}"


def spectrogram(mono: np.ndarray, rate: int, width: int = 480, height: int = 112) -> bytes:
    """A PNG of `mono` (float32, (samples,)): time to the right, 60 Hz to rate / 2 up (log), 80 dB of brightness."""
    import numpy as np

    size = 1024
    mono = np.pad(mono, (0, max(0, size - len(mono))))
    starts = np.linspace(0, len(mono) - size, min(width, 1 + (len(mono) - size) // 80)).astype(int)
    frames, shape = np.lib.stride_tricks.sliding_window_view(mono, size), np.hanning(size)
    bins = np.geomspace(60, rate / 2, height)[::-1] * size / rate
    below = np.minimum(bins.astype(int), size // 2 - 1)
    share, rows = bins - below, np.empty((len(starts), height))
    for first in range(0, len(starts), 60):  # what fits a core's cache takes a third of the time
        spectrum = np.fft.rfft(frames[starts[first : first + 60]] * shape)
        level = 10 * np.log10(spectrum.real**2 + spectrum.imag**2 + 1e-12)
        rows[first : first + 60] = level[:, below] * (1 - share) + level[:, below + 1] * share
    rows = rows.T
    top = max(float(rows.max()), -20.0)  # what is silent stays dark
    steps = np.clip((rows - top + 80) / 80 * 31, 0, 31).round().astype(np.uint8)
    anchors = np.array(
        [[0, 0, 4], [81, 18, 124], [183, 55, 121], [252, 137, 97], [252, 253, 191]]
    )  # of matplotlib's magma
    palette = np.stack([np.interp(np.linspace(0, 4, 32), range(5), channel) for channel in anchors.T], axis=1)
    return _png(steps, palette.round().astype(np.uint8))


def _png(pixels: np.ndarray, palette: np.ndarray) -> bytes:
    """`pixels`: (height, width) indices into `palette`, (colours, 3); both uint8. https://www.w3.org/TR/png/"""
    height, width = pixels.shape

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    return b"\x89PNG\r\n\x1a\n" + b"".join([
        chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)), chunk(b"PLTE", palette.tobytes()),
        chunk(b"IDAT", zlib.compress(lines, 5)), chunk(b"IEND", b""),
    ])  # fmt: skip
