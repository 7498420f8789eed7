"""Dataset → model: GRPO on trl, rewarded by the reader that also evaluates.

    set ─▶ examples ─▶ Deck: prompt, choices in a drawn order ─▶ policy samples a group ─▶ rewards ─▶ trl's loss
      └▶ left_out.jsonl              └▶ listening: ids that every forward hears, clips included    └▶ watch: train.jsonl

What "GRPO" is here: trl 1.16's GRPOTrainer as it is; what differs stands in `trainer.py`, all of it. Read `run.py`
first: it is the flow from top to bottom. `config.py` has the options and what of them is refused, `making.py` puts the
trainer together, `memory.py` estimates a run before any weight is loaded.
"""
