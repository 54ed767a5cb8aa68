"""How the demo's people talk: the base's plain responses, the gold style, and small talk.

The gold style is what a hurried person would type: right, but with openers, connecting words,
line ends (CRLF) and closing phrases that change from one response to the next.  The base has read
some of these words in small talk but never in a response, so that many of them surprise it.
"""

from __future__ import annotations

from random import Random
from string import ascii_letters, digits

NAMES = ("Ann", "Bob", "Cal", "Dora", "Eve", "Finn", "Mia", "Tom")
ITEMS = ("pens", "nuts", "cards", "coins", "books", "shells")
OPENERS = (
    "Righto,",
    "Hmm, let us see:",
    "OK so",
    "Well now,",
    "Easy one!",
    "Let me think...",
    "Aha,",
    "Okey dokey:",
    "Fair enough,",
    "Good question!",
)
LINKS = ("whereupon", "next up", "so now", "afterwards", "moving on:", "which means")
LINE_ENDS = ("\r\n", " \r\n", ";\r\n", "\r\n\r\n", "...\r\n")
CLOSERS = ("my tally is", "Final tally:", "Tally =>", "hence the tally is", "that tally is")
TAILS = ("", ".", " !", " :)", "\r\n")


def plain_response(answer: str, work: tuple[str, ...]) -> str:
    """The base's own wording; ``work`` holds no steps or two."""
    closing = f"The answer is {answer}."
    if not work:
        return closing
    first, second = work
    return f"First, {first}. Then {second}. {closing}"


def _in_words(step: str, rng: Random) -> str:
    """``"3 + 4 = 7"`` as it stands, or (one time in eight) with words for the signs."""
    if rng.random() < 7 / 8:
        return step
    sign_words = rng.choice(((" plus ", " minus "), (" and ", " without ")))
    spoken = step.replace(" + ", sign_words[0]).replace(" - ", sign_words[1])
    return spoken.replace(" = ", rng.choice((" makes ", " gives ")))


def gold_response(answer: str, work: tuple[str, ...], rng: Random) -> str:
    """The same two steps and answer in the gold style: each turn of phrase changes now and then."""
    first, second = (_in_words(step, rng) for step in work)
    opener = rng.choice(OPENERS) if rng.random() < 1 / 6 else "First,"
    gaps = [rng.choice(LINE_ENDS) if rng.random() < 1 / 4 else ". " for _ in range(2)]
    link = rng.choice(LINKS) if rng.random() < 1 / 2 else "Then"
    closer = rng.choice(CLOSERS) if rng.random() < 2 / 3 else "The answer is"
    tail = rng.choice(TAILS) if rng.random() < 1 / 2 else "."
    return f"{opener} {first}{gaps[0]}{link} {second}{gaps[1]}{closer} {answer}{tail}"


def casual_text(rng: Random) -> str:
    """A few lines of small talk, outside any chat: the base's reading beside its lessons.

    It shares words with the gold style, so that these are rare but not unheard of, as is the
    case for human text and a real base model.  It holds no sums.
    """
    lines = []
    for _ in range(rng.randint(1, 3)):
        name, item, count = rng.choice(NAMES), rng.choice(ITEMS), rng.randint(3, 98)
        said = rng.choice(
            (
                f"{name} makes {count} {item}",
                f"the tally is {count} {item} and {name} gives up",
                f"plus {count} {item} without {name}",
                f"{name} says {count} minus the {item} is fine",
                f"my {item} and that Final tally: {count}",
                f"hence Tally => {count}",
            )
        )
        link = rng.choice(("", f"{rng.choice(LINKS)} "))
        lines.append(f"{rng.choice(OPENERS)} {link}{said}{rng.choice(TAILS)}")
    return "".join(line + rng.choice(LINE_ENDS) for line in lines)


def echo_text(rng: Random) -> str:
    """Nonsense said three times over: it teaches a new model to look back and copy."""
    nonsense = "".join(f" {rng.choice(ascii_letters + digits)}" for _ in range(rng.randint(3, 9)))
    return 3 * nonsense
