"""Clips at work: each becomes captions, questions and what the probes say of them, by one coroutine a clip."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from datagen.audio import Audio, decode_ahead, input_audio, sha256, silenced
from datagen.config import Config
from datagen.errors import AudioError, OverBudget
from datagen.filters import answerable, modality, wellformed
from datagen.llm import Usage, metered
from datagen.parts import Parts, admitted, limited, within
from datagen.pool import in_order, together
from datagen.questions.repair import Repair, unlabelled
from datagen.records import MEASURES, Caption, Clip, Failure, Question, Verdict

__all__ = ["Done", "work_in_order"]

PROBLEMS = {"wellformed": wellformed.problem, "answerable": answerable.problem, "modality": modality.problem}
"""Filters that can judge one question alone: what they drop is not worth a probe's calls."""
ASKING_WORKERS = 192
"""Clips at work where models are asked. One whose questions are being written asks for one thing, and 256 requests are
to be under way."""
BATCH_WORKERS = 1000
"""Clips at work where a role's requests gather into batches: with 4 questions of 12 readings, about 50,000 requests."""
Row = Clip | Caption | Question | Verdict | Failure


@dataclass
class Done:
    """What came of one clip."""

    rows: list[Row]
    usage: Usage
    survivors: int = 0
    """Questions that neither the filters of PROBLEMS nor a probe dropped."""
    over_budget: bool = False


async def work_in_order(config: Config, parts: Parts) -> AsyncGenerator[Done, None]:
    """What came of each clip, in the order of the source; at most `workers` are held in memory with their audio."""
    cores = os.cpu_count() or 1
    asking = BATCH_WORKERS if "batch" in config.transports.values() else ASKING_WORKERS
    workers = config.workers or (asking if parts.asks else 2 * cores)
    items = within(parts.part, limited(admitted(parts.source.clips(), config), config.limit))
    numbers = count(parts.part.first)

    def begin(pair: tuple[Clip | Failure, Audio | AudioError | None]) -> Coroutine[Any, Any, Done]:
        return in_turn(config, parts, *pair, next(numbers) if isinstance(pair[0], Clip) else -1)

    heard = hears(parts) or any(getattr(captioner, "sends_audio", False) for captioner in parts.captioners.values())

    def prepare(audio: Audio) -> None:
        sha256(audio)
        if heard:
            input_audio(audio)

    threads = min(cores, workers)
    async with (
        contextlib.aclosing(decode_ahead(items, threads=threads, ahead=2 * threads, prepare=prepare)) as decoded,
        contextlib.aclosing(in_order(begin, decoded, workers)) as results,
    ):
        async for done in results:
            yield done


async def in_turn(
    config: Config, parts: Parts, item: Clip | Failure, audio: Audio | AudioError | None, number: int
) -> Done:
    """One clip once there is money for it; none is under way when there is not."""
    if parts.gate is None or isinstance(item, Failure):
        return await work(config, parts, item, audio)
    if not await parts.gate.enter(number):
        error = "the money of --max-cost does not reach to this clip: raise it to go on"
        return Done([Failure("budget", OverBudget.reason, item.id, error)], Usage(), over_budget=True)
    done = await work(config, parts, item, audio)
    await parts.gate.leave(number, done.usage.picodollars)
    return done


async def work(config: Config, parts: Parts, item: Clip | Failure, audio: Audio | AudioError | None) -> Done:
    """One clip: captions, then questions, then the probes of each question."""
    if isinstance(item, Failure):
        return Done([item], Usage())
    if not isinstance(audio, Audio):
        reason = audio.reason if isinstance(audio, AudioError) else "audio_missing"
        return Done([Failure("audio", reason, item.id, str(audio))], Usage())
    clip = replace(item, sha256=sha256(audio))
    with metered() as usage:
        done = Done([clip], usage)
        stage = "caption"
        try:
            captions = take(done, Caption, await together(c.caption(clip, audio) for c in parts.captioners.values()))
            heard = await sounds(parts, audio)
            del audio
            stage = "write"
            questions = take(done, Question, await together(w.write(clip, captions) for w in parts.writers.values()))
            if parts.repair:
                stage = "repair"
                questions = await mended(config, parts.repair, done, questions, captions)
            stage = "read"
            await probe(config, parts, done, questions, captions, heard)
        except OverBudget as error:
            done.over_budget = True
            done.rows.append(Failure(stage, error.reason, clip.id, str(error)))
    return done


def take(done: Done, kind: type, batches: Iterable[Sequence[Any]]) -> list[Any]:
    """Keeps every row that a plug-in gave, and returns those of `kind`; an id that comes twice is kept once."""
    rows = [row for batch in batches for row in batch]
    if kind is Question:
        rows = list({getattr(row, "id", None) or (i, "failure"): row for i, row in enumerate(rows)}.values())
    done.rows += rows
    return [row for row in rows if isinstance(row, kind)]


async def mended(
    config: Config, repair: Repair, done: Done, questions: list[Question], captions: list[Caption]
) -> list[Question]:
    """The questions, each mended where it can be; the mended one takes the place of what was."""

    async def one(question: Question) -> Sequence[Question | Failure]:
        # Only the labels are worth anything where the wording is dropped all the same; these cost nothing.
        return [question] if hopeless(config, unlabelled(question)) else await repair.mend(question, captions)

    found = await asyncio.gather(*map(one, questions))
    done.rows = [row for row in done.rows if not isinstance(row, Question)]
    return take(done, Question, found)


def hopeless(config: Config, question: Question) -> bool:
    """Whether a filter of PROBLEMS drops the question by its wording."""
    chain = config.chain
    return any(problem(question) for name, problem in PROBLEMS.items() if name in chain)


async def sounds(parts: Parts, audio: Audio) -> tuple[Any, ...]:
    """The clip and silence of its length as a model gets them; nothing where no filter listens."""
    if not hears(parts):
        return ()
    return await asyncio.to_thread(lambda: (input_audio(audio), input_audio(silenced(audio))))


def hears(parts: Parts) -> bool:
    """Whether a filter listens."""
    return any(hasattr(filter, "hear") for filter in parts.probes.values())


async def probe(
    config: Config, parts: Parts, done: Done, questions: list[Question], captions: list[Caption],
    heard: tuple[Any, ...],
) -> None:  # fmt: skip
    """Puts every probe to every question that the filters of PROBLEMS let through."""
    questions = [question for question in questions if not hopeless(config, question)]

    def put(filter: Any, question: Question) -> Any:
        return filter.hear(question, *heard) if hasattr(filter, "hear") else filter.probe(question, captions)

    asked = (together(put(filter, question) for filter in parts.probes.values()) for question in questions)
    for results in await together(asked):
        done.rows += results
        done.survivors += all(
            result.keep if isinstance(result, Verdict) else name in MEASURES
            for name, result in zip(parts.probes, results, strict=True)
        )
