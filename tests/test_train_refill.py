"""Groups without signal give way to others: which, from where, and that a run with refills goes on exactly."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace

import pytest
from test_train import config, interrupt_after, one_thread, questions, rows_of, tiny  # noqa: F401  (fixtures)
from together import together

from datagen.errors import Interrupted, UsageError
from datagen.train.data import Deck, material, read_set
from datagen.train.making import make_trainer, quiet
from datagen.train.policy import open_policy
from datagen.train.preflight import last_checkpoint
from datagen.train.refill import further_of, replaced, without_signal
from datagen.train.run import train

# ── which groups ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_groups_that_are_all_right_or_all_wrong_have_no_signal():
    rows = [{"right": right} for right in (1, 1, 0, 1, 0, 0, 1, 0)]
    assert without_signal(rows, 2) == [0, 4]
    assert without_signal(rows, 4) == []


def test_groups_are_put_in_their_place_in_order_and_whole():
    held = [list("aabbccdd"), [0, 1, 2, 3, 4, 5, 6, 7]]
    assert replaced(held, [list("xxyy"), [10, 11, 12, 13]], [0, 4, 6], [2, 0], 2) == 2
    assert held == [list("yybbxxdd"), [12, 13, 2, 3, 10, 11, 6, 7]]


# ── in a step ────────────────────────────────────────────────────────────────────────────────────────────────────────


def first_batch(questions, model, out, **changes):  # noqa: F811
    """What trl makes of the groups of the first step, and the trainer that made it."""
    out.mkdir()
    options = config(questions, model, out, prompts_per_step=6, batch_size=24, **changes)
    with quiet():
        trainer, _ = make_trainer(options, open_policy(str(model)), material(read_set(questions), "text"), None, None)
        trainer.model.train()
        trainer._rows = []
        made = trainer._generate_and_score_completions([{"place": place} for place in range(6) for _ in range(4)])
    return made, trainer


def test_a_group_without_signal_is_replaced_by_one_of_the_next_places(tiny, questions, tmp_path):  # noqa: F811
    plain, without = first_batch(questions, tiny("causal"), tmp_path / "plain")
    filled, trainer = first_batch(questions, tiny("causal"), tmp_path / "filled", refill=3)
    before, after = ([row["place"] for row in one._rows[::4]] for one in (without, trainer))
    idle = [not plain["advantages"][start : start + 4].any() for start in range(0, 24, 4)]
    assert before == [0, 1, 2, 3, 4, 5]
    assert any(idle)
    assert not all(idle)
    kept = [(a, b) for a, b, gone in zip(before, after, idle, strict=True) if not gone]
    new = [b for b, gone in zip(after, idle, strict=True) if gone]
    assert all(a == b for a, b in kept)
    assert min(new) >= 6
    assert len(set(after)) == 6
    assert trainer.answered.further >= sum(idle)
    assert trainer.answered.refilled == sum(idle)
    assert all(filled["advantages"][start : start + 4].any() for start in range(0, 24, 4))
    # each row is scored by its own question
    words = trainer.processing_class
    for start, row in zip(range(0, 24, 4), trainer._rows[::4], strict=True):
        assert row["prompt"][0]["content"].split("\n")[0] in words.decode(filled["prompt_ids"][start])
        for at in range(start, start + 4):
            said = words.decode(filled["completion_ids"][at], skip_special_tokens=True)
            assert (filled["advantages"][at] > 0) == (said.strip() == "ABCD"[row["gold"]]), said
    # what is logged of lengths is of the step's own groups, what is counted as right is of all that was sampled
    assert len(trainer._metrics["train"]["completions/mean_length"]) == 1
    assert trainer.answered.completions == 4 * (6 + trainer.answered.further)
    first, second = (one._metrics["train"]["num_tokens"][0] for one in (without, trainer))
    assert first < second


def test_a_batch_that_never_has_a_signal_is_left_after_the_last_round(tiny, questions, tmp_path):  # noqa: F811
    made, trainer = first_batch(questions, tiny("causal"), tmp_path / "out", refill=2, prompt="omni-r1", max_tokens=1)
    assert [row["place"] for row in trainer._rows[::4]] == [0, 1, 2, 3, 4, 5]
    assert (trainer.answered.further, trainer.answered.refilled) == (12, 0)
    assert not made["advantages"].any()


# ── in a run ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_with_refills_goes_on_exactly_and_sees_no_place_twice(tiny, questions, tmp_path, monkeypatch):  # noqa: F811
    drawn, row = [], Deck.row
    monkeypatch.setattr(Deck, "row", lambda deck, place: drawn.append(place) or row(deck, place))
    options = {"steps": 8, "refill": 2, "prompts_per_step": 3, "group_size": 4, "batch_size": 12, "save_every": 2}
    whole = train(config(questions, tiny("causal"), tmp_path / "whole", **options))
    places = list(dict.fromkeys(drawn))
    rows = rows_of(tmp_path / "whole")
    assert places == list(range(len(places)))
    assert len(places) > 24
    assert sum(one["refilled"] for one in rows) > 0
    assert [one["questions"] for one in rows] == sorted({one["questions"] for one in rows})
    assert rows[-1]["questions"] == len(places)
    broken = config(questions, tiny("causal"), tmp_path / "broken", **options)
    threading.Thread(target=interrupt_after, args=(broken.out / "train.jsonl", 4), daemon=True).start()
    with pytest.raises(Interrupted):
        train(broken)
    assert further_of(last_checkpoint(broken.out / "checkpoints")) > 0
    shutil.copytree(broken.out, tmp_path / "forgetful")
    resumed = train(config(questions, tiny("causal"), tmp_path / "broken", **options, resume=True))
    assert resumed["parameters_sha256"] == whole["parameters_sha256"]
    assert rows_of(broken.out) == rows
    for file in (tmp_path / "forgetful").glob("checkpoints/*/places.json"):
        file.write_text(json.dumps({"further": 0}))
    other = train(config(questions, tiny("causal"), tmp_path / "forgetful", **options, resume=True))
    assert other["parameters_sha256"] != whole["parameters_sha256"]


def test_rounds_below_none_are_refused(questions, tmp_path):  # noqa: F811
    with pytest.raises(UsageError, match="--refill -1: give the most rounds"):
        config(questions, "m", tmp_path, refill=-1)
    with pytest.raises(UsageError, match="--refill 2: --objective exact samples no groups"):
        config(questions, "m", tmp_path, refill=2, objective="exact")


@pytest.mark.slow
def test_two_processes_refill_together_and_go_on_exactly(tiny, questions, tmp_path):  # noqa: F811
    options = {"steps": 4, "refill": 2, "prompts_per_step": 4, "batch_size": 8, "save_every": 2}
    whole = config(questions, tiny("causal"), tmp_path / "whole", **options)
    first, second = together(train, 2, whole)
    assert first["parameters_sha256"] == second["parameters_sha256"]
    assert sum(row["refilled"] for row in rows_of(whole.out)) > 0
    checkpoint = whole.out / "checkpoints" / "checkpoint-2"
    assert further_of(checkpoint) % 2 == 0 < further_of(checkpoint)
    state = json.loads((whole.out / "run.json").read_text())
    (whole.out / "run.json").write_text(json.dumps(state | {"status": "running"}))
    shutil.rmtree(whole.out / "checkpoints" / "checkpoint-4")
    again, _ = together(train, 2, replace(whole, resume=True))
    assert again["parameters_sha256"] == first["parameters_sha256"]
