"""datagen's engine: client, limiter, ledger on disk, validation with one repair turn; rows leave in order."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
from task import ITEM, MODEL, Call, Item, call, prompts, report

from datagen.errors import ModelError
from datagen.llm import Client, Endpoint, Ledger, Request, Sampling, ask_parsed
from datagen.pool import in_order
from datagen.run import run_to_end


async def main(call: Call, ledger: Ledger) -> dict[str, int]:
    """Good rows, and those that say why not."""
    client = Client(Endpoint(MODEL, call.url), ledger, concurrency=call.in_flight, **call.options)

    async def one(prompt: str) -> dict[str, Any]:
        messages = [{"role": "user", "content": prompt}]
        request = Request(messages, "write#1", schema=ITEM, sampling=Sampling(max_tokens=256))
        try:
            return (await ask_parsed(client, request, Item.model_validate_json)).value.model_dump()
        except ModelError as error:
            return {"failed": error.reason, "error": str(error)}

    good = failed = 0
    try:
        with (call.folder / "rows.jsonl").open("wb") as file:
            async with contextlib.aclosing(in_order(one, prompts(call.prompts), call.in_flight)) as rows:
                async for row in rows:
                    file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
                    failed += "failed" in row
                    good += "failed" not in row
    finally:
        await client.close()
    return {"good": good, "failed": failed, "asked": client.stats.calls}


if __name__ == "__main__":
    arguments = call()
    with contextlib.closing(Ledger(arguments.folder / "ledger.sqlite")) as opened:
        report(arguments, **run_to_end(main(arguments, opened), arguments.folder))  # as `datagen build` does
