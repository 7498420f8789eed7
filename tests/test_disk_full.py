"""A disk that fills up in the middle of a build, at every kind of file: one line, exit 1, and it goes on when there is
space. A small file system of its own (tmpfs, in a mount namespace of the child) is filled by a captioner.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kill import digests

BUILD = "from datagen.cli import main; main()"
FILLS = """
import os, sys
from pathlib import Path
class Fills:
    def __init__(self, context): ...
    async def caption(self, clip, audio):
        disk, left = Path(os.environ["DISK"]), int(os.environ["LEFT"])
        if not (disk / "filler").exists():
            with (disk / "filler").open("wb", buffering=0) as file:
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError:
                    file.truncate(max(0, file.tell() - left))
        return []
"""
SCRIPT = """
mount -t tmpfs -o size=56m none "$DISK" || exit 99
"$@"; echo "first $?" >&2
find "$DISK/run" -type f >&2
rm "$DISK/filler"; touch "$DISK/filler"
"$@"; echo "second $?" >&2
cp -r "$DISK/run" "$KEPT"
"""


def command(out: Path) -> list[str]:
    call = ["build", "--source", "demo", "--limit", "3", "--captioner", "fills:Fills,acoustic", "--out", str(out)]
    return [sys.executable, "-c", BUILD, *call]


@pytest.fixture(scope="module")
def plug_in(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plug_in")
    (folder / "fills.py").write_text(FILLS)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))}


@pytest.fixture(scope="module")
def whole(plug_in, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    (folder / "filler").touch()
    environment = {**plug_in, "DISK": str(folder), "LEFT": "0"}
    subprocess.run(command(folder / "run"), env=environment, check=True, timeout=60, capture_output=True)
    return digests(folder / "run")


@pytest.mark.parametrize(
    ("left", "unwritten"),
    [
        (8_192, "run/questions.parquet"),
        (49_152, "report.html"),
        *(pytest.param(left, "report.html", marks=pytest.mark.slow) for left in (0, 16_384, 24_576, 32_768, 40_960)),
    ],
)
def test_a_build_on_a_full_disk_says_so_in_a_line_and_goes_on(left, unwritten, plug_in, whole, tmp_path):
    (tmp_path / "disk").mkdir()
    environment = {**plug_in, "DISK": str(tmp_path / "disk"), "LEFT": str(left), "KEPT": str(tmp_path / "kept")}
    namespace = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    call = [*namespace, "sh", "-c", SCRIPT, "sh", *command(tmp_path / "disk/run")]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode == 99 or "unshare failed" in done.stderr:
        pytest.skip(f"no file system can be mounted here: {done.stderr}")
    said, _, after = done.stderr.partition("first 1\n")
    assert after, done.stderr
    assert "Traceback" not in said and "Error" not in said, said
    assert said.splitlines()[-1].startswith("datagen: ") and "room" in said.splitlines()[-1], said
    assert unwritten not in after.partition("3/3 clips")[0]
    assert "second 0" in after and digests(tmp_path / "kept") == whole, after
    assert json.loads((tmp_path / "kept/run.json").read_text())["status"] == "done"
