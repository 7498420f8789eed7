"""--max-cost: one budget gives one set, whatever the workers, the shards and the kills."""

from __future__ import annotations

import asyncio
import json
import random

import polars as pl
import pytest
import world
from kill import digests, write_clips
from model_server import ModelServer

from datagen.admission import Admission
from datagen.build import Config, build
from datagen.merge import merge

WORST = 0.00512
"""USD that a clip of `bought` may cost: two captions, a call that writes and six readings, each at its limit."""


def in_order(costs, room, worst):
    """How many clips are admitted when each is done before the next one begins."""
    for number, cost in enumerate(costs):
        if room < worst:
            return number
        room -= cost
    return len(costs)


@pytest.mark.parametrize("seed", range(8))
def test_the_admitted_clips_do_not_depend_on_the_order_in_which_clips_end(seed):
    dice = random.Random(seed)
    costs = [dice.randint(0, 10) for _ in range(40)]
    room, workers = dice.randint(0, 200), dice.randint(1, 12)

    async def run():
        gate, admitted, slots = Admission(room / 1e12, 10 / 1e12, 0, len(costs)), [], asyncio.Semaphore(workers)

        async def clip(number):
            async with slots:
                if await gate.enter(number):
                    admitted.append(number)
                    for _ in range(dice.randint(0, 5)):
                        await asyncio.sleep(0)
                    await gate.leave(number, costs[number])

        numbers = list(range(len(costs)))
        if seed % 2:  # shards begin in the middle
            numbers = numbers[20:] + numbers[:20]
            slots._value = 40
        await asyncio.wait_for(asyncio.gather(*map(clip, numbers)), 10)
        return sorted(admitted)

    assert asyncio.run(run()) == list(range(in_order(costs, room, 10)))


def test_a_clip_that_is_done_twice_is_paid_once():
    async def run():
        gate = Admission(30 / 1e12, 10 / 1e12, 0, 9)
        for _ in range(5):  # a shard that is run again after its node died
            await gate.leave(0, 5)
        return [await asyncio.wait_for(gate.enter(number), 1) for number in (1, 2)], gate

    entered, gate = asyncio.run(run())
    assert entered == [True, True]
    with pytest.raises(TimeoutError):  # 30 − 5 leaves room for two at their worst: the fourth waits for them
        asyncio.run(asyncio.wait_for(gate.enter(3), 0.1))


@pytest.fixture(scope="module")
def bought(tmp_path_factory):
    """`bought(out, **changes)`: a build of 12 clips, 1 USD a million tokens of an answer."""
    folder = tmp_path_factory.mktemp("corpus") / "clips"
    write_clips(folder, 12)
    with ModelServer(world.respond, latency=0.002) as server:
        known = {
            "source": "folder", "audio": folder, "model": "stub", "base_url": server.url, "questions_per_clip": 2,
            "captions_per_clip": 2, "price": (0.0, 1.0),
        }  # fmt: skip
        yield lambda out, **changes: Config(**{**known, "out": out, **changes})


def test_the_same_money_gives_the_same_bytes_for_any_number_of_workers(bought, tmp_path):
    whole = build(bought(tmp_path / "whole"))
    cap = whole["cost_usd"] / 2 + WORST
    counts = build(bought(tmp_path / "one", max_cost=cap, workers=1))
    assert 4 <= counts["clips"] <= 8 and counts["failed"] == {"budget": 1}
    assert cap - WORST < counts["cost_usd"] <= cap
    rejected = pl.read_parquet(tmp_path / "one/rejected.parquet").filter(pl.col("stage") == "budget")
    assert rejected["reason"].to_list() == ["over_budget"]
    assert "the money ended" in json.loads((tmp_path / "one/run.json").read_text())["stopped"]
    for workers in (2, 9):
        build(bought(tmp_path / f"w{workers}", max_cost=cap, workers=workers))
        assert digests(tmp_path / f"w{workers}") == digests(tmp_path / "one")
    again = build(bought(tmp_path / "one", max_cost=cap))
    assert again["cost_usd"] == 0 and digests(tmp_path / "w9") == digests(tmp_path / "one")
    assert build(bought(tmp_path / "one"))["clips"] == 12
    assert digests(tmp_path / "one") == digests(tmp_path / "whole")


def test_each_shard_has_its_part_of_the_money(bought, tmp_path):
    whole = build(bought(tmp_path / "whole"))
    cap = 2 * (whole["cost_usd"] / 4 + WORST)
    runs = [tmp_path / "s0", tmp_path / "s1"]
    parts = [build(bought(run, max_cost=cap, shard=f"{i}/2")) for i, run in enumerate(runs)]
    assert all(0 < part["cost_usd"] <= cap / 2 and 2 <= part["clips"] <= 4 for part in parts)
    counts = merge(runs, tmp_path / "merged")
    assert counts["clips"] == sum(part["clips"] for part in parts) < 12
    assert counts["failed"] == {"budget": 2}
