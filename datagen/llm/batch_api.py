"""The Batch API of OpenAI-compatible servers: files and batches, one method a call, nothing remembered here.

    POST /files (purpose=batch)   POST /batches   GET /batches/ID   GET /batches?after=ID   GET /files/ID/content

https://platform.openai.com/docs/api-reference/batch. A line of the input file is {"custom_id", "method", "url",
"body"}, one of the output or error file {"custom_id", "response": {"status_code", "body"} or null, "error": {"code",
"message"} or null}, in any order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, NamedTuple

import orjson
from pyreqwest.multipart import FormBuilder, PartBuilder

from datagen.errors import PermanentError, TransientError, UsageError
from datagen.llm.reply import Misaddressed, Reply, raise_for
from datagen.llm.transport import Http

__all__ = ["ENDED", "BatchApi", "Line", "Told"]

ENDED = ("completed", "failed", "expired", "cancelled")
METADATA = "datagen"
PAGE = 100
DAY = 86_400.0
PIECE = 2**20
"""Bytes of a file that are sent at a time."""


class Problem(NamedTuple):
    """Why a batch failed its validation."""

    code: str
    message: str
    line: int | None
    """Of the input file, from 1; None when it is about the whole."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the server says of a batch."""

    id: str
    status: str
    files: tuple[str, ...]
    """Ids of the output file and the error file, of those there are."""
    problems: tuple[Problem, ...]
    made: float
    """Seconds since 1970, by the server's clock."""
    token: str


class Line(NamedTuple):
    """One line of an output or error file: a reply, or the reason why there is none."""

    name: str
    """`custom_id`"""
    reply: Reply | None
    reason: str


class BatchApi:
    """Calls on one server. All raise TransientError (try again), PermanentError and Denied."""

    def __init__(self, http: Http) -> None:
        self.http = http

    async def check(self) -> None:
        """Raises UsageError when the server has no Batch API."""
        try:
            await self._json("GET", "/batches", query={"limit": "1"})
        except Misaddressed:
            raise UsageError(
                f"{self.http.base} has no Batch API (GET /batches is not there): leave out --transport batch"
            ) from None
        except TransientError:  # it is there, and busy
            return

    async def upload(self, file: IO[bytes]) -> str:
        """The id of the uploaded file."""
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        part = PartBuilder.from_stream_with_length(iter(partial(file.read, PIECE), b""), size)
        part = part.file_name("batch.jsonl").mime("application/jsonl")
        form = FormBuilder().text("purpose", "batch").part("file", part)
        return str((await self._json("POST", "/files", form=form))["id"])

    async def create(self, file: str, token: str) -> Told:
        """Start the batch; from here on it costs."""
        body = {
            "input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h",
            "metadata": {METADATA: token},
        }  # fmt: skip
        return self._told(await self._json("POST", "/batches", body=orjson.dumps(body)))

    async def get(self, id: str) -> Told:
        """How far it is."""
        return self._told(await self._json("GET", f"/batches/{id}"))

    async def find(self, token: str, made: float) -> Told | None:
        """The batch with our `token`, which was made here at `made`; None where there is none, or no list.

        Lists are newest first; one day of difference between the clocks is allowed for.
        """
        after: dict[str, str] = {}
        while True:
            try:
                page = await self._json("GET", "/batches", query={"limit": str(PAGE), **after})
            except (Misaddressed, PermanentError):
                return None
            found = [self._told(entry) for entry in page.get("data") or []]
            for batch in found:
                if batch.token == token:
                    return batch
            if not page.get("has_more") or not found or found[-1].made < made - DAY:
                return None
            after = {"after": found[-1].id}

    async def fetch(self, id: str, into: IO[bytes]) -> None:
        """Write a file's content; what a broken download left in `into` is overwritten."""
        into.seek(0)
        into.truncate()
        reply = await self.http.exchange("GET", f"{self.http.base}/files/{id}/content", into=into)
        raise_for(reply)
        into.seek(0)

    def lines(self, file: IO[bytes]) -> Iterator[Line]:
        """The lines of a fetched file; what is no line of the form is passed over, and so is missing."""
        for raw in file:
            try:
                value = orjson.loads(self.http.redact(200, raw))
                name, response, error = value["custom_id"], value.get("response"), value.get("error")
                if response is None:
                    yield Line(
                        name, None, self._redacted(f"{(error or {}).get('code')}: {(error or {}).get('message')}")
                    )
                    continue
                status = int(response["status_code"])
                body = self.http.redact(status, orjson.dumps(response["body"]))
                yield Line(name, Reply(status, body, self.http.url), "")
            except (ValueError, LookupError, TypeError, AttributeError):
                continue

    async def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        url = f"{self.http.base}{path}"
        reply = await self.http.exchange(method, url, **options)
        raise_for(reply)
        try:
            value = orjson.loads(reply.body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise TransientError(f"{url} answered 200 without a JSON object", reply.body.decode(errors="replace"))
        return value

    def _told(self, value: Mapping[str, Any]) -> Told:
        try:
            errors = (value.get("errors") or {}).get("data") or []
            files = [value.get(name) for name in ("output_file_id", "error_file_id")]
            return Told(
                id=value["id"],
                status=str(value["status"]),
                files=tuple(filter(None, files)),
                problems=tuple(
                    Problem(str(e.get("code") or ""), self._redacted(str(e.get("message") or "")), e.get("line"))
                    for e in errors
                ),
                made=float(value.get("created_at") or 0),
                token=str((value.get("metadata") or {}).get(METADATA) or ""),
            )
        except (LookupError, TypeError, AttributeError, ValueError):
            raise TransientError(f"{self.http.base} described a batch in no known form", str(value)) from None

    def _redacted(self, text: str) -> str:
        return self.http.redact(0, text.encode()).decode()
