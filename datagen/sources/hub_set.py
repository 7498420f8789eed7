"""A split of a `datasets` set, on the Hub (pinned to a commit) or in a folder: its files, its columns, its rows.

`datasets` finds the files and reads what is no parquet; it decodes nothing. Its `Audio` feature would ask for torch
and torchcodec even to pass a file's name on, so rows are taken as they are stored, before any feature is applied.
Parquet is read here: a few rows at a time, whatever the size of its row groups, and only the columns asked for.
"""

from __future__ import annotations

import errno
import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datagen.errors import DatagenError, UsageError
from datagen.sources.files import folder, printable

__all__ = ["HubSet", "open_set"]

ROWS = 4
"""Rows with audio that are in memory at a time."""
LIGHT_ROWS = 1_000
TAIL = 65_536
"""Bytes at the end of a local file that tell it from another of its size; a parquet file has its statistics there."""
SPDX = {"mit": "MIT", "apache-2.0": "Apache-2.0"}
NO_LICENSE = {"", "other", "unknown"}


@dataclass
class HubSet:
    """One split."""

    where: str
    """How messages name it."""
    name: str
    """OWNER/NAME, or the name of the folder."""
    root: Path | None
    """The folder, every link resolved; None on the Hub."""
    revision: str
    """The commit; empty for a folder."""
    config: str
    split: str
    license: str
    """SPDX id of the set's card, empty when it has none."""
    features: Mapping[str, Any]
    """Column → feature of `datasets`."""
    files: list[str]
    """Paths or hf:// URLs."""
    stream: Any
    """The split as an IterableDataset without features; None where the files are parquet."""

    @property
    def identity(self) -> str:
        """What the rows depend on: `NAME@COMMIT CONFIG SPLIT` and a hash of the list of files."""
        base = f"hf://datasets/{self.name}@{self.revision}/"
        files = [[f.removeprefix(base)] if self.root is None else _local(f, self.root) for f in self.files]
        listed = hashlib.sha256(repr(files).encode()).hexdigest()[:16]
        return f"{self.name}@{self.revision or 'local'} {self.config} {self.split} {listed}"

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Every row in order; with `columns`, only those, and of parquet nothing else is read.

        Raises UsageError for a file that is broken, DatagenError where the Hub is lost on the way.
        """
        with errors(self.where):
            if self.stream is None:
                yield from self._parquet(columns)
            else:
                yield from self.stream

    def _parquet(self, columns: Sequence[str] | None) -> Iterator[dict[str, Any]]:
        import fsspec
        import pyarrow.parquet as pq

        for name in self.files:
            with fsspec.open(name, "rb") as file, pq.ParquetFile(file, buffer_size=1 << 20) as table:
                if columns is not None and not columns:
                    yield from ({} for _ in range(table.metadata.num_rows))
                    continue
                options = {"batch_size": ROWS if columns is None else LIGHT_ROWS, "columns": columns}
                for group in range(table.num_row_groups):  # one call for all would keep each group in memory to the end
                    for batch in table.iter_batches(row_groups=[group], use_threads=False, **options):
                        yield from batch.to_pylist()


def _local(name: str, root: Path) -> list[Any]:
    path = Path(name)
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - TAIL, 0))
        return [path.relative_to(root).as_posix(), size, hashlib.sha256(file.read()).hexdigest()]


@contextmanager
def errors(where: str) -> Iterator[None]:
    """What the libraries raise, as one line of ours."""
    import httpx2
    import pyarrow as pa
    from datasets.exceptions import DatasetNotFoundError, DatasetsError
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        yield
    except GatedRepoError:
        raise UsageError(
            f"{where}: is gated: ask for access on its page, then set HF_TOKEN to a token of the account that has it"
        ) from None
    except RepositoryNotFoundError:
        raise UsageError(
            f"{where}: no such data set on the Hub, or a private one: check the name, or set HF_TOKEN"
        ) from None
    except RevisionNotFoundError:
        raise UsageError(f"{where}: no such revision: name a branch, tag or commit of it") from None
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            raise UsageError(
                f"{where}: the Hub refuses to show it ({error.response.status_code}): set HF_TOKEN to a token that may"
            ) from None
        raise DatagenError(f"{where}: the Hub answers {error.response.status_code}: the same command goes on") from None
    except (httpx2.HTTPError, ConnectionError, TimeoutError) as error:
        why = _line(error) or type(error).__name__
        raise DatagenError(f"{where}: the Hub cannot be reached ({why}): the same command goes on") from None
    except (DatasetNotFoundError, DatasetsError, pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise  # of the disk, not of the set
        raise UsageError(f"{where}: cannot be read as a data set: {_line(error)}") from None


def _line(error: BaseException) -> str:
    return " ".join(printable(str(error)).split())[:300]


def open_set(name: str, *, config: str | None, split: str | None, revision: str | None) -> HubSet:
    """The split of a folder or of OWNER/NAME of the Hub. Raises UsageError, or DatagenError without a network."""
    logging.getLogger("datasets").setLevel(logging.ERROR)  # what is wrong is said by our own line
    root = Path(name).expanduser()
    if root.is_dir():
        return _open_folder(name, folder(root, "--annotations"), config, split)
    where = f"--annotations {name}"
    if root.exists():
        raise UsageError(f"{where}: is a file: name the folder that it is in, or OWNER/NAME of the Hub")
    if root.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise UsageError(f"{where}: no such folder: name a folder of a data set, or OWNER/NAME of the Hub")
    return _open_hub(name, config, split, revision)


def _open_hub(name: str, config: str | None, split: str | None, revision: str | None) -> HubSet:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    where = f"--annotations {name}"
    with errors(where):
        api = HfApi()
        try:
            if "/" not in name:
                raise HFValidationError
            info = api.dataset_info(name, revision=revision)
        except HFValidationError:
            raise UsageError(f"{where}: no folder here, and no id of the Hub: one looks like OWNER/NAME") from None
        if info.gated:
            api.auth_check(name, repo_type="dataset")
    commit = str(info.sha)
    builder = _builder(where, name, config, commit)
    return _split(where, name, None, commit, builder, split, _license(info.card_data))


def _open_folder(name: str, root: Path, config: str | None, split: str | None) -> HubSet:
    where = f"--annotations {name}"
    saved = _saved(root)
    if saved:
        with errors(where):
            from datasets import load_dataset_builder

            builder = load_dataset_builder("arrow", data_files=saved)
    else:
        builder = _builder(where, str(root), config, None)
    with errors(where):
        from huggingface_hub import DatasetCard

        readme = root / "README.md"
        card = DatasetCard.load(readme).data if readme.is_file() else None
    return _split(where, root.name, root, "", builder, split, _license(card))


def _saved(root: Path) -> dict[str, list[str]]:
    """Split → files of a folder that `save_to_disk` wrote; empty for any other."""
    places = [root] if (root / "state.json").is_file() else sorted(root.glob("*/"))
    places = [place for place in places if (place / "state.json").is_file()]
    return {
        "train" if place == root else place.name: [str(file) for file in sorted(place.glob("*.arrow"))]
        for place in places
    }


def _builder(where: str, path: str, config: str | None, revision: str | None) -> Any:
    from datasets import get_dataset_config_names, load_dataset_builder

    with errors(where):
        try:
            return load_dataset_builder(path, config, revision=revision)
        except RuntimeError as error:
            raise UsageError(f"{where}: {_line(error)}: try ?revision=refs/convert/parquet") from None
        except ValueError:
            names = get_dataset_config_names(path, revision=revision)
            if config in names or (config is None and len(names) < 2):
                raise
    listed = ", ".join(map(printable, names))
    if config is None:
        raise UsageError(f"{where}: has several configurations: add ?config=NAME, one of {listed}")
    raise UsageError(f"{where}: has no configuration {config!r}: it has {listed}")


def _split(
    where: str, name: str, root: Path | None, revision: str, builder: Any, split: str | None, license: str
) -> HubSet:
    from datasets.data_files import DataFilesDict
    from datasets.packaged_modules.parquet.parquet import Parquet

    files = {str(key): found for key, found in builder.config.data_files.items()}
    chosen = split or ("train" if "train" in files else next(iter(files)) if len(files) == 1 else None)
    if chosen not in files:
        problem = f"has no split {split!r}" if split else "has several splits"
        raise UsageError(f"{where}: {problem}: add ?split=NAME, one of {', '.join(map(printable, files))}")
    builder.config.data_files = DataFilesDict({chosen: files[chosen]})
    if hasattr(builder.config, "decode_num_threads"):
        builder.config.decode_num_threads = 0
    with errors(where):
        stream = builder.as_streaming_dataset(chosen)
        features = stream.features or stream._resolve_features().features
    stream.info.features = None
    return HubSet(
        where, name, root, revision, str(builder.config.name), chosen, license, dict(features), list(files[chosen]),
        None if isinstance(builder, Parquet) else stream,
    )  # fmt: skip


def _license(card: Any) -> str:
    found = getattr(card, "license", None)
    names = [found] if isinstance(found, str) else list(found or ())
    if len(names) != 1 or str(names[0]).lower() in NO_LICENSE:
        return ""
    name = str(names[0])
    return SPDX.get(name, name.upper() if name.startswith("cc") else name)
