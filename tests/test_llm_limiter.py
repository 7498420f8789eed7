"""The limiter: against a real server that takes so many at once, and by itself."""

from __future__ import annotations

import asyncio
import time

import pytest

from datagen.llm import Client, Endpoint, Ledger, Request
from datagen.llm.limiter import Limiter


def ask_all(server, path, count, **options):
    """The client, after `count` questions were asked at once."""

    async def main():
        ledger = Ledger(path)
        client = Client(Endpoint("stub", server.url, **options.pop("endpoint", {})), ledger, **options)
        requests = [Request([{"role": "user", "content": f"q{i}"}], "p#1") for i in range(count)]
        answers = await asyncio.gather(*(client.ask(request) for request in requests))
        await client.close()
        ledger.close()
        assert all(answer.text for answer in answers)
        return client

    return asyncio.run(main())


def test_a_server_that_takes_64_at_once_is_found_out_and_kept_busy(serve, tmp_path):
    server = serve(latency=0.03, limit=64)
    client = ask_all(server, tmp_path / "l.sqlite", 1000, concurrency=256)
    refused = server.stats()["outcomes"]["over"]
    assert refused <= 2 * (256 - 64)
    assert 40 <= client._sender.limiter.limit <= 70


def test_scattered_refusals_cost_only_their_own_requests(serve, tmp_path):
    server = serve(latency=0.03, faults={"429": 0.05})
    client = ask_all(server, tmp_path / "l.sqlite", 1000, concurrency=64)
    assert server.stats()["outcomes"]["429"] > 20
    assert client._sender.limiter.limit == 64


def test_no_more_than_the_concurrency_is_ever_under_way(serve, tmp_path):
    server = serve(latency=0.01)
    ask_all(server, tmp_path / "l.sqlite", 100, concurrency=7)
    assert server.stats()["in_flight_peak"] == 7


@pytest.mark.parametrize("cap", [{"rpm": 1200}, {"tpm": 1200 * 1025}], ids=["rpm", "tpm"])
def test_requests_and_tokens_a_minute_are_kept(serve, tmp_path, cap):
    server = serve()
    started = time.monotonic()
    ask_all(server, tmp_path / "l.sqlite", 40, endpoint=cap)
    assert time.monotonic() - started >= 0.9


def test_a_place_given_to_a_cancelled_request_goes_to_the_next():
    async def main():
        limiter = Limiter(1)
        epoch = await limiter.acquire()
        waiting = [asyncio.create_task(limiter.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        limiter.release(epoch)
        waiting[1].cancel()  # its place was given just now
        await asyncio.wait_for(waiting[2], 1)
        assert limiter.in_flight == 1

    asyncio.run(main())


def test_a_burst_halves_the_limit_once_and_its_stragglers_follow_what_is_out():
    async def main():
        limiter = Limiter(16)
        epochs = [await limiter.acquire() for _ in range(16)]
        for epoch in epochs[:4]:
            limiter.release(epoch, refused=True)
        assert limiter.limit == 8
        for epoch in epochs[4:12]:
            limiter.release(epoch, refused=True)
        assert limiter.limit == limiter.in_flight == 4

    asyncio.run(main())
