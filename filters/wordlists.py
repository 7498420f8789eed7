"""Every list of words that a filter looks for, by language: the one place to mend a list or to add a language.

An entry is a regular expression (the part that Python and Rust share) on lower-case text with straight apostrophes; a
space stands for any white space within a line. Words of languages that put spaces between them match whole. Every list
is put to every text, for corpora mix languages; a language without lists passes, and the funnel says so (`unlisted`).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from datagen.language import code

__all__ = [
    "ASKING", "EMPTY_CHOICES", "EMPTY_QUESTIONS", "HEARD", "LANGUAGES", "NEGATION", "NUMBERS", "OTHER_LETTERS", "SEEN", "SEEN_IN_CHOICES",
    "STOP", "pattern", "unlisted",
]  # fmt: skip

LANGUAGES = ("en", "de", "fr", "es", "ru", "zh", "ja", "ko")
"""Languages with lists."""
INSIDE = ("zh", "ja", "ko")
"""Languages whose words are looked for anywhere, since no space (or an ending) stands beside them."""
FAR = "(?:.* )?"
"""How an entry for a whole line begins that any words may stand before."""
OTHER_LETTERS = ("ru", "zh", "ja", "ko")
"""Languages of which no entry matches a text in ASCII."""

# ── modality: what is seen or read, not heard ────────────────────────────────────────────────────────────────────────

_TEXTS = r"(?:descriptions?|summar(?:y|ies)|notes|metadata|annotations?|transcripts?|transcriptions?|passage|captions?)"
_ONE = r"(?:the|this|that|these|those|a|given|provided|above|following|accompanying|attached|audio|written|clip's|its)"
SEEN: Mapping[str, tuple[str, ...]] = {
    "en": (
        r"(?:closed )?captions?", "captioned", "captioning", "subtitles?", "subtitled", "videos?", "footage",
        r"images?", r"imagery", r"pictures?", "pictured", "photos?", "photographs?", "photographed", "screenshots?",
        "thumbnails?", "visible", "visibly", "visuals?", "visually", r"on-?screen", r"on (?:the )?screen", "camera angle",
        "see", "sees", "seen", "seeing", "looks? like", "look at", "looking at", "shown", "depict(?:s|ed|ing)?",
        "colou?r(?:s|ed)?", r"(?:the|a) viewers?", r"transcripts?", r"transcriptions?", "wearing", "facial expressions?",
        r"(?:in|of) the (?:film clip|movie clip|frame|frames|shot)",
        rf"according to (?:{_ONE} )*(?:note|text|{_TEXTS})", rf"based (?:only |solely )?on (?:{_ONE} )*(?:text|{_TEXTS})",
        rf"(?:described|mentioned|stated|listed|noted|given|reported|written|found|said) in (?:{_ONE} )*(?:note|text|{_TEXTS})",
        rf"{_ONE} {_TEXTS} (?:clearly |also |explicitly )?(?:says?|said|states?|stated|mentions?|mentioned|describes?|described|tells?|told"
        r"|reports?|reported|suggests?|suggested|indicates?|indicated|notes?|noted|lists?|listed|claims?|reads?|refers?)",
        rf"(?:do|does|did) (?:{_ONE} )*(?:text|{_TEXTS}) (?:say|state|mention|describe|tell|report|suggest|indicate|note|list)",
        r"as (?:described|stated|mentioned|noted|written) (?:above|below|in)",
    ),
    "de": (
        "videos?", "bild", "bilder", "bildern", "untertiteln?", "bildunterschrift(?:en)?", "sichtbare?[nrs]?", "gesehen",
        "gezeigt", "zu sehen", r"sieht man", r"laut (?:der )?beschreibung", "bildschirm",
    ),
    "fr": (
        r"vidéos?", r"sous-titres?", r"légendes?", "visibles?", "à l'écran", r"images?", r"voit-on", r"(?:on|peut) voi[rt]",
        r"selon la (?:description|légende)", r"couleurs?",
    ),
    "es": (
        r"v[íi]deos?", "imagen", r"imágenes", r"subt[íi]tulos?", "en pantalla", r"se (?:ve|ven|puede ver|observa)",
        r"según la descripción", "color(?:es)?",
    ),
    "ru": (
        r"видео\w*", r"изображени\w+", r"картинк\w+", r"субтитр\w+", "на экране", "видно", r"согласно описанию",
    ),
    "zh": (
        "视频", "影片", "图像", "图片", "画面", "字幕", "可见", "看到", "看见", "視頻", "圖像", "圖片", "畫面", "看見",
        "根据描述", "描述中", "颜色", "顏色",
    ),
    "ja": ("動画", "映像", "画像", "画面", "字幕", "キャプション", "見え", "写って", "説明文", "説明によると"),
    "ko": ("비디오", "동영상", "영상", "이미지", "자막", "화면", "보이는", "설명에 따르면"),
}  # fmt: skip
"""In questions."""
HEARD = (
    r"video(?: |-)?games?", "motion pictures?", "(?:stereo|sound|sonic|acoustic) images?", "(?:picture|image) of sound",
    r"(?:ton(?:e|al)|sound|vocal|timbral|instrumental) colou?rs?", "see you", "see ya", "see,", "colored noise",
    "coloured noise", "colou?r of (?:the |its )?(?:tone|sound|timbre|voice|noise)", "sound stage",
)  # fmt: skip
"""Where words of SEEN mean something that is heard; taken out before the search."""
SEEN_IN_CHOICES: Mapping[str, tuple[str, ...]] = {
    "en": (
        r"captions?", "captioned", "subtitles?", "visibly", "visually", "visible", r"on-?screen", "on the screen", "depicted",
        "transcripts?", r"(?:in|of|from) (?:the|this) (?:video|image|picture|photo|footage|frame)",
        rf"(?:the|this) (?:{_TEXTS}|video|image|text) (?:says?|states?|mentions?|describes?|shows?|tells?|notes?|indicates?|suggests?|lists?)",
        r"(?:as|what is) (?:described|stated|mentioned|noted|shown) (?:above|below|in)",
        rf"(?:according to|based on) (?:{_ONE} )*(?:video|image|picture|note|text|{_TEXTS})",
        rf"(?:described|mentioned|stated|noted|written) in (?:{_ONE} )*(?:note|text|{_TEXTS})",
    ),
    "de": (r"untertiteln?", r"sichtbare?[nrs]?", r"laut (?:der )?beschreibung", r"(?:im|das) (?:bild|video)"),
    "fr": (r"sous-titres?", r"selon la (?:description|légende)", r"(?:dans|sur) (?:la vidéo|l'image)"),
    "es": (r"subt[íi]tulos?", r"según la descripción", r"en (?:el v[íi]deo|la imagen)"),
    "ru": (r"субтитр\w+", r"на экране", r"согласно описанию", r"(?:в|на) видео"),
    "zh": ("视频", "字幕", "画面", "視頻", "畫面", "描述中", "根据描述"),
    "ja": ("字幕", "画面", "動画", "説明によると"),
    "ko": ("자막", "화면", "동영상", "설명에 따르면"),
}  # fmt: skip
"""In choices; fewer, for a choice may well be "taking a picture" or "a video game"."""

# ── answerable: choices that are about the other choices, or are none ────────────────────────────────────────────────

_CANNOT = (
    r"(?:cannot|can ?not|can't|could not|couldn't|is not possible to|isn't possible to|not possible to|impossible to"
    r"|unable to|no way to|not able to)"
)
_HARD = r"(?:(?:it|this|that|which) |it's |that's )?(?:is |seems )?(?:too |very |rather )?(?:hard|difficult|tough) to"
_FIND = (
    r"(?:determined?|determining|told|known?|identif(?:y|ied)|infer(?:red)?|judged?|answer(?:ed)?|concluded?|decided?|establish(?:ed)?"
    r"|ascertain(?:ed)?|discern(?:ed)?|specif(?:y|ied)|be (?:sure|certain)|deduced?|made out|make out|work(?:ed)? out|verif(?:y|ied)|guess(?:ed)?)"
)
_AUDIO = r"(?:the|this) (?:audio|recording|clip|sound|sounds|excerpt|file|sample|information|description|question)"
_OTHERS = (
    r"(?:(?:the )?(?:above|others?|rest)|(?:these|those)(?: (?:sounds|noises|sources|instruments|events|things))?|them|(?:the |these |those )?(?:given |listed |above |other |mentioned |"
    r"offered |following )?(?:options|choices|answers|alternatives|possibilities|responses)(?: above| listed| given)?|which)"
)
_FITS = r"(?: (?:is|are|apply|applies|fits?|match(?:es)?|can be heard|seems?)(?: (?:correct|right|true|wrong|present|valid|suitable|heard|here|equally likely))?)?"
EMPTY_CHOICES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "all_of_the_above": {
        "en": (
            rf"(?:all|each|every one|everything|any|most|several)(?: of)? {_OTHERS}{_FITS}", r"all (?:four|three|five|listed|mentioned|correct|apply)(?: of them)?",
            r"everything (?:listed|mentioned|above)(?: above)?",
        ),
        "de": (r"alle(?:s)? (?:der |oben )?(?:genannten?|obigen|davon)(?: \w+)?", r"alle (?:antworten|möglichkeiten|optionen).*"),
        "fr": (r"toutes (?:ces|les) (?:réponses|options|propositions).*", r"tous les (?:choix|éléments).*"),
        "es": (r"tod[ao]s (?:l[ao]s )?(?:anteriores|opciones|respuestas).*",),
        "ru": (r"вс[её] (?:вышеперечисленное|перечисленное)", r"все (?:варианты|ответы|перечисленные).*"),
        "zh": ("以上都(?:是|对|對)", "以上皆是", "以上全部", "以上全是", "全部都是", "所有选项都(?:是|对|正确)"),
        "ja": ("上記(?:の)?(?:すべて|全て).*", "(?:すべて|全て)(?:正しい|当てはまる)", "全部"),
        "ko": ("위(?:의)? ?(?:모두|전부).*", "모두 (?:해당|맞음|정답).*"),
    },
    "none_of_the_above": {
        "en": (
            "none", "neither", r"(?:none|neither|no one|not one|not any)(?: of)? " + _OTHERS + _FITS, r"not (?:listed|among (?:these|them|the (?:options|choices|above)))(?: here| above)?",
            r"(?:some(?:thing|one|body|where)|anything) else(?: (?:entirely|altogether|not listed))?", r"(?:an?)? ?others?(?: (?:sound|sounds|answer|option))?(?: \(?not listed\)?)?", r"no (?:correct|right|suitable) (?:answer|option|choice)(?: (?:is )?(?:given|listed))?",
            r"the (?:right|correct|true) (?:answer|one|option) is (?:not (?:here|listed|given|among .*)|missing)",
        ),
        "de": (r"keine?[rs]?(?: der)? (?:genannten|obigen|davon|antworten|optionen)(?: \w+)*", r"nichts davon", r"etwas anderes"),
        "fr": (r"aucun(?:e)?(?: de (?:ces|ceux).*| des .*| d'(?:entre|elles|eux).*)?", "autre(?: chose)?"),
        "es": (r"ningun[ao](?: de .*)?", r"ningún .*anteriores", r"otr[ao](?: cosa)?"),
        "ru": (r"ничего из .*", r"ни один из .*", r"нет (?:правильного|верного) ответа", "другое"),
        "zh": ("以上(?:都|皆)(?:不是|非|不对|不對)", "都不是", "没有正确答案", "其他", "其它"),
        "ja": ("(?:上記の)?(?:いずれ|どれ)でもない", "該当なし", "その他"),
        "ko": ("해당 ?(?:사항)? ?없음", "(?:보기|정답)(?: 중)?(?:에)? 없음", "위(?:의)? .*아님", "기타"),
    },
    "both_of_the_above": {
        "en": (
            "both", rf"both(?: of)? {_OTHERS}{_FITS}", r"(?:more than one|two or more|two|at least two|a combination|some|a mix)(?: of)? " + _OTHERS + _FITS,
            r"(?:both |options? |choices? |answers? )?\(?[a-j1-9]\)?(?:, \(?[a-j1-9]\)?)*,? (?:and|&|und|et|y|or) (?:choice |option )?\(?[a-j1-9]\)?", r"(?:the )?(?:first|last) two (?:options|choices|answers)",
            r"(?:either|any|one) (?:one )?(?:of )?" + _OTHERS,
        ),
        "de": ("beide(?:s)?", r"beide (?:genannten|antworten|obigen)"),
        "fr": ("les deux(?: réponses)?",),
        "es": ("amb[ao]s(?: respuestas)?", "l[ao]s dos"),
        "ru": ("оба(?: варианта)?", "и то,? и другое"),
        "zh": ("两者都(?:是|有|对)", "兩者皆是", "两者皆是"),
        "ja": ("両方(?:とも)?", "どちらも"),
        "ko": ("둘 다", "양쪽 모두"),
    },
    "cannot_be_determined": {
        "en": (
            rf"(?:(?:[\w']+ ){{0,5}}{_CANNOT}|{_HARD}) (?:be )?(?:\w+ly |really )?(?:be )?{_FIND}(?: .*)?",
            rf"(?:it |that |this |one |you |we |i )?(?:is |it's )?(?:{_CANNOT}|{_HARD}) (?:be )?(?:really )?(?:tell|say|pin down|pinned down|said|sure)(?: (?:for (?:sure|certain)|from|which|with|what|whether|if|who|how|where|here|exactly|precisely|by).*)?",
            r"(?:it |it's |that |this |the answer |which )?(?:is |are |'s |remains |left )*(?:too )?(?:left )?(?:unknown|unclear|undetermined|unspecified|unidentifi(?:able|ed)|undecidable|unanswerable|indeterminate|indeterminable|undeterminable|inconclusive|ambiguous|n/?a|open)(?: (?:from|based|in|given|to|which|what|here|whether|without).*)?",
            r"(?:it |it's |that |this |the answer |which )?(?:is |isn't |'s )*not (?:sure|clear|certain|given|specified|stated|mentioned|known|applicable|determinable|available|provided|indicated|identifiable|disclosed|revealed|discernible|evident|possible to \w+)(?: (?:from|based|in|by|here|enough|which|what|whether|to).*)?",
            r"(?:.* )?(?:not|isn't|insufficient|too little|too few|lacks?|lacking|no|inadequate|without)(?: enough| sufficient| further| any| adequate)* (?:information|info|evidence|context|data|details?|clues?|cues?|indication|hint)(?: .*)?",
            r"(?:i |we |you |one |nobody |no one )(?:do not|don't|does not|doesn't|cannot|can't|can) (?:really )?(?:know|tell|say)(?: (?:for sure|from|which|with|what|that|whether|this).*)?", r"don't know", "no idea", r"nobody knows", r"no way of knowing.*", r"there(?: is|'s) no (?:way|telling|knowing|saying|means|possibility).*",
            rf"(?:.* )?{_AUDIO} (?:alone )?(?:does not|doesn't|did not|didn't|do not|don't|never|is too \w+ to|fails to|gives no|offers no|provides no|contains no|leaves)(?: .*)?",
            r"(?:it )?depends(?: on .*)?", r"can(?:'t|not) (?:tell|say|know)", r"any(?:thing| of them)? (?:is|are) possible", r"(?:it )?could be any(?:thing| of (?:them|these|those))?", "undisclosed", r"no answer(?: possible)?",
        ),
        "de": (
            r"(?:.* )?nicht (?:eindeutig |sicher )?(?:feststellbar|bestimmbar|erkennbar|bekannt|angegeben|klar|zu (?:erkennen|bestimmen|sagen|ermitteln))", r"unbekannt", "unklar",
            r"(?:.* )?(?:lässt|lassen|kann|können) (?:sich |man )?(?:.* )?nicht (?:.* )?(?:bestimmen|sagen|feststellen|erkennen|beantworten)", r"(?:ich )?weiß (?:ich |es )?nicht", r"(?:.* )?(?:zu wenig|nicht genug|nicht genügend|keine ausreichenden) informationen.*",
        ),
        "fr": (r"(?:.* )?impossible (?:à|de) (?:le |la )?(?:déterminer|dire|savoir).*", r"(?:.* )?ne peut (?:pas )?(?:être |le |la )?(?:déterminer|déterminé|savoir|dire)e?.*", "inconnue?", "indéterminée?", r"(?:pas assez|manque) d'informations?.*", r"informations? insuffisantes?", r"(?:je )?ne sais pas"),
        "es": (r"(?:.* )?no se puede (?:determinar|saber|decir|identificar).*", r"(?:es )?imposible (?:de )?(?:determinar|saber|decir).*", r"desconocid[ao]", r"(?:no hay )?(?:suficiente )?información (?:insuficiente|suficiente)", r"no (?:lo )?sé", "no está claro"),
        "ru": (r"(?:.* )?невозможно (?:определить|сказать|установить).*", r"неизвестно", r"(?:.* )?(?:недостаточно|не хватает) информации.*", r"нельзя (?:определить|сказать).*", r"не знаю", "неясно"),
        "zh": (r".*(?:无法|無法|不能|难以|難以)(?:确定|確定|判断|判斷|得知|辨别|辨別|回答|知道|分辨).*", "不(?:确定|確定|清楚|知道|明)", r".*信息不足.*", "没有足够的?信息.*", "資訊不足"),
        "ja": (r".*(?:判断|特定|判別|断定|回答|決定)(?:は|が)?(?:できない|不可能|不能|できません).*", "(?:わから|分から)(?:ない|ず)", "不明", ".*情報(?:が)?(?:不足|足りない).*"),
        "ko": (r".*(?:알|판단할|확인할|결정할|구별할) 수 없.*", r".*정보(?:가)? ?(?:부족|불충분).*", "불명", "모름", "잘 모르겠.*"),
    },
}  # fmt: skip
"""Reason → language → what a whole choice looks like."""
EMPTY_QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "en": (
        r"(?:all|none|any|both|neither|most) of the (?:above|following options|options|choices|answers)",
        rf"{_CANNOT} (?:be )?(?:\w+ly )?(?:be )?{_FIND}", r"cannot be (?:said|told|found)",
        r"is it (?:even )?possible to (?:tell|determine|know|say|infer|identify)", r"(?:is|are) there (?:enough|sufficient) (?:information|evidence|context|detail)s?",
        r"(?:unknown|unclear|undetermined|unspecified|not (?:specified|stated|determinable|knowable)|left (?:open|unspecified|unsaid))(?: (?:from|in|by|about|based|here))",
        r"(?:not enough|insufficient|too little) (?:information|evidence|context|detail)s?",
    ),
    "de": (r"(?:alle|keine|keines|keiner) der (?:genannten|obigen)", r"nicht (?:bestimmen|feststellen|sagen|bestimmbar|feststellbar)"),
    "fr": (r"(?:toutes|aucune) (?:de )?ces (?:réponses|options)", r"(?:impossible de|ne peut(?:-on)? pas) (?:déterminer|savoir|dire)"),
    "es": (r"(?:ninguna|todas) (?:de )?las (?:anteriores|opciones)", r"no se puede (?:determinar|saber|decir)"),
    "ru": (r"(?:ничего|вс[её]) из (?:вышеперечисленного|перечисленного)", r"(?:невозможно|нельзя) (?:определить|сказать|узнать)"),
    "zh": ("以上(?:都|皆|全部|所有)", "(?:无法|無法|不能)(?:确定|確定|判断|判斷|得知)", "信息不足"),
    "ja": ("上記の(?:いずれ|すべて|全て)", "(?:判断|特定|判別|断定)できない"),
    "ko": ("위(?:의)? ?모두", "(?:알|판단할|확인할|결정할) 수 없"),
}  # fmt: skip
"""What a question looks like that has no answer, or that speaks of such choices."""


# ── words without content ────────────────────────────────────────────────────────────────────────────────────────────

STOP: Mapping[str, str] = {
    "en": """a an the of in on at to and or with by for from as into then is are was were be been being it its this that
        these those there but some someone something who which what both either only very yes first second third last
        hear hears heard hearing sound sounds sounding audio recording clip""",
    "de": "ein eine einer eines einem einen der die das den dem des und oder mit von im am zum zur auf ist sind es",
    "fr": "un une le la les l du de d et ou avec dans est sont il elle",
    "es": "un una unos unas el la los las de del y o con en es son",
    "ru": "и в на с из к у о это",
}
"""Words without content, and those that any caption may hold (plain words, not expressions)."""
ASKING: Mapping[str, str] = {
    "en": """how many much often when where why whose whom do does did can could may might will would has have had not
        most likely best main kind sort type name""",
}
"""Words by which a question asks, which say nothing of its answer."""
NEGATION: Mapping[str, str] = {
    "en": r"no|not|without|never|neither|nor|none|\w+n't", "de": r"kein\w*|nicht|ohne", "fr": "sans", "es": "sin",
}  # fmt: skip
NUMBERS = {
    "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8",
    "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "once": "1", "single": "1", "twice": "2", "pair": "2",
    "couple": "2", "thrice": "3",
}  # fmt: skip
"""English words of number → figures."""


def pattern(lists: Mapping[str, tuple[str, ...]], *, whole: bool = False, ascii: bool = False) -> str:
    """One expression for all languages of `lists`, for Python's `re` and polars alike.

    `whole`: an entry has to fill a whole line, but for punctuation at its ends. `ascii`: for text in ASCII alone, in
    which languages of OTHER_LETTERS are not found.
    """
    chosen = {language: entries for language, entries in lists.items() if not (ascii and language in OTHER_LETTERS)}
    if whole:
        entries = list(chain.from_iterable(chosen.values()))
        near = [entry for entry in entries if not entry.startswith(FAR)]
        far = "|".join(
            entry.removeprefix(FAR) for entry in entries if entry.startswith(FAR)
        )  # one way along the line for all of them
        joined = "|".join([*near, f"{FAR}(?:{far})"] if far else near)
        found = rf"(?m)^[^\w\n]*(?:{joined})[^\w\n]*$"
    else:
        each = {language: "|".join(entries) for language, entries in chosen.items()}
        found = "|".join(f"(?:{text})" if name in INSIDE else rf"\b(?:{text})\b" for name, text in each.items())
    return found.replace(" ?", r"[^\S\n]*").replace(" ", r"[^\S\n]+")


def unlisted(language: str) -> bool:
    """Whether there are no lists for a language, given by name or code."""
    return code(language) not in LANGUAGES
