"""datatrove's InferenceRunner against an endpoint, checkpoints on (500 records each); its output in FOLDER."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from datatrove.data import Document
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
from datatrove.pipeline.writers import JsonlWriter
from task import MODEL, Item, call, prompts, report


async def rollout(document: Document, generate: Callable[[dict[str, Any]], Awaitable[Any]]) -> dict[str, Any]:
    """One request, validated."""
    answer = await generate({"messages": [{"role": "user", "content": document.text}], "max_tokens": 256})
    return Item.model_validate_json(answer.text).model_dump()


if __name__ == "__main__":
    arguments = call()
    out = arguments.folder / "out"
    config = InferenceConfig(
        server_type="endpoint",
        model_name_or_path=MODEL,
        endpoint_url=arguments.url.removesuffix("/v1"),
        max_concurrent_generations=arguments.in_flight,
        metric_interval=1,
    )
    runner = InferenceRunner(
        rollout,
        config,
        JsonlWriter(str(out), output_filename="${rank}_chunk_${chunk_index}.jsonl", compression=None),
        checkpoints_local_dir=str(arguments.folder / "checkpoints"),
        records_per_chunk=500,
    )
    documents = [Document(text=prompt, id=str(index)) for index, prompt in enumerate(prompts(arguments.prompts))]
    LocalPipelineExecutor([documents, runner], tasks=1, logging_dir=str(arguments.folder / "logs")).run()
    good = 0
    for file in out.rglob("*.jsonl"):
        with file.open() as lines:
            good += sum(bool(json.loads(line)["metadata"]["rollout_results"]) for line in lines)
    report(arguments, good)
