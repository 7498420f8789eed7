r"""Render a multiple-choice question, read an answer, match it: the one scorer of filters, rewards and evaluation.

    render        question and choices as a prompt
    solution      what a right answer to that prompt says
    read          strict: the index of the one choice that a text answers with, or None, "no answer", which is wrong
    string_match  MMAU's official matcher, reproduced exactly

How `read` reads. Text is compared after NFKC, casefold and folding of spaces. What is thought in `<think>` does not
count. An answer stands in a span: `<answer>…</answer>`, `\boxed{…}`, "the answer is …", or, where there is none of
these, the whole text when it is short or is a choice word for word. The last span wins; an earlier one that says
another choice makes it no answer. Within a span:

- a span that *is* a choice (quotes, brackets and closing punctuation aside) is that choice;
- a letter is a label only where the prompt showed letters, and only alone, in front of its text ("B) dog", which must
  agree), or in front of a reason in an answer span ("B, because …");
- else the one choice that is mentioned in whole words counts; of nested choices the longest ("dog barking" is no
  "dog"); two different ones, or a negated one, are no answer.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

from datagen.language import UNSPACED
from datagen.records import fold

__all__ = ["CAPTION", "LABELS", "STYLES", "Labels", "Style", "letter", "read", "render", "solution", "string_match"]

Labels = Literal["letters", "text", "both"]
Style = Literal["omni-r1", "r1-aqa", "letters"]
STYLES: tuple[Style, ...] = get_args(Style)

LABELS: Mapping[Style, Labels] = {"omni-r1": "text", "r1-aqa": "text", "letters": "letters"}
"""How each style of `render` labels the choices: what to pass to `read`."""
CAPTION = "The audio is described as follows: {captions}\n{question}"
"""A prompt in which captions stand in for the audio; `question` is rendered."""

SHORT = 120
"""Characters beyond the longest choice up to which a text without an answer span is read whole: about one sentence."""
LONG = 1000
"""The same for an answer span, which may give its reason."""


def letter(index: int) -> str:
    """The label of choice `index`: A, B, C …"""
    return chr(ord("A") + index)


def render(question: str, choices: Sequence[str], style: Style) -> str:
    """The text of a prompt that asks `question`.

    omni-r1: the prompt of Omni-R1 (arXiv 2505.09439), choices unlabelled (`text`). The paper does not say how the list
             is printed; here as R1-AQA's code prints it.
    r1-aqa:  R1-AQA's (arXiv 2503.11197), choices unlabelled (`text`), the answer in tags.
    letters: one labelled choice a line, the letter asked for (`letters`).
    """
    listed = f"{question} Please choose the answer from the following options: {list(choices)}"
    if style == "omni-r1":
        return listed
    if style == "r1-aqa":
        return f"{listed}. Output the final answer in <answer> </answer>."
    lines = [f"({letter(index)}) {choice}" for index, choice in enumerate(choices)]
    return "\n".join([question, *lines, "Answer with the letter of the right choice only."])


def solution(choices: Sequence[str], index: int, style: Style) -> str:
    """The gold text of a prompt by `render`: `read` finds choice `index` in it, with the labels of that style."""
    if style == "letters":
        return letter(index)
    return f"<answer>{choices[index]}</answer>" if style == "r1-aqa" else choices[index]


# ── the official matcher ─────────────────────────────────────────────────────────────────────────────────────────────


def string_match(answer: str, prediction: str, choices: Sequence[str]) -> bool:
    r"""MMAU's `string_match` (evaluation.py of github.com/Sakshi113/MMAU, v05.15.25), with all that it does.

    Texts are *sets* of tokens (`\b\w+\b`, lower case): order and number of words do not count. Right when the gold's
    tokens are all in the prediction and no token of a wrong choice is, the gold's own tokens aside; so a wrong choice
    whose tokens are the gold's, or fewer or more of a kind, is credited. A prediction without tokens is wrong.
    """
    predicted, gold = _tokens(prediction), _tokens(answer)
    wrong = set().union(*(_tokens(choice) for choice in choices)) - gold
    return bool(predicted) and gold <= predicted and predicted.isdisjoint(wrong)


TOKEN = re.compile(r"\b\w+\b")


def _tokens(text: str) -> set[str]:
    return set(TOKEN.findall(text.lower()))


# ── the strict reader ────────────────────────────────────────────────────────────────────────────────────────────────


def read(text: str, choices: Sequence[str], labels: Labels = "both") -> int | None:
    """The index of the choice that `text` answers with, None when it answers with no single one.

    `labels`: what the prompt showed before the choices. `letters`: a letter outranks a choice of the same text.
    `text`: nothing, a letter is no answer unless it is a choice. `both` (or unknown): the exact text of a choice
    outranks a letter. Choices that are equal after folding are one choice, the first of them.
    """
    alone = ALONE.fullmatch(_bare(text)) if labels == "letters" else None
    if alone and (place := ord(alone[1].upper()) - ord("A")) < len(choices):  # what nearly every answer is
        form = fold(choices[place])
        return next(index for index, choice in enumerate(choices) if fold(choice) == form)
    menu = _menu(tuple(choices))
    index = menu.exact.get(fold(text))
    if index is not None and (labels != "letters" or not ALONE.fullmatch(_bare(text))):
        return index
    text = _normal(_after_thinking(text))
    spans = list(_answer_spans(text)) or [_Span(text, "whole")]
    last = _read_span(spans[-1], menu, labels)
    others = {_read_span(span, menu, labels) for span in set(spans[:-1])}
    return last if others <= {last, None} else None


class _Menu:
    """Choices prepared for reading: every form of a choice → its first index."""

    def __init__(self, choices: tuple[str, ...]) -> None:
        self.longest = max(map(len, choices), default=0)
        self.exact: dict[str, int] = {}
        self.low: dict[str, int] = {}
        self.first: list[int] = []
        """For each choice the first that is equal to it."""
        bare: dict[str, set[int]] = {}
        normal = [_normal(choice) for choice in choices]
        for index, (choice, form) in enumerate(zip(choices, normal, strict=True)):
            first = self.exact.setdefault(fold(choice), index)
            self.first.append(first)
            self.low.setdefault(_low(" ".join(form.split())), first)
            bare.setdefault(fold(_bare(form)), set()).add(first)
        self.bare = {form: indices.pop() for form, indices in bare.items() if form and len(indices) == 1}
        """Without quotes and closing punctuation, where that still names one choice."""
        self.by_length = sorted(
            ((form, index) for form, index in self.low.items() if form), key=lambda item: -len(item[0])
        )
        self.single = {form for form in normal if len(form) == 1}
        """Choices of one character, as they are written: "a" in a sentence is not the chord "A"."""


@lru_cache(maxsize=4096)
def _menu(choices: tuple[str, ...]) -> _Menu:
    return _Menu(choices)


def _normal(text: str) -> str:
    """NFKC, plain apostrophes, single spaces; line ends stay, since an answer ends with its line."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).replace("’", "'").replace("‘", "'").replace("ʼ", "'")
    if "\n" not in text:
        return " ".join(text.split())
    return re.sub(r" *\n\s*", "\n", re.sub(r"[^\S\n]+", " ", text)).strip()


def _low(text: str) -> str:
    """Casefold that keeps every character's place."""
    folded = text.casefold()
    if len(folded) == len(text):
        return folded
    return "".join(low if len(low := character.casefold()) == 1 else character for character in text)


def _bare(text: str) -> str:
    """Without surrounding quotes, emphasis and brackets, and without closing punctuation."""
    return text.strip(" \n\t\"'`*_“”„«»「」『』[](){}<>.,;:!?。、！？؟،।")


def _after_thinking(text: str) -> str:
    """What follows `</think>`; a thought that does not end answers nothing."""
    _, closed, tail = text.rpartition("</think>")
    if closed:
        return tail
    return text.partition("<think>")[0]


MARK = re.compile(
    r"""(?P<tag><answer>)|(?P<end></answer>)|(?P<box>\\boxed\s*\{)
    |(?P<phrase>\b(?:answer|correct\ (?:option|choice|one))\b[*_"]*
       (?:\ to\ (?:the|this)\ question)?\s*(?:\b(?:is|was|would\ be|should\ be|must\ be)\b|[:=])[*_]*:?
     |答案(?:应该|應該)?(?:是|为|為|:)|答えは|정답은|답은|\bответ\s*(?::|—|-)|الإجابة(?:\ هي|:)
     |\b(?:antwort|réponse|respuesta|risposta|resposta)\b(?:\ (?:ist|est|es|è|é)\b|\s*:)[*_]*:?)\s*""",
    re.IGNORECASE | re.VERBOSE,
)


class _Span(NamedTuple):
    text: str
    kind: Literal["whole", "tag", "phrase"]
    rest: str = ""
    """Behind a phrase's line."""


def _answer_spans(text: str) -> Iterator[_Span]:
    """The answer spans of `text`, in order; each ends where the next mark begins, a phrase also with its line."""
    marks = list(MARK.finditer(text))
    for mark, following in zip(marks, [*marks[1:], None], strict=False):
        span, rest = text[mark.end() : following.start() if following else None], ""
        if mark["box"]:
            span = re.sub(r"\\(?:text|textbf|mathrm|mathbf)\s*\{|[{}]", "", _in_braces(span))
        elif mark["phrase"]:
            span, _, rest = span.partition("\n")
        if not mark["end"] and span.strip():
            yield _Span(span.strip(), "phrase" if mark["phrase"] else "tag", rest)


def _in_braces(text: str) -> str:
    """Up to the brace that closes the one before `text`."""
    depth = 1
    for place, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if not depth:
            return text[:place]
    return text


ALONE = re.compile(r"(?:(?:the )?(?:option|choice|letter|answer) )?[\[(]?([a-j])[\])]?", re.IGNORECASE)
HARD = re.compile(
    r"(?<!\w)[\[(] ?([a-jA-J]) ?[\])]|^[*_\"'`]*(?:(?:[Oo]ption|[Cc]hoice) )?([a-jA-J])(?:[).:\]]| [-–—](?= ))"
)
"""A letter that its brackets or its place mark as a label."""
CAPITAL = re.compile(r"(?<![\w#-])(?<!\w')([A-J])(?![\w#♯♭-]|'\w)(?! (?!because|since|as |is |for |and |or )[a-z])")
"""A capital by itself that is no article and no pronoun."""


def _read_span(span: _Span, menu: _Menu, labels: Labels) -> int | None:
    """The one choice that a span names."""
    index, rest = _exact(span.text, menu, labels), span.rest
    if index is None and len(span.text) <= menu.longest + (SHORT if span.kind == "whole" else LONG):
        text, rest = _first_sentence(span, menu, labels) if span.kind == "phrase" else (span.text, "")
        index = _read_sentence(text, menu, labels, marked=span.kind != "whole")
    return index if index is None or _listed(rest, menu, labels) <= {index} else None


def _listed(rest: str, menu: _Menu, labels: Labels) -> set[int]:
    """The choices of a list, labelled or not, that goes on behind a phrase."""
    pieces = [*PIECES.split(rest), *(HARD.sub("", line, count=1) for line in rest.split("\n"))]
    return {index for piece in pieces if (index := _exact(piece, menu, labels)) is not None}


def _exact(text: str, menu: _Menu, labels: Labels) -> int | None:
    """The choice or label that a text is."""
    exact = menu.exact.get(fold(text))
    if exact is None:
        exact = menu.bare.get(fold(_bare(text)))
    alone = ALONE.fullmatch(_bare(text)) if labels != "text" else None
    index = _index(alone[1], menu) if alone else None
    return index if index is not None and (labels == "letters" or exact is None) else exact


def _first_sentence(span: _Span, menu: _Menu, labels: Labels) -> tuple[str, str]:
    """A phrase's first sentence and what follows it; a period inside a choice or behind a label ends none."""
    found = _found(span.text, menu, labels)
    stop = SENTENCE.search(found.masked)
    if not stop:
        return span.text, span.rest
    return span.text[: stop.start()], f"{span.text[stop.end() :]}\n{span.rest}"


class _Found(NamedTuple):
    """What a text holds: (start, index) of each label and of each choice, and the text with these blanked out."""

    labels: list[tuple[int, int]]
    mentions: list[tuple[int, int]]
    masked: str


def _found(text: str, menu: _Menu, labels: Labels) -> _Found:
    hard = [(m, _index(m[1] or m[2], menu)) for m in HARD.finditer(text)] if labels != "text" else []
    known = [(match, index) for match, index in hard if index is not None]
    taken = [match.span() for match, _ in known]
    mentions = _mentions(text, menu, taken, letters=labels == "letters" and not known)
    masked = _mask(text, taken + [(start, end) for start, end, _ in mentions])
    return _Found([(m.start(), i) for m, i in known], [(start, index) for start, _, index in mentions], masked)


def _read_sentence(text: str, menu: _Menu, labels: Labels, *, marked: bool) -> int | None:
    """The choice that a text mentions, by its words, by its label in an answer span, or by both where they agree."""
    found = _found(text, menu, labels)
    negated = _negated(found.masked)
    said = {index for start, index in found.mentions if not negated[start]}
    named: set[int | None] = {index for start, index in found.labels if not negated[start]}
    if labels != "text":
        named |= {_index(match[1], menu) for match in CAPITAL.finditer(found.masked) if not negated[match.start()]}
    if found.mentions:
        return said.pop() if len(said) == 1 and named - {None} <= said else None
    return named.pop() if marked and len(named) == 1 else None


def _index(label: str, menu: _Menu) -> int | None:
    place = ord(label.upper()) - ord("A")
    return menu.first[place] if place < len(menu.first) else None


def _mentions(text: str, menu: _Menu, taken: Sequence[tuple[int, int]], *, letters: bool) -> list[tuple[int, int, int]]:
    """(start, end, index) of every choice in whole words, longest first, none inside another or inside `taken`.

    With `letters`, a choice that is a letter counts in quotes alone, as in a list of the choices.
    """
    low = _low(text)
    held, found = list(taken), []
    for form, index in menu.by_length:
        is_label = len(form) == 1 and letters and "a" <= form <= "j"
        start = low.find(form)
        while start >= 0:
            end = start + len(form)
            free = all(end <= a or start >= b for a, b in held)
            free = free and (not is_label or low[start - 1 : end + 1] in (f"'{form}'", f'"{form}"'))
            if free and _stands_alone(text, start, end) and (len(form) > 1 or text[start] in menu.single):
                held.append((start, end))
                found.append((start, end, index))
            start = low.find(form, end if free else start + 1)
    return found


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether text[start:end] is no part of a longer word, number or chord."""
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    first, last = text[start], text[end - 1]
    if before and (_joined(before[-1], first) or (first.isdigit() and before[-1] in "-−+")):
        return False
    if (
        len(before) == 2
        and before[1] in "-'/.,"
        and _joined(before[0], first)
        and (before[1] not in ".," or _digits(before[0], first))
    ):
        return False
    if after and (_joined(last, after[0]) or after[0] in "#♯♭%" or unicodedata.category(after[0])[0] == "M"):
        return False
    inner = len(after) == 2 and after[0] in "-'/.,:" and _joined(last, after[1])
    return not (inner and (after[0] not in ".,:" or _digits(last, after[1])))


def _digits(left: str, right: str) -> bool:
    return left.isdigit() and right.isdigit()


def _joined(left: str, right: str) -> bool:
    """Whether two neighbouring characters stand in one word; in scripts without spaces that cannot be told, so no."""
    if not (left.isalnum() or left == "_") or not (right.isalnum() or right == "_"):
        return False
    if "\u30a0" <= left <= "\u30ff" and "\u30a0" <= right <= "\u30ff":
        return True
    return not (SPACELESS.match(left) or SPACELESS.match(right))


SPACELESS = re.compile(f"[{UNSPACED}]")
SENTENCE = re.compile(r"[.!?](?=\s|$)|[。！？]")
PIECES = re.compile(r"[.,;!?\n。！？，；、]")
NEGATION = re.compile(
    r"""\b(?:not|no|none|never|neither|nor|cannot|without|wrong|incorrect|rather\ than|instead\ of|except|unlike)\b
    |n't\b|不|没|沒|非|無|未|ない|なく|아니|않|\b(?:nicht|kein\w*|weder|ne|pas|ni|não|nem|non|né|нет|не|ни|ليس|ليست|لا)\b""",
    re.IGNORECASE | re.VERBOSE,
)
CLAUSE = re.compile(
    r"(?P<turn>[.!?](?=\s|$)|[。！？\n]|\b(?:but|instead(?!\ of)|sondern|sino|mais|而是|но)\b)|[,;:()—–，；、]",
    re.IGNORECASE,
)


def _negated(masked: str) -> list[bool]:
    """For each place (and one beyond): whether it is denied.

    A negation denies its whole clause and those after it, up to the end of the sentence or a "but".
    """
    flags: list[bool] = []
    denied = False
    start = 0
    for divider in [*CLAUSE.finditer(masked), None]:
        end = divider.end() if divider else len(masked) + 1
        denied = denied or NEGATION.search(masked, start, end) is not None
        flags += [denied] * (end - start)
        denied = denied and not (divider and divider["turn"])
        start = end
    return flags


def _mask(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """`text` with the spans blanked out, so that words inside choices are no negations and no sentence ends."""
    characters = list(text)
    for start, end in spans:
        characters[start:end] = "\0" * (end - start)
    return "".join(characters)
