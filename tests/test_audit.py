"""`datagen audit`: planted defects are named with their ids, artefacts fail their gates, and no input breaks it."""

from __future__ import annotations

import json
import os
import random
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from datagen import cli
from datagen.audit import audit, forms, positions, spread
from datagen.build import Config, build
from datagen.errors import UsageError
from datagen.review import Verdicts, report
from datagen.statistics import entropy

MMAU = Path(os.environ.get("DATAGEN_SHARED") or Path(__file__).parents[2] / "shared") / "data/mmau-test-mini.json"
real = pytest.mark.skipif(not MMAU.exists(), reason="the benchmark file lies beside the repository, where it is at all")

SOUNDS = [
    "dog",
    "cat",
    "rain",
    "siren",
    "bell",
    "drum",
    "flute",
    "storm",
    "train",
    "horse",
    "clock",
    "engine",
    "whistle",
    "thunder",
    "piano",
    "guitar",
]
PLACES = [
    "in the yard",
    "near the station",
    "at the harbour",
    "by the river",
    "in the hall",
    "on the stage",
    "at night",
]


def row(id, question="Which of these is heard?", choices=("dog", "cat", "bell"), answer="cat", **more):
    return {"id": id, "question": question, "choices": choices and list(choices), "answer": answer, **more}


def sound_set(n, place=lambda rng, size: rng.randrange(size), seed=0, size=4):
    """`n` questions about as many clips; `place` draws where the answer stands."""
    rng = random.Random(seed)
    rows = []
    for number in range(n):
        choices = rng.sample(SOUNDS, size)
        question = f"Which of these is heard {rng.choice(PLACES)}?"
        rows.append(row(f"q{number}", question, choices, choices[place(rng, size)], clip_id=f"c{number}"))
    return rows


def written(tmp_path, rows, name="set.json"):
    file = tmp_path / name
    file.write_text(json.dumps(rows), encoding="utf-8")
    return file


def ids(found):
    return {name: finding["ids"] for name, finding in found["findings"].items()}


# ── findings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@real
def test_mmau_test_mini():
    found = audit(MMAU)
    assert (found["items"], found["sound"], found["format"]) == (1000, 1000, "mmau")
    counts = {name: finding["count"] for name, finding in found["findings"].items()}
    assert counts["duplicate_choices"] == 27
    assert counts["gold_among_duplicates"] == 16
    assert counts["list_category"] == 13
    assert counts["shared_question"] == found["variety"]["questions"]["shared"] == 251
    assert all(len(finding["ids"]) == finding["count"] for finding in found["findings"].values())
    assert found["baselines"]["position"][:4] == [0.395, 0.271, 0.208, 0.126]
    assert found["baselines"]["longest"] == pytest.approx(0.3666, abs=1e-4)
    assert found["longest_first_of_ties"]["accuracy"] == 0.394
    assert found["baselines"]["choices_only"] > 0.43
    outcomes = {gate["name"]: gate["outcome"] for gate in found["gates"]}
    assert {outcomes[name] for name in ("first", "longest", "choices_only")} == {"fail"}
    assert {task: one["items"] for task, one in found["groups"]["task"].items()} == {
        "sound": 333, "music": 334, "speech": 333,
    }  # fmt: skip
    assert found["positions"]["all"]["p"] < 1e-20


PLANTED = [
    (row("again"), ()),
    (row("again", "What is it?"), ("doubled_id",)),
    (row("silent", ""), ("no_question",)),
    (row("none", "What barks?", None), ("no_choices",)),
    (row("one", "What purrs?", ["cat"]), ("too_few_choices",)),
    (row("many", "What flows?", [f"river {n}" for n in range(11)], "river 3"), ("too_many_choices",)),
    (row("null", "What drips?", ["cat", None, "dog"]), ("null_choice",)),
    (row("empty", "What hums?", ["cat", " ", "dog"]), ("empty_choice",)),
    (row("unanswered", "What rings?", answer=None), ("answer_missing",)),
    (row("elsewhere", "What rolls?", answer="train"), ("answer_not_among_choices",)),
    (row("twice", "What cracks?", ["rain", "Rain", "ice"], "ice"), ("duplicate_choices", "distractors.same_choice")),
    (row("gold twice", "What breaks?", ["ice", "ICE", "rain"], "ice"), ("gold_among_duplicates",)),
    (row("list", "What pours?", category=["a", "b"]), ("list_category",)),
    (row("object", {"a": 1}), ("question_not_text",)),
    (row("a", "What is near?", clip_id="x"), ("conflicting_answers", "repeated_item", "shared_question")),
    (row("b", "What is near?", answer="dog", clip_id="x"), ("conflicting_answers", "repeated_item", "shared_question")),
    (row("cannot", "What sits?", ["cat", "dog", "Cannot be determined"]), ("answerable.cannot_be_determined",)),
    (row("all", "What stands?", ["cat", "dog", "All of the above"]), ("answerable.all_of_the_above",)),
    (row("video", "What is seen in the video?"), ("modality.seen_in_question",)),
    (row("nested", "What runs?", ["cat", "a cat purring", "dog"]), ("distractors.nested_choice",)),
    (row("shared", "Which guitar plays the solo?", ["Bass guitar", "harp", "drum"], "Bass guitar"),
     ("overlap.shared_words",)),
    (row("told", "Why does the cat purr?"), ("wellformed.answer_in_question",)),
    (row("labels", "What turns?", ["1. cat", "2. dog", "3. bell"], "1. cat"), ("wellformed.label_in_choice",)),
    (row("long", "What " + "really " * 15_000 + "hums?"), ("wellformed.too_long",)),
]  # fmt: skip


def test_every_planted_defect_is_found_by_its_name_and_id(tmp_path):
    result = audit(written(tmp_path, [planted for planted, _ in PLANTED]))
    kinds = {name: finding["kind"] for name, finding in result["findings"].items()}
    assert [kinds[name] for name in ("conflicting_answers", "no_choices", "list_category", "repeated_item")] == [
        "broken", "broken", "form", "repeated",
    ]  # fmt: skip
    found = ids(result)
    for planted, names in PLANTED:
        for name in names:
            assert planted["id"] in found.get(name, []), name
    clean = {"again"}
    named = {name for _, names in PLANTED for name in names}
    assert not clean & {id for name in named - {"doubled_id"} for id in found[name]}


def test_rows_that_are_all_right_give_no_finding(tmp_path):
    rows = [
        row("1", "Which animal makes itself heard?", ["dog", "cat", "horse"], "cat", clip_id="x"),
        row("2", "Which instrument sets in?", ["piano", "flute", "drum"], "drum", clip_id="x"),
    ]
    assert audit(written(tmp_path, rows))["findings"] == {}


def test_a_question_asked_twice_about_one_recording_is_a_duplicate_and_about_another_is_not(tmp_path):
    asked = "Which of the animals can be heard at the end?"
    rows = [
        row("a", asked, audio_path="1.wav"), row("b", asked, audio_path="1.wav"), row("c", asked, audio_path="2.wav"),
    ]  # fmt: skip
    assert ids(audit(written(tmp_path, rows)))["duplicates.exact_duplicate"] == ["b"]


FORMS = {
    "mmau": [row("1", audio_id="a.wav", task="sound", difficulty="easy", category="Reasoning")],
    "mmar": [row("1", audio_path="a.wav", modality="sound", category="x", language="en")],
    "mmsu": [
        {"id": "1", "question": "Who?", "choice_a": "he", "choice_b": "she", "answer_gt": "she", "task_name": "gender"}
    ],
    "mmau-pro": [
        row("1", task_identifier="x", category="sound", perceptual_skills=[]),
        row("2", task_identifier="x", category="open", perceptual_skills=[], choices=None),
    ],
    "avqa": [
        {
            "id": 1, "video_name": "-HG3Omg_89c_000030", "question_text": "What is in the picture?", "answer": 1,
            "multi_choice": ["car", "dog", "cat", "bird"], "question_relation": "View", "question_type": "Which",
        }
    ],
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_each_benchmarks_own_form(tmp_path, form):
    found = audit(written(tmp_path, FORMS[form]))
    assert (found["format"], found["items"], found["sound"]) == (form, 1, 1)
    if form == "avqa":
        assert ids(found)["relation.view_relation"] == ["1"]
    if form == "mmau-pro":
        assert found["set_aside"] == {"open": 1}


def dataset(tmp_path, rows):
    """A dataset folder of ours."""
    folder = tmp_path / "dataset" / "data"
    folder.mkdir(parents=True)
    pl.DataFrame(rows).write_parquet(folder / "train-00000-of-00001.parquet")
    return tmp_path / "dataset"


def test_a_set_of_ours_is_judged_by_who_wrote_it(tmp_path):
    nested = row("", "Which of these runs?", ["cat", "a cat purring", "dog"], "cat", answer_index=0, domain="sound")
    rows = [
        nested | {"id": writer, "clip_id": writer, "captions": captions, "provenance": json.dumps({"writer": writer})}
        for writer, captions in (("rules", ["a dog"]), ("llm", ["a dog"]))
    ]
    found = audit(dataset(tmp_path, rows))
    assert found["format"] == "datagen"
    assert ids(found)["distractors.nested_choice"] == ["llm"]  # choices of measured questions exclude each other
    assert ids(found)["grounded.answer_unsupported"] == ["llm"]  # nor need a caption say what was measured


# ── figures ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_groups_are_looked_at_apart(tmp_path):
    rows = sound_set(80, lambda rng, size: 0) + sound_set(80, lambda rng, size: size - 1, seed=1)
    rows = [one | {"id": str(n), "task": "music" if n < 80 else "speech"} for n, one in enumerate(rows)]
    groups = audit(written(tmp_path, rows))["groups"]
    assert list(groups) == ["task"]
    assert (groups["task"]["music"]["first"]["accuracy"], groups["task"]["music"]["last"]["accuracy"]) == (1, 0)
    assert (groups["task"]["speech"]["first"]["accuracy"], groups["task"]["speech"]["last"]["accuracy"]) == (0, 1)
    assert groups["task"]["speech"]["items"] == 80


def placed(*counts):
    """Rows whose answers stand at the places so often: {choices: counts}."""
    rows = [(["x"] * size, place) for size, at in counts for place, n in enumerate(at) for _ in range(n)]
    return pl.DataFrame(
        rows, schema={"choices": pl.List(pl.String), "answer_index": pl.Int32}, orient="row"
    )  # fmt: skip


def test_places_are_held_against_even_ones_with_rare_places_put_together():
    found = positions(placed((2, [30, 10]), (4, [10, 10, 10, 10]), (6, [0, 0, 0, 0, 0, 1])))
    assert found["by_choices"][0]["chi_square"] == pytest.approx(10)
    assert found["by_choices"][0]["p"] == pytest.approx(0.001565, abs=1e-6)
    assert found["by_choices"][1]["p"] == 1
    assert found["by_choices"][2]["chi_square"] is None  # one row
    whole = found["all"]
    assert whole["expected"] == pytest.approx([30 + 1 / 6, 30 + 1 / 6, 10 + 1 / 6, 10 + 1 / 6, 1 / 6, 1 / 6])
    observed, expected = [40, 20, 10, 11], [30 + 1 / 6, 30 + 1 / 6, 10 + 1 / 6, 10.5]
    assert whole["chi_square"] == pytest.approx(
        sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True))
    )  # fmt: skip
    assert positions(placed())["all"]["p"] is None


def test_entropy_is_that_of_evenly_used_texts():
    assert entropy([5, 5, 5, 5]) == pytest.approx(2)
    assert (entropy([7]), entropy([])) == (0, 0)
    found = spread(pl.Series(["a", "b", "c", "c"]))
    assert (found["distinct"], found["entropy_bits"], found["top"][0]) == (
        3,
        1.5,
        {"text": "c", "count": 2, "share": 0.5},
    )


def test_a_form_of_question_is_what_is_left_without_its_rare_words():
    questions = [f"How many times does the {name} bark?" for name in SOUNDS] + ["Who speaks?"]
    found = forms(pl.DataFrame({"question": questions}))
    assert found.to_list() == ["how many times does the … bark"] * len(SOUNDS) + ["…"]


# ── against benchmarks, and what people said ─────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run over real clips."""
    out = tmp_path_factory.mktemp("audit") / "demo"
    build(Config(source="demo", out=out, limit=12))
    return out


def test_rows_that_a_benchmark_has_too_are_named_with_its_item(tmp_path):
    asked = "At which of the following places was this long conversation between two people recorded?"
    item = row("item 7", asked, ["in a kitchen", "on a bridge", "at a harbour"], "on a bridge")
    rows = [
        row("words", asked.upper(), ["at a harbour", "In a kitchen", "on a bridge"], "on a bridge"),
        row("recording", "Who speaks?", ["a man", "a child"], "a man", audio_path="Y-HG3Omg_89c.wav"),
        row("neither", "Which of these is heard?"),
    ]
    other = row("other", "What barks?", audio_path="-HG3Omg_89c_000030.wav")
    found = audit(written(tmp_path, rows), against=[str(written(tmp_path, [item, other], "benchmark.json"))])
    assert ids(found)["leakage.exact_question"] == ["words"]
    assert ids(found)["leakage.media_id"] == ["recording"]
    met = {one["id"]: one["met"] for one in found["leakage"]["met"]}
    assert met["words"] == "benchmark.json item 7"
    assert met["recording"].startswith("benchmark.json other")
    assert [source["items"] for source in found["leakage"]["against"]] == [2]
    assert audit(written(tmp_path, rows))["leakage"] is None


def test_the_sound_of_a_runs_clips_is_compared_with_a_benchmarks(run, tmp_path):
    kept = audit(run)
    clip = pl.read_parquet(run / "clips.parquet").filter(
        pl.col("id") == pl.read_parquet(run / "dataset/data/train-*.parquet")["clip_id"][0]
    )
    audio = tmp_path / "audio"
    audio.mkdir()
    (audio / "test-item.wav").write_bytes(Path(clip["path"][0]).read_bytes())
    found = audit(run, against_audio=audio)
    assert found["items"] == kept["items"]
    met = found["leakage"]["met"]
    assert met and {one["reason"] for one in met} == {"same_audio"}
    assert all("test-item.wav" in one["met"] for one in met)
    assert len(met) == found["findings"]["leakage.same_audio"]["count"] < found["items"]


def test_what_people_said_of_a_run_is_told(run, tmp_path, monkeypatch, capsys):
    assert audit(run)["review"] is None
    questions = pl.read_parquet(run / "dataset/data/train-*.parquet")
    verdicts = Verdicts(run, "ann")
    try:
        for id, answer in questions.head(3).select("id", "answer").iter_rows():
            verdicts.answer(id, answer, heard=True)
            verdicts.judge(id, True)
        verdicts.close()
        page = tmp_path / "page.html"
        code, out, err = call(monkeypatch, capsys, run, "--json", "--html", page)
        assert (code, err) == (0, "")
        found = json.loads(out)
        assert found["review"] == report(run)
        assert found["review"]["accuracy"]["n"] == 3
        assert "people judged 3 of" in page.read_text()
    finally:
        (run / "review.jsonl").unlink()


# ── gates ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def call(monkeypatch, capsys, *words):
    """(exit code, standard output, standard error) of `datagen audit WORDS` in this process."""
    monkeypatch.setattr(sys, "argv", ["datagen", "audit", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0, *capsys.readouterr()


@pytest.mark.parametrize(
    ("rows", "code", "outcome"),
    [
        (sound_set(600, lambda rng, size: 0 if rng.random() < 0.4 else rng.randrange(size)), 1, "fail"),
        (sound_set(60), 0, "too_few"),
        (sound_set(1), 0, "too_few"),
    ],
    ids=["biased", "small", "one row"],
)
def test_strict_ends_with_1_when_a_gate_fails_and_not_when_rows_are_too_few(
    tmp_path, monkeypatch, capsys, rows, code, outcome
):
    file = written(tmp_path, rows)
    ended, out, err = call(monkeypatch, capsys, file, "--strict", "--json")
    found = json.loads(out)
    first = found["gates"][0]
    assert (ended, first["outcome"]) == (code, outcome)
    assert first["ok"] is {"fail": False, "too_few": None}[outcome]
    assert first["limit"] == 0.02
    assert ("gates failed: first" in err) == (code == 1)
    ended, out, err = call(monkeypatch, capsys, file)
    assert ended == 0
    assert {"fail": "FAILED", "too_few": "too few rows to tell"}[outcome] in out


def test_an_even_set_passes(tmp_path):
    rows = sound_set(6_000)
    for number, one in enumerate(rows):  # every place as often, so that sampling error decides nothing
        wanted = number % 4
        at = one["choices"].index(one["answer"])
        one["choices"][at], one["choices"][wanted] = one["choices"][wanted], one["choices"][at]
    found = audit(written(tmp_path, rows))
    assert {gate["name"]: gate["outcome"] for gate in found["gates"][:5]} == dict.fromkeys(
        ("first", "second", "third", "fourth", "last"), "pass"
    )


# ── bad input ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("none.json", "[]", "holds no multiple-choice item"),
        ("list.json", "[1, 2]", "no multiple-choice set"),
        ("other.json", '[{"text": "a"}]', "no multiple-choice set: it has no question"),
        ("broken.json", "[{", "give JSON, JSON lines, CSV or parquet"),
        (None, "", "no such file"),
    ],
)
def test_what_is_no_set_is_told_in_one_line(tmp_path, monkeypatch, capsys, name, text, says):
    file = tmp_path / (name or "absent.json")
    if name:
        file.write_text(text)
    code, out, err = call(monkeypatch, capsys, file, "--json")
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert says in err


@pytest.mark.parametrize(
    "rows",
    [
        [row(None, None, None, None)],
        [row("1", choices=[None, None], answer=None), None, 3, "x"],
        [row(str(n), choices=[f"{k}" for k in range(2 + n % 9)], answer="1") for n in range(60)],  # 2 to 10 choices
        [row(str(n), "哪种声音最响亮？", ["狗叫声", "猫叫声", "鸟叫声"], "狗叫声", 未知=1) for n in range(60)],
        [row("1", "x " * 50_000, ["y" * 100_000, "z " * 50_000], "y" * 100_000)] * 2,
        [row("1", answer=None), row("2", answer=None)],  # a test set without answers
        [row("1", "\x1f\x00", ["\x1f", "\x1f\x1f"], "\x1f")],
        [row(str(n), choices=["a"] * 3, answer="a") for n in range(60)],
        [row(str(n), task="x" * 5_000, category=f"kind {n}") for n in range(80)],  # more values than are looked at
    ],
    ids=["nulls", "no objects", "mixed", "chinese", "huge", "unanswered", "separators", "equal", "groups"],
)
def test_whatever_the_rows_are_the_figures_are_finite_and_the_page_is_written(tmp_path, monkeypatch, capsys, rows):
    file, page = written(tmp_path, rows), tmp_path / "page.html"
    code, out, err = call(monkeypatch, capsys, file, "--json", "--html", page)
    assert (code, err) == (0, "")
    found = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))
    assert found["items"] == len(rows)
    assert page.stat().st_size < 300_000
    code, out, err = call(monkeypatch, capsys, file)
    assert (code, err) == (0, "")


# ── the page ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def test_the_page_stands_alone_and_takes_no_text_for_markup(tmp_path):
    hostile = "<script>alert(1)</script>\"'><img src=http://x.example/a onerror=alert(1)>"
    rows = [*sound_set(120), row("again", hostile, [hostile, "dog", "Dog"], hostile, task=hostile)]
    page = tmp_path / "page.html"
    found = audit(written(tmp_path, rows), html=page)
    parsed = Page(page.read_text(encoding="utf-8"))
    assert not [tag for tag, _ in parsed.tags if tag in ("script", "img", "link", "iframe")]
    assert not [name for _, attributes in parsed.tags for name in attributes if name in ("src", "href", "onerror")]
    assert hostile in parsed.text
    for name in found["findings"]:
        assert name in parsed.text
    assert parsed.text.count("choice 1") >= 2
    numbers = [value for tag, attributes in parsed.tags if tag == "rect" for value in attributes.values() if value]
    assert not [value for value in numbers if re.search("nan|inf|None", value)]


def test_a_page_that_cannot_be_written_is_told_before_the_work(tmp_path):
    with pytest.raises(UsageError, match="nowhere"):
        audit(tmp_path / "absent.json", html=tmp_path / "nowhere" / "page.html")
