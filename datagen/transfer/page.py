"""DIR/report.html of a study: arms beside controls and baselines, with intervals; what was not done says so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datagen.eval.report import baseline_lines, environment_of_pages
from datagen.eval.showing import PARTS
from datagen.run import replace_text

__all__ = ["write_page"]


def write_page(out: Path, study: Mapping[str, Any]) -> None:
    """Writes the page of a study.json."""
    lost = {name: state for name, state in study["cells"].items() if state["status"] != "done"}
    page = environment_of_pages().get_template("study.html").render(
        study=study, lost=lost, lines={name: baseline_lines(b.get("baselines")) for name, b in
                                       study["benchmarks"].items()},
        parts={key: (what.count("·"), what.lstrip("· ")) for key, what in PARTS.items()},
    )  # fmt: skip
    replace_text(out / "report.html", page)
