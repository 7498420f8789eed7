"""Every benchmark can be loaded, so that none names what has moved; what they measure is for .ci/nightly."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize("script", sorted(path.name for path in FOLDER.glob("*.py")))
def test_a_benchmark_loads(script, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(FOLDER)])
    assert runpy.run_path(str(FOLDER / script), run_name="loaded")["__doc__"]
