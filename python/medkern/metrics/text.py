"""How close a written report is to reference reports."""

from __future__ import annotations

from collections.abc import Sequence

from medkern.extras import optional_import

_CHINESE = "zh"


def bleu(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], language: str = "en"
) -> dict[str, float]:
    """BLEU-1 to BLEU-4 of a corpus, by sacrebleu: brevity penalty times the mean n-gram precision.

    Args:
        hypotheses: one text per sample.
        references: the true texts of each sample, at least one.
        language: "en", or "zh", whose characters count as words.

    Returns:
        "bleu1" to "bleu4", from 0 to 1, without smoothing.

    Raises:
        ValueError: the numbers don't fit.

    Example:
        >>> bleu(["a small lesion on the left"], [["a small lesion on the left"]])["bleu4"]
        1.0
    """
    _expect("bleu", hypotheses, references, language)
    sacrebleu = optional_import("sacrebleu.metrics", "metrics")
    # sacrebleu wants the references the other way round, None where a sample has fewer.
    most = max(len(texts) for texts in references)
    turned = [[texts[i] if i < len(texts) else None for texts in references] for i in range(most)]
    tokenize = _CHINESE if language == _CHINESE else "13a"
    found = {}
    for n in range(1, 5):
        scorer = sacrebleu.BLEU(max_ngram_order=n, tokenize=tokenize, smooth_method="none")
        found[f"bleu{n}"] = round(scorer.corpus_score(list(hypotheses), turned).score / 100, 12)
    return found


def rouge_l(hypotheses: Sequence[str], references: Sequence[Sequence[str]], language: str = "en") -> float:
    """ROUGE-L, by rouge-score: the F1 of the longest common subsequence; the best reference, mean of samples.

    Args:
        hypotheses: one text per sample.
        references: the true texts of each sample, at least one.
        language: "en", or "zh", whose characters count as words.

    Returns:
        From 0 to 1.
    """
    _expect("rouge_l", hypotheses, references, language)
    scorer = optional_import("rouge_score.rouge_scorer", "metrics").RougeScorer(
        ["rougeL"], tokenizer=_Characters() if language == _CHINESE else None
    )
    best = [
        max(scorer.score(reference, text)["rougeL"].fmeasure for reference in texts)
        for text, texts in zip(hypotheses, references, strict=True)
    ]
    return float(sum(best) / len(best))


class _Characters:
    """Takes every character but spaces for a word."""

    def tokenize(self, text: str) -> list[str]:
        """The words of `text`."""
        return [character for character in text if not character.isspace()]


def _expect(op: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]], language: str) -> None:
    if language not in ("en", _CHINESE):
        raise ValueError(f"{op}: language must be 'en' or 'zh', got {language!r}")
    if isinstance(hypotheses, str) or any(isinstance(texts, str) for texts in references):
        raise TypeError(f"{op}: hypotheses must be a list of texts, references a list of lists of texts")
    if not hypotheses or len(hypotheses) != len(references) or not all(references):
        raise ValueError(
            f"{op}: every one of at least one hypothesis needs a list of references, got {len(hypotheses)} "
            f"and {len(references)}"
        )
