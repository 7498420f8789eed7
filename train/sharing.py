"""Between trl's padded rows and `packing`: which rows share a prompt, which teach nothing, whether packing is exact.

    score           trl's tensors ─▶ groups ─▶ log-probabilities as trl has them, of the rows that are asked for
    prefilled_once  generation runs each prompt once and hands its keys and values to all its answers
    comparison      how far packed rows are from trl's own in log-probabilities and gradients, and whether that will do

A prompt is known by its ids, those of its audio included.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from datagen.train.packing import Group, log_probabilities

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["COMPARED_ROWS", "compared_parameters", "comparison", "padded", "prefilled_once", "say_apart", "score"]

EXACT, ROUGH = (1e-4, 1e-3), (0.2, 0.3)
"""Most that packed rows may be apart from trl's, in float32 and in 16 bits: log-probabilities, gradients. SmolLM2-135M
has 5e-6 and 3e-6, 0.04 and 0.07 by rounding; 0.5 and 0.8 where answers see each other.
"""
COMPARED_ROWS = 4
COMPARED_ELEMENTS = 2**20
"""Of parameters whose gradients are compared."""


def grouped(ids: Tensor, mask: Tensor, longest: int, rows: Sequence[int]) -> tuple[list[Group], list[int]]:
    """Groups of the chosen rows, and the row of each of their completions in order.

    `ids`, `mask`: int64 (rows, padded prompt + longest), as trl has them.
    """
    split, real = ids.shape[1] - longest, mask.bool()
    together: dict[tuple[int, ...], list[int]] = {}
    for row in rows:
        together.setdefault(tuple(ids[row, :split][real[row, :split]].tolist()), []).append(row)
    groups = [
        Group(ids[same[0], :split][real[same[0], :split]], [ids[row, split:][real[row, split:]] for row in same])
        for same in together.values()
    ]
    return groups, [row for places in together.values() for row in places]


def padded(prompts: Sequence[Any], answers: Sequence[Any], device: Any) -> tuple[Tensor, Tensor, int]:
    """Ids and mask as trl has them, int64 (rows, padded prompt + longest answer), and the longest answer's tokens."""
    import torch
    from trl.trainer.utils import pad

    parts = []
    for rows, side in ((prompts, "left"), (answers, "right")):
        ids = [torch.tensor(row, device=device) for row in rows]
        parts.append((pad(ids, 0, side), pad([torch.ones_like(row) for row in ids], 0, side)))
    ids, mask = (torch.cat(both, dim=1) for both in zip(*parts, strict=True))
    return ids, mask, max(map(len, answers))


def score(
    model: Any, ids: Tensor, mask: Tensor, longest: int, temperature: float, rows: Sequence[int], others: Tensor
) -> tuple[Tensor, Tensor]:
    """float32 (rows, longest): log-probabilities and entropies of the completions in `rows`, 0 beyond their ends.

    `ids`, `mask`: as for `grouped`. `others`: (rows, longest), what the rows have that are left out, whose entropy is
    0. Where no row is asked for, one token is run for nothing: every process has to pass the model as often as the
    rest, and every parameter has a gradient, if only of 0.
    """
    import torch

    if not rows:
        nothing = log_probabilities(model, [Group(ids[0, -longest - 1 : -longest], [ids[0, -longest:][:1]])])
        return others.float() + 0 * nothing.log_probs.sum(), torch.zeros_like(others, dtype=torch.float32)
    groups, places = grouped(ids, mask, longest, rows)
    scored = log_probabilities(model, groups, temperature)
    return spread(scored.log_probs, places, others), spread(scored.entropy, places, torch.zeros_like(others))


def spread(values: Tensor, rows: Sequence[int], others: Tensor) -> Tensor:
    """(completions, longest of them) → (rows, longest) of `others`, which stay in the other rows."""
    import torch
    from torch.nn.functional import pad

    places = torch.tensor(rows, device=values.device)
    return others.to(values).index_copy(0, places, pad(values, (0, others.shape[1] - values.shape[1])))


@contextmanager
def prefilled_once(model: Any, prompts: Sequence[Any]) -> Iterator[None]:
    """Within, the first forward of `model.generate` runs equal prompts once. One prompt a row, in generate's order.

    What is drawn afterwards is drawn for each row as before.
    """
    import torch

    first: dict[Any, int] = {}
    of = [first.setdefault(tuple(prompt), len(first)) for prompt in prompts]
    unique = [of.index(number) for number in range(len(first))]
    before = model.forward

    @functools.wraps(before)  # generate checks its arguments against the signature
    def forward(**inputs: Any) -> Any:
        model.forward = before
        made = before(**{name: _chosen(name, value, unique, len(of)) for name, value in inputs.items()})
        places = torch.tensor(of, device=made.logits.device)
        made.logits = made.logits[places]
        made.past_key_values.batch_select_indices(places)
        return made

    if len(first) < len(of):
        model.forward = forward
    try:
        yield
    finally:
        model.forward = before


def _chosen(name: str, value: Any, rows: Sequence[int], of: int) -> Any:
    """The rows of an input that has `of` of them; in positions by time, height and width they come second."""
    if name == "position_ids" and value.ndim == 3:
        return value[:, list(rows)]
    return value[list(rows)] if getattr(value, "shape", ())[:1] == (of,) else value


def comparison(ours: Tensor, theirs: Tensor, mask: Tensor, parameters: Sequence[Any], rough: bool) -> dict[str, Any]:
    """`used`: whether the two are equal, but for rounding; `log_probabilities`: mean difference; `gradients`: relative
    difference of those of all `parameters` together, None without any.

    The gradients are those of a sum with drawn weights, so that no token is without one. `ours`, `theirs`, `mask`:
    (rows, longest). `rough`: the forward is in bfloat16 or float16.
    """
    import torch

    mean = (((ours - theirs).abs() * mask).sum() / mask.sum()).item()
    limits, apart = ROUGH if rough else EXACT, None
    if parameters:
        weights = torch.randn(mask.shape, generator=torch.Generator().manual_seed(0)).to(ours) * mask
        found, wanted = (torch.autograd.grad((values * weights).sum(), parameters) for values in (ours, theirs))
        found, wanted = (torch.cat([gradient.float().flatten() for gradient in all]) for all in (found, wanted))
        apart = ((found - wanted).norm() / wanted.norm().clamp(min=1e-6)).item()
    used = mean <= limits[0] and (apart or 0.0) <= limits[1]
    return {"used": used, "log_probabilities": mean, "gradients": apart}


def compared_parameters(model: Any) -> list[Any]:
    """Trained ones, the smallest first: with LoRA most, with full tuning the norms of every layer at least."""
    chosen: list[Any] = []
    elements = 0
    for parameter in sorted((p for p in model.parameters() if p.requires_grad), key=lambda p: int(p.numel())):
        elements += parameter.numel()
        if chosen and elements > COMPARED_ELEMENTS:
            break
        chosen.append(parameter)
    return chosen


def say_apart(found: dict[str, Any]) -> None:
    """That a run goes on as trl does it."""
    from datagen.train.watch import say

    gradients = "" if found["gradients"] is None else f", gradients by {found['gradients']:.1e}"
    say(
        f"a shared prompt moves this model's log-probabilities by {found['log_probabilities']:.1e}{gradients}: "
        "every answer gets a prompt of its own, which is slower"
    )
