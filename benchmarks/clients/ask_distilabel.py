"""distilabel, one TextGeneration step with its OpenAI model, IN_FLIGHT rows a batch; its cache in FOLDER."""

from __future__ import annotations

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration
from task import MODEL, Item, call, prompts, report

if __name__ == "__main__":
    arguments = call()
    rows = [{"instruction": prompt} for prompt in prompts(arguments.prompts)]
    with Pipeline(name="engine", cache_dir=str(arguments.folder)) as pipeline:
        load = LoadDataFromDicts(data=rows, batch_size=arguments.in_flight)
        model = OpenAILLM(
            model=MODEL, base_url=arguments.url, api_key="none", generation_kwargs={"max_new_tokens": 256}
        )
        load >> TextGeneration(llm=model, input_batch_size=arguments.in_flight)
    found = pipeline.run(use_cache=True)["default"]["train"]
    report(arguments, sum(bool(Item.model_validate_json(text)) for text in found["generation"]))
