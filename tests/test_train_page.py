"""The page of a training run: what it draws is what the log holds, and nothing of a text is ever HTML."""

from __future__ import annotations

import asyncio
import json
import re
from html.parser import HTMLParser

import pytest
from browser import MISSING, Browser

from datagen.statistics import share
from datagen.train.alarms import WINDOW
from datagen.train.log import asked, raised, read_log, steps
from datagen.train.page import MOST, Scale, rounded_up, running, span, thinned, write_page

HOSTILE = '</pre></script><script>alert(1)</script><img src=x onerror="alert(2)"> "\'` {{ 7*7 }}'


def step(number, **changes):
    row = {"step": number, "accuracy": number % 2, "reward": -0.5, "no_signal": 0.25, "length": 7.0, "clipped": 0.0,
           "entropy": 1 / number, "grad_norm": 3.0, "seconds": 1.5, "loss": 0.0,
           "picked": {"A": 3, "B": 1}, "expected": {"A": 2.0, "B": 2.0}}  # fmt: skip
    return row | changes


def run_in(folder, rows, **changes):
    """A folder as a run leaves it while it goes on."""
    folder.mkdir()
    config = {"model": "tiny", "data": "set.jsonl", "modality": "text", "objective": "sampled", "method": "full",
              "seed": 0, "steps": 50, "stop_on": []}  # fmt: skip
    state = {"status": "running", "config": config, "questions": 24, "held_out": 6, "chance": 0.25, "versions": {},
             "left_out": {"answer_not_among_choices": 1},
             "fingerprints": {"inputs": {"model": "m", "data": "d", "held_out": None}}}  # fmt: skip
    (folder / "run.json").write_text(json.dumps(state | changes))
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def page_of(folder):
    write_page(folder)
    return (folder / "report.html").read_text()


def figures(page):
    """Title → the figure's own HTML."""
    return {re.search(r"<b>(.*?)</b>", part)[1]: part for part in re.findall(r"<figure.*?</figure>", page, re.DOTALL)}


# ── the log ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_log_is_read_up_to_a_line_that_a_kill_cut_short(tmp_path):
    alarm = {"step": 2, "alarm": "clipped", "says": "x", "stops": False}
    rows = [{"step": 0, "held_out": share(3, 6)}, step(1), alarm, step(2)]
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"st')
    found = read_log(file)
    assert found == rows
    assert ([row["step"] for row in steps(found)], raised(found)) == ([1, 2], [alarm])
    assert asked(found) == [(0, {"held out": share(3, 6)})]
    assert read_log(tmp_path / "none.jsonl") == []


def test_an_asking_under_several_conditions_is_told_by_condition():
    row = {"step": 4, "held_out": {"audio": share(5, 6), "none": share(2, 6)}}
    assert asked([row]) == [(4, {"audio": share(5, 6), "none": share(2, 6)})]


# ── the page ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_figure_of_the_log_is_a_curve_and_no_other(tmp_path):
    shown = figures(page_of(run_in(tmp_path / "out", [step(n) for n in range(1, 31)])))
    assert list(shown) == [
        "Right answers", "Reward", "Groups without signal", "Tokens of an answer", "Answers cut off",
        "Entropy, nats a token", "Norm of the gradient", "Seconds a step",
        f"Picks by letter beyond chance, over {WINDOW} steps",
    ]  # fmt: skip
    assert "now 50 %" in shown["Right answers"]
    assert "chance 25 %" in shown["Right answers"]
    assert "now −0.5" in shown["Reward"]
    assert "<span>0</span><span>−0.5</span>" in shown["Reward"]
    assert "+25" in shown[f"Picks by letter beyond chance, over {WINDOW} steps"]


def test_held_out_accuracy_has_a_band_and_a_dot_for_each_asking_and_a_line_for_each_condition(tmp_path):
    rows = [{"step": 0, "held_out": {"audio": share(3, 6), "none": share(2, 6)}}, step(1), step(2),
            {"step": 2, "held_out": {"audio": share(6, 6), "none": share(2, 6)}}]  # fmt: skip
    page = page_of(run_in(tmp_path / "out", rows))
    shown = figures(page)["Held out, 95 % band"]
    assert 'class="line c0" d="M0.0 50.0L1000.0 0.0"' in shown
    assert 'class="dots c1" d="M0.0 66.7h0M1000.0 66.7h0"' in shown
    low, high = share(3, 6)["low"], share(3, 6)["high"]
    assert f'class="band c0" d="M0.0 {100 - 100 * low:.1f}L' in shown
    assert f"L0.0 {100 - 100 * high:.1f}Z" in shown
    assert "now audio 100 %, none 33 %" in shown
    assert "6 / 6 = 100.0 % (61.0–100.0)" in page
    assert page.count("<dt>audio, step 2</dt>") == 1


def test_an_alarm_stands_on_every_axis_and_through_its_own_curve(tmp_path):
    rows = [*(step(n) for n in range(1, 21)), {"step": 20, "alarm": "clipped", "says": "60% <are>", "stops": True}]
    page = page_of(run_in(tmp_path / "out", rows, stopped="clipped: 60%"))
    shown = figures(page)
    assert all("step 20: clipped" in part for part in shown.values())
    assert [title for title, part in shown.items() if 'class="mark own" d="M1000.0 0V100"' in part] == [
        "Answers cut off"
    ]
    assert "60% &lt;are&gt;; the run was stopped" in page
    assert "<b>Stopped</b> by clipped: 60%" in page


@pytest.mark.parametrize("rows", [[], [{"step": 0, "held_out": share(1, 6)}], [step(1)], [step(1, picked={})]])
def test_a_run_that_has_just_begun_has_a_page(tmp_path, rows):
    page = page_of(run_in(tmp_path / "out", rows))
    assert "<dt>alarms</dt><dd>0</dd>" in page
    assert ("There is no step yet" in page) == (not rows)


def test_no_text_is_read_as_html(tmp_path):
    rows = [step(1), {"step": 1, "alarm": HOSTILE, "says": HOSTILE, "stops": False},
            {"step": 1, "held_out": {HOSTILE: share(1, 6)},
             "samples": [{"id": HOSTILE, "text": HOSTILE, "condition": HOSTILE, "right": True}]}]  # fmt: skip
    config = {"model": HOSTILE, "data": HOSTILE, "modality": "text", "objective": "sampled", "method": "full",
              "seed": 0, "steps": 1, "stop_on": []}  # fmt: skip
    page = page_of(run_in(tmp_path / "out", rows, config=config, prompt=HOSTILE, stopped=HOSTILE))
    seen = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attrs):
            seen.append(tag)
            seen.extend(name for name, _ in attrs if name.startswith("on"))

    Tags().feed(page)
    assert not {"script", "img", "onerror"} & set(seen)
    assert page.count("{{ 7*7 }}") >= 10


def test_a_long_run_has_a_small_page(tmp_path):
    page = page_of(run_in(tmp_path / "out", [step(n) for n in range(1, 5001)]))
    assert len(page) < 500_000
    longest = max(len(path.split("L")) for path in re.findall(r' d="(.*?)"', page))
    assert 0.9 * MOST < longest <= MOST
    letters = figures(page)[f"Picks by letter beyond chance, over {WINDOW} steps"]
    assert letters.count("L1000.0 ") == 2  # up to the last step, for each letter


@pytest.mark.skipif(MISSING, reason="chromium is not installed")
@pytest.mark.parametrize("width", [360, 1100])
def test_a_browser_shows_it_without_asking_for_anything_and_without_scrolling_sideways(tmp_path, width):
    rows = [*(step(n) for n in range(1, 31)), {"step": 30, "held_out": {"audio": share(5, 6), "none": share(2, 6)}}]
    address = run_in(tmp_path / "out", rows, prompt="p" * 500).joinpath("report.html").as_uri()
    write_page(tmp_path / "out")

    async def look():
        async with Browser() as page:
            await page.call(
                "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False
            )
            await page.open(address)
            await page.until("document.querySelectorAll('.curve').length === 10")
            drawn = await page.evaluate(
                "[...document.querySelectorAll('.curve svg')].every((one) => one.getBoundingClientRect().height > 90)"
            )
            return drawn, await page.evaluate("document.documentElement.scrollWidth"), page.requests, page.errors

    drawn, wide, requests, errors = asyncio.run(look())
    assert drawn
    assert (wide <= width, requests, errors) == (True, [address], [])


# ── numbers to coordinates ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_bold_line_is_the_mean_of_the_last_steps():
    values = [(n, float(n)) for n in range(1, WINDOW + 11)]
    found = running(values)
    assert found[0] == (1, 1.0)
    assert found[-1] == (WINDOW + 10, sum(range(11, WINDOW + 11)) / WINDOW)


def test_thinning_keeps_the_mean_of_neighbours():
    values = [(n, float(n % 2)) for n in range(2 * MOST)]
    assert thinned(values) == [(2 * n + 0.5, 0.5) for n in range(MOST)]
    assert thinned(values[:3]) == values[:3]
    assert list(thinned([])) == []


@pytest.mark.parametrize(
    ("values", "ends"),
    [([0.0], (0.0, 1.0)), ([0.3, 7.2], (0.0, 8.0)), ([-0.4, 0.9], (-0.5, 1.0)), ([-3.0], (-3.0, 0.0))],
)
def test_a_scale_holds_zero_and_every_value(values, ends):
    assert span(values) == ends
    assert str(span(values)[0]) != "-0.0"


def test_a_scale_goes_from_the_bottom_to_the_top():
    scale = Scale(10, 0.0, 2.0)
    assert (scale.x(0), scale.x(10), scale.y(0.0), scale.y(2.0), scale.y(9.0)) == (0.0, 1000.0, 100.0, 0.0, 0.0)
    assert rounded_up(0.00012) == pytest.approx(0.0002)
