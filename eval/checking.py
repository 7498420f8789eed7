"""What is looked at before the first item: whether a server hears, and whether batches change answers."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from datagen.audio import RATE, Audio
from datagen.clips import Clip
from datagen.errors import PermanentError, TransientError, UsageError
from datagen.llm import Client, Ledger, Request, Row, Sampling
from datagen.llm.local import LocalSender

__all__ = ["asking_again", "batch_check", "check_hearing", "probes"]


async def check_hearing(client: Client, ledger: Ledger) -> None:
    """Asks one question with a second of silence, and without it. Raises UsageError where the audio is not taken.

    Some servers refuse it, others leave it out without a word: then the prompt has as many tokens as without it. An
    answer is remembered, a refusal is not: the server may be mended. What a model makes of audio that it takes, the
    conditions `mismatched` and `silence` show.
    """
    asking = asking_again(client, ledger)
    try:
        heard, read = await asyncio.gather(*map(asking.ask, probes()))
    except (PermanentError, TransientError) as error:
        raise _deaf(client, " ".join(str(error).split())) from None
    if 0 < heard.prompt_tokens <= read.prompt_tokens:
        raise _deaf(client, f"{heard.prompt_tokens} prompt tokens with one second of it, {read.prompt_tokens} without")


def asking_again(client: Client, ledger: Ledger) -> Client:
    """The same model, asked again what it refused."""
    return Client(client.endpoint, ledger, retry_failed=True, sender=client.sender)


def probes() -> list[Request]:
    """A question with a second of silence, and without it."""
    sound = Clip(Audio(np.zeros((1, RATE), np.float32), RATE, RATE, 1), "").wav()
    text: dict[str, Any] = {"type": "text", "text": "Is there any sound? Answer with one word."}
    audio = {"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}}
    return [_probe([audio, text]), _probe([text])]


def _probe(parts: list[dict[str, Any]]) -> Request:
    return Request([{"role": "user", "content": parts}], "eval.probe", sampling=Sampling(max_tokens=8))


def _deaf(client: Client, why: str) -> UsageError:
    cure = "name one that does, or use --condition none or caption"
    return UsageError(f"model {client.endpoint.model!r} takes no audio ({why}): {cure}")


async def batch_check(
    client: Client, sender: LocalSender, ledger: Ledger, asked: Sequence[tuple[str, Request]]
) -> dict[str, Any]:
    """The same prompts one by one and in one batch: how many answers are equal, and the ids of those that are not.

    The answers one by one are those of the run. Those of the batch stand in the ledger under one key of their own, so
    that a run that goes on does not ask them again.
    """
    alone: dict[str, tuple[str, Request, str]] = {}
    for id, request in asked:
        try:
            answer = await client.ask(request)
        except (PermanentError, TransientError):
            continue  # it is a line of the predictions, with this error
        alone[answer.key] = id, request, answer.text
    together = await _together(sender, ledger, {key: request for key, (_, request, _) in alone.items()})
    different = [id for (id, _, text), other in zip(alone.values(), together, strict=True) if text != other]
    return {"items": len(alone), "equal": len(alone) - len(different), "different": different}


async def _together(sender: LocalSender, ledger: Ledger, requests: dict[str, Request]) -> list[str]:
    if not requests:
        return []
    limit = next(iter(requests.values())).sampling.max_tokens
    canonical = json.dumps({"batch": list(requests), "max_tokens": limit})
    key = hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()
    row = ledger.get(key, limit)
    if row is None:
        texts = json.dumps([said.text for said in await sender.together(requests)])
        row = await ledger.put(Row(key, limit, "stop", 0, 0, 0.0, 1, None, texts, canonical))
    return [str(text) for text in json.loads(row.text)]
