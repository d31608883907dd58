import math

import numpy as np
import pytest

from medkern import metrics


def test_psnr_by_hand():
    truth = np.zeros((4, 4))
    assert metrics.psnr(truth + 0.1, truth, 1.0) == pytest.approx(20)
    assert metrics.psnr(truth + 10, truth, 1000) == pytest.approx(40)
    assert metrics.psnr(truth, truth, 1.0) == math.inf


@pytest.mark.parametrize("shape", [(16, 19), (12, 13, 14)])
def test_ssim_follows_its_definition(rng, shape):
    truth = rng.random(shape)
    image = truth + rng.normal(0, 0.2, shape)
    place = np.arange(-5, 6)
    line = np.exp(-(place**2) / (2 * 1.5**2))
    window = line / line.sum()
    for _ in shape[1:]:
        window = np.multiply.outer(window, line / line.sum())
    values = []
    for index in np.ndindex(*[n - 10 for n in shape]):
        part = tuple(slice(i, i + 11) for i in index)
        a, b = image[part], truth[part]
        mu_a, mu_b = (window * a).sum(), (window * b).sum()
        s_aa, s_bb = (window * (a - mu_a) ** 2).sum(), (window * (b - mu_b) ** 2).sum()
        s_ab = (window * (a - mu_a) * (b - mu_b)).sum()
        c1, c2 = 0.02**2, 0.06**2
        top = (2 * mu_a * mu_b + c1) * (2 * s_ab + c2)
        values.append(top / ((mu_a**2 + mu_b**2 + c1) * (s_aa + s_bb + c2)))
    assert metrics.ssim(image, truth, 2.0) == pytest.approx(np.mean(values))
    assert metrics.ssim(truth, truth, 2.0) == pytest.approx(1)


def test_bad_arguments_are_named():
    image = np.zeros((16, 16))
    with pytest.raises(ValueError, match=r"psnr: .* same shape and a pixel, got \(16, 16\) and \(16, 15\)"):
        metrics.psnr(image, image[:, :15], 1.0)
    with pytest.raises(ValueError, match="ssim: data_range must be positive, got 0"):
        metrics.ssim(image, image, 0)
    with pytest.raises(ValueError, match=r"ssim: every size must be at least 11, got \(16, 10\)"):
        metrics.ssim(image[:, :10], image[:, :10], 1.0)
