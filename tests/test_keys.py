"""Keys come from the environment or a file, and stand nowhere else afterwards."""

from __future__ import annotations

import asyncio

import pytest
from keys import measure

from datagen.errors import UsageError
from datagen.keys import hidden, key_of
from datagen.llm import Endpoint
from datagen.llm.transport import Http


@pytest.mark.parametrize("runs", [["builds"], ["evaluation", "publishing"]])
def test_no_byte_that_a_run_leaves_holds_a_key(runs, tmp_path):
    found = measure(tmp_path, runs)
    assert found["found"] == [] and found["control"], found
    assert found["echoed"] > 10 and found["files"] > 20, found
    ended = {"online": 1, "crashed": 1, "killed": -9, "refused": 1, "batches": 1, "batches refused": 2}
    ended |= {"eval": 1, "demo": 0, "publish": 0, "publish refused": 2}
    assert found["exits"].items() <= ended.items(), found


def test_a_key_is_read_from_the_variable_or_from_the_file_that_another_names(tmp_path, monkeypatch):
    monkeypatch.delenv("X_API_KEY", raising=False)
    assert key_of("X_API_KEY") == ""
    (tmp_path / "key").write_text("  sk-from-a-file\n")
    monkeypatch.setenv("X_API_KEY_FILE", str(tmp_path / "key"))
    assert key_of("X_API_KEY") == "sk-from-a-file"
    monkeypatch.setenv("X_API_KEY", "sk-first\r\n")
    assert key_of("X_API_KEY") == "sk-first"


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfsk-of-notepad\r\n", b"sk-of-notepad"])
def test_a_file_of_windows_is_read(content, tmp_path, monkeypatch):
    (tmp_path / "key").write_bytes(content)
    monkeypatch.setenv("X_API_KEY_FILE", str(tmp_path / "key"))
    assert key_of("X_API_KEY") == "sk-of-notepad"


@pytest.mark.parametrize("file", ["empty", "/dev/zero"])
def test_a_file_without_a_key_is_named(file, tmp_path, monkeypatch):
    (tmp_path / "empty").write_text(" \n")
    monkeypatch.setenv("X_API_KEY_FILE", str(tmp_path / file))
    with pytest.raises(UsageError, match=rf"^\$X_API_KEY_FILE .*{file}: holds no key"):
        key_of("X_API_KEY")


@pytest.mark.parametrize("text", ["two words", "a\nX-Header: b", "schlüssel"])
def test_what_is_no_key_is_told_without_it(text, monkeypatch):
    monkeypatch.setenv("X_API_KEY", text)
    with pytest.raises(UsageError, match=r"^\$X_API_KEY holds characters that no key has") as told:
        key_of("X_API_KEY")
    assert text not in str(told.value)


def test_a_file_of_a_key_that_is_not_there_is_told(monkeypatch, tmp_path):
    monkeypatch.delenv("X_API_KEY", raising=False)
    monkeypatch.setenv("X_API_KEY_FILE", str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"\$X_API_KEY_FILE .*none: No such file"):
        key_of("X_API_KEY")


def test_a_short_key_is_a_word_that_an_answer_may_hold():
    assert hidden(b"EMPTY sk-0123456789", ["EMPTY", "sk-0123456789"]) == b"EMPTY ***"
    assert hidden(b"wrong key: EMPTY", ["EMPTY"], least=1) == b"wrong key: ***"


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:1/v1?key=sk-0123456789", "ftp://me:sk-0123456789@host/v1", "http://h/v1#sk-0123456789"],
)
def test_a_key_in_an_address_that_is_refused_is_not_repeated(address):
    with pytest.raises(UsageError) as told:
        Http(Endpoint("m", address), timeout=1, connections=1)
    assert "sk-0123456789" not in str(told.value)


def test_a_user_in_the_address_is_sent_and_never_shown(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-this-server")
    server = serve()
    server.bodies = []
    http = Http(Endpoint("stub", server.url.replace("//", "//me:p%40ss-0123456789@")), timeout=5, connections=1)

    async def ask():
        try:
            return await http.post(b'{"model": "stub", "messages": [{"role": "user", "content": "x"}]}')
        finally:
            await http.close()

    reply = asyncio.run(ask())
    assert reply.status == 200 and "p%40ss" not in reply.url + http.tried and "@" not in http.base
    assert "Authorization: Basic bWU6cEBzcy0wMTIzNDU2Nzg5" in server.headers[0]
    assert "sk-not-for-this-server" not in server.headers[0]
