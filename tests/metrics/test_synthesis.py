import numpy as np
import pytest

from medkern import metrics


def test_frechet_distance_of_normal_samples(rng):
    # Diagonal covariances: |mu|^2 + sum (s_r - s_m)^2, but for sampling.
    real = rng.normal(0, [1, 2, 0.5], (20000, 3))
    made = rng.normal([1, 0, 2], [1, 1, 1], (20000, 3))
    assert metrics.frechet_distance(real, made) == pytest.approx(5 + 1 + 0.25, rel=0.03)
    assert metrics.frechet_distance(real, real) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_follows_its_definition(rng):
    real, made = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 4)), rng.normal(size=(50, 4))
    s_real, s_made = np.cov(real.T), np.cov(made.T)
    roots = np.sqrt(np.linalg.eigvals(s_real @ s_made).real)
    gap = real.mean(axis=0) - made.mean(axis=0)
    expected = gap @ gap + np.trace(s_real + s_made) - 2 * roots.sum()
    assert metrics.frechet_distance(real, made) == pytest.approx(expected)
    # Fewer samples than features: the covariance has no inverse, the distance is still there.
    assert np.isfinite(metrics.frechet_distance(real[:3], made[:2]))


def test_kernel_distance_follows_its_definition(rng):
    real, made = rng.normal(size=(7, 4)), rng.normal(1, 1, size=(5, 4))

    def k(x, y):
        return (x @ y / 4 + 1) ** 3

    within = [
        np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j]) for x in (real, made)
    ]
    across = np.mean([k(a, b) for a in real for b in made])
    assert metrics.kernel_distance(real, made) == pytest.approx(sum(within) - 2 * across)


def test_kernel_distance_of_the_same_distribution_is_0_on_average(rng):
    values = [metrics.kernel_distance(*rng.normal(size=(2, 20, 3))) for _ in range(300)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(300)


def test_inception_score():
    assert metrics.inception_score(np.full((5, 4), 0.25)) == pytest.approx(1)
    assert metrics.inception_score(np.eye(4)) == pytest.approx(4)
    assert metrics.inception_score(np.eye(4)[[0, 0]]) == pytest.approx(1)


def test_bad_arguments_are_named():
    x = np.zeros((3, 2))
    with pytest.raises(ValueError, match=r"frechet_distance: real and made must have shapes \(N, F\)"):
        metrics.frechet_distance(x, np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"kernel_distance: .* at least 2, got \(3, 2\) and \(1, 2\)"):
        metrics.kernel_distance(x, x[:1])
    with pytest.raises(ValueError, match=r"inception_score: probabilities must have shape \(N, C\)"):
        metrics.inception_score(np.zeros(3))
    with pytest.raises(ValueError, match="every row of probabilities must sum to 1"):
        metrics.inception_score(x)
