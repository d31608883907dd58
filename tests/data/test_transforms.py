import numpy as np
import pytest

from medkern.data import Augment, normalize
from medkern.data.transforms import fit, round_up, smooth_field


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_normalize_maps_dark_to_0_and_bright_to_1_whatever_their_shares(rng, share):
    bright = rng.random((2, 40, 30)) < share
    x = (rng.normal(0, 3, bright.shape) + np.where(bright, 1200, 1000)).astype(np.float32)
    x[1] *= 50
    before = x.copy()
    y = normalize(x)
    assert y.dtype == np.float32 and y.shape == x.shape
    for channel, mask in zip(y, bright, strict=True):
        np.testing.assert_allclose([channel[~mask].mean(), channel[mask].mean()], [0, 1], atol=1e-4)
    np.testing.assert_array_equal(x, before)


def test_normalize_makes_one_value_zero():
    np.testing.assert_array_equal(normalize(np.full((1, 4, 4), 7, np.float32)), 0)


@pytest.mark.parametrize("size", [1, 5, 16, 17])
def test_fit_is_undone_by_fit(rng, size):
    x = rng.random((2, size, size + 3))
    larger = fit(x, (24, 32))
    assert larger.shape == (2, 24, 32)
    np.testing.assert_array_equal(fit(larger, x.shape[1:]), x)


def test_fit_crops_the_middle_and_fills():
    np.testing.assert_array_equal(fit(np.arange(5), (3,)), [1, 2, 3])
    np.testing.assert_array_equal(fit(np.arange(1, 3), (5,)), [1, 1, 2, 2, 2])
    np.testing.assert_array_equal(fit(np.arange(1, 3), (5,), fill=0), [0, 1, 2, 0, 0])


def test_round_up():
    assert [round_up(n, 16) for n in (1, 16, 17)] == [16, 16, 32]


def test_smooth_field_is_smooth_and_reaches_one(rng):
    field = smooth_field((64, 48), rng)
    assert np.abs(field).max() == 1
    assert max(np.abs(np.diff(field, axis=axis)).max() for axis in (0, 1)) < 0.25


def test_augment_moves_image_and_labels_together(rng):
    y = rng.integers(0, 3, (12, 10))
    x = y[None].astype(np.float32)
    before = x.copy()
    seen = set()
    for seed in range(20):
        x2, y2 = Augment(flip=(0, 1), shift=3)(x, y, np.random.default_rng(seed))
        np.testing.assert_array_equal(x2[0], y2)
        assert x2.dtype == np.float32 and y2.dtype == y.dtype
        seen.add(x2.tobytes())
    assert len(seen) > 10
    np.testing.assert_array_equal(x, before)


def test_gain_stays_within_its_bound(rng):
    x = np.full((1, 32, 32), 6, np.float32)
    x[:, 0] = 5  # counts as 0
    x2, _ = Augment(gain=0.2)(x, np.zeros((32, 32)), rng)
    assert x2.dtype == np.float32 and (x2[:, 0] == 5).all()
    assert 0.05 < np.abs(x2 - x).max() < 0.2001


def test_augment_leaves_a_class_alone(rng):
    x = rng.random((1, 6, 8)).astype(np.float32)
    moved, y = Augment(flip=(0, 1), shift=2)(x, np.int64(3), np.random.default_rng(0))
    assert y == 3 and np.ndim(y) == 0 and moved.shape == x.shape and (moved != x).any()
