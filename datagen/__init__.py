"""datagen: text-only audio question answering, from clips to a dataset, a tuned model and a score.

    sources       captioners        questions          filters           dataset            train        eval
    avqa ──Clip──▶ caption ──Caption─▶ write ──Question─▶ judge ──Question─▶ parquet + card ─▶ GRPO ──────▶ MMAU …
                     (k per clip)     (rules or LLM)   └▶ rejected, with the reason

Read `datagen/build.py` first: it is the pipeline from top to bottom. The rows that travel are in `datagen/records.py`.
"""

from datagen.records import Caption, Clip, Fact, Failure, Question, Verdict

__all__ = ["Caption", "Clip", "Fact", "Failure", "Question", "Verdict"]
