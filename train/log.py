"""train.jsonl, read back: rows of steps, askings of the held-out set and alarms, in the order in which they came."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["asked", "raised", "read_log", "steps"]

Row = Mapping[str, Any]


def read_log(file: Path) -> list[dict[str, Any]]:
    """The rows of a log, up to a line that a kill cut short; none where there is no file."""
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def steps(rows: Sequence[Row]) -> list[Row]:
    """Those of steps."""
    return [row for row in rows if "alarm" not in row and "held_out" not in row]


def raised(rows: Sequence[Row]) -> list[Row]:
    """Those of alarms: step, alarm, says, stops."""
    return [row for row in rows if "alarm" in row]


def asked(rows: Sequence[Row]) -> list[tuple[int, dict[str, Row]]]:
    """(step, condition → share) of every asking of the held-out set; one that has no conditions is `held out`."""
    found = []
    for row in rows:
        if "held_out" in row:
            shares = row["held_out"]
            found.append((row["step"], {"held out": shares} if "n" in shares else dict(shares)))
    return found
