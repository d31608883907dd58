import numpy as np
import pytest

from medkern import metrics


def test_roc_auc_is_the_share_of_ordered_pairs(rng):
    scores = rng.integers(0, 6, 40).astype(float)  # with ties
    target = rng.random(40) < 0.4
    pairs = np.sign(scores[target][:, None] - scores[~target][None])
    assert metrics.roc_auc(scores, target) == pytest.approx(((pairs + 1) / 2).mean())
    assert np.isnan(metrics.roc_auc(scores, np.ones(40)))
    with pytest.raises(ValueError, match=r"roc_auc: .* same shape \(N,\), got \(40,\) and \(3,\)"):
        metrics.roc_auc(scores, np.ones(3))


def test_calibration_error_by_hand():
    # Two bins: confidence 0.6 with 1 of 2 right, 0.9 with 2 of 2 right.
    probabilities = np.array([[0.6, 0.4], [0.4, 0.6], [0.9, 0.1], [0.1, 0.9]])
    target = np.array([0, 0, 0, 1])
    assert metrics.calibration_error(probabilities, target) == pytest.approx((0.2 + 0.2) / 4)
    assert metrics.calibration_error(np.array([[1.0, 0.0]]), np.array([0])) == 0
    confidence, right, counts = metrics.calibration_curve(probabilities, target, 5)
    np.testing.assert_array_equal(counts, [0, 0, 0, 2, 2])
    np.testing.assert_allclose(confidence, [np.nan, np.nan, np.nan, 0.6, 0.9])
    np.testing.assert_allclose(right, [np.nan, np.nan, np.nan, 0.5, 1])  # of 0.4, 0.6 class 0 is the truth
    expected = np.mean([0.4**2 + 0.4**2, 2 * 0.6**2, 2 * 0.1**2, 2 * 0.1**2])
    assert metrics.brier_score(probabilities, target) == pytest.approx(expected)


def test_a_pass_counts_all_samples_together(rng):
    logits, target = rng.normal(size=(30, 3)), rng.integers(0, 3, 30)
    collected = metrics.ClassificationMetrics(["a", "b", "c"])
    for part in (slice(0, 20), slice(20, 30)):
        collected.update(logits[part].astype(np.float32), target[part])
    exponentials = np.exp(logits)
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(collected.probabilities, expected, rtol=1e-5)
    np.testing.assert_allclose(collected.probabilities.sum(axis=1), 1)
    report = collected.report()
    predicted = logits.argmax(axis=1)
    for i, name in enumerate("abc"):
        is_true, is_said = target == i, predicted == i
        assert report[name]["recall"] == pytest.approx(is_said[is_true].mean())
        assert report[name]["precision"] == pytest.approx(is_true[is_said].mean())
        assert report[name]["specificity"] == pytest.approx((~is_said)[~is_true].mean())
        both = report[name]["recall"], report[name]["precision"]
        assert report[name]["f1"] == pytest.approx(2 * both[0] * both[1] / sum(both))
        assert report[name]["samples"] == is_true.sum()
    computed = collected.compute()
    assert computed["accuracy"] == pytest.approx((predicted == target).mean())
    assert computed["auc"] == pytest.approx(np.mean([report[name]["auc"] for name in "abc"]))
    collected.reset()
    collected.update(np.array([[0.0, 1.0, 0.0]]), np.array([1]))
    assert collected.compute()["accuracy"] == 1 and np.isnan(collected.compute()["auc"])


def test_with_two_classes_f1_is_that_of_the_second():
    collected = metrics.ClassificationMetrics(["healthy", "ill"], logits=False)
    collected.update(np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]]), np.array([0, 1, 0, 1]))
    assert collected.compute() == {"accuracy": 0.5, "f1": 0.5, "auc": 0.75}


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="at least 2 classes, got 1"):
        metrics.ClassificationMetrics(["one"])
    collected = metrics.ClassificationMetrics(["a", "b"])
    with pytest.raises(ValueError, match="output must have 2 columns, one per class, got"):
        collected.update(np.zeros((1, 3)), np.zeros(1, int))
    with pytest.raises(ValueError, match="target must hold integers from 0 to 1"):
        collected.update(np.zeros((1, 2)), np.array([2]))
    with pytest.raises(ValueError, match=r"calibration_error: probabilities must have shape \(N, C\)"):
        metrics.calibration_error(np.zeros(3), np.zeros(3, int))
