"""What every source needs of folders: where a corpus lies, which files are audio, and that none outside is opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from datagen.errors import UsageError
from datagen.plugins import SourceOptions

__all__ = ["MEANING", "SUFFIXES", "find", "folder", "places", "printable", "stem", "walk"]

SUFFIXES = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf",
    ".w64", ".rf64", ".wma", ".amr", ".mka", ".mp4", ".mkv", ".webm", ".mov", ".avi", ".3gp",
)  # fmt: skip
"""Lower case, in order of preference where one recording is there in several forms."""
MEANING = {
    "audio_missing": "no such file below --audio",
    "audio_outside_folder": "leads out of --audio, and is not opened",
    "audio_not_cut": "is a stretch of a longer file, which a list of files cannot say: cut it first",
}


def places(options: SourceOptions, name: str, file: str, cure: str) -> tuple[Path, Path]:
    """The annotations and the folder of audio (resolved) of the corpus `name`.

    What an option does not name is looked for in $DATAGEN_DATA/NAME, then in ./data/NAME; annotations that are a folder
    stand for `file` in it. Raises UsageError, with `cure`, where neither folder is there.
    """
    home = _home(name, cure) if options.annotations is None or options.audio is None else Path()
    annotations = options.annotations or home
    return annotations / file if annotations.is_dir() else annotations, folder(options.audio or home, "--audio")


def _home(name: str, cure: str) -> Path:
    base = os.environ.get("DATAGEN_DATA")
    tried = [Path(base) / name] if base else []
    tried.append(Path("data") / name)
    for place in tried:
        if place.is_dir():
            return place
    raise UsageError(f"--source {name}: no folder {' or '.join(map(str, tried))}: {cure}, or name both by options")


def folder(path: Path, option: str) -> Path:
    """`path` with every link resolved. Raises UsageError, naming `option`, where it is no folder that can be read."""
    try:
        os.scandir(path).close()
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror}: name a folder of audio files") from None
    root = path.resolve()
    if str(root) != printable(str(root)):
        raise UsageError(f"{option} {printable(str(root))}: the path is not UTF-8, and no table can hold it: rename it")
    return root


def find(root: Path, name: str) -> Path | str:
    """The file that `name` leads to below `root` (resolved), or why not: `audio_missing`, `audio_outside_folder`."""
    path = root / name
    try:
        if ".." in path.parts or not (_unlinked(str(path.parent)) and stat.S_ISREG(path.lstat().st_mode)):
            path = path.resolve()
            if not path.is_relative_to(root):
                return "audio_outside_folder"
            return path if path.is_file() else "audio_missing"
        return path if path.is_relative_to(root) else "audio_outside_folder"
    except (OSError, RuntimeError):  # a loop of links, a name that is too long, a folder that may not be entered
        return "audio_missing"


@lru_cache(maxsize=1024)
def _unlinked(folder: str) -> bool:
    """Whether no link leads to a folder: what lies in it lies where it seems to."""
    return os.path.realpath(folder) == folder


def stem(name: str) -> str:
    """The name of a file without its folders and without what says that it is audio, also twice (`x.mp4.wav`)."""
    name = name.rpartition("/")[2]
    while name.lower().endswith(SUFFIXES):
        name = name[: name.rindex(".")]
    return name


def printable(text: str) -> str:
    """`text` with what no table can hold written out: NUL, and bytes of a file's name that are no UTF-8."""
    if text.isprintable():  # quick, and true of nearly all
        return text
    return text.replace("\0", "\\x00").encode(errors="backslashreplace").decode()


def walk(root: Path) -> Iterator[str]:
    """Every audio file below `root`, by its relative posix path, in an order that no file system changes.

    Names that begin with a dot are left out (`._x.wav` is no audio). Links to folders are not followed; one to a file
    is listed, wherever it leads: see `find`. Raises UsageError for a folder that cannot be read.
    """
    yield from _walk(str(root), "")


def _walk(path: str, prefix: str) -> Iterator[str]:
    try:
        with os.scandir(path) as entries:
            names = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except OSError as error:
        raise UsageError(f"{printable(path)}: {error.strerror}: make the folder readable, or move it away") from None
    for name, is_folder in names:
        if name.startswith("."):
            continue
        if is_folder:
            yield from _walk(f"{path}/{name}", f"{prefix}{name}/")
        elif name.lower().endswith(SUFFIXES):
            yield prefix + name
