"""Any multiple-choice set → one table, with what is wrong in it by name.

    read("mmau-test-mini.json") -> McqSet    .table, .defects, .format, .version, .sha256

Formats, told by their keys: `mmau` (https://github.com/Sakshi113/MMAU; also its Hub layout, with "(A) " before choices
and answer), `mmar` (https://github.com/ddlBoJack/MMAR), `mmsu` (https://github.com/dingdongwang/MMSU), `mmau-pro`
(https://github.com/sonalkum/MMAUPro), `avqa`, `datagen` (a run or dataset of ours), and `generic`: whatever has a
question, choices and an answer under a name of FIELDS. No row is dropped and nothing is repaired in silence: a
malformed one stays in the table, with null where there is nothing to read, and its id stands in `defects`.
"""

from __future__ import annotations

import ast
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.errors import UsageError
from datagen.records import fold
from datagen.rows import Rows, clean, load, some
from datagen.versions import version

if TYPE_CHECKING:
    import polars as pl

__all__ = ["BROKEN", "COLUMNS", "FIELDS", "McqSet", "examined", "read"]

TEXTS = (
    "task", "category", "sub_category", "difficulty", "skill", "language", "dataset", "split", "media_id", "clip_id",
)  # fmt: skip
COLUMNS = ("id", "question", "choices", "answer", "answer_index", *TEXTS, "audio", "captions")
"""Of the table: `choices`, `audio` (references as the file has them) and `captions` are list[str], `answer_index` is
int32, the others are str; null where the file has none. `id` is never null: without one it is "#" and the row's number.
`answer` is the text of the choice that it is; a text that is none of the choices stays as it is, with a null index.
"""

FIELDS: dict[str, tuple[str, ...]] = {
    "id": ("id", "question_id", "uid", "qid", "item_id"),
    "question": ("question", "question_text", "instruction", "query", "problem", "prompt"),
    "choices": ("choices", "multi_choice", "options", "candidates"),
    "answer": (
        "answer", "answer_gt", "answer_text", "correct_answer", "gold", "ground_truth", "label", "target", "solution",
    ),
    "index": ("answer_index", "answer_idx", "answer_id", "correct_index", "correct_idx", "gold_index", "label_index"),
    "audio": (
        "audio_id", "audio_path", "audio", "audio_file", "audio_url", "wav", "video_name", "path", "file", "audios",
    ),
    "task": ("task", "modality", "domain"),
    "category": ("category", "question_relation"),
    "sub_category": ("sub-category", "sub_category", "sub-cat", "subcategory"),
    "difficulty": ("difficulty",),
    "skill": ("skill", "task_name", "question_type", "sub-sub-category", "task_identifier"),
    "language": ("language",),
    "dataset": ("dataset", "source", "source_dataset", "corpus"),
    "split": ("split",),
    "media_id": ("media_id", "youtube_id", "ytid", "url", "video_name"),
    "clip_id": ("clip_id",),
    "captions": ("captions", "caption"),
}  # fmt: skip
"""Column → the names that files give it; of two, the first of these is taken."""
SPREAD = (
    ("choice_a", "choice_b", "choice_c", "choice_d", "choice_e", "choice_f"),
    ("option_a", "option_b", "option_c", "option_d", "option_e", "option_f"),
    ("choice1", "choice2", "choice3", "choice4", "choice5", "choice6"),
    ("option1", "option2", "option3", "option4", "option5", "option6"),
    ("A", "B", "C", "D", "E", "F"),
)
"""Names of choices that stand in one field each."""
NESTED = ("other_attributes", "metadata", "meta", "extra_info")
"""Fields whose own fields count as the row's."""
NOT_CHOICE = ("open", "instruction following")
"""Categories of MMAU-Pro that are no multiple choice."""
BROKEN = (
    "not_an_object", "doubled_id", "no_question", "no_choices", "null_choice", "too_few_choices", "answer_missing",
    "answer_not_text", "answer_not_among_choices", "answer_index_disagrees",
)  # fmt: skip
"""Defects with which a row has no right answer, or more than one meaning. The others (choice_not_text, empty_choice, of
which MMAR has 4, duplicate_choices, answer_spelled_otherwise, question_not_text, list_category) are only listed."""

LABELLED = r"^\s*[(\[]?([A-J])[)\].:]\s+\S"
LABEL = r"^\s*[(\[]?[A-J][)\].:]\s"
LETTER = re.compile(r"[(\[]?([A-Ja-j])[)\].:]?")


@dataclass(frozen=True, slots=True)
class McqSet:
    """A multiple-choice set as it was read."""

    name: str
    """The path or id as it was given."""
    format: str
    version: str
    """Of a published file that is known by its hash; else "unknown version"."""
    sha256: str
    table: pl.DataFrame
    """COLUMNS, a row for each row of the file, in its order; without what is `set_aside`."""
    defects: Mapping[str, tuple[str, ...]]
    """Name of a defect → ids of the rows that have it."""
    set_aside: Mapping[str, int]
    """Rows that are no multiple choice (MMAU-Pro's open and instruction-following ones): category → how many."""
    labelled: bool
    """Whether letters stood before the choices; they were taken off."""

    @property
    def broken(self) -> dict[str, tuple[str, ...]]:
        """The defects of BROKEN."""
        return {name: self.defects[name] for name in BROKEN if name in self.defects}

    def refuse_broken(self, cure: str) -> None:
        """Raises UsageError, naming some ids of each defect of BROKEN, where there is one."""
        if self.broken:
            told = "; ".join(f"{name} {len(ids)} ({some(ids)})" for name, ids in self.broken.items())
            raise UsageError(f"{self.name}: {told}: {cure}")


def read(place: str | Path) -> McqSet:
    """Reads a file, folder or Hub id (see `datagen.rows`).

    Raises UsageError for what cannot be read, and for what has no question or no choices, naming the keys found.
    """
    return examined(load(place))


def examined(source: Rows) -> McqSet:
    """The set in rows that were loaded already."""
    keys = _all_keys(source)
    if source.rows or source.table is not None:
        _check(source, keys)
    format_ = _format(keys)
    names = {column: [name for name in known if name in keys] for column, known in FIELDS.items()}
    odd: dict[str, list[int]] = defaultdict(list)
    raw = _fast(source, names) if format_ in ("datagen", "generic") else None
    table, labelled = _finished(raw if raw is not None else _from_rows(source, names, format_, odd), odd)
    ids = table["id"]
    defects = {name: tuple(ids.gather(rows).to_list()) for name, rows in sorted(odd.items()) if rows}
    aside: dict[str, int] = {}
    if format_ == "mmau-pro":
        apart = table["category"].is_in(NOT_CHOICE).fill_null(False)
        aside = dict(sorted(table.filter(apart)["category"].value_counts().iter_rows()))
        out, table = set(ids.filter(apart)), table.filter(~apart)
        left = {name: tuple(id for id in bad if id not in out) for name, bad in defects.items()}
        defects = {name: bad for name, bad in left.items() if bad}
    return McqSet(source.name, format_, version(source.sha256), source.sha256, table, defects, aside, labelled)


def _all_keys(source: Rows) -> list[str]:
    """Names of all fields, those of NESTED included."""
    keys = source.keys
    if source.table is not None:
        structs = (source.table.schema[key] for key in keys if key in NESTED)
        return keys + [field.name for struct in structs for field in getattr(struct, "fields", ())]
    inner = (row[key] for row in source.rows if isinstance(row, Mapping) for key in NESTED if key in row)
    return keys + list(dict.fromkeys(key for value in inner if isinstance(value, Mapping) for key in value))


def _check(source: Rows, keys: Sequence[str]) -> None:
    has_choices = any(name in keys for name in FIELDS["choices"]) or any(set(s[:2]) <= set(keys) for s in SPREAD)
    missing = [] if any(name in keys for name in FIELDS["question"]) else ["question"]
    missing += [] if has_choices else ["choices"]
    if missing:
        found = some(keys, 20) or "none, no row is an object"
        wanted = " and ".join(f"{name} ({', '.join(FIELDS[name][:4])} …)" for name in missing)
        raise UsageError(f"{source.name}: no multiple-choice set: it has no {wanted}; its keys are {found}")


def _format(keys: Sequence[str]) -> str:
    found = set(keys)
    if {"choice_a", "answer_gt"} <= found:
        return "mmsu"
    if {"multi_choice", "question_text"} <= found:
        return "avqa"
    if {"choices", "category"} <= found and found & {"task_identifier", "perceptual_skills", "reasoning_skills"}:
        return "mmau-pro"
    if {"choices", "modality", "audio_path"} <= found:
        return "mmar"
    if {"choices", "task", "difficulty"} <= found and found & {"audio_id", "sub-category"}:
        return "mmau"
    return "datagen" if {"choices", "clip_id", "provenance"} <= found else "generic"


# ── a table of the right types (parquet of ours and its like) ────────────────────────────────────────────────────────


def _fast(source: Rows, names: Mapping[str, Sequence[str]]) -> pl.DataFrame | None:
    """The raw table by expressions alone; None where a column's type needs a look at each row."""
    import polars as pl

    table, strings = source.table, pl.List(pl.String)
    if table is None:
        return None
    kinds = {column: table.schema[found[0]] for column, found in names.items() if found and found[0] in table.columns}
    wanted: dict[str, tuple[Any, ...]] = {"choices": (strings,), "captions": (strings,), "audio": (pl.String, strings)}
    if "choices" not in kinds or not all(
        kind in wanted.get(column, (pl.String, pl.Null)) or (column == "index" and kind.is_integer())
        for column, kind in kinds.items()
    ):
        return None
    columns = {
        column: pl.col(names[column][0]) if column in kinds else pl.lit(None, _types()[column]) for column in _types()
    }
    if kinds.get("audio") == pl.String:
        columns["audio"] = pl.when(columns["audio"].is_not_null()).then(pl.concat_list(columns["audio"]))
    return _numbered(table.select(**{name: e.cast(_types()[name]) for name, e in columns.items()}))


def _types() -> dict[str, Any]:
    """Columns of the raw table: COLUMNS with `index`, the place that the file gives, for `answer_index`."""
    import polars as pl

    types: dict[str, Any] = dict.fromkeys(COLUMNS, pl.String)
    types |= dict.fromkeys(("choices", "audio", "captions"), pl.List(pl.String))
    del types["answer_index"]
    return {**types, "index": pl.Int64}


def _numbered(table: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    number = pl.concat_str(pl.lit("#"), pl.int_range(1, pl.len() + 1).cast(pl.String))
    return table.with_columns(id=pl.coalesce("id", number))


# ── rows of any kind ─────────────────────────────────────────────────────────────────────────────────────────────────


def _from_rows(
    source: Rows, names: Mapping[str, Sequence[str]], format_: str, odd: dict[str, list[int]]
) -> pl.DataFrame:
    """The raw table, row by row; what is not as it should be goes to `odd`: defect → numbers of rows."""
    import polars as pl

    rows = source.rows if source.table is None else source.table.to_dicts()
    held = {name: found for name, found in names.items() if found}
    columns: dict[str, list[Any]] = {name: [] for name in _types()}
    spread = max(SPREAD, key=lambda s: sum(name in source.keys for name in s))
    as_index = format_ == "avqa" or _numbers_are_places(rows, names)
    for number, row in enumerate(rows):
        wrong: set[str] = set()
        known = _flat(row) if isinstance(row, Mapping) else {}
        for name, value in _row(known, held, spread, as_index=as_index, wrong=wrong).items():
            columns[name].append(value)
        if not isinstance(row, Mapping):
            wrong = {"not_an_object"}
        for name in wrong:
            odd[name].append(number)
    table = pl.DataFrame([_series(name, columns[name], kind) for name, kind in _types().items()])
    if names["media_id"]:
        table = table.with_columns(pl.col("media_id").map_elements(_media, return_dtype=pl.String))
    return _numbered(table)


def _series(name: str, values: Sequence[Any], kind: pl.DataType) -> pl.Series:
    """A column; lists by way of arrow, as polars takes them one at a time."""
    import polars as pl
    import pyarrow as pa

    if kind == pl.List(pl.String):
        return pl.Series(name, pa.array(values, pa.large_list(pa.large_string())))
    return pl.Series(name, values, kind)


def _flat(row: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = [value for key in NESTED if isinstance(value := row.get(key), Mapping)]
    return {**{key: value for part in inner for key, value in part.items()}, **row} if inner else row


def _numbers_are_places(rows: Iterable[Any], names: Mapping[str, Sequence[str]]) -> bool:
    """Whether numbers under `answer` are places among the choices: unless every one is the text of a choice."""
    for row in rows:
        if isinstance(row, Mapping):
            answer = next((row[name] for name in names["answer"] if name in row), None)
            choices = next((row[name] for name in names["choices"] if name in row), None)
            if type(answer) is int and isinstance(choices, Sequence) and str(answer) not in map(str, choices):
                return True
    return False


def _row(
    row: Mapping[str, Any],
    names: Mapping[str, Sequence[str]],
    spread: Sequence[str],
    *,
    as_index: bool,
    wrong: set[str],
) -> dict[str, Any]:
    """The raw columns of one row."""
    value: dict[str, Any] = dict.fromkeys(FIELDS)
    for column, known in names.items():
        for name in known:
            if (cell := row.get(name)) is not None:
                value[column] = cell
                break
    found: dict[str, Any] = {name: _text(value[name]) for name in TEXTS}
    if isinstance(value["category"], list):
        wrong.add("list_category")
    if not isinstance(value["question"], str | None):
        wrong.add("question_not_text")
    index, answer = _whole(value["index"]), value["answer"]
    if as_index and _whole(answer) is not None:
        index, answer = _whole(answer), None
    elif not isinstance(answer, str | int | float | None) or isinstance(answer, bool):
        wrong.add("answer_not_text")
    return {
        **found,
        "id": _text(value["id"]),
        "question": _text(value["question"]),
        "choices": _choices(_in_one_field_each(row, spread) if value["choices"] is None else value["choices"], wrong),
        "answer": _text(answer),
        "index": index,
        "audio": _references(value["audio"]),
        "captions": _references(value["captions"]),
    }


def _in_one_field_each(row: Mapping[str, Any], spread: Sequence[str]) -> list[Any] | None:
    """Up to the last field that is filled."""
    if not any(name in row for name in spread):
        return None
    found = [row.get(name) for name in spread]
    while found and found[-1] in (None, ""):
        found.pop()
    return found


def _whole(value: Any) -> int | None:
    """A place; CSV holds it as text."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value):
        return int(value)
    return value if type(value) is int and abs(value) < 2**31 else None


def _text(value: Any) -> str | None:
    """A value as text: null stays null, a list is its members with commas between, an object is JSON."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return clean(", ".join(value))
    if isinstance(value, dict | list | tuple):
        return clean(_dump(value))
    return None if value is None else str(value)


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _choices(value: Any, wrong: set[str]) -> list[str | None] | None:
    """The texts of the choices; null stays null, so that a place in the file's list still holds."""
    if isinstance(value, str):  # of a CSV, or of a Hub column of strings
        value = _literal(value)
    if isinstance(value, Mapping):  # {"text": [...], "label": [...]} or {"A": ..., "B": ...}
        value = value["text"] if isinstance(value.get("text"), list) else [value[key] for key in sorted(value, key=str)]
    if not isinstance(value, list | tuple):
        wrong.add("no_choices")
        return None
    if not all(isinstance(choice, str | None) for choice in value):
        wrong.add("choice_not_text")
    return [_text(choice) for choice in value]


def _literal(text: str) -> Any:
    """A list written as JSON or as Python prints it; the text itself when it is neither."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


def _references(value: Any) -> list[str] | None:
    """One text or path, or several."""
    several = value if isinstance(value, list | tuple) else [value]
    paths = [item.get("path") if isinstance(item, Mapping) else item for item in several]
    return [text for path in paths if (text := _text(path)) is not None] or None


def _media(text: str) -> str:
    """The id of a YouTube video in an address or in AVQA's form `-HG3Omg_89c_000030`; other texts as they are."""
    match = re.search(r"(?:youtu\.be/|[?&]v=|/shorts/)([\w-]{11})", text) or re.fullmatch(r"([\w-]{11})_\d{6}", text)
    return match[1] if match else text


# ── what all of them share ───────────────────────────────────────────────────────────────────────────────────────────


def _finished(raw: pl.DataFrame, odd: dict[str, list[int]]) -> tuple[pl.DataFrame, bool]:
    """The table of COLUMNS, and whether letters stood before the choices. Adds to `odd`."""
    import polars as pl

    table = raw.with_row_index("row").with_columns(said=pl.col("choices"))
    labels = pl.element().str.extract(LABELLED)
    marked = pl.col("choices").list.eval(labels).list.join("")
    size = pl.col("choices").list.len()
    labelled = (marked == pl.lit("ABCDEFGHIJ").str.head(size)) & (size > 1)
    bare = pl.col("choices").list.eval(pl.element().str.replace(LABEL, ""))
    table = table.with_columns(labelled=labelled.fill_null(False))
    if any_labelled := bool(table["labelled"].any()):
        table = table.with_columns(choices=pl.when("labelled").then(bare).otherwise("choices"))
    table = _with_answers(table)
    _note_defects(table, odd)
    choices = pl.col("choices").list.drop_nulls().fill_null([])
    return table.select(*(choices if name == "choices" else name for name in COLUMNS)), any_labelled


def _with_answers(table: pl.DataFrame) -> pl.DataFrame:
    """Adds `answer_index`, among the choices that are not null, and `spelled`: found by folding, or by its letter."""
    import polars as pl

    choices = pl.col("choices")
    given = choices.list.get(pl.col("index"), null_on_oob=True)
    in_range = pl.col("index").is_between(0, choices.list.len().cast(pl.Int64) - 1)
    empty = pl.col("answer").is_null() | (pl.col("answer") == "")
    table = table.with_columns(pointed=pl.when(in_range).then(given))
    table = table.with_columns(answer=pl.when(empty).then(pl.coalesce("pointed", "answer")).otherwise("answer"))
    long = table.select("row", "answer", "choices", "said").explode("choices", "said")
    long = long.filter(pl.col("choices").is_not_null()).with_columns(place=pl.int_range(pl.len()).over("row"))
    right = (pl.col("choices") == pl.col("answer")) | (pl.col("said") == pl.col("answer"))
    first = long.filter(right).group_by("row").agg(answer_index=pl.col("place").min().cast(pl.Int32))
    table = table.join(first, on="row", how="left", maintain_order="left")
    open_ = table.filter(pl.col("answer_index").is_null() & pl.col("answer").is_not_null() & (pl.col("answer") != ""))
    found = {row: _place(answer, kept) for row, answer, kept in open_.select("row", "answer", "choices").iter_rows()}
    spelled = pl.Series("spelled", [found.get(row) for row in range(table.height)], dtype=pl.Int32)
    table = table.with_columns(spelled).with_columns(pl.coalesce("answer_index", "spelled"))
    text = choices.list.drop_nulls().list.get(pl.col("answer_index"), null_on_oob=True)
    return table.with_columns(answer=pl.coalesce(text, "answer"))


def _place(answer: str, choices: Sequence[str | None] | None) -> int | None:
    """The choice that an answer means which is the text of none: but for case and spaces, or by its letter."""
    kept = [choice for choice in choices or () if choice is not None]
    folded = fold(answer)
    for place, choice in enumerate(kept):
        if fold(choice) == folded:
            return place
    letter = LETTER.fullmatch(answer.strip())
    place = ord(letter[1].upper()) - ord("A") if letter else len(kept)
    return place if place < len(kept) else None


def _note_defects(table: pl.DataFrame, odd: dict[str, list[int]]) -> None:
    """The defects that can be seen in the table."""
    import polars as pl

    choices, answer = pl.col("choices"), pl.col("answer")
    kept = choices.list.drop_nulls()
    missing = answer.is_null() | (answer == "")
    masks = {
        "doubled_id": pl.col("id").is_duplicated(),
        "no_question": (pl.col("question").fill_null("").str.strip_chars() == "") & ~_in("not_an_object", odd),
        "no_choices": choices.is_null() & ~_in("not_an_object", odd),
        "null_choice": choices.list.len() > kept.list.len(),
        "empty_choice": kept.list.eval(pl.element().str.strip_chars() == "").list.any(),
        "too_few_choices": choices.is_not_null() & (kept.list.len() < 2),
        "answer_missing": missing & pl.col("index").is_null() & ~_in("not_an_object", odd),
        "answer_not_among_choices": pl.col("answer_index").is_null() & (~missing | pl.col("index").is_not_null()),
        "answer_index_disagrees": pl.col("index").is_not_null() & pl.col("answer_index").is_not_null()
        & (pl.col("pointed").is_null() | (pl.col("pointed") != answer)),
        "answer_spelled_otherwise": pl.col("spelled").is_not_null(),
    }  # fmt: skip
    for name, mask in masks.items():
        rows = table.filter(mask.fill_null(False))["row"].to_list()
        odd[name] = sorted({*odd.get(name, ()), *rows})
    odd["duplicate_choices"] = _duplicates(table)


def _in(name: str, odd: Mapping[str, list[int]]) -> pl.Expr:
    import polars as pl

    return pl.col("row").is_in(odd.get(name, []))


def _duplicates(table: pl.DataFrame) -> list[int]:
    """Rows two of whose choices are equal after `records.fold`."""
    import polars as pl

    long = table.select("row", form=pl.col("choices")).explode("form").drop_nulls()
    is_ascii = pl.col("form").str.len_bytes() == pl.col("form").str.len_chars()
    spaces = pl.col("form").str.to_lowercase().str.replace_all(r"[\t-\r\x1c-\x1f ]+", " ")  # `fold`, where all is ASCII
    plain, other = long.filter(is_ascii), long.filter(~is_ascii)
    folded = other.with_columns(form=pl.Series([fold(text) for text in other["form"]], dtype=pl.String))
    forms = pl.concat([plain.with_columns(form=spaces.str.strip_chars()), folded])
    rows = forms.group_by("row").agg(n=pl.len(), kinds=pl.col("form").n_unique()).filter(pl.col("n") > pl.col("kinds"))
    return sorted(rows["row"].to_list())
