"""What do sampled GRPO, its exact expectation, choice and supervised training teach in the same time, and to what end?

    python benchmarks/objectives.py [--policy tiny|smollm2] [--minutes M] [--seed S] [--docs] [--json]

Scenes of three sounds are drawn, told by the acoustic captioner's words, and asked about by forms of the rules
generator ("Which of the sounds is the loudest?" "the second sound"); training asks for loudness and pitch in their
first wording. Each objective gets the learning rate of RATES that does best in SEARCH steps on a validation set of its
own, then trains on the same questions in the same order for as long as 60 steps of `exact` take (or `--minutes`).
Every model is asked, greedily and read strictly:

    held_out   the same forms about other scenes           wording   their second wording
    letters    a prompt that wants a letter                kind      a form that was not trained: the brightest

`equal_time` is the end of each run; `equal_questions` the asking at which all have seen what the slowest has seen at
its end. `preferred` is the share of the place most often chosen among the answers that name one (chance: a third);
`forgotten` how much less likely, in nats a token, the base policy's own answers to other questions have become.
`--docs` writes docs/objectives.jsonl (all logs) and the table of docs/objectives.md. SmolLM2-135M comes as a wheel.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import real_weights
import tiny_models

from datagen.captioners.wording import describe
from datagen.multiple_choice import Style, read
from datagen.plugins import Context
from datagen.prompts import Prompts
from datagen.questions.drawing import View
from datagen.questions.forms import FORMS
from datagen.records import Fact
from datagen.run import replace_text
from datagen.seeds import generator
from datagen.statistics import mcnemar, share
from datagen.train.config import Config
from datagen.train.data import Deck, material, read_set
from datagen.train.run import train

DOCS = Path(__file__).parents[1] / "docs"
OBJECTIVES = ("sampled", "exact", "choice", "supervised")
TRAINED, OTHER = ("loudness.most", "pitch.most"), ("brightness.most",)
RATES = (3e-4, 1e-3)
SEARCH = 8
"""Steps of each try of a learning rate."""
EVERY = 10
"""Steps between askings of a run."""
TRIES = 3
"""Of a run that is to take a certain time."""
SETTING: dict[str, Any] = {
    "modality": "caption", "method": "lora", "prompt": "omni-r1", "prompts_per_step": 1, "group_size": 8,
    "max_tokens": 8,
}  # fmt: skip
OTHER_QUESTIONS = (
    "What is a violin?", "Name three animals that live in water.", "Write a sentence about the sea.",
    "How do you boil an egg?", "What is the capital of France?", "Tell me something about the moon.",
)  # fmt: skip


@dataclass(frozen=True)
class Sizes:
    """Questions of each set, and steps of `exact`."""

    train: int = 240
    validation: int = 12
    asked: int = 12
    """Of the held-out ones, at every asking of a run."""
    held_out: int = 40
    others: int = 16
    steps: int = 60


# ── questions ────────────────────────────────────────────────────────────────────────────────────────────────────────


def scene(name: str, seed: int) -> list[Fact]:
    """Three sounds that differ clearly in loudness, pitch and brightness, each in an order of its own."""
    rng = generator(seed, "scene", name)
    facts = [Fact("duration", rng.randint(20, 99) / 10), Fact("event.count", 3.0)]
    for key, values in (("level", (-45, -30, -15)), ("pitch", (150, 400, 900)), ("brightness", (500, 1500, 4000))):
        for number, value in enumerate(rng.sample(values, 3), 1):
            near = abs(value) * 0.02
            facts.append(Fact(f"event.{number}.{key}", value, low=value - near, high=value + near))
    return facts


def questions(
    name: str, number: int, seed: int, forms: tuple[str, ...], wording: int, told: set[str]
) -> list[dict[str, Any]]:
    """Rows that `datagen train` reads: id, question, choices, answer, captions. No caption is in `told`, nor twice."""
    asked = [form for form in FORMS if form.id in forms]
    rows: list[dict[str, Any]] = []
    for n in count():
        if len(rows) == number:
            return rows
        id, form = f"{name}{n}", asked[len(rows) % len(asked)]
        rng, facts = generator(seed, "question", id), scene(id, seed)
        if (caption := describe(facts)) in told:
            continue
        told.add(caption)
        draft = form.draw(View({fact.name: fact for fact in facts}, (), Context(seed, Prompts())), rng)
        assert draft is not None, id
        choices = rng.sample([draft.answer, *draft.others], 1 + len(draft.others))
        row = {"id": id, "question": form.wordings[wording], "choices": choices, "answer": draft.answer}
        rows.append({**row, "captions": [caption]})
    raise AssertionError


def written(folder: Path, sizes: Sizes, seed: int) -> dict[str, Path]:
    """The sets as files."""
    told: set[str] = set()
    sets = {
        "train": questions("t", sizes.train, seed, TRAINED, 0, told),
        "validation": questions("v", sizes.validation, seed, TRAINED, 0, told),
        "held_out": questions("h", sizes.held_out, seed, TRAINED, 0, told),
        "wording": questions("w", sizes.others, seed, TRAINED, 1, told),
        "letters": questions("l", sizes.others, seed, TRAINED, 0, told),
        "kind": questions("k", sizes.others, seed, OTHER, 0, told),
    }
    sets["asked"] = sets["held_out"][: sizes.asked]
    for name, rows in sets.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {name: folder / f"{name}.jsonl" for name in sets}


# ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Asked:
    """A model's answers to the sets, and how likely it finds texts of other kinds."""

    def __init__(self, folder: str) -> None:
        from datagen.train.policy import open_policy

        policy = open_policy(folder)
        self.tokenizer, self.model = policy.tokenizer, policy.weights("float32").eval()

    def answers(self, prompts: list[Any], tokens: int) -> list[list[int]]:
        """Greedy, of at most `tokens` each."""
        import torch

        found: list[list[int]] = []
        for start in range(0, len(prompts), 12):
            inputs = self.tokenizer.apply_chat_template(
                prompts[start : start + 12], add_generation_prompt=True, padding=True, return_dict=True,
                return_tensors="pt",
            )  # fmt: skip
            with torch.no_grad():
                made = self.model.generate(
                    **inputs, do_sample=False, max_new_tokens=tokens, pad_token_id=self.tokenizer.pad_token_id
                )
            found += made[:, inputs["input_ids"].shape[1] :].tolist()
        return found

    def picks(self, file: Path, style: Style) -> list[tuple[int | None, int]]:
        """(place that was chosen, place of the right choice) of each question."""
        deck = Deck(material(read_set(file), "caption", None).examples, 0, style, shuffled=False)
        rows = [deck.row(place) for place in range(deck.places)]
        answers = self.answers([row["prompt"] for row in rows], SETTING["max_tokens"])
        texts = self.tokenizer.batch_decode(answers, skip_special_tokens=True)
        return [(read(text, row["choices"], row["labels"]), row["gold"]) for text, row in zip(texts, rows, strict=True)]

    def all_picks(self, files: dict[str, Path]) -> dict[str, list[tuple[int | None, int]]]:
        """By set."""
        styles: dict[str, Style] = {
            "held_out": "omni-r1",
            "wording": "omni-r1",
            "letters": "letters",
            "kind": "omni-r1",
        }
        return {name: self.picks(files[name], style) for name, style in styles.items()}

    def likelihood(self, answers: list[list[int]]) -> float:
        """Nats a token of answers to OTHER_QUESTIONS, given as ids."""
        import torch

        total, said = 0.0, 0
        for prompt, answer in zip(chats(), answers, strict=True):
            ids = self.tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]
            tokens = torch.tensor([[*ids, *answer]])
            with torch.no_grad():
                logs = self.model(input_ids=tokens).logits[0, len(ids) - 1 : -1].log_softmax(-1)
            total += logs.gather(-1, tokens[0, len(ids) :, None]).sum().item()
            said += len(answer)
        return total / said


def chats() -> list[Any]:
    """Prompts of OTHER_QUESTIONS."""
    return [[{"role": "user", "content": text}] for text in OTHER_QUESTIONS]


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Bench:
    """One comparison in a folder."""

    folder: Path
    policy: str
    sizes: Sizes
    seed: int
    files: dict[str, Path]
    logs: list[dict[str, Any]]

    def run(self, name: str, objective: str, rate: float, steps: int, asked: str, every: int) -> list[dict[str, Any]]:
        """Trains, keeps and returns the log; the model lies in `folder/name/model`."""
        config = Config(
            data=self.files["train"], model=self.policy, out=self.folder / name, objective=objective, steps=steps,
            batch_size=SETTING["prompts_per_step"] * (SETTING["group_size"] if objective == "sampled" else 1),
            learning_rate=rate, held_out=self.files[asked], eval_every=every, save_every=steps,
            seed=self.seed, **SETTING,
        )  # fmt: skip
        state = train(config)
        rows = [json.loads(line) for line in (config.out / "train.jsonl").read_text(encoding="utf-8").splitlines()]
        self.logs += [{"run": name, **short(row)} for row in rows]
        if "start" in state:
            self.logs.append({"run": name, "start": state["start"]})
        return rows

    def searched(self, objective: str) -> tuple[float, float, dict[str, Any]]:
        """The best rate on the validation set (of equals the lower), seconds a step, and what each rate came to."""
        tries, seconds = {}, []
        for rate in RATES:
            name = f"search-{objective}-{rate:g}"
            rows = self.run(name, objective, rate, SEARCH, "validation", SEARCH)
            shutil.rmtree(self.folder / name)
            tries[rate] = [row["held_out"]["correct"] for row in rows if "held_out" in row][-1]
            seconds.append(rows[-1]["training"] / SEARCH)
        best = max(RATES, key=lambda rate: (tries[rate], -rate))
        return best, min(seconds), {f"{rate:g}": correct for rate, correct in tries.items()}

    def timed(self, objective: str, rate: float, steps: int, budget: float | None) -> tuple[int, list[dict[str, Any]]]:
        """A run of about `budget` seconds: again with other steps where the machine was faster or slower meanwhile."""
        for attempt in range(TRIES):
            shutil.rmtree(self.folder / objective, ignore_errors=True)
            self.logs = [row for row in self.logs if row["run"] != objective]
            rows = self.run(objective, objective, rate, steps, "asked", EVERY)
            again = steps if budget is None else rounded(steps * budget / rows[-1]["training"])
            if abs(again - steps) <= 0.2 * steps or attempt == TRIES - 1:
                return steps, rows
            steps = again
        raise AssertionError


def rounded(steps: float) -> int:
    """To whole askings."""
    return max(EVERY, round(steps / EVERY) * EVERY)


def short(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a log with five digits, without what stands elsewhere."""
    left = ("samples", "tokens", "expected", "elapsed")
    return {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in row.items() if k not in left}


def measure(
    policy: str, sizes: Sizes, seed: int, minutes: float | None, folder: Path, report: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """The whole comparison; `report` gets what there is after each objective, as it may take long."""
    begun, load = time.time(), os.getloadavg()
    files = written(folder, sizes, seed)
    bench = Bench(folder, policy, sizes, seed, files, [])
    base = Asked(policy)
    before, others = base.all_picks(files), base.answers(chats(), 24)
    liked = base.likelihood(others)
    del base
    rates = {objective: bench.searched(objective) for objective in OBJECTIVES}
    budget = minutes * 60 if minutes else None
    done: dict[str, dict[str, Any]] = {}
    for objective in ("exact", *(name for name in OBJECTIVES if name != "exact")):
        rate, seconds, tries = rates[objective]
        wanted = sizes.steps if budget is None else budget / seconds
        steps = rounded(wanted)
        steps, rows = bench.timed(objective, rate, steps, budget)
        budget = budget or rows[-1]["training"]
        tuned = Asked(str(folder / objective / "model"))
        after = tuned.all_picks(files)
        done[objective] = {
            "learning_rate": rate, "validation": tries, "steps": steps, "questions": rows[-1]["questions"],
            "seconds": rows[-1]["training"], "forgotten": liked - tuned.likelihood(others),
            "curve": [{k: row[k] for k in ("questions", "training", "held_out")} for row in rows if "held_out" in row],
            "equal_time": {name: compared(before[name], after[name]) for name in after},
        }  # fmt: skip
        del tuned
        shutil.rmtree(folder / objective)
        loads = {"cpus": os.cpu_count(), "load_before": load[0], "load_after": os.getloadavg()[0]}
        found = {
            "policy": Path(policy).name, "seed": seed, "sizes": asdict(sizes), **SETTING, **loads,
            "seconds": time.time() - begun, "before": {name: summary(picks) for name, picks in before.items()},
            **at_equal_questions(done), "log": bench.logs,
        }  # fmt: skip
        report(found)
    return found


def at_equal_questions(done: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The objectives in their order, with what each had right when it had seen as much as the slowest at its end."""
    seen = min(one["questions"] for one in done.values())
    for one in done.values():
        one["equal_questions"] = next(row["held_out"] for row in one["curve"] if row["questions"] >= seen)
    return {"questions_all_have_seen": seen, "objectives": {name: done[name] for name in OBJECTIVES if name in done}}


def right(picks: list[tuple[int | None, int]]) -> list[bool]:
    """Question by question."""
    return [pick == gold for pick, gold in picks]


def summary(picks: list[tuple[int | None, int]]) -> dict[str, Any]:
    """Right ones with their Wilson interval, and the place that is preferred."""
    places = Counter(pick for pick, _ in picks if pick is not None)
    answered = sum(places.values())
    preferred = max(places.values(), default=0) / answered if answered else None
    return {**share(sum(right(picks)), len(picks)), "answered": answered, "preferred": preferred}


def compared(before: list[tuple[int | None, int]], after: list[tuple[int | None, int]]) -> dict[str, Any]:
    """After training, with McNemar's p against before."""
    pairs = list(zip(right(before), right(after), strict=True))
    return {**summary(after), "mcnemar_p": mcnemar(pairs.count((True, False)), pairs.count((False, True)))}


# ── what is written ──────────────────────────────────────────────────────────────────────────────────────────────────


def cell(found: dict[str, Any]) -> str:
    """`12/60, 20 % [12, 32]`"""
    low, high = (round(100 * found[end]) for end in ("low", "high"))
    return f"{found['correct']}/{found['n']}, {100 * found['accuracy']:.0f} % [{low}, {high}]"


def table(found: dict[str, Any]) -> str:
    """Markdown: a row before training and one for each objective."""
    sets = tuple(found["before"])
    heads = ["", "rate", "seconds", "questions", *sets, "p", f"at {found['questions_all_have_seen']} questions",
             "preferred", "letters preferred", "forgotten"]  # fmt: skip
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]

    def line(name: str, told: list[str], of: dict[str, Any], p: str, at: str, forgotten: str) -> None:
        liked = [f"{of[s]['preferred']:.2f}" if of[s]["preferred"] else "" for s in ("held_out", "letters")]
        lines.append("| " + " | ".join([name, *told, *(cell(of[s]) for s in sets), p, at, *liked, forgotten]) + " |")

    line("before", ["", "", "0"], found["before"], "", "", "0")
    for name, one in found["objectives"].items():
        told = [f"{one['learning_rate']:g}", f"{one['seconds']:.0f}", str(one["questions"])]
        p = f"{one['equal_time']['held_out']['mcnemar_p']:.2g}"
        line(f"`{name}`", told, one["equal_time"], p, cell(one["equal_questions"]), f"{one['forgotten']:.2f}")
    return "\n".join(lines)


def write_docs(found: dict[str, Any]) -> None:
    """docs/objectives.jsonl, and what follows the mark in docs/objectives.md."""
    head = {name: value for name, value in found.items() if name != "log"}
    lines = [json.dumps(row) + "\n" for row in (head, *found["log"])]
    replace_text(DOCS / "objectives.jsonl", "".join(lines))
    page = (DOCS / "objectives.md").read_text(encoding="utf-8")
    mark = "<!-- written by benchmarks/objectives.py --docs -->\n"
    told = (
        f"{found['policy']}, seed {found['seed']}, {found['seconds'] / 60:.0f} minutes in all on {found['cpus']} cores "
        f"under a load of {found['load_before']:.1f} to {found['load_after']:.1f} by other work.\n\n{table(found)}\n"
    )
    replace_text(DOCS / "objectives.md", page[: page.index(mark)] + mark + "\n" + told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", choices=("tiny", "smollm2"), default="tiny")
    parser.add_argument("--minutes", type=float, help="of training for each objective; else what 60 exact steps take")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if options.policy == "smollm2":
            policy, sizes = str(real_weights.smollm2()), Sizes()
        else:
            policy = str(tiny_models.make("causal", folder / "tiny"))
            sizes = Sizes(train=24, validation=4, asked=4, held_out=6, others=4, steps=EVERY)
        report = write_docs if options.docs else lambda found: None
        found = measure(policy, sizes, options.seed, options.minutes, folder, report)
    del found["log"]
    print(json.dumps(found) if options.json else table(found))


if __name__ == "__main__":
    main()
