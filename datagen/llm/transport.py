"""HTTP to one OpenAI-compatible server: reqwest (by pyreqwest), kept-alive connections, bytes in and bytes out.

What a call takes of the processor bounds a run on a fast server. aiohttp takes twice, the openai SDK twenty times as
much (`benchmarks/engine.py`, docs/engine.md).
"""

from __future__ import annotations

import asyncio
import base64
import re
import sys
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import IO, Any
from urllib.parse import unquote, urlsplit

import orjson
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import Cause, RequestError, RequestTimeoutError
from pyreqwest.http import Url
from pyreqwest.multipart import FormBuilder
from pyreqwest.request import RequestBuilder
from pyreqwest.response import Response

from datagen.errors import PermanentError, TransientError, UsageError
from datagen.keys import hidden, key_of
from datagen.llm.reply import Reply
from datagen.llm.request import Endpoint, public_name

__all__ = ["Http", "Unreachable"]

CONNECT = timedelta(seconds=10)
TRANSFER = timedelta(hours=1)
"""For a whole file, up or down: 200 MB take what the line takes."""
PREFLIGHT = 5.0
"""Seconds: half of them for the list of models, half for a model that is not on it."""
LARGEST = 2**24
"""Bytes of a reply, unpacked; no answer has as many. What a server compresses may be a thousand times as large."""
LISTED = 8
"""Served ids that an error line names."""


class Unreachable(TransientError):
    """No connection could be made at all."""


class Http:
    """A pool of at most `connections` to the endpoint's server; `timeout` in seconds for a whole request."""

    def __init__(self, endpoint: Endpoint, *, timeout: float, connections: int) -> None:
        self.endpoint = endpoint
        self._bases = _bases(endpoint.base_url)
        self._headers, self._secrets = _entry(endpoint)
        self.tried = " and ".join(f"{base}/chat/completions" for base in self._bases)
        """Every address that may be tried, for the error line."""
        self._confirmed = False
        self._timeout = timeout
        self._connections = connections
        self._client: Client | None = None

    @property
    def url(self) -> str:
        """Where questions are sent."""
        return f"{self._bases[0]}/chat/completions"

    @property
    def base(self) -> str:
        """The address before `/chat/completions`."""
        return self._bases[0]

    async def post(self, body: bytes) -> Reply:
        """Send one chat completion. Raises Unreachable, TransientError, PermanentError."""
        return await self.exchange("POST", self.url, body=body)

    async def exchange(
        self, method: str, url: str, *, body: bytes | None = None, query: Mapping[str, str] | None = None,
        form: FormBuilder | None = None, into: IO[bytes] | None = None,
    ) -> Reply:  # fmt: skip
        """One exchange with the session's key: `body` is JSON, `form` sends a file, `into` takes the body of a 200.

        Raises Unreachable, TransientError, and PermanentError where a reply is too large for any answer.
        """
        request = self._open().request(method, url)
        if body is not None:
            request = request.header("Content-Type", "application/json").body_bytes(body)
        if query is not None:
            request = request.query(query)
        if form is not None:
            request = request.multipart(form)
        try:
            request = request if form is None and into is None else request.timeout(TRANSFER)
            return await self._received(request, url, into)
        except RequestError as error:
            raise self._broken(error, url) from None

    async def _received(self, request: RequestBuilder, url: str, into: IO[bytes] | None = None) -> Reply:
        async with request.build_streamed() as response:
            if into is None or response.status != 200:
                body = await response.body_reader.read(LARGEST)
                return self._reply(response, url, body.to_bytes() if body else b"")
            while (part := await response.body_reader.read_chunk()) is not None:
                into.write(part)
            return Reply(200, b"", url)

    def _reply(self, response: Response, url: str, body: bytes) -> Reply:
        if len(body) == LARGEST:
            raise PermanentError(f"{url} answered with {LARGEST // 2**20} MB or more")
        after = _seconds(response.get_header("retry-after")) if response.status != 200 else None
        return Reply(response.status, self.redact(response.status, body), url, after)

    def _broken(self, error: RequestError, url: str) -> TransientError:
        if _unconnected(error):
            return Unreachable(f"{url} cannot be reached ({self._reason(error)})")
        if isinstance(error, RequestTimeoutError):
            return TransientError(f"{url} did not answer within {self._timeout:g} s")
        return TransientError(f"{url} broke off ({self._reason(error)})")

    def confirm(self) -> None:
        """The address works: a later 404 is about the model."""
        self._confirmed = True

    def turn(self, tried: str) -> bool:
        """After a 404 at the URL `tried`, go over to the other form of the base URL; False when there is none left."""
        if tried != self.url:  # another request has turned already
            return True
        if self._confirmed or len(self._bases) < 2:
            return False
        self._bases = self._bases[1:]
        return True

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None
            _settle()

    async def preflight(self) -> None:
        """Ask the server what it serves, within 5 s. Raises UsageError, one line.

        A server that does not list its models passes, and so does one that is only busy.
        """
        try:
            async with asyncio.timeout(PREFLIGHT / 2):
                replies = [(base, await self._get_models(base)) for base in self._bases]
        except (RequestError, TimeoutError) as error:
            from urllib.request import getproxies

            reason = self._reason(error) if isinstance(error, RequestError) else f"nothing within {PREFLIGHT / 2:g} s"
            proxy = "" if self.endpoint.local or not getproxies() else ", by the proxy of the environment"
            name = public_name(self.endpoint.base_url)
            raise UsageError(f"no server answers at {name} ({reason}{proxy}): start it or pass --base-url") from None
        for base, reply in replies:
            if reply.status in (401, 403):
                raise UsageError(self._no_entry(base, reply.status))
            served = _served(reply.body) if reply.status == 200 else None
            if served is not None:
                self._bases = [base]
                await self._check_served(served)
                return
        if all(reply.status == 200 for _, reply in replies):
            raise UsageError(f"{replies[0][0]}/models is no list of models: is --base-url an OpenAI-compatible server?")

    def _no_entry(self, base: str, status: int) -> str:
        name = self.endpoint.key_env
        state = "the key in it was not accepted" if self._secrets else "it is not set"
        return f"{base} answered {status}: put a valid key in ${name} ({state})"

    async def _check_served(self, served: list[str]) -> None:
        """Servers may serve more than they list (`transformers serve FOLDER`), so one token is asked of the model."""
        model = self.endpoint.model
        if not served or model in served:
            return
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        try:
            async with asyncio.timeout(PREFLIGHT / 2):
                reply = await self.post(orjson.dumps(body))
        except (TransientError, TimeoutError):  # it may be loading, which is waited for in the run
            return
        if reply.status in (400, 403, 404, 422):
            shown = ", ".join(served[:LISTED]) + (f" and {len(served) - LISTED} more" if len(served) > LISTED else "")
            raise UsageError(f"{self._bases[0]} does not serve {model!r}: pass --model with one of {shown}")

    async def _get_models(self, base: str) -> Reply:
        url = f"{base}/models"
        return await self._received(self._open().get(url), url)

    def _open(self) -> Client:
        """The client, made on first use."""
        if self._client is None:
            timeout = timedelta(seconds=self._timeout)
            builder = ClientBuilder().default_headers(self._headers).follow_redirects(False)
            builder = builder.timeout(timeout).connect_timeout(CONNECT).max_connections(self._connections)
            if self.endpoint.local:
                builder = builder.no_proxy()  # else that of the environment
            self._client = builder.build()
        return self._client

    def redact(self, status: int, body: bytes) -> bytes:
        """`body` without the key: servers repeat it in their errors, and these are stored and shown."""
        return hidden(body, self._secrets) if status == 200 else hidden(body, self._secrets, least=1)

    def _reason(self, error: RequestError) -> str:
        return self.redact(0, _reason(error).encode(errors="replace")).decode()


def _entry(endpoint: Endpoint) -> tuple[dict[str, str], tuple[str, ...]]:
    """The header that lets us in, and what in it nobody is to read. A user in the address goes before the key."""
    address = urlsplit(endpoint.base_url)
    if address.username or address.password:
        user, password = unquote(address.username or ""), unquote(address.password or "")
        basic = base64.b64encode(f"{user}:{password}".encode()).decode()
        return {"Authorization": f"Basic {basic}"}, tuple(filter(None, (basic, password, address.password)))
    if key := key_of(endpoint.key_env):
        return {"Authorization": f"Bearer {key}"}, (key,)
    return {}, ()


def _settle() -> None:
    """Wait, a second at most, until reqwest's thread has left Python, which it enters to wake the event loop.

    Where the interpreter ends meanwhile, the process dies by SIGABRT in place of its exit code.
    """
    ours = {thread.ident for thread in threading.enumerate()}
    end = time.monotonic() + 1.0
    while sys._current_frames().keys() - ours and time.monotonic() < end:
        time.sleep(0.001)


def _bases(base_url: str) -> list[str]:
    """Both readings of a base URL, the likelier first, without the user that it may name."""
    try:
        scheme = Url(base_url).scheme
        parts = urlsplit(base_url.rstrip("/").removesuffix("/chat/completions"))
    except ValueError:  # no number as port, a host that cannot be one
        scheme = ""
    if scheme not in ("http", "https") or not parts.hostname:
        shown = public_name(base_url)
        raise UsageError(f"--base-url {shown!r} is no http address: write it like http://127.0.0.1:8000/v1")
    if parts.query or parts.fragment:
        raise UsageError(f"--base-url {public_name(base_url)}?…: takes no query: a key goes into the environment")
    parts = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    base = parts.geturl()
    if re.search(r"/v\d+\w*(/|$)", parts.path):
        return [base]
    return [f"{base}/v1", base] if not parts.path else [base, f"{base}/v1"]


def _served(body: bytes) -> list[str] | None:
    """The ids in a list of models, None when it is none."""
    try:
        value: Any = orjson.loads(body)
        return [str(model["id"]) for model in value["data"]]
    except (ValueError, LookupError, TypeError):
        return None


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After in seconds; its form as a date is left to the backoff."""
    try:
        return max(0.0, float(retry_after)) if retry_after else None
    except ValueError:
        return None


def _unconnected(error: RequestError) -> bool:
    """Whether no connection was made. A timeout of the whole request comes as one of the connection too."""
    return any(cause["message"] == "client error (Connect)" for cause in _causes(error))


def _reason(error: RequestError) -> str:
    """The innermost cause, in the system's words where it has one."""
    text = _causes(error)[-1]["message"] if _causes(error) else str(error)
    return re.sub(r" \(os error \d+\)$", "", " ".join(text.split()))


def _causes(error: RequestError) -> list[Cause]:
    return error.details["causes"] or []
