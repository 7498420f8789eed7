"""`datagen publish RUN OWNER/NAME`: the set of a run on the Hub, in one commit that replaces an earlier set wholly.

    README.md      the card
    data/          train-00000-of-00002.parquet …
    audit.json     every figure of the run: counts, funnel, baselines, gates, licences; and, under `audit`, those of
                   RUN/audit.json, where `datagen audit RUN --json` was written there
    build.toml     what `datagen build --config build.toml` builds it from; of paths, the names alone

Nothing else leaves the machine: no audio, no answers, no key, no address of a server of one's own. Files are sent from
disk, never read whole. A shard that arrived is not sent again, so a call that broke off goes on where it was: by LFS a
whole shard at a time, by Xet (where hf_xet is installed and HF_HUB_DISABLE_XET is not set) a chunk at a time.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from datagen.errors import DatagenError, UsageError
from datagen.keys import hidden
from datagen.llm.request import public_name
from datagen.rows import sha256_of
from datagen.run import Run, opened

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

__all__ = ["BUILT_FROM", "publish"]

SHARD = re.compile(r"data/(train|validation)-\d{5}-of-\d{5}\.parquet")
BUILT_FROM = (
    "source", "annotations", "audio", "captioner", "captions_per_clip", "generator", "model", "base_url",
    "captioner_model", "captioner_url", "reader_model", "reader_url", "second_reader_model", "second_reader_url",
    "policy_model", "policy_url", "readings", "policy_samples", "repair", "model_revision", "questions",
    "questions_per_clip", "filters", "prompts", "language", "license", "exclude_media", "against", "against_audio",
    "limit", "target", "split", "seed",
)  # fmt: skip
"""The options of a build on which its dataset depends."""
FIGURES = (
    "version", "seed", "language", "captioners", "writers", "filters", "funnel", "models", "prompts", "licenses",
    "baselines", "gates", "measures", "repaired", "sources", "list_price_usd",
)  # fmt: skip
AUDITED = ("findings", "filters", "longest_first_of_ties", "positions", "variety", "groups")
"""Of RUN/audit.json, beside what was met of benchmarks."""
COUNTS = ("clips", "captions", "questions", "kept", "rejected", "failed")
AGAIN = "start the same command again"

Content = Path | bytes


def publish(
    run: Path, repo: str, *, private: bool = False, revision: str | None = None, dry_run: bool = False
) -> dict[str, Any]:
    """Puts the run's set into the dataset `repo` (made where there is none) and says what was done.

    `revision`: a branch, made where there is none; None is the main one. `dry_run` lists what would go, with no token
    and no network. Returns `{"repo", "revision", "files": [{"path", "bytes"}], "bytes", "left_out", "dry_run"}` and,
    after publishing, `{"private", "commit", "url", "changed", "deleted"}`; `changed` is false, and there is no commit,
    where the Hub holds this very set. Raises UsageError for a wrong call, a run that is not done or holds no question,
    and what the token may not do; DatagenError for what another try may mend.
    """
    check_names(repo, revision)
    folder = opened(run)
    if dry_run:
        return listing(contents(run, repo, revision), run, repo, revision) | {"dry_run": True}
    with folder.held():
        files = contents(run, repo, revision)
        from huggingface_hub import HfApi, get_token

        if not (token := get_token()):
            raise UsageError("no token for the Hub: set HF_TOKEN, or run `hf auth login`")
        with told(repo, token), quiet():
            done = send(HfApi(token=token), files, repo, private, revision or "main")
        return listing(files, run, repo, revision) | {"dry_run": False} | done


def check_names(repo: str, revision: str | None) -> None:
    """Raises UsageError for what the Hub takes for no name."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo)
        named = repo.count("/") == 1
    except HFValidationError:
        named = False
    if not named:
        raise UsageError(f"{repo!r}: is no name of a dataset: use OWNER/NAME of letters, digits, '-', '_' and '.'")
    plain = re.fullmatch(r"(?!.*(\.\.|//))[A-Za-z0-9][A-Za-z0-9._/-]*(?<![/.])", revision or "main")
    if not plain or re.fullmatch(r"[0-9a-f]{40}|refs/.*", revision or ""):
        raise UsageError(f"--revision {revision!r}: is no name of a branch: use one like v2")


# ── what goes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def contents(run: Path, repo: str, revision: str | None) -> dict[str, Content]:
    """Path on the Hub → file or bytes: everything that is published, and the only place that says so."""
    state = Run(run).earlier() or {}
    if state.get("status") != "done":
        raise UsageError(f"{run}: the build is {state.get('status', 'not begun')}: let it finish, or start it again")
    if not state["counts"]["kept"]:
        raise UsageError(f"{run}: no question was kept, so there is nothing to publish: see {run}/report.html")
    folder = run / "dataset"
    shards = {path.relative_to(folder).as_posix(): path for path in sorted((folder / "data").glob("*"))}
    shards = {name: path for name, path in shards.items() if SHARD.fullmatch(name)}
    check_shards(folder, shards, state["counts"]["kept"])
    card = (folder / "README.md").read_text(encoding="utf-8")
    branch = f', revision="{revision}"' if revision else ""
    card = card.replace('load_dataset("OWNER/NAME"', f'load_dataset("{repo}"{branch}', 1)
    figures = {name: state["counts"][name] for name in COUNTS} | {name: state.get(name) for name in FIGURES}
    figures |= {"audit": audited(run, list(shards.values()))}
    audit = json.dumps(figures, indent=2, ensure_ascii=False) + "\n"
    texts = {"README.md": card, "audit.json": audit, "build.toml": build_toml(state)}
    return {**{name: text.encode() for name, text in texts.items()}, **shards}


def audited(run: Path, shards: Sequence[Path]) -> dict[str, Any] | None:
    """What is published of RUN/audit.json: no ids, nobody's name; None where there is none.

    Raises UsageError for one that is not of these shards.
    """
    file, cure = run / "audit.json", f"write it again by `datagen audit {run} --json`, or take it away"
    if not file.exists():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["sha256"] != sha256_of(shards):
            raise UsageError(f"{file}: is of another set than the one here: {cure}")
        findings = {
            name: {key: one[key] for key in ("kind", "count", "share")} for name, one in found["findings"].items()
        }
        leaks = found["leakage"] and {"against": found["leakage"]["against"], "met": len(found["leakage"]["met"])}
        return {**{name: found[name] for name in AUDITED}, "findings": findings, "leakage": leaks}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file}: is no audit ({type(error).__name__}): {cure}") from None


def check_shards(folder: Path, shards: Mapping[str, Path], kept: int) -> None:
    """Raises UsageError unless the card is there and the shards hold `kept` rows, by their footers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = sum(pq.read_metadata(path).num_rows for path in shards.values())
    except (OSError, pa.ArrowInvalid) as error:
        raise UsageError(f"{folder}: {error}: start the build again to write it anew") from None
    if rows != kept or not (folder / "README.md").is_file():
        what = f"holds {rows} questions, run.json says {kept}" if rows != kept else "has no README.md"
        raise UsageError(f"{folder}: {what}: start the build again to write it anew")


def build_toml(state: Mapping[str, Any]) -> str:
    """The configuration that rebuilds the set, with the names alone of what stood on the machine."""
    config = {**state["config"], "captioner": state["config"].get("captioner") or ",".join(state["captioners"])}
    lines = [
        f"# datagen {state['version']}: datagen build --config build.toml",
        "# Of paths, the name alone stands here, and no address of a server that is not public.",
    ]
    for name in BUILT_FROM:
        value, key = config.get(name), name.replace("_", "-")
        if name.endswith("_url") and value and not public_url(value):
            lines.append(f"# {key} = the server of this model; name yours")
        elif value not in (None, "", [], ()):
            lines.append(f"{key} = {toml(without_paths(name, value))}")
    return "\n".join(lines) + "\n"


def without_paths(name: str, value: Any) -> Any:
    """A value of the configuration with nothing of the machine in it."""
    if name in ("captioner", "filters"):
        items = [item.partition("=") for item in (value.split(",") if isinstance(value, str) else value)]
        named = [f"{key}{equals}{public_name(model)}" for key, equals, model in items]
        return ",".join(named) if isinstance(value, str) else named
    if isinstance(value, list):
        return [public_name(item) for item in value]
    return public_name(value) if isinstance(value, str) else value


def public_url(url: str) -> bool:
    """Whether an address may be published: https, a name with a dot, and a path too short to hold a key."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    inner = re.fullmatch(r"[\d.:]+|[^.]*|.*\.(local|internal|lan|localdomain|home|corp)", host)
    bare = not (parts.query or parts.fragment or parts.username or parts.password or parts.port)
    return parts.scheme == "https" and not inner and bare and bool(re.fullmatch(r"(/[\w.-]{0,16})*", parts.path))


def toml(value: Any) -> str:
    """A TOML value: strings as JSON writes them, which are TOML's basic strings but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def listing(files: Mapping[str, Content], run: Path, repo: str, revision: str | None) -> dict[str, Any]:
    """What goes, and what stands beside it in the folder and does not."""
    rows = [{"path": name, "bytes": size(content)} for name, content in sorted(files.items())]
    folder = run / "dataset"
    found = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    total, left_out = sum(map(size, files.values())), [name for name in found if name not in files]
    return {"repo": repo, "revision": revision or "main", "files": rows, "bytes": total, "left_out": left_out}


def size(content: Content) -> int:
    """In bytes."""
    return content.stat().st_size if isinstance(content, Path) else len(content)


# ── how it goes ──────────────────────────────────────────────────────────────────────────────────────────────────────


def send(api: HfApi, files: Mapping[str, Content], repo: str, private: bool, revision: str) -> dict[str, Any]:
    """One commit of what differs from the Hub, upon the commit that was looked at: what came in between conflicts."""
    head, is_private = prepared(api, repo, private, revision)
    operations = differences(api, files, repo, head)
    page = f"{api.endpoint}/datasets/{repo}" + ("" if revision == "main" else f"/tree/{revision}")
    done = {"private": is_private, "commit": head, "url": page, "changed": bool(operations)}
    done["deleted"] = [op.path_in_repo for op in operations if not hasattr(op, "path_or_fileobj")]
    if operations:
        made = api.create_commit(
            repo, operations, commit_message="Publish the set by datagen", repo_type="dataset", revision=revision,
            parent_commit=head,
        )  # fmt: skip
        done["commit"] = made.oid
    return done


def prepared(api: HfApi, repo: str, private: bool, revision: str) -> tuple[str, bool]:
    """(head of the branch, whether the repository is private); both are made where there is none."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.dataset_info(repo)
    except RepositoryNotFoundError as error:
        if error.response.status_code != 404:
            raise
        api.create_repo(repo, repo_type="dataset", private=private or None)
        info = api.dataset_info(repo)
    if private and not info.private:
        raise UsageError(f"{repo}: is public already, and --private cannot hide it: change that in its settings")
    if revision != "main":
        branches = {branch.name for branch in api.list_repo_refs(repo, repo_type="dataset").branches}
        if revision not in branches:
            api.create_branch(repo, branch=revision, repo_type="dataset")
        info = api.dataset_info(repo, revision=revision)
    return str(info.sha), bool(info.private)


def differences(
    api: HfApi, files: Mapping[str, Content], repo: str, head: str
) -> list[CommitOperationAdd | CommitOperationDelete]:
    """The additions and deletions that make the commit `head` hold these files, and no other shards."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.hf_api import RepoFile

    tree = api.list_repo_tree(repo, recursive=True, repo_type="dataset", revision=head)
    there = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    stale = [name for name in there if re.fullmatch(r"data/[^/]+\.parquet", name) and name not in files]
    changed = [name for name in files if name not in there or not same(there[name], files[name])]
    added = [CommitOperationAdd(name, files[name]) for name in changed]
    return [*(CommitOperationDelete(name, is_folder=False) for name in stale), *added]


def same(entry: Any, content: Content) -> bool:
    """Whether a file on the Hub (a RepoFile) has this content: by SHA-256 when it is large, else by git's SHA-1."""
    if entry.size != size(content):
        return False
    if entry.lfs:
        return bool(entry.lfs.sha256 == digest(content, hashlib.sha256()))
    return bool(entry.blob_id == digest(content, hashlib.sha1(b"blob %d\0" % size(content))))


def digest(content: Content, started: Any) -> str:
    """Hex digest of a file or bytes, read piece by piece."""
    with content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as file:
        return hashlib.file_digest(file, lambda: started).hexdigest()


@contextmanager
def quiet() -> Iterator[None]:
    """Progress bars of the client in a terminal only."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextmanager
def told(repo: str, token: str) -> Iterator[None]:
    """Makes one line of what the Hub or the network says, without the token, which they may repeat."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except (httpx2.HTTPError, OSError, RuntimeError, ValueError) as error:
        cause: BaseException | None = error  # a failed upload hides what the server said behind a RuntimeError
        while cause and not isinstance(cause, httpx2.HTTPError):
            cause = cause.__cause__
        if isinstance(cause, HfHubHTTPError):
            raise refusal(repo, cause.response.status_code, without(token, cause.server_message)) from None
        what = " ".join(without(token, str(cause or error)).split()) or type(cause or error).__name__
        if cause is None:
            cure = "set HF_HUB_DISABLE_XET=1 where HF_ENDPOINT has no Xet" if "/xet-" in what else AGAIN
            raise DatagenError(f"{repo}: nothing was published: {what}: {cure}") from None
        kept = "shards that arrived whole are not sent again"
        raise DatagenError(f"{repo}: the connection to the Hub broke ({what}): {kept}; {AGAIN}") from None


def without(token: str, text: str | None) -> str:
    """`text` with the token taken out."""
    return hidden((text or "").encode(errors="replace"), [token], least=1).decode()


def refusal(repo: str, status: int, text: str) -> DatagenError:
    """The one line of an answer that is an error."""
    said = f"{status} {' '.join(text.split())}".strip()
    owner = repo.split("/")[0]
    match status:
        case 401:
            cure = "make a token with write access in the settings of your account, and give it by HF_TOKEN"
            return UsageError(f"{repo}: the Hub does not know the token ({said}): {cure}")
        case 403:
            return UsageError(f"{repo}: the token may not write there ({said}): use one that may write as {owner}")
        case 404:
            return UsageError(f"{repo}: not found ({said}): check owner, name and --revision")
        case 409 | 412:
            return DatagenError(f"{repo}: changed by someone else meanwhile ({said}): nothing was published; {AGAIN}")
        case 408 | 429 | 500 | 502 | 503 | 504:
            return DatagenError(
                f"{repo}: the Hub fails ({said}): shards that arrived are not sent again; {AGAIN} later"
            )
    return DatagenError(f"{repo}: the Hub refuses ({said}): nothing was published")
