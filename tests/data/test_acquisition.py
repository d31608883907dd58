import numpy as np
import pytest

from medkern.data.acquisition import (
    column_mask,
    filtered_back_projection,
    radon,
    with_columns,
    zero_filled,
)


def disc(size, radius, row=0.0, column=0.0):
    """A disc with smooth edges, by counting parts of pixels."""
    fine = 8
    places = (np.arange(size * fine) + 0.5) / fine - size / 2
    y, x = np.meshgrid(places, places, indexing="ij")
    inside = (x - column) ** 2 + (y - row) ** 2 <= radius**2
    return inside.reshape(size, fine, size, fine).mean(axis=(1, 3)).astype(np.float32)


def chord(t, radius):
    return 2 * np.sqrt(np.maximum(radius**2 - t**2, 0))


def test_line_integrals_of_a_disc_off_the_middle():
    image = disc(48, 12, row=5, column=-7)
    angles = np.array([0, 30, 77, 90, 135, 161.5])
    found = radon(image, angles)
    t = np.arange(found.shape[1]) - found.shape[1] // 2
    for theta, profile in zip(np.deg2rad(angles), found, strict=True):
        distance = t - (-7 * np.cos(theta) + 5 * np.sin(theta))
        expected = chord(distance, 12)
        smooth = np.abs(np.abs(distance) - 12) > 2  # at the rim the chord is steep
        assert np.abs(profile - expected)[smooth].max() < 0.3
        assert np.abs(profile - expected).mean() < 0.2
        assert profile.sum() == pytest.approx(image.sum(), rel=2e-3)


def test_columns_and_rows_are_exact(rng):
    image = rng.random((7, 9)).astype(np.float32)
    found = radon(image, [0, 90])
    half = found.shape[1] // 2
    np.testing.assert_allclose(found[0, half - 4 : half + 5], image.sum(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found[1, half - 3 : half + 4], image.sum(axis=1), rtol=1e-5)


def test_many_angles_give_the_image_back():
    image = disc(64, 20, 4, 3) + 0.5 * disc(64, 6, -8, 2)
    angles = np.arange(180)
    back = filtered_back_projection(radon(image, angles), angles, image.shape)
    smooth = (disc(64, 17, 4, 3) == 1) & ((disc(64, 9, -8, 2) == 0) | (disc(64, 3, -8, 2) == 1))
    assert np.abs(back - image)[smooth].max() < 0.05
    assert np.abs(back - image).mean() < 0.02
    few = filtered_back_projection(radon(image, angles[::12]), angles[::12], image.shape)
    assert np.abs(few - image).mean() > 3 * np.abs(back - image).mean()


def test_a_batch_is_its_images_and_mirrored_is_mirrored(rng):
    images = rng.random((2, 3, 10, 14)).astype(np.float32)
    angles = np.arange(0, 180, 20)
    sinograms = radon(images, angles)
    assert sinograms.shape[:3] == (2, 3, 9) and sinograms.dtype == np.float32
    back = filtered_back_projection(sinograms, angles, (10, 14))
    for index in np.ndindex(2, 3):
        np.testing.assert_allclose(radon(images[index], angles), sinograms[index], rtol=1e-5, atol=1e-5)
        one = filtered_back_projection(sinograms[index], angles, (10, 14))
        np.testing.assert_allclose(one, back[index], rtol=1e-4, atol=1e-5)
    mirrored = filtered_back_projection(radon(images[..., ::-1], angles), angles, (10, 14))
    np.testing.assert_allclose(mirrored, back[..., ::-1], rtol=1e-3, atol=1e-4)


def test_against_scikit_image():
    transform = pytest.importorskip("skimage.transform")
    image = disc(64, 20, 4, 3) + 0.5 * disc(64, 6, -8, 2)
    angles = np.arange(0, 180, 4.0)
    ours = filtered_back_projection(radon(image, angles), angles, (64, 64))
    theirs = transform.iradon(
        transform.radon(image, angles, circle=False), angles, circle=False, output_size=64
    )
    inside = np.s_[8:-8, 8:-8]
    # Its middle is a pixel's and its angles turn the other way, so that images are compared, not sinograms.
    assert np.abs(ours - image)[inside].mean() < 1.1 * np.abs(theirs - image)[inside].mean()


def test_measured_columns_are_the_images_and_others_zero(rng):
    image = rng.random((12, 20)).astype(np.float32) + 1
    mask = column_mask(20, rng, acceleration=2.5, center=0.2)
    assert mask.sum() == 8 and mask[8:12].all()
    expected = np.fft.fftshift(np.fft.fft2(image))
    expected[:, ~mask] = 0
    np.testing.assert_allclose(
        zero_filled(image, mask), np.abs(np.fft.ifft2(np.fft.ifftshift(expected))), rtol=1e-5
    )
    np.testing.assert_allclose(zero_filled(image, np.ones(20, bool)), image, rtol=1e-5)
    assert not np.array_equal(mask, column_mask(20, rng, acceleration=2.5, center=0.2))


def test_what_was_measured_is_put_back(rng):
    image, guess = (rng.random((2, 12, 20)) + 1).astype(np.float32)
    mask = column_mask(20, rng, acceleration=2.5, center=0.2)
    mask |= np.roll(mask[::-1], 1)  # frequencies k and -k, so that the result is real
    found = np.fft.fftshift(np.fft.fft2(with_columns(guess, image, mask)), axes=1)
    for columns, source in ((mask, image), (~mask, guess)):
        expected = np.fft.fftshift(np.fft.fft2(source), axes=1)
        np.testing.assert_allclose(found[:, columns], expected[:, columns], atol=1e-4)


def test_bad_arguments_are_named(rng):
    with pytest.raises(ValueError, match=r"images must have at least 2 axes .* got \(3,\)"):
        radon(np.zeros(3), [0])
    with pytest.raises(ValueError, match=r"angles must have shape \(A,\), A at least 1, got \(0,\)"):
        radon(np.zeros((3, 3)), [])
    with pytest.raises(
        ValueError, match=r"sinograms must be \(..., 2, 7\) for .* 3 x 3 pixels, got \(1, 7\)"
    ):
        filtered_back_projection(np.zeros((1, 7)), [0, 90], (3, 3))
    with pytest.raises(ValueError, match=r"got 8 and 0\.5 for 16 columns"):
        column_mask(16, rng, acceleration=8, center=0.5)
    with pytest.raises(ValueError, match=r"got \(3,\) for \(4, 4\) and \(4, 4\)"):
        zero_filled(np.zeros((4, 4)), np.ones(3, bool))
