"""An LLM judge: a third verdict beside the two matchers, for who wants to know what they cost.

It is told question, choices, the right choice and what the model said, and asked for one word. Its verdict is a
model's opinion and moves with the judge; the same answers score 4 to 27 points apart under a judge and a matcher.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from datagen.errors import PermanentError, TransientError
from datagen.llm import Request, Sampling

if TYPE_CHECKING:
    from datagen.eval.asking import Item
    from datagen.llm import Client

__all__ = ["PROMPT", "TAIL", "TOKENS", "asked", "judged"]

PROMPT = """\
A model was asked a multiple-choice question.

Question: {question}
Choices, as they were shown:
{choices}
Right choice: {answer}

The model said:
{said}

Does what the model said choose the right choice, and no other? Answer with one word: yes or no."""
NAME = "eval.judge"
TAIL = 4000
"""Characters of an answer that the judge reads: its end, where the choice is."""
TOKENS = 1024


async def judged(client: Client, item: Item, shown: Sequence[int], text: str) -> bool | None:
    """What the judge says of an answer; None when it says neither, or cannot be had.

    Raises what stops a run: ServerLost, Denied, OverBudget, LedgerError.
    """
    if not text.strip():
        return False
    try:
        return verdict((await client.ask(asked(item, shown, text))).text)
    except (PermanentError, TransientError):
        return None


def asked(item: Item, shown: Sequence[int], text: str) -> Request:
    """What the judge is asked about an answer."""
    listed = "\n".join(f"({chr(ord('A') + at)}) {item.choices[place]}" for at, place in enumerate(shown))
    prompt = PROMPT.format(question=item.question, choices=listed, answer=item.answer, said=text[-TAIL:])
    return Request([{"role": "user", "content": prompt}], NAME, sampling=Sampling(max_tokens=TOKENS))


def verdict(text: str) -> bool | None:
    """The one of yes and no that a judge said after its thoughts, if any; None for both or neither."""
    said = set(re.findall(r"\b(yes|no)\b", text.rpartition("</think>")[2].lower()))
    return said == {"yes"} if len(said) == 1 else None
