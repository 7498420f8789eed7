"""Languages: how one is named, and what a word is in any script.

A word is a run of letters, digits and the marks that belong to them; in scripts that put no spaces between words (Han,
kana, Thai, Lao, Burmese, Khmer) each character counts as one. That is coarse, and the same everywhere: lengths, overlap
and near-duplicates mean something in Chinese too, with no dictionary.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from datagen.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["UNSPACED", "code", "name", "word_lists", "words"]

UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Thai, Lao, Burmese, Khmer, kana and Han: the inside of a character class of `re` and of polars."""

NAMES = {
    "ar": "Arabic", "bn": "Bengali", "ca": "Catalan", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek",
    "en": "English", "es": "Spanish", "fa": "Persian", "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi",
    "hu": "Hungarian", "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "ms": "Malay",
    "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian",
    "sv": "Swedish", "ta": "Tamil", "te": "Telugu", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu",
    "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
"""ISO 639-1 code → English name. Any other name may be given; it goes to the writer as it is, and has no code."""
OWN_NAMES = {
    "العربية": "ar", "deutsch": "de", "español": "es", "castellano": "es", "français": "fr", "हिन्दी": "hi",
    "italiano": "it", "日本語": "ja", "한국어": "ko", "nederlands": "nl", "polski": "pl", "português": "pt",
    "русский": "ru", "ไทย": "th", "türkçe": "tr", "українська": "uk", "tiếng việt": "vi", "中文": "zh", "汉语": "zh",
    "mandarin": "zh", "farsi": "fa",
}  # fmt: skip
CODES = {english.casefold(): iso for iso, english in NAMES.items()} | OWN_NAMES | {iso: iso for iso in NAMES}


def name(language: str) -> str:
    """The English name by which a model is told the language: `de`, `Deutsch` and `german` are "German".

    A region stays ("pt-BR" is "Portuguese (BR)"); what is not known here stays as it was written. Raises UsageError for
    what names no language: nothing, more than one line, more than 60 characters.
    """
    text = " ".join(language.split())
    if not text or len(text) > 60 or not any(map(str.isalpha, text)) or not language.isprintable():
        raise UsageError(f"--language {language!r}: name one language, such as German or de")
    region = re.fullmatch(r"([A-Za-z]{2})[-_]([A-Za-z]{2,4})", text)
    if region and region[1].casefold() in NAMES:
        return f"{NAMES[region[1].casefold()]} ({region[2]})"
    return NAMES.get(CODES.get(text.casefold(), ""), text)


def code(language: str) -> str | None:
    """The ISO code of a language by its name or code; None when it is neither known nor of the form of a code."""
    text = re.sub(r"\s*\(.*\)$|[-_][A-Za-z]{2,4}$", "", language.strip()).casefold()
    return CODES.get(text, text if re.fullmatch(r"[a-z]{2,3}", text) else None)


# The marks of words, which `\w` of Python's `re` leaves out and polars' takes: accents, Hebrew and Arabic points,
# the vowel signs and tone marks of the Indic scripts, Thai, Lao, Burmese and Khmer.
MARKS = (
    "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u0900-\u0963\u0966-\u0dff"
    "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u1056-\u1059\u17b4-\u17d3"
)
WORD = rf"[\w{MARKS}]+"
FOUND, ASCII = re.compile(WORD), re.compile(r"\w+")
SEPARATE = f"([{UNSPACED}])"
SEPARATED = re.compile(SEPARATE)


def words(text: str) -> list[str]:
    """The words of `text` in order, lower case."""
    low = text.lower()
    if low.isascii():
        return ASCII.findall(low)
    return FOUND.findall(SEPARATED.sub(r" \1 ", low))


def word_lists(texts: pl.Expr) -> pl.Expr:
    """`words` of a column of texts, as a column of lists."""
    return texts.str.to_lowercase().str.replace_all(SEPARATE, " ${1} ").str.extract_all(WORD)
