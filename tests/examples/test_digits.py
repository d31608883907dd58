import numpy as np
import pytest

from medkern.io.files import DataError


def test_digits(run_example):
    pytest.importorskip("sklearn")
    result = run_example("digits", "--epochs", 3)
    assert result["accuracy"] > 0.7  # of ten classes, after three epochs; the full run is at docs/examples
    assert np.sum(result["confusion"]) == 360
    assert result["samples"] == {"train": 1257, "validation": 180, "test": 360}


def blobs(rng, count, channels):
    """Images whose bright half says their class."""
    labels = rng.integers(0, 2, (count, 1)).astype(np.uint8)
    images = rng.integers(0, 60, (count, 28, 28, channels)).astype(np.uint8)
    images[labels[:, 0] == 0, :14] += 120
    images[labels[:, 0] == 1, 14:] += 120
    return images if channels > 1 else images[..., 0], labels


@pytest.mark.parametrize("channels", [1, 3])
def test_a_data_set_of_medmnist(run_example, tmp_path, rng, channels):
    arrays = {}
    for part, count in (("train", 128), ("val", 16), ("test", 32)):
        arrays[f"{part}_images"], arrays[f"{part}_labels"] = blobs(rng, count, channels)
    np.savez(tmp_path / "a.npz", **arrays)
    result = run_example("digits", "--data", tmp_path / "a.npz", "--epochs", 2)
    assert result["accuracy"] > 0.9


def test_a_file_that_does_not_fit_is_named(run_example, tmp_path):
    x, y = np.zeros((2, 28, 28), np.uint8), np.zeros((2, 1), np.uint8)
    for arrays, message in (
        ({"train_images": x}, "a.npz: has no train_labels"),
        ({"train_images": x[:, :27], "train_labels": y}, r"a.npz: train_images must have shape \(N, 28, 28"),
        (
            {"train_images": x, "train_labels": np.zeros((2, 3))},
            r"a.npz: train_labels must have shape \(2, 1\)",
        ),
    ):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(DataError, match=message):
            run_example("digits", "--data", tmp_path / "a.npz")
