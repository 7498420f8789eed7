"""The captioner against a real loopback server and a real ledger."""

from __future__ import annotations

import asyncio
import base64
import io

import numpy as np
import pytest
import soundfile

from datagen.audio import Audio
from datagen.captioners.openai import OpenAICaptioner
from datagen.errors import Denied, UsageError
from datagen.llm import Client, Endpoint, Ledger
from datagen.llm.hearing import NO_AUDIO
from datagen.plugins import Context
from datagen.prompts import ASPECTS, Prompts
from datagen.records import Caption, Clip

CLIP = Clip("s/1", "s", "a.wav")
AUDIO = Audio(np.sin(np.arange(8000, dtype=np.float32) / 10)[None] * 0.5, 16_000, 16_000, 1)


@pytest.fixture
def captions(tmp_path):
    """`captions(server, k) -> rows`, with one ledger for the test."""
    ledger = Ledger(tmp_path / "ledger.sqlite")

    def run(server, k=1, language="English"):
        async def main():
            client = Client(Endpoint("stub", server.url), ledger, patience=30)
            context = Context(seed=0, prompts=Prompts(), captions_per_clip=k, language=language, captioner=client)
            try:
                return await OpenAICaptioner(context).caption(CLIP, AUDIO)
            finally:
                await client.close()

        return asyncio.run(main())

    yield run
    ledger.close()


def prompt(body):
    return body["messages"][0]["content"][1]["text"]


def test_each_caption_is_about_another_aspect(serve, captions):
    server = serve(lambda body: f"I hear {prompt(body)[:30]} at {body['temperature']}.")
    server.bodies = []
    rows = captions(server, 11, "German")
    assert [row.aspect for row in rows] == [*ASPECTS, *ASPECTS, "events"]
    assert [row.index for row in rows] == list(range(11))
    assert [row.text.rsplit(" at ")[1] for row in rows] == ["0.0."] * 5 + ["0.7."] * 6
    assert all(isinstance(row, Caption) and row.key and row.captioner == "openai" for row in rows)
    assert len({row.key for row in rows}) == 11  # the third on events is another draw than the second
    assert all("in German" in prompt(body) for body in server.bodies)


def test_the_audio_is_sent_as_wav(serve, captions):
    server = serve(lambda body: "A tone.")
    server.bodies = []
    captions(server)
    part = server.bodies[0]["messages"][0]["content"][0]
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(part["input_audio"]["data"])))
    assert part["input_audio"]["format"] == "wav" and rate == 16_000
    assert np.allclose(samples, AUDIO.mono, atol=1e-4)


def test_nothing_is_asked_twice(serve, captions):
    server = serve(lambda body: "A tone.")
    assert captions(server, 6) == captions(server, 6)
    assert server.stats()["requests"] == 6


@pytest.mark.parametrize(
    ("answer", "reason"),
    [("", "empty_answer"), (" \n ", "empty_answer"), ("I'm sorry, I cannot listen to audio.", "refused_answer")],
)
def test_what_is_no_caption_is_a_failure_with_its_answer(serve, captions, answer, reason):
    server = serve(lambda body: answer if "speech" in prompt(body) else "A tone.")
    rows = captions(server, 3)
    assert [type(row).__name__ for row in rows] == ["Caption", "Failure", "Caption"]
    failure = rows[1]
    assert (failure.stage, failure.reason, failure.clip_id, failure.raw) == ("caption", reason, "s/1", answer)
    assert failure.key and failure.error.startswith("speech: ")
    assert [row.index for row in rows if isinstance(row, Caption)] == [0, 2]


def test_a_refused_request_is_a_failure(serve, captions):
    [row] = captions(serve(faults={"filter": 1.0}))
    assert (row.stage, row.reason) == ("caption", "refused") and "filtered" in row.raw and row.key


def test_a_busy_server_is_a_failure(serve, captions):
    [row] = captions(serve(faults={"500": 1.0}))
    assert (row.stage, row.reason) == ("caption", "transient")


def test_a_model_without_ears_stops_the_run(serve, captions):
    server = serve()
    server.refuse = lambda body: (400, "At most 0 audio(s) may be provided in one request.")
    with pytest.raises(Denied, match=r"model 'stub' takes no audio .*--captioner-model"):
        captions(server, 3)


@pytest.mark.parametrize(
    ("message", "deaf"),
    [
        ("Invalid value: 'input_audio'. Supported values are: 'text', 'image_url'", True),
        ("Unknown part type: input_audio", True),
        ("audio input is not supported - hint: you may need to provide the mmproj", True),
        ("This model does not support audio", True),
        ("messages[0].content[0].input_audio.data: string too long", False),
        ("audio is longer than 30 s", False),
    ],
)
def test_what_servers_without_audio_say(message, deaf):
    assert bool(NO_AUDIO.search(message)) is deaf


def test_no_model_named():
    with pytest.raises(UsageError, match="--captioner-model"):
        OpenAICaptioner(Context(seed=0, prompts=Prompts()))
