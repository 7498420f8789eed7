"""bespokelabs-curator with its OpenAI back end and its cache in FOLDER; no limits but IN_FLIGHT."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
from pathlib import Path
from typing import Any

from task import MODEL, Item, call, prompts, report

# Its tokenizer's table would be fetched; litellm, which it depends on, brings it.
litellm = Path((importlib.util.find_spec("litellm") or importlib.machinery.ModuleSpec("", None)).origin or "").parent
os.environ |= {"TELEMETRY_ENABLED": "0", "TIKTOKEN_CACHE_DIR": str(litellm / "litellm_core_utils/tokenizers")}
from bespokelabs import curator  # noqa: E402


class Writer(curator.LLM):
    """One prompt a row, validated as every client does."""

    def prompt(self, input: dict[str, Any]) -> str:
        """The prompt as it is."""
        return str(input["prompt"])

    def parse(self, input: dict[str, Any], response: str) -> dict[str, Any]:
        """Raises ValidationError."""
        return Item.model_validate_json(response).model_dump()


if __name__ == "__main__":
    arguments = call()
    writer = Writer(
        model_name=MODEL,
        backend="openai",
        generation_params={"max_tokens": 256},
        backend_params={
            "base_url": arguments.url,
            "api_key": "none",
            "max_requests_per_minute": 1_000_000,
            "max_tokens_per_minute": 1_000_000_000,
            "max_concurrent_requests": arguments.in_flight,
        },
    )
    rows = writer([{"prompt": prompt} for prompt in prompts(arguments.prompts)], working_dir=str(arguments.folder))
    report(arguments, len(rows.dataset))
