"""An answer turned into a value, with one repair turn when it does not parse."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from datagen.errors import ModelError
from datagen.llm.request import Answer, Request

if TYPE_CHECKING:
    from datagen.llm.client import Client

__all__ = ["Parsed", "Unparsable", "ask_parsed"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Parsed(Generic[T]):
    """The value and the ledger keys of the answers that led to it (two after a repair)."""

    value: T
    keys: tuple[str, ...]


class Unparsable(ModelError):
    """Neither the answer nor its repair could be read; the raw texts are kept, in order of asking."""

    reason = "unparsable"

    def __init__(self, detail: str, raws: tuple[str, ...], keys: tuple[str, ...]) -> None:
        super().__init__(detail, raws[-1], keys[-1])
        self.raws = raws
        self.keys = keys


async def ask_parsed(client: Client, request: Request, parse: Callable[[str], T]) -> Parsed[T]:
    """Ask and read; `parse` raises ValueError that says what is wrong, which the model is told, once.

    Raises Unparsable when the second answer cannot be read either, and all that `Client.ask` raises.
    """
    first = await client.ask(request)
    try:
        return Parsed(parse(first.text), (first.key,))
    except ValueError as error:
        second = await client.ask(_repair(request, first, error))
    keys = (first.key, second.key)
    try:
        return Parsed(parse(second.text), keys)
    except ValueError as error:
        raise Unparsable(_wrong(second, error), (first.text, second.text), keys) from None


def _wrong(answer: Answer, error: ValueError) -> str:
    cut = " (cut off at the limit of tokens)" if answer.finish == "length" else ""
    return f"{error}{cut}"


def _repair(request: Request, answer: Answer, error: ValueError) -> Request:
    wrong = f"That answer cannot be used: {_wrong(answer, error)}. Answer again, in the form that was asked for."
    turns = [{"role": "assistant", "content": answer.text}, {"role": "user", "content": wrong}]
    return dataclasses.replace(request, messages=[*request.messages, *turns], prompt=request.prompt + "/repair")
