import math

import numpy as np
import pytest

from medkern import metrics


def by_definition(a, b, spacing):
    """All distances between surface voxels, pair by pair: from a to b and from b to a."""

    def surface(mask):
        padded = np.pad(mask, 1)
        inner = padded.copy()
        for axis in range(mask.ndim):
            inner &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
        return np.argwhere(padded & ~inner) * spacing

    p, t = surface(a), surface(b)
    distances = np.linalg.norm(p[:, None] - t[None], axis=-1)
    return distances.min(axis=1), distances.min(axis=0)


@pytest.mark.parametrize("shape", [(13, 17), (7, 9, 8)])
def test_distances_follow_their_definitions(rng, shape):
    spacing = np.array([2.0, 0.5, 1.25])[: len(shape)]
    a, b = np.zeros(shape, bool), np.zeros(shape, bool)
    a[tuple(slice(1, n - 2) for n in shape)] = True
    b[tuple(slice(3, n) for n in shape)] = True
    a &= rng.random(shape) < 0.9
    one, other = by_definition(a, b, spacing)
    expected = max(np.percentile(one, 95), np.percentile(other, 95))
    assert metrics.hausdorff95(a, b, spacing) == pytest.approx(expected)
    mean = np.concatenate([one, other]).mean()
    assert metrics.average_surface_distance(a, b, spacing) == pytest.approx(mean)
    assert metrics.hausdorff95(b, a, spacing) == metrics.hausdorff95(a, b, spacing)
    assert metrics.hausdorff95(a, a) == 0


def test_distances_of_empty_masks():
    empty, full = np.zeros((4, 4)), np.ones((4, 4))
    for distance in (metrics.hausdorff95, metrics.average_surface_distance):
        assert distance(empty, empty) == 0
        assert math.isnan(distance(empty, full)) and math.isnan(distance(full, empty))


def test_bad_arguments_are_named():
    mask = np.ones((4, 4))
    with pytest.raises(ValueError, match=r"hausdorff95: .* same shape, got \(4, 4\) and \(4, 3\)"):
        metrics.hausdorff95(mask, mask[:, :3])
    for spacing in ((1,), (1, 0), (1, math.nan)):
        with pytest.raises(ValueError, match="hausdorff95: spacing must be 2 positive numbers"):
            metrics.hausdorff95(mask, mask, spacing)
    with pytest.raises(
        ValueError, match="SegmentationCases: class_names must name at least 2 classes, got 1"
    ):
        metrics.SegmentationCases(["one"])


def square(shift=0):
    labels = np.zeros((12, 12), np.int64)
    labels[2 + shift : 6 + shift, 2:6] = 1
    return labels


def test_cases_count_by_patient_and_failures_beside():
    cases = metrics.SegmentationCases(["background", "lesion"])
    nothing = np.zeros((12, 12), np.int64)
    cases.add("a1", square(), square(), spacing=(2, 1), patient="a")
    cases.add("a2", square(1), square(), spacing=(2, 1), patient="a")
    cases.add("b", nothing, square(), patient="b")  # missed: no distance
    cases.add("c", nothing, nothing)  # nothing to find
    assert [row["dice"] for row in cases.rows] == [1, 0.75, 0, 1]
    assert [row["hd95"] for row in cases.rows][:2] == [0, 2]
    found = cases.summary()["lesion"]
    assert (found["cases"], found["patients"], found["failed"]) == (4, 3, 1)
    assert found["dice"]["mean"] == pytest.approx((0.875 + 0 + 1) / 3)
    assert found["hd95"]["mean"] == pytest.approx((1 + 0) / 2)
    assert found["dice"]["low"] <= found["dice"]["mean"] <= found["dice"]["high"]
    assert found == cases.summary()["lesion"]


def test_without_a_distance_there_is_no_mean():
    cases = metrics.SegmentationCases(["background", "lesion"])
    cases.add("a", np.zeros((4, 4), int), np.ones((4, 4), int))
    assert cases.summary()["lesion"]["hd95"] is None


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says():
    rng = np.random.default_rng(1)
    inside = 0
    for i in range(200):
        low, high = metrics.bootstrap_interval(rng.normal(3, 1, 40), resamples=300, seed=i)
        inside += low <= 3 <= high
    assert 180 <= inside <= 198  # 95 % of 200, less what the percentile method misses


def test_bad_arguments_of_the_interval():
    with pytest.raises(ValueError, match=r"bootstrap_interval: values must hold at least one sample"):
        metrics.bootstrap_interval(np.zeros(0))
    with pytest.raises(ValueError, match="bootstrap_interval: confidence must lie between 0 and 1, got 95"):
        metrics.bootstrap_interval(np.zeros(3), confidence=95)
    with pytest.raises(ValueError, match="bootstrap_interval: resamples must be at least 1, got 0"):
        metrics.bootstrap_interval(np.zeros(3), resamples=0)
