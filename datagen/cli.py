"""The command line: reads the call, hands it to the function of the same name, prints what it returns.

Exit codes: 0 done; 1 done with failures that are listed; 2 the call or the input is wrong; 130 interrupted, resumable.
"""

from __future__ import annotations

import errno
import io
import json
import os
import resource
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from datagen.errors import DatagenError, Interrupted, UsageError

__all__ = ["app", "main"]

app = typer.Typer(
    name="datagen",
    help="Text-only audio question answering: caption clips, write questions, filter them, publish the set.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


DISK = {errno.ENOSPC: "make room", errno.EDQUOT: "make room", errno.EFBIG: "make room"}
DISK |= {errno.EACCES: "make it writable", errno.EPERM: "make it writable", errno.EROFS: "make it writable"}
DISK |= {errno.EIO: "see to the disk", errno.ESTALE: "see to the disk", errno.EMFILE: "raise `ulimit -n`"}
DISK |= {errno.ENFILE: "end other programs"}
"""What may happen to files at any moment, and is no fault of ours → the cure."""


FILES = 10_240
"""Open files, the most that every system grants; many begin with 256 or 1,024."""


def shown(text: str) -> str:
    """`text` in one line, with what could move a terminal's cursor written out: names of files hold anything."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def say(text: str) -> None:
    """One line for a person; standard output belongs to results."""
    print(shown(text), file=sys.stderr)  # noqa: T201


def print_json(value: Any) -> None:
    """The one JSON object of `--json`, in ASCII: a terminal's encoding cannot spoil it."""
    print(json.dumps(value))  # noqa: T201


def configured(context: typer.Context, file: Path | None) -> Path | None:
    """Makes the values of `--config FILE.toml` the defaults of this call; flags on the line win."""
    if file is None:
        return None
    import tomllib

    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"--config {file}: {why}: give a TOML file with the flags' names as keys") from None
    known = {option.opts[0].lstrip("-"): option for option in context.command.params if option.name != "config"}
    defaults = dict(context.default_map or {})
    for key, value in values.items():
        option = known.get(key.replace("_", "-"))
        if option is None or option.name is None:
            raise UsageError(f"--config {file}: unknown key {key!r}: use {', '.join(sorted(known))}")
        is_flag = getattr(option, "is_flag", False)
        if isinstance(value, dict) or isinstance(value, bool) != is_flag:
            kind = "true or false" if is_flag else "a value like that of the flag"
            raise UsageError(f"--config {file}: {key} = {json.dumps(value, default=str)}: give {kind}")
        defaults[option.name] = ",".join(map(str, value)) if isinstance(value, list) else value
    context.default_map = defaults
    return file


def names(text: str | None) -> tuple[str, ...]:
    """A comma-separated list."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def prices(text: str | None) -> tuple[float, float] | None:
    """`IN,OUT` as two numbers."""
    if text is None:
        return None
    try:
        prompt, completion = map(float, text.split(","))
        if not (0 <= prompt <= 1e9 and 0 <= completion <= 1e9):
            raise ValueError
    except ValueError:
        raise UsageError(
            f"--price {text!r}: give two numbers, USD per million tokens in and out, like 0.15,0.6"
        ) from None
    return prompt, completion


ConfigFile = Annotated[
    Path | None, typer.Option(help="TOML file of the same options; flags win.", callback=configured, is_eager=True)
]
Transport = Annotated[
    str, typer.Option(help="online or batch (the Batch API: cheaper, within a day); for some roles: ROLE=batch,…")
]
BatchRows = Annotated[int, typer.Option(help="Most requests of one batch.")]
BatchPoll = Annotated[float, typer.Option(help="Seconds between looks at batches; requests gather as long.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else there.")]


@app.callback()
def commands() -> None:
    """Text-only audio question answering: caption clips, write questions, filter them, publish the set."""


@app.command("build")
def build_command(
    source: Annotated[str, typer.Option(help="Corpus: a name of `datagen list sources`, or module:attribute.")],
    out: Annotated[Path | None, typer.Option(help="Run directory.  [default: runs/SOURCE]", show_default=False)] = None,
    annotations: Annotated[Path | None, typer.Option(help="The corpus's annotation file.")] = None,
    audio: Annotated[Path | None, typer.Option(help="The folder of audio files.")] = None,
    captioner: Annotated[
        str | None,
        typer.Option(
            help="Captioners, comma-separated, each NAME or NAME=MODEL.  "
            "[default: labels,acoustic; with a model: openai]"
        ),
    ] = None,
    captions_per_clip: Annotated[int, typer.Option(help="Captions asked of a model for each clip.")] = 3,
    generator: Annotated[
        str | None, typer.Option(help="Question writer: rules or llm.  [default: rules; with a model: llm]")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Model that writes, and captions and reads unless named apart: an id, or a folder without a URL."
        ),
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="Its OpenAI-compatible server; its key: OPENAI_API_KEY.")] = None,
    captioner_model: Annotated[str | None, typer.Option(help="Model that listens.")] = None,
    captioner_url: Annotated[str | None, typer.Option(help="Its server; its key: CAPTIONER_API_KEY.")] = None,
    reader_model: Annotated[
        str | None, typer.Option(help="Model that answers in filters; best of another family.")
    ] = None,
    reader_url: Annotated[str | None, typer.Option(help="Its server; its key: READER_API_KEY.")] = None,
    second_reader_model: Annotated[
        str | None, typer.Option(help="Second model for filter consistency, of another family: both must agree.")
    ] = None,
    second_reader_url: Annotated[str | None, typer.Option(help="Its server; its key: SECOND_READER_API_KEY.")] = None,
    policy_model: Annotated[str | None, typer.Option(help="Model to be trained, for filter difficulty.")] = None,
    policy_url: Annotated[str | None, typer.Option(help="Its server; its key: POLICY_API_KEY.")] = None,
    readings: Annotated[int, typer.Option(help="Times a filter asks one question, choices in another order.")] = 3,
    policy_samples: Annotated[int, typer.Option(help="Samples of the policy for each question.")] = 8,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Let the writer mend answers that are too long and, with filter blind, choices that are too easy.",
        ),
    ] = False,
    model_revision: Annotated[str, typer.Option(help="Part of the models' identity in the ledger.")] = "",
    questions: Annotated[str, typer.Option(help="generated, human (the corpus's own) or both.")] = "generated",
    questions_per_clip: Annotated[int, typer.Option(help="Questions written for each clip.")] = 4,
    filters: Annotated[
        str | None,
        typer.Option(
            help="Filters, comma-separated, in order, each NAME or NAME=VALUE (a threshold).  [default: the chain]"
        ),
    ] = None,
    prompts: Annotated[Path | None, typer.Option(help="Folder of prompt templates that replace ours.")] = None,
    language: Annotated[str, typer.Option(help="Language of captions and questions, by name or code.")] = "English",
    license: Annotated[str | None, typer.Option(help="Only clips under these licences, comma-separated.")] = None,
    exclude_media: Annotated[Path | None, typer.Option(help="File of media ids to leave out, one a line.")] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Benchmarks whose items to leave out: names, files or lists of ids, comma-separated."),
    ] = None,
    against_audio: Annotated[Path | None, typer.Option(help="Folder of the benchmarks' audio.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most this many clips.")] = None,
    target: Annotated[int | None, typer.Option(help="Go on until this many questions are kept.")] = None,
    split: Annotated[float, typer.Option(help="Share of clips for validation.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    workers: Annotated[
        int | None, typer.Option(help="Clips at work at once.  [default: 192 with a model, else 2 a core]")
    ] = None,
    ledger: Annotated[
        Path | None, typer.Option(help="File of answers, shared between runs.  [default: in the run]")
    ] = None,
    in_flight: Annotated[int, typer.Option(help="Requests under way at once to one model, at most.")] = 256,
    max_cost: Annotated[
        float | None,
        typer.Option(help="Admit clips, in order, while their list price at worst stays within this many USD."),
    ] = None,
    price: Annotated[
        str | None, typer.Option(help="IN,OUT: USD per million tokens, for servers whose price is not known.")
    ] = None,
    patience: Annotated[float, typer.Option(help="Seconds to wait for a lost server.")] = 300.0,
    transport: Transport = "online",
    batch_rows: BatchRows = 50_000,
    batch_poll: BatchPoll = 30.0,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Ask again what a server refused for good.")
    ] = False,
    engine: Annotated[str, typer.Option(help="local, or ray: in shards on every machine of a Ray cluster.")] = "local",
    shard: Annotated[
        str | None, typer.Option(help="i/n: only the i-th of n parts of the clips, from 0; `datagen merge` joins them.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Estimate calls, tokens and cost; send nothing.")] = False,
    config: ConfigFile = None,
    json_: Json = False,
) -> None:
    """Turn audio clips into a balanced, text-only multiple-choice dataset."""
    from datagen.build import Config, build
    from datagen.filters import DEFAULT

    counts = build(
        Config(
            source=source, out=out, annotations=annotations, audio=audio, captioner=captioner,
            captions_per_clip=captions_per_clip, generator=generator, model=model, base_url=base_url,
            captioner_model=captioner_model, captioner_url=captioner_url, reader_model=reader_model,
            reader_url=reader_url, second_reader_model=second_reader_model, second_reader_url=second_reader_url,
            policy_model=policy_model, policy_url=policy_url, readings=readings, policy_samples=policy_samples,
            repair=repair, model_revision=model_revision, questions=questions, questions_per_clip=questions_per_clip,
            filters=DEFAULT if filters is None else names(filters), prompts=prompts, language=language,
            license=names(license), exclude_media=exclude_media, against=names(against), against_audio=against_audio,
            limit=limit, target=target, split=split, seed=seed,
            workers=workers, ledger=ledger, in_flight=in_flight, max_cost=max_cost, price=prices(price),
            patience=patience, transport=transport, batch_rows=batch_rows, batch_poll=batch_poll,
            retry_failed=retry_failed, engine=engine, shard=shard, dry_run=dry_run,
        )
    )  # fmt: skip
    if json_:
        print_json(counts)
    elif dry_run:
        say_estimate(counts)
    else:
        say_outcome(counts)
    if not dry_run and target and counts["kept"] < target:
        say(f"--target {target}: {counts['kept']} are kept, and there are no more clips")
    if not dry_run and (counts["failed"] or counts["kept"] == 0):
        raise typer.Exit(1)


@app.command("merge")
def merge_command(
    runs: Annotated[list[Path], typer.Argument(help="Run directories of all shards, in any order.")],
    out: Annotated[Path, typer.Option(help="Run directory to make.")],
    json_: Json = False,
) -> None:
    """Join the shards of one build, and make the dataset that one machine would have made."""
    from datagen.merge import merge

    counts = merge(runs, out)
    if json_:
        print_json(counts)
    else:
        say_outcome(counts)
    if counts["failed"] or not counts["kept"]:
        raise typer.Exit(1)


def say_estimate(estimate: dict[str, Any]) -> None:
    """The dry run, for a person."""
    cost = "price unknown" if estimate["cost_usd"] is None else f"about ${estimate['cost_usd']:.2f}"
    say(f"{estimate['clips']} clips: {estimate['calls']} calls, {cost} (an estimate; nothing was sent)")
    for role, plan in estimate["roles"].items():
        tokens = f"{plan['prompt_tokens']} tokens in, {plan['completion_tokens']} out"
        say(f"  {role:<10} {plan['model']}: {plan['calls']} calls, {tokens}")


def say_outcome(counts: dict[str, Any]) -> None:
    """The funnel and where things are, for a person."""
    made = f"{counts['clips']} clips, {counts['captions']} captions, {counts['questions']} questions"
    say(made if counts["kept"] is None else f"{made} → {counts['kept']} kept")
    for name, why in counts["rejected"].items():
        say(f"  {name:<12} −{sum(why.values()):<6} {', '.join(f'{reason} {n}' for reason, n in why.items())}")
    if counts["kept"] == 0:
        reasons = counts["rejected"] or counts["failed"]
        told = "the reasons are in rejected.parquet"
        cure = told if reasons or not counts["clips"] else "none was written: try another --captioner"
        say(f"no question was kept: {cure}")
    if counts["failed"]:
        stages = ", ".join(f"{stage} {n}" for stage, n in counts["failed"].items())
        say(f"failed: {stages}; each with its reason in {counts['out']}/rejected.parquet, for example")
        for line in counts["examples"]:
            say(f"  {line}")
    say(f"{counts['calls']} calls, ${counts['cost_usd']:.4f}, {counts['seconds']:.1f} s → {counts['out']}")


@app.command("inspect")
def inspect_command(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    id: Annotated[str, typer.Argument(help="A clip's or a question's id, or the beginning of one.")],
    json_: Json = False,
) -> None:
    """Show one clip or question whole: clip → captions → prompt → raw answer → verdicts."""
    from datagen.inspection import inspect, rendered

    found = inspect(run, id)
    if json_:
        print_json(found)
    else:
        print("\n".join(map(shown, rendered(found).splitlines())))  # noqa: T201


@app.command("export")
def export_command(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    format_: Annotated[str, typer.Option("--format", help="A name of `datagen list exports`.")],
    out: Annotated[Path, typer.Option(help="File to write.")],
    split: Annotated[str, typer.Option(help="train, validation or all.")] = "train",
    prompt: Annotated[
        str | None,
        typer.Option(help="omni-r1, r1-aqa or letters, where the file holds the prompt.  [default: omni-r1]"),
    ] = None,
    captions: Annotated[
        bool, typer.Option("--captions", help="Add the captions, which tell what is heard: no longer text-only.")
    ] = False,
    audio: Annotated[Path | None, typer.Option(help="Folder of audio files: each row gets its clip's.")] = None,
    json_: Json = False,
) -> None:
    """Write a run's dataset in the form that a trainer or a benchmark reads."""
    from datagen.export import export

    found = export(run, format_, out, split=split, prompt=prompt, captions=captions, audio=audio)
    if json_:
        print_json(found)
    else:
        say(f"{found['rows']} rows → {found['out']}")
        if found["skipped"]:
            why = ", ".join(f"{reason} {rows}" for reason, rows in found["skipped"].items())
            say(f"left out: {why}; each is listed in {found['skipped_list']}")
    if found["skipped"]:
        raise typer.Exit(1)


@app.command("publish")
def publish_command(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    repo: Annotated[str, typer.Argument(help="OWNER/NAME of the dataset on the Hub; made where there is none.")],
    private: Annotated[bool, typer.Option("--private", help="Make it private, where it is not there yet.")] = False,
    revision: Annotated[
        str | None, typer.Option(help="Branch to commit to; made where there is none.  [default: main]")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would go; no token, no network.")] = False,
    json_: Json = False,
) -> None:
    """Put the set, its card, figures and configuration on the Hub, in one commit. The token is HF_TOKEN's."""
    from datagen.publish import publish

    done = publish(run, repo, private=private, revision=revision, dry_run=dry_run)
    if json_:
        print_json(done)
        return
    for name in done["left_out"]:
        say(f"left out: {name}")
    if dry_run:
        for file in done["files"]:
            print(f"{file['bytes']:>12}  {file['path']}")  # noqa: T201
        return
    size = f"{len(done['files'])} files, {done['bytes'] / 1e6:.1f} MB"
    kind = "private" if done["private"] else "public"
    what = f"commit {done['commit'][:8]}" if done["changed"] else f"already there as commit {done['commit'][:8]}"
    say(f"{size} → {done['url']} ({kind}), {what}")


BenchmarkName = Annotated[str, typer.Option(help="A name of `datagen list benchmarks`.")]
BenchmarkFile = Annotated[str, typer.Option(help="The benchmark's file, a run of ours, or a Hub id.")]


def show(parts: Iterable[Any]) -> None:
    """Prints texts and tables of `rich` on standard output, without colours and cursor movements."""
    from rich.console import Console

    page = io.StringIO()
    console = Console(file=page, width=None if sys.stdout.isatty() else 200, color_system=None, soft_wrap=True)
    for part in parts:
        console.print(part)
    for line in page.getvalue().splitlines():
        print(shown(line).rstrip())  # noqa: T201


@app.command("eval")
def eval_command(
    benchmark: BenchmarkName,
    data: BenchmarkFile,
    model: Annotated[str, typer.Option(help="A folder or Hub id, run on this machine; with --base-url, a served id.")],
    out: Annotated[Path, typer.Option(help="Folder for predictions, figures and answers.")],
    base_url: Annotated[str | None, typer.Option(help="OpenAI-compatible server; its key: OPENAI_API_KEY.")] = None,
    model_revision: Annotated[str, typer.Option(help="The Hub's revision; part of a served model's identity.")] = "",
    audio: Annotated[Path | None, typer.Option(help="The folder of the benchmark's audio.")] = None,
    captions: Annotated[
        Path | None, typer.Option(help="An id and captions a row.  [default: the benchmark file's own]")
    ] = None,
    condition: Annotated[
        str, typer.Option(help="Of audio, none, silence, noise, mismatched, caption: one or more, comma-separated.")
    ] = "audio",
    orders: Annotated[
        str, typer.Option(help="Of original, shuffle:K, circular (every rotation): one or more, comma-separated.")
    ] = "original",
    prompt: Annotated[str, typer.Option(help="omni-r1, r1-aqa or letters.")] = "omni-r1",
    samples: Annotated[int, typer.Option(help="Answers to each prompt: one is greedy, several are drawn.")] = 1,
    max_tokens: Annotated[int, typer.Option(help="Limit of an answer.")] = 256,
    submission: Annotated[
        Path | None, typer.Option(help="Write the file's rows with the answers in them, for a hosted scorer.")
    ] = None,
    judge_model: Annotated[str | None, typer.Option(help="LLM that judges answers, beside both matchers.")] = None,
    judge_url: Annotated[str | None, typer.Option(help="Its server; its key: JUDGE_API_KEY.")] = None,
    allow_broken: Annotated[
        bool, typer.Option("--allow-broken", help="Ask also where items have no right answer.")
    ] = False,
    check_batch: Annotated[
        int | None, typer.Option(help="Items asked alone and in one batch, to compare; local models.  [default: 8]")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="The first items only.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    ledger: Annotated[
        Path | None, typer.Option(help="File of answers, shared between runs.  [default: in the folder]")
    ] = None,
    max_cost: Annotated[float | None, typer.Option(help="Stop before this call spends this many USD.")] = None,
    price: Annotated[
        str | None, typer.Option(help="IN,OUT: USD per million tokens, for servers whose price is not known.")
    ] = None,
    patience: Annotated[float, typer.Option(help="Seconds to wait for a lost server.")] = 300.0,
    transport: Transport = "online",
    batch_rows: BatchRows = 50_000,
    batch_poll: BatchPoll = 30.0,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Ask again what a server refused for good.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which answers are left, their tokens and cost; send nothing.")
    ] = False,
    config: ConfigFile = None,
    json_: Json = False,
) -> None:
    """Ask a model a benchmark's questions, with and without its audio, and score the answers by both matchers."""
    from datagen.eval.evaluate import Config, evaluate
    from datagen.eval.showing import eval_shown

    found = evaluate(
        Config(
            benchmark=benchmark, data=data, model=model, out=out, base_url=base_url, model_revision=model_revision,
            audio=audio, captions=captions, condition=condition, orders=orders, prompt=prompt, samples=samples,
            max_tokens=max_tokens, limit=limit, seed=seed, allow_broken=allow_broken, submission=submission,
            judge_model=judge_model, judge_url=judge_url, check_batch=check_batch, ledger=ledger, max_cost=max_cost,
            price=prices(price), patience=patience, transport=transport, batch_rows=batch_rows, batch_poll=batch_poll,
            retry_failed=retry_failed, dry_run=dry_run,
        )
    )  # fmt: skip
    if json_:
        print_json(found)
    elif dry_run:
        say_left(found)
    else:
        show(eval_shown(found))
    if not dry_run and found["unanswered"]:
        lost: dict[str, int] = {}
        for reasons in found["unanswered"].values():
            lost |= {reason: max(len(ids), lost.get(reason, 0)) for reason, ids in reasons.items()}
        why = ", ".join(f"{reason} {n}" for reason, n in lost.items())
        say(f"without an answer, which counts as wrong: {why}; the ids are in {out}/result.json")
        raise typer.Exit(1)


def say_left(estimate: dict[str, Any]) -> None:
    """The dry run of an evaluation, for a person."""
    cost = "price unknown" if estimate["cost_usd"] is None else f"about ${estimate['cost_usd']:.2f}"
    made = f"{estimate['items']} items, {estimate['predictions']} predictions"
    calls = f"{estimate['calls']} calls, {estimate['known']} known, {estimate['left']} left"
    say(f"{made}: {calls}, {cost} (an estimate; nothing was sent)")
    for name, part in (*estimate["conditions"].items(), *estimate["roles"].items()):
        most = "at most " if name == "judge" else ""
        tokens = f"{part['prompt_tokens']} tokens in, {part['completion_tokens']} out at most"
        what = part["model"] if "model" in part else f"{part['predictions']} predictions"
        say(f"  {name:<10} {what}: {part['calls']} calls, {part['known']} known, {most}{part['left']} left, {tokens}")
    for name, part in estimate["conditions"].items():
        for reason, number in part["unanswered"].items():
            say(f"  {name:<10} {number} predictions cannot be asked: {reason}")


def number_or_word(value: str | int) -> int | str:
    """A whole number, or what was said instead."""
    return int(value) if str(value).isdigit() else value


@app.command("train")
def train_command(
    data: Annotated[str, typer.Option(help="A run, a dataset folder, an exported file, or a Hub id.")],
    model: Annotated[str, typer.Option(help="Policy: a folder or Hub id; a whole Omni gives its thinker.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, log and the tuned model.")],
    modality: Annotated[
        str, typer.Option(help="text, caption (captions too), audio, or mixed (audio at some places).")
    ] = "text",
    audio: Annotated[
        Path | None, typer.Option(help="Folder of the clips, for audio and mixed.  [default: the run's own]")
    ] = None,
    audio_share: Annotated[float, typer.Option(help="Share of the questions that are heard, for mixed.")] = 0.5,
    objective: Annotated[
        str,
        typer.Option(
            help="sampled: GRPO on answers that the policy samples; exact: its expected update, without sampling; "
            "choice: the right one against the others; supervised: the right answer's text."
        ),
    ] = "sampled",
    held_out: Annotated[
        str | None,
        typer.Option(
            help="Questions to watch, never trained on.  [default: the set's validation split, if it has one]"
        ),
    ] = None,
    method: Annotated[str, typer.Option(help="lora or full.")] = "lora",
    lora_rank: Annotated[int, typer.Option(help="Rank of the adapters.")] = 16,
    prompt: Annotated[str, typer.Option(help="omni-r1, r1-aqa or letters, as in eval.")] = "omni-r1",
    think: Annotated[bool, typer.Option("--think", help="Ask for thoughts in <think> before the answer.")] = False,
    rewards: Annotated[
        str,
        typer.Option(
            help="Of accuracy, format, concise, consistent, overlong, each NAME or NAME=WEIGHT, comma-separated."
        ),
    ] = "accuracy",
    control: Annotated[
        str, typer.Option(help="Train without what is to be learnt: random-reward, format-reward or shuffled-gold.")
    ] = "",
    loss: Annotated[str, typer.Option(help="grpo, dr_grpo, dapo, bnpo or gspo, of trl.")] = "grpo",
    beta: Annotated[float, typer.Option(help="Weight of the divergence from the reference.")] = 0.0,
    steps: Annotated[int, typer.Option(help="Steps of the optimizer.")] = 1000,
    prompts_per_step: Annotated[int, typer.Option(help="Questions of one step.")] = 16,
    group_size: Annotated[
        Any,
        typer.Option(
            parser=number_or_word, metavar="INTEGER", help="Answers sampled for each of them; for exact also inf."
        ),
    ] = 8,
    batch_size: Annotated[
        int, typer.Option(help="Answers of one forward and backward of a process; questions where none are sampled.")
    ] = 8,
    processes: Annotated[
        int, typer.Option(help="Each with a GPU of its own.  [default: as many as were started]", show_default=False)
    ] = 0,
    sharding: Annotated[str, typer.Option(help="Of what is trained over them: none, fsdp2 or zero3.")] = "none",
    print_launch: Annotated[
        str | None, typer.Option(help="accelerate, torchrun or slurm: print the script that starts them, no more.")
    ] = None,
    iterations: Annotated[int, typer.Option(help="Steps that use the same answers.")] = 1,
    max_tokens: Annotated[int, typer.Option(help="Limit of an answer.")] = 64,
    temperature: Annotated[float, typer.Option(help="Of sampling.")] = 1.0,
    learning_rate: Annotated[float, typer.Option(help="Of AdamW, constant.")] = 1e-6,
    eval_every: Annotated[int, typer.Option(help="Steps between askings of the held-out set.")] = 50,
    save_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 50,
    stop_on: Annotated[
        str | None,
        typer.Option(
            help="Alarms that end the run, of zero-reward, no-signal, clipped, length-collapse, entropy-collapse, "
            "position; comma-separated."
        ),
    ] = None,
    report_to: Annotated[str | None, typer.Option(help="Trackers of transformers, such as tensorboard.")] = None,
    model_revision: Annotated[str, typer.Option(help="The Hub's revision.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    curriculum: Annotated[
        str,
        typer.Option(
            help="Order of the first epoch by column difficulty: easy-first, hard-first or signal-first.  "
            "[default: drawn by the seed, as later epochs are]",
            show_default=False,
        ),
    ] = "",
    refill: Annotated[
        int, typer.Option(help="Rounds in which groups all right or all wrong are replaced by further questions.")
    ] = 0,
    allow_cpu: Annotated[
        bool, typer.Option("--allow-cpu", help="Train a model of more than 2 billion parameters without a GPU.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out, where there is one.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Estimate memory and time; load nothing.")] = False,
    config: ConfigFile = None,
    json_: Json = False,
) -> None:
    """Tune a language model, or what an audio model thinks with, by GRPO on questions, with their audio or without."""
    from datagen.train.config import Config
    from datagen.train.ranks import first
    from datagen.train.run import train

    called = Config(
        data=data, model=model, out=out, modality=modality, audio=audio, audio_share=audio_share,
        objective=objective, held_out=held_out, method=method, lora_rank=lora_rank, prompt=prompt, think=think,
        rewards=rewards, control=control, loss=loss, beta=beta, steps=steps,
        prompts_per_step=prompts_per_step, group_size=group_size, batch_size=batch_size, iterations=iterations,
        max_tokens=max_tokens, temperature=temperature, learning_rate=learning_rate, eval_every=eval_every,
        save_every=save_every, stop_on=names(stop_on), report_to=names(report_to), model_revision=model_revision,
        curriculum=curriculum, refill=refill, seed=seed, allow_cpu=allow_cpu, resume=resume, dry_run=dry_run,
        processes=processes, sharding=sharding,
    )  # fmt: skip
    if print_launch is not None:
        from datagen.train.launching import script

        print(script(print_launch, sys.argv[1:], called.devices, sharding), end="")  # noqa: T201
        return
    found = train(called)
    if not first():  # of several processes one speaks
        pass
    elif json_:
        print_json(found)
    elif dry_run:
        say_memory(found)
    else:
        say_trained(found)
    if not dry_run and found["stopped"]:
        raise typer.Exit(1)


def say_memory(found: dict[str, Any]) -> None:
    """The dry run, for a person."""
    parts = ", ".join(f"{name} {value / 1e9:.1f}" for name, value in found["bytes"].items() if name != "peak")
    each = "one device" if found["processes"] == 1 else f"each of {found['processes']} devices"
    shared = "" if found["sharding"] == "none" else f", shared by {found['sharding']}"
    peak = found["bytes"]["peak"] / 1e9
    say(f"{found['model']}, {found['method']}{shared}: about {peak:.1f} GB on {each} ({parts})")
    for method, sizes in found["fits"].items():
        said = ", ".join(f"{size} GB {'yes' if fits else 'no'}" for size, fits in sizes.items())
        say(f"  {method:<5} on {each} of {said}")
    hours = ", ".join(f"{size} GB {value:.1f}" for size, value in found["hours"].items())
    say(f"  {found['steps']} steps: hours on {each} of {hours}")
    say(f"  {found['note']}")


def say_trained(found: dict[str, Any]) -> None:
    """What came of a run, for a person."""
    if found["left_out"]:
        why = ", ".join(f"{reason} {rows}" for reason, rows in found["left_out"].items())
        say(f"left out: {why}; each is listed in {found['out']}/left_out.jsonl")
    if found["stopped"]:
        say(f"stopped by its alarm {found['stopped']}")
    held_out = found["held_out_last"]
    asked = f", held out {held_out['correct']}/{held_out['n']} right" if held_out else ""
    say(f"{found['steps']} steps on {found['questions']} questions{asked} → {found['out']}/model")


@app.command("train-export")
def train_export_command(
    checkpoint: Annotated[Path, typer.Argument(help="A run of `train`, its model/ or adapter/, or a checkpoint.")],
    base: Annotated[str, typer.Option(help="The whole Omni it was tuned from: a folder or Hub id.")],
    out: Annotated[Path, typer.Option(help="Folder to write; it must not be there.")],
    dtype: Annotated[
        str, typer.Option(help="Of the thinker: bfloat16, float16 or float32.  [default: as the base]")
    ] = "",
    base_revision: Annotated[str, typer.Option(help="The Hub's revision of the base.")] = "",
    json_: Json = False,
) -> None:
    """Write a tuned thinker back into a complete Omni checkpoint, beside the base's talker and processor."""
    from datagen.train.exporting import train_export

    found = train_export(checkpoint, base, out, dtype=dtype, base_revision=base_revision)
    if json_:
        print_json(found)
        return
    say(f"{found['tuned']} tensors of the thinker written, of which {found['changed']} differ from the base → {out}")


@app.command("transfer")
def transfer_command(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="Arms, sets, seeds and benchmarks.")],
    out: Annotated[Path, typer.Option(help="Folder for all runs, evaluations and the report.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the commands; run none.")] = False,
    json_: Json = False,
) -> None:
    """Train arms and their controls over seeds, ask each on benchmarks, and report gains with intervals."""
    from datagen.transfer import transfer
    from datagen.transfer.showing import commands, transfer_shown

    found = transfer(study, out, dry_run=dry_run)
    if json_:
        print_json(found)
    else:
        show(commands(found) if dry_run else transfer_shown(found))
    lost = [name for name, state in found["cells"].items() if state["status"] in ("failed", "not run")]
    if lost:
        say(f"{len(lost)} of {len(found['cells'])} cells are not done, such as {lost[0]}: the same command tries again")
        raise typer.Exit(1)


@app.command("score")
def score_command(
    benchmark: BenchmarkName,
    data: BenchmarkFile,
    predictions: Annotated[Path, typer.Option(help="JSON, JSON lines, CSV or parquet: an id and an answer a row.")],
    matcher: Annotated[str, typer.Option(help="Whose figure is the headline: official or strict.")] = "official",
    choice_labels: Annotated[
        str, typer.Option(help="What the prompt put before the choices: letters, text (nothing), or both (unknown).")
    ] = "both",
    allow_broken: Annotated[
        bool, typer.Option("--allow-broken", help="Score also where items or predictions do not fit.")
    ] = False,
    json_: Json = False,
) -> None:
    """Score predictions made by anyone: as the benchmark's script does, and strictly, with intervals and baselines."""
    from datagen.eval.scoring import score
    from datagen.eval.showing import score_shown

    found = score(data, predictions, benchmark, matcher=matcher, labels=choice_labels, allow_broken=allow_broken)
    if json_:
        print_json(found)
    else:
        show(score_shown(found))
    if found["faults"]:
        say(f"{predictions}: {found['faults']} rows could not be used as they are: see defects")
        raise typer.Exit(1)


@app.command("baselines")
def baselines_command(benchmark: BenchmarkName, data: BenchmarkFile, json_: Json = False) -> None:
    """What can be had from a benchmark file with no model, no audio and no question."""
    from datagen.eval.scoring import baselines
    from datagen.eval.showing import baselines_shown

    found = baselines(data, benchmark)
    if json_:
        print_json(found)
    else:
        show(baselines_shown(found))


@app.command("compare")
def compare_command(
    folders: Annotated[list[Path], typer.Argument(help="Folders that `datagen eval --out` has finished.")],
    seed: Annotated[int, typer.Option(help="Of the bootstrap and the permutations.")] = 0,
    html: Annotated[Path | None, typer.Option(help="Page to write, with the pairs and parts drawn.")] = None,
    json_: Json = False,
) -> None:
    """Paired tests between models or conditions on the same items, and what each gain is made of."""
    from datagen.eval.compare import compare
    from datagen.eval.report import write_comparison
    from datagen.eval.showing import compare_shown

    if html is not None and not html.absolute().parent.is_dir():
        raise UsageError(f"--html {html}: its folder is not there: name a file in one that is")
    found = compare(folders, seed=seed)
    if html is not None:
        write_comparison(html, found)
    if json_:
        print_json(found)
    else:
        show(compare_shown(found))


@app.command("audit")
def audit_command(
    data: Annotated[str, typer.Argument(help="A run, a dataset's folder or file, a Hub id, or a benchmark's file.")],
    against: Annotated[
        str | None,
        typer.Option(help="Benchmarks that may be in it: names, files, Hub ids, lists of media ids; comma-separated."),
    ] = None,
    against_audio: Annotated[Path | None, typer.Option(help="Folder of the benchmarks' audio.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="End with exit code 1 when a gate fails.")] = False,
    html: Annotated[Path | None, typer.Option(help="Page to write, with plots and examples.")] = None,
    json_: Json = False,
) -> None:
    """Show what is wrong with any multiple-choice set, and what can be had from it without listening."""
    from datagen.audit import audit
    from datagen.audit_view import shown as audit_shown

    found = audit(data, against=names(against), against_audio=against_audio, html=html)
    if json_:
        print_json(found)
    else:
        show(audit_shown(found))
    failed = [gate["name"] for gate in found["gates"] if gate["outcome"] == "fail"]
    if strict and failed:
        say(f"gates failed: {', '.join(failed)}")
        raise typer.Exit(1)


@app.command("review")
def review_command(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    sample: Annotated[int, typer.Option(help="Questions to ask about: half kept, half dropped.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the sample; all reviewers of one get the same questions.")] = 0,
    reviewer: Annotated[
        str | None, typer.Option(help="Whose verdicts these are.  [default: your login name]", show_default=False)
    ] = None,
    host: Annotated[str, typer.Option(help="Address of this machine to answer on; loopback only.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Its port; 0 takes a free one.")] = 7860,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Say what was found so far, in place of serving the page.")
    ] = False,
    json_: Json = False,
) -> None:
    """Listen to clips in a browser and judge their questions; --report says how often people and filters agree."""
    if report:
        from datagen.review import report as figures
        from datagen.review.showing import report_shown

        found = figures(run)
        if json_:
            print_json(found)
        else:
            show(report_shown(found))
        return
    if json_:
        raise UsageError("--json: the page prints none: add --report")
    from datagen.review.page import review

    review(
        run, sample=sample, seed=seed, reviewer=login() if reviewer is None else reviewer, host=host, port=port,
        browser=not no_browser, ready=say,
    )  # fmt: skip


def login() -> str:
    """The name of who is logged in."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        raise UsageError("--reviewer: this login has no name: give one") from None


@app.command("list")
def list_command(
    kind: Annotated[str, typer.Argument(help="sources, captioners, generators, filters, exports or benchmarks.")],
    json_: Json = False,
) -> None:
    """List the names that the flags take."""
    from datagen.plugins import known

    rows = known(kind)
    if json_:
        print_json(rows)
    else:
        width = max(map(len, rows))
        for name, what in rows.items():
            print(f"{name:<{width}}  {what}")  # noqa: T201


def deafen() -> None:
    """The process is ending: one signal more would turn its exit code into a death by it."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)


def make_ready() -> None:
    """Room for a connection for each request under way, and standard streams also where the shell closed them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, hard) if hard >= 0 else FILES, hard))
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:  # else a table gets the number, and what is said to it
        continue
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115


def main() -> None:
    """Entry point of the `datagen` command."""
    make_ready()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        for word in sys.argv[1:]:
            if word != word.encode(errors="replace").decode():
                raise UsageError(f"{word!a}: is not UTF-8, and no table can hold it: rename it")
        code = app(standalone_mode=False)
        if code == 130:  # typer swallows a KeyboardInterrupt: a second Ctrl-C while the first one is obeyed
            deafen()
            say("datagen: interrupted; the same command goes on where it was")
        sys.exit(code)
    except UsageError as error:
        say(f"datagen: {error}")
        sys.exit(2)
    except Interrupted as error:
        deafen()
        say(f"datagen: {error}")
        sys.exit(130)
    except DatagenError as error:
        say(f"datagen: {error}")
        sys.exit(1)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            say(f"datagen: {error.filename}: {error.strerror}: give a shorter one")
            sys.exit(2)
        if error.errno not in DISK:
            raise
        why = os.strerror(error.errno)  # Arrow puts words of its own around it
        say(f"datagen: {error.filename or 'disk'}: {why}: {DISK[error.errno]}; the same command goes on where it was")
        sys.exit(1)
    except Exception as error:
        wrong = getattr(error, "format_message", None)  # of typer's errors, whose classes moved between its versions
        if wrong is None:
            raise
        if len(sys.argv) == 1:
            print(wrong(), file=sys.stderr)  # noqa: T201  (the help)
        else:
            say(f"datagen: {wrong().rstrip('.')}: see `{error.ctx.command_path} --help`")  # type: ignore[attr-defined]
        sys.exit(2)
