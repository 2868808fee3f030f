r"""Rewrites notations of LaTeX and Unicode that the parser does not know; `latex_answers.py` applies them in order."""

import re

from jaxreason.tasks.answer_units import UNIT_REWRITES
from jaxreason.tasks.answer_words import INSIDE, TEXT, WORDS
from jaxreason.tasks.foreign_notations import FOREIGN_ANNOUNCED, FOREIGN_REWRITES
from jaxreason.tasks.function_names import FUNCTION_REWRITES
from jaxreason.tasks.number_words import SIZES

PART = rf"{INSIDE}|\\sqrt\s*(?:{INSIDE}|\w)|\\[A-Za-z]+|\w"
ANNOUNCED = (
    r"(?i:(?:(?:(?:so|thus|hence|therefore|then|the|my|final|correct)[\s,]+)*answer\s*(?:is|equals|[:=])"
    rf"|{FOREIGN_ANNOUNCED})\s*)"
)
ENVIRONMENTS = (
    r"aligned|align\*?|gathered|gather\*?|split|equation\*?|multline\*?|flalign\*?|eqnarray\*?|(?:display)?math"
    r"|center|flush(?:left|right)|align(?:ed)?at\*?"
)
THIN = r"(?<!\\)(?:\\(?:[,;:> ]|(?:enspace|thinspace)(?![A-Za-z]))|~)"
# 1 000 is a number, 1 7 is not.
THOUSANDS = re.compile(
    r"(?<![\w.,^}])(?<![\w}] )\d{1,3}(?: \d{3})+(?! ?\d)|\.\d{3}(?: \d{3})* \d{1,3}(?! ?\d)"
)


def half_braced(match: re.Match) -> str:
    r"""Returns `\frac\pi{12}` and `\frac{3}4` with both braces."""
    parts = (part if part.startswith("{") else f"{{{part}}}" for part in match.groups())
    return r"\frac" + "".join(parts)


def ungrouped(match: re.Match) -> str:
    r"""Returns `{20,000}` in `\frac{2469}{20,000}` without commas of thousands, which the parser takes for a list."""
    return match[0].replace(",", "")


BRACKETS = {"brace": r"\{ \}", "brack": "[ ]", "paren": "( )"}
MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
NTH = rf"(?:(?:st|nd|rd|th)\b|\s*\^\s*(?:\{{\s*(?:st|nd|rd|th)\s*\}}|\{{?\s*{TEXT}\{{\s*(?:st|nd|rd|th)\s*\}}\s*\}}?))"


def bracket(match: re.Match) -> str:
    r"""Returns `\lbrace` as `\{`."""
    return BRACKETS[match[2]].split()["lr".index(match[1])]


# Commands that only change how their argument looks.
DRESSED = (
    r"\\(?:underline|underbrace|overbrace|boxed|fbox|boldsymbol|bm|ensuremath|smash|math(?:ord|op|bin|rel)"
    r"|(?:text)?color(?:\s*\[\w+\])?\s*\{[\w,. ]+\}|f?colorbox\s*(?:\{\w+\}\s*)?\{\w+\}"
    r"|raisebox\s*\{[^{}]*\}|bbox(?:\s*\[[^\[\]]*\])?)"
    r"\s*\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}"
)
# Words before the only number of a text. Others ("more than", "not") may change what it says.
LEAD = (
    r"(?i:(?:(?:so|thus|hence|therefore)\b,?\s*)?(?:there\s+(?:is|are|were|will\s+be)(?:\s+(?:only|exactly))?\b"
    r"|(?:(?:a|the|in)\s+)?total(?:\s+(?:of|is|number))?\b:?|it\s+(?:is|takes|costs|will\s+take)\b|exactly\b)\s*)"
)
QUANTITY = re.compile(
    rf"\s*(?:{LEAD})?((?:\\?\$\s*)?-?(?:\d{{1,3}}(?:,\d{{3}})+|\d+)(?:\.\d+|\s*/\s*\d+)?)(?:\\[ ,;]|~)?"
    r"(\s*(?:[A-Za-z]{2,}|(?<=\s)[mghsLlNJWVACF](?![A-Za-z]))[A-Za-z\s/^²³'.-]*?(?:(?<!\s)\^?[23])?)[\s.]*"
)
FORMULA = re.compile(r"[=+^_\\/]|(?<=\w)\s*-\s*\w|\d")


def unwrapped(match: re.Match) -> str:
    r"""Returns `\mathbf{12.0}` and `\text{The answer is 5}` without their command, and `\text{5 cm}` as `5\text{ cm}`.

    Letters in `\mathbf{x+1}` are symbols; words in `\text{}` stay.
    """
    inside = re.sub(r"^\s*(?:negative|minus)\s+(?=[\d.\\])", "-", match["inside"][1:-1])
    bare = re.sub(r"\\[A-Za-z]+|\b(?:and|or)\b", "", inside)
    if quantity := QUANTITY.fullmatch(inside):
        return rf"{quantity[1]}\text{{{quantity[2]}}}{match['power'] or ''}"
    if match["power"]:
        return match[0]
    if re.match(ANNOUNCED, inside) or not re.search(r"[A-Za-z]", bare):
        return inside
    symbols = match["command"].startswith(r"\math") or re.match(r"\s*[A-Za-z]\s*=", inside)
    if match["command"].startswith(r"\math") and re.match(r"[^{}]*\\(?:text|mbox|begin)\b", inside):
        return inside
    is_formula = symbols and FORMULA.search(inside) and not re.search(r"(?<!\\)\b[A-Za-z]{3}", bare)
    return inside if is_formula else match[0]


# Names whose order in a list says nothing; "True and False" may be answers to two questions.
LISTED = r"(?>(?:[IVX]+|[A-Z])(?![A-Za-z])|(?!(?:Yes|No|True|False|Even|Odd|Both|Neither|None|All|Only)\b)[A-Z][a-z]+)"


def word_list(match: re.Match) -> str:
    r"""Returns `\text{I and III}` as `\text{I}, \text{III}`."""
    return ", ".join(rf"\text{{{name}}}" for name in re.split(r",?\s+and\s+|,\s*", match[1]))


def joined_lines(match: re.Match) -> str:
    r"""Returns the lines of `aligned`: a chain of equations as one, several values of one name as a list."""
    lines = [line.replace("&", " ").strip() for line in re.split(r"\\\\", match[1])]
    lines = [line for line in lines if line]
    names = {line.partition("=")[0].strip() for line in lines}
    if len(names) == 1 and "" not in names:
        return ", ".join(lines)
    chain = all(line.startswith("=") for line in lines[1:])
    return " ".join(lines) if chain else match[1]


def equations(match: re.Match) -> str:
    r"""Returns `\begin{cases} x=1 \\ y=2 \end{cases}` as a list of equations; other cases are unchanged."""
    lines = [line.strip() for line in match[1].split(r"\\") if line.strip()]
    return ", ".join(lines) if all(line.count("=") == 1 for line in lines) else match[0]


def abbreviated(match: re.Match) -> str:
    r"""Returns `\$5\text{M}` as 5 millions; without a currency the letter may be something else."""
    power = {"k": 3, "m": 6, "b": 9}[match[2].lower()]
    return rf"{match[1]} \cdot 10^{{{power}}}"


# Ways to write \pmod{5}: (mod 5), \text{(mod 5)}, (\mathrm{mod} 5), and \mod 5 and \bmod 5 behind \equiv.
_MODULO = (
    rf"(?:{TEXT}\{{\s*\(?\s*mod\s*\}}|\\?[bp]?mod(?![A-Za-z])|\\operatorname\s*\{{\s*mod\s*\}})"
)
_MODULUS = r"\s*(?:\{\s*([\w^]+)\s*\}|(\d+|[A-Za-z](?![A-Za-z])))"
CONGRUENCES = [
    (rf"{TEXT}\{{\s*\(\s*mod\s+(\w+)\s*\)\s*\}}", r"\\pmod{\1}"),
    (rf"\(\s*{_MODULO}{_MODULUS}\s*\)", r"\\pmod{\1\2}"),
    (rf"(\\equiv(?![A-Za-z]).*?){_MODULO}{_MODULUS}", r"\1\\pmod{\2\3}"),
    (rf"\\pmod(?![A-Za-z]){_MODULUS}", r"\\pmod{\1\2}"),
    (r"\\bmod(?![A-Za-z])", r"\\mod "),
]

REWRITES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (
            r"\\[hv]?phantom\s*(?:\{(?:[^{}]|\{[^{}]*\})*\}|[^\s{}\\])|\\[hv]space\*?\s*\{[^{}]*\}"
            r"|\\rule\s*\{[^{}]*\}\s*\{[^{}]*\}|\\math(?:open|close)\s*\{\s*\}"
            r"|\\(?:nonumber|notag|hfill|(?:math)?strut|allowbreak|noindent)(?![A-Za-z])",
            "",
        ),
        (r"\\([lr])(brace|brack|paren)(?![A-Za-z])\s*", bracket),
        (r"(?<!\\)\\cr(?![A-Za-z])", r"\\\\"),
        (r"(\\\\)\s*\[\s*-?[\d.]+\s*(?:pt|ex|em|[cm]m|in)\s*\]", r"\1"),  # \\[4pt]
        (
            r"\\begin\s*\{(?:cases\}|array\}\s*\{[lcr| ]*\})((?:(?!\\begin|\\end)[^&,<>])*)\\end\s*\{(?:cases|array)\}",
            equations,
        ),
        (r"(\\begin\s*\{align(?:ed)?at\*?\})\s*\{\d+\}", r"\1"),
        (rf"\\begin\s*\{{(?:{ENVIRONMENTS})\}}(.*?)\\end\s*\{{(?:{ENVIRONMENTS})\}}", joined_lines),
        (rf"\\(?:begin|end)\s*\{{(?:{ENVIRONMENTS})\}}", ""),
        (r"\\(?:tag\*?|label)\s*\{[^{}]*\}|\\(?:left|right)\s*\.", ""),
        # June 20th, the 20th of June.
        (rf"({MONTH}\s*\}}?\s*\d{{1,2}}){NTH}", r"\1"),
        (rf"(?:\bthe\s+)?\b(\d{{1,2}})(?:{NTH})?\s+(?:of\s+)?({MONTH})\b", r"\2 \1"),
        (r"\\begin\s*\{array\}\s*\{[^{}]*\}([^&\\]*)\\end\s*\{array\}", r"\1"),
        (DRESSED, r"\1"),
        (DRESSED, r"\1"),
        (r"\\(?:text)?color(?:\s*\[\w+\])?\s*\{[\w,. ]+\}", ""),
        (r"(?<!\\)(?:\$|\\[()\[\]]|\\(?:left|right|[bB]igg?[lrm]?)(?![A-Za-z]))", ""),
        # A thin space stays between two digits: 1\,7 is not 17.
        (rf"(?<=\d)\s*(?:{THIN}\s*|(?<!\\)\\text\s*\{{\s+\}}\s*)+(?=\d)", " "),
        (rf"(?<!\\)\\!\s*|{THIN}", ""),
        (r"\\(?:mathbf|mathrm|mathit|mathsf|boldsymbol|bm)\s+(?=\d+\s*$|[A-Za-z]\s*$)", ""),
        *FUNCTION_REWRITES,
        (r"(?<![\\A-Za-z])pi(?![A-Za-z])", r"\\pi "),
        (r"(?<![\\A-Za-z])[Ii]nfinity(?![A-Za-z])", r"\\infty "),
        (r"(?<![\\A-Za-z])sqrt\s*(?=[({\d])", r"\\sqrt"),
        (r"\\lg(?![A-Za-z])", r"\\log_{10} "),
        (
            rf"\^\s*(?:\{{\s*)?(?:{TEXT}\{{\s*)(st|nd|rd|th)\s*\}}\s*\}}?$|(?:\^\s*\{{|(?<=\d))(st|nd|rd|th)\}}?$",
            r"\\text{th}",
        ),
        (
            rf"^\s*{TEXT}\{{\s*({LISTED}(?:,\s*{LISTED})*,?\s+and\s+{LISTED})(?:\s+only)?\s*\}}\s*\.?$",
            word_list,
        ),
        (r"^\s*[A-Za-z]\s*\\approx\s*(?=-?[\d.])", ""),
        (
            rf"^\s*(?P<command>{TEXT})(?P<inside>{INSIDE})(?P<power>\s*\^\s*\{{?[23]\}}?)?\s*$",
            unwrapped,
        ),
        (rf"=\s*{TEXT}\{{\s*(-?[\d.,]+)\s*\}}", r"=\1"),
        (rf"^\s*(?:{TEXT}\{{\s*{ANNOUNCED}\}}\s*|{ANNOUNCED})(?=\S)", ""),
        *FOREIGN_REWRITES,
        (rf"^\s*{TEXT}\{{\s*\([A-E]\)\s*\}}\s*(?=[^\s.]|\.\d)", ""),
        (r"^\s*\([A-E]\)\s*(?=-?(?:\\\$)?\d|\\frac)", ""),
        (rf"^(\s*{TEXT}\{{)\s*an?\s+(?!(?:or|and|{'|'.join(SIZES)})\b)", r"\1"),
        (rf"\{{,\}}|{TEXT}\{{\s*,\s*\}}", ","),
        *CONGRUENCES,
        (r"(?<!\\)\{\s*-?\d{1,3}(?:,\d{3})+\s*\}", ungrouped),
        (r"\{:\}|\\colon(?![A-Za-z])", ":"),
        (
            r"\\(?:text|mbox|mathrm)\s*\{\s*(?:percent|per\s+cent)\s*\}|\s*\b(?:percent|per cent)\b",
            r"\%",
        ),
        (r"(?<!\\)%", r"\%"),
        (r"[\u2010-\u2014\u2212\ufe63\uff0d]|(?:\\(?:text|mathrm)\s*)?\{\s*-\s*\}", "-"),
        (r"^\s*<([^<>]*,[^<>]*)>\s*$", r"(\1)"),
        (r"\\langle(?![A-Za-z])\s*", "("),
        (r"\s*\\rangle(?![A-Za-z])", ")"),
        (r"\u221a\s*(\d+|[A-Za-z])", r"\\sqrt{\1}"),
        (r"(?:\u221a|\\surd)\s*(?=[({])|\\surd\s*(?=\d)", r"\\sqrt"),
        (r"\u00b2", "^2"),
        (r"\u00b3", "^3"),
        (r"_\s*\{\s*\\text\s*\{\s*base\s*\}?\s*(\w+)\s*\}?\s*\}", r"_{\1}"),
        (r"[\u00b0\u00ba]|\\degree(?![A-Za-z])", r"^\\circ "),
        (r"(?<=\d)\s*\^\s*\{?\s*\\circ\s*\}?\s*([CF])\s*$", r"^\\circ\\text{\1}"),
        (r"\(\s*([0-9A-Z]+)\s*\)\s*_(?=\s*\{?\w)|^\\overline\s*\{(\w+)\}\s*_", r"\1\2_"),
        (
            rf"(?<=\w)\s*(?:{TEXT}\{{)?\s*\(?\b(?:in\s+)?base[\s-]*\}}?\s*(\w+)\s*\)?\s*\}}?\s*$",
            r"_{\\text{\1}}",
        ),
        (
            r"\\(?:bf|it|rm|(?:display|text|script)style|[lL]arge|LARGE|[hH]uge|checkmark|blacksquare"
            r"|qed(?:symbol)?|qedhere)(?![A-Za-z])|\s*\\(?:square|Box)\s*$",
            "",
        ),
        (r"^\s*\\(?:therefore|implies|(?:Long)?[Rr]ightarrow)(?![A-Za-z])\s*|\s*\\q?quad\s*$", ""),
        (r"^\s*(?:\([a-z](?:,\s*[a-z])+\)\s*(?:\\in|=)\s*)?\\\{\s*(\([^()]*\))\s*\\\}\s*$", r"\1"),
        (r"^\s*=|(?<=\S)\s*\\approx\s*(?:\\\$\s*)?-?[\d,]*\.\d+\s*(?:\\%\s*)?$", ""),
        (rf"({WORDS}(?:\s*\^\s*\{{?\d\}}?)?)\s*\\approx\s*-?[\d,]*\.\d+\s*\1\s*$", r"\1"),
        (
            rf"(?<=[\d}}])(?:\s|\\[,;: ])*\(\s*{TEXT}\{{\s*([A-Za-z -]+)\}}\s*\)\s*$",
            r"\\text{ (\1)}",
        ),
        (r"\\operatorname\s*\{\s*([A-Za-z]+)\s*\}\s*$", r"\\text{ \1}"),
        (rf"^\s*{TEXT}\{{\s*[Aa]ll\s*\}}\s*(?=[A-Za-z]\s*(?:[<>]|\\[lgn]))", ""),
        (
            rf"^\s*{TEXT}\{{\s*[Aa]ll\s+real(?:s|\s+numbers)\s+except(?:\s+for)?\s*(?:\}}\s*(-?[^\s{{}}]+)|(-?\d+)\s*\}})[\s.]*$",
            r"\\mathbb{R}\\setminus\\{\1\2\\}",
        ),
        (r"(\\mathbb\s*\{?R\}?)\s*-\s*(?=\\\{)|\\backslash(?![A-Za-z])", r"\1\\setminus "),
        (r"\\log\s*_\s*(?:e|\{\s*e\s*\})(?![A-Za-z])", r"\\ln "),
        (r"\\mathbb\s+(?=[A-Z](?![A-Za-z]))", r"\\mathbb"),
        (r"\\mathbb(?=[A-Z](?![A-Za-z]))([A-Z])", r"\\mathbb{\1}"),
        *(
            (
                rf"^\s*(?:12(?::00)?\s*)?(?:{TEXT}\{{\s*)?(?:12(?::00)?\s*)?(?i:{word})\s*\}}?\s*$",
                time,
            )
            for word, time in {"noon": "12:00 p.m.", "midnight": "12:00 a.m."}.items()
        ),
        (
            rf"^\s*(?:{TEXT}\{{\s*)?(?:[Tt]he\s+limit\s+)?(?:DNE|D\.N\.E\.|(?i:does\s+not\s+exist|doesn't\s+exist))[\s.]*\}}?[\s.]*$",
            r"\\text{DNE}",
        ),
        (r"\s*\|\|\s*(?=[A-Za-z]\s*(?:[<>]|\\[lg]e))", r"\\text{ or }"),
        (
            rf"(?<=[)\]])\s*(?:{TEXT}\{{\s*or\s*\}}|\bor\b)\s*[A-Za-z]\s*\\in(?![A-Za-z])\s*(?=[(\[])",
            r"\\cup ",
        ),
        *UNIT_REWRITES,
        (r"\\varnothing", r"\\emptyset"),
        (r"\\var(?=(?:phi|epsilon)(?![A-Za-z]))", r"\\"),
        (
            rf"^\s*(?:{TEXT}\{{\s*)?(?:[Tt]here\s+(?:is|are)\s+)?[Nn]o\s+(?:real\s+|such\s+)?solutions?"
            r"(?:\s+exists?)?[\s.]*\}?[\s.]*$",
            r"\\emptyset",
        ),
        (
            rf"^\s*(?:{TEXT}\{{\s*)?(?:[Tt]he\s+)?(?:[Ee]mpty|[Nn]ull)\s+set[\s.]*\}}?[\s.]*$",
            r"\\emptyset",
        ),
        (rf"(?<=\d)\s*(?:{TEXT}\{{\s*)?\band\s+a\s+half\s*\}}?", r"\\frac{1}{2}"),
        (
            rf"^\s*(?:{TEXT}\{{\s*)?[Aa]ll\s+(?:reals|real\s+numbers)\s*\}}?\.?\s*$",
            r"(-\\infty,\\infty)",
        ),
        (r"(?<=[A-Za-z])(?=\\mathrm)", " "),
        (rf"(?:{TEXT}|\\operatorname\s*)\{{\s*(e|i|\\pi)\s*\}}", r"\1"),
        (
            rf"(^|[=,:(])\s*\\(?:approx|sim(?:eq)?)(?![A-Za-z])\s*(?=-?[\d.,]+\s*(?:{WORDS})?\s*$)",
            r"\1",
        ),
        (r"\\(?:[dtc]|nice|s)frac(?![A-Za-z])", r"\\frac"),
        (r"(\.\d*)\\dot\s*\{?(\d)\}?(?:(\d*)\\dot\s*\{?(\d)\}?)?", r"\1\\overline{\2\3\4}"),
        (r"(\.\d*)\\(?:bar|overline)\s*(?:\{\s*(\d+)\s*\}|(\d))", r"\1\\overline{\2\3}"),
        (r"^(-?\d*\.|-?0\.\d+)\((\d+)\)$", r"\1\\overline{\2}"),
        (
            r"(\.\d*?)(?:(\d{2,20}?)\2+|(\d)\3\3+)\s*(?:\\[lc]?dots|\.\.\.|\u2026)",
            r"\1\\overline{\2\3}",
        ),
        (r"(\.\d+)\s*\\[lc]?dots\s*$", r"\1"),
        (
            r"\\(?:[ch]dots|dots[bcmo]?)(?![A-Za-z])|\u2026|\.{3}(?=\s*\S)|(?<=,)\s*\.{3}",
            r"\\ldots ",
        ),
        (r"\\sqrt\s*(\[[^\[\]]*\])?\s*\(((?:[^()]|\([^()]*\))*)\)", r"\\sqrt\1{\2}"),
        (rf"\\frac\s*(?!\{{)({PART})\s*({PART})", half_braced),
        (rf"\\frac\s*(?=\{{)({INSIDE})\s*(?!\{{)({PART})", half_braced),
        (rf"\^\s*(\\frac{INSIDE}{INSIDE})", r"^{\1}"),
        (r"(?<![\d./^])(\d+)\s+(\d+)\s*/\s*(\d+)(?![\d/])", r"\1\\frac{\2}{\3}"),
        (r"(\w|\))!\^", r"{\1!}^"),
        # Otherwise it would be a mixed number.
        (r"(?<![A-Za-z_^])(\d+|\))\s*\((?=-?[\d.]+\))", r"\1\\cdot ("),
        (
            rf"^\s*{TEXT}\{{(?:[^{{}}\d]*(?:\b(?:is|are|equals)|[:=])"
            r"|\s*(?i:so|thus|hence|therefore|exactly|approximately|about|only|just|(?:a\s+)?total\s+of"
            r"|(?:(?:so|thus|hence|therefore),?\s+)?we\s+(?:get|have|find|obtain))\s*,?)\s*\}\s*(?=\S)",
            "",
        ),
        (r"^\s*[a-z](\([^()]*\])\s*$", r"\1"),
        (r"^\s*(\*{1,2}|`|['\"])([^*`'\"]+)\1\s*$", r"\2"),
        (rf"(?<=\d)(?:\s*{TEXT}\{{\s*to\s*\}}\s*|\s+to\s+)(?=\d)", ":"),
        (rf"\s*{TEXT}\{{\s*(?:is|equals)\s*\}}\s*", "="),
        (r"\bUS(?:D|\\?\$)\s*(?=\d)", r"\\$"),
        (rf"(\\\$\s*\d[\d.,]*)\s*(?:{TEXT}\{{\s*)?([KkMB])\s*\}}?\s*$", abbreviated),
        (r"\s+", " "),
        (THOUSANDS, lambda match: match[0].replace(" ", "")),
    ]
]
