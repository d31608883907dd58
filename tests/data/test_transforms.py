import numpy as np
import pytest

from medkern.data import Augment, geometry, normalize
from medkern.data.transforms import fit, gaussian_blur, round_up, smooth_field


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


def keras_matrix(theta, tx, ty, shear, zx, zy, height, width):
    """The map of Keras' `apply_affine_transform`, rows first, about the center of the elements."""
    c, s = np.cos(np.deg2rad(theta)), np.sin(np.deg2rad(theta))
    a = np.deg2rad(shear)
    matrix = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    matrix = matrix @ np.array([[1, 0, tx], [0, 1, ty], [0, 0, 1]])
    matrix = matrix @ np.array([[1, -np.sin(a), 0], [0, np.cos(a), 0], [0, 0, 1]])
    matrix = matrix @ np.array([[zx, 0, 0], [0, zy, 0], [0, 0, 1]])
    ox, oy = height / 2 - 0.5, width / 2 - 0.5
    return (
        np.array([[1, 0, ox], [0, 1, oy], [0, 0, 1]])
        @ matrix
        @ np.array([[1, 0, -ox], [0, 1, -oy], [0, 0, 1]])
    )


@pytest.mark.parametrize("fill,mode", [("nearest", "nearest"), ("reflect", "reflect"), ("wrap", "grid-wrap")])
def test_geometry_is_that_of_keras(rng, fill, mode):
    ndimage = pytest.importorskip("scipy.ndimage")
    height, width = 21, 34
    x = rng.standard_normal((2, height, width))
    augment = Augment(rotation=40, shift=(0.2, 0.1), shear=25, zoom=(0.7, 1.2), fill=fill)
    for seed in range(5):
        # Drawn in this order: rotation, shifts (share of the height first), shear in degrees, zooms.
        draws = np.random.default_rng(seed)
        theta = draws.uniform(-1, 1, 1)[0] * 40
        tx, ty = draws.uniform(-1, 1, 2) * (0.2 * height, 0.1 * width)
        shear = draws.uniform(-1, 1, 1)[0] * 25
        zx, zy = draws.uniform(0.7, 1.2, 2)
        matrix = keras_matrix(theta, tx, ty, shear, zx, zy, height, width)
        moved, _ = augment(x, np.int64(0), np.random.default_rng(seed))
        expected = [ndimage.affine_transform(c, matrix[:2, :2], matrix[:2, 2], order=1, mode=mode) for c in x]
        np.testing.assert_allclose(moved, expected, atol=1e-10)
        assert min(zx, zy) >= 0.7 and abs(theta) <= 40


def test_one_number_means_what_keras_means():
    assert Augment(zoom=0.2).zoom == (0.8, 1.2)
    x = np.zeros((1, 9, 9), np.float32)
    x[0, 4, 4] = 1
    # A factor below 1 enlarges.
    large, _ = Augment(zoom=(0.5, 0.5))(x, np.int64(0), np.random.default_rng(0))
    assert (large > 0).sum() > 1
    # int: whole elements, float: share of the size; a row moves rows.
    rows = set()
    for seed in range(10):
        moved, _ = Augment(shift=(3, 0))(x, np.int64(0), np.random.default_rng(seed))
        assert moved[0, :, 4].sum() == 1 == moved[0].max()
        rows.add(int(moved[0, :, 4].argmax()))
    assert len(rows) > 3 and rows <= set(range(1, 8))


@pytest.mark.parametrize("shape", [(2, 15, 18), (1, 9, 10, 11)])
@pytest.mark.parametrize("fill", ["nearest", "constant", "reflect", "wrap"])
def test_labels_stay_whole_and_in_step(rng, shape, fill):
    labels = rng.integers(0, 5, shape[1:]) * 1000
    coarse = np.kron(labels[tuple(slice(0, n, 3) for n in shape[1:])], np.ones([3] * (len(shape) - 1)))
    labels = coarse[tuple(slice(0, n) for n in shape[1:])].astype(np.int64)
    x = np.stack([labels] * shape[0]).astype(np.float32)
    augment = Augment(
        flip=(0, 1),
        shift=0.1,
        rotation=20,
        shear=10,
        zoom=0.1,
        elastic=1.0,
        fill=fill,
        value=0,
        label_value=0,
    )
    changed = 0
    for seed in range(4):
        x2, y2 = augment(x, labels, np.random.default_rng(seed))
        again = augment(x, labels, np.random.default_rng(seed))
        np.testing.assert_array_equal(x2, again[0])
        assert y2.dtype == np.int64 and set(np.unique(y2)) <= set(np.unique(labels)) | {0}
        # Where the image isn't blended it has the value of its label.
        whole = np.isin(np.rint(x2[0]), np.unique(labels)) & (np.abs(x2[0] - np.rint(x2[0])) < 1e-2)
        assert whole.mean() > 0.1
        # Blended or not, the nearest of the up to 8 neighbors is one of those that were blended.
        assert (np.abs(x2[0] - y2)[whole] < 1e-2).mean() > 0.95
        changed += (y2 != labels).mean() > 0.1
    assert changed >= 3


def test_intensities_change_as_told(rng):
    x = rng.uniform(2, 10, (2, 16, 16)).astype(np.float32)
    before = x.copy()

    def changed(**options):
        y, label = Augment(**options)(x, np.int64(1), np.random.default_rng(3))
        assert y.dtype == np.float32 and label == 1
        return y

    step = changed(brightness=0.5) - x
    span = np.ptp(x, axis=(1, 2))
    assert np.ptp(step, axis=(1, 2)).max() < 1e-5 and 0 < np.abs(step[:, 0, 0] / span).max() <= 0.5
    y = changed(contrast=0.5)
    factor = (y - y.mean((1, 2), keepdims=True)) / (x - x.mean((1, 2), keepdims=True))
    assert np.ptp(factor) < 1e-2 and 0.5 <= factor.mean() <= 1.5 and abs(factor.mean() - 1) > 1e-3
    y = changed(gamma=1.0)
    np.testing.assert_allclose([y.min((1, 2)), y.max((1, 2))], [x.min((1, 2)), x.max((1, 2))], rtol=1e-6)
    assert (np.argsort(y[0], None) == np.argsort(x[0], None)).all() and np.abs(y - x).max() > 0.1
    assert changed(blur=2.0).std() < x.std()
    assert 0 < (changed(noise=0.1) - x).std() < 0.1 * span.max()
    np.testing.assert_array_equal(x, before)


def test_blur_is_a_gaussian(rng):
    ndimage = pytest.importorskip("scipy.ndimage")
    x = rng.standard_normal((1, 12, 9, 8))
    expected = ndimage.gaussian_filter(x, (0, 1.3, 1.3, 1.3), mode="nearest", radius=6)
    np.testing.assert_allclose(gaussian_blur(x, 1.3), expected, atol=1e-12)


def test_turns_are_turns_where_elements_are_not_cubes():
    # Twice as far apart along the first axis: a quarter turn takes 2 elements there to 4 along the other.
    x = np.zeros((1, 9, 17), np.float32)
    x[0, 2:7, 8] = 1  # 5 rows, 10 mm
    matrix, _ = Augment(rotation=90, spacing=(2, 1))._map((9, 17), Right())
    turned = geometry.resample(x, matrix)
    assert turned[0, 4].sum() == pytest.approx(9, abs=1.01) and turned[0, 2].sum() == 0


class Right:
    """Draws the largest angle."""

    def uniform(self, low, high, count):
        return np.full(count, high, np.float64)


@pytest.mark.parametrize(
    "options,message",
    [
        (dict(rotation=-1), "rotation must be at least 0, got -1"),
        (dict(zoom=1.0), "zoom must lead to factors above 0"),
        (dict(fill="mirror"), "fill must be one of nearest, constant, reflect, wrap"),
        (dict(elastic_points=3), "elastic_points must be at least 4"),
        (dict(noise=float("nan")), "noise must be at least 0, got nan"),
    ],
)
def test_bad_ranges_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Augment(**options)
    with pytest.raises(ValueError, match="shift must have one number for each of 2 axes"):
        Augment(shift=(1, 2, 3))(np.zeros((1, 4, 4), np.float32), 0, np.random.default_rng(0))
