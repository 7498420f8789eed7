"""Are the measured facts, and the answers that the rules make of them, true? `python benchmarks/facts.py [--json]`

The real captioner and the real writer work on the sound of scenes of known truth (`scenes.py`), and a checker that
knows only what was built (`truth.py`) says which choice is right. Where it does not know, the answer is not counted,
and how many these are is reported, as is how often nothing was asked of a scene that was built for a skill
(abstained). Exit 1 when fewer than 95 % of the answers are right.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from scenes import RATE, SNRS, Scene, scenes
from truth import CHECKS, begin, distinct

from datagen.captioners.acoustic import Acoustic
from datagen.plugins import Context
from datagen.questions.drawing import View
from datagen.questions.forms import FORMS
from datagen.questions.rules import Rules
from datagen.records import Clip, Fact, Question
from datagen.seeds import generator

EASY = ("duration", "silence")
"""Skills whose answers would lift the overall figure for nothing."""


@dataclass
class Tally:
    """Answers of one skill at one SNR."""

    right: int = 0
    wrong: int = 0
    unknown: int = 0
    built: int = 0
    """Scenes built for the skill"""
    asked: int = 0
    """of which so many led to a question of it"""


@dataclass
class Result:
    """Everything that a run found."""

    tallies: dict[tuple[str, str], Tally] = field(default_factory=lambda: defaultdict(Tally))
    errors: list[dict[str, Any]] = field(default_factory=list)
    tolerance: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))


def run(count: int, seed: int = 0) -> Result:
    """Builds, listens, asks and checks `count` scenes."""
    result = Result()
    context = Context(seed=seed, prompts=None, questions_per_clip=99)  # type: ignore[arg-type]
    captioner, writer = Acoustic(context), Rules(context)
    for i, build in enumerate(scenes(count, seed)):
        scene = build()
        clip = Clip(f"facts/{i}", "facts", "")
        audio: Any = SimpleNamespace(channels=scene.channels, rate=RATE)
        (caption,) = asyncio.run(captioner.caption(clip, audio))
        questions = asyncio.run(writer.write(clip, [caption]))
        facts = {f.name: f for f in caption.facts}
        _check(result, scene, [q for q in questions if isinstance(q, Question)], i)
        _abstentions(result, scene, View(facts, (), context), i)
        _tolerances(result, scene, facts)
    return result


def _row(scene: Scene) -> str:
    return "clean" if scene.snr is None else f"{scene.snr:.0f} dB"


def _check(result: Result, scene: Scene, questions: Sequence[Question], number: int) -> None:
    for q in questions:
        tally = result.tallies[q.skill, _row(scene)]
        check = CHECKS.get(q.provenance["form"])
        right = check(q, scene) if check else None
        if right is None:
            tally.unknown += 1
        elif q.answer in right:
            tally.right += 1
        else:
            tally.wrong += 1
            result.errors.append(
                {
                    "scene": number,
                    "built": scene.name,
                    "snr": scene.snr,
                    "room": scene.room,
                    "recorded": scene.recorded,
                    "form": q.provenance["form"],
                    "answer": q.answer,
                    "right": sorted(right),
                    "choices": list(q.choices),
                }
            )


def _abstentions(result: Result, scene: Scene, view: View, number: int) -> None:
    for skill in scene.targets:
        tally = result.tallies[skill, _row(scene)]
        tally.built += 1
        forms = [f for f in FORMS if f.skill == skill]
        tally.asked += any(f.draw(view, generator(0, number, f.id)) is not None for f in forms)


def _tolerances(result: Result, scene: Scene, facts: dict[str, Fact]) -> None:
    """At 20 dB and better: tempo ±4 %, f0 ±3 %, onsets ±50 ms, count exact."""
    if scene.snr is not None and scene.snr < 20:
        return

    def note(name: str, value: float | None, ok: Callable[[float], bool]) -> None:
        result.tolerance[name]["abstained" if value is None else "within" if ok(value) else "outside"] += 1

    def number(name: str) -> float | None:
        return facts[name].value if name in facts else None

    if (bpm := scene.truth.get("tempo")) is not None:
        note("tempo ±4 %", number("tempo"), lambda v: abs(v / bpm - 1) <= 0.04)
    if (f0 := scene.truth.get("f0")) is not None:
        note("f0 ±3 %", number("pitch.f0"), lambda v: abs(v / f0 - 1) <= 0.03)
    known = distinct(scene)
    if scene.name in ("hissing", "crossing", "gliding", "swelling"):
        return
    n = number("event.count")
    note("count exact", n, lambda v: v == len(known))
    if n != len(known):
        return
    for i, p in enumerate(known, 1):
        note("onset ±50 ms", number(f"event.{i}.onset"), lambda v, p=p: abs(v - begin(p)) <= 0.05)
        if p.f0 and not scene.truth.get("relative"):
            note("f0 ±3 %", number(f"event.{i}.pitch"), lambda v, p=p: abs(v / p.f0 - 1) <= 0.03)


def summary(result: Result) -> dict[str, Any]:
    """The shape of --json."""
    names = ["clean" if s is None else f"{s:.0f} dB" for s in SNRS]

    def total(chosen: Sequence[Tally]) -> dict[str, Any]:
        right, wrong = sum(t.right for t in chosen), sum(t.wrong for t in chosen)
        built, asked = sum(t.built for t in chosen), sum(t.asked for t in chosen)
        return {
            "answers": right + wrong,
            "right": right,
            "accuracy": round(right / (right + wrong), 4) if right + wrong else None,
            "unknown": sum(t.unknown for t in chosen),
            "built_for": built,
            "abstained": built - asked,
            "abstention": round(1 - asked / built, 4) if built else None,
        }

    skills = sorted({skill for skill, _ in result.tallies})
    return {
        "overall": total(list(result.tallies.values())),
        "without_easy": total([t for (skill, _), t in result.tallies.items() if skill not in EASY]),
        "skill": {s: total([t for (skill, _), t in result.tallies.items() if skill == s]) for s in skills},
        "snr": {n: total([t for (_, snr), t in result.tallies.items() if snr == n]) for n in names},
        "skill_snr": {s: {n: total([result.tallies[s, n]]) for n in names if (s, n) in result.tallies} for s in skills},
        "tolerance_at_20_db": {name: dict(c) for name, c in sorted(result.tolerance.items())},
        "errors": result.errors,
    }


def table(found: dict[str, Any]) -> str:
    """For people."""
    lines = [f"{'':29}{'answers':>8}{'right':>8}{'unknown':>9}{'built for':>11}{'abstained':>11}"]

    def line(name: str, t: dict[str, Any]) -> str:
        right = "" if t["accuracy"] is None else f"{100 * t['accuracy']:.1f} %"
        silent = "" if t["abstention"] is None else f"{100 * t['abstention']:.0f} %"
        return f"{name:29}{t['answers']:>8}{right:>8}{t['unknown']:>9}{t['built_for']:>11}{silent:>11}"

    lines.append(line("overall", found["overall"]))
    lines.append(line(f"  without {', '.join(EASY)}", found["without_easy"]))
    lines += ["", *(line(n, t) for n, t in found["snr"].items()), "", *(line(n, t) for n, t in found["skill"].items())]
    names = list(found["snr"])
    lines += ["", "right / answers (abstained) by skill and SNR", f"{'':29}" + "".join(f"{n:>18}" for n in names)]
    for skill, cells in found["skill_snr"].items():
        shown = []
        for n in names:
            c = cells.get(n)
            silent = f" ({100 * c['abstention']:.0f} %)" if c and c["abstention"] is not None else ""
            shown.append(f"{c['right']}/{c['answers']}{silent}" if c else "")
        lines.append(f"{skill:29}" + "".join(f"{s:>18}" for s in shown))
    lines += ["", "at 20 dB and better"]
    for name, c in found["tolerance_at_20_db"].items():
        said = c.get("within", 0) + c.get("outside", 0)
        lines.append(f"{name:29}{c.get('within', 0)} of {said} within, {c.get('abstained', 0)} abstained")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clips", type=int, default=550, help="scenes to build")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object, with every wrong answer")
    options = parser.parse_args()
    found = summary(run(options.clips, options.seed))
    print(json.dumps(found) if options.json else table(found))
    sys.exit(0 if found["overall"]["accuracy"] and found["overall"]["accuracy"] >= 0.95 else 1)


if __name__ == "__main__":
    main()
