"""A final answer as written -> a number that can be compared exactly, or a tidy expression."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

LONGEST = 1000
"""Characters of a final answer; nobody's is longer, and no expression can cost more to read."""

SCALES = {
    "dozen": 12,
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
_SAME = str.maketrans(
    {
        **dict.fromkeys("\u2212\ufe63\uff0d", "-"),
        **dict.fromkeys("\u00a0\u2009\u202f\u2007\u200b", " "),
        **{chr(0xFF10 + digit): str(digit) for digit in range(10)},
        "\uff05": "%",
        "\uff1d": "=",
        "\u00d7": r"\times ",
        "·": r"\cdot ",
        "÷": "/",
        "π": r"\pi ",
        "∞": r"\infty ",
        "√": r"\sqrt ",
        "≈": "=",
        "…": "...",
        "½": " 1/2",
        "¼": " 1/4",
        "¾": " 3/4",
        "⅓": " 1/3",
        "⅔": " 2/3",
        **dict.fromkeys("✅✔☑\ufe0f🎉😊🙂😀👍💰", " "),
    }
)
_TEXT = re.compile(r"\\(?:text(?:bf|it|rm)?|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_SPACING = re.compile(r"\\(?:[,;:! ]|left\b|right\b|displaystyle\b|quad\b|qquad\b)|\*\*|__")
_DELIMITER = re.compile(
    r"(?:\b(?:US|USD|CA|AU|NZ|HK|C|A))?\\?[$€£¥₹¢]|\\[()\[\]]|\b(?:USD|EUR|GBP|INR)\b|\bRs\.?(?=\s*[0-9])"
)
_TIMES = re.compile(r"(?<=[0-9)])\s*(?:x|times)\s*(?=[0-9(])")
_THOUSANDS = re.compile(r"[kK](?![A-Za-z])")
# Of these math-verify reads a part and leaves the rest: `1 2`, `18_2`, `18 \equiv 3`.
_READ_IN_PART = re.compile(
    r"[0-9]\s+(?:[A-Za-z]\s+)?[0-9]|[0-9)}\]]\s*_|\\(?:equiv|approx|sim|[pb]?mod|[lcdv]?dots[a-z]?)(?![A-Za-z])"
)
_NEGATIVE = re.compile(r"^(?:negative|minus)\s+(?=\\?[$€£]?\s*[.0-9])", re.IGNORECASE)
_FRACTION = re.compile(r"\\[dtc]?frac\s*(?:\{\s*(\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))")

_PLAIN = r"(?:[0-9]{1,3}(?:[ ,][0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+"
_NUMERAL = re.compile(
    rf"""(?:(?P<sign>[-+])\s*)?
    (?:(?:(?P<whole>[0-9]+)\s+)?(?P<above>[0-9]+)\s*/\s*(?P<below>[0-9]+)(?![0-9.,/])
      |(?P<plain>{_PLAIN})(?:[eE](?P<power>[-+]?[0-9]+)|\s*(?:\\times|\*|x)\s*10\s*\^\s*
         (?:\{{\s*(?P<braced>[-+]?[0-9]+)\s*\}}|(?P<bare>[-+]?[0-9]+)))?)
    (?:\s*(?P<percent>\\?%|percent\b))?""",
    re.VERBOSE,
)
_LONGEST_NUMERAL = 100
_GREATEST_POWER = 300

# What may follow a number and leave it as it is: a unit in words, such as `apples`, `cm^2`, `°`.
_DEGREES = r"(?:°|\^\s*\{?\s*\\circ\s*\}?)"
_UNIT = re.compile(
    rf"\s*{_DEGREES}?\s*(?:(?:[A-Za-z]{{2,}}|[mghslLkKCFNJWV](?![A-Za-z]))"
    r"[^0-9=+*^<>|\\{}\[\]]*(?:\s*\^\s*\{?[23]\}?|(?<=[a-z])[23]|[²³])?)?"
)
_NO_UNIT = re.compile(
    r"\s*(?:or|and|to|plus|minus|by|over|divided|multiplied|squared|cubed|factorial|choose|mod|pi|"
    r"sqrt|sin|cos|tan|log|ln|exp|infinity|half|halves|quarters?|thirds?|out|of\s+[0-9]|point|"
    r"if|unless|but|then|no|nope|wait|actually|sorry|oops|hmm|[a-z](?=\s*$)(?<![mghslk]))\b",
    re.IGNORECASE,
)
_ASIDE = re.compile(
    r"(?:\s\((?=[^()]*(?:[A-Za-z]{2}|=))|;(?!\s*[-.0-9])|,\s+(?=[A-Za-z])|\s(?:--|[\u2013\u2014])\s+(?=[A-Za-z]))"
    r"(?!\s*(?:and|or|but|then|plus|minus|times|if|unless|no|nope|wait|actually)\b)|"
    r"\s(?:because|since|so|which|as|i\.e)\b",
    re.IGNORECASE,
)
_ARITHMETIC = re.compile(
    r"(?:(?<![0-9A-Za-z'])(?!(?:not?|never|if|wrong|incorrect)\b)[A-Za-z']{2,}(?![A-Za-z'(])|"
    r"[-+*/0-9.,:()% ]|(?<=[0-9 ])x(?=\s*[0-9])|\\(?:times|cdot)\b)*+",
    re.IGNORECASE,
)
_NAME = re.compile(r"[A-Za-z_\\{} ']*")
_LETTER = re.compile(r"\(?[A-Za-z]\)?")  # of a choice
_EQUALS = re.compile(r"(?<![<>!\\])=(?!=)")
_WORDS = re.compile(
    r"\\(?:begin|end)\{[a-z]+\*?\}|\\[A-Za-z]+|\b(?:sqrt|pi|sin|cos|tan|log|ln|exp|infinity|or|and)\b"
)
_HEDGES = re.compile(
    r"\b(?:not?|than|twice|thrice|half|double|triple|times|least|most|over|under|between|or|and|but|"
    r"never|plus|minus|negative|if|except|without|first|wrong|incorrect(?:ly)?|hardly|barely|"
    r"neither|nor|nothing|different|divisible|far from|dozen|step|part|page|question|problem|"
    r"(?:square|cube|root|sum|product|multiple|factor|third|quarter|fifth|tenth|%|percent) of)\b|"
    r"n['\u2019]t\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A final answer.

    Attributes:
        text: tidy, to be read as LaTeX; empty where it is prose and no mathematics.
        values: the numbers that it may stand for: 50% is 50 or 1/2; none for an expression.
        decimal: True where the numbers are written out, so that unequal ones differ for sure.
        named: True for an equation, such as ``x = 5``, also where ``values`` holds its value.
    """

    text: str
    values: tuple[Fraction, ...] = ()
    decimal: bool = False
    named: bool = False


def read(claim: str, *, sentence: bool = True) -> Reading:
    """What a final answer, cut out of its text, says.

    Args:
        claim: the answer as written.
        sentence: take the one number of a short sentence too.
    """
    if len(claim) > LONGEST:
        return Reading(text="")
    text = tidy(claim)
    number = _number(text)
    if number is not None:
        return number
    sides = [side.strip() for side in _EQUALS.split(text)]
    named = len(sides) > 1 and not all(_ARITHMETIC.fullmatch(side) for side in sides[:-1])
    if all(_ARITHMETIC.fullmatch(side) or _NAME.fullmatch(side) for side in sides[:-1]):
        found = _number(sides[-1])
        if found is not None:
            return Reading(text=found.text, values=found.values, decimal=found.decimal, named=named)
    expression = _without_unit(text)
    broken = _LETTER.fullmatch(expression) or _READ_IN_PART.search(expression)
    if not broken and not is_prose(expression):
        return Reading(text=_readable(expression), named=named)
    return (_only_number(text) if sentence else None) or Reading(text="")


def tidy(claim: str) -> str:
    """Spacing, delimiters, currency and decoration left out; look-alikes of a sign made one."""
    text = re.sub(r"^[\u2013\u2014](?=\s*[0-9.$])", "-", claim.strip().translate(_SAME))
    for pattern in (_TEXT, _BOX):
        text = pattern.sub(r" \1 ", text)
    text = _SPACING.sub(" ", text.replace("{,}", ",").replace(r"\!", "").replace(r"\,", ""))
    text = _FRACTION.sub(_slash, _DELIMITER.sub("", text))
    text = re.sub(r"\\approx(?![A-Za-z])", "=", text)
    text = _TIMES.sub(r"\\times ", text)
    text = _NEGATIVE.sub("-", re.sub(r"[ .,;:*_`\"'=~\\]+$", "", " ".join(text.split())))
    return re.sub(r"^(?:[ ,;:*_`\"'=~]|\.(?![0-9]))+", "", text)


def _slash(match: re.Match[str]) -> str:
    above, below = match[1] or match[2], match[3] or match[4]
    return f" {above}/{below}" if _after_number(match) else f"{above}/{below}"


def _after_number(match: re.Match[str]) -> bool:
    before = match.string[: match.start()].rstrip()
    return before[-1:].isdigit()


def is_prose(text: str) -> bool:
    """Whether words stand there that no expression has."""
    return re.search(r"[^\W\d_]{3,}", _WORDS.sub(" ", text)) is not None


def _number(written: str) -> Reading | None:
    """A number with or without its unit and an aside, and nothing more."""
    match = _NUMERAL.match(written)
    if match is None:
        return None
    rest = written[match.end() :]
    if not _is_unit(rest):
        rest = _ASIDE.split(rest, maxsplit=1)[0]
    value = _value(match) if _is_unit(rest) else None
    if value is None:
        return None
    values = [value]
    first = rest.split()[:1]
    scale = SCALES.get(first[0].lower().rstrip(".,s")) if first else None
    if scale:
        values.append(value * scale)
    if match["percent"]:
        values.append(value / 100)
    text = _as_latex(match, value)
    if _THOUSANDS.match(rest):
        values, text = [1000 * value], rf"{text}\times 1000"
    decimal = match["plain"] is not None and not match["percent"]
    return Reading(text=text, values=tuple(values), decimal=decimal)


def _is_unit(rest: str) -> bool:
    return _UNIT.fullmatch(rest) is not None and _NO_UNIT.match(rest) is None


def _value(match: re.Match[str]) -> Fraction | None:
    if len(match[0]) > _LONGEST_NUMERAL:
        return None
    sign = -1 if match["sign"] == "-" else 1
    if match["above"]:
        if not int(match["below"]):
            return None
        part = Fraction(int(match["above"]), int(match["below"]))
        return sign * (int(match["whole"] or 0) + part)
    power = int(match["power"] or match["braced"] or match["bare"] or 0)
    if abs(power) > _GREATEST_POWER:
        return None
    return sign * Fraction(_digits(match)) * Fraction(10) ** power


def _digits(match: re.Match[str]) -> str:
    return re.sub("[ ,]", "", match["plain"]).rstrip(".")


def _as_latex(match: re.Match[str], value: Fraction) -> str:
    if match["above"]:
        return f"{value.numerator}/{value.denominator}"
    power = match["power"] or match["braced"] or match["bare"]
    text = (match["sign"] or "") + _digits(match)
    if power:
        text += rf"\times 10^{{{power}}}"
    return text + (r"\%" if match["percent"] else "")


def _without_unit(text: str) -> str:
    # `2 \sqrt{3} cm`: words behind an expression that has ended.
    cut = re.sub(r"(?<=[0-9})\]])\s+[A-Za-z][A-Za-z .'-]*(?:\s*\^\{?[23]\}?|[²³])?$", "", text)
    removed = text[len(cut) :]
    return text if _NO_UNIT.match(removed) else cut


def _readable(expression: str) -> str:
    """Scientific notation and plain names as LaTeX has them."""
    text = re.sub(rf"({_PLAIN})[eE]([-+]?[0-9]+)\b", r"\1\\times 10^{\2}", expression)
    text = re.sub(r"(?<![\\A-Za-z])infinity\b", r"\\infty", text)
    return re.sub(r"(?<![\\A-Za-z])pi\b", r"\\pi", text)


def _only_number(text: str) -> Reading | None:
    """The one number of a short sentence: "that Janet makes 18 dollars a day"."""
    found = [match for match in _NUMERAL.finditer(text) if match[0].strip()]
    if len(found) != 1 or _HEDGES.search(text) or len(text) > 200:
        return None
    start = found[0].start()
    return _number(text[start:]) if not start or text[start - 1] == " " else None


def last_number(text: str) -> str | None:
    """The last number of a text, as written, with its sign and percent sign."""
    matches = list(_NUMERAL.finditer(text.translate(_SAME)))
    if not matches:
        return None
    found = matches[-1]
    before = found.string[: found.start()].rstrip()[-1:]
    return found[0].lstrip("+-") if before.isalnum() or before == ")" else found[0]
