"""Kill -9 at random moments: the same bytes afterwards, and no committed answer asked again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from kill import measure


@pytest.mark.parametrize(
    ("kills", "clips"), [(2, 8), pytest.param(20, 24, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_a_killed_build_goes_on_to_the_same_bytes(kills, clips, tmp_path):
    found = measure(kills, clips, seed=1, folder=tmp_path)
    assert found["files"] >= 7
    assert found["equal"] == kills, found
    assert found["reasked_committed"] == 0, found
