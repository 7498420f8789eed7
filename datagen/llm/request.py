"""What is asked, of whom, and the key under which the answer is remembered."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import orjson

from datagen.sound import Sound, hashed

__all__ = ["Answer", "Endpoint", "Request", "Sampling", "digest", "names", "prompt_tokens", "public_name"]

CHARACTERS_PER_TOKEN = 4
AUDIO_TOKENS_PER_SECOND = 25
"""Qwen2-Audio and Qwen2.5-Omni make one token of 40 ms."""
BYTES_PER_SECOND = {"wav": 32_000, "flac": 16_000, "mp3": 8_000}
"""16 kHz mono 16-bit, its usual FLAC size, and 64 kbit/s."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One model on one OpenAI-compatible server."""

    model: str
    """The id by which the server knows it."""
    base_url: str
    """With or without `/v1`."""
    revision: str = ""
    """What tells two versions of one id apart; part of the key."""
    key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the API key (with `_FILE`: names its file); unset for servers that need none."""
    price_in: float | None = None
    """USD per million prompt tokens; None asks the price library."""
    price_out: float | None = None
    rpm: int | None = None
    """Requests a minute that the provider allows."""
    tpm: int | None = None
    """Tokens a minute, prompt and answer together."""
    batch: bool = False
    """Asked by the Batch API, which has a price of its own; no part of the key."""

    @property
    def identity(self) -> str:
        """Served id and revision; the address is no part of it, so a server may move."""
        return f"{self.model}@{self.revision}" if self.revision else self.model

    @property
    def local(self) -> bool:
        """Whether the server is on this machine: no proxy stands before it, and no provider's price is asked."""
        try:
            return urlsplit(self.base_url).hostname in ("localhost", "127.0.0.1", "::1")
        except ValueError:  # no address at all, which is told when the client is made
            return False

    @property
    def public(self) -> str:
        """`identity` as the dataset says it: a server may know a model by its path, which stays on the machine."""
        return replace(self, model=public_name(self.model)).identity


def public_name(text: str) -> str:
    """`text` without what it says of a machine: of a path, the last name; of an address, neither user nor query.

    An id like `owner/name` and a path below the working directory stay as they are.
    """
    if re.match(r"(?!file:)[a-z][a-z0-9+.-]*://", text):
        try:
            address = urlsplit(text)
        except ValueError:  # a bracket that is not closed: nobody can tell where a user ends
            return f"{text.partition('://')[0]}://…"
        return urlunsplit(address._replace(netloc=address.netloc.rpartition("@")[2], query="", fragment=""))
    is_path = re.match(r"file:|[~./\\]|[A-Za-z]:[\\/]", text)
    return re.split(r"[/\\]", text.rstrip("/\\"))[-1] if is_path else text


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an answer is drawn. Everything but `max_tokens` is part of the key."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 1024
    seed: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Sent as it is: top_k, presence_penalty, stop, chat_template_kwargs …"""

    def body(self) -> dict[str, Any]:
        """The parameters in OpenAI's names, without the limit of tokens."""
        seed = {} if self.seed is None else {"seed": self.seed}
        return {"temperature": self.temperature, "top_p": self.top_p, **seed, **self.extra}


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model."""

    messages: Sequence[Mapping[str, Any]]
    """OpenAI form; audio as `{"type": "input_audio", "input_audio": {"data": <base64>, "format": "wav"}}`."""
    prompt: str
    """`id#hash` of the template that made the messages; part of the key."""
    schema: Mapping[str, Any] | None = None
    """JSON schema that the answer should follow."""
    sampling: Sampling = Sampling()
    sample: int = 0
    """Number of the draw, for several answers to one question."""

    def canonical(self, identity: str) -> bytes:
        """JSON with sorted keys of all that decides the answer, each audio by the hash of the bytes sent."""
        return self._said() + self._asked(identity)

    def _said(self) -> bytes:
        """The canonical form as far as the messages."""
        messages = [_hashed(message) for message in self.messages]
        return b'{"messages":' + orjson.dumps(messages, option=orjson.OPT_SORT_KEYS)

    def _asked(self, identity: str) -> bytes:
        """The rest of it."""
        value = {
            "model": identity,
            "schema": self.schema,
            "sampling": self.sampling.body(),
            "sample": self.sample,
            "prompt": self.prompt,
        }
        return b"," + orjson.dumps(value, option=orjson.OPT_SORT_KEYS)[1:]

    def key(self, identity: str) -> str:
        """32 hex characters; the name of the answer in the ledger."""
        return digest(self.canonical(identity))

    def tokens(self) -> int:
        """Estimated prompt tokens: characters / 4 for text, 25 a second of audio."""
        return prompt_tokens(self.messages)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said, from the server or from the ledger."""

    key: str
    text: str
    finish: str
    """`stop`, `length` or the server's own word."""
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    """List price in USD; None when the price is unknown."""
    attempts: int
    cached: bool
    """True when nothing was sent."""


def digest(canonical: bytes) -> str:
    """The ledger key of a canonical request."""
    return hashlib.blake2b(canonical, digest_size=16).hexdigest()


def names(requests: Iterable[Request], identity: str) -> Iterator[tuple[str, int]]:
    """Key and limit of each; what neighbours ask alike is written once."""
    last, asked = None, b""
    for request in requests:
        if last is None or not _alike(request, last):
            last, asked = request, request._asked(identity)
        yield digest(request._said() + asked), request.sampling.max_tokens


def prompt_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """Estimated tokens of a list of messages; see Request.tokens."""
    return sum(_tokens(message["content"]) for message in messages)


def _alike(one: Request, other: Request) -> bool:
    """Whether all but the messages is the very same."""
    same = one.schema is other.schema and one.sampling is other.sampling
    return same and one.prompt == other.prompt and one.sample == other.sample


def _hashed(message: Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(message["content"], str):
        return message
    return {**message, "content": [_hashed_part(part) for part in message["content"]]}


def _hashed_part(part: Mapping[str, Any]) -> Mapping[str, Any]:
    if part["type"] != "input_audio":
        return part
    audio = part["input_audio"]
    sent = part.hash if isinstance(part, Sound) else hashed(audio["data"])
    return {"type": "input_audio", "input_audio": {**audio, "data": sent}}


def _tokens(content: Any) -> int:
    if isinstance(content, str):
        return -(-len(content) // CHARACTERS_PER_TOKEN)
    return sum(_part_tokens(part) for part in content)


def _part_tokens(part: Mapping[str, Any]) -> int:
    if part["type"] != "input_audio":
        return _tokens(part.get("text", ""))
    audio = part["input_audio"]
    seconds = len(audio["data"]) * 3 / 4 / BYTES_PER_SECOND.get(audio["format"], BYTES_PER_SECOND["mp3"])
    return int(seconds * AUDIO_TOKENS_PER_SECOND) + 1
