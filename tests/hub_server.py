"""A loopback Hub which stores files for real, for `huggingface_hub` 2 and `datasets` 5; with faults on demand.

    with HubServer(tmp_path / "hub") as hub:                    # a thread of this process, a port of its own
        connect(hub, monkeypatch)                               # this process talks to it …
        subprocess.run(…, env={**os.environ, **hub.environment()})          # … or another one does
        hub.write("me/set", {"README.md": b"…", "data/a.parquet": path})    # a commit without HTTP
        hub.fail("POST /api/repos/create", 403)                 # until `hub.faults.clear()`, or for `times` requests
        hub.cut("PUT /_lfs/", after=100_000, times=1)           # the connection breaks after so many bytes of a body
    python tests/hub_server.py --root DIR [--port N]            prints its URL and serves until it is ended

`what` of a fault is a regular expression, looked for in "METHOD /path?query". A cut request with a body is cut while it
is read, any other while the answer is sent. What was asked stands in `hub.requests`; bytes that came in for each large
file, cut ones too, in `hub.received` (sha256 → bytes); `hub.files(repo, revision)` and `hub.commits(repo, revision)`
tell what is stored.

Users: token `hf_write` is user `me` (and organisation `lab`), who may write there; `hf_read` may only read. A private
repository is not found without a token. Files over 10 MB and those of `LARGE` go by LFS, in parts where `part` bytes
are given; an object that is stored already is not asked for again. Every commit keeps its own revision.

Xet: `huggingface_hub` 2 does not ask which way to upload: where hf_xet is installed it speaks Xet, to a content store
which this is not. So `environment` and `connect` set HF_HUB_DISABLE_XET=1, and LFS is spoken. Endpoints as in
https://huggingface.co/docs/hub/api and https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

LARGE = (".parquet", ".arrow", ".safetensors", ".bin", ".wav", ".flac", ".mp3", ".ogg", ".zip", ".gz", ".tar")
TOKENS = {"hf_write": "write", "hf_read": "read"}
OWNERS = ("me", "lab")
DATE = "2026-01-01T00:00:00.000Z"


@dataclass(frozen=True)
class Blob:
    """One file's content: stored at ROOT/blobs/SHA256."""

    sha256: str
    size: int
    git: str
    large: bool

    @property
    def etag(self) -> str:
        return self.sha256 if self.large else self.git

    def entry(self, path: str) -> dict[str, Any]:
        """As the tree lists it."""
        lfs = {"oid": self.sha256, "size": self.size, "pointerSize": 134} if self.large else None
        return {"type": "file", "path": path, "size": self.size, "oid": self.git} | ({"lfs": lfs} if lfs else {})


@dataclass
class Commit:
    oid: str
    parent: str | None
    title: str
    files: dict[str, Blob]


@dataclass
class Repo:
    private: bool = False
    gated: bool = False
    """Listed to all, but its files (less README.md) are for nobody here."""
    branches: dict[str, str] = field(default_factory=dict)
    log: dict[str, Commit] = field(default_factory=dict)

    def at(self, revision: str) -> Commit | None:
        """The commit of a branch, or of a (shortened) commit id."""
        oid = self.branches.get(revision, revision)
        return next((c for o, c in self.log.items() if o.startswith(oid)), None) if oid else None

    def commit(self, branch: str, files: dict[str, Blob], title: str) -> Commit:
        parent = self.branches.get(branch)
        text = f"{parent}\n{title}\n{sorted((p, b.sha256) for p, b in files.items())}"
        made = Commit(hashlib.sha1(text.encode()).hexdigest(), parent, title, files)
        self.log[made.oid] = made
        self.branches[branch] = made.oid
        return made


@dataclass
class Fault:
    what: str
    status: int = 0
    """0: the connection is cut."""
    after: int = 0
    times: int | None = None


class Refused(Exception):
    """An answer that is an error; `code` is the Hub's X-Error-Code."""

    def __init__(self, status: int, text: str, code: str = "", **more: str) -> None:
        super().__init__(text)
        self.status, self.text, self.code, self.more = status, text, code, more


class Cut(Exception):
    """The connection ends here."""


class HubServer:
    """`with` runs it in a thread. `part`: bytes of a part of an LFS object; `page`: entries a page of a tree."""

    def __init__(self, root: Path, *, port: int = 0, part: int | None = None, page: int = 1000) -> None:
        self.blobs = root / "blobs"
        self.parts = root / "parts"
        for folder in (self.blobs, self.parts):
            folder.mkdir(parents=True, exist_ok=True)
        self.root, self.part, self.page = root, part, page
        self.repos: dict[tuple[str, str], Repo] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.received: Counter[str] = Counter()
        self.lock = threading.RLock()
        self.server = Server(("127.0.0.1", port), type("Handler", (Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> Self:
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def environment(self, token: str | None = "hf_write") -> dict[str, str]:
        """For a process that shall talk to this Hub, with caches of its own."""
        quiet = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        here = {"HF_ENDPOINT": self.url, "HF_HOME": str(self.root / "home"), "NO_PROXY": "127.0.0.1"}
        return {**here, "HF_TOKEN": token or "", **quiet}

    def fail(self, what: str, status: int, times: int | None = None) -> None:
        self.faults.append(Fault(what, status, times=times))

    def cut(self, what: str, after: int = 0, times: int | None = None) -> None:
        self.faults.append(Fault(what, after=after, times=times))

    def fault(self, request: str) -> Fault | None:
        """The first fault that this request meets; one is used up."""
        with self.lock:
            self.requests.append(request)
            for fault in self.faults:
                if fault.times != 0 and re.search(fault.what, request):
                    fault.times = fault.times and fault.times - 1
                    return fault
        return None

    def write(
        self, repo: str, files: Mapping[str, bytes | Path], *, kind: str = "dataset", revision: str = "main",
        private: bool = False,
    ) -> str:  # fmt: skip
        """Makes the repository where there is none, adds the files in one commit, and returns its id."""
        made = self.repos.setdefault((kind, repo), Repo(private))
        before = made.at(revision)
        blobs = {path: self.keep(content, path) for path, content in files.items()}
        return made.commit(revision, (before.files if before else {}) | blobs, "written").oid

    def keep(self, content: bytes | Path, path: str) -> Blob:
        """Stores a file."""
        data = content if isinstance(content, bytes) else content.read_bytes()
        oid = hashlib.sha256(data).hexdigest()
        (self.blobs / oid).write_bytes(data)
        return self.blob(oid, large(path, len(data)))

    def blob(self, oid: str, is_large: bool) -> Blob:
        """What is stored under a sha256."""
        size = (self.blobs / oid).stat().st_size
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n".encode()
        data = pointer if is_large else (self.blobs / oid).read_bytes()
        return Blob(oid, size, hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(), is_large)

    def files(self, repo: str, revision: str = "main", kind: str = "dataset") -> dict[str, Path]:
        """Path in the repository → file on disk."""
        commit = self.repos[kind, repo].at(revision)
        assert commit, f"{repo} has no revision {revision}"
        return {path: self.blobs / blob.sha256 for path, blob in sorted(commit.files.items())}

    def commits(self, repo: str, revision: str = "main", kind: str = "dataset") -> list[Commit]:
        """The newest first; the last is the empty one that made the repository."""
        made = self.repos[kind, repo]
        found, at = [], made.at(revision)
        while at:
            found.append(at)
            at = made.log.get(at.parent or "")
        return found


def large(path: str, size: int) -> bool:
    return path.endswith(LARGE) or size > 10_000_000


def connect(hub: HubServer, monkeypatch: Any, token: str | None = "hf_write") -> None:
    """Makes huggingface_hub and datasets of this process talk to `hub` until the test ends, imported already or not."""
    for name, value in hub.environment(token).items():
        monkeypatch.setenv(name, value)
    import datasets.config
    import huggingface_hub
    from huggingface_hub import constants

    home = hub.root / "home"
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    for name, value in {
        "ENDPOINT": hub.url, "HUGGINGFACE_CO_URL_TEMPLATE": template, "HF_HUB_DISABLE_XET": True, "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"), "HF_TOKEN_PATH": str(home / "token"), "HF_HUB_DISABLE_PROGRESS_BARS": True,
        "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"), "HF_HUB_DISABLE_TELEMETRY": True,
    }.items():  # fmt: skip
        monkeypatch.setattr(constants, name, value)
    for name, value in {
        "HF_ENDPOINT": hub.url, "HUB_DATASETS_URL": hub.url + "/datasets/{repo_id}/resolve/{revision}/{path}",
        "HF_DATASETS_CACHE": home / "datasets", "HF_CACHE_HOME": home, "HF_MODULES_CACHE": home / "modules",
    }.items():  # fmt: skip
        monkeypatch.setattr(datasets.config, name, value)
    huggingface_hub.close_session()


# ── HTTP ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Server(ThreadingHTTPServer):
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error; a fault of this file is, and is printed."""
        import sys

        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


KIND = r"/api/(?P<kind>model|dataset)s/(?P<repo>[^/]+/[^/]+)"
FILE = r"/(?:(?P<kind>dataset)s/)?(?P<repo>[^/]+/[^/]+?)"
ROUTES: list[tuple[str, str]] = [
    (r"GET /api/whoami-v2", "whoami"),
    (r"POST /api/repos/create", "create"),
    (r"POST /api/validate-yaml", "validate"),
    (rf"GET {KIND}(?:/revision/(?P<revision>[^/]+))?", "info"),
    (rf"GET {KIND}/refs", "refs"),
    (rf"GET {KIND}/auth-check", "access"),
    (rf"GET {KIND}/commits/(?P<revision>[^/]+)", "history"),
    (rf"GET {KIND}/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?", "tree"),
    (rf"POST {KIND}/paths-info/(?P<revision>[^/]+)", "paths"),
    (rf"POST {KIND}/branch/(?P<revision>[^/]+)", "branch"),
    (rf"POST {KIND}/preupload/(?P<revision>[^/]+)", "preupload"),
    (rf"POST {KIND}/commit/(?P<revision>[^/]+)", "commit"),
    (rf"POST {FILE}\.git/info/lfs/objects/batch", "batch"),
    (r"PUT /_lfs/(?P<oid>[0-9a-f]{64})(?:/(?P<part>\d+))?", "upload"),
    (r"POST /_lfs/(?P<oid>[0-9a-f]{64})/complete", "complete"),
    (r"POST /_lfs/(?P<oid>[0-9a-f]{64})/verify", "verify"),
    (rf"(?:GET|HEAD) {FILE}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
]


class Handler(BaseHTTPRequestHandler):
    """One connection. A method a route; what it returns is sent as JSON."""

    hub: HubServer
    protocol_version = "HTTP/1.1"
    cut_after: int | None = None

    def log_message(self, *_: object) -> None:
        pass

    def handle_request(self) -> None:
        url = urlsplit(self.path)
        self.query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        self.left = int(self.headers.get("Content-Length") or 0)
        fault = self.hub.fault(f"{self.command} {unquote(self.path)}")
        self.cut_after = fault.after if fault and not fault.status else None
        try:
            if fault and fault.status:
                raise Refused(fault.status, f"fault {fault.status} on demand")
            self.send(200, self.route(f"{self.command} {url.path}"))
        except Refused as error:
            headers = {"X-Error-Message": error.text} | ({"X-Error-Code": error.code} if error.code else {})
            self.send(error.status, {"error": error.text, **error.more}, headers)
        except Cut:
            self.close_connection = True
            # A reset, not an orderly end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_request

    def route(self, request: str) -> Any:
        for pattern, name in ROUTES:
            if match := re.fullmatch(pattern, request):
                found = {key: unquote(value) for key, value in match.groupdict().items() if value is not None}
                handler: Callable[..., Any] = getattr(self, name)
                with contextlib.nullcontext() if name in ("upload", "resolve") else self.hub.lock:
                    return handler(**found)
        raise Refused(404, f"no such endpoint: {request}")

    def chunks(self) -> Any:
        """The body, piece by piece; a fault cuts it."""
        chunked, total = self.headers.get("Transfer-Encoding") == "chunked", 0
        while True:
            most = 65536 if self.cut_after is None else min(65536, self.cut_after - total)
            piece = self.chunk() if chunked else self.rfile.read(min(self.left, most))
            total += len(piece)
            self.left = max(self.left - len(piece), 0)
            if piece:
                yield piece
            if self.cut_after is not None and total >= self.cut_after:
                raise Cut
            if not piece and self.left:
                raise Cut
            if not piece:
                return

    def chunk(self) -> bytes:
        size = int(self.rfile.readline().strip() or b"0", 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def body(self) -> bytes:
        return b"".join(self.chunks())

    def json(self) -> Any:
        return json.loads(self.body())

    def send(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        """`value` as JSON; None when it was sent already. What is left of the body is read before an error is told."""
        if value is None:
            return
        if status >= 400:
            for _ in self.chunks():
                pass
        data = json.dumps(value).encode()
        self.head(status, len(data), {"Content-Type": "application/json", **(headers or {})})
        if self.command != "HEAD":
            self.pour([data])

    def head(self, status: int, length: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, text in {"Content-Length": str(length), **headers}.items():
            self.send_header(name, text)
        self.end_headers()

    def pour(self, pieces: Any) -> None:
        sent = 0
        for piece in pieces:
            if self.cut_after is not None and sent + len(piece) > self.cut_after:
                self.wfile.write(piece[: self.cut_after - sent])
                raise Cut
            self.wfile.write(piece)
            sent += len(piece)

    # ── who may do what ──────────────────────────────────────────────────────────────────────────────────────────────

    def role(self) -> str:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ").strip()
        if token and token not in TOKENS:
            raise Refused(401, "Invalid credentials in Authorization header")
        return TOKENS.get(token, "")

    def may_write(self, repo: str) -> None:
        if not (role := self.role()):
            raise Refused(401, "Invalid username or password.")
        if role != "write" or repo.split("/")[0] not in OWNERS:
            raise Refused(403, f"You don't have the rights to write to {repo}")

    def found(self, repo: str, kind: str = "model") -> Repo:
        role = self.role()
        made = self.hub.repos.get((kind, repo))
        if made is None or (made.private and not role):
            raise Refused(404 if role else 401, "Repository not found", "RepoNotFound")
        return made

    def at(self, repo: str, revision: str, kind: str = "model") -> Commit:
        commit = self.found(repo, kind).at(revision)
        if commit is None:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    # ── repositories ─────────────────────────────────────────────────────────────────────────────────────────────────

    def whoami(self) -> Any:
        if not (role := self.role()):
            raise Refused(401, "Invalid username or password.")
        token = {"type": "access_token", "accessToken": {"role": role, "displayName": "loopback"}}
        return {"type": "user", "name": OWNERS[0], "orgs": [{"name": name} for name in OWNERS[1:]], "auth": token}

    def create(self) -> Any:
        asked = self.json()
        kind, repo = asked.get("type", "model"), f"{asked.get('organization') or OWNERS[0]}/{asked['name']}"
        self.may_write(repo)
        url = f"{self.hub.url}/{'' if kind == 'model' else kind + 's/'}{repo}"
        if (kind, repo) in self.hub.repos:
            raise Refused(409, "You already created this repo", url=url)
        made = self.hub.repos[kind, repo] = Repo(asked.get("visibility") == "private" or asked.get("private") is True)
        made.commit("main", {".gitattributes": self.hub.keep(b"*.parquet filter=lfs\n", "")}, "initial commit")
        return {"url": url, "name": repo, "id": repo}

    def validate(self) -> Any:
        self.body()
        return {"errors": [], "warnings": []}

    def info(self, kind: str, repo: str, revision: str = "main") -> Any:
        made, commit = self.found(repo, kind), self.at(repo, revision, kind)
        blobs = self.query.get("blobs", "").lower() in ("true", "1")
        siblings = [
            {"rfilename": path} | ({"size": blob.size, "blobId": blob.git} if blobs else {})
            for path, blob in sorted(commit.files.items())
        ]
        return {
            "_id": repo, "id": repo, "author": repo.split("/")[0], "sha": commit.oid, "private": made.private,
            "disabled": False, "gated": made.gated and "manual", "tags": [], "downloads": 0, "likes": 0,
            "siblings": siblings, "lastModified": DATE, "createdAt": DATE, "cardData": self.card(commit),
        }  # fmt: skip

    def access(self, kind: str, repo: str) -> Any:
        if self.found(repo, kind).gated:
            raise Refused(403, f"Access to {repo} is restricted", "GatedRepo")
        return {}

    def card(self, commit: Commit) -> Any:
        """The front matter of README.md."""
        import yaml

        if "README.md" not in commit.files:
            return {}
        text = (self.hub.blobs / commit.files["README.md"].sha256).read_text(encoding="utf-8")
        match = re.match(r"---\r?\n(.*?)\r?\n---\s*(\n|$)", text, re.DOTALL)
        return yaml.safe_load(match[1]) if match else {}

    def refs(self, kind: str, repo: str) -> Any:
        branches = self.found(repo, kind).branches.items()
        rows = [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": oid} for name, oid in branches]
        return {"branches": rows, "tags": [], "converts": []}

    def history(self, kind: str, repo: str, revision: str) -> Any:
        self.at(repo, revision, kind)
        log = self.hub.commits(repo, revision, kind)
        authors = [{"user": OWNERS[0]}]
        return [{"id": c.oid, "title": c.title, "message": "", "date": DATE, "authors": authors} for c in log]

    def branch(self, kind: str, repo: str, revision: str) -> Any:
        start = (self.json() or {}).get("startingPoint", "main")
        self.may_write(repo)
        made, commit = self.found(repo, kind), self.at(repo, start, kind)
        if revision in made.branches:
            raise Refused(409, f"Reference already exists: {revision}")
        made.branches[revision] = commit.oid
        return {}

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def entries(self, commit: Commit) -> dict[str, dict[str, Any]]:
        """Every file and folder, by path."""
        found = {path: blob.entry(path) for path, blob in commit.files.items()}
        for path in commit.files:
            for parent in list(Path(path).parents)[:-1]:
                name = parent.as_posix()
                oid = hashlib.sha1(f"{commit.oid} {name}".encode()).hexdigest()
                found[name] = {"type": "directory", "path": name, "size": 0, "oid": oid}
        if self.query.get("expand", "").lower() in ("true", "1"):
            last = {"id": commit.oid, "title": commit.title, "date": DATE}
            found = {path: entry | {"lastCommit": last} for path, entry in found.items()}
        return dict(sorted(found.items()))

    def tree(self, kind: str, repo: str, revision: str, path: str = "") -> Any:
        commit, prefix = self.at(repo, revision, kind), f"{path}/" if path else ""
        entries = self.entries(commit)
        if path and entries.get(path, {}).get("type") != "directory":
            raise Refused(404, f"{path} does not exist on {revision}", "EntryNotFound")
        deep = self.query.get("recursive", "").lower() in ("true", "1")
        rows = [e for p, e in entries.items() if p.startswith(prefix) and (deep or "/" not in p[len(prefix) :])]
        start = int(self.query.get("cursor", 0))
        headers = {"Content-Type": "application/json"}
        if start + self.hub.page < len(rows):
            query = urlencode(self.query | {"cursor": start + self.hub.page})
            headers["Link"] = f'<{self.hub.url}{urlsplit(self.path).path}?{query}>; rel="next"'
        self.send(200, rows[start : start + self.hub.page], headers)

    def paths(self, kind: str, repo: str, revision: str) -> Any:
        body = self.body()
        asked = json.loads(body) if body.startswith(b"{") else parse_qs(body.decode())
        entries = self.entries(self.at(repo, revision, kind))
        paths = asked.get("paths", [])
        return [entries[path] for path in ([paths] if isinstance(paths, str) else paths) if path in entries]

    def resolve(self, repo: str, revision: str, path: str, kind: str = "model") -> Any:
        commit = self.at(repo, revision, kind)
        if path != "README.md":
            self.access(kind, repo)
        headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        blob = commit.files.get(path)
        if blob is None:
            raise Refused(404, "Entry not found", "EntryNotFound")
        headers["ETag"] = f'"{blob.etag}"'
        if blob.large:
            headers |= {"X-Linked-Etag": f'"{blob.etag}"', "X-Linked-Size": str(blob.size)}
        start, end, status = 0, blob.size, 200
        if asked := re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or ""):
            first, last = asked.groups()
            start = int(first) if first else max(blob.size - int(last), 0)
            end = min(int(last) + 1, blob.size) if first and last else blob.size
            if start >= blob.size:
                raise Refused(416, "Range Not Satisfiable")
            status, headers["Content-Range"] = 206, f"bytes {start}-{end - 1}/{blob.size}"
        self.head(status, end - start, headers)
        if self.command == "GET":
            with (self.hub.blobs / blob.sha256).open("rb") as file:
                file.seek(start)
                self.pour(file.read(min(65536, end - at)) for at in range(start, end, 65536))

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def preupload(self, kind: str, repo: str, revision: str) -> Any:
        asked = self.json()
        self.may_write(repo)
        stored = self.at(repo, revision, kind).files
        rows = []
        for file in asked["files"]:
            old = stored.get(file["path"])
            mode = "lfs" if large(file["path"], file["size"]) else "regular"
            oid = old.etag if old else None
            rows.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return {"files": rows}

    def batch(self, repo: str, kind: str = "model") -> Any:
        asked = self.json()
        self.may_write(repo)
        self.found(repo, kind)
        objects = []
        for item in asked["objects"]:
            oid, size, link = item["oid"], item["size"], f"{self.hub.url}/_lfs/{item['oid']}"
            actions = {"upload": {"href": link, "header": {}}, "verify": {"href": f"{link}/verify"}}
            if self.hub.part and size > self.hub.part:
                parts = {str(n + 1): f"{link}/{n + 1}" for n in range(-(-size // self.hub.part))}
                header = {"chunk_size": str(self.hub.part), **parts}
                actions["upload"] = {"href": f"{link}/complete", "header": header}
            stored = (self.hub.blobs / oid).exists()
            objects.append({"oid": oid, "size": size} | ({} if stored else {"actions": actions}))
        return {"transfer": "multipart" if self.hub.part else "basic", "objects": objects}

    def upload(self, oid: str, part: str = "") -> Any:
        target = self.hub.parts / f"{oid}.{part or 'whole'}.{threading.get_ident()}"
        digest = hashlib.sha256()
        with target.open("wb") as file:
            for piece in self.chunks():
                digest.update(piece)
                file.write(piece)
                with self.hub.lock:
                    self.hub.received[oid] += len(piece)
        if part:
            target.replace(self.hub.parts / f"{oid}.{part}")
        elif digest.hexdigest() == oid:
            target.replace(self.hub.blobs / oid)
        else:
            raise Refused(400, "the content has another sha256")
        self.head(200, 0, {"ETag": f'"{digest.hexdigest()}"'})

    def complete(self, oid: str) -> Any:
        whole = self.hub.parts / f"{oid}.joined"
        numbers = [part["partNumber"] for part in self.json()["parts"]]
        with whole.open("wb") as out:
            for number in sorted(numbers):
                with (self.hub.parts / f"{oid}.{number}").open("rb") as part:
                    shutil.copyfileobj(part, out)
        with whole.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != oid:
                raise Refused(400, "the parts do not make the object")
        whole.replace(self.hub.blobs / oid)
        return {"success": True}

    def verify(self, oid: str) -> Any:
        asked, stored = self.json(), self.hub.blobs / oid
        if not stored.exists() or stored.stat().st_size != asked["size"]:
            raise Refused(404, "no such object")
        return {}

    def commit(self, kind: str, repo: str, revision: str) -> Any:
        lines = [json.loads(line) for line in self.body().splitlines() if line.strip()]
        self.may_write(repo)
        before = self.at(repo, revision, kind)
        files = dict(before.files)
        header: dict[str, Any] = {}
        for line in lines:
            value = line["value"]
            path = value.get("path", "")
            if line["key"] == "header":
                header = value
            elif line["key"] == "file":
                files[path] = self.hub.keep(base64.b64decode(value["content"]), path)
            elif line["key"] == "lfsFile":
                if not (self.hub.blobs / value["oid"]).exists():
                    raise Refused(400, f"LFS object {value['oid']} was not uploaded")
                files[path] = self.hub.blob(value["oid"], True)
            else:
                gone = [p for p in before.files if p == path or p.startswith(path.rstrip("/") + "/")]
                if not gone:
                    raise Refused(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
                files = {p: blob for p, blob in files.items() if p not in gone}
        if header.get("parentCommit", before.oid) != before.oid:
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        made = self.found(repo, kind).commit(revision, files, header.get("summary", ""))
        page = f"{self.hub.url}/{'' if kind == 'model' else kind + 's/'}{quote(repo)}"
        return {"success": True, "commitOid": made.oid, "commitUrl": f"{page}/commit/{made.oid}", "hookOutput": ""}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--part", type=int)
    args = parser.parse_args()
    with HubServer(args.root, port=args.port, part=args.part) as hub:
        print(hub.url, flush=True)
        print(f"# HF_TOKEN=hf_write HF_HUB_DISABLE_XET=1 HF_ENDPOINT={hub.url}   (pid {os.getpid()})", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
