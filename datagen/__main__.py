"""The `datagen` command, also as `python -m datagen`: the command line, with a word for Ctrl-C while it is loaded."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Entry point. A quick Ctrl-C meets the imports, where nothing has begun."""
    try:
        from datagen.cli import main as command

        command()
    except KeyboardInterrupt:
        print("datagen: interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(130)


if __name__ == "__main__":
    main()
