"""The one place that talks to a language model.

    ask(request) ─▶ ledger? ── answered before ──▶ Answer
                       └─▶ budget ─▶ limiter ─▶ transport ─▶ reply ─▶ ledger (committed) ─▶ Answer

`Client.ask` returns once the answer stands in the ledger, so a process killed at any instant asks no committed
question again. Reading order: request, client, sender, limiter, transport, reply, ledger, budget, parsed. In place of
sender: batch, batches, batch_api, pending (`--transport batch`), or local (a model on this machine).
"""

from datagen.llm.budget import Budget, Estimate, Stats, Usage, estimate, metered
from datagen.llm.client import Client
from datagen.llm.ledger import Ledger, Row, Totals
from datagen.llm.parsed import Parsed, Unparsable, ask_parsed
from datagen.llm.request import Answer, Endpoint, Request, Sampling

__all__ = [
    "Answer",
    "Budget",
    "Client",
    "Endpoint",
    "Estimate",
    "Ledger",
    "Parsed",
    "Request",
    "Row",
    "Sampling",
    "Stats",
    "Totals",
    "Unparsable",
    "Usage",
    "ask_parsed",
    "estimate",
    "metered",
]
