"""A loopback OpenAI-compatible server whose answer is a function of the request, with faults by seed.

    python benchmarks/model_server.py --port 0 --latency-ms 50 --fault 429=0.05 --fault reset=0.01 --limit 64 --core 0

prints its base URL and serves until it is ended. In tests: `with ModelServer(responder=…) as server: server.url`;
in benchmarks: `with serving(latency_ms=50, core=0) as url`, a process of its own.

POST /v1/chat/completions   GET /v1/models   GET /health   GET /stats   POST /reset (zero the counters)

Faults (share of requests, drawn from a hash of seed, prompt and how often it was asked, so a run is repeatable):
    429 (Retry-After 0.05)   429-bare   500   503   hang   reset (in the middle of the body)   truncated (JSON body)
    html   filter (400)   empty (no choices)   slow (30 s)
    schema (another object than was asked for)   letter (of no choice)
`models` are listed and `unlisted` served beside them (None: every model, and no list), others get 404;
`status` answers every question with one status; `formats` lists the response formats known (others get 400).
A bare asyncio protocol without a task a request: the server must not be what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import importlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import orjson

TESTS = Path(__file__).parents[1] / "tests"
"""Where the responders of a whole world are."""
WRONG = {"schema": '{"unexpected": [1, 2]}', "letter": "Z"}
"""Faults of the text alone; the reply is whole and paid."""
Body = dict[str, Any]
ERRORS = {
    429: ("rate limit", "rate_limit_exceeded"),
    500: ("boom", "server_error"),
    503: ("overloaded", "overloaded"),
    401: ("Incorrect API key provided", "invalid_api_key"),
    402: ("no credit left", "payment_required"),
    403: ("not allowed", "forbidden"),
    404: ("no such model", "model_not_found"),
    400: ("bad request", "invalid_request_error"),
}


def digest(value: Any) -> int:
    return int.from_bytes(hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=8).digest(), "big")


def identity(body: Body) -> int:
    """What tells one prompt from another."""
    said = [body.get("model"), body.get("messages"), body.get("temperature"), body.get("seed")]
    return int.from_bytes(
        hashlib.blake2b(orjson.dumps(said, option=orjson.OPT_SORT_KEYS), digest_size=8).digest(), "big"
    )


def respond(body: Body) -> str:
    """A text, or an instance of the JSON schema that was asked for, as a function of the messages."""
    number = digest(body["messages"])
    form = body.get("response_format") or {}
    if form.get("type") == "json_schema":
        return json.dumps(instance(form["json_schema"]["schema"], number))
    return f"answer {number:016x}"


def item(body: Body) -> str:
    """A question with its answer and three distractors, whatever the form that was asked for."""
    name = hashlib.blake2b(str(body["messages"][-1]["content"]).encode(), digest_size=6).hexdigest()
    wrong = [f"sound {part}" for part in (name[:3], name[3:6], name[6:9])]
    return json.dumps({"question": f"What is heard in {name}?", "answer": f"a {name[9:]}", "distractors": wrong})


def instance(schema: Mapping[str, Any], number: int) -> Any:
    """Any value that follows `schema`, chosen by `number`."""
    if "enum" in schema:
        return schema["enum"][number % len(schema["enum"])]
    match schema.get("type"):
        case "object":
            return {name: instance(part, digest([number, name])) for name, part in schema["properties"].items()}
        case "array":
            return [instance(schema["items"], digest([number, i])) for i in range(schema.get("minItems", 1))]
        case "integer":
            return schema.get("minimum", 0) + number % 4
        case "number":
            return float(number % 100) / 100
        case "boolean":
            return number % 2 == 0
    return f"text {number % 10**6}"


class ModelServer:
    """`with` runs it in a thread of its own; `serve` runs it on the current loop. `latency` in seconds."""

    def __init__(
        self,
        responder: Callable[[Body], str] = respond,
        *,
        latency: float = 0.0,
        faults: Mapping[str, float] | None = None,
        limit: int = 0,
        status: int = 0,
        formats: Sequence[str] = ("json_schema", "json_object"),
        models: Sequence[str] | None = ("stub",),
        unlisted: Sequence[str] = (),
        finish: str = "stop",
        seed: int = 0,
        port: int = 0,
    ) -> None:
        self.responder, self.latency, self.faults, self.limit = responder, latency, dict(faults or {}), limit
        self.status, self.formats, self.models, self.finish = status, tuple(formats), models, finish
        self.unlisted = unlisted
        self.seed, self.port = seed, port
        self.bodies: list[Body] | None = None
        """Set to [] to keep every body that comes."""
        self.headers: list[str] = []
        self.reset()
        self._connections: set[Connection] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def reset(self) -> None:
        self.asked: Counter[int] = Counter()
        self.answered: Counter[int] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.in_flight = self.peak = self.unheard = 0

    def stats(self) -> dict[str, Any]:
        """`requests`, `unique` prompts, `answered` whole with 200, of these `paid_twice`, and more."""
        return {
            "requests": sum(self.asked.values()),
            "unique": len(self.asked),
            "answered": sum(self.answered.values()),
            "paid_twice": sum(self.answered.values()) - len(self.answered),
            "in_flight": self.in_flight,
            "unheard": self.unheard,
            "in_flight_peak": self.peak,
            "cpu_seconds": time.process_time(),
            "outcomes": dict(self.outcomes),
        }

    async def serve(self) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(self), "127.0.0.1", self.port, backlog=4096)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def __enter__(self) -> Self:
        self._ready, self._end = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await self.serve()
        self._ready.set()
        await self._end.wait()
        server.close()
        for connection in list(self._connections):
            connection.abort()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def draw(self, prompt: int, time: int) -> str:
        """The fault of the `time`-th request with this prompt, or ''."""
        share = digest([self.seed, prompt, time]) / 2**64
        for fault, part in self.faults.items():
            if share < part:
                return fault
            share -= part
        return ""

    def refuse(self, body: Body) -> tuple[int, str]:
        """The status and error of a body that this server does not take, or (0, '')."""
        model, form = body.get("model"), (body.get("response_format") or {}).get("type")
        if self.models is not None and model not in (*self.models, *self.unlisted):
            return 404, f"The model {model} does not exist"
        if form and form not in self.formats:
            return 400, f"response_format of type {form} is not supported by this model"
        return (0, "") if body.get("messages") else (400, "no messages")


class Connection(asyncio.Protocol):
    """HTTP/1.1 with Content-Length, one request after another on a kept-alive connection."""

    def __init__(self, server: ModelServer) -> None:
        self.server = server
        self.buffer = b""
        self.hanging: asyncio.TimerHandle | None = None
        self.last = False
        """Whether the client asked to close the connection after the reply."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.server._connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.server._connections.discard(self)
        if self.hanging is not None:  # whoever hung up is not served; other answers are made, and paid, all the same
            self.hanging.cancel()
            self.server.in_flight -= 1

    def abort(self) -> None:
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end].decode("latin-1")
        lower = head.lower()
        self.last = "\r\nconnection: close" in lower
        at = lower.find("\r\ncontent-length:")
        length = int(head[at + 17 :].split("\r\n", 1)[0]) if at >= 0 else 0
        if len(self.buffer) < end + 4 + length:
            return
        body, self.buffer = self.buffer[end + 4 : end + 4 + length], self.buffer[end + 4 + length :]
        self.route(head, body)

    def route(self, head: str, body: bytes) -> None:
        server, path = self.server, head.split(" ", 2)[1]
        if path.endswith("/chat/completions") and path.startswith("/v1/"):
            self.chat(head, body)
        elif path == "/v1/models" and server.models is not None:
            self.list_models(server.models)
        elif path == "/health":
            self.reply(200, {"status": "ok"})
        elif path == "/stats":
            self.reply(200, server.stats())
        elif path == "/reset":
            server.reset()
            self.reply(200, {})
        else:
            self.error(404)

    def list_models(self, models: Sequence[str]) -> None:
        if self.server.status in (401, 403):
            self.error(self.server.status)
        else:
            self.reply(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in models]})

    def chat(self, head: str, raw: bytes) -> None:
        server, body = self.server, orjson.loads(raw)
        server.in_flight += 1
        server.peak = max(server.peak, server.in_flight)
        if server.bodies is not None:
            server.bodies.append(body)
            server.headers.append(head)
        prompt = identity(body)
        server.asked[prompt] += 1
        status, wrong = server.refuse(body)
        fault = str(status or server.status or "") or server.draw(prompt, server.asked[prompt])
        if server.limit and server.in_flight > server.limit:
            fault = "over"
        server.outcomes[fault or "ok"] += 1
        if fault.isdigit() or fault in ("over", "429-bare", "filter", "html"):
            self.refuse(fault, wrong)
        elif fault == "hang":
            self.hanging = asyncio.get_running_loop().call_later(3600.0, self.transport.abort)
        elif wait := 30.0 if fault == "slow" else server.latency:
            asyncio.get_running_loop().call_later(wait, self.finish, body, prompt, fault)
        else:
            self.finish(body, prompt, fault)

    def refuse(self, fault: str, wrong: str) -> None:
        """Anything but a completion."""
        self.server.in_flight -= 1
        if fault in ("over", "429"):
            self.error(429, retry_after="0.05")
        elif fault == "429-bare":
            self.error(429)
        elif fault == "filter":
            self.error(400, "the prompt was filtered", code="content_filter")
        elif fault == "html":
            self.send(200, b"<html><body>Bad gateway</body></html>", "text/html")
        else:
            self.error(int(fault), wrong)

    def finish(self, body: Body, prompt: int, fault: str) -> None:
        self.server.in_flight -= 1
        self.server.unheard += self.transport.is_closing()  # made, and paid, for whoever has hung up
        self.complete(body, prompt, fault)

    def complete(self, body: Body, prompt: int, fault: str) -> None:
        text = WRONG.get(fault) or self.server.responder(body)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": self.server.finish}
        asked = sum(len(str(message["content"])) for message in body["messages"])
        used, made = asked // 4, len(text) // 4 + 1
        usage = {"prompt_tokens": used, "completion_tokens": made, "total_tokens": used + made}
        value = {"id": f"chatcmpl-{prompt:016x}", "object": "chat.completion", "created": 0, "model": body.get("model")}
        data = orjson.dumps({**value, "choices": [] if fault == "empty" else [choice], "usage": usage})
        if fault == "truncated":
            data = data[:-25]
        self.server.answered[prompt] += fault in ("", "slow", *WRONG)
        self.send(200, data, cut=len(data) // 2 if fault == "reset" else None)
        if fault == "reset":
            asyncio.get_running_loop().call_soon(self.transport.close)

    def error(self, status: int, message: str = "", *, code: str = "", retry_after: str = "") -> None:
        text, kind = ERRORS.get(status, ("error", "error"))
        error = {"message": message or text, "type": kind, "code": code or kind}
        self.reply(status, {"error": error}, f"retry-after: {retry_after}\r\n" if retry_after else "")

    def reply(self, status: int, value: Any, extra: str = "") -> None:
        self.send(status, json.dumps(value).encode(), extra=extra)

    def send(
        self, status: int, body: bytes, kind: str = "application/json", *, cut: int | None = None, extra: str = ""
    ) -> None:
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
        self.transport.write(head.encode() + body[:cut])
        if self.last:
            self.transport.close()


@contextlib.contextmanager
def serving(
    responder: str = "model_server:respond", *, core: int | None = None, **options: float | str
) -> Iterator[str]:
    """A server in a process of its own (tests/ on its path); yields its address. `options` are the flags below."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    flags += [] if core is None else [f"--core={core}"]
    environment = os.environ | {"PYTHONPATH": f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, __file__, f"--responder={responder}", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def counters(url: str, page: str = "stats") -> dict[str, Any]:
    """The counters of the server at `url`; `page` "reset" zeroes them."""
    with urllib.request.urlopen(f"{url.removesuffix('/v1')}/{page}", timeout=10) as reply:
        return dict(json.load(reply))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=0)
    parser.add_argument("--fault", action="append", default=[], help="KIND=SHARE, several times or with commas")
    parser.add_argument("--limit", type=int, default=0, help="429 for what is over this many in flight")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--responder", default="model_server:respond", help="module:function of the request's body")
    parser.add_argument("--core", type=int, help="the only processor core to run on")
    args = parser.parse_args()
    if args.core is not None:
        os.sched_setaffinity(0, {args.core})
    parts = [fault.partition("=") for several in args.fault for fault in several.split(",") if fault]
    module, _, function = args.responder.partition(":")
    responder = getattr(importlib.import_module(module), function)
    server = ModelServer(
        responder,
        latency=args.latency_ms / 1000,
        faults={kind: float(share) for kind, _, share in parts},
        limit=args.limit,
        seed=args.seed,
        port=args.port,
    )

    async def run() -> None:
        listening = await server.serve()
        print(server.url, flush=True)
        async with listening:
            await listening.serve_forever()

    asyncio.run(run())


if __name__ == "__main__":
    main()
