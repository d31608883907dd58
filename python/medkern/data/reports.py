"""Reports about simulated lesions, in English and Chinese, in varied wording; and the facts back from one.

A report says how many lesions there are and, from left to right, the size, the side and mostly the intensity
of each. The Chinese words are written as escapes, since sources are ASCII; a comment says what each means.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medkern.data.lesions import SIDES, SIZES, Lesion
from medkern.data.text import expect_language

MOST_LESIONS = 2


@dataclass(frozen=True)
class Facts:
    """What a report claims.

    Attributes:
        count: how many lesions.
        lesions: size and side of each, from left to right.
    """

    count: int
    lesions: tuple[tuple[str, str], ...]


def facts_of(lesions: Sequence[Lesion]) -> Facts:
    """What is true of these lesions."""
    ordered = sorted(lesions, key=lambda lesion: (lesion.column, lesion.row))
    return Facts(len(ordered), tuple((lesion.size, lesion.side) for lesion in ordered))


# What stands for each fact: any of the words may be used, and each is understood.
_WORDS = {
    "en": {
        "small": ("small", "tiny"),
        "medium": ("medium-sized", "moderate"),
        "large": ("large", "big"),
        "left": ("left",),
        "right": ("right",),
        "bright": ("bright", "hyperintense"),
        "dark": ("dark", "hypointense"),
    },
    "zh": {
        "small": ("\u5c0f", "\u8f83\u5c0f"),  # small, rather small
        "medium": ("\u4e2d\u7b49\u5927\u5c0f", "\u4e2d\u7b49"),  # of medium size, medium
        "large": ("\u5927", "\u8f83\u5927"),  # large, rather large
        "left": ("\u5de6\u4fa7",),  # left side
        "right": ("\u53f3\u4fa7",),  # right side
        "bright": ("\u9ad8\u4fe1\u53f7",),  # high signal
        "dark": ("\u4f4e\u4fe1\u53f7",),  # low signal
    },
}
_NONE = {
    "en": ("no lesion is seen.", "there is no focal lesion.", "the brain shows no lesion."),
    "zh": (
        "\u672a\u89c1\u75c5\u7076\u3002",  # no lesion seen
        "\u8111\u5185\u672a\u89c1\u660e\u663e\u75c5\u7076\u3002",  # no evident lesion seen in the brain
        "\u8111\u5b9e\u8d28\u672a\u89c1\u5f02\u5e38\u75c5\u7076\u3002",  # no lesion in the parenchyma
    ),
}
_ONE = {
    "en": (
        "there is one {size} {tone} lesion on the {side}.",
        "a single {size} {tone} lesion is seen in the {side} hemisphere.",
        "one {size} lesion on the {side}, {tone}.",
    ),
    "zh": (
        "{side}\u89c1\u4e00\u4e2a{size}{tone}\u75c5\u7076\u3002",  # on the {side} one {size} {tone} lesion
        "{side}\u5927\u8111\u534a\u7403\u89c1\u5355\u4e2a{size}\u75c5\u7076\uff0c\u5448{tone}\u3002",
        "\u53ef\u89c1\u4e00\u4e2a{size}\u75c5\u7076\uff0c\u4f4d\u4e8e{side}\uff0c{tone}\u3002",
    ),
}
_SEVERAL = {
    "en": ("two lesions are seen: {all}.", "there are two lesions, {all}.", "two lesions: {all}."),
    "zh": (
        "\u89c1\u4e24\u4e2a\u75c5\u7076\uff1a{all}\u3002",  # two lesions are seen: {all}
        "\u8111\u5185\u53ef\u89c1\u4e24\u4e2a\u75c5\u7076\uff0c{all}\u3002",  # two in the brain, {all}
    ),
}
_PART = {
    "en": ("a {size} {tone} one on the {side}", "a {size} one on the {side}"),
    "zh": (
        "{side}{size}{tone}\u7076",
        "{side}{size}\u75c5\u7076",
    ),  # {side} {size} {tone} focus; without {tone}
}
_AND = {"en": " and ", "zh": "\uff0c"}
# "Large" is part of the Chinese words for cerebrum and medium size, so these are looked for first.
_HEMISPHERE = "\u5927\u8111\u534a\u7403"


def describe(lesions: Sequence[Lesion], rng: np.random.Generator, language: str = "en") -> str:
    """A report, in wording that `rng` chooses.

    Args:
        lesions: two at most.
        rng: where the random numbers come from.
        language: "en" or "zh".

    Raises:
        ValueError: there are more than two lesions, or the language is unknown.

    Example:
        >>> describe([Lesion(40, 30, 5.0, 0.6, "left")], np.random.default_rng(0))
        'one tiny lesion on the left, hyperintense.'
    """
    expect_language("describe", language)
    if len(lesions) > MOST_LESIONS:
        raise ValueError(f"describe: lesions must be at most {MOST_LESIONS}, got {len(lesions)}")
    ordered = sorted(lesions, key=lambda lesion: (lesion.column, lesion.row))

    def pick(texts: Sequence[str]) -> str:
        return texts[int(rng.integers(len(texts)))]

    def fill(text: str, lesion: Lesion) -> str:
        words = _WORDS[language]
        tone = "bright" if lesion.contrast > 0 else "dark"
        return text.format(
            size=pick(words[lesion.size]), side=pick(words[lesion.side]), tone=pick(words[tone])
        )

    if not ordered:
        return pick(_NONE[language])
    if len(ordered) == 1:
        return fill(pick(_ONE[language]), ordered[0])
    parts = [fill(pick(_PART[language]), lesion) for lesion in ordered]
    return pick(_SEVERAL[language]).format(all=_AND[language].join(parts))


def facts_in(text: str, language: str = "en") -> Facts | None:
    """What a report claims; None if it can't be told, or if it contradicts itself.

    Args:
        text: a report, of `describe` or of a model.
        language: "en" or "zh".

    Example:
        >>> facts_in("there is one small dark lesion on the left.")
        Facts(count=1, lesions=(('small', 'left'),))
    """
    expect_language("facts_in", language)
    sizes, sides = (_found(text, names, language) for names in (SIZES, SIDES))
    count = _count(text, language)
    if count is None or len(sizes) != count or len(sides) != count:
        return None
    return Facts(count, tuple(zip(sizes, sides, strict=True)))


def _found(text: str, names: Sequence[str], language: str) -> list[str]:
    """Which of the facts the text has, in its order."""
    words = {word: name for name in names for word in _WORDS[language][name]}
    pattern = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    if language == "en":
        pattern = rf"(?<![\w-])(?:{pattern})(?![\w-])"
    else:
        text = text.replace(_HEMISPHERE, "")
    return [words[word] for word in re.findall(pattern, text)]


def _count(text: str, language: str) -> int | None:
    marks: dict[int, Sequence[str]] = (
        {0: (r"\bno\b",), 1: (r"\bone (?!on\b)", r"\bsingle\b"), 2: (r"\btwo\b",)}
        if language == "en"
        else {0: ("\u672a\u89c1",), 1: ("\u4e00\u4e2a", "\u5355\u4e2a"), 2: ("\u4e24\u4e2a",)}
    )
    found = [count for count, patterns in marks.items() if any(re.search(p, text) for p in patterns)]
    return found[0] if len(found) == 1 else None
