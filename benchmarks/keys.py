"""Marked keys, servers that repeat them in every error, and a search for them in every byte that is left.

    python benchmarks/keys.py [--json]

Each run is the real command in a process of its own, with its own HOME and TMPDIR: builds online (one key in a file,
one password in the address of a configuration), by batches, refused, crashed and killed, and on a Ray cluster where
Ray is installed; an evaluation with a judge; publishing to a loopback Hub, done and refused. Then every file of the
runs, HOME and TMPDIR, standard output and standard error, the command lines and what went to the Hub are searched for
the keys as they are, in base64 and as an address writes them; tables are decoded first. `echoed` counts the replies
that held a key, `found` the places where one was left: 0. `control` says that a key that was put into a table on
purpose is found.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
from batch_server import BatchConnection, BatchServer
from kill import write_clips
from model_server import TESTS

sys.path.append(str(TESTS))
import hub_server
from world import respond

MARKS = {
    "OPENAI_API_KEY": "sk-marked/writer+0123456789abcdef",
    "CAPTIONER_API_KEY": "sk-marked-captioner-0123456789",
    "READER_API_KEY": "sk-marked-reader-0123456789",
    "JUDGE_API_KEY": "sk-marked-judge-0123456789",
    "HF_TOKEN": "hf_MarkedTokenOfTheHub0123456789",
    "password": "marked password:@/of the address",
}
FAULTS = {"filter": 0.15, "500": 0.1, "html": 0.1, "truncated": 0.1, "mirror": 0.1, "429": 0.05}
CRASHING = (
    "class Source:\n    origin = reattach = ''\n    def __init__(self, options): pass\n"
    "    def clips(self): raise RuntimeError('crashed')\n"
)
RUNS = ("builds", "evaluation", "publishing", *(["cluster"] if importlib.util.find_spec("ray") else []))
DATAGEN = [sys.executable, "-c", "from datagen.cli import main; main()"]


class EchoConnection(BatchConnection):
    """Repeats the head of the request, and so its key, in whatever is no answer."""

    head = ""

    def route(self, head: str, body: bytes) -> None:
        """Remembers the head."""
        self.head = head
        super().route(head, body)

    def error(self, status: int, message: str = "", *, code: str = "", retry_after: str = "") -> None:
        """The error, and what was sent."""
        self.server.echoed += 1
        super().error(status, f"{message} {self.head}", code=code, retry_after=retry_after)

    def complete(self, body: dict[str, Any], prompt: int, fault: str) -> None:
        """Also in the place of HTTP, and in a reply that is cut."""
        if fault == "mirror":
            self.server.echoed += 1
            self.transport.write(self.head.split("\r\n", 1)[1].encode())
            self.transport.close()
        elif fault == "truncated":
            self.server.echoed += 1
            self.send(200, json.dumps({"choices": self.head}).encode()[:-5])
        else:
            super().complete(body, prompt, fault)

    def send(self, status: int, body: bytes, kind: str = "application/json", **options: Any) -> None:
        """A page of a proxy says what it got."""
        if kind == "text/html":
            self.server.echoed += 1
            body += self.head.encode()
        super().send(status, body, kind, **options)


class EchoServer(BatchServer):
    """Of these connections; a row of a batch that fails says the key too."""

    connection = EchoConnection
    echoed = 0

    def row(self, row: dict[str, Any], fault: str) -> str:
        """The line of one row."""
        line = super().row(row, fault)
        if '"status_code": 200' in line:
            return line
        self.echoed += 1
        return line.replace("row ", f"{MARKS['OPENAI_API_KEY']} row ")


class EchoHub(BaseHTTPRequestHandler):
    """A Hub that refuses everything and says which token it was given."""

    def refuse(self) -> None:
        """403, with the token where the Hub's clients look for its message."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        said = f"not with {self.headers.get('Authorization')}"
        self.server.echoed += 1  # type: ignore[attr-defined]
        body = json.dumps({"error": said}).encode()
        self.send_response(403)
        self.send_header("X-Error-Message", said)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_HEAD = refuse

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@dataclass
class Place:
    """Where the runs are, and what they said."""

    root: Path
    echoed: int = 0
    exits: dict[str, int] = field(default_factory=dict)
    said: dict[str, bytes] = field(default_factory=dict)

    def environment(self, **more: str) -> dict[str, str]:
        """A home, a folder for temporary files, and the marked keys."""
        for name in ("home", "tmp"):
            (self.root / name).mkdir(exist_ok=True)
        quiet = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_TOKEN"))}
        here = {"HOME": str(self.root / "home"), "TMPDIR": str(self.root / "tmp"), "PYTHONPATH": python_path(self.root)}
        keys = {name: key for name, key in MARKS.items() if name.isupper()}
        return {**quiet, "XDG_CACHE_HOME": str(self.root / "home/.cache"), **here, **keys, **more}

    def run(self, name: str, *words: object, kill_after: int = 0, echo: EchoServer | None = None, **more: str) -> None:
        """One command to its end, or until the server has answered `kill_after` times."""
        line = [*DATAGEN, *map(str, words)]
        job = subprocess.Popen(
            line, env=self.environment(**more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.root
        )
        self.said[f"{name}: command line"] = Path(f"/proc/{job.pid}/cmdline").read_bytes()
        while kill_after and echo is not None and job.poll() is None:
            if sum(echo.answered.values()) >= kill_after:
                job.send_signal(signal.SIGKILL)
            time.sleep(0.005)
        self.said[f"{name}: output"] = job.communicate(timeout=300)[0]
        self.exits[name] = job.returncode

    @contextlib.contextmanager
    def server(self, **options: Any) -> Iterator[EchoServer]:
        """An echoing server."""
        with EchoServer(respond, **options) as server:
            yield server
        self.echoed += server.echoed


def python_path(root: Path) -> str:
    """Ours, and the folder with the source that crashes."""
    return os.pathsep.join([str(root), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])


def build(place: Place, out: str, url: str, *words: object) -> list[object]:
    """The words of a build of the clips."""
    clips = ["--source", "folder", "--audio", place.root / "clips", "--out", place.root / out]
    ask = ["--model", "stub", "--base-url", url, "--captions-per-clip", 2, "--questions-per-clip", 2]
    return ["build", *clips, *ask, "--readings", 1, "--patience", 5, *words]


def builds(place: Place) -> None:
    """All kinds of builds."""
    write_clips(place.root / "clips", 6)
    (place.root / "crashing.py").write_text(CRASHING)
    (place.root / "captioner.key").write_text(MARKS["CAPTIONER_API_KEY"] + "\n")
    with (
        place.server(faults=FAULTS) as writer,
        place.server(faults=FAULTS) as ears,
        place.server(faults=FAULTS) as eyes,
    ):
        address = eyes.url.replace("//", f"//me:{quote(MARKS['password'], safe='')}@")
        (place.root / "build.toml").write_text(f"reader-url = {json.dumps(address)}\n")
        others = ["--captioner-model", "stub", "--captioner-url", ears.url, "--reader-model", "stub"]
        file = {"CAPTIONER_API_KEY": "", "CAPTIONER_API_KEY_FILE": str(place.root / "captioner.key")}
        place.run("online", *build(place, "online", writer.url, *others, "--config", place.root / "build.toml"), **file)
        place.run("crashed", *build(place, "crashed", writer.url), "--source", "crashing:Source")
        writer.reset()
        place.run("killed", *build(place, "killed", writer.url), kill_after=9, echo=writer)
    with place.server(models=None, status=401) as server:
        place.run("refused", *build(place, "refused", server.url))
    batch = ("--transport", "batch", "--batch-poll", 0.05)
    with place.server(batch_faults=["partial", "refused", "upload", "", "no-money"]) as server:
        place.run("batches", *build(place, "batches", server.url, *batch))
    with place.server(status=403) as server:
        place.run("batches refused", *build(place, "batches-refused", server.url, *batch))


def cluster(place: Place) -> None:
    """Shards as Ray tasks, with Ray's own logs in the folder that is searched. Needs the extra [ray]."""
    write_clips(place.root / "cluster-clips", 4)
    with place.server(faults=FAULTS) as server:
        words = build(place, "cluster", server.url, "--engine", "ray")
        words[words.index(place.root / "clips")] = place.root / "cluster-clips"
        place.run("cluster", *words, RAY_TMPDIR=str(place.root), RAY_ADDRESS="")


def evaluation(place: Place) -> None:
    """A model on a server, and a judge on another."""
    rows = [
        {"id": f"i{n}", "question": f"Which {n}?", "choices": ["a dog", "a cat"], "answer": "a cat"} for n in range(30)
    ]
    (place.root / "items.json").write_text(json.dumps(rows))
    with place.server(faults=FAULTS) as server, place.server(faults=FAULTS) as judge:
        place.run(
            "eval", "eval", "--benchmark", "file", "--data", place.root / "items.json", "--model", "stub", "--base-url",
            server.url, "--condition", "none", "--out", place.root / "eval", "--judge-model", "stub", "--judge-url",
            judge.url, "--patience", 5,
        )  # fmt: skip


def publishing(place: Place) -> None:
    """A run of the demo, published, and refused."""
    run = place.root / "demo"
    place.run("demo", "build", "--source", "demo", "--limit", 8, "--out", run)
    hub_server.TOKENS[MARKS["HF_TOKEN"]] = "write"
    with hub_server.HubServer(place.root / "hub") as hub:
        hub.fail("POST /api/datasets/me/set/preupload", 500, times=1)
        place.run("publish", "publish", run, "me/set", **hub.environment(MARKS["HF_TOKEN"]))
    server = ThreadingHTTPServer(("127.0.0.1", 0), EchoHub)
    server.echoed = 0  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    place.run("publish refused", "publish", run, "me/set", HF_ENDPOINT=url, HF_HUB_DISABLE_XET="1")
    server.shutdown()
    server.server_close()
    place.echoed += server.echoed  # type: ignore[attr-defined]


def forms(key: str) -> set[bytes]:
    """A key as it may be written."""
    basic = base64.b64encode(f"me:{key}".encode())
    return {key.encode(), quote(key, safe="").encode(), base64.b64encode(key.encode()), basic, json.dumps(key).encode()}


def bytes_of(path: Path) -> bytes:
    """What a file holds; a table decoded, since its pages are compressed."""
    raw = path.read_bytes()
    return raw + pl.read_parquet(path).write_json().encode() if path.suffix == ".parquet" else raw


def search(places: Mapping[str, bytes]) -> list[str]:
    """Where a key stands."""
    return sorted(
        f"{place}: {name}"
        for place, content in places.items()
        for name, key in MARKS.items()
        if any(form in content for form in forms(key))
    )


def measure(root: Path, runs: Sequence[str] = RUNS) -> dict[str, Any]:
    """Runs all, then searches."""
    place = Place(root)
    kinds = {"builds": builds, "evaluation": evaluation, "publishing": publishing, "cluster": cluster}
    for name in runs:
        kinds[name](place)
    ours = {"captioner.key", "build.toml"}
    files = [path for path in root.rglob("*") if path.is_file() and path.name not in ours]
    left = {str(path.relative_to(root)): bytes_of(path) for path in files} | place.said
    pl.DataFrame({"text": ["x " + MARKS["READER_API_KEY"]] * 9}).write_parquet(root / "control.parquet")
    return {
        "exits": place.exits,
        "files": len(files),
        "bytes": sum(map(len, left.values())),
        "echoed": place.echoed,
        "found": search(left),
        "control": bool(search({"control": bytes_of(root / "control.parquet")})),
    }


def main() -> None:
    """Prints the figures; exit 1 when a key was left anywhere."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    print(json.dumps(found) if args.json else "\n".join(f"{name:<8} {value}" for name, value in found.items()))
    sys.exit(bool(found["found"]) or not found["control"] or not found["echoed"])


if __name__ == "__main__":
    main()
