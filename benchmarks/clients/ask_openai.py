"""The openai SDK as it comes, a semaphore around it. No memory."""

from __future__ import annotations

import asyncio

from openai import AsyncOpenAI
from task import ITEM, MODEL, Call, Item, call, prompts, report


async def main(call: Call) -> int:
    """Answers that follow the schema."""
    slots = asyncio.Semaphore(call.in_flight)
    form = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": ITEM}}
    async with AsyncOpenAI(base_url=call.url, api_key="none", timeout=600.0) as client:  # its 5 s to connect are few

        async def one(prompt: str) -> bool:
            async with slots:
                reply = await client.chat.completions.create(
                    model=MODEL,
                    messages=[{"role": "user", "content": prompt}],
                    max_tokens=256,
                    response_format=form,  # type: ignore[arg-type]
                )
            return bool(Item.model_validate_json(reply.choices[0].message.content or ""))

        return sum(await asyncio.gather(*map(one, prompts(call.prompts))))


if __name__ == "__main__":
    arguments = call()
    report(arguments, asyncio.run(main(arguments)))
