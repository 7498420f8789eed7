"""Writes docs/cli.md from the real `--help` of every command; `--check` says whether it is stale (exit 1)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).with_name("cli.md")
TOP = "# Command line\n\nMade by `python docs/make_cli.py` from the real `--help`; do not edit.\n"


def shown(*command: str) -> str:
    """The help of one command, 100 columns wide, without colour."""
    environment = {**os.environ, "COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "TERM": "dumb"}
    call = [sys.executable, "-c", "from datagen.cli import main; main()", *command, "--help"]
    text = subprocess.run(call, env=environment, capture_output=True, text=True, check=True).stdout
    return text.replace("Usage: -c", "Usage: datagen").strip()


def page() -> str:
    """The whole page."""
    from datagen.cli import app

    names = [command.name or "" for command in app.registered_commands]
    parts = [f"## datagen {name}".rstrip() + f"\n\n```\n{shown(*name.split())}\n```\n" for name in ["", *names]]
    return "\n".join([TOP, *parts])


if __name__ == "__main__":
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        sys.exit("docs/cli.md is stale: run `python docs/make_cli.py`")
