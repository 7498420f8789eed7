"""HTTP to one OpenAI-compatible server: aiohttp, kept-alive connections, bytes in and bytes out.

The openai SDK takes 4 to 8 times the CPU a call (`benchmarks/`), which is what bounds a run on a fast server.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import re
from typing import IO, Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from datagen.errors import TransientError, UsageError
from datagen.llm.reply import Reply
from datagen.llm.request import Endpoint

__all__ = ["Http", "Unreachable"]

CONNECT = 10.0
PREFLIGHT = 5.0
"""Seconds: half of them for the list of models, half for a model that is not on it."""
LARGE = 2**20
"""Bytes from which aiohttp wants a file to send in pieces; half a minute of WAV is more."""
LISTED = 8
"""Served ids that an error line names."""


class Unreachable(TransientError):
    """No connection could be made at all."""


class Http:
    """A pool of at most `connections` to the endpoint's server; `timeout` in seconds for a whole request."""

    def __init__(self, endpoint: Endpoint, *, timeout: float, connections: int) -> None:
        self.endpoint = endpoint
        self._bases = _bases(endpoint.base_url)
        self.tried = " and ".join(f"{base}/chat/completions" for base in self._bases)
        """Every address that may be tried, for the error line."""
        self._confirmed = False
        self._timeout = timeout
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        """Where questions are sent."""
        return f"{self._bases[0]}/chat/completions"

    @property
    def base(self) -> str:
        """The address before `/chat/completions`."""
        return self._bases[0]

    async def post(self, body: bytes) -> Reply:
        """Send one chat completion. Raises Unreachable, TransientError."""
        return await self.exchange("POST", self.url, data=body if len(body) < LARGE else io.BytesIO(body))

    async def exchange(self, method: str, url: str, *, into: IO[bytes] | None = None, **options: Any) -> Reply:
        """One exchange with the session's key; `into` takes the body of a 200 instead of the reply.

        Raises Unreachable, TransientError.
        """
        try:
            async with self._open().request(method, url, allow_redirects=False, **options) as response:
                if into is not None and response.status == 200:
                    async for part in response.content.iter_chunked(LARGE):
                        into.write(part)
                    return Reply(200, b"", url)
                text = await response.read()
                retry_after = response.headers.get("Retry-After") if response.status != 200 else None
                return Reply(response.status, self.redact(response.status, text), url, _seconds(retry_after))
        except aiohttp.ClientConnectorError as error:
            raise Unreachable(f"{url} cannot be reached ({_reason(error)})") from None
        except (aiohttp.ClientError, OSError) as error:
            raise TransientError(f"{url} broke off ({_reason(error)})") from None
        except TimeoutError:
            raise TransientError(f"{url} did not answer within {self._timeout:g} s") from None

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
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def preflight(self) -> None:
        """Ask the server what it serves, within 5 s. Raises UsageError, one line.

        A server that does not list its models passes, and so does one that is only busy.
        """
        try:
            async with asyncio.timeout(PREFLIGHT / 2):
                replies = [(base, *await self._get_models(base)) for base in self._bases]
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            reason = f"nothing within {PREFLIGHT / 2:g} s" if isinstance(error, TimeoutError) else _reason(error)
            raise UsageError(
                f"no server answers at {self.endpoint.base_url} ({reason}): start it or pass --base-url"
            ) from None
        for base, status, body in replies:
            if status in (401, 403):
                raise UsageError(self._no_entry(base, status))
            served = _served(body) if status == 200 else None
            if served is not None:
                self._bases = [base]
                await self._check_served(served)
                return
        if all(status == 200 for _, status, _ in replies):
            raise UsageError(f"{replies[0][0]}/models is no list of models: is --base-url an OpenAI-compatible server?")

    def _no_entry(self, base: str, status: int) -> str:
        name = self.endpoint.key_env
        state = "the key in it was not accepted" if os.environ.get(name) else "it is not set"
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

    async def _get_models(self, base: str) -> tuple[int, bytes]:
        async with self._open().get(f"{base}/models", allow_redirects=False) as response:
            return response.status, await response.read()

    def _open(self) -> aiohttp.ClientSession:
        """The session, made on first use because it belongs to the running loop."""
        if self._session is None:
            headers = {"Content-Type": "application/json"}
            if key := os.environ.get(self.endpoint.key_env):
                headers["Authorization"] = f"Bearer {key}"
            local = urlsplit(self._bases[0]).hostname in ("localhost", "127.0.0.1", "::1")
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections),
                timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=CONNECT),
                headers=headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=not local,  # proxies; looked up for each request, which a loopback server would feel
            )
        return self._session

    def redact(self, status: int, body: bytes) -> bytes:
        """Servers repeat the key in their errors, and errors are stored and shown."""
        key = os.environ.get(self.endpoint.key_env, "").encode()
        return body.replace(key, b"***") if status != 200 and key else body


def _bases(base_url: str) -> list[str]:
    """Both readings of a base URL, the likelier first."""
    base = base_url.rstrip("/").removesuffix("/chat/completions")
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"--base-url {base_url!r} is no http address: write it like http://127.0.0.1:8000/v1")
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


def _reason(error: BaseException) -> str:
    number = error.os_error.errno if isinstance(error, aiohttp.ClientConnectorError) else None
    if number is not None and number in errno.errorcode:  # else the system's numbers of name resolution
        return os.strerror(number)
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
