"""One request to one server until it is answered: turns, tries, waits, and what the server turns out not to know."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import orjson

from datagen.errors import Denied, PermanentError, TransientError
from datagen.llm.budget import Stats
from datagen.llm.limiter import Health, Limiter
from datagen.llm.reply import Completion, Misaddressed, Refused, Unsupported, interpret
from datagen.llm.request import Endpoint, Request
from datagen.llm.transport import Http, Unreachable
from datagen.seeds import generator

__all__ = ["Sender"]

ATTEMPTS = 6
"""Tries that may fail by 5xx, a broken body or a timeout. Refusals (429, 503) are bounded by the patience instead."""
FIRST_WAIT = 0.1
LONGEST_WAIT = 20.0
OUTRIGHT = 25
"""Permanent errors in a row, with no success before, that mean that every request will be refused."""


class _Form(NamedTuple):
    """How requests are put to this server; steps down as it refuses parameters."""

    schema: str = "json_schema"
    limit: str = "max_tokens"


class Sender:
    """The way to one endpoint; `patience` and `timeout` in seconds."""

    def __init__(self, endpoint: Endpoint, *, patience: float, timeout: float, concurrency: int, stats: Stats) -> None:
        self.endpoint = endpoint
        self.limiter = Limiter(concurrency, endpoint.rpm, endpoint.tpm)
        self.health = Health(endpoint.base_url, patience)
        self.http = Http(endpoint, timeout=timeout, connections=concurrency)
        self._stats = stats
        self._patience = patience
        self._form = _Form()
        self._denied: Denied | None = None
        self._outright: int | None = 0
        """Permanent errors so far, None after the first success."""

    async def preflight(self) -> None:
        """Check server, key and model in at most 5 s. Raises UsageError, one line."""
        await self.http.preflight()

    async def close(self) -> None:
        """Close the connections."""
        await self.http.close()

    async def complete(self, request: Request, key: str) -> tuple[Completion | PermanentError, int]:
        """What the server says for good, and the number of tries. Raises TransientError, ServerLost, Denied."""
        attempts = failures = 0
        waited = 0.0
        while True:
            attempts += 1
            try:
                return await self._once(request), attempts
            except PermanentError as error:
                self._count_outright(error)
                return error, attempts
            except Unsupported:
                continue
            except Refused as error:
                wait = error.retry_after if error.retry_after is not None else _wait(key, attempts)
                waited += wait
                if waited > self._patience:
                    raise TransientError(f"{error}; gave up after {self._patience:g} s of waiting", error.raw) from None
                self._stats.refusals += 1
            except TransientError as error:
                failures += not self.health.down  # a server that is down is waited for, whatever that takes
                if failures >= ATTEMPTS:
                    raise TransientError(f"{error}; {attempts} attempts", error.raw) from None
                wait = 0.0 if self.health.down else _wait(key, failures)
            self._stats.retries += 1
            await asyncio.sleep(wait)

    async def _once(self, request: Request) -> Completion:
        """One try at its turn."""
        probing = await self.health.enter()
        try:
            return await self._admitted(request)
        finally:
            if probing:
                self.health.leave()

    async def _admitted(self, request: Request) -> Completion:
        tokens = request.tokens() + request.sampling.max_tokens if self.endpoint.tpm else 0
        epoch = await self.limiter.acquire(tokens)
        self._stats.in_flight += 1
        refused, more = False, 0
        try:
            completion = await self._send(request)
            more = completion.prompt_tokens + completion.completion_tokens - tokens
            return completion
        except Refused:
            refused = True
            raise
        finally:
            self._stats.in_flight -= 1
            self.limiter.release(epoch, refused=refused, more_tokens=more)

    async def _send(self, request: Request) -> Completion:
        """One HTTP exchange, and what it tells about the server."""
        if self._denied is not None:
            raise Denied(str(self._denied), self._denied.raw)
        form, url = self._form, self.http.url
        try:
            completion = interpret(await self.http.post(self._body(request, form)))
        except Unsupported as error:
            self.health.succeeded()
            self._step_down(form, error, request)
            raise
        except Misaddressed as error:
            if self.http.turn(url):
                raise Unsupported("base_url", str(error), error.raw) from None
            raise self._deny(error, f"tried {self.http.tried}: check --base-url and --model") from None
        except PermanentError:
            self.health.succeeded()
            raise
        except Denied as error:
            raise self._deny(error, f"check the credit and the key in ${self.endpoint.key_env}") from None
        except Refused as error:
            self._note_refusal(error)
            raise
        except TransientError as error:
            self.health.failed(str(error), unreachable=isinstance(error, Unreachable))
            raise
        self.health.succeeded()
        self.http.confirm()
        self._outright = None
        return completion

    def _note_refusal(self, error: Refused) -> None:
        if error.status == 429:
            self.health.refused(str(error))
        else:
            self.health.failed(str(error))

    def _deny(self, error: Denied, cure: str) -> Denied:
        """From now on nothing is sent."""
        self._denied = Denied(f"{error}: {cure}", error.raw)
        return self._denied

    def _count_outright(self, error: PermanentError) -> None:
        if self._outright is None:
            return
        self._outright += 1
        if self._outright >= OUTRIGHT:
            raise self._deny(Denied(str(error), error.raw), f"all {OUTRIGHT} requests were refused: change the call")

    def _step_down(self, form: _Form, error: Unsupported, request: Request) -> None:
        """Put requests in a form that the server may know. Raises PermanentError when there is none left."""
        if form != self._form:  # another request has stepped down already
            return
        if error.parameter == "max_tokens" and form.limit == "max_tokens":
            self._form = form._replace(limit="max_completion_tokens")
        elif error.parameter == "response_format" and request.schema is not None and form.schema != "none":
            self._form = form._replace(schema="json_object" if form.schema == "json_schema" else "none")
        else:
            raise PermanentError(str(error), error.raw)

    def _body(self, request: Request, form: _Form) -> bytes:
        body: dict[str, Any] = {
            "model": self.endpoint.model,
            "messages": request.messages,
            form.limit: request.sampling.max_tokens,
            **request.sampling.body(),
        }
        if request.schema is not None and form.schema == "json_schema":
            schema = {"name": "answer", "strict": True, "schema": request.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif request.schema is not None and form.schema == "json_object":
            body["response_format"] = {"type": "json_object"}
        return orjson.dumps(body)


def _wait(key: str, failures: int) -> float:
    """Seconds before the next try: doubling, with a jitter that is a function of the request."""
    whole = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (failures - 1))
    return whole * (0.5 + generator(failures, "retry", key).random())
