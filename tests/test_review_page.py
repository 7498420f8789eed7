"""`datagen review` in a real browser, by its keys, and what must never come through it."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from browser import MISSING, Browser

from datagen.review import opinions
from datagen.review.verdicts import read

browser = pytest.mark.skipif(MISSING, reason="chromium is not installed")

WATCHED = """if True:
    import sys

    def watch(event, args):
        if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
            place = args[1] if event == "socket.connect" else args[0] if event == "socket.getaddrinfo" else args[-1]
            host = place[0] if isinstance(place, tuple) else place
            if host not in ("127.0.0.1", "::1", "localhost", "0.0.0.0", None):
                print("PHONED", event, place, file=sys.stderr, flush=True)

    sys.addaudithook(watch)
    from datagen.cli import main
    main()
"""
"""The command, with every connection to another machine said."""


@contextmanager
def served(run: Path, *flags: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of `datagen review RUN` and its process, which is killed without a warning."""
    command = [sys.executable, "-c", WATCHED, "review", str(run), "--port", "0", "--no-browser", "--reviewer", "ann"]
    process = subprocess.Popen([*command, *flags], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://\S+", line)
        if not found:
            process.kill()
            pytest.fail(line + process.stderr.read())
        yield found[0], process
    finally:
        process.kill()
        process.communicate()


def judged(run: Path) -> list[tuple[str, Any]]:
    return [(act["act"], act.get("value")) for act in read(run)[0]]


def browse(url: str, work: Callable[[Browser], Any]) -> Browser:
    """Opens the page, waits for its first question and does `work`; the browser with what it asked for."""

    async def run() -> Browser:
        async with Browser() as page:
            await page.open(url)
            await page.until("document.querySelector('[data-shown]')")
            await work(page)
            return page

    return asyncio.run(run())


async def number(page: Browser, n: int) -> None:
    """Waits until the page shows question `n`."""
    await page.until(f"document.querySelector('article header b').textContent === '{n}'")


@browser
def test_a_question_is_heard_answered_and_judged_by_keys(demo_run, tmp_path):
    async def work(page: Browser) -> None:
        await page.until(
            "document.querySelector('audio').readyState >= 2 && document.querySelector('img').naturalWidth"
        )
        assert await page.evaluate("document.querySelectorAll('article .right, h3').length") == 0
        await page.press(" ")
        await page.until("document.querySelector('audio').currentTime > 0")
        await page.press("1")
        await page.until("document.querySelectorAll('li .right').length === 1")
        # The clip goes on; a new element would have begun anew.
        assert await page.evaluate("document.querySelector('audio').currentTime > 0")
        await page.press("y")
        await number(page, 2)
        await page.press("ArrowRight")
        await number(page, 3)
        await page.press("ArrowLeft")
        await number(page, 2)
        await page.press("n")
        await number(page, 3)
        await page.press("Backspace")
        await number(page, 2)
        await page.press("u")
        await number(page, 1)
        await page.until("document.querySelector('.judge .right') === null")
        await page.evaluate("document.querySelector('[data-key=n]').click()")
        await number(page, 2)
        await page.press("2")
        await page.press("y")
        await number(page, 3)
        await page.picture(tmp_path / "page.png")

    with served(demo_run, "--sample", "8") as (url, process):
        page = browse(url, work)
        process.send_signal(signal.SIGKILL)
        assert process.stderr is not None and process.stderr.read() == ""  # no PHONED
    acts = judged(demo_run)
    assert [act for act, _ in acts] == ["answer", "judge", "judge", "undo", "undo", "judge", "answer", "judge"]
    assert [value for act, value in acts if act == "judge"] == [True, False, False, True]
    assert page.errors == []
    assert [at for at in page.requests if not at.startswith((url, "data:", "blob:"))] == []


@browser
def test_markup_in_a_question_a_choice_and_a_caption_is_text(demo_run, tmp_path):
    bad = "<script>hacked = 1</script><img src=x onerror='hacked = 1'>{{value}}${hacked = 1}</article>"
    for name, column in (("questions", pl.lit(bad)), ("captions", pl.lit(bad))):
        table = pl.read_parquet(demo_run / f"{name}.parquet")
        (demo_run / f"{name}.parquet").unlink()
        table = table.with_columns(column.alias("question" if name == "questions" else "text"))
        if name == "questions":
            table = table.with_columns(answer=pl.lit(bad), choices=pl.concat_list(pl.lit(bad), pl.lit("other")))
        table.write_parquet(demo_run / f"{name}.parquet")

    async def work(page: Browser) -> None:
        await page.press("1")
        await page.until("document.querySelector('section li')")
        for place in ("h2", "section li", "ol .right span"):
            assert bad in await page.evaluate(f"document.querySelector('{place}').textContent"), place
        assert await page.evaluate("typeof hacked") == "undefined"
        assert await page.evaluate("document.querySelectorAll('.review script, .review img[src=x]').length") == 0

    with served(demo_run, "--sample", "2") as (url, _):
        browse(url, work)


@browser
def test_a_page_without_its_server_says_so_and_loses_nothing(demo_run):
    with served(demo_run, "--sample", "4") as (url, process):

        async def work(page: Browser) -> None:
            await page.press("1")
            await page.until("document.querySelector('li .right')")
            process.kill()
            process.wait()
            await page.press("y")
            await page.until("document.body.innerText.includes('datagen does not answer')")

        browse(url, work)
    assert [act for act, _ in judged(demo_run)] == ["answer"]
    with served(demo_run, "--sample", "4") as (url, _):

        async def again(page: Browser) -> None:
            await page.until("document.querySelector('li .right')")
            await page.press("y")
            await number(page, 2)

        browse(url, again)
    assert next(iter(opinions(read(demo_run)[0]).values())).valid is True


def status(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_page_answers_this_machine_alone_and_phones_nobody(demo_run):
    with served(demo_run, "--sample", "2") as (url, process):
        own = url.rstrip("/")
        assert status(url) == status(url, Origin=own) == 200
        assert status(url, Origin="http://elsewhere.example") == 403
        assert status(url, Host="elsewhere.example") == 403
        assert status(f"{url}clip/../run.json") == status(f"{url}clip/%2e%2e/run.json") == 404
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert "default-src 'self'" in answer.headers["content-security-policy"]
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[1]
        assert process.returncode == 0 and said == ""


def call(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from datagen.cli import main; main()", "review", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0: the page has no password"),
        (["--host", "somewhere"], "--host 'somewhere': give an address of this machine"),
        (["--port", "99999"], "--port 99999: "),
        (["--sample", "0"], "--sample 0: give 1 or more"),
        (["--reviewer", ""], "--reviewer '': give a name"),
        (["--json"], "--json: the page prints none: add --report"),
    ],
)
def test_a_wrong_call_is_one_line(demo_run, flags, says):
    done = call(str(demo_run), "--no-browser", *flags)
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1


def test_the_report_is_json_or_tables(demo_run):
    done = call(str(demo_run), "--report", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["judged"] == 0
    done = call(str(demo_run), "--report")
    assert done.returncode == 0 and "0 of" in done.stdout and "false drops" in done.stdout
