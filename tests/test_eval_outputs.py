"""The shapes of an evaluation's files, as others read them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from datagen.errors import UsageError
from datagen.eval.outputs import Prediction, opened

ANSWERED = Prediction(
    row=0, id="a", condition="audio", order="circular", arrangement=1, sample=0, shown=[1, 0], heard=None,
    text="(B) dög", finish="stop", error=None, reading=0, official=False, strict=True, judge=None, key="k",
)  # fmt: skip
LOST = replace(ANSWERED, row=1, id="b", text=None, finish=None, error="audio_missing: no", reading=None, strict=None)


def test_predictions_come_back_as_they_were_written(tmp_path):
    rows = [ANSWERED, LOST]
    (tmp_path / "predictions.jsonl").write_bytes(b"".join(row.line() for row in rows))
    (tmp_path / "result.json").write_text(json.dumps({"cells": [], "sha256": "x"}))
    found = opened(tmp_path)
    assert list(found.lines()) == rows
    table = found.predictions()
    assert [Prediction(**row) for row in table.to_dicts()] == rows
    assert found.predictions("strict", "reading").rows() == [(True, 0), (None, None)]


@pytest.mark.parametrize("content", [None, "{", "[]", '{"cells": []}'])
def test_a_folder_that_is_not_finished_is_refused(content, tmp_path):
    if content is not None:
        (tmp_path / "result.json").write_text(content)
    with pytest.raises(UsageError, match=r"result\.json: .*(`datagen eval --out`|no result\.json of ours)"):
        opened(tmp_path)
