from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import io
import os
import random
import resource
import shutil
import struct
import threading
import time
import weakref
from pathlib import Path

import av
import numpy as np
import orjson
import pytest
import soundfile

from datagen import audio as module
from datagen.audio import RATE, Audio, Info, decode_ahead, encode, input_audio, load, probe, sha256, silenced
from datagen.errors import AudioError
from datagen.llm import Request
from datagen.records import Clip, Failure

TONE = 0.25 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)  # one second


def stereo(seconds: float = 1.0, rate: int = 48_000) -> np.ndarray:
    """440 Hz on the left, a quieter 1 kHz on the right."""
    t = np.arange(int(seconds * rate)) / rate
    return np.stack([0.25 * np.sin(2 * np.pi * 440 * t), 0.1 * np.sin(2 * np.pi * 1000 * t)], axis=1)


def sweep(seconds: float) -> np.ndarray:
    """Rising in pitch and loudness at 48 kHz: no two moments are alike."""
    n = np.arange(int(seconds * 48_000))
    return (0.02 + n / 48_000 / 50) * np.sin(n**1.4 / 900)


def loudness(samples: np.ndarray) -> np.ndarray:
    """RMS of each of the first ten seconds at 48 kHz."""
    return np.sqrt((samples[:480_000].reshape(10, -1) ** 2).mean(axis=1))


def sound(path: Path, samples: np.ndarray = TONE, rate: int = 48_000, **form: str) -> Path:
    soundfile.write(path, samples, rate, **{"format": "WAV", **form})
    return path


def coded(path: Path, container: str, codec: str, samples: np.ndarray = TONE, rate=48_000, picture=False) -> Path:
    """`samples` (n,) or (n, 2) written by FFmpeg, in a video file beside a picture where asked."""
    with av.open(str(path), "w", format=container) as file:
        video = file.add_stream("mpeg4", rate=10, width=16, height=16, pix_fmt="yuv420p") if picture else None
        layout = "mono" if samples.ndim == 1 else "stereo"
        stream = file.add_stream(codec, rate=rate, layout=layout)
        if video:
            for _ in range(10):
                file.mux(video.encode(av.VideoFrame(16, 16, "yuv420p")))
            file.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(np.atleast_2d(samples.T).copy(), format="dblp", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        converter = av.AudioResampler(stream.format, stream.layout, rate, frame_size=stream.frame_size)
        for piece in [*converter.resample(frame), *converter.resample(None)]:
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))
    return path


def chunk_header(path: Path, data_size: int) -> Path:
    """Rewrites what the WAV header says of the length of its data."""
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", data_size)
    path.write_bytes(content)
    return path


def cut(path: Path, size: int) -> Path:
    path.write_bytes(path.read_bytes()[:size])
    return path


def silent_video(path: Path) -> Path:
    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream("mpeg4", rate=10, width=16, height=16, pix_fmt="yuv420p")
        file.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        file.mux(stream.encode(None))
    return path


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def clip(path: Path | str, name: str = "a", **span: float) -> Clip:
    return Clip(f"folder/{name}", "folder", str(path), **span)


GOOD = {  # why it is odd: (how it is made, seconds, channels)
    "16 bit": (lambda p: sound(p / "a.wav", stereo()), 1.0, 2),
    "8 bit is unsigned": (lambda p: sound(p / "a.wav", subtype="PCM_U8"), 1.0, 1),
    "8 bit signed": (lambda p: sound(p / "a.aiff", format="AIFF", subtype="PCM_S8"), 1.0, 1),
    "24 bit": (lambda p: sound(p / "a.wav", subtype="PCM_24"), 1.0, 1),
    "32 bit": (lambda p: sound(p / "a.wav", subtype="PCM_32"), 1.0, 1),
    "float": (lambda p: sound(p / "a.wav", subtype="FLOAT"), 1.0, 1),
    "double": (lambda p: sound(p / "a.wav", subtype="DOUBLE"), 1.0, 1),
    "telephone: mu-law": (lambda p: sound(p / "a.wav", TONE[::6], 8000, subtype="ULAW"), 1.0, 1),
    "6 channels": (lambda p: sound(p / "a.wav", np.repeat(TONE[:, None], 6, axis=1)), 1.0, 6),
    "MP3 named .wav, as MMAU has 46": (lambda p: sound(p / "a.wav", format="MP3"), 1.0, 1),
    "WAV named .raw, an ending that means headerless": (lambda p: sound(p / "a.raw"), 1.0, 1),
    "no ending, a space and a colon": (lambda p: sound(p / "a: b", format="FLAC"), 1.0, 1),
    "OGG Vorbis": (lambda p: sound(p / "a.ogg", format="OGG"), 1.0, 1),
    "Opus": (lambda p: sound(p / "a.opus", format="OGG", subtype="OPUS"), 1.0, 1),
    "cut in the middle: the header says more": (lambda p: cut(sound(p / "a.wav"), 44 + 48_000), 0.5, 1),
    "cut within a sample": (lambda p: cut(sound(p / "a.wav"), 44 + 48_001), 0.5, 1),
    "written to a pipe: length unknown": (lambda p: chunk_header(sound(p / "a.wav"), 0xFFFFFFFF), 1.0, 1),
    "11025 Hz": (lambda p: sound(p / "a.wav", stereo(1, 11_025)[:, 0], 11_025), 1.0, 1),
    "mp4 with a picture": (lambda p: coded(p / "a.mp4", "mp4", "aac", picture=True), 1.0, 1),
    "m4a named .wav with a colon": (lambda p: coded(p / "x:a.wav", "mp4", "aac"), 1.0, 1),
    "bare AAC cannot mark its priming": (lambda p: coded(p / "a.aac", "adts", "aac"), 1.024, 1),
    "webm": (lambda p: coded(p / "a.webm", "webm", "libopus"), 1.0, 1),
    "mkv with 16-bit PCM": (lambda p: coded(p / "a.mkv", "matroska", "pcm_s16le"), 1.0, 1),
    "mkv with 8-bit PCM": (lambda p: coded(p / "a.mkv", "matroska", "pcm_u8"), 1.0, 1),
    "mkv with 24-bit PCM": (lambda p: coded(p / "a.mkv", "matroska", "pcm_s24le"), 1.0, 1),
    "mkv with floats": (lambda p: coded(p / "a.mkv", "matroska", "pcm_f32le"), 1.0, 1),
    "AVI": (lambda p: coded(p / "a.avi", "avi", "pcm_s16le", picture=True), 1.0, 1),
}

BAD = {  # reason: why, how it is made
    "absent": ("audio_missing", lambda p: p / "a.wav"),
    "below a file": ("audio_missing", lambda p: sound(p / "a.wav") / "b.wav"),
    "a folder": ("audio_unreadable", lambda p: p),
    "a NUL in the name": ("audio_unreadable", lambda p: Path("a\0.wav")),
    "a name too long": ("audio_unreadable", lambda p: p / ("a" * 5000)),
    "0 bytes": ("audio_empty", lambda p: text(p / "a.wav", "")),
    "header only": ("audio_empty", lambda p: sound(p / "a.wav", TONE[:0])),
    "header says 0": ("audio_empty", lambda p: chunk_header(sound(p / "a.wav"), 0)),
    "cut right behind the header": ("audio_empty", lambda p: cut(sound(p / "a.wav"), 44)),
    "video without sound": ("audio_empty", lambda p: silent_video(p / "a.mp4")),
    "cut in the header": ("audio_corrupt", lambda p: cut(sound(p / "a.wav"), 20)),
    "cut FLAC loses its frame": ("audio_corrupt", lambda p: cut(sound(p / "a.flac", format="FLAC"), 9000)),
    "an error page": ("audio_corrupt", lambda p: text(p / "a.wav", "<html>404 Not Found</html>" * 40)),
    "mp4 without its index": ("audio_corrupt", lambda p: cut(coded(p / "a.m4a", "mp4", "aac"), 3000)),
    "1 Hz": ("audio_corrupt", lambda p: sound(p / "a.wav", TONE[:99], 1)),
    "2 GHz": ("audio_corrupt", lambda p: sound(p / "a.wav", TONE[:99], 2_000_000_000)),
    "NaN": ("audio_not_finite", lambda p: sound(p / "a.wav", np.append(TONE, np.nan), subtype="FLOAT")),
    "infinity": ("audio_not_finite", lambda p: sound(p / "a.wav", np.append(TONE, -np.inf), subtype="FLOAT")),
    "NaN at 16 kHz": ("audio_not_finite", lambda p: sound(p / "a.wav", np.append(TONE, np.nan), RATE, subtype="FLOAT")),
    "overflows a sum": ("audio_not_finite", lambda p: sound(p / "a.wav", stereo() * 1e38, subtype="FLOAT")),
    "overflows float32": ("audio_not_finite", lambda p: sound(p / "a.wav", TONE * 1e300, subtype="DOUBLE")),
    "overflows float32 through FFmpeg": (
        "audio_not_finite",
        lambda p: coded(p / "a.mkv", "matroska", "pcm_f64le", TONE * 1e300),
    ),
    "NaN through FFmpeg": (
        "audio_not_finite",
        lambda p: coded(p / "a.mkv", "matroska", "pcm_f32le", np.append(TONE, np.nan)),
    ),
}


@pytest.mark.parametrize("why", GOOD)
def test_every_form_gives_its_audio(why, tmp_path):
    make, seconds, channels = GOOD[why]
    audio = load(make(tmp_path))
    assert audio.channels.dtype == np.float32
    assert audio.channels.flags.c_contiguous
    assert (len(audio.channels), audio.rate, audio.native_channels) == (channels, RATE, channels)
    assert audio.duration == pytest.approx(seconds, abs=0.025)  # AAC fills its last frame
    assert np.abs(audio.channels[0][2000:6000]).max() == pytest.approx(0.25, rel=0.1)  # scaled as it was written
    spectrum = np.abs(np.fft.rfft(audio.channels[0] * np.hanning(audio.channels.shape[1])))
    assert spectrum.argmax() / audio.duration == pytest.approx(440, abs=3)


@pytest.mark.parametrize("why", BAD)
def test_what_cannot_be_had_says_why_in_one_line(why, tmp_path):
    reason, make = BAD[why]
    path = make(tmp_path)
    with pytest.raises(AudioError) as caught:
        load(path)
    assert caught.value.reason == reason, caught.value
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    path = sound(tmp_path / "a.wav")
    path.chmod(0)
    with pytest.raises(AudioError, match="Permission") as caught:
        load(path)
    assert caught.value.reason == "audio_unreadable"


def test_a_cut_mp3_is_no_reason_to_talk(tmp_path, capfd):
    path = sound(tmp_path / "a.mp3", format="MP3")
    assert load(cut(path, path.stat().st_size // 2)).duration < 0.7
    assert capfd.readouterr() == ("", "")


def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(AudioError, match="not a regular file"):
        load(tmp_path / "a.wav")


def test_a_playlist_opens_no_other_file(tmp_path):
    sound(tmp_path / "b.ts.wav")
    coded(tmp_path / "b.ts", "mpegts", "aac")
    for content in ("#EXTM3U\n#EXTINF:1,\nb.ts\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile b.ts\n"):
        with pytest.raises(AudioError) as caught:
            load(text(tmp_path / "a.m3u8", content))
        assert caught.value.reason == "audio_corrupt"


def test_left_and_right_stay_apart_and_mono_is_their_mean(tmp_path):
    samples = np.stack([TONE, np.zeros_like(TONE)], axis=1)
    audio = load(sound(tmp_path / "a.wav", samples))
    assert np.abs(audio.channels[1]).max() == 0
    np.testing.assert_allclose(audio.mono, audio.channels[0] / 2, atol=1e-7)
    assert audio.mono.dtype == np.float32


@pytest.mark.parametrize("container, codec", [("matroska", "pcm_s16le"), ("mp4", "aac")])  # interleaved and not
def test_left_and_right_stay_apart_in_containers(container, codec, tmp_path):
    audio = load(coded(tmp_path / "a", container, codec, stereo()))
    spectra = np.abs(np.fft.rfft(audio.channels))
    assert [spectrum.argmax() / audio.duration for spectrum in spectra] == pytest.approx([440, 1000], abs=3)


@pytest.mark.parametrize("name, form", [("a.wav", "WAV"), ("a.flac", "FLAC")])
def test_samples_are_those_of_the_libraries(name, form, tmp_path):
    import soxr

    path = sound(tmp_path / name, stereo(7.3), format=form)  # longer than a block
    expected, rate = soundfile.read(path, dtype="float32")
    assert expected.size > 2 * module._BLOCK
    np.testing.assert_array_equal(load(path, rate=rate).channels, expected.T)
    reference = [soxr.resample(channel, rate, RATE, quality="HQ") for channel in expected.T.copy()]
    np.testing.assert_array_equal(load(path).channels, reference)


SPANS = [(None, 1.5), (1.25, 2.75), (7.0, None), (9.9, 10.0), (0.0, 10.0), (3.0, 10.4)]


@pytest.mark.parametrize("start, end", SPANS)
@pytest.mark.parametrize("form", ["wav", "flac", "ogg", "opus", "mp3", "m4a", "webm", "mkv", "aac"])
def test_a_span_is_that_part_of_the_whole(form, start, end, tmp_path):
    path = tmp_path / f"a.{form}"
    samples = sweep(10)
    if form == "opus":
        sound(path, samples, format="OGG", subtype="OPUS")
    elif form in ("wav", "flac", "ogg", "mp3"):
        sound(path, samples, format=form.upper())
    else:
        container = {"m4a": "mp4", "webm": "webm", "mkv": "matroska", "aac": "adts"}[form]
        codec = {"webm": "libopus", "mkv": "pcm_s16le"}.get(form, "aac")
        coded(path, container, codec, samples)
    whole, part = load(path, rate=48_000).mono, load(path, start=start, end=end, rate=48_000).mono
    np.testing.assert_allclose(loudness(whole), loudness(samples), rtol=0.02)
    first = round((start or 0) * 48_000)
    expected = whole[first : None if end is None else round(end * 48_000)]
    assert len(part) == pytest.approx(len(expected), abs=50)  # webm times are whole milliseconds
    margin = range(-50, 51)
    middle = expected[200:4000]
    assert min(np.abs(part[200 + m : 200 + m + len(middle)] - middle).max() for m in margin) < 0.01


@pytest.mark.parametrize(
    "start, end",
    [(1.0, 1.0), (2.0, 1.0), (-1.0, None), (1.5, None), (1e18, None), (0.2, 1.6), (None, 0.0), (float("nan"), None),
     (None, float("nan")), (float("inf"), None)],
)  # fmt: skip
@pytest.mark.parametrize("form", ["wav", "m4a"])
def test_a_span_outside_the_file_is_refused(form, start, end, tmp_path):
    path = sound(tmp_path / "a.wav") if form == "wav" else coded(tmp_path / "a.m4a", "mp4", "aac")
    with pytest.raises(AudioError) as caught:
        load(path, start=start, end=end)
    assert caught.value.reason == "audio_outside"


def test_a_span_of_a_long_file_is_not_paid_with_the_whole(tmp_path):
    path = sound(tmp_path / "a.flac", np.zeros(1200 * RATE), RATE, format="FLAC")
    began = time.perf_counter()
    load(path)
    whole = time.perf_counter() - began
    began = time.perf_counter()
    assert load(path, start=1190, end=1195).duration == 5
    assert time.perf_counter() - began < whole / 5


def test_too_long_a_file_is_refused_and_its_parts_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_CHANNEL_SECONDS", 4)
    path = sound(tmp_path / "a.wav", stereo(2.1))
    with pytest.raises(AudioError, match="more than 2 s of 2 channels") as caught:
        load(path)
    assert caught.value.reason == "audio_too_long"
    assert load(path, start=0.5).duration == pytest.approx(1.6)


@pytest.mark.parametrize("holes, seconds", [(0, 2.0), (1, 1.9), (5, None)])
def test_a_broken_packet_is_skipped_and_many_are_corruption(holes, seconds, tmp_path):
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 96_000)
    path = coded(tmp_path / "a.mkv", "matroska", "flac", noise)
    content = bytearray(path.read_bytes())
    for hole in range(holes):
        place = 30_000 * (hole + 1)
        content[place : place + 900] = bytes(900)
    path.write_bytes(content)
    if seconds:
        assert load(path).duration == pytest.approx(seconds, abs=0.05)
    else:
        with pytest.raises(AudioError, match="packets are broken") as caught:
            load(path)
        assert caught.value.reason == "audio_corrupt"


@pytest.mark.parametrize(
    "make, expected",
    [(lambda p: sound(p, stereo()), Info(1.0, 48_000, 2, "WAV/PCM_16")),
     (lambda p: sound(p, format="FLAC"), Info(1.0, 48_000, 1, "FLAC/PCM_16")),
     (lambda p: coded(p, "matroska", "pcm_s16le"), Info(1.0, 48_000, 1, "matroska,webm/pcm_s16le"))],
)  # fmt: skip
def test_probe(make, expected, tmp_path):
    assert probe(make(tmp_path / "a")) == expected


def test_probe_refuses_like_load(tmp_path):
    with pytest.raises(AudioError) as caught:
        probe(tmp_path / "a.wav")
    assert caught.value.reason == "audio_missing"


def test_the_hash_is_of_the_16_bit_samples(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32768, RATE).astype("<i2")
    wav, flac = sound(tmp_path / "a.wav", samples, RATE), sound(tmp_path / "a.flac", samples, RATE, format="FLAC")
    wide = sound(tmp_path / "b.wav", np.stack([samples, samples], axis=1), RATE)
    expected = hashlib.sha256(samples.tobytes()).hexdigest()
    assert {sha256(load(path)) for path in (wav, flac, wide)} == {expected}


def test_the_hash_rounds_halves_to_even_and_clips():
    values = np.float32([0.5, 1.5, 2.5, -0.5, -1.5, 32767, 32768, 99999, -32768, -99999])
    expected = np.array([0, 2, 2, 0, -2, 32767, 32767, 32767, -32768, -32768], "<i2")
    assert sha256(Audio(values[None] / 32768, RATE, RATE, 1)) == hashlib.sha256(expected.tobytes()).hexdigest()


def test_wav_and_flac_of_equal_samples_at_another_rate_hash_alike(tmp_path):
    samples = (stereo() * 32767).astype("<i2")
    paths = [sound(tmp_path / "a.wav", samples), sound(tmp_path / "a.flac", samples, format="FLAC")]
    assert len({sha256(load(path)) for path in paths}) == 1


def test_the_hash_is_at_16_khz_whatever_the_rate(tmp_path):
    path = sound(tmp_path / "a.wav", stereo()[:, 0])
    assert sha256(load(path, rate=48_000)) == sha256(load(path))


@pytest.mark.parametrize("form", ["wav", "flac", "mp3"])
def test_encoded_bytes_are_the_same_each_time_and_decode_again(form, tmp_path):
    audio = load(sound(tmp_path / "a.wav", stereo()))
    content = encode(audio, form)
    assert content == encode(audio, form)
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32")
    assert (rate, samples.ndim) == (RATE, 1)
    np.testing.assert_allclose(samples, audio.mono, atol=2e-5 if form != "mp3" else 0.03)


# ── ahead of the consumer ────────────────────────────────────────────────────────────────────────────────────────────


def decoding_threads() -> int:
    return sum(thread.name.startswith(("decode", "source")) for thread in threading.enumerate())


def test_audio_comes_in_order_with_failures_and_errors_in_their_places(tmp_path):
    lengths = [3.0, 0.1, 1.0, 0.2, 2.0, 0.1]
    items: list[Clip | Failure] = [clip(sound(tmp_path / f"{i}.wav", stereo(s)), str(i)) for i, s in enumerate(lengths)]
    items[2:2] = [Failure("source", "not_listed", "folder/x"), clip(tmp_path / "none.wav", "y")]
    items.append(clip(items[0].path, "z", start=1.0, end=1.5))

    async def collect():
        return [pair async for pair in decode_ahead(items, threads=3, ahead=4)]

    pairs = asyncio.run(collect())
    assert [item for item, _ in pairs] == items
    found = [round(a.duration, 3) if isinstance(a, Audio) else a and a.reason for _, a in pairs]
    assert found == [3.0, 0.1, None, "audio_missing", 1.0, 0.2, 2.0, 0.1, 0.5]
    assert pairs[3][1].__traceback__ is None  # its frames would keep decoded blocks alive
    assert not decoding_threads()


@pytest.mark.parametrize("ahead", [1, 3])
def test_no_more_than_ahead_are_in_memory(ahead, tmp_path, monkeypatch):
    path, made, most = sound(tmp_path / "a.wav"), [], 0
    original = module.load

    def counted(*args, **kwargs):  # counts what the real one made
        audio = original(*args, **kwargs)
        made.append(weakref.ref(audio.channels))
        return audio

    monkeypatch.setattr(module, "load", counted)

    async def consume():
        nonlocal most
        taken = 0

        def listed():
            nonlocal taken
            for i in range(12):
                taken += 1
                yield clip(path, str(i))

        given = 0
        async with contextlib.aclosing(decode_ahead(listed(), threads=2, ahead=ahead)) as pairs:
            async for _, audio in pairs:
                given += 1
                await asyncio.sleep(0.02)
                most = max(most, sum(array() is not None for array in made))
                assert taken - given < ahead
                del audio
                await asyncio.sleep(0.02)
                assert sum(array() is not None for array in made) < ahead

    asyncio.run(consume())
    assert len(made) == 12
    assert most == ahead


def test_a_consumer_that_stops_early_leaves_no_thread(tmp_path):
    path, taken = sound(tmp_path / "a.wav", stereo(3)), []

    def listed():
        for i in range(1000):
            taken.append(i)
            yield clip(path, str(i))

    async def consume():
        async with contextlib.aclosing(decode_ahead(listed(), threads=2, ahead=4)) as pairs:
            async for _ in pairs:
                raise RuntimeError("the consumer fails")

    with pytest.raises(RuntimeError, match="the consumer fails"):
        asyncio.run(consume())
    assert not decoding_threads()
    assert len(taken) <= 5


def test_a_cancelled_consumer_leaves_no_thread(tmp_path):
    path = sound(tmp_path / "a.wav", stereo(3))

    async def consume():
        async for _ in decode_ahead((clip(path, str(i)) for i in range(10**6)), threads=2, ahead=4):
            pass

    async def main():
        task = asyncio.create_task(consume())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert not decoding_threads()


def test_a_list_that_waits_holds_up_nothing_that_is_there(tmp_path):
    path, go_on = sound(tmp_path / "a.wav"), threading.Event()

    def listed():
        yield clip(path, "first")
        assert go_on.wait(10)
        yield clip(path, "second")

    async def consume():
        async with contextlib.aclosing(decode_ahead(listed(), threads=2, ahead=4)) as pairs:
            first, _ = await asyncio.wait_for(anext(pairs), 5)
            go_on.set()
            return [first, *[item async for item, _ in pairs]]

    assert [item.id for item in asyncio.run(consume())] == ["folder/first", "folder/second"]
    assert not decoding_threads()


def test_what_is_prepared_is_made_once_beside_the_decoding_and_is_of_that_audio_alone(tmp_path):
    path, names = sound(tmp_path / "a.wav"), []

    def prepare(audio):
        names.append(threading.current_thread().name)
        sha256(audio)
        input_audio(audio)

    async def consume():
        async with contextlib.aclosing(decode_ahead([clip(path)], threads=1, ahead=1, prepare=prepare)) as pairs:
            return (await anext(pairs))[1]

    audio = asyncio.run(consume())
    assert names[0].startswith("decode")
    assert set(audio.made) == {"sha256", "input_audio"}
    assert input_audio(audio) is audio.made["input_audio"]
    quiet = silenced(audio)
    assert sha256(quiet) != sha256(audio)
    assert input_audio(quiet) != input_audio(audio)


def test_an_error_of_what_is_prepared_reaches_the_consumer(tmp_path):
    async def consume():
        async for _ in decode_ahead([clip(sound(tmp_path / "a.wav"))], threads=2, ahead=4, prepare=lambda _: 1 / 0):
            pass

    with pytest.raises(ZeroDivisionError):
        asyncio.run(consume())
    assert not decoding_threads()


def test_an_error_of_the_list_reaches_the_consumer(tmp_path):
    def listed():
        yield clip(sound(tmp_path / "a.wav"))
        raise KeyError("bad row")

    async def consume():
        async for _ in decode_ahead(listed(), threads=2, ahead=4):
            pass

    with pytest.raises(KeyError, match="bad row"):
        asyncio.run(consume())
    assert not decoding_threads()


# ── anything at all ──────────────────────────────────────────────────────────────────────────────────────────────────


def damaged(content: bytes, draw: random.Random) -> bytes:
    kind = draw.randrange(4)
    if kind == 0:
        return content[: draw.randrange(len(content))]
    if kind == 1:
        return draw.randbytes(draw.randrange(1, 4000))
    if kind == 2:
        return content[: draw.randrange(100)] + draw.randbytes(2000)
    changed = bytearray(content)
    for _ in range(draw.randrange(1, 20)):
        changed[draw.randrange(min(len(changed), draw.choice([60, 400, 10**9])))] = draw.randrange(256)
    return bytes(changed)


def test_damaged_files_give_audio_or_an_audio_error(tmp_path):
    draw, short = random.Random(7), TONE[:9600]
    whole = [sound(tmp_path / f"s.{form}", short, format=form) for form in ("WAV", "FLAC", "OGG", "MP3", "AIFF")]
    whole += [sound(tmp_path / "mu", short, subtype="ULAW"), coded(tmp_path / "m4a", "mp4", "aac", short)]
    whole += [coded(tmp_path / "webm", "webm", "libopus", short), coded(tmp_path / "aac", "adts", "aac", short)]
    outcomes = set()
    for path in whole:
        content = path.read_bytes()
        for _ in range(25):
            target = tmp_path / "damaged"
            target.write_bytes(damaged(content, draw))
            try:
                audio = load(target)
            except AudioError as error:
                outcomes.add(error.reason)
            else:
                assert np.isfinite(audio.channels).all()
                assert audio.channels.size
                outcomes.add("audio")
    assert {"audio", "audio_corrupt"} <= outcomes


def test_no_file_stays_open(tmp_path):
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    paths = [sound(tmp_path / "a.wav"), coded(tmp_path / "a.m4a", "mp4", "aac"), text(tmp_path / "b.wav", "x" * 900)]
    paths += [cut(shutil.copy(paths[1], tmp_path / "c.m4a") and tmp_path / "c.m4a", 2000)]
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in paths * 3:
        with contextlib.suppress(AudioError):
            load(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("room", [0, 1])  # for libsndfile's file; for FFmpeg's beside it
def test_too_many_open_files_are_no_fault_of_the_clip(room, tmp_path):
    path = coded(tmp_path / "a.m4a", "mp4", "aac")
    load(path)
    free = os.dup(0)  # the lowest number that is free
    os.close(free)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + room, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files") as raised:
            load(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert (raised.value.errno, str(raised.value.filename)) == (errno.EMFILE, str(path))


def test_a_part_of_audio_is_hashed_once_and_named_as_any_other(tmp_path, monkeypatch):
    part = input_audio(load(sound(tmp_path / "a.wav")))
    plain = {"type": "input_audio", "input_audio": dict(part["input_audio"])}
    names = [Request([{"role": "user", "content": [sent]}], "caption#1").key("stub") for sent in (part, plain)]
    assert names[0] == names[1]
    monkeypatch.setattr("datagen.llm.request.hashed", lambda data: pytest.fail("hashed again"))
    assert Request([{"role": "user", "content": [part]}], "caption#1").key("stub") == names[0]
    assert orjson.dumps(part) == orjson.dumps(plain)


@pytest.mark.parametrize("samples", [0, 1, 3201])
def test_a_wav_has_the_bytes_that_libsndfile_writes(samples):
    audio = Audio(np.random.default_rng(1).uniform(-1, 1, (1, samples)).astype(np.float32), RATE, RATE, 1)
    file = io.BytesIO()
    soundfile.write(file, module._pcm16(audio), RATE, format="WAV", subtype="PCM_16")
    assert encode(audio, "wav") == file.getvalue()
