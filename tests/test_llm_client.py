"""The client against a real loopback server and a real ledger."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from model_server import ModelServer

from datagen.errors import Denied, OverBudget, PermanentError, ServerLost, TransientError, UsageError
from datagen.llm import Budget, Client, Endpoint, Ledger, Request, Sampling, Unparsable, ask_parsed, estimate, metered
from datagen.llm.reply import Reply, interpret
from datagen.llm.request import names
from datagen.sound import Sound

SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}


def request(text="hello", prompt="write#1", **options) -> Request:
    return Request([{"role": "user", "content": text}], prompt, **options)


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


@pytest.fixture
def run(ledger):
    """`run(server or url, work, **options)`: the result of `work(client)`."""

    def run(server, work, *, endpoint=None, **options):
        async def main():
            url = server if isinstance(server, str) else server.url
            client = Client(endpoint or Endpoint("stub", url), ledger, **options)
            try:
                return await work(client)
            finally:
                await client.close()

        return asyncio.run(main())

    return run


def ask(*requests):
    async def work(client):
        return await asyncio.gather(*(client.ask(one) for one in requests), return_exceptions=True)

    return work


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


# --- the ledger's part


def test_an_answer_is_asked_once_ever(serve, run):
    server = serve()
    first = run(server, ask(request()))[0]
    again = run(server, ask(request()))[0]
    assert (first.text, first.cached, again.cached) == (again.text, False, True)
    assert first.finish == "stop" and first.completion_tokens > 0
    assert server.stats()["requests"] == 1


def test_answers_that_are_known_are_read_together(serve, run, ledger):
    server = serve()
    requests = [request(f"q{i}") for i in range(300)]
    run(server, ask(*requests))
    statements: list[str] = []
    ledger._read.set_trace_callback(statements.append)
    assert all(answer.cached for answer in run(server, ask(*requests, *requests)))
    assert len(statements) == 1 and server.stats()["requests"] == 300


def test_equal_questions_under_way_are_asked_once(serve, run):
    server = serve(latency=0.05)
    answers = run(server, ask(*[request()] * 20, request("other")))
    assert len({answer.text for answer in answers}) == 2
    assert server.stats()["requests"] == 2


def test_whoever_waits_asks_when_the_first_is_cancelled(serve, run):
    async def work(client):
        first = asyncio.create_task(client.ask(request()))
        second = asyncio.create_task(client.ask(request()))
        await asyncio.sleep(0.05)
        first.cancel()
        return await second

    assert run(serve(latency=0.1), work).text.startswith("answer")


@pytest.mark.parametrize(
    "other",
    [
        request("hello!"),
        request(schema=SCHEMA),
        request(sample=1),
        request(sampling=Sampling(temperature=0.5)),
        request(sampling=Sampling(top_p=0.5)),
        request(sampling=Sampling(seed=0)),
        request(sampling=Sampling(extra={"top_k": 4})),
        Request(request().messages, "write#2"),
    ],
)
def test_everything_that_decides_the_answer_is_in_the_key(other):
    assert other.key("m") != request().key("m") != request().key("m@2")


def test_the_key_depends_on_nothing_else(tmp_path):
    assert request(sampling=Sampling(max_tokens=1)).key("m") == request().key("m")
    assert request(sampling=Sampling(extra={"a": 1, "b": 2})).key("m") == request(
        sampling=Sampling(extra={"b": 2, "a": 1})
    ).key("m")
    assert Endpoint("m", "http://a").identity == Endpoint("m", "http://b", price_in=1.0, rpm=3).identity
    assert Endpoint("m", "http://a", revision="2").identity == "m@2"


@pytest.mark.parametrize(
    "part", [Sound("AAAA", "wav"), {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]
)
def test_the_keys_of_ledgers_that_there_are_stay_as_they_are(part):
    messages = [
        {"role": "system", "content": "é"},
        {"role": "user", "content": [part, {"type": "text", "text": "What?"}]},
    ]
    schema = {"type": "object", "properties": {"b": {}, "a": {}}}
    asked = Request(messages, "caption#1", schema, Sampling(0.7, 0.9, 64, 3, {"top_k": 4}), 2)
    assert asked.key("stub@1") == "53021bf163b9dd2eff45eda7236b8b1b"


def test_what_is_left_is_known_without_asking(serve, run, ledger):
    server = serve(faults={"filter": 0.3})
    requests = [request(str(i)) for i in range(250)]
    run(server, ask(*requests[:130]))

    async def known(client):
        return list(client.known(requests))

    other = [request(str(i), sampling=Sampling(max_tokens=9)) for i in range(250)]
    assert run(server, known) == [True] * 130 + [False] * 120
    refused = sum(ledger.get(one.key("stub")).error is not None for one in requests[:130])
    assert 0 < refused == run(server, known, retry_failed=True)[:130].count(False)

    async def known_by_another_limit(client):
        return list(client.known(other))

    assert run(server, known_by_another_limit).count(True) == 130 - refused


@pytest.mark.parametrize("retry_failed", [False, True])
def test_what_is_told_to_be_known_is_what_is_not_sent(retry_failed, serve, tmp_path, monkeypatch):
    monkeypatch.setattr("datagen.llm.client.LOOKED_UP", 17)
    monkeypatch.setattr("datagen.llm.client.READ", 5)
    kinds = [
        {"schema": schema, "sampling": Sampling(seed=seed, max_tokens=limit), "sample": seed}
        for schema in (None, SCHEMA) for seed in (0, 1) for limit in (16, 32, 48)
    ]  # fmt: skip
    requests = [request(str(number), **kind) for number in range(20) for kind in kinds]
    server, cut = serve(faults={"filter": 0.6}), serve(finish="length")

    async def ask_some(ledger, server, some):
        client = Client(Endpoint("stub", server.url), ledger, retry_failed=retry_failed)
        known, sent = list(client.known(some)), []
        for one in some:
            before = server.stats()["requests"]
            with contextlib.suppress(PermanentError):
                await client.ask(one)
            sent.append(server.stats()["requests"] > before)
        again = list(client.known(some))
        await client.close()
        return known, sent, again

    base = Ledger(tmp_path / "base.sqlite")
    asyncio.run(ask_some(base, cut, requests[1::7]))
    asyncio.run(ask_some(base, server, requests[::5]))
    base.close()
    ledger = Ledger(tmp_path / "ledger.sqlite", base=tmp_path / "base.sqlite")
    asyncio.run(ask_some(ledger, cut, requests[2::7]))
    asyncio.run(ask_some(ledger, server, requests[1::5]))
    for number in range(3):
        part = requests[number::3]  # of one limit: what another brings may serve it
        known, sent, again = asyncio.run(ask_some(ledger, server, part))

        assert [not one for one in sent] == known and len(set(known)) == 2
        assert all(again)
    ledger.close()


def test_keys_made_together_are_those_made_one_by_one():
    plain = {"prompt": "p#1", "schema": None, "sampling": Sampling(max_tokens=9), "sample": 0}
    other = {"prompt": "p#2", "schema": SCHEMA, "sampling": Sampling(0.5, max_tokens=9), "sample": 1}
    requests = [
        request(text, **options)
        for name, value in other.items() for text, options in (("a", plain), ("é", plain), ("é", plain | {name: value}))
    ]  # fmt: skip
    assert list(names(requests, "stub@1")) == [(one.key("stub@1"), 9) for one in requests]
    assert len(set(names(requests, "stub@1"))) == 2 + len(other)


def heard(audio: bytes) -> Request:
    part = {"type": "input_audio", "input_audio": {"data": base64.b64encode(audio).decode(), "format": "wav"}}
    return Request([{"role": "user", "content": [{"type": "text", "text": "What?"}, part]}], "caption#1")


def test_audio_is_sent_whole_and_remembered_by_its_hash(serve, run, ledger):
    audio = bytes(range(256)) * 8000  # 2 MB: a minute of WAV
    server = serve()
    server.bodies = []
    answer = run(server, ask(heard(audio)))[0]
    sent = server.bodies[0]["messages"][0]["content"][1]["input_audio"]["data"]
    assert base64.b64decode(sent) == audio
    assert len(ledger.get(answer.key).request) < 500
    assert heard(audio).key("m") != heard(audio[:-1] + b"x").key("m")
    assert heard(bytes(32_000 * 10)).tokens() == 25 * 10 + 1 + 2


def test_a_larger_limit_asks_again_only_what_was_cut_off(serve, run):
    server = serve(finish="length")
    small, large = (request(sampling=Sampling(max_tokens=n)) for n in (16, 32))
    run(server, ask(small, small, large))
    assert server.stats()["requests"] == 2
    assert [answer.cached for answer in run(server, ask(small, large))] == [True, True]


# --- what goes over the wire


def test_the_request_is_in_openais_form_and_the_key_comes_from_the_environment(serve, run, monkeypatch, ledger):
    monkeypatch.setenv("MY_KEY", "sk-marked-key")
    server = serve()
    server.bodies = []
    sampling = Sampling(0.7, 0.9, 64, seed=3, extra={"top_k": 5})
    run(server, ask(request(schema=SCHEMA, sampling=sampling)), endpoint=Endpoint("stub", server.url, key_env="MY_KEY"))
    body = server.bodies[0]
    assert body["response_format"]["json_schema"] == {"name": "answer", "strict": True, "schema": SCHEMA}
    del body["response_format"], body["messages"]
    assert body == {"model": "stub", "temperature": 0.7, "top_p": 0.9, "max_tokens": 64, "seed": 3, "top_k": 5}
    assert "authorization: bearer sk-marked-key" in server.headers[0].lower()
    ledger.close()
    written = b"".join(path.read_bytes() for path in ledger.path.parent.iterdir())
    assert b"answer" in written and b"sk-marked-key" not in written


@pytest.mark.parametrize(
    ("formats", "used"), [(["json_object"], {"type": "json_object"}), ([], None)], ids=["json_object", "none"]
)
def test_a_server_without_json_schema_is_asked_with_less(serve, run, ledger, formats, used):
    server = serve(formats=formats)
    server.bodies = []
    answers = run(server, ask(request("a", schema=SCHEMA), request("b", schema=SCHEMA)))
    assert all(answer.text for answer in answers)
    assert server.bodies[-1].get("response_format") == used
    assert ledger.totals().answers == 2  # the refusals are no answers
    asked = server.stats()["requests"]
    run(server, ask(request("b", schema=SCHEMA)))
    assert server.stats()["requests"] == asked


@pytest.mark.parametrize("cut", ["", "/v1", "/v1/", "/v1/chat/completions"])
def test_the_base_url_may_be_written_in_any_way(serve, run, cut):
    server = serve()
    assert run(server.url.removesuffix("/v1") + cut, ask(request()))[0].text.startswith("answer")


def test_a_wrong_path_or_model_says_what_was_tried_and_is_no_answer(serve, run, ledger):
    error = run(serve().url.replace("/v1", "/api"), ask(request()))[0]
    assert isinstance(error, Denied)
    assert "/api/chat/completions and http" in str(error) and "--base-url" in str(error)
    server = serve()
    error = run(server, ask(request()), endpoint=Endpoint("typo", server.url))[0]
    assert isinstance(error, Denied) and "The model typo does not exist" in str(error)
    assert ledger.totals().answers == 0


# --- faults


@pytest.mark.parametrize("fault", ["429", "429-bare", "500", "503", "reset", "truncated", "html", "empty"])
def test_every_row_comes_through_a_fault(serve, run, ledger, fault):
    server = serve(faults={fault: 0.3}, seed=3)
    answers = run(server, ask(*(request(f"q{i}") for i in range(60))))
    assert [answer for answer in answers if isinstance(answer, Exception)] == []
    assert ledger.totals().answers == 60
    assert server.stats()["outcomes"][fault] > 5
    assert max(answer.attempts for answer in answers) > 1


def test_a_server_that_hangs_costs_the_timeout(serve, run):
    server = serve(faults={"hang": 0.3}, seed=1)
    answers = run(server, ask(*(request(f"q{i}") for i in range(20))), timeout=0.3)
    assert all(answer.text for answer in answers)


def test_a_request_that_always_fails_is_given_up_and_asked_again_next_time(serve, run, ledger, monkeypatch):
    monkeypatch.setattr("datagen.llm.sender.FIRST_WAIT", 0.001)
    server = serve(status=500)
    error = run(server, ask(request()))[0]
    assert isinstance(error, TransientError) and "500: boom; 6 attempts" in str(error) and error.key
    assert ledger.totals().answers == 0
    server.status = 0
    assert run(server, ask(request()))[0].text


def test_a_refusal_for_good_is_remembered_until_it_is_to_be_tried_again(serve, run):
    server = serve(faults={"filter": 1.0})
    errors = run(server, ask(request(), request("b"))) + run(server, ask(request()))
    assert all(isinstance(error, PermanentError) and "filtered" in str(error) for error in errors)
    assert "content_filter" in errors[-1].raw and len(errors[-1].key) == 32
    assert server.stats()["requests"] == 2
    server.faults = {}
    assert run(server, ask(request()), retry_failed=True)[0].text
    assert run(server, ask(request()))[0].cached


def test_what_fails_again_is_not_tried_twice_in_one_run(serve, run):
    server = serve(faults={"filter": 1.0})
    run(server, ask(request()))

    async def work(client):
        return [(await ask(request())(client))[0] for _ in range(3)]

    assert all(isinstance(error, PermanentError) for error in run(server, work, retry_failed=True))
    assert server.stats()["requests"] == 2


def test_a_filtered_or_refused_answer_is_a_refusal_for_good(serve, run):
    assert isinstance(run(serve(finish="content_filter"), ask(request()))[0], PermanentError)
    message = {"content": None, "refusal": "I cannot do that"}
    body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
    with pytest.raises(PermanentError, match="I cannot do that"):
        interpret(Reply(200, body, "http://x"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"usage": {"prompt_tokens": -5}},
        {"usage": {"completion_tokens": 2**63}},
        {"usage": {"completion_tokens": 1e308}},
        {"usage": {"prompt_tokens": "many"}},
        {"choices": [{"message": {"content": "a"}, "finish_reason": {"a": 1}}]},
        {"choices": [{"message": {"content": "a"}, "finish_reason": 3}]},
    ],
)
def test_a_reply_with_values_that_are_none_is_tried_again(wrong):
    whole = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}
    assert interpret(Reply(200, json.dumps(whole).encode(), "http://x")).text == "a"
    with pytest.raises(TransientError, match="answered 200 without a chat completion"):
        interpret(Reply(200, json.dumps(whole | wrong).encode(), "http://x"))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "a "}, {"type": "text", "text": "dog"}], "a dog"),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "a"}], "a"),
        ([], ""),
        (None, ""),
    ],
)
def test_a_reply_in_parts_or_behind_a_byte_order_mark_is_read(content, text):
    whole = {"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}
    assert interpret(Reply(200, json.dumps(whole).encode("utf-8-sig"), "http://x")).text == text


@pytest.mark.parametrize("part", ["a", {"text": "a"}, {"type": "text"}, {"type": "text", "text": None}])
def test_a_reply_in_other_parts_is_tried_again(part):
    whole = {"choices": [{"message": {"content": [part]}, "finish_reason": "stop"}]}
    with pytest.raises(TransientError, match="answered 200 without a chat completion"):
        interpret(Reply(200, json.dumps(whole).encode(), "http://x"))


class Bomb(BaseHTTPRequestHandler):
    """Every reply unpacks to 20 MB."""

    packed = gzip.compress(b" " * 20_000_000, 1)

    def do_POST(self):
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(self.packed)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(self.packed)

    def log_message(self, *_):
        """Nothing."""


def test_a_small_reply_that_unpacks_to_a_large_one_is_not_read_whole(run, ledger):
    with ThreadingHTTPServer(("127.0.0.1", 0), Bomb) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1"
        error = run(url, ask(request()))[0]
        server.shutdown()
    assert isinstance(error, PermanentError)
    assert str(error) == f"{url}/chat/completions answered with 16 MB or more"
    assert ledger.totals().answers == 1  # it would be as large again


def test_a_reply_without_a_word_is_told_by_its_number():
    with pytest.raises(PermanentError, match=r"^http://x answered 204$"):
        interpret(Reply(204, b"", "http://x"))


def test_an_answer_that_no_limit_allows_is_none(serve, run):
    error = run(serve(responder=lambda body: "x" * 1_000_001), ask(request()))[0]
    assert isinstance(error, PermanentError)
    assert str(error).endswith("answered with 1000001 characters") and len(error.raw) < 1000


def test_a_request_that_alone_is_refused_is_given_up_after_the_patience(serve, run):
    server = serve(latency=0.02)
    first: list[int] = []

    def draw(prompt: int, time: int) -> str:
        first.append(prompt)
        return "429" if prompt == first[0] else ""

    server.draw = draw

    async def work(client):
        lone = asyncio.ensure_future(client.ask(request("lone")))
        await asyncio.sleep(0.01)
        others = 0
        while not lone.done():  # the server answers others all the time, so it is not lost
            await client.ask(request(f"q{others}"))
            others += 1
        return lone.exception(), others

    error, others = run(server, work, patience=1.0, concurrency=2)
    assert type(error) is TransientError and others > 10


def test_a_server_that_refuses_everything_stops_the_run(serve, run):
    server = serve(status=400)
    errors = run(server, ask(*(request(f"q{i}") for i in range(100))), concurrency=4)
    assert isinstance(errors[-1], Denied) and "change the call" in str(errors[-1])
    assert server.stats()["requests"] < 35


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_denial_stops_at_once_and_never_shows_the_key(serve, run, ledger, monkeypatch, status):
    monkeypatch.setenv("MY_KEY", "Incorrect")  # the server's message repeats it
    server = serve(status=status)
    endpoint = Endpoint("stub", server.url, key_env="MY_KEY")
    errors = run(server, ask(*(request(f"q{i}") for i in range(50))), endpoint=endpoint, concurrency=2)
    assert all(isinstance(error, Denied) for error in errors)
    assert f"answered {status}" in str(errors[0]) and "$MY_KEY" in str(errors[0])
    assert "Incorrect" not in str(errors[0]) + errors[0].raw
    assert server.stats()["requests"] <= 2
    assert ledger.totals().answers == 0


def test_a_server_that_is_lost_is_waited_for_and_then_named(run):
    started = time.monotonic()
    errors = run(f"http://127.0.0.1:{closed_port()}", ask(*(request(f"q{i}") for i in range(20))), patience=0.5)
    assert all(isinstance(error, ServerLost) for error in errors)
    assert "no answer from http://127.0.0.1" in str(errors[0]) and "refused" in str(errors[0]).lower()
    assert time.monotonic() - started >= 0.5


def test_a_server_that_comes_back_goes_on(serve, run):
    port = closed_port()
    late = ModelServer(port=port)
    timer = threading.Timer(0.6, late.__enter__)
    timer.start()
    try:
        answers = run(f"http://127.0.0.1:{port}", ask(*(request(f"q{i}") for i in range(50))), patience=10)
    finally:
        timer.join()
        late.__exit__()
    assert all(answer.text for answer in answers)
    assert late.stats()["paid_twice"] == 0


def test_a_server_that_refuses_every_request_is_lost_in_the_end(serve, run):
    errors = run(serve(status=429), ask(request("a"), request("b")), patience=0.5)
    assert all(isinstance(error, ServerLost | TransientError) for error in errors)


# --- money


def priced(server) -> Endpoint:
    return Endpoint("stub", server.url, price_in=1.0, price_out=1_000_000.0)  # a dollar a token of the answer


def test_the_budget_is_never_passed_and_stops_only_when_it_is_used(serve, run, ledger):
    server = serve(lambda body: "x" * 4)  # 2 tokens
    budget = Budget(20.0)
    requests = [request(f"q{i}", sampling=Sampling(max_tokens=4)) for i in range(30)]
    results = run(server, ask(*requests), endpoint=priced(server), budget=budget)
    answered = [result for result in results if not isinstance(result, Exception)]
    assert 8 <= len(answered) <= 10 and ledger.totals().cost <= 20.0
    assert {type(result) for result in results if result not in answered} == {OverBudget}
    assert "--max-cost" in str(next(result for result in results if isinstance(result, OverBudget)))
    assert budget.spent == pytest.approx(ledger.totals().cost)


def test_a_budget_of_nothing_pays_nothing_and_known_answers_stay_free(serve, run):
    server = serve()
    run(server, ask(request("known")), endpoint=priced(server))
    known, other = run(server, ask(request("known"), request("b")), endpoint=priced(server), budget=Budget(0.0))
    assert known.cached and isinstance(other, OverBudget)
    assert server.stats()["requests"] == 1


def test_prices_come_from_the_endpoint_or_its_provider_or_are_unknown(serve, run):
    async def price(client):
        return client.price(1e6, 0), client.price(0, 1e6)

    openai = Endpoint("gpt-4o-mini", "https://api.openai.com/v1")
    assert run("", price, endpoint=openai) == pytest.approx((0.15, 0.6))
    assert run("", price, endpoint=Endpoint("gpt-4o-mini", "http://127.0.0.1:1/v1")) == (None, None)
    server = serve()
    assert run(server, ask(request()))[0].cost is None
    with pytest.raises(UsageError, match="--max-cost needs a price and none is known for 'stub'"):
        run(server, lambda client: client.preflight(), budget=Budget(1.0))


def test_a_meter_counts_what_work_used_paid_or_not_and_in_any_order(serve, run):
    server = serve()

    async def work(client):
        with metered() as usage:
            await asyncio.gather(*(client.ask(request(f"q{i % 7}")) for i in range(20)))
        await client.ask(request("outside"))
        return usage

    first, again = (run(server, work, endpoint=priced(server)) for _ in range(2))
    assert first == again and first.answers == 7 and first.cost_usd == pytest.approx(7 * 6, rel=0.01)
    first.add(run(server, work, endpoint=Endpoint("stub", server.url, "other")))
    assert first.answers == 14 and first.cost_usd is None


def test_a_dry_run_counts_without_asking():
    requests = [request("x" * 400, sampling=Sampling(max_tokens=50))] * 3
    known = estimate(requests, Endpoint("m", "http://127.0.0.1", price_in=10.0, price_out=20.0))
    assert (known.calls, known.prompt_tokens, known.completion_tokens) == (3, 300, 150)
    assert known.cost == pytest.approx(0.006)
    assert estimate(requests, Endpoint("m", "http://127.0.0.1")).cost is None


# --- preflight


def preflight(client):
    return client.preflight()


def test_preflight_passes_a_server_that_serves_the_model_or_lists_none(serve, run):
    run(serve(), preflight)
    run(serve().url.removesuffix("/v1"), preflight)
    run(serve(models=None), preflight)
    run(serve(models=["other"], unlisted=["stub"]), preflight)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"models": ["a", "b"]}, "does not serve 'stub': pass --model with one of a, b"),
        ({"status": 401}, r"answered 401: put a valid key in \$OPENAI_API_KEY \(it is not set\)"),
        ({"status": 403}, "answered 403"),
    ],
)
def test_preflight_says_in_one_line_what_is_wrong(serve, run, monkeypatch, options, says):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UsageError, match=says):
        run(serve(**options), preflight)


def test_preflight_names_an_address_where_nothing_answers(run):
    with pytest.raises(UsageError, match=r"no server answers at http://127.0.0.1:\d+ \(.*start it or pass --base-url"):
        run(f"http://127.0.0.1:{closed_port()}", preflight)
    with pytest.raises(UsageError, match="write it like"):
        run("127.0.0.1:8000", preflight)


SLOW = """
import asyncio, sys, threading, time
main, call = threading.get_ident(), asyncio.BaseEventLoop.call_soon_threadsafe
def slow(*words, **more):
    call(*words, **more)
    for _ in range(0 if threading.get_ident() == main else 200):  # each a moment in which the interpreter may end
        time.sleep(0.001)
asyncio.BaseEventLoop.call_soon_threadsafe = slow
from datagen.errors import UsageError
from datagen.llm import Client, Endpoint, Ledger
async def ask(client):
    try:
        await client.preflight()
    except UsageError:
        sys.exit(2)
    finally:
        await client.close()
asyncio.run(ask(Client(Endpoint("m", sys.argv[1]), Ledger(sys.argv[2]))))
"""


def test_a_thread_that_still_wakes_the_loop_does_not_abort_the_process_that_ends(tmp_path):
    url = f"http://127.0.0.1:{closed_port()}"
    done = subprocess.run(
        [sys.executable, "-c", SLOW, url, tmp_path / "ledger.sqlite"], capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (2, b"")


def test_preflight_says_that_a_proxy_stands_between(run, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    with pytest.raises(UsageError, match=r"no server answers at http://example.invalid/v1 \(.*, by the proxy of"):
        run("http://example.invalid/v1", preflight)


def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(serve, run, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-se\ncret")
    with pytest.raises(UsageError, match=r"^\$OPENAI_API_KEY holds characters") as error:
        run(serve(), preflight)
    assert "cret" not in str(error.value)


def test_a_key_may_end_with_a_newline(serve, run, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret\n")
    server = serve()
    server.bodies = []
    run(server, ask(request()))
    assert "authorization: bearer sk-secret\r\n" in f"{server.headers[0]}\r\n".lower()


def test_preflight_takes_at_most_five_seconds(run, monkeypatch):
    monkeypatch.setattr("datagen.llm.transport.PREFLIGHT", 0.4)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        with pytest.raises(UsageError, match=r"nothing within 0.2 s"):
            run(f"http://127.0.0.1:{deaf.getsockname()[1]}", preflight)


# --- parsing


def read_json(text: str) -> dict[str, object]:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON ({error.msg})") from None


def repairable(body) -> str:
    return '{"a": 1}' if len(body["messages"]) > 1 else "sure! {"


def test_an_answer_that_does_not_parse_gets_one_repair_turn(serve, run, ledger):
    server = serve(repairable)
    server.bodies = []
    parsed = run(server, lambda client: ask_parsed(client, request(), read_json))
    assert parsed.value == {"a": 1} and len(parsed.keys) == 2
    _, said, told = server.bodies[1]["messages"]
    assert said == {"role": "assistant", "content": "sure! {"} and "it is no JSON" in told["content"]
    assert json.loads(ledger.get(parsed.keys[1]).request)["prompt"] == "write#1/repair"


def test_what_cannot_be_repaired_keeps_both_raw_answers(serve, run):
    server = serve(lambda body: f"no {len(body['messages'])}", finish="length")
    with pytest.raises(Unparsable) as caught:
        run(server, lambda client: ask_parsed(client, request(), read_json))
    error = caught.value
    assert (error.reason, error.raws, error.raw) == ("unparsable", ("no 1", "no 3"), "no 3")
    assert error.keys[-1] == error.key and "cut off" in str(error)
    assert server.stats()["requests"] == 2


# --- ends


def test_a_cancelled_run_keeps_what_was_answered(serve, run, ledger):
    server = serve(latency=0.02)

    async def work(client):
        tasks = [asyncio.create_task(client.ask(request(f"q{i}"))) for i in range(200)]
        await asyncio.wait(tasks[:8])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(server, work, concurrency=8)
    ledger.close()
    again = Ledger(ledger.path)
    answered, kept = server.stats()["answered"], again.totals().answers
    assert 8 <= kept <= answered <= kept + 8
    again.close()


KILLED = """
import asyncio, sys
from datagen.llm import Client, Endpoint, Ledger, Request
async def main():
    ledger = Ledger(sys.argv[2])
    client = Client(Endpoint("stub", sys.argv[1]), ledger, concurrency=16)
    async def one(i):
        await client.ask(Request([{"role": "user", "content": f"q{i}"}], "p#1"))
        print(i, flush=True)
    await asyncio.gather(*(one(i) for i in range(400)))
    await client.close()
    ledger.close()
asyncio.run(main())
"""


def start(server: ModelServer, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", KILLED, server.url, str(path)], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("rows", [1, 100, 250])
def test_after_sigkill_no_committed_answer_is_asked_again(serve, tmp_path, rows):
    server, path = serve(latency=0.01), tmp_path / "killed.sqlite"
    with start(server, path) as process:
        assert process.stdout is not None
        for _ in range(rows):
            process.stdout.readline()
        process.kill()
    with contextlib.closing(Ledger(path)) as ledger:
        committed = ledger.totals().answers
    assert committed >= rows
    time.sleep(0.1)  # the server answers what was in flight, to nobody
    before = server.stats()
    with start(server, path) as process:
        done = process.communicate(timeout=60)[0]
    after = server.stats()
    assert process.returncode == 0 and len(done.splitlines()) == 400
    assert after["answered"] - before["answered"] == 400 - committed
    assert after["paid_twice"] <= 16 + 100  # in flight, and what was received within one commit window
