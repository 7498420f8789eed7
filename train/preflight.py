"""What a run is refused for before its first step, and what is said when there is no room to save. One line each."""

from __future__ import annotations

from collections.abc import Sequence

from datagen.errors import UsageError

__all__ = ["check_trackers"]


def check_trackers(names: Sequence[str]) -> None:
    """Raises UsageError for a tracker of `--report-to` that is unknown or not installed."""
    from transformers.integrations.integration_utils import (
        INTEGRATION_TO_CALLBACK,
        get_available_reporting_integrations,
    )

    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            raise UsageError(f"--report-to {name!r}: use tensorboard, trackio or another of transformers")
        if name not in get_available_reporting_integrations():
            raise UsageError(f"--report-to {name}: needs the package {name}: pip install {name}")
