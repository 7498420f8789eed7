"""One request to one server until it is answered: turns, tries, waits, and what the server turns out not to know."""

from __future__ import annotations

import asyncio

import orjson

from datagen.errors import Denied, PermanentError, TransientError
from datagen.llm.budget import Stats
from datagen.llm.form import Form, stepped_down
from datagen.llm.limiter import Health, Limiter
from datagen.llm.reply import Completion, Misaddressed, Refused, Unsupported, interpret
from datagen.llm.request import Endpoint, Request, public_name
from datagen.llm.transport import Http, Unreachable
from datagen.seeds import generator

__all__ = ["ATTEMPTS", "Sender", "backoff"]

ATTEMPTS = 6
"""Tries that may fail by 5xx, a broken body or a timeout. Refusals (429, 503) are bounded by the patience instead."""
FIRST_WAIT = 0.1
LONGEST_WAIT = 20.0
OUTRIGHT = 25
"""Permanent errors in a row, with no success before, that mean that every request will be refused."""


class Sender:
    """The way to one endpoint; `patience` and `timeout` in seconds."""

    def __init__(self, endpoint: Endpoint, *, patience: float, timeout: float, concurrency: int, stats: Stats) -> None:
        self.endpoint = endpoint
        self.limiter = Limiter(concurrency, endpoint.rpm, endpoint.tpm)
        self.health = Health(public_name(endpoint.base_url), patience)
        self.http = Http(endpoint, timeout=timeout, connections=concurrency)
        self._stats = stats
        self._patience = patience
        self._form = Form()
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
                wait = error.retry_after if error.retry_after is not None else backoff(key, attempts)
                waited += wait
                if waited > self._patience:
                    raise TransientError(f"{error}; gave up after {self._patience:g} s of waiting", error.raw) from None
                self._stats.refusals += 1
            except TransientError as error:
                failures += not self.health.down  # a server that is down is waited for, whatever that takes
                if failures >= ATTEMPTS:
                    raise TransientError(f"{error}; {attempts} attempts", error.raw) from None
                wait = 0.0 if self.health.down else backoff(key, failures)
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
            completion = interpret(await self.http.post(orjson.dumps(form.body(request, self.endpoint.model))))
        except Unsupported as error:
            self.health.succeeded()
            self._form = stepped_down(self._form, form, error, request)
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


def backoff(key: str, failures: int) -> float:
    """Seconds before the next try: doubling, with a jitter that is a function of the request."""
    whole = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (failures - 1))
    return whole * (0.5 + generator(failures, "retry", key).random())
