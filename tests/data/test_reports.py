import pytest

from medkern.data.lesions import Lesion
from medkern.data.reports import Facts, describe, facts_in, facts_of
from medkern.data.text import LANGUAGES


def lesions(rng):
    columns = rng.choice(100, rng.integers(0, 3), replace=False)
    return [
        Lesion(20, int(c), rng.uniform(4, 14), rng.choice([-0.5, 0.5]), "left" if c < 50 else "right")
        for c in columns
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_facts_come_back_from_every_wording(language, rng):
    texts = set()
    for _ in range(300):
        drawn = lesions(rng)
        text = describe(drawn, rng, language)
        assert facts_in(text, language) == facts_of(drawn), text
        texts.add(text)
    assert len(texts) > 100  # varied


def test_facts_go_from_left_to_right():
    one, other = Lesion(5, 80, 5, 0.5, "right"), Lesion(5, 10, 12, -0.5, "left")
    assert facts_of([one, other]) == Facts(2, (("large", "left"), ("small", "right")))


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("two lesions: a small one on the left.", "en"),  # the other is missing
        ("no lesion is seen, one lesion is seen.", "en"),
        ("a lesion.", "en"),
        ("", "en"),
        ("\u672a\u89c1\u4e00\u4e2a\u75c5\u7076", "zh"),  # no one lesion
    ],
)
def test_a_report_without_clear_facts_has_none(text, language):
    assert facts_in(text, language) is None


def test_bad_arguments_are_named(rng):
    with pytest.raises(ValueError, match="describe: lesions must be at most 2, got 3"):
        describe([Lesion(1, 1, 5, 0.5, "left")] * 3, rng)
    with pytest.raises(ValueError, match="facts_in: language must be one of"):
        facts_in("a", "fr")
