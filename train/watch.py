"""What is written while a run goes on, and when it says that something is wrong.

    DIR/train.jsonl   one row a step: reward, accuracy, loss, lengths, entropy, no-signal share, picks by letter …;
                      one row for each asking of the held-out set; one for each alarm
    DIR/report.html   the same as curves (`page`), anew at every asking, every checkpoint and the end

An alarm (`alarms`) says one line when it begins, and stops the run where the call asks for it.
"""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from datagen.run import replace_text
from datagen.signals import heeding
from datagen.train.alarms import WINDOW, alarms
from datagen.train.answered import Answered
from datagen.train.log import read_log
from datagen.train.page import write_page
from datagen.train.ranks import any_rank, first, world_size

__all__ = ["Watch", "peak_memory", "say", "stopping"]

EVERY = 10.0
"""Seconds between lines of progress."""
NAMES = {
    "rewards/accuracy/mean": "accuracy", "loss": "loss", "grad_norm": "grad_norm", "learning_rate": "learning_rate",
    "reward": "reward", "reward_std": "reward_std", "entropy": "entropy", "kl": "kl",
    "completions/mean_length": "length", "completions/clipped_ratio": "clipped", "step_time": "seconds",
    "num_tokens": "tokens", "log_p": "log_p",
}  # fmt: skip
"""What trl logs → what a row calls it."""
REWARD = re.compile(r"rewards/(?!accuracy/)\w+/mean")


class Watch(TrainerCallback):  # type: ignore[misc]  # transformers is skipped
    """Writes train.jsonl, raises alarms, and ends the run where a signal or an alarm asks for it."""

    def __init__(self, file: Path, answered: Answered, stop_on: Sequence[str], step: int, questions: float) -> None:
        """`step`: where the run goes on; rows of later steps, which a kill left behind, are taken away.

        `questions`: new ones that a step sees.
        """
        self.file, self.answered, self.stop_on, self.questions = file, answered, stop_on, questions
        self.began, self.elapsed, self.training = time.monotonic(), 0.0, 0.0
        """Seconds: when this call began; of earlier calls; in steps, which leaves out held-out askings and saving."""
        self.interrupted = False
        self.said = time.monotonic()
        self.stopped = ""
        self.rows: deque[dict[str, Any]] = deque(maxlen=WINDOW)
        self.first: list[dict[str, Any]] = []
        self.last_held_out: dict[str, Any] | None = None
        self.raised: set[str] = set()
        """Alarms that hold at present."""
        self.ever: set[str] = set()
        self._go_on(step)

    def _go_on(self, step: int) -> None:
        kept = [row for row in read_log(self.file) if row["step"] <= step]
        for row in kept:
            self._see(row)
            self.elapsed, self.training = row.get("elapsed", self.elapsed), row.get("training", self.training)
        if first():
            replace_text(self.file, "".join(f"{json.dumps(row)}\n" for row in kept))

    def _cost(self, step: int) -> dict[str, float]:
        """What has been spent until now, also by the calls that this one goes on from."""
        elapsed = self.elapsed + time.monotonic() - self.began
        questions = round(step * self.questions) + self.answered.further
        return {"questions": questions, "elapsed": round(elapsed, 3), "training": round(self.training, 3)}

    def _see(self, row: dict[str, Any]) -> None:
        if "alarm" in row:
            self.raised.add(row["alarm"])
            self.ever.add(row["alarm"])
            return
        if "held_out" in row:
            self.last_held_out = row["held_out"]
            return
        self.rows.append(row)
        if len(self.first) < WINDOW:
            self.first.append(row)
        self.raised &= set(self._alarms())

    def _alarms(self) -> dict[str, str]:
        return alarms(self.rows, self.first)

    def _write(self, row: dict[str, Any]) -> None:
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self._see(row)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
        logs: Mapping[str, Any] | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """One step."""
        if logs is None or "loss" not in logs:
            return
        if state.is_world_process_zero:
            self._step(logs, state, control)
        if any_rank(bool(self.stopped)):
            control.should_training_stop = control.should_save = True

    def _step(self, logs: Mapping[str, Any], state: TrainerState, control: TrainerControl) -> None:
        row = {"step": state.global_step}
        row |= {ours: logs[theirs] for theirs, ours in NAMES.items() if theirs in logs}
        row |= {f"reward_{name.split('/')[1]}": logs[name] for name in logs if REWARD.fullmatch(name)}
        self._write(row | self.answered.taken() | self._cost(state.global_step))
        self._tell(state)
        for name, line in self._alarms().items():
            if name not in self.raised:
                self._raise(name, line, control, state.global_step)

    def _tell(self, state: TrainerState) -> None:
        """A line every ten seconds."""
        now = time.monotonic()
        if now - self.said >= EVERY:
            self.said = now
            mean = {
                name: sum(row.get(name, 0) for row in self.rows) / sum(name in row for row in self.rows)
                for name in ("accuracy", "length", "seconds")
            }
            left = int((state.max_steps - state.global_step) * mean["seconds"])
            say(
                f"step {state.global_step}/{state.max_steps} · accuracy {mean['accuracy']:.2f} · "
                f"{mean['length']:.0f} tokens · {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
            )

    def _raise(self, name: str, line: str, control: TrainerControl, step: int) -> None:
        stops = name in self.stop_on
        self._write({"step": step, "alarm": name, "says": line, "stops": stops})
        say(f"step {step}: alarm {name}: {line}{'; stopping' if stops else ''}")
        if stops:
            self.stopped = self.stopped or f"{name}: {line}"
            control.should_training_stop = control.should_save = True

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The held-out set was asked."""
        found, samples = self.answered.held_out(), self.answered.samples
        self.answered.samples = {}
        if state.is_world_process_zero:
            answers = [row for _, row in sorted(samples.items())]
            row = {"step": state.global_step, "held_out": found, "samples": answers}
            self._write(row | self._cost(state.global_step))
            write_page(self.file.parent, peak_memory())
            by_condition = {"": found} if "n" in found else {f" {name}": one for name, one in found.items()}
            told = ",".join(f"{name} {one['correct']}/{one['n']}" for name, one in by_condition.items())
            say(f"step {state.global_step}: held out{told} right")

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A checkpoint was written."""
        if state.is_world_process_zero:
            write_page(self.file.parent, peak_memory())

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The clock of `training` goes on."""
        self.step_began = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ctrl-C or SIGTERM came: save and end, where completions are not to be used again."""
        self.training += time.monotonic() - self.step_began
        self.interrupted = any_rank(self.interrupted)
        if self.interrupted and state.global_step % args.num_iterations == 0:
            control.should_save = control.should_training_stop = True


def peak_memory() -> int:
    """Most bytes that this process has held: of the GPU where there is one, else of main memory."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def say(text: str) -> None:
    """One line for a person, from the process that speaks."""
    if first():
        print(text, file=sys.stderr, flush=True)  # noqa: T201


def stopping(watch: Watch) -> AbstractContextManager[None]:
    """Ctrl-C and SIGTERM let the step end and save; a second one of them ends at once.

    Not so with several processes: a scheduler sends it to all, and their launcher, which got it too, sends it again.
    """

    def stop(number: int, frame: Any) -> None:
        watch.interrupted = True

    return heeding(stop, once=world_size() == 1)
