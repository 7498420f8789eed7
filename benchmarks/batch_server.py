"""The model server of `model_server.py` with a Batch API (files and batches in real files), and faults of its own.

    python benchmarks/batch_server.py --port 0 --seconds 0.2 --fault expired --fault reset --fault "" …

POST /v1/files (multipart)   GET /v1/files/ID/content   POST /v1/batches   GET /v1/batches[/ID]   GET /batch-stats

A batch is `validating`, then `in_progress`, and done `seconds` after it was made. `batch_faults` are taken in order,
one a batch, then no more:
    expired (a half is done)   cancelled (nothing is)   failed   full (token_limit_exceeded)   no-money   bad-line (1)
    partial (each third row: 500)   rate (each third row: 429)   lost (each third line is not there)   doubled
    garbled (each third line is cut)   reset (the first download, in the middle)   gone (the output file is not there)
    refused (429 for the first try to make it)   unheard (made, and the connection cut before the reply)
    mute (made, and never a reply to that)   upload (500 for the first upload)
    forgotten (404 at every look)   strange (400 at every look)
Rows are answered in an order of their own. A row counts as answered, and so as paid, when its batch did it.
"""

from __future__ import annotations

import argparse
import asyncio
import email.parser
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from model_server import Body, Connection, ModelServer, digest, respond

__all__ = ["BatchServer"]

MOST_ROWS, MOST_BYTES = 50_000, 200_000_000


@dataclass
class Batch:
    id: str
    input: str
    metadata: dict[str, str]
    fault: str
    made: float
    number: int
    done: dict[str, Any] | None = None
    """The fields that it has from its end on."""
    errors: list[dict[str, Any]] = field(default_factory=list)


class BatchServer(ModelServer):
    """`batches` made so far, by id, in order; `seconds` that one takes."""

    connection: type[BatchConnection]
    """What speaks with one client."""

    def __init__(
        self, responder: Callable[[Body], str] = respond, *, seconds: float = 0.0, batch_faults: Sequence[str] = (),
        **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(responder, **options)
        self.seconds, self.batch_faults = seconds, list(batch_faults)
        self.folder = Path(tempfile.mkdtemp())
        self.batches: dict[str, Batch] = {}
        self.seen: Counter[str] = Counter()
        """Requests by `METHOD /path`, ids left out."""
        self.uploads = self.looks = 0
        self.undelivered = 0
        """Answers made that no file has."""

    async def serve(self) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: self.connection(self), "127.0.0.1", self.port, backlog=4096)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def batch_stats(self) -> dict[str, Any]:
        made = list(self.batches.values())
        rows = [len(self.file(batch.input).read_bytes().splitlines()) for batch in made]
        return {
            **self.stats(),
            "batches": len(made),
            "rows": rows,
            "undelivered": self.undelivered,
            "seen": dict(self.seen),
        }

    def file(self, id: str) -> Path:
        return self.folder / id.replace("/", "_")

    def keep(self, lines: Sequence[str], name: str) -> str | None:
        if not lines:
            return None
        self.file(name).write_text("".join(f"{line}\n" for line in lines))
        return name

    def make(self, input: str, metadata: dict[str, str], fault: str) -> Batch:
        number = len(self.batches)
        batch = Batch(f"batch_{number:04d}", input, metadata, fault, time.time(), number)
        self.batches[batch.id] = batch
        return batch

    def work(self, batch: Batch) -> dict[str, Any]:
        """What comes of a batch."""
        raw = self.file(batch.input).read_bytes().splitlines()
        if problem := self.invalid(batch, raw):
            return {"status": "failed", "errors": {"object": "list", "data": [problem]}}
        rows = sorted(map(json.loads, raw), key=digest)
        finished = {"expired": rows[: len(rows) // 2], "cancelled": []}.get(batch.fault, rows)
        output, errors = [], []
        for number, row in enumerate(finished):
            line = self.row(row, batch.fault if number % 3 == 0 else "")
            (output if '"status_code": 200' in line else errors).append(line)
        made = len(output)
        if batch.fault == "lost":
            output = [line for number, line in enumerate(output) if number % 3]
        if batch.fault == "garbled":
            output = [line if number % 3 else line[: len(line) // 2] for number, line in enumerate(output)]
        if batch.fault in ("lost", "garbled", "gone"):
            self.undelivered += {"lost": made - len(output), "garbled": -(-made // 3), "gone": made}[batch.fault]
        if batch.fault == "doubled":
            output = [*output, *output[::2]]
        left = [row["custom_id"] for row in rows[len(finished) :]]
        code = {"code": f"batch_{batch.fault}", "message": "This request could not be executed before the batch ended."}
        errors += [json.dumps({"custom_id": name, "response": None, "error": code}) for name in left]
        status = batch.fault if batch.fault in ("expired", "cancelled") else "completed"
        return {
            "status": status,
            "output_file_id": self.keep(output, f"out-{batch.id}"),
            "error_file_id": self.keep(errors, f"err-{batch.id}"),
            "request_counts": {"total": len(rows), "completed": len(output), "failed": len(errors)},
        }

    def invalid(self, batch: Batch, raw: Sequence[bytes]) -> dict[str, Any] | None:
        names = [json.loads(line)["custom_id"] for line in raw]
        found: dict[str, dict[str, Any]] = {
            "failed": {"code": "server_error", "message": "the batch could not be read"},
            "full": {"code": "token_limit_exceeded", "message": "Enqueued token limit reached"},
            "no-money": {"code": "billing_hard_limit_reached", "message": "Billing hard limit has been reached"},
            "bad-line": {"code": "invalid_request", "message": "this line is refused", "line": 1},
        }
        if len(set(names)) < len(names):
            return {"code": "duplicate_custom_id", "message": "a custom_id comes twice", "line": None}
        if len(raw) > MOST_ROWS or self.file(batch.input).stat().st_size > MOST_BYTES:
            return {"code": "file_too_large", "message": "too many rows or bytes"}
        return {"param": None, "line": None, **found[batch.fault]} if batch.fault in found else None

    def row(self, row: Body, fault: str) -> str:
        """The line of one answered row."""
        body = row["body"]
        prompt = digest([body.get("model"), body.get("messages"), body.get("temperature"), body.get("seed")])
        self.asked[prompt] += 1
        status, wrong = self.refuse(body)
        status = {"partial": 500, "rate": 429}.get(fault, status) or self.status
        if status:
            value = {"error": {"message": wrong or f"row {fault}", "code": str(status)}}
        else:
            self.answered[prompt] += 1
            text = self.responder(body)
            usage = {"prompt_tokens": sum(len(str(m["content"])) for m in body["messages"]) // 4}
            usage["completion_tokens"] = len(text) // 4 + 1
            message = {"role": "assistant", "content": text}
            value = {"choices": [{"index": 0, "message": message, "finish_reason": self.finish}], "usage": usage}
        response = {"status_code": status or 200, "request_id": f"req-{prompt:x}", "body": value}
        return json.dumps({"id": "x", "custom_id": row["custom_id"], "response": response, "error": None})

    def told(self, batch: Batch) -> dict[str, Any]:
        """What GET says of a batch; the work is done at the first look after its time."""
        if batch.done is None and time.time() - batch.made >= self.seconds:
            batch.done = self.work(batch)
        waiting = "in_progress" if time.time() - batch.made > self.seconds / 2 else "validating"
        return {
            "id": batch.id, "object": "batch", "endpoint": "/v1/chat/completions", "input_file_id": batch.input,
            "completion_window": "24h", "status": waiting, "output_file_id": None, "error_file_id": None,
            "errors": None, "created_at": int(batch.made), "metadata": batch.metadata, **(batch.done or {}),
        }  # fmt: skip


class BatchConnection(Connection):
    """The routes of the Batch API before those of chat."""

    server: BatchServer

    def route(self, head: str, body: bytes) -> None:
        method, target, _ = head.split(" ", 2)
        address = urlsplit(target)
        parts = address.path.strip("/").split("/")
        if parts[:1] == ["v1"] and parts[1:2] in (["files"], ["batches"]):
            self.server.headers.append(head)
            self.server.seen[f"{method} /{'/'.join(parts[1:2] + parts[3:])}"] += 1
            if self.server.status in (401, 403):
                self.error(self.server.status)
            else:
                self.batch_route(method, parts[1:], parse_qs(address.query), head, body)
        elif address.path == "/batch-stats":
            self.reply(200, self.server.batch_stats())
        else:
            super().route(head, body)

    def batch_route(self, method: str, parts: list[str], query: dict[str, list[str]], head: str, body: bytes) -> None:
        server = self.server
        match method, *parts:
            case "POST", "files":
                self.upload(head, body)
            case "GET", "files", id, "content":
                self.download(id)
            case "POST", "batches":
                self.create(json.loads(body))
            case "GET", "batches":
                self.list(query)
            case "GET", "batches", id if id in server.batches:
                server.looks += 1
                if server.batches[id].fault in ("forgotten", "strange"):
                    self.error(404 if server.batches[id].fault == "forgotten" else 400)
                    return
                self.reply(200, server.told(server.batches[id]))
            case _:
                self.error(404)

    def next_fault(self, kinds: Sequence[str]) -> str:
        """The fault of this moment if it is one of `kinds`, taken; a batch's own is taken when it is made."""
        faults = self.server.batch_faults
        return faults.pop(0) if faults and faults[0] in kinds else ""

    def upload(self, head: str, body: bytes) -> None:
        if self.next_fault(["upload"]):
            self.error(500)
            return
        kind = next(line for line in head.split("\r\n") if line.lower().startswith("content-type:"))
        form = email.parser.BytesParser().parsebytes(kind.encode() + b"\r\n\r\n" + body)
        fields = {part.get_param("name", header="content-disposition"): part for part in form.get_payload()}
        assert fields["purpose"].get_payload().strip() == "batch"
        self.server.uploads += 1
        id = f"file-{self.server.uploads:04d}"
        data = fields["file"].get_payload(decode=True)
        self.server.file(id).write_bytes(data)
        self.reply(200, {"id": id, "object": "file", "bytes": len(data), "filename": "batch.jsonl", "purpose": "batch"})

    def create(self, asked: Body) -> None:
        if self.next_fault(["refused"]):
            self.error(429, retry_after="0.05")
            return
        assert (asked["endpoint"], asked["completion_window"]) == ("/v1/chat/completions", "24h")
        fault = self.server.batch_faults.pop(0) if self.server.batch_faults else ""
        batch = self.server.make(asked["input_file_id"], asked.get("metadata") or {}, fault)
        if fault == "unheard":
            self.transport.abort()
        elif fault != "mute":
            self.reply(200, self.server.told(batch))

    def list(self, query: dict[str, list[str]]) -> None:
        """Newest first, from the one after `after`."""
        made = [*reversed(self.server.batches.values())]
        after, limit = query.get("after", [""])[0], int(query.get("limit", ["20"])[0])
        start = next((number + 1 for number, batch in enumerate(made) if batch.id == after), 0)
        page = made[start : start + limit]
        value = {"object": "list", "data": list(map(self.server.told, page)), "has_more": start + limit < len(made)}
        self.reply(200, value)

    def download(self, id: str) -> None:
        batch = self.server.batches[id.split("-", 1)[1]]
        if batch.fault == "gone" or not self.server.file(id).exists():
            self.error(404)
            return
        data = self.server.file(id).read_bytes()
        cut = len(data) // 2 if batch.fault == "reset" else None
        self.send(200, data, "application/octet-stream", cut=cut)
        if cut is not None:
            batch.fault = ""
            asyncio.get_running_loop().call_soon(self.transport.close)


BatchServer.connection = BatchConnection


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0, help="that a batch takes")
    parser.add_argument("--fault", action="append", default=[], help="of the next batch, several times")
    args = parser.parse_args()
    from world import respond as world

    server = BatchServer(world, seconds=args.seconds, batch_faults=args.fault, port=args.port)

    async def run() -> None:
        listening = await server.serve()
        print(server.url, flush=True)
        async with listening:
            await listening.serve_forever()

    asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main())
