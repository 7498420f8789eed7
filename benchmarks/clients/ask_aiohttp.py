"""The bound: as many loops as requests in flight over one aiohttp session. No validation, no memory, no second try."""

from __future__ import annotations

import asyncio

import aiohttp
import orjson
from task import ITEM, MODEL, Call, call, prompts, report


async def main(call: Call) -> int:
    """Replies that hold a text."""
    todo, good = prompts(call.prompts), 0
    form = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": ITEM}}

    async def loop(session: aiohttp.ClientSession) -> None:
        nonlocal good
        for prompt in todo:
            message = {"role": "user", "content": prompt}
            body = {"model": MODEL, "messages": [message], "max_tokens": 256, "response_format": form}
            async with session.post(f"{call.url}/chat/completions", data=orjson.dumps(body)) as response:
                reply = orjson.loads(await response.read())
                good += bool(reply["choices"][0]["message"]["content"])

    connector = aiohttp.TCPConnector(limit=call.in_flight)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        await asyncio.gather(*(loop(session) for _ in range(call.in_flight)))
    return good


if __name__ == "__main__":
    arguments = call()
    report(arguments, asyncio.run(main(arguments)))
