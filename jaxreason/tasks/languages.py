"""Detects the language of a reply for the robust checks of IFEval: by script, by words, then by statistics.

langdetect's statistics need a sentence or two. A short text (under SHORT words), or a list, therefore counts as being
in a language if its script fits and its common words do not suggest another one. Two words that could be in several
languages are taken to be in the requested one. A text without letters is in every language.
"""

import re
import unicodedata
from collections import Counter

SHORT = 15  # Words.
# Character ranges of scripts without spaces between words (Chinese, Japanese, Thai ...), and with Korean's letters,
# whose particles follow a word without a space.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
UNENDED = f"{UNSPACED}\uac00-\ud7a3"
# Languages that are not written in Latin letters, by the first word of their letters' Unicode names.
SCRIPTS = {
    "ar": "ARABIC", "bg": "CYRILLIC", "bn": "BENGALI", "el": "GREEK", "fa": "ARABIC",
    "gu": "GUJARATI", "he": "HEBREW", "hi": "DEVANAGARI", "ja": "KANA", "kn": "KANNADA",
    "ko": "HANGUL", "mk": "CYRILLIC", "ml": "MALAYALAM", "mr": "DEVANAGARI", "ne": "DEVANAGARI",
    "pa": "GURMUKHI", "ru": "CYRILLIC", "ta": "TAMIL", "te": "TELUGU", "th": "THAI",
    "uk": "CYRILLIC", "ur": "ARABIC", "zh": "CJK",
}  # fmt: skip
# Words that are common in one of these languages and rare in the others.
COMMON = {
    "en": "the of and is to for with that this it are was be on from at by you your we our my not "
    "what which will would can have has they their there about please how why when who all more",
    "de": "der die das und ist nicht ein eine einen mit von auf für den dem im zu sich wir ich sie "
    "es wie auch sind wird haben werden oder aber sehr heute dieser diese bei nach aus gehen",
    "fr": "le la les et est une des du dans pour que qui pas vous nous je il elle avec sur sont ce "
    "cette mais plus être au aux votre c'est j'ai l'eau",
    "es": "el los las y es una de del en para que por con no se su como pero más está son este esta "
    "muy también hay lo al yo mi",
    "it": "il lo gli e è una di del della che per con non sono si come più questo questa anche nel "
    "alla ma mio molto c'è",
    "pt": "o os as e é uma do da dos em para que com não por mais como mas são este esta muito "
    "também você ao na no",
    "nl": "de het een en van is niet dat op te met voor zijn ik je wij maar ook aan bij naar dit",
    "sw": "na ya wa kwa ni katika za la hii huo kuwa yake lakini sana ambayo",
    "fi": "on ja ei se hän että mutta oli kun niin minä ovat tämä myös joka",
    "sv": "och är att det en som på inte med för av den till jag har vi men",
    "pl": "i w na nie jest się z do to że jak ale dla jego tak od",
    "tr": "ve bir bu da için ile çok değil ne olarak daha ama",
    "vi": "và của là có không một cho được trong các này với người",
    "id": "dan yang di itu dengan untuk tidak ini dari dalam akan pada saya",
}
WORDS = {language: frozenset(words.split()) for language, words in COMMON.items()}


def script_of(text: str) -> str | None:
    """Returns the first word of most letters' Unicode names ("LATIN"); KANA for Japanese; None without letters."""
    letters = Counter(filter(str.isalpha, text[:20_000]))
    scripts: Counter[str] = Counter()
    for letter, count in letters.items():
        scripts[unicodedata.name(letter, "UNKNOWN").split()[0]] += count
    if not scripts:
        return None
    kana = scripts["HIRAGANA"] + scripts["KATAKANA"]
    if kana and kana + scripts["CJK"] > sum(scripts.values()) / 2:
        return "KANA"
    return scripts.most_common(1)[0][0]


def candidate_languages(text: str) -> list[str]:
    """Returns the ISO 639-1 codes that langdetect considers possible, most likely first; seeded."""
    import langdetect

    langdetect.DetectorFactory.seed = 0
    try:
        return [found.lang.split("-")[0] for found in langdetect.detect_langs(text)]
    except langdetect.lang_detect_exception.LangDetectException:
        return []


def language_by_words(words: list[str]) -> str | None:
    """Returns the language with the most common words; None if several have equally many."""
    counts = Counter({code: sum(word in known for word in words) for code, known in WORDS.items()})
    (first, most), (_, second) = counts.most_common(2)
    return first if most > second else None


def is_list(text: str, words: list[str]) -> bool:
    """Returns whether the text is a list: few words, mostly different, between commas and line breaks."""
    marks = len(re.findall(r"[,;\n•]", text[:20_000]))
    return marks * 4 >= len(words) and len({*words}) * 2 >= len(words)


def is_accented(words: list[str]) -> bool:
    """Returns whether two words or more have letters that English words lack: "cómo están"."""
    return sum(not word.replace("’", "").isascii() for word in {*words}) > 1


def is_in_language(text: str, language: str) -> bool:
    """Returns whether the text is in a language, given as an ISO 639-1 code."""
    language = language.split("-")[0]
    script = script_of(text)
    if script is None:
        return True
    if script != SCRIPTS.get(language, "LATIN"):
        return False
    words = re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)?", text[:20_000].lower())
    by_words = language_by_words([word.replace("’", "'") for word in words])
    if by_words == language:
        return True
    found = candidate_languages(text[:20_000].lower())
    listed = is_list(text, words)
    if not listed and (len(words) >= SHORT or (language == "en" and is_accented(words))):
        return language in found[:1]
    return by_words is None or by_words not in found[:1]
