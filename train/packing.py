"""Answers to one prompt, scored behind one run of it.

    prompt  p0 p1 p2      answers  a0 a1 and b0 b1 b2     (p2 is run once for each answer: it says their first token)

    row       p0 p1 │ p2 a0 │ p2 b0 b1         one row a group; the last token of an answer says nothing of it
    position   0  1 │  2  3 │  2  3  4         restarts after the prompt, as if each answer stood alone
    attends   the prompt before it, and its own part
    says            │ a0 a1 │ b0 b1 b2

It is exact: each token has the keys and positions that it has in a row of its own. Eight answers of 10 tokens to a
prompt of 310 are 389 tokens instead of 2,560, of which only those that say something pass the head, in trl's tiles,
so that no logits are kept.

    give_head(model)                      once; the model then takes packed rows, in whatever it is wrapped later
    log_probabilities(model, groups, t)   one forward, with gradient

What it needs of a model: attention by torch's sdpa, which takes any mask, and plain logits. A window shorter than the
row, a recurrent state or capped logits would be scored wrongly; the trainer compares before it trains (`trainer.py`).
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Group", "Scored", "give_head", "log_probabilities", "one_row_each"]

LONGEST = 4096
"""Tokens of a row, where a single answer is not longer: its mask has their square. More answers take another row."""


@dataclass(frozen=True, slots=True)
class Group:
    """One prompt and the answers to it."""

    prompt: Tensor
    """int64 (tokens,), one or more, not padded; places of audio have the ids of `listening`."""
    completions: Sequence[Tensor]
    """int64 (tokens,) each, one or more, not padded, with the token that ends it where it has one."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Of each completion, in the order of groups and completions; 0 beyond its end."""

    log_probs: Tensor
    """float32 (completions, longest): of each token, at the temperature, in nats."""
    entropy: Tensor
    """float32 (completions, longest): of the distribution that it was drawn from, in nats, without gradient."""


def give_head(model: Any) -> None:
    """Lets the forward of `model` take packed rows: transformers' own model, whatever peft made of its layers."""
    before = model.forward

    @functools.wraps(type(model).forward)  # generate checks its arguments against the signature
    def forward(self: Any, *args: Any, kept: Any = None, said: Any = None, **kwargs: Any) -> Any:
        if kept is None:
            return before(*args, **kwargs)
        return _forward_packed(self, kept, said, **kwargs)

    model.forward = types.MethodType(forward, model)


def log_probabilities(model: Any, groups: Sequence[Group], temperature: float = 1.0) -> Scored:
    """Scores every completion of the groups in one forward of `model`, wrapped or not, that `give_head` was given.

    Holds the graph where gradients are on. All tensors are on the model's device.
    """
    rows = [row for group in groups for row in _rows(group)]
    inputs, lengths = _packed(rows)
    made = model(**inputs, temperature=temperature, use_cache=False)
    return Scored(_unpacked(made.log_probs, lengths), _unpacked(made.entropy.detach(), lengths))


def one_row_each(groups: Sequence[Group]) -> list[Group]:
    """The same completions, each behind a prompt of its own."""
    return [Group(group.prompt, [answer]) for group in groups for answer in group.completions]


# ── the layout ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _rows(group: Group) -> Iterator[Group]:
    """The group in as few parts as have rows of LONGEST tokens."""
    part: list[Tensor] = []
    length = start = len(group.prompt) - 1
    for answer in group.completions:
        if part and length + len(answer) > LONGEST:
            yield Group(group.prompt, part)
            part, length = [], start
        part.append(answer)
        length += len(answer)
    yield Group(group.prompt, part)


def _packed(rows: Sequence[Group]) -> tuple[dict[str, Any], list[int]]:
    """What the forward takes, and the tokens of each completion."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    ids, positions, parts = zip(*map(_row, rows), strict=True)
    # Padding stands behind all else: nothing that counts attends to it.
    part = pad_sequence(parts, batch_first=True, padding_value=-1)
    length = part.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=part.device).tril()
    seen = causal & ((part[:, None, :] == 0) | (part[:, None, :] == part[:, :, None]))
    answers = [answer for row in rows for answer in row.completions]
    inputs = {
        "input_ids": pad_sequence(ids, batch_first=True), "position_ids": pad_sequence(positions, batch_first=True),
        "attention_mask": seen[:, None], "kept": (part.flatten() > 0).nonzero()[:, 0], "said": torch.cat(answers),
    }  # fmt: skip
    return inputs, [len(answer) for answer in answers]


def _row(group: Group) -> tuple[Tensor, Tensor, Tensor]:
    """int64 (tokens,): ids, positions, and the number of the answer that a token is of, 0 for the prompt."""
    import torch

    prompt, device = group.prompt, group.prompt.device
    start = len(prompt) - 1
    ids, positions, parts = [prompt[:-1]], [torch.arange(start, device=device)], [torch.zeros_like(prompt[:-1])]
    for number, answer in enumerate(group.completions, 1):
        ids += [prompt[-1:], answer[:-1]]
        positions.append(torch.arange(start, start + len(answer), device=device))
        parts.append(torch.full_like(answer, number))
    return torch.cat(ids), torch.cat(positions), torch.cat(parts)


def _unpacked(values: Tensor, lengths: Sequence[int]) -> Tensor:
    """(all tokens,) → (completions, longest)"""
    from torch.nn.utils.rnn import pad_sequence

    return pad_sequence(values.split(list(lengths)), batch_first=True)


# ── within the model ─────────────────────────────────────────────────────────────────────────────────────────────────


def _forward_packed(model: Any, kept: Tensor, said: Tensor, temperature: float, **inputs: Any) -> Any:
    """`kept`: int64 (n,), the places of the flattened rows that say something; `said`: int64 (n,), what."""
    from trl.trainer.utils import FusedCausalLMOutput

    hidden = model.base_model(**inputs).last_hidden_state
    log_probs, entropy = _head(model, hidden.flatten(0, 1)[kept], said, temperature)
    return FusedCausalLMOutput(log_probs=log_probs, entropy=entropy)


def _head(model: Any, hidden: Tensor, said: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """(n,) log-probabilities and entropies of `hidden` (n, width), as trl computes them."""
    from torch.distributed.tensor import DTensor
    from trl.kernels import ChunkedLogProbFunction
    from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE as TILE
    from trl.trainer.utils import maybe_gather_lm_head_ctx

    head = model.get_output_embeddings()
    # FSDP2 and DeepSpeed hold a part of the head in each process.
    weight, bias = (w.full_tensor() if isinstance(w, DTensor) else w for w in (head.weight, head.bias))
    with maybe_gather_lm_head_ctx(weight, bias):
        found = ChunkedLogProbFunction.apply(
            hidden, weight, bias, said, temperature, TILE, None, 1.0, ("log_probs", "entropy")
        )
    return found[0], found[1]
