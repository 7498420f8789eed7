"""What a server's reply means: an answer, or which of the errors. Pure, so that every transport reads alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from datagen.errors import Denied, PermanentError, TransientError

__all__ = ["Completion", "Misaddressed", "Refused", "Reply", "Unsupported", "interpret", "raise_for"]

SHOWN = 300
"""Characters of a server's message that an error line repeats."""
LONGEST = 1_000_000
"""Characters of an answer; no limit of tokens that is asked for allows as many."""
MOST = 2**31
"""Tokens of a request; more is no count."""
BOM = b"\xef\xbb\xbf"
"""Of UTF-8, which no JSON begins with (RFC 8259) but that of some servers."""
WAIT = (429, 503, 529)
TRANSIENT = (408, 409, 425)


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP response, read whole."""

    status: int
    body: bytes
    url: str
    retry_after: float | None = None
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Completion:
    """The first choice of a chat completion and its usage (0 where the server reports none)."""

    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int


class Refused(TransientError):
    """The server takes no more just now (429, 503)."""

    def __init__(self, detail: str, raw: str, status: int, retry_after: float | None) -> None:
        super().__init__(detail, raw)
        self.status = status
        self.retry_after = retry_after


class Unsupported(TransientError):
    """The server does not know a parameter that can be sent another way: `response_format` or `max_tokens`."""

    def __init__(self, parameter: str, detail: str, raw: str) -> None:
        super().__init__(detail, raw)
        self.parameter = parameter


class Misaddressed(Denied):
    """404: there is no such route or model."""


def interpret(reply: Reply) -> Completion:
    """The completion in a reply.

    Raises Refused, Unsupported, TransientError (worth another try), PermanentError (never), Denied and Misaddressed
    (nothing will work).
    """
    raise_for(reply)
    return _completion(reply)


def raise_for(reply: Reply) -> None:
    """Raises as `interpret` does unless the status is one of success."""
    if reply.status in (200, 201):
        return
    raw = reply.body.decode(errors="replace")
    message, code = _error_of(reply.body, raw)
    detail = f"{reply.url} answered {reply.status}{': ' if message else ''}{message}"
    if reply.status == 429 and code in ("insufficient_quota", "billing_hard_limit_reached"):
        raise Denied(f"{detail}: add credit or give another key", raw)
    if reply.status in WAIT:
        raise Refused(detail, raw, reply.status, reply.retry_after)
    if reply.status in (401, 402, 403):
        raise Denied(detail, raw)
    if reply.status == 404 or 300 <= reply.status < 400:
        raise Misaddressed(detail, raw)
    if reply.status >= 500 or reply.status in TRANSIENT:
        raise TransientError(detail, raw)
    raise _refusal(message, detail, raw)


def _refusal(message: str, detail: str, raw: str) -> Unsupported | PermanentError:
    if "max_completion_tokens" in message:
        return Unsupported("max_tokens", detail, raw)
    if any(word in message for word in ("response_format", "json_schema", "json_object", "guided", "structured out")):
        return Unsupported("response_format", detail, raw)
    return PermanentError(detail, raw)


def _completion(reply: Reply) -> Completion:
    try:
        body = orjson.loads(reply.body.removeprefix(BOM))
        choice = body["choices"][0]
        message = choice["message"]
        text, finish = _text(message.get("content")), choice.get("finish_reason") or "stop"
        usage = body.get("usage") or {}
        used, made = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
        if not (0 <= used < MOST and 0 <= made < MOST and isinstance(finish, str)):
            raise ValueError
        completion = Completion(text or "", finish, used, made)
        refusal = message.get("refusal")
    except (ValueError, OverflowError, LookupError, TypeError, AttributeError):
        raw = reply.body.decode(errors="replace")
        raise TransientError(f"{reply.url} answered 200 without a chat completion: {_line(raw)}", raw) from None
    if finish == "content_filter" or (refusal and not text):
        raise PermanentError(f"{reply.url} filtered the answer: {_line(refusal or finish)}", str(refusal or text or ""))
    if not isinstance(completion.text, str):
        raise TransientError(f"{reply.url} answered with content that is no text", reply.body.decode(errors="replace"))
    if len(completion.text) > LONGEST:
        raise PermanentError(f"{reply.url} answered with {len(completion.text)} characters", completion.text[:SHOWN])
    return completion


def _text(content: Any) -> Any:
    """The text of a message: some servers send it as a list of parts, as messages to them may be."""
    if not isinstance(content, list):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")


def _error_of(body: bytes, raw: str) -> tuple[str, str]:
    """The message and code in an error body of OpenAI's, FastAPI's or no particular form."""
    try:
        value: Any = orjson.loads(body)
    except ValueError:
        return _line(raw), ""
    error = value.get("error", value.get("detail", value)) if isinstance(value, dict) else value
    if not isinstance(error, dict):
        return _line(str(error)), ""
    return _line(str(error.get("message") or error)), str(error.get("code") or "")


def _line(text: str) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= SHOWN else line[:SHOWN] + "…"
