"""The pages of evaluations: what they say is what result.json and predictions.jsonl hold, and text stays text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys

import pytest
import quiz
from model_server import ModelServer
from test_compare import folder as made_folder
from test_compare import items as made_items
from test_compare import policy
from test_report import Tags

from datagen import cli
from datagen.dataset import interval
from datagen.eval import report
from datagen.eval.compare import compare
from datagen.eval.evaluate import Config, evaluate
from datagen.eval.outputs import opened

HOSTILE = '</script><script>alert(1)</script><!--<script> <img src=x onerror="alert(2)"> "\'`&amp; {{ 7*7 }} \u2028'
N = 20


def hostile(number):
    return number in (3, 4)


def says(body):
    """Of 5 items two are wrong with audio only, one without it, one takes the first choice, one says nothing clear."""
    choices = quiz.shown(body)
    if not choices:
        return "yes"
    number, heard = int(choices[0].split()[1]), quiz.heard(body) is not None
    if number % 5 == (2, 0)[heard] or (heard and number % 5 == 1):
        return quiz.said(body, (choices.index(right_choice(number)) + 1) % 4)
    if number % 5 == 4:  # the official matcher takes the second for right, the strict reader does not
        return HOSTILE if number % 2 == 0 else f"{HOSTILE} I would not rule out {right_choice(number)}."
    return quiz.mixed(body)


def right_choice(number):
    return f"{quiz.WORDS[quiz.gold(number)]} {number}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An evaluation in two conditions and orders, of a file with hostile ids and questions; one clip is missing."""
    place = tmp_path_factory.mktemp("page")
    file = quiz.write(place, N)
    rows = [
        row | {"id": row["id"] + HOSTILE, "question": row["question"] + HOSTILE} if hostile(number) else row
        for number, row in enumerate(quiz.rows(N))
    ]
    file.write_text(json.dumps(rows))
    (place / "audio/item00006.wav").unlink()
    with pytest.MonkeyPatch.context() as patch, ModelServer(says) as server:
        for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
            patch.delenv(name, raising=False)
        evaluate(Config(
            "mmau", file, "stub", place / "out", base_url=server.url, audio=place / "audio", condition="audio,none",
            orders="original,circular",
        ))  # fmt: skip
    return place / "out"


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


def blob(page):
    [text] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert not set(text) & set("<>&")
    return json.loads(text)


def only_ours_runs(page):
    """No tag or attribute but ours, and a policy under which no other script runs and nothing is fetched."""
    found = Tags(page)
    policy = next(attrs["content"] for tag, attrs in found.tags if "content" in attrs and "http-equiv" in attrs)
    assert policy.startswith("default-src 'none'") and "http" not in policy
    assert not {"img", "link", "iframe", "object", "base"} & {tag for tag, _ in found.tags}
    assert not any(name.startswith("on") or name in ("src", "href") for _, attrs in found.tags for name in attrs)
    return [attrs for tag, attrs in found.tags if tag == "script"], policy


def test_hostile_text_stays_text(page):
    scripts, policy = only_ours_runs(page)
    assert [attrs.get("type") for attrs in scripts] == ["application/json", None]
    assert page.count("</script>") == 2
    script = page[page.rindex("<script>") + 8 : page.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    for unsafe in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("):
        assert unsafe not in script
    data = blob(page)
    assert HOSTILE in data["texts"]
    assert [item[0].endswith(HOSTILE) for item in data["items"]] == [hostile(n) for n in range(N)]


def test_every_answer_is_in_the_page(folder, page):
    data, found = blob(page), opened(folder)
    names = [tuple(cell) for cell in data["cells"]]
    rows = []
    for row, item in enumerate(data["items"]):
        for cell, shown, sample, text, reading, official, strict, judge, finish, error, heard in item[6]:
            places = list(range(len(item[2]))) if shown is None else shown
            said = None if text is None else data["texts"][text]
            assert judge is None
            rows.append((row, *names[cell], places, sample, said, reading, official, strict, finish, error, heard))
    lines = [
        (
            line.row, line.condition, line.order, line.shown, line.sample, line.text, line.reading, line.official,
            line.strict, None if line.finish == "stop" else line.finish, line.error, line.heard,
        )
        for line in found.lines()
    ]  # fmt: skip
    assert rows == sorted(lines, key=lambda line: line[0])
    assert len(rows) == N * 2 * 5
    items = found.items()
    assert [item[2] for item in data["items"]] == items["choices"].to_list()
    assert [item[3] for item in data["items"]] == items["answer_index"].to_list()
    assert data["groups"][0] == "task" and [item[4][0] for item in data["items"]] == items["task"].to_list()


def test_clips_are_found_from_the_page(folder, page):
    data = blob(page)
    assert data["audio"] == "../audio/"
    files = [item[5] for item in data["items"]]
    assert files[6] is None and files[5] == ["item00005.wav"]
    assert all((folder / data["audio"] / name).is_file() for file in files if file for name in file)
    assert sum(file is not None for file in files) == N - 1


@pytest.mark.parametrize(
    ("audio", "address"),
    [("run/audio", "audio/"), ("clips 1#?", "../clips%201%23%3F/"), (".", "../"), ("../far", "file:///"), (None, None)],
)
def test_addresses_of_the_audio(audio, address, tmp_path):
    place = tmp_path / "evals"
    found = report.audio_address(place / "run", None if audio is None else place / audio)
    assert found == (f"{(tmp_path / 'far').as_uri()}/" if address == "file:///" else address)


def test_figures_are_those_of_the_result(folder, page):
    result, text = opened(folder).result, Tags(page).text
    for cell in result["cells"]:
        for matcher in ("strict", "official"):
            assert interval(cell[matcher]["total"]) in text
            for values in (cell[matcher]["task"], cell[matcher]["sub-category"]):
                assert all(interval(share) in text for share in values.values())
        assert all(interval(place["gold"]) in text for place in cell["positions"])
    accuracies = {round(100 * cell["strict"]["total"]["accuracy"], 2) for cell in result["cells"]}
    assert accuracies <= {float(x) for x in re.findall(r'<circle class="strict" cx="([\d.]+)%"', page)}
    base = result["baselines"]
    for kind, value in (
        ("random", base["random"]),
        ("always_first", base["position"][0]),
        ("longest", base["longest"]),
    ):
        assert {round(100 * value, 2)} == {
            float(x) for x in re.findall(rf'class="{kind}" x1="([\d.]+)%" x2="[\d.]+%" y1="0" y2="100%"', page)
        }
    assert "audio_missing 1" in text and "consistency" in text


def test_a_page_holds_the_items_that_fit(folder, monkeypatch):
    whole = report.browser(opened(folder), None)
    assert (whole["held"], whole["left"]) == (N, 0)
    monkeypatch.setattr(report, "MOST_BYTES", 5_000)
    part = report.browser(opened(folder), None)
    assert 0 < part["held"] < N and part["held"] + part["left"] == N
    data = json.loads(part["data"])
    assert [item[0] for item in data["items"]] == opened(folder).items()["id"].to_list()[: part["held"]]
    assert all(len(item[6]) == 2 * 5 for item in data["items"])


def test_long_answers_keep_their_end():
    assert report.cut("x" * report.TEXT) == "x" * report.TEXT
    long = report.cut("start" + "x" * 1_000_000 + "<answer>B</answer>")
    assert long.startswith("start") and long.endswith("<answer>B</answer>") and len(long) < report.TEXT + 60


def test_a_file_without_answers_and_without_audio(tmp_path, serve, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    file = tmp_path / "blind.json"
    file.write_text(json.dumps([{key: row[key] for key in row if key != "answer"} for row in quiz.rows(3)]))
    evaluate(Config("mmau", file, "stub", tmp_path / "out", base_url=serve(quiz.first).url, condition="none"))
    page = (tmp_path / "out/report.html").read_text()
    assert "no answers to score against" in page and "By group" not in page
    data = blob(page)
    assert (data["scored"], data["audio"], data["without"]) == (False, None, None)


# ── comparisons ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_comparison_draws_its_pairs_and_parts(tmp_path, monkeypatch, capsys):
    table = made_items(60, first=0.6)
    names = ['a<script>"&', "b"]
    folders = [
        made_folder(tmp_path / name, table, policy(table, seed=seed, known=0.2 + 0.5 * seed))
        for seed, name in enumerate(names)
    ]
    html = tmp_path / "c.html"
    monkeypatch.setattr(sys, "argv", ["datagen", "compare", *map(str, folders), "--html", str(html), "--json"])
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert done.value.code in (0, None)
    result = json.loads(capsys.readouterr().out)
    page = html.read_text(encoding="utf-8")
    scripts, _ = only_ours_runs(page)
    text = Tags(page).text
    assert scripts == [] and names[0] in text
    for pair in result["pairs"]:
        assert report.points(pair) in text
    [gain] = result["gains"]
    for part in (*gain["parts"].values(), *gain["groups"]["task"].values()):
        assert report.points(part) in text
    found = re.findall(r'<circle class="(?:strict|official)" cx="([\d.]+)%"', page)
    assert len(found) == 2 * len(result["pairs"]) + 8 + 3
    widest = report.reach([*result["pairs"], *(pair["official"] for pair in result["pairs"])])
    assert float(found[0]) == pytest.approx(50 + 50 * result["pairs"][0]["difference"] / widest, abs=0.02)


def test_real_folders_are_compared_on_a_page(folder, tmp_path):
    result = compare([folder])
    report.write_comparison(tmp_path / "c.html", result)
    page = (tmp_path / "c.html").read_text()
    cell = result["runs"][0]["cells"][0]
    assert interval(cell["strict"]["total"]) in Tags(page).text
    assert 'class="always_first"' in page and "What out gains" not in page


def test_a_page_in_no_folder_is_refused_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["datagen", "compare", "x", "--html", str(tmp_path / "no/c.html")])
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert done.value.code == 2
    assert "--html" in capsys.readouterr().err


def test_the_scale_of_differences_holds_every_interval():
    assert report.reach([{"low": -0.12, "high": 0.02}, None, {"low": -0.01, "high": 0.21}]) == pytest.approx(0.25)
    assert report.reach([{"low": -0.12, "high": 0.02}]) == pytest.approx(0.15)
    assert report.reach([]) == pytest.approx(0.05)


def test_points_and_ends():
    assert report.points({"difference": -0.0123, "low": -0.05, "high": 0.0}) == "−1.2 (−5.0 to +0.0)"
    assert report.points({"value": 0.5, "low": None, "high": None}) == "+50.0"
    assert report.ends({"low": None, "high": None}) == "no interval"
