"""What `datagen train` is asked for, and what of it is refused before a file is opened."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datagen.errors import UsageError
from datagen.multiple_choice import STYLES, Style
from datagen.train.alarms import ALARMS
from datagen.train.controls import CONTROLS, REWARDED
from datagen.train.data import CURRICULA, HEARING, MODALITIES
from datagen.train.memory import SHARDING
from datagen.train.ranks import world_size
from datagen.train.rewards import parse_rewards

__all__ = ["Config", "shown"]

OBJECTIVES = ("sampled", "exact", "choice", "supervised")
METHODS = ("lora", "full")
LOSSES = ("grpo", "dr_grpo", "dapo", "bnpo", "gspo")


@dataclass(frozen=True, slots=True)
class Config:
    """The options of one run, as the command line names them."""

    data: str | Path
    model: str
    out: Path
    modality: str = "text"
    audio: Path | None = None
    audio_share: float = 0.5
    objective: str = "sampled"
    held_out: str | Path | None = None
    method: str = "lora"
    lora_rank: int = 16
    prompt: str = "omni-r1"
    think: bool = False
    rewards: str = "accuracy"
    control: str = ""
    loss: str = "grpo"
    beta: float = 0.0
    steps: int = 1000
    prompts_per_step: int = 16
    group_size: int | str = 8
    """A number, or `inf`, which only the exact objective takes."""
    batch_size: int = 8
    processes: int = 0
    sharding: str = "none"
    iterations: int = 1
    max_tokens: int = 64
    temperature: float = 1.0
    learning_rate: float = 1e-6
    eval_every: int = 50
    save_every: int = 50
    stop_on: tuple[str, ...] = ()
    report_to: tuple[str, ...] = ()
    model_revision: str = ""
    curriculum: str = ""
    refill: int = 0
    seed: int = 0
    allow_cpu: bool = False
    resume: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        self._check_names()
        for flag in ("lora_rank", "steps", "prompts_per_step", "batch_size", "iterations", "max_tokens", "eval_every",
                     "save_every"):  # fmt: skip
            if getattr(self, flag) < 1:
                raise UsageError(f"--{flag.replace('_', '-')} {getattr(self, flag)}: give 1 or more")
        self._check_objective()
        for flag in ("temperature", "learning_rate"):
            if not 0 < getattr(self, flag) < float("inf"):
                raise UsageError(f"--{flag.replace('_', '-')} {getattr(self, flag)}: give a number above 0")
        if not 0 < self.audio_share <= 1:
            raise UsageError(f"--audio-share {self.audio_share}: give a share above 0, at most 1")
        if self.audio and not self.hears:
            raise UsageError(f"--audio {self.audio}: --modality {self.modality} hears nothing: use audio or mixed")
        self._check_refill()
        if not 0 <= self.beta < float("inf"):
            raise UsageError(f"--beta {self.beta}: give 0 or more")
        if self.hears and self.sharding != "none":
            raise UsageError(f"--sharding {self.sharding}: is not for --modality {self.modality} so far: leave it out")
        if self.processes < 0:
            raise UsageError(f"--processes {self.processes}: give 1 or more")
        self._check_step()

    def _check_names(self) -> None:
        known = {
            "modality": MODALITIES, "objective": OBJECTIVES, "method": METHODS, "prompt": STYLES, "loss": LOSSES,
            "sharding": SHARDING,
        }  # fmt: skip
        for flag, names in known.items():
            value = getattr(self, flag)
            if value not in names:
                raise UsageError(f"--{flag} {value!r}: use {' or '.join(names)}")
        if self.curriculum and self.curriculum not in CURRICULA:
            raise UsageError(f"--curriculum {self.curriculum!r}: use {', '.join(CURRICULA)}")
        for name in self.stop_on:
            if name not in ALARMS:
                raise UsageError(f"--stop-on {name!r}: use {', '.join(ALARMS)}")
        if "consistent" in parse_rewards(self.rewards) and not self.think:
            raise UsageError(f"--rewards {self.rewards!r}: consistent compares thought and answer: add --think")
        if self.control and self.control not in CONTROLS:
            raise UsageError(f"--control {self.control!r}: use {', '.join(CONTROLS)}")
        if self.control in REWARDED and self.rewards != "accuracy":
            raise UsageError(f"--control {self.control} has its own reward: leave out --rewards {self.rewards}")
        parse_rewards(self.rewards)

    def _check_objective(self) -> None:
        whole = isinstance(self.group_size, int) and self.group_size >= 2
        if not whole and (self.objective, self.group_size) != ("exact", "inf"):
            other = ", or inf" if self.objective == "exact" else ""
            raise UsageError(f"--group-size {self.group_size}: give 2 or more{other}: answers of a group are compared")
        if self.objective == "sampled":
            return
        if self.control in REWARDED:
            raise UsageError(f"--control {self.control}: is of rewards, which --objective {self.objective} has none of")
        fixed = {"think": False, "rewards": "accuracy", "loss": "grpo", "beta": 0.0, "iterations": 1}
        if self.objective != "exact":
            fixed["temperature"] = 1.0
        for name, value in fixed.items():
            if getattr(self, name) != value:
                raise UsageError(
                    f"--{name} {getattr(self, name)}: is not for --objective {self.objective}: leave it out"
                )

    def _check_refill(self) -> None:
        if self.refill < 0:
            raise UsageError(f"--refill {self.refill}: give the most rounds of a step, 0 for none")
        if self.refill and self.objective != "sampled":
            raise UsageError(f"--refill {self.refill}: --objective {self.objective} samples no groups: leave it out")
        if self.refill and self.prompts_per_step % world_size():
            raise UsageError(
                f"--refill {self.refill}: {world_size()} processes do not divide --prompts-per-step "
                f"{self.prompts_per_step}: each has to hold whole groups"
            )

    def _check_step(self) -> None:
        if self.completions % (self.batch_size * self.devices):
            several = f" in {self.devices} processes" if self.devices > 1 else ""
            rows, made = "questions", f"--prompts-per-step {self.prompts_per_step}"
            if self.objective == "sampled":
                rows, made = "completions", f"{made} times --group-size {self.group_size}"
            raise UsageError(
                f"--batch-size {self.batch_size}{several}: does not divide the {self.completions} {rows} of a step "
                f"({made}): give a divisor"
            )
        if self.save_every % self.iterations:
            raise UsageError(
                f"--save-every {self.save_every}: completions are used for {self.iterations} steps and not saved: "
                "give a multiple of --iterations"
            )

    @property
    def weights(self) -> dict[str, float]:
        """Reward → its weight; accuracy, first, is told in any case."""
        if self.control in REWARDED:
            return {"accuracy": 0.0, REWARDED[self.control]: 1.0}
        return parse_rewards(self.rewards)

    @property
    def style(self) -> Style:
        """Of the prompts."""
        return next(style for style in STYLES if style == self.prompt)

    @property
    def hears(self) -> bool:
        """Whether clips are needed."""
        return self.modality in HEARING

    @property
    def devices(self) -> int:
        """Processes, each with a device of its own."""
        return self.processes or world_size()

    @property
    def completions(self) -> int:
        """Rows of one step: sampled completions, or questions where nothing is sampled."""
        return self.prompts_per_step * (int(self.group_size) if self.objective == "sampled" else 1)


def shown(config: Config) -> dict[str, Any]:
    """The configuration as JSON holds it."""
    return {
        name: str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
        for name, value in asdict(config).items()
    }
