"""The larger examples at settings that take seconds; what they reach in full is at docs/examples."""

import numpy as np
import pytest

from medkern.data.text import Vocabulary
from medkern.io.files import DataError

pillow = pytest.importorskip("PIL.Image")
for module in ("nilearn", "sklearn", "scipy", "matplotlib", "sacrebleu", "rouge_score"):
    pytest.importorskip(module)


def is_picture(path):
    with pillow.open(path) as image:
        return image.format == "PNG" and np.asarray(image.convert("L")).std() > 5


def test_lesions(run_example, tmp_path):
    result = run_example("lesions", "--scans", 60, "--epochs", 1, "--output", tmp_path)
    assert {"accuracy", "precision", "recall", "f1", "specificity", "auc"} <= set(result)
    assert np.sum(result["confusion"]) == result["samples"]["test"] == 10
    for name in ("confusion", "maps", "reliability", "test"):
        assert is_picture(tmp_path / f"{name}.png")


def test_lesions_from_class_folders(run_example, tmp_path):
    result = run_example("lesions", "--deep", "--scans", 40, "--epochs", 1, "--output", tmp_path)
    assert result["samples"] == {"train": 40, "validation": 8, "test": 8}
    parts = {
        part: {path.name[:8] for path in (tmp_path / "data" / part).rglob("*.png")}
        for part in ("train", "validation", "test")
    }
    assert not parts["train"] & parts["test"] and not parts["validation"] & parts["test"]
    one = next((tmp_path / "data" / "train" / "lesion").glob("*.png"))
    with pillow.open(one) as image:
        assert image.size == (150, 150) and 200 < np.asarray(image).max() <= 255
    one.write_bytes(b"no image")
    with pytest.raises(DataError, match=one.name):
        run_example("lesions", "--deep", "--data", tmp_path / "data")


@pytest.mark.parametrize("options", [[], ["--volume", "--patches", 4]])
def test_unet(run_example, tmp_path, options):
    result = run_example("unet", *options, "--filters", 2, "--epochs", 1, "--output", tmp_path)
    assert 0 <= result["dice"] <= 1 and 0 <= result["iou"] <= result["dice"]
    assert result["cases"]["cases"] == (1 if options else 12)
    assert result["steps"] == (2 if options else 50)
    assert is_picture(tmp_path / "test.png") and is_picture(tmp_path / "curves.png")


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_uptake(run_example, tmp_path, cell):
    options = ("--sequences", 30, "--epochs", 1, "--cell", cell, "--output", tmp_path)
    result = run_example("uptake", *options)
    assert np.sum(result["confusion"], axis=1).tolist() == [4, 3, 3]
    assert {"accuracy", "recall", "f1"} <= set(result)
    assert is_picture(tmp_path / "confusion.png") and is_picture(tmp_path / "sequences.png")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_reports(run_example, tmp_path, language):
    options = ("--scans", 40, "--epochs", 1, "--language", language, "--output", tmp_path)
    result = run_example("reports", *options)
    for search in ("greedy", "beam"):
        assert set(result[search]) == {"facts", "bleu1", "bleu2", "bleu3", "bleu4", "rouge_l"}
        assert set(result[search]["facts"]) == {"all", "count", "size", "side"}
    assert Vocabulary.load(tmp_path / "vocabulary.json").language == language
    assert len((tmp_path / "reports.txt").read_text(encoding="utf-8").splitlines()) == 8
    if language == "en":
        assert is_picture(tmp_path / "reports.png")


def test_reports_of_text_alone_with_word_vectors(run_example, tmp_path):
    vectors = tmp_path / "vectors.txt"
    vectors.write_text(f"lesion{' 0.5' * 128}\nnothing{' 1' * 128}\n")
    options = ("--text-only", "--scans", 100, "--epochs", 4, "--vectors", vectors, "--output", tmp_path)
    result = run_example("reports", *options)
    assert result["perplexity"] < 5000  # of 10000 words: those that occur are told from those that don't
    assert result["likeliest"]
    vectors.write_text("lesion 1 2\n")
    with pytest.raises(ValueError, match=r"vectors must have shape \(128,\), got \(2,\)"):
        run_example("reports", *options)
