"""The list of items of an evaluation's page, in a real browser: its filters find what the predictions hold."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from urllib.parse import urlencode

import pytest
from browser import MISSING, Browser
from test_eval_report import HOSTILE, folder  # noqa: F401  (a fixture)

from datagen.eval.outputs import opened

pytestmark = pytest.mark.skipif(MISSING, reason="chromium is not installed")
OPEN = "document.querySelectorAll('#list details').forEach((item) => { item.open = true })"
BODIES = "document.querySelectorAll('#list .body').length === document.querySelectorAll('#list details').length"
IDS = "[...document.querySelectorAll('#list .body > p.soft:first-of-type')].map((line) => line.textContent)"
COUNT = "document.getElementById('count')?.textContent"


def expected(lines, wanted):
    """Rows of the items that a choice of filters should list."""
    items = defaultdict(list)
    for line in lines:
        items[line.row].append(line)

    def share(rows, condition, order):
        of = [line.strict for line in rows if (line.condition, line.order) == (condition, order)]
        return sum(of) / len(of)

    def turned(rows, audio):
        orders = [wanted["order"]] if "order" in wanted else ["original", "circular"]
        both = [[share(rows, name, order) for name in ("audio", "none")] for order in orders]
        return any((a > 0.5 > b) if audio else (a < 0.5 < b) for a, b in both)

    def shown(rows):
        cell = wanted.get("condition"), wanted.get("order")
        return [line for line in rows if cell[0] in (None, line.condition) and cell[1] in (None, line.order)]

    tests = {
        "deaf": lambda rows: turned(rows, False),
        "hears": lambda rows: turned(rows, True),
        "matchers": lambda rows: any(line.official != line.strict for line in shown(rows)),
        "unanswered": lambda rows: any(line.text is None for line in shown(rows)),
        "unread": lambda rows: any(line.text is not None and line.reading is None for line in shown(rows)),
        "wrong": lambda rows: 2 * sum(line.strict for line in shown(rows)) < len(shown(rows)),
        "right": lambda rows: 2 * sum(line.strict for line in shown(rows)) > len(shown(rows)),
        "orders": lambda rows: any(
            len({line.reading for line in shown(rows) if line.condition == name}) > 1 for name in ("audio", "none")
        ),
    }

    def said(rows):
        return "text" not in wanted or any(wanted["text"] in (line.text or "") + line.id for line in shown(rows))

    show = tests.get(wanted.get("show", ""), lambda rows: True)
    return [rows[0].id for rows in items.values() if show(rows) and said(rows)]


def test_filters_find_what_the_predictions_hold(folder):  # noqa: F811
    lines = list(opened(folder).lines())
    choices = [
        {}, {"show": "deaf"}, {"show": "hears"}, {"show": "matchers"}, {"show": "unanswered"}, {"show": "unread"},
        {"show": "wrong", "condition": "audio"}, {"show": "right", "order": "original"}, {"show": "orders"},
        {"show": "deaf", "order": "original"}, {"text": HOSTILE.strip()}, {"text": "nowhere said"},
    ]  # fmt: skip

    async def drive():
        async with Browser() as page:
            await page.open((folder / "report.html").as_uri())
            await page.until(COUNT)
            for wanted in choices:
                ids = expected(lines, wanted)
                await page.evaluate(f"location.hash = {urlencode(wanted)!r}")
                await page.until(f"{COUNT} === '{len(ids)} of 20 items'", 5)
                await page.evaluate(OPEN)
                await page.until(BODIES, 5)
                found = await page.evaluate(IDS)
                assert [said.split(" · task")[0] for said in found] == ids, wanted
                assert 0 < len(ids) < 20 or wanted in ({}, {"text": "nowhere said"}), (wanted, len(ids))
            assert await page.evaluate("document.querySelectorAll('#list script, #list img').length") == 0
            return page

    page = asyncio.run(drive())
    assert page.errors == []
    assert all(address.startswith(("file:", "data:")) for address in page.requests)


def test_a_form_keeps_its_choice_and_clips_play(folder):  # noqa: F811
    async def drive():
        async with Browser() as page:
            await page.open((folder / "report.html").as_uri() + "#text=item00005")
            await page.until("document.querySelector('#list audio')?.readyState > 0")
            assert 0.2 <= await page.evaluate("document.querySelector('#list audio').duration") < 0.5
            await page.evaluate("filters.elements.text.value = 'item00006'; filters.dispatchEvent(new Event('input'))")
            await page.until("location.hash === '#text=item00006'", 5)
            await page.evaluate(OPEN)
            await page.until("document.querySelector('#list .body')?.textContent.includes('No audio: missing')", 5)
            assert "no answer: audio_missing" in await page.evaluate("document.querySelector('#list').textContent")
            await page.evaluate("document.querySelector('#filters button').click()")
            await page.until(f"location.hash === '' && {COUNT} === '20 of 20 items'", 5)
            return page.errors

    assert asyncio.run(drive()) == []
