"""Form: what is wrong with a question can be seen in its own words, without its captions.

`problem` is asked before any probe spends a model call; it is exact, so this filter has no score and no threshold.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

    from datagen.plugins import Context
    from datagen.records import Question

__all__ = ["Wellformed", "problem"]

QUESTION_CHARACTERS = 1000
CHOICE_CHARACTERS = 300
"""Longer ones are nothing to keep in mind while listening; the longest of MMAU test-mini have 246 and 150."""

FORBIDDEN = {
    "English": """caption captions captioned subtitle subtitles video videos image images picture pictures pictured
        photo photos photograph photographs footage visible visibly visual visually visuals onscreen see sees seen
        seeing shown depict depicts depicted color colors colored colour colours coloured""",
    "German": "Videos Bild Bilder Bildern Untertitel Bildunterschrift sichtbar sichtbare sichtbaren gesehen gezeigt",
    "French": "vidéo vidéos sous-titre sous-titres légende légendes visibles",
    "Spanish": "vídeo vídeos imagen imágenes subtítulo subtítulos",
    "Chinese and Japanese": "视频 影片 图像 图片 画面 字幕 可见 視頻 圖像 圖片 動画 映像 画像",
    "Korean": "비디오 동영상 영상 이미지 자막",
}
"""Words of a question that speak of what is seen, by language; every list is put to every question."""
FORBIDDEN_PHRASES = (
    "on screen", "on the screen", "according to the description", "according to the note", "according to the text",
    "described in the note", "mentioned in the note", "mentioned in the description", "stated in the description",
    "zu sehen", "à l'écran",
)  # fmt: skip
"""Phrases that do, or that give away how the question came to be."""
HARMLESS = re.compile(
    r"\b(?:video games?|motion pictures?|(?:stereo|sound) images?|(?:ton(?:e|al)|sound|vocal) colou?rs?|see you)\b"
)
"""Where these words mean something that is heard."""
FORBIDDEN_IN_CHOICES = {
    "English": "caption captions captioned visible visually onscreen depicted",
    "others": "Untertitel sichtbar sous-titre sous-titres subtítulo subtítulos 视频 字幕 画面",
}
"""Fewer: a choice may well be "taking a picture" or "a video game"."""

OTHERS = ("above", "these", "those", "them", "options", "choices", "answers", "above options", "above choices")
QUANTITIES = {
    "all": "all_of_the_above", "none": "none_of_the_above", "neither": "none_of_the_above", "both": "both_of_the_above",
}  # fmt: skip
WHOLE = {
    **{
        f"{quantity}{link}{others}": reason
        for quantity, reason in QUANTITIES.items()
        for link in (" of the ", " the ", " of ", " ")
        for others in OTHERS
    },
    **dict.fromkeys(("neither", "none", "alle genannten", "keine der genannten", "keine davon"), "none_of_the_above"),
    **dict.fromkeys(("以上都不是", "以上皆非", "上記のいずれでもない", "aucune de ces réponses"), "none_of_the_above"),
    **dict.fromkeys(("ninguna de las anteriores", "ninguno de los anteriores"), "none_of_the_above"),
    **dict.fromkeys(("alle genannten", "todas las anteriores", "todos los anteriores"), "all_of_the_above"),
    **dict.fromkeys(("以上都是", "以上皆是", "以上全部", "上記すべて", "toutes ces réponses"), "all_of_the_above"),
    **dict.fromkeys(("both", "beide", "les deux", "ambos", "ambas", "两者都是"), "both_of_the_above"),
    **dict.fromkeys(
        ("unknown", "unclear", "undetermined", "not sure", "not clear", "not given", "not specified", "not stated",
         "unbekannt", "inconnu", "desconocido", "无法确定", "不确定", "不明", "分からない"),
        "cannot_be_determined",
    ),
}  # fmt: skip
"""Choices that are about the other choices or are none: the whole choice, folded → reason."""
UNDETERMINED = (
    "cannot be determined", "can't be determined", "could not be determined", "cannot be told", "cannot be identified",
    "cannot tell", "can't tell", "can't say", "don't know", "i don't know", "it cannot be", "impossible to",
    "it is impossible to", "it's impossible to", "not possible to", "hard to tell", "hard to say", "difficult to tell",
    "not enough information", "insufficient information", "nicht feststellbar", "nicht bestimmbar",
)  # fmt: skip
"""How a choice begins that is no answer."""
PAIR = re.compile(r"(?:both )?\(?[a-j1-9]\)? (?:and|&|und|et|y) \(?[a-j1-9]\)?")
""""A and B", of the labels that choices do not have."""

BROKEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufeff\ufffd]")
"""Control characters, also those of writing direction, halves of characters, and what stands for undecodable bytes."""
LABEL = re.compile(r"(?P<sure>[(\[][A-Ja-j1-9][)\]]\s*\S)|(?:[A-Ja-j]|[1-9])[).:]\s+\S")
WORD = re.compile(r"\w+(?:-\w+)*")
ARTICLE = re.compile(r"^(?:an?|the)\s+")
SHORT_ANSWER = 2
"""Answers of so few characters ("no", "2", "A") stand in many questions without giving anything away."""


def _split(lists: dict[str, str]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Words that are looked up whole, and those of scripts without spaces, which are searched for."""
    words = [word for text in lists.values() for word in text.casefold().split()]
    searched = tuple(word for word in words if word[0] >= "\u3040")
    return frozenset(words) - set(searched), searched


QUESTION_WORDS, CHOICE_WORDS = _split(FORBIDDEN), _split(FORBIDDEN_IN_CHOICES)


class Wellformed:
    """Bad form: forbidden words, "all of the above", the answer in the question, labels in choices, broken text.

    Reasons: broken_text, too_long, too_short, forbidden_word, all_of_the_above, none_of_the_above, both_of_the_above,
    cannot_be_determined, label_in_choice, answer_in_question.
    """

    def __init__(self, context: Context) -> None: ...

    def judge(self, table: pl.DataFrame) -> pl.DataFrame:
        """See `datagen.filters.Filter`."""
        import polars as pl

        columns = (table["question"], table["choices"].to_list(), table["answer_index"])
        reasons = [_problem(*row) or "" for row in zip(*columns, strict=True)]
        return pl.DataFrame(
            {"question_id": table["id"], "keep": [not reason for reason in reasons], "reason": reasons, "score": None},
            schema={"question_id": pl.String, "keep": pl.Boolean, "reason": pl.String, "score": pl.Float64},
        )


def problem(question: Question) -> str | None:
    """The reason for which a question is dropped, None when it is well formed."""
    return _problem(question.question, question.choices, question.answer_index)


def _problem(question: str, choices: Sequence[str], answer: int) -> str | None:
    if len(question) > QUESTION_CHARACTERS or any(len(choice) > CHOICE_CHARACTERS for choice in choices):
        return "too_long"
    together = "\n".join(choices)
    if BROKEN.search(question) or BROKEN.search("".join(choices)):
        return "broken_text"
    if sum(map(str.isalnum, question)) < 4 or not all(any(map(str.isalnum, choice)) for choice in choices):
        return "too_short"
    asked, together = question.casefold().replace("’", "'"), together.casefold().replace("’", "'")
    if _speaks_of(asked, QUESTION_WORDS) or _speaks_of(together, CHOICE_WORDS):
        return "forbidden_word"
    if any(phrase in asked for phrase in FORBIDDEN_PHRASES):
        return "forbidden_word"
    for choice in together.split("\n"):
        if reason := _empty_choice(choice.strip(" .!()[]\"'")):
            return reason
    labels = [match for match in map(LABEL.match, choices) if match]
    if len(labels) > 1 or any(match["sure"] for match in labels):
        return "label_in_choice"
    return "answer_in_question" if _gives_away(question, choices, answer) else None


def _speaks_of(text: str, forbidden: tuple[frozenset[str], tuple[str, ...]]) -> bool:
    words, searched = forbidden
    if not words.isdisjoint(WORD.findall(text)):
        return not words.isdisjoint(WORD.findall(HARMLESS.sub("", text)))
    return not text.isascii() and any(word in text for word in searched)


def _empty_choice(choice: str) -> str | None:
    """The reason for which a folded choice is none."""
    if choice in WHOLE:
        return WHOLE[choice]
    if choice.startswith(UNDETERMINED):
        return "cannot_be_determined"
    return "both_of_the_above" if len(choice) < 20 and PAIR.fullmatch(choice) else None


def _gives_away(question: str, choices: Sequence[str], answer: int) -> bool:
    """Whether the question holds its answer and no other choice ("the dog or the cat?" holds both)."""
    text = f" {' '.join(question.casefold().split())} "
    return _holds(text, choices[answer]) and not any(
        _holds(text, choice) for index, choice in enumerate(choices) if index != answer
    )


def _holds(text: str, choice: str) -> bool:
    form = ARTICLE.sub("", " ".join(choice.casefold().split()).strip(" .!?"))
    if len(form) <= SHORT_ANSWER and form.isascii():
        return False
    start = text.find(form)
    while start >= 0:
        before, after = text[start - 1], text[start + len(form)]
        if not ((before.isascii() and before.isalnum()) or (after.isascii() and after.isalnum())):
            return True
        start = text.find(form, start + 1)
    return False
