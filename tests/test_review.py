"""What people say of questions: whom they are asked about, how it is kept, and what it says of the filters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import polars as pl
import pytest

from datagen.errors import DatagenError, UsageError
from datagen.review import Verdicts, drawn, opinions, population, report
from datagen.review.sample import shown_choices, spread_out
from datagen.review.verdicts import FILE, read
from datagen.statistics import wilson


def made(fates: dict[tuple[str, str, str], int]) -> pl.DataFrame:
    """(fate, domain, skill) → number of questions."""
    rows = [
        {"id": f"{i}-{fate}-{skill}", "fate": fate, "domain": domain, "skill": skill}
        for (fate, domain, skill), n in fates.items()
        for i in range(n)
    ]
    return pl.DataFrame(rows)


# ── the sample ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_question_of_a_run_has_its_fate(demo_run):
    state = json.loads((demo_run / "run.json").read_text())
    fates = Counter(population(demo_run)["fate"])
    assert fates.pop("kept") == state["counts"]["kept"]
    assert fates == {name: sum(why.values()) for name, why in state["counts"]["rejected"].items()}


def test_a_run_that_is_no_run_or_not_done_is_refused(tmp_path, demo_run):
    with pytest.raises(UsageError, match=r"no run\.json"):
        population(tmp_path)
    state = json.loads((demo_run / "run.json").read_text())
    (demo_run / "run.json").unlink()
    (demo_run / "run.json").write_text(json.dumps({**state, "status": "running"}))
    with pytest.raises(UsageError, match="not done"):
        population(demo_run)


def test_half_of_a_sample_is_kept_and_the_filters_share_the_rest():
    table = made({("kept", "sound", "a"): 900, ("balance", "sound", "a"): 500, ("overlap", "sound", "a"): 3})
    assert Counter(drawn(table, 20, 1)["fate"]) == {"kept": 10, "balance": 7, "overlap": 3}
    assert Counter(drawn(table, 8, 1)["fate"]) == {"kept": 4, "balance": 2, "overlap": 2}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("n", [16, 64, 128])
def test_every_stratum_comes_as_often_as_among_all(n, seed):
    sizes = {
        ("kept", "sound", "a"): 512,
        ("kept", "music", "a"): 256,
        ("kept", "music", "b"): 192,
        ("kept", "speech", "c"): 64,
    }
    counts = Counter(drawn(made(sizes), n, seed).select("fate", "domain", "skill").rows())
    for stratum, size in sizes.items():
        assert abs(counts[stratum] - n * size / 1024) < 1


def test_every_question_has_the_same_chance():
    table = made({("kept", "sound", "a"): 5, ("kept", "music", "b"): 2})
    counts = Counter(id for seed in range(3500) for id in drawn(table, 3, seed)["id"])
    assert len(counts) == 7
    assert all(abs(n - 1500) < 150 for n in counts.values())  # five standard deviations


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 8, 1000])
@pytest.mark.parametrize("start", [0.0, 0.37, 0.9999999999999999])
def test_spreading_out_takes_each_once(rows, start):
    assert sorted(spread_out(range(rows), start)) == list(range(rows))


def test_a_smaller_sample_is_part_of_a_larger_one_and_a_seed_gives_one_sample():
    table = made({("kept", "sound", "a"): 90, ("kept", "music", "b"): 33, ("balance", "sound", "a"): 50})
    small, large = drawn(table, 20, 3), drawn(table, 60, 3)
    assert set(small["id"]) < set(large["id"])
    assert drawn(table.sample(fraction=1, shuffle=True, seed=1), 20, 3)["id"].to_list() == small["id"].to_list()
    assert set(drawn(table, 20, 4)["id"]) != set(small["id"])
    assert drawn(table, 1000, 3).height == 173


def test_the_order_of_a_sample_tells_no_fates():
    fates = drawn(made({("kept", "sound", "a"): 300, ("balance", "sound", "a"): 300}), 200, 0)["fate"].to_list()
    changes = sum(a != b for a, b in pairwise(fates))
    assert 70 < changes < 130  # 199 in turns, 1 in blocks


@pytest.mark.parametrize("n", [0, -3])
def test_a_sample_of_none_is_refused(n):
    with pytest.raises(UsageError, match=f"--sample {n}"):
        drawn(made({("kept", "sound", "a"): 3}), n, 0)


def test_choices_are_shown_in_an_order_of_their_own():
    orders = Counter(tuple(shown_choices(str(i), ["a", "b", "c"], 0)) for i in range(600))
    assert len(orders) == 6 and min(orders.values()) > 60
    assert shown_choices("q", ["a", "b", "c"], 5) == shown_choices("q", ["a", "b", "c"], 5)


# ── what is kept of it ───────────────────────────────────────────────────────────────────────────────────────────────


def test_acts_are_taken_back_one_by_one_also_by_a_later_call(tmp_path):
    ann = Verdicts(tmp_path, "ann")
    ann.answer("q1", "a dog", heard=True)
    ann.judge("q1", True)
    ann.judge("q1", False)
    ann.answer("q2", "a bell", heard=False)
    ann.close()
    again = Verdicts(tmp_path, "ann")
    assert again.opinion("q1").valid is False and again.opinion("q2").answer == "a bell"
    steps = []
    while (id := again.undo()) is not None:
        steps.append((id, again.opinion("q1").answer, again.opinion("q1").valid, again.opinion("q2").answer))
    assert steps == [
        ("q2", "a dog", False, None), ("q1", "a dog", True, None), ("q1", "a dog", None, None),
        ("q1", None, None, None),
    ]  # fmt: skip
    assert opinions(read(tmp_path)[0])[("ann", "q1")] == again.opinion("q1")


def test_an_answer_taken_back_after_the_marked_one_was_shown_counts_as_given(tmp_path):
    ann = Verdicts(tmp_path, "ann")
    ann.answer("q", "a dog", heard=True)
    ann.undo()
    ann.answer("q", "a cat", heard=True)
    assert (ann.opinion("q").first, ann.opinion("q").answer) == ("a dog", "a cat")


def test_saying_the_same_again_writes_nothing(tmp_path):
    ann = Verdicts(tmp_path, "ann")
    for _ in range(3):
        ann.answer("q", "a dog", heard=True)
        ann.judge("q", True)
    assert len(read(tmp_path)[0]) == 2


def test_reviewers_do_not_take_back_each_others_acts(tmp_path):
    ann, bob = Verdicts(tmp_path, "ann"), Verdicts(tmp_path, "bob")
    ann.judge("q", True)
    bob.judge("q", False)
    assert ann.undo() == "q"
    found = opinions(read(tmp_path)[0])
    assert found[("ann", "q")].valid is None and found[("bob", "q")].valid is False


def test_a_torn_line_costs_that_line_alone(tmp_path):
    ann = Verdicts(tmp_path, "ann")
    ann.judge("q1", True)
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"question_id": "q2", "rev')
    ann.judge("q3", True)
    acts, unreadable = read(tmp_path)
    assert [act["question_id"] for act in acts] == ["q1", "q3"] and unreadable == 1


@pytest.mark.parametrize(
    "line", ["[]", "3", '{"question_id": "q"}', '{"question_id": "q", "reviewer": "a", "act": "judge", "value": "no"}',
             '{"question_id": "q", "reviewer": "a", "act": "dance"}',
             '{"question_id": 3, "reviewer": "a", "act": "undo"}'],
)  # fmt: skip
def test_a_line_that_is_no_act_is_counted(tmp_path, line):
    (tmp_path / FILE).write_text(line + "\n\n")
    assert read(tmp_path) == ([], 1)


@pytest.mark.parametrize("text", ['a "quoted"\nline', "犬の声", "\u2028<script>", "\ud800"])
def test_any_text_is_one_line(tmp_path, text):
    ann = Verdicts(tmp_path, "ann")
    ann.answer("q", text, heard=True)
    ann.judge("q", True)
    assert (tmp_path / FILE).read_bytes().count(b"\n") == 2
    assert read(tmp_path)[0][0]["value"] == text


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 81])
def test_a_reviewer_needs_a_name(tmp_path, name):
    with pytest.raises(UsageError, match="--reviewer"):
        Verdicts(tmp_path, name)


def test_a_full_disk_is_said(tmp_path):
    ann = Verdicts(tmp_path, "ann")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, ann._file)
    os.close(full)
    with pytest.raises(DatagenError, match="not saved"):
        ann.judge("q", True)
    assert ann.opinion("q").valid is None


def test_a_kill_at_any_instant_loses_nothing_that_was_said(tmp_path):
    code = """if True:
        import sys
        from pathlib import Path
        from datagen.review import Verdicts
        ann = Verdicts(Path(sys.argv[1]), "ann")
        for i in range(10**6):
            ann.judge(f"q{i}", True)
            print(i, flush=True)
    """
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 30:
                process.send_signal(signal.SIGKILL)
                break
        last = int((line + process.stdout.read()).split()[-1])
    acts, unreadable = read(tmp_path)
    assert unreadable == 0 and len(acts) in (last + 1, last + 2)


# ── what it says ─────────────────────────────────────────────────────────────────────────────────────────────────────


def wrong(row: dict[str, object]) -> str:
    return next(choice for choice in row["choices"] if choice != row["answer"])


def test_figures_of_one_reviewer(demo_run):
    table = population(demo_run)
    kept = table.filter(fate="kept").head(8).to_dicts()
    dropped = table.filter(fate="balance").head(4).to_dicts()
    ann = Verdicts(demo_run, "ann")
    for i, row in enumerate([*kept, *dropped]):
        ann.answer(row["id"], wrong(row) if i in (0, 1) else row["answer"], heard=i != 2)
        ann.judge(row["id"], i not in (0, 8))
    found = report(demo_run)
    assert found["judged"] == 12
    assert (found["accuracy"]["correct"], found["accuracy"]["n"]) == (5, 7)
    assert (found["accuracy_without_audio"]["correct"], found["accuracy_without_audio"]["n"]) == (1, 1)
    assert found["reviewers"]["ann"]["accuracy"]["n"] == 11
    assert sum(part["n"] for part in found["by"]["skill"].values()) == 7
    assert found["chance"] == pytest.approx(sum(1 / len(row["choices"]) for i, row in enumerate(kept) if i != 2) / 7)
    balance = found["filters"]["balance"]
    assert balance["dropped"] == table.filter(fate="balance").height
    assert (balance["false_drops"]["correct"], balance["false_drops"]["n"]) == (3, 4)
    assert (balance["false_keeps"]["correct"], balance["false_keeps"]["n"]) == (1, 8)
    assert found["chain"]["false_drops"] == pytest.approx(balance["false_drops"])
    assert found["fates"]["kept"] | {"valid": 0} == {
        "questions": table.filter(fate="kept").height, "judged": 8, "split": 0, "valid": 0,
    }  # fmt: skip
    json.dumps(found, allow_nan=False)


def test_a_filter_before_others_is_weighed_by_what_each_judged_question_stands_for(demo_run):
    table = population(demo_run)
    sizes = dict(table["fate"].value_counts().iter_rows())
    ann = Verdicts(demo_run, "ann")
    ann.judge(table.filter(fate="kept")["id"][0], True)
    ann.judge(table.filter(fate="balance")["id"][0], False)
    passed = report(demo_run)["filters"]["wellformed"]
    assert passed["false_keeps"]["accuracy"] == pytest.approx(sizes["balance"] / (sizes["balance"] + sizes["kept"]))
    assert passed["false_drops"]["n"] == passed["dropped"] == 0
    assert passed["unseen"] == table.height - sizes["kept"] - sizes["balance"]
    effective = (sizes["kept"] + sizes["balance"]) ** 2 / (sizes["kept"] ** 2 + sizes["balance"] ** 2)
    low, high = wilson(passed["false_keeps"]["accuracy"] * effective, effective)
    assert (passed["false_keeps"]["low"], passed["false_keeps"]["high"]) == pytest.approx((low, high))
    # One judged question on each side, both as the filter has it: people agree with it wholly.
    assert report(demo_run)["filters"]["balance"]["kappa"] == pytest.approx(1)


def test_two_reviewers_count_each_question_once(demo_run):
    first, second, third = population(demo_run).filter(fate="kept").head(3).to_dicts()
    ann, bob, eve = (Verdicts(demo_run, name) for name in ("ann", "bob", "eve"))
    for people, row in (((ann, bob), first), ((ann, bob), second), ((ann, bob, eve), third)):
        for who in people:
            who.answer(row["id"], wrong(row) if who is bob and row is first else row["answer"], heard=True)
            who.judge(row["id"], not (who is bob and row is not first))
    found = report(demo_run)
    assert (found["accuracy"]["correct"], found["accuracy"]["n"]) == (2.5, 3)
    kept = found["fates"]["kept"]
    assert (kept["judged"], kept["split"], kept["valid"]["correct"]) == (2, 1, 2)
    pair = found["agreement"][0]
    assert (pair["a"], pair["b"], pair["both_judged"], pair["agree"]["correct"]) == ("ann", "bob", 3, 1)
    assert pair["same_answer"]["correct"] == 2
    assert pair["kappa"] == pytest.approx(0)  # ann says yes to all: what they share is chance


def test_a_report_of_nothing_said_has_no_figure(demo_run):
    found = report(demo_run)
    assert found["judged"] == 0 and found["accuracy"]["accuracy"] is None and found["reviewers"] == {}
    assert found["filters"]["balance"]["kappa"] is None
    assert found["chain"]["unseen"] == found["questions"]


def test_verdicts_on_questions_that_the_run_does_not_hold_are_left_out(demo_run):
    ann = Verdicts(demo_run, "ann")
    ann.judge("gone", True)
    assert report(demo_run)["judged"] == 0 and report(demo_run)["reviewers"] == {}
