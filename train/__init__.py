"""Dataset → model: GRPO on trl."""
