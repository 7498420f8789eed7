"""Kill -9 at random moments: the same bytes afterwards, and no committed answer asked again."""

from __future__ import annotations

import json

import pytest
from kill import measure


@pytest.mark.parametrize(
    ("kills", "clips"), [(2, 8), pytest.param(50, 16, marks=[pytest.mark.slow, pytest.mark.timeout(1500)])]
)
def test_a_killed_build_goes_on_to_the_same_bytes(kills, clips, tmp_path):
    found = measure(kills, clips, seed=1, folder=tmp_path)
    assert found["files"] >= 7
    assert found["equal"] == kills, found
    assert found["reasked_committed"] == 0, found


def test_a_killed_build_that_measures_and_mends_goes_on_to_the_same_bytes(tmp_path):
    filters = "wellformed,consistency,blind=0.9,audio_dependence,difficulty"
    options = ["--filters", filters, "--policy-model", "stub", "--policy-samples", "2", "--readings", "1", "--repair"]
    found = measure(1, 8, seed=3, folder=tmp_path, options=options)
    assert (found["equal"], found["reasked_committed"]) == (1, 0), found
    assert found["committed_at_kill"][0] < found["unique"]  # it was killed in mid-run
    told = json.loads((tmp_path / "whole/run.json").read_text())
    assert told["repaired"] and set(told["measures"]) == {"audio_dependence", "blind", "difficulty"}
