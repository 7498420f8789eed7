"""The Batch API against a real loopback server, a real ledger, and a poller that is killed."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest
import world
from batch import measure, right
from batch_server import BatchServer
from kill import write_clips

from datagen import cli
from datagen.config import Config
from datagen.errors import Denied, PermanentError, ServerLost, TransientError, UsageError
from datagen.eval.evaluate import Config as Evaluation
from datagen.eval.evaluate import evaluate
from datagen.llm import Budget, Client, Endpoint, Ledger, Request, Sampling, Stats
from datagen.llm.batch import BatchSender, server_client
from datagen.llm.budget import batch_price_known, price_of

POLL = 0.02


def request(text="hello", **options) -> Request:
    return Request([{"role": "user", "content": text}], "write#1", **options)


MANY = [request(f"question {number}") for number in range(12)]


@pytest.fixture
def batches():
    started = []

    def start(**options) -> BatchServer:
        started.append(BatchServer(**options))
        return started[-1].__enter__()

    yield start
    for server in started:
        server.__exit__()


def asked(server, folder: Path, requests, *, batch=True, stats=None, run="", patience=5.0, **options):
    """What comes of the requests, in order; the ledger is closed after it."""

    async def main():
        ledger = Ledger(folder / "ledger.sqlite", run)
        endpoint = Endpoint("stub", server.url, batch=batch)
        counts = stats if stats is not None else Stats()
        sender = BatchSender(endpoint, ledger, patience=patience, poll=POLL, stats=counts, **options) if batch else None
        client = Client(endpoint, ledger, stats=counts, sender=sender)
        try:
            await client.preflight()
            return await asyncio.gather(*(client.ask(one) for one in requests), return_exceptions=True)
        finally:
            await client.close()
            ledger.close()

    return asyncio.run(asyncio.wait_for(main(), 30))


def answers(folder: Path) -> list[tuple]:
    """The rows of the ledger, without the number of tries, and what is left of the batches."""
    with sqlite3.connect(folder / "ledger.sqlite") as ledger:
        names = "key, max_tokens, finish, prompt_tokens, completion_tokens, cost, error, text, request"
        return sorted(ledger.execute(f"SELECT {names} FROM answers"))


def left(folder: Path) -> tuple[int, int]:
    """Batches and rows that the ledger still holds to be under way."""
    with sqlite3.connect(folder / "ledger.sqlite") as ledger:
        return tuple(ledger.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("batches", "batch_rows"))


def test_a_batch_leaves_the_rows_of_the_online_way(batches, tmp_path):
    server = batches()
    told = [answer.text for answer in asked(server, tmp_path / "batch", MANY)]
    assert told == [answer.text for answer in asked(server, tmp_path / "online", MANY, batch=False)]
    assert answers(tmp_path / "batch") == answers(tmp_path / "online")
    assert left(tmp_path / "batch") == (0, 0)
    assert server.batch_stats()["batches"] == 1 and server.batch_stats()["rows"] == [12]


def test_a_run_changes_over_between_the_ways(batches, tmp_path):
    server = batches()
    asked(server, tmp_path, MANY[:4])
    asked(server, tmp_path, MANY[:8], batch=False)
    again = asked(server, tmp_path, MANY)
    assert [answer.cached for answer in again] == [True] * 8 + [False] * 4
    assert server.stats()["paid_twice"] == 0 and server.batch_stats()["rows"] == [4, 4]


@pytest.mark.parametrize(
    ("fault", "batches_made", "asked_again", "paid_twice"),
    [
        ("expired", 2, 6, 0),
        ("cancelled", 2, 12, 0),
        ("failed", 2, 12, 0),
        ("partial", 2, 4, 0),
        ("rate", 2, 4, 0),
        ("lost", 2, 4, 4),  # done, and nowhere to be had
        ("garbled", 2, 4, 4),
        ("gone", 2, 12, 12),
        ("forgotten", 2, 12, 12),
        ("strange", 2, 12, 12),
        ("doubled", 1, 0, 0),
        ("reset", 1, 0, 0),
        ("refused", 1, 0, 0),
        ("upload", 1, 0, 0),
        ("unheard", 1, 0, 0),
    ],
)
def test_what_a_batch_does_not_bring_is_asked_again_and_nothing_else(
    fault, batches_made, asked_again, paid_twice, batches, tmp_path
):
    server, stats = batches(batch_faults=[fault]), Stats()
    found = asked(server, tmp_path, MANY, stats=stats)
    assert all(answer.text.startswith("answer") for answer in found), found
    told = server.batch_stats()
    assert (told["batches"], stats.retries, told["paid_twice"]) == (batches_made, asked_again, paid_twice)
    assert told["rows"] == [12, asked_again][: told["batches"]]
    assert left(tmp_path) == (0, 0)


def test_a_full_queue_is_waited_for_with_smaller_batches(batches, tmp_path):
    server = batches(batch_faults=["full", "full"])
    assert all(answer.text for answer in asked(server, tmp_path, MANY))
    assert server.batch_stats()["rows"] == [12, 6, 6, 3, 3]
    assert server.stats()["paid_twice"] == 0


def test_a_line_that_is_refused_takes_no_other_with_it(batches, tmp_path):
    server = batches(batch_faults=["bad-line"])
    found = asked(server, tmp_path, MANY)
    assert [isinstance(one, PermanentError) for one in found] == [True] + [False] * 11
    assert "this line is refused" in str(found[0])
    assert server.batch_stats()["rows"] == [12, 11]


def test_files_are_split_by_rows_and_by_bytes(batches, tmp_path):
    server = batches()
    asked(server, tmp_path / "rows", MANY, rows=5)
    assert server.batch_stats()["rows"] == [5, 5, 2]
    asked(server, tmp_path / "bytes", [request("x" * 1000 + str(n)) for n in range(5)], size=3000)
    assert server.batch_stats()["rows"][3:] == [2, 2, 1]
    assert all(server.file(batch.input).stat().st_size <= 3000 for batch in list(server.batches.values())[3:])
    over = asked(server, tmp_path / "over", [request("x" * 5000)], size=3000)[0]
    assert isinstance(over, PermanentError) and "5" in str(over) and "--transport online" in str(over)


def test_a_response_format_that_is_not_known_is_left_out(batches, tmp_path):
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    server = batches(formats=("json_object",))
    found = asked(server, tmp_path, [request(f"q{n}", schema=schema) for n in range(3)])
    assert all(answer.text for answer in found)
    assert server.batch_stats()["rows"] == [3, 3]


def test_no_money_stops_at_once(batches, tmp_path):
    server = batches(batch_faults=["no-money"])
    found = asked(server, tmp_path, MANY)
    assert all(isinstance(one, Denied) and "add credit" in str(one) for one in found)
    assert server.batch_stats()["batches"] == 1
    assert all(answer.text for answer in asked(server, tmp_path, MANY)), "after credit was added"


def test_what_fails_each_time_ends_as_an_error_that_a_later_run_asks_again(batches, tmp_path):
    server = batches(batch_faults=["failed"] * 6)
    found = asked(server, tmp_path, MANY[:2])
    assert all(isinstance(one, TransientError) and "6 attempts" in str(one) for one in found)
    assert all(answer.text for answer in asked(server, tmp_path, MANY[:2]))


def test_a_server_without_a_batch_api_is_told_before_any_work(serve, tmp_path):
    with pytest.raises(UsageError, match=r"no Batch API.*--transport"):
        asked(serve(), tmp_path, MANY)


def test_a_server_that_goes_away_is_waited_for_and_the_batch_taken_over(batches, tmp_path):
    server = batches(seconds=1.0)
    port = server.port

    async def gone():
        await asyncio.sleep(0.5)
        await asyncio.to_thread(server.__exit__)

    async def both():
        ledger = Ledger(tmp_path / "ledger.sqlite")
        endpoint = Endpoint("stub", server.url, batch=True)
        sender = BatchSender(endpoint, ledger, patience=0.5, poll=POLL, stats=Stats())
        client = Client(endpoint, ledger, sender=sender)
        try:
            return await asyncio.gather(client.ask(MANY[0]), gone(), return_exceptions=True)
        finally:
            await client.close()
            ledger.close()

    lost = asyncio.run(asyncio.wait_for(both(), 20))[0]
    assert isinstance(lost, ServerLost) and "every batch goes on" in str(lost)
    assert left(tmp_path) == (1, 1)
    back = BatchServer(port=port)
    back.batches, back.folder, back.uploads = server.batches, server.folder, server.uploads
    with back:
        assert asked(back, tmp_path, MANY[:1])[0].text
    assert len(back.batches) == 1 and left(tmp_path) == (0, 0)


def test_what_nobody_asks_for_any_more_is_kept_until_it_is(batches, tmp_path, capsys):
    server = batches(seconds=0.3)

    async def leave():
        ledger = Ledger(tmp_path / "ledger.sqlite")
        endpoint = Endpoint("stub", server.url, batch=True)
        client = Client(endpoint, ledger, sender=BatchSender(endpoint, ledger, patience=5, poll=POLL, stats=Stats()))
        asking = [asyncio.create_task(client.ask(one)) for one in MANY]
        while not server.batches:  # noqa: ASYNC110 - a thread of its own makes them
            await asyncio.sleep(POLL)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await client.close()
        ledger.close()

    asyncio.run(leave())
    assert left(tmp_path) == (1, 12)
    ledger = Ledger(tmp_path / "ledger.sqlite")
    server_client(Endpoint("stub", server.url), ledger, batch_rows=1, batch_poll=1.0, patience=1, retry_failed=False)
    ledger.close()
    assert "12 requests are under way in batches" in capsys.readouterr().err
    assert asked(server, tmp_path, MANY[:2])[0].text
    assert left(tmp_path) == (1, 10)
    assert all(not answer.cached for answer in asked(server, tmp_path, MANY)[2:])
    assert left(tmp_path) == (0, 0)
    told = server.batch_stats()
    assert (told["batches"], told["paid_twice"]) == (1, 0)


def test_batches_have_their_own_price_where_it_is_known():
    full = Endpoint("gpt-4o-mini", "https://api.openai.com/v1")
    half = Endpoint("gpt-4o-mini", "https://api.openai.com/v1", batch=True)
    assert price_of(half).prompt == price_of(full).prompt / 2 > 0
    assert price_of(half).completion == price_of(full).completion / 2
    assert batch_price_known(half)
    unknown = Endpoint("llama-3.3-70b-versatile", "https://api.groq.com/openai/v1", batch=True)
    assert price_of(unknown) is not None and not batch_price_known(unknown)
    assert batch_price_known(Endpoint("mine", "http://127.0.0.1:1/v1", price_in=1.0, price_out=2.0, batch=True))


def test_the_budget_holds_for_what_is_in_batches(batches, tmp_path):
    server = batches()

    async def main():
        ledger = Ledger(tmp_path / "ledger.sqlite")
        endpoint = Endpoint("stub", server.url, price_in=0.0, price_out=1e6, batch=True)
        budget = Budget(40.0)
        sender = BatchSender(endpoint, ledger, patience=5, poll=POLL, stats=Stats())
        client = Client(endpoint, ledger, budget=budget, sender=sender)
        limit = Sampling(max_tokens=10)
        ask = [client.ask(request(f"q{n}", sampling=limit)) for n in range(20)]
        found = await asyncio.gather(*ask, return_exceptions=True)
        await client.close()
        ledger.close()
        return found, budget

    found, budget = asyncio.run(asyncio.wait_for(main(), 20))
    assert budget.spent <= 40 and any(not isinstance(one, Exception) for one in found)
    assert any("--max-cost" in str(one) for one in found)


def test_a_poller_that_is_killed_pays_nothing_twice_and_leaves_the_bytes_of_the_online_way(tmp_path):
    found = measure(2, 2, tmp_path, runs=["killed"])
    assert right(found), found
    assert found["killed"]["kills"] == {"unheard of": 1, "fetched": 1}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_batches_that_fail_in_every_way_leave_the_bytes_of_the_online_way(tmp_path):
    found = measure(12, 9, tmp_path)
    assert right(found), found
    assert sum(found["killed"]["kills"].values()) == 9 and found["faults"]["asked_again"] > 0, found


def test_one_role_may_go_by_batches(batches, tmp_path, capsys, monkeypatch):
    write_clips(tmp_path / "clips", 2)
    server, way = batches(responder=world.respond), "writer=batch,reader=online"
    call = ["build", "--source", "folder", "--audio", str(tmp_path / "clips"), "--model", "stub"]
    call += ["--base-url", server.url, "--out", str(tmp_path / "run"), "--transport", way, "--batch-poll", "0.02"]
    monkeypatch.setattr("sys.argv", ["datagen", *call, "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code and json.loads(capsys.readouterr().out)["kept"]
    written = [line for batch in server.batches.values() for line in server.file(batch.input).read_text().splitlines()]
    assert len(written) == 2 and all("multiple-choice questions" in line for line in written)


@pytest.mark.parametrize(
    ("way", "told"),
    [
        ("post", "use online or batch"),
        ("writer=post", "use online or batch"),
        ("scribe=batch", "no such role"),
        ("online,batch", "give one of them"),
    ],
)
def test_a_way_that_is_not_known_is_told(way, told):
    with pytest.raises(UsageError, match=told):
        Config(source="demo", transport=way)


def test_an_evaluation_goes_by_batches_too(batches, tmp_path):
    rows = [
        {"id": f"i{n}", "question": f"Which {n}?", "choices": ["a dog", "a cat"], "answer": "a cat"} for n in range(4)
    ]
    (tmp_path / "items.json").write_text(json.dumps(rows))
    server = batches(responder=lambda body: "a cat")
    found = {
        way: evaluate(
            Evaluation(
                "file", tmp_path / "items.json", "stub", tmp_path / way, base_url=server.url, condition="none",
                transport=way, batch_poll=POLL,
            )
        )
        for way in ("batch", "online")
    }  # fmt: skip
    assert server.batch_stats()["rows"] == [4] and found["batch"]["spent"]["calls"] == 4
    bytes_of = {way: (tmp_path / way / "predictions.jsonl").read_bytes() for way in found}
    assert bytes_of["batch"] == bytes_of["online"]
    with pytest.raises(UsageError, match="no such role"):
        Evaluation("file", "x", "stub", tmp_path, condition="none", transport="writer=batch")
