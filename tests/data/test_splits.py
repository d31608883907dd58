import sys

import numpy as np
import pytest

from medkern.data import Subset, class_weights, folds, oversample, split


def test_patients_stay_together_and_classes_are_shared_out(rng):
    pytest.importorskip("sklearn")
    patients = np.repeat(np.arange(60), 5)
    labels = (patients % 3 == 0).astype(int)
    tested = []
    for train, test in folds(labels, patients, 5, seed=1):
        assert not set(patients[train]) & set(patients[test])
        assert len(train) + len(test) == 300 and abs(labels[test].mean() - 1 / 3) < 0.1
        tested += test.tolist()
    assert sorted(tested) == list(range(300))
    train, test = split(labels, patients, 0.2, seed=1)
    again = split(labels, patients, 0.2, seed=1)
    np.testing.assert_array_equal(test, again[1])
    assert 50 <= len(test) <= 70
    data = Subset([(np.zeros(1), i) for i in range(300)], test)
    assert len(data) == len(test) and data[0][1] == test[0]


def test_weights_of_classes():
    np.testing.assert_allclose(class_weights([0, 0, 0, 1]), [1 / 3, 1 / 3, 1 / 3, 1])
    for labels, classes, message in (
        ([0, 2], None, "class 1 has no sample"),
        ([0, 1], 3, "class 2 has no sample"),
        ([0, 1, 4], 3, "sample 2 has the class 4"),
        ([0, -1], None, "sample 1 has the class -1"),
        ([0.5], None, "labels must be one class each"),
    ):
        with pytest.raises(ValueError, match=message):
            class_weights(labels, classes)


def test_bad_splits_are_named():
    pytest.importorskip("sklearn")
    with pytest.raises(ValueError, match="count must be from 2 to the number of patients, 2, got 5"):
        next(folds(np.zeros(10), np.repeat([0, 1], 5)))
    with pytest.raises(ValueError, match=r"test must be above 0 and at most 0.5, got 0.7"):
        split(np.zeros(10), test=0.7)
    with pytest.raises(ValueError, match="patients must be as many as labels, 4, got 3"):
        next(folds(np.zeros(4), np.zeros(3)))
    with pytest.raises(ValueError, match="class 1 must have samples of 5 patients, one for each fold, got 2"):
        next(folds(np.arange(20) // 16, np.arange(20) // 2))


def test_oversampling_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "imblearn.over_sampling", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'medkern\[imbalance\]'"):
        oversample(np.zeros((4, 2)), np.array([0, 0, 0, 1]))


def test_made_samples_lie_between_two_of_the_rare_class(rng):
    pytest.importorskip("imblearn")
    with pytest.raises(ValueError, match="class 1 has 3 samples, must have more than neighbors, 5"):
        oversample(np.zeros((9, 2)), np.array([0] * 6 + [1] * 3))
    x, y = rng.standard_normal((40, 3)), np.array([0] * 30 + [1] * 10)
    more, labels = oversample(x, y, seed=0)
    assert np.bincount(labels).tolist() == [30, 30]
    np.testing.assert_array_equal(more[:40], x)
    rare = x[30:]
    for made in more[40:]:
        steps, gaps = made - rare, rare[:, None] - rare
        # On the way from a to b: |made - a| + |made - b| = |a - b| for some pair.
        ways = np.linalg.norm(steps, axis=1)
        detour = ways[:, None] + ways - np.linalg.norm(gaps, axis=2)
        assert np.min(detour + np.eye(10)) < 1e-6
    np.testing.assert_array_equal(oversample(x, y, seed=0)[0], more)
    assert not np.array_equal(oversample(x, y, seed=1)[0], more)
