"""AudioSet's classes: mid (`/m/0k4j`) → name (`Car`), from either of the two files that are published.

ontology.json              https://github.com/audioset/ontology (CC-BY-SA-4.0)
    [{"id": "/m/0dgw9r", "name": "Human sounds", "description": …, "child_ids": […], …}, …]
class_labels_indices.csv   https://research.google.com/audioset/download.html
    index,mid,display_name
    0,/m/09x0r,"Speech"
"""

from __future__ import annotations

from pathlib import Path

from datagen.errors import RowError, UsageError
from datagen.sources.tables import Csv, read_json, text

__all__ = ["FILES", "names"]

FILES = ("ontology.json", "class_labels_indices.csv")


def names(folder: Path) -> dict[str, str]:
    """The classes by the first of FILES that lies in `folder`; empty without one. Raises UsageError."""
    files = [folder / name for name in FILES if (folder / name).is_file()]
    if not files:
        return {}
    return _ontology(files[0]) if files[0].suffix == ".json" else _indices(files[0])


def _ontology(file: Path) -> dict[str, str]:
    cure = "use ontology.json of https://github.com/audioset/ontology"
    found = read_json(file, cure)
    try:
        return {text(item, "id"): text(item, "name") for item in found}
    except (AttributeError, TypeError, RowError) as error:
        raise UsageError(f"{file}: not a list of objects with id and name ({error}): {cure}") from None


def _indices(file: Path) -> dict[str, str]:
    cure = "use AudioSet's own class_labels_indices.csv"
    found = {}
    for row in Csv(file, ("mid", "display_name"), cure, option="").rows():
        try:
            found[text(row.cells, "mid")] = text(row.cells, "display_name")
        except RowError as error:
            raise UsageError(f"{file}: line {row.place}: {row.error or error}: {cure}") from None
    return found
