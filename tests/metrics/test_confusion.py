import numpy as np
import pytest

from medkern import metrics


def sets(prediction, target, label):
    p, t = prediction == label, target == label
    return (p & t).sum(), p.sum(), t.sum(), (p | t).sum()


def test_measures_follow_their_definitions(rng):
    prediction, target = rng.integers(0, 4, (2, 3, 5, 6))
    confusion = metrics.confusion_matrix(prediction, target, 4)
    for label in range(4):
        both, p, t, either = sets(prediction, target, label)
        assert metrics.dice(confusion)[label] == pytest.approx(2 * both / (p + t))
        assert metrics.iou(confusion)[label] == pytest.approx(both / either)
        assert metrics.precision(confusion)[label] == pytest.approx(both / p)
        assert metrics.recall(confusion)[label] == pytest.approx(both / t)
        others = target != label
        assert metrics.specificity(confusion)[label] == pytest.approx((prediction != label)[others].mean())
    assert metrics.accuracy(confusion) == pytest.approx((prediction == target).mean())
    assert confusion[2, 1] == ((target == 2) & (prediction == 1)).sum()


def test_empty_classes():
    confusion = metrics.confusion_matrix(np.array([0, 0, 1]), np.array([0, 2, 0]), 4)
    measures = (metrics.dice, metrics.iou, metrics.precision, metrics.recall)
    assert [f(confusion)[3] for f in measures] == [1, 1, 1, 1]  # nowhere
    assert [f(confusion)[2] for f in measures] == [0, 0, 0, 0]  # never predicted
    assert [f(confusion)[1] for f in measures] == [0, 0, 0, 0]  # never true
    np.testing.assert_allclose(metrics.specificity(confusion), [0, 2 / 3, 1, 1])
    assert metrics.specificity(metrics.confusion_matrix(np.array([1, 0]), np.array([1, 1]), 2))[1] == 1
    assert metrics.accuracy(metrics.confusion_matrix(np.zeros(0, int), np.zeros(0, int), 2)) == 1


def test_bad_arguments_are_named():
    zeros = np.zeros(3, int)
    with pytest.raises(ValueError, match=r"same shape, got \(3,\) and \(2,\)"):
        metrics.confusion_matrix(zeros, zeros[:2], 2)
    with pytest.raises(ValueError, match="target must be from 0 to 1, got 2"):
        metrics.confusion_matrix(zeros, zeros + 2, 2)
    with pytest.raises(ValueError, match="prediction must be from 0 to 1, got -1"):
        metrics.confusion_matrix(zeros - 1, zeros, 2)
    with pytest.raises(TypeError, match="prediction must hold integers, got float64"):
        metrics.confusion_matrix(zeros / 2, zeros, 2)
    with pytest.raises(ValueError, match="at least 2 classes, got 1"):
        metrics.SegmentationMetrics(["one"])


def test_predicted_classes():
    output = np.array([[[0.2, 0.9]], [[0.5, 0.6]]])
    np.testing.assert_array_equal(metrics.predicted_classes(output), [[0, 1], [0, 1]])
    scores = np.array([[[1.0, 2.0], [1.0, 3.0], [0.0, 9.0]]])
    np.testing.assert_array_equal(metrics.predicted_classes(scores), [[0, 2]])


def test_a_pass_counts_all_samples_together(rng):
    collected = metrics.SegmentationMetrics(["background", "a", "b"])
    output = rng.random((6, 3, 4, 4))
    target = rng.integers(0, 3, (6, 4, 4))
    for part in (slice(0, 4), slice(4, 6)):
        collected.update(output[part], target[part])
    expected = metrics.dice(metrics.confusion_matrix(output.argmax(axis=1), target, 3))
    values = collected.compute()
    assert list(values) == ["dice", "dice a", "dice b"]
    assert values["dice"] == pytest.approx(expected[1:].mean())
    assert values["dice b"] == pytest.approx(expected[2])
    report = collected.report()
    assert list(report) == ["background", "a", "b", "all"]
    assert list(report["a"]) == ["dice", "iou", "precision", "recall"]
    collected.reset()
    assert collected.compute()["dice"] == 1
