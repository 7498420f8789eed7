"""What a build costs from 1 to 100 machines and to 10⁸ clips: measured by the clip here, computed for there.

    python benchmarks/scaling.py [--questions 100000 300000] [--json] [--write docs/scaling.md]

Measured, each in a process of its own: the list of a corpus; clips of 10 s by the `acoustic` captioner; the same clips
with a model (2 captions, 2 questions, 3 readings each; a loopback server answers after 50 ms); a merge of generated
tables of two sizes. What is counted is the difference of two sizes, so that what a process takes anyway is left out.
`--write` puts the tables between the marks of a page. What is computed is a straight line through what was measured,
an estimate therefore.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import soundfile
from generated import questions
from model_server import serving

from datagen.llm import Ledger, Row
from datagen.records import Caption, Clip, Failure, Question, Verdict, schema
from datagen.run import TABLES

CORES, MEMORY_GB = 16, 64
"""Of the machine that is computed with."""
SIZES = (10**4, 10**6, 10**8)
MACHINES = (1, 10, 100)
PRICE = (0.15, 0.6)
"""USD per million tokens, of a small hosted model (gpt-4o-mini's list price)."""
SERVED = 1_000
"""Answers a second of all model servers together, an assumption."""
LINES_LISTED = 20_000
CHILD = """
import json, resource, sys, time
from pathlib import Path
started = time.monotonic()
{code}
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({{"found": found, "cpu_s": used.ru_utime + used.ru_stime, "seconds": time.monotonic() - started,
                   "peak_mb": used.ru_maxrss / 1024}}))
"""


def child(code: str, *arguments: object) -> dict[str, Any]:
    """Runs `code`, which sets `found`, and returns it with processor seconds, seconds and peak memory."""
    command = [sys.executable, "-c", CHILD.format(code=code), *map(str, arguments)]
    return dict(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout))


# ── measured ─────────────────────────────────────────────────────────────────────────────────────────────────────────

BUILD = """
from datagen.build import Config, build
audio, out, limit, url = sys.argv[1:]
model = {"model": "stub", "base_url": url, "captions_per_clip": 2, "questions_per_clip": 2} if url else {}
found = build(Config("folder", audio=Path(audio), out=Path(out), limit=int(limit), **model))
"""
LIST = """
from datagen.config import Config
from datagen.parts import survey_source
from datagen.plugins import SourceOptions
from datagen.sources.folder import Folder
source = Folder(SourceOptions(annotations=Path(sys.argv[1])))
begun = time.process_time()
survey_source(source, Config("folder"))
found = time.process_time() - begun
"""
MERGE = """
from datagen.merge import merge
found = merge([Path(sys.argv[1])], Path(sys.argv[2]))
"""
ESTIMATE = """
from datagen.build import Config, build
price = tuple(map(float, sys.argv[3:5]))
found = build(Config("folder", audio=Path(sys.argv[1]), dry_run=True, model="stub", base_url=sys.argv[2], price=price))
"""


def listed(folder: Path) -> float:
    """Processor seconds to list a clip of a table, its file looked at."""
    folder.mkdir()
    soundfile.write(folder / "a.wav", np.zeros(1600, np.float32), 16_000)
    rows = "".join(f"a.wav,clip{number},noise,{number}\n" for number in range(LINES_LISTED))
    (folder / "table.csv").write_text("file,id,labels,media_id\n" + rows)
    return float(child(LIST, folder / "table.csv")["found"]) / LINES_LISTED


def worked(folder: Path, url: str) -> dict[str, float]:
    """Processor seconds and calls a clip, by the difference of two builds; and bytes a committed answer."""
    folder.mkdir()
    for number in range(120):
        noise = np.random.default_rng(number).standard_normal(160_000).astype(np.float32)
        soundfile.write(folder / f"clip{number:05d}.wav", 0.1 * noise, 16_000, subtype="PCM_16")
    found = {}
    for name, server in (("acoustic", ""), ("model", url)):
        small, large = (child(BUILD, folder, folder.parent / f"{name}{n}", n, server) for n in (20, 120))
        found[f"{name}_cpu_s"] = (large["cpu_s"] - small["cpu_s"]) / 100
    ledger = folder.parent / "model120/ledger.sqlite"
    return {**found, "answer_bytes": ledger.stat().st_size / large["found"]["calls"]}


def merged(folder: Path, sizes: tuple[int, int], url: str, audio: Path) -> dict[str, float]:
    """Seconds, bytes of memory and bytes on disk that a question adds to a merge."""
    runs = []
    for size in sizes:
        shard = folder / f"shard{size}"
        code = BUILD.replace("limit=int(limit)", "limit=int(limit), shard='0/1'")
        child(code, audio, shard, 2, url)
        for record, table in tables(questions(size, defects=False)):
            write(shard / f"{TABLES[record]}.parquet", record, table)
        run = child(MERGE, shard, folder / f"run{size}")
        disk = sum(file.stat().st_size for file in (folder / f"run{size}").rglob("*.parquet"))
        runs.append((run["seconds"], run["peak_mb"] * 2**20, disk))
    more = sizes[1] - sizes[0]
    seconds, memory, disk = ((b - a) / more for a, b in zip(*runs, strict=True))
    return {"question_s": seconds, "question_memory_bytes": memory, "question_disk_bytes": disk}


def tables(made: pl.DataFrame) -> Iterator[tuple[type, pl.DataFrame]]:
    """The tables that a shard leaves, of generated questions: 3 captions a clip, a verdict of a reader a question."""
    clips = made.unique("clip_id", keep="first", maintain_order=True)
    keys = [f"{number:032x}" for number in range(3)]
    provenance = json.dumps({"model": "stub", "prompt": "write@0123456789abcdef", "seed": 0, "keys": keys})
    text = {"captions": "text"}
    yield Clip, clips.select(id="clip_id", source=pl.lit("folder"), path="clip_id", sha256="sha256", media_id="clip_id")
    yield Caption, (
        clips.select("clip_id", "captions").explode("captions").rename(text)
        .with_columns(captioner=pl.lit("openai"), key=pl.lit(keys[0]), index=pl.int_range(pl.len()).over("clip_id"))
    )  # fmt: skip
    yield Question, made.with_columns(provenance=pl.lit(provenance))
    yield Verdict, made.select(question_id="id", filter=pl.lit("consistency"), keep=True, score=1.0, keys=pl.lit(keys))
    yield Failure, pl.DataFrame({"stage": []}, schema={"stage": pl.String})


def write(file: Path, record: type, table: pl.DataFrame) -> None:
    """`table` under the schema of its record; what it lacks is empty."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind, columns = schema(record), []
    for field in kind:
        blank = "" if pa.types.is_string(field.type) else [] if pa.types.is_list(field.type) else None
        column = table[field.name].to_arrow() if field.name in table.columns else pa.array([blank] * table.height)
        columns.append(column.cast(field.type))
    pq.write_table(pa.Table.from_arrays(columns, schema=kind), file)


def absorbed(folder: Path, rows: int = 60_000) -> float:
    """Seconds for an answer of about 2 kB to go from a shard's ledger to that of the run."""
    import asyncio

    async def fill(ledger: Ledger) -> None:
        for start in range(0, rows, 1000):
            await asyncio.gather(*(
                ledger.put(Row(f"{n:032x}", 512, "stop", 300, 60, 0.0, 1, None, "x" * 300, "y" * 1500))
                for n in range(start, start + 1000)
            ))  # fmt: skip

    folder.mkdir()
    ledger = Ledger(folder / "shard.sqlite", "shard")
    asyncio.run(fill(ledger))
    ledger.close()
    run = Ledger(folder / "run.sqlite", "run")
    started = time.monotonic()
    run.absorb(folder / "shard.sqlite", ["shard"])
    run.checkpoint()
    seconds = time.monotonic() - started
    run.close()
    return seconds / rows


def measured(folder: Path, sizes: tuple[int, int]) -> dict[str, float]:
    """All that the tables are computed from."""
    found = {"list_s": listed(folder / "list")}
    with serving("world:respond", latency_ms=50) as url:
        found |= worked(folder / "audio", url)
        found |= merged(folder, sizes, url, folder / "audio")
        plan = child(ESTIMATE, folder / "audio", url, *PRICE)["found"]
    found |= {"absorb_s": absorbed(folder / "ledger")}
    per_clip = {name: plan[key] / plan["clips"] for name, key in (("calls", "calls"), ("usd", "cost_usd"))}
    return found | per_clip | {"questions": 4.0}


# ── computed ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def computed(m: dict[str, float]) -> list[dict[str, float]]:
    """A row for each size of corpus."""
    cpu = m["model_cpu_s"] * m["calls"] / 9  # measured with 9 calls a clip
    rows = []
    for clips in SIZES:
        asked, answers = clips * m["questions"], clips * m["calls"]
        rows.append({
            "clips": clips, "answers": answers, "usd": clips * m["usd"],
            "list_h": clips * m["list_s"] / 3600,
            "acoustic_h": clips * m["acoustic_cpu_s"] / 3600 / CORES, "model_h": answers / SERVED / 3600,
            **{f"work_h_{n}": clips * cpu / 3600 / CORES / n for n in MACHINES},
            "ledger_gb": answers * m["answer_bytes"] / 1e9, "tables_gb": asked * m["question_disk_bytes"] / 1e9,
            "absorb_h": answers * m["absorb_s"] / 3600,
            "whole_memory_gb": asked * m["question_memory_bytes"] / 1e9, "whole_h": asked * m["question_s"] / 3600,
        })  # fmt: skip
    return rows


def limits(m: dict[str, float]) -> dict[str, float]:
    """Where one machine ends."""
    return {
        "questions_in_memory": MEMORY_GB * 1e9 / m["question_memory_bytes"],
        "clips_in_memory": MEMORY_GB * 1e9 / m["question_memory_bytes"] / m["questions"],
        "answers_joined_a_day": 86_400 / m["absorb_s"],
        "clips_joined_a_day": 86_400 / m["absorb_s"] / m["calls"],
        "clips_listed_an_hour": 3600 / m["list_s"],
    }


MEASURED = {
    "list_s": ("list a clip of a table, its file looked at", 1e6, "µs of a core"),
    "acoustic_cpu_s": ("decode 10 s, hash, measure, write by rule", 1e3, "ms of a core"),
    "model_cpu_s": ("decode 10 s, encode, 9 calls, commit", 1e3, "ms of a core"),
    "answer_bytes": ("an answer in the ledger", 1, "bytes"),
    "absorb_s": ("join an answer of 2 kB to the ledger of the run", 1e6, "µs"),
    "question_disk_bytes": ("a question in all tables and the dataset", 1, "bytes"),
    "question_memory_bytes": ("a question in the stage that looks at all of them", 1, "bytes"),
    "question_s": ("a question in that stage, dataset and report with it", 1e6, "µs"),
    "calls": ("calls a clip, by default (3 captions, 4 questions, 3 readings)", 1, ""),
    "usd": ("list price of a clip at 0.15 and 0.60 USD a million tokens", 1e3, "thousandths of a USD"),
}
COMPUTED = {
    "answers": ("answers", 2), "usd": ("USD at list price", 4),
    "list_h": ("h to list, in each process that does", 2),
    "acoustic_h": ("h of work without a model, 1 machine", 2),
    "work_h_1": ("h of our own work with a model, 1 machine", 2),
    "work_h_10": ("the same, 10 machines", 2), "work_h_100": ("the same, 100 machines", 2),
    "model_h": (f"h of the model servers, at {SERVED:,} answers a second", 2),
    "ledger_gb": ("GB of ledgers", 3),
    "tables_gb": ("GB of tables and dataset", 3), "absorb_h": ("h to join the ledgers", 2),
    "whole_memory_gb": ("GB of memory for the stage over all questions", 3),
    "whole_h": ("h for that stage", 2),
}  # fmt: skip


def rounded(value: float, digits: int) -> str:
    """`2065.3` to 3 digits: `2,070`."""
    return f"{float(f'{value:.{digits}g}'):,.12g}"


def page(found: dict[str, Any]) -> str:
    """The tables of docs/scaling.md."""
    lines = ["| measured, on 2 shared cores | |", "|---|---:|"]
    lines += [
        f"| {text} | {rounded(found['measured'][key] * by, 3)} {unit} |" for key, (text, by, unit) in MEASURED.items()
    ]
    sizes = " | ".join(f"10{'⁴⁶⁸'[i]} clips" for i in range(3))
    lines += ["", f"| estimate, machines of {CORES} cores | {sizes} |", "|---|---:|---:|---:|"]
    for key, (text, digits) in COMPUTED.items():
        lines.append(f"| {text} | " + " | ".join(rounded(row[key], digits) for row in found["computed"]) + " |")
    ends = found["limits"]
    lines += [
        "",
        f"One machine of {MEMORY_GB} GB holds {ends['questions_in_memory'] / 1e6:.0f} million questions "
        f"({ends['clips_in_memory'] / 1e6:.1f} million clips) in the stage over all of them, joins the ledgers of "
        f"{ends['clips_joined_a_day'] / 1e6:.0f} million clips a day, and lists "
        f"{ends['clips_listed_an_hour'] / 1e6:.0f} million an hour.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Prints the figures, or the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--questions", type=int, nargs=2, default=[100_000, 300_000])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", type=Path, help="page to put the tables into")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        m = measured(Path(folder), tuple(args.questions))
    found = {"measured": m, "computed": computed(m), "limits": limits(m)}
    text = page(found)
    if args.write:
        between = re.compile(r"(?s)(?<=<!-- figures -->\n).*(?=<!-- end -->)")
        args.write.write_text(between.sub(lambda _: text + "\n", args.write.read_text()))
    print(json.dumps(found) if args.json else text)


if __name__ == "__main__":
    main()
