"""Comparisons of evaluations: each kind of gain is planted and found where it belongs, and nowhere else."""

from __future__ import annotations

import json
import random

import polars as pl
import pytest

from datagen import cli
from datagen.errors import UsageError
from datagen.eval.compare import compare
from datagen.eval.outputs import Prediction

N = 300


def items(n=N, first=0.25, longest=0.25):
    """Four choices a question; the gold is first, and the longest, with these shares."""
    rng = random.Random(1)
    rows = []
    for number in range(n):
        gold = 0 if rng.random() < first else rng.randrange(1, 4)
        long = gold if rng.random() < longest else rng.choice([place for place in range(4) if place != gold])
        choices = [f"c{number}{'abcd'[place]}{' long' * (place == long)}" for place in range(4)]
        rows.append({
            "id": str(number), "question": f"question {number // 2}?", "choices": choices, "answer": choices[gold],
            "answer_index": gold, "task": ["sound", "music", "speech"][number % 3],
        })  # fmt: skip
    frame = pl.DataFrame(rows).with_columns(pl.col("answer_index").cast(pl.Int32))
    return frame.with_columns(
        pl.lit(None, pl.String).alias(name) for name in ("category", "sub_category", "difficulty", "dataset")
    )


def folder(
    path, table, says, conditions=("audio", "none", "mismatched"), orders=("original", "circular"), sha="a" * 64
):
    """A finished evaluation: `says(row, condition, shown)` is (place in the file that is read or None, official)."""
    path.mkdir()
    table.write_parquet(path / "items.parquet")
    lines, cells = [], []
    for condition in conditions:
        for order in orders:
            cells.append({"condition": condition, "order": order})
            for row, (choices, gold) in enumerate(table.select("choices", "answer_index").iter_rows()):
                for turn in range(len(choices) if order == "circular" else 1):
                    shown = [(place + turn) % len(choices) for place in range(len(choices))]
                    reading, official = says(row, condition, shown)
                    lines.append(Prediction(
                        row, table["id"][row], condition, order, turn, 0, shown, None, "x", "stop", None, reading,
                        reading == gold if official is None else official, reading == gold, None, None,
                    ).line())  # fmt: skip
    (path / "predictions.jsonl").write_bytes(b"".join(lines))
    result = {"benchmark": "mmau", "sha256": sha, "version": "v", "items": table.height, "cells": cells}
    (path / "result.json").write_text(json.dumps(result | {"model": {"name": path.name}}))
    return path


def policy(table, *, heard=0.3, known=0.3, first=0.0, long=0.0, read=1.0, seed=0):
    """Right by hearing (with its own audio only) or by knowledge, else first or longest by preference, else a guess."""
    rows = table.select("choices", "answer_index").rows()

    def says(row, condition, shown):
        rng = random.Random(f"{seed}/{row}")  # the same luck in every condition and order
        choices, gold = rows[row]
        luck = [rng.random() for _ in range(4)]
        guess = rng.randrange(4)
        if (condition == "audio" and luck[0] < heard) or luck[1] < known:
            place = gold
        elif luck[2] < first:
            place = shown[0]
        elif luck[2] < first + long:
            place = max(range(4), key=lambda at: len(choices[at]))
        else:
            place = guess
        return (place, None) if luck[3] < read else (None, place == gold)

    return says


def parts(tmp_path, table, before, after):
    a = folder(tmp_path / "a", table, policy(table, **before))
    b = folder(tmp_path / "b", table, policy(table, **after))
    return compare([a, b])["gains"][0]["parts"]


@pytest.mark.parametrize(
    ("before", "after", "moved", "still"),
    [
        ({"heard": 0.1}, {"heard": 0.6}, {"gain", "hearing", "hearing_over_none"}, {"format", "position", "knowledge"}),
        ({"known": 0.1}, {"known": 0.6}, {"gain", "strict", "knowledge"}, {"format", "position"}),
        ({"read": 0.5}, {"read": 1.0}, {"strict"}, {"gain", "position"}),
        ({"first": 0.0}, {"first": 1.0}, {"gain", "strict", "position"}, {"format", "hearing"}),
        ({"long": 0.0}, {"long": 1.0}, {"gain", "strict", "length"}, {"format", "position"}),
    ],
)  # fmt: skip
def test_a_gain_is_found_where_it_was_planted(before, after, moved, still, tmp_path):
    table = items(first=0.6, longest=0.7)
    found = parts(tmp_path, table, before, after)
    assert found["gain"]["n"] == N
    for name in moved:
        assert found[name]["low"] > 0, (name, found[name])
        assert found[name]["p"] < 0.01
    for name in still:
        assert found[name]["low"] <= 0 <= found[name]["high"], (name, found[name])
    assert found["gain"]["value"] == pytest.approx(found["format"]["value"] + found["strict"]["value"])
    both = found["knowledge"]["value"] + found["hearing_over_none"]["value"]
    assert found["strict"]["value"] - found["position"]["value"] == pytest.approx(both)


def test_format_alone_moves_the_loss(tmp_path):
    found = parts(tmp_path, items(), {"read": 0.5}, {"read": 1.0})
    assert found["format"]["high"] < 0 < found["strict"]["low"]


def test_pairs_are_of_folders_and_of_conditions(tmp_path):
    table = items(120)
    a = folder(tmp_path / "a", table, policy(table), orders=("original",))
    b = folder(tmp_path / "b", table, policy(table, seed=1), conditions=("audio", "caption"), orders=("original",))
    found = compare([a, b])
    sides = [tuple(pair[side]["run"][-1] + pair[side]["condition"] for side in "ab") for pair in found["pairs"]]
    assert sides == [
        ("aaudio", "baudio"), ("anone", "aaudio"), ("amismatched", "aaudio"),
        ("bcaption", "baudio"),
    ]  # fmt: skip
    assert found["gains"][0]["parts"]["hearing"] is None
    assert found["gains"][0]["parts"]["position"] is None
    assert all(pair["p"] <= pair["p_holm"] <= 1 for pair in found["pairs"])
    assert all(pair["mcnemar_p"] is not None for pair in found["pairs"])
    assert found["pairs"][0]["n"] == 120
    assert (found["items"], found["clusters"]) == (120, 60)


def test_equal_models_differ_in_nothing(tmp_path):
    table = items(100)
    found = compare([folder(tmp_path / name, table, policy(table)) for name in "ab"])
    between = [pair for pair in found["pairs"] if pair["a"]["run"] != pair["b"]["run"]]
    assert [(pair["difference"], pair["p"]) for pair in between] == [(0, 1)] * 6
    assert {part["value"] for part in found["gains"][0]["parts"].values()} == {0}


def test_models_of_equal_skill_are_seldom_told_apart(tmp_path):
    table = items(100)
    small = 0
    for seed in range(20):
        base = tmp_path / str(seed)
        base.mkdir()
        a, b = (
            folder(base / name, table, policy(table, seed=f"{seed}{name}"), conditions=("audio",), orders=("original",))
            for name in "ab"
        )
        small += compare([a, b])["pairs"][0]["p"] < 0.05
    assert small <= 4  # 1 expected; 5 and more has a chance of 3 in 1000


def test_several_rows_of_an_item_count_by_their_mean(tmp_path):
    table = items(80)
    a = folder(tmp_path / "a", table, policy(table, first=1.0, known=0, heard=0), orders=("circular",))
    b = folder(tmp_path / "b", table, policy(table, known=1.0), orders=("circular",))
    pair = compare([a, b])["pairs"][0]
    assert (pair["accuracy_a"], pair["accuracy_b"], pair["mcnemar_p"]) == (0.25, 1, None)


def test_groups_have_their_own_gain(tmp_path):
    table = items(240)
    a = folder(tmp_path / "a", table, policy(table, known=0.2))
    b = folder(tmp_path / "b", table, policy(table, known=0.7))
    groups = compare([a, b])["gains"][0]["groups"]
    assert set(groups) == {"task"}
    assert {name: part["n"] for name, part in groups["task"].items()} == {"music": 80, "sound": 80, "speech": 80}
    assert all(part["value"] > 0.1 for part in groups["task"].values())


def test_what_cannot_be_compared_is_refused(tmp_path):
    table = items(40)
    a = folder(tmp_path / "a", table, policy(table), orders=("original",))
    other = folder(tmp_path / "other", table, policy(table), orders=("original",), sha="b" * 64)
    fewer = folder(tmp_path / "fewer", table.head(30), policy(table), orders=("original",))
    blind = table.with_columns(answer=pl.lit(None, pl.String))
    unknown = folder(tmp_path / "unknown", blind, policy(table), orders=("original",))
    for folders, says in (
        ([a, other], r"another benchmark file \(bbbb.*\(aaaa"),
        ([a, fewer], r"other items .*\(30 and 40\)"),
        ([unknown], "no answers"),
        ([a, tmp_path], r"result\.json"),
        ([], "no folder"),
    ):
        with pytest.raises(UsageError, match=says):
            compare(folders)
    text = (a / "predictions.jsonl").read_text().splitlines(keepends=True)
    (a / "predictions.jsonl").write_text("".join(text[1:]))
    with pytest.raises(UsageError, match="39 of 40 items"):
        compare([a])


def test_the_command_prints_a_table_and_json(tmp_path, monkeypatch, capsys):
    table = items(60)
    folders = [str(folder(tmp_path / name, table, policy(table, seed=name))) for name in "ab"]
    for flags in ([], ["--json"]):
        monkeypatch.setattr("sys.argv", ["datagen", "compare", *folders, *flags])
        with pytest.raises(SystemExit) as done:
            cli.main()
        assert done.value.code in (0, None)
        out = capsys.readouterr().out
        if flags:
            assert json.loads(out)["pairs"][0]["n"] == 60
        else:
            assert "place of the right choice" in out
