"""Generated questions for the benchmarks of the filters: any number of rows, drawn from a seed, with planted defects.

`questions(rows)` has the columns that a filter gets from `datagen build`: 4 questions a clip, 3 captions a clip, 4
choices a question. The clean ones are right by the rules of every filter; `DEFECTS` says what is planted in which share
of the rows. The sounds are some 30,000 pairs of maker and making, with an adjective for some of them.
"""

from __future__ import annotations

import json

import numpy as np
import polars as pl

__all__ = ["DEFECTS", "questions", "sounds"]


def _words(text: str) -> list[str]:
    return text.split()


MAKERS = _words(
    """dog cat cow horse rooster sheep goat pig duck goose crow owl frog cricket bee mosquito wolf lion monkey parrot
    train tram bus lorry motorcycle scooter tractor helicopter glider ferry canoe bicycle skateboard lift
    escalator drill saw hammer chisel sander grinder mower blower pump compressor generator turbine fan heater
    kettle toaster blender mixer dishwasher fridge oven grill faucet shower bathtub toilet drain gutter hose
    sprinkler fountain river brook waterfall wave tide rain hail thunder wind breeze storm fire candle match
    lighter clock watch timer alarm siren whistle horn buzzer doorbell gong chime triangle tambourine cymbal
    snare tabla conga bongo marimba xylophone piano organ accordion harmonica violin viola cello bass guitar
    banjo ukulele mandolin harp lute sitar flute oboe clarinet bassoon saxophone trumpet trombone tuba bagpipe
    singer choir rapper speaker announcer teacher child baby toddler woman man crowd audience runner dancer
    walker climber skater cyclist cook baker barber carpenter plumber typist printer scanner keyboard mouse
    telephone modem radio turntable cassette camera shutter zipper velcro scissors stapler pen chalk paper
    cardboard envelope bottle can glass cup plate spoon fork knife pan pot lid drawer cupboard door gate hinge
    window curtain blind lock key chain rope ladder swing seesaw trampoline ball racket bat puck arrow dart"""
)
MAKINGS = _words(
    """barking meowing lowing neighing crowing bleating grunting quacking honking cawing hooting croaking chirping
    buzzing whining howling roaring chattering squawking rumbling clattering rattling humming throbbing
    whirring hissing sputtering splashing rowing creaking rolling grinding sawing pounding scraping rasping
    chopping blowing pumping puffing spinning bubbling boiling popping churning sloshing gurgling dripping
    trickling pouring spraying rushing crashing lapping pattering drumming booming whistling gusting crackling
    flickering ticking tocking beeping wailing tooting ringing tolling jingling clanging shaking tapping
    slapping thumping strumming plucking bowing droning wheezing sliding blaring squealing singing rapping
    mumbling shouting lecturing babbling crying giggling whispering laughing cheering clapping stomping
    panting hopping skating frying kneading snipping hammering"""
)
ADJECTIVES = ["", "", "", "", "distant ", "faint ", "nearby ", "muffled ", "lone ", "hoarse "]
QUESTIONS = (
    """
Which of these can be heard|What makes itself heard|Name the source of the main noise|What is going on
Which event stands out to a listener|What fills most of the recording|Whose noise is the most prominent
What happens in the background|Which sound begins the scene|What would a person with closed eyes notice
Which source is the closest to the microphone|What causes the loudest moment|What ends the recording
Which noise keeps returning|What can be made out beneath the hubbub
""".strip()
    .replace("\n", "|")
    .split("|")
)
PLACES = (
    """
in this clip|in the recording|during the first seconds|towards the end|after a short pause|while somebody walks by
in the yard|near the station|at the harbour|inside the workshop|on the farm|beneath the bridge|during the break
before the quiet part|behind the wall|across the street|in the corridor|next to the river|over the noise of traffic
during the rehearsal|early in the morning|late at night|in the middle of the piece|throughout the passage
at the market|under the roof|between two pauses|along the coast|around the corner|beside the railway
""".strip()
    .replace("\n", "|")
    .split("|")
)
HOUSES = 97
"""Numbers put into half of the places, so that wordings vary as a writer's do."""

VISUAL = ("What can be seen in the video", "Which colour is the car", "What does the caption say", "Who is shown here")
EMPTY = ("All of the above", "It cannot be determined from the audio", "None of these", "Not enough information")
DEFECTS = {
    "first": 0.10, "longest": 0.10, "visual": 0.01, "empty_choice": 0.01, "repeated": 0.02, "near": 0.02,
    "popular": 0.06, "ungrounded": 0.02, "same_choice": 0.01, "nested": 0.01, "shared": 0.02, "form": 0.22,
}  # fmt: skip
"""Defect → share of the rows in which it is planted; the first named wins where two meet."""


def sounds() -> list[str]:
    """Every sound that a question may offer, as a phrase such as "a faint barking dog"."""
    pairs = [(maker, making) for maker in MAKERS for making in MAKINGS]
    return [f"a {ADJECTIVES[i * 7 % 10]}{making} {maker}" for i, (maker, making) in enumerate(pairs)]


def questions(rows: int, seed: int = 0, defects: bool = True) -> pl.DataFrame:
    """`rows` questions about rows / 4 clips; the column `defect` names what is planted, empty where nothing is."""
    rng = np.random.default_rng(seed)
    all_sounds = pl.Series(sounds())
    clips = -(-rows // 4)
    heard = rng.integers(0, len(all_sounds), (clips, 6))
    clip = np.repeat(np.arange(clips), 4)[:rows]
    picks = rng.integers(0, len(all_sounds), (rows, 4))
    picks[:, 0] = heard[clip, np.arange(rows) % 4]
    defect = planted(rng, rows) if defects else pl.Series("defect", [""] * rows, dtype=pl.String)
    asked = rng.integers(0, len(QUESTIONS), rows), rng.integers(0, len(PLACES), rows), rng.integers(0, HOUSES * 2, rows)
    number = pl.Series(asked[2])
    table = pl.select(
        id=pl.Series(rng.integers(0, 2**63, rows)).cast(pl.String),
        clip_id="gen/" + pl.Series(clip).cast(pl.String),
        question=pl.format(
            "{} {}{}?", pl.Series(QUESTIONS).gather(asked[0]), pl.Series(PLACES).gather(asked[1]),
            pl.when(number < HOUSES).then(pl.format(" of number {}", number)).otherwise(pl.lit("")),
        ),
        **{f"c{i}": all_sounds.gather(picks[:, i]) for i in range(4)},
        defect=defect,
        pick=pl.Series(rng.integers(0, 4, rows)),
        captions=captions(all_sounds, heard).gather(clip),
        sha256="sha" + pl.Series(clip).cast(pl.String),
    )  # fmt: skip
    return finished(table)


def planted(rng: np.random.Generator, rows: int) -> pl.Series:
    """The defect of each row, by the shares of DEFECTS."""
    names = ["", *DEFECTS]
    shares = np.array([*DEFECTS.values()])
    shares = shares / max(1.0, shares.sum())
    drawn = np.searchsorted(np.cumsum(shares), rng.random(rows), side="right")
    order = np.array([*range(1, len(names)), 0])
    return pl.Series("defect", names, dtype=pl.String).gather(order[drawn])


def captions(all_sounds: pl.Series, heard: np.ndarray) -> pl.Series:
    """Three captions of each clip, two sounds in each."""
    parts = [all_sounds.gather(heard[:, i]) for i in range(6)]
    return pl.select(
        captions=pl.concat_list(
            pl.format("There is {}, and then {} is heard.", parts[0], parts[1]),
            pl.format("The recording has {} together with {}.", parts[2], parts[3]),
            pl.format("{} can be heard before {} sets in. It is rather quiet.", parts[4], parts[5]),
        )
    ).to_series()


def finished(table: pl.DataFrame) -> pl.DataFrame:
    """The table with its defects planted and the columns of a build."""
    is_ = lambda name: pl.col("defect") == name  # noqa: E731
    kind = pl.col("pick")
    table = table.with_columns(
        question=pl.when(is_("visual")).then(pl.format("{}?", pl.Series(VISUAL).gather(table["pick"])))
        .when(is_("shared")).then(pl.format("What of {} is heard?", pl.col("c0").str.split(" ").list.last()))
        .when(is_("form")).then(pl.format("How often does the {} stop?", pl.col("c1").str.split(" ").list.last()))
        .when(is_("repeated")).then(pl.col("question").shift(1).fill_null("What is it?"))
        .when(is_("near")).then(pl.format("{} Tell", pl.col("question").shift(1).fill_null("What is it?")))
        .otherwise("question"),
        c0=pl.when(is_("longest")).then(pl.format("{} that goes on for quite a while", pl.col("c0")))
        .when(is_("ungrounded")).then(pl.lit("an unheard spaceship landing"))
        .when(is_("popular")).then(pl.lit("a person talking"))
        .otherwise("c0"),
    ).with_columns(
        c0=pl.when(is_("near")).then(pl.col("c0").shift(1).fill_null(pl.col("c0"))).otherwise("c0"),
        c1=pl.when(is_("empty_choice")).then(pl.Series(EMPTY).gather(table["pick"]))
        .when(is_("same_choice")).then(pl.col("c0").str.replace("^a ", "the "))
        .when(is_("nested")).then(pl.format("{} and a bell", pl.col("c0")))
        .otherwise("c1"),
    )  # fmt: skip
    place = pl.when(is_("first")).then(0).otherwise(kind).cast(pl.Int32)
    others = [pl.col(f"c{i}") for i in (1, 2, 3)]
    orders = [pl.concat_list(*others[:i], "c0", *others[i:]) for i in range(4)]
    choices = pl.when(place == 0).then(orders[0]).when(place == 1).then(orders[1]).when(place == 2).then(orders[2])
    empty = json.dumps({})
    return table.select(
        "id", "clip_id", "question", choices=choices.otherwise(orders[3]), answer="c0", answer_index=place,
        domain=pl.lit("sound"), skill=pl.lit("identification"), generator=pl.lit("llm"), provenance=pl.lit(empty),
        captions="captions", source=pl.lit("gen"), media_id=pl.lit(""), sha256="sha256", defect="defect",
    )  # fmt: skip
