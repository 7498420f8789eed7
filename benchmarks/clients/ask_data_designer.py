"""NeMo Data Designer, one column of text by prompt, IN_FLIGHT requests in parallel; its artefacts in FOLDER."""

from __future__ import annotations

import data_designer.config as dd
import pandas as pd
from data_designer.interface import DataDesigner
from task import MODEL, Item, call, prompts, report

if __name__ == "__main__":
    arguments = call()
    seed = arguments.folder / "seed.parquet"
    pd.DataFrame({"asked": list(prompts(arguments.prompts))}).to_parquet(seed)
    limits = dd.ChatCompletionInferenceParams(max_tokens=256, max_parallel_requests=arguments.in_flight)
    designer = DataDesigner(
        artifact_path=arguments.folder,
        model_providers=[
            dd.ModelProvider(name="local", endpoint=arguments.url, provider_type="openai", api_key="none")
        ],
    )
    model = dd.ModelConfig(
        alias="writer", model=MODEL, provider="local", inference_parameters=limits, skip_health_check=True
    )
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    builder.with_seed_dataset(dd.LocalFileSeedSource(path=str(seed)))
    builder.add_column(dd.LLMTextColumnConfig(name="answer", prompt="{{ asked }}", model_alias="writer"))
    found = designer.create(builder, num_records=arguments.prompts, dataset_name="engine").load_dataset()
    report(arguments, sum(bool(Item.model_validate_json(text)) for text in found["answer"]))
