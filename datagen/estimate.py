"""`datagen build --dry-run`: calls, tokens and cost of a build if nothing were in the ledger yet.

Text counts as a token per 4 characters, audio as 25 tokens a second (Qwen2-Audio's rate) of clips of 10 s; answers as
80 tokens a caption, 120 a question, 8 a reading and 40 a sample of the policy. `--repair` counts as if every question
had to be mended in every way. The figures are estimates and say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from datagen.llm.budget import PROMPT_MARGIN
from datagen.prompts import Prompts

if TYPE_CHECKING:
    from datagen.config import Config
    from datagen.llm import Client

__all__ = ["estimate", "worst"]


class Calls(NamedTuple):
    """Calls of one kind for one clip, and the tokens of each."""

    role: str
    number: int
    prompt_tokens: int
    completion_tokens: int
    most: int = 512
    """Completion tokens at which an answer is cut off."""


def estimate(config: Config, clips: int, probes: Mapping[str, Any], clients: Mapping[str, Client]) -> dict[str, Any]:
    """The shape of `datagen build --dry-run --json`. Sends nothing."""
    plan = [*making(config, Prompts(config.prompts)), *probing(config, probes)]
    roles = {}
    for role, client in sorted(clients.items()):
        calls = [kind for kind in plan if kind.role == role]
        tokens_in = clips * sum(kind.number * kind.prompt_tokens for kind in calls)
        tokens_out = clips * sum(kind.number * kind.completion_tokens for kind in calls)
        roles[role] = {
            "model": client.endpoint.model, "calls": clips * sum(kind.number for kind in calls),
            "prompt_tokens": tokens_in, "completion_tokens": tokens_out,
            "cost_usd": client.price(tokens_in, tokens_out),
        }  # fmt: skip
    costs = [role["cost_usd"] for role in roles.values()]
    return {
        "out": str(config.run),
        "dry_run": True,
        "clips": clips,
        **{
            name: sum(role[name] for role in roles.values()) for name in ("calls", "prompt_tokens", "completion_tokens")
        },
        "cost_usd": None if None in costs else sum(costs),
        "roles": roles,
    }


def worst(config: Config, probes: Mapping[str, Any], clients: Mapping[str, Client]) -> float:
    """USD that a clip may cost: every prompt half as long again, and every answer at its limit of tokens."""
    plan = [*making(config, Prompts(config.prompts)), *probing(config, probes)]
    return sum(
        kind.number * (clients[kind.role].price(kind.prompt_tokens * PROMPT_MARGIN, kind.most) or 0.0)
        for kind in plan
        if kind.role in clients
    )


def making(config: Config, prompts: Prompts) -> list[Calls]:
    """What captions and questions take."""
    captions, questions = config.captions_per_clip, config.questions_per_clip
    mends = questions * config.repair * (2 if "blind" in config.chain else 1)
    listens = any(name == "openai" or ":" in name for name in config.captioners)
    caption = Calls("captioner", captions * listens, 250 + prompts.tokens("caption"), 80)
    return [
        caption,
        caption._replace(role="transformers", number=captions),
        Calls(
            "writer",
            int("llm" in config.writers),
            prompts.tokens("write") + 80 * captions,
            120 * questions,
            512 + 256 * questions,
        ),
        Calls("writer", mends, prompts.tokens("repair") + 80 * captions, 60),
        Calls("reader", config.readings * (mends - questions) if mends else 0, prompts.tokens("guess") + 60, 8),
    ]


def probing(config: Config, probes: Mapping[str, Any]) -> list[Calls]:
    """What the filters take; equal requests of two filters are sent once."""
    plans: dict[str, Any] = {}
    for name, probe in probes.items():
        unknown = {name: (getattr(probe, "role", "reader"), config.readings, 80 * config.captions_per_clip + 60, 8)}
        plans |= probe.plan(config.captions_per_clip) if hasattr(probe, "plan") else unknown
    return [
        Calls(role, config.questions_per_clip * calls, tokens_in, tokens_out)
        for role, calls, tokens_in, tokens_out in plans.values()
    ]
