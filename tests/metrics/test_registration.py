import numpy as np
import pytest

from medkern import metrics


@pytest.mark.parametrize("shape", [(6, 7), (5, 6, 4)])
def test_determinants_of_linear_maps(rng, shape):
    matrix = rng.normal(0, 0.3, (len(shape), len(shape)))
    field = np.tensordot(matrix, np.indices(shape), 1)
    found = metrics.jacobian_determinant(field)
    np.testing.assert_allclose(found, np.full(shape, np.linalg.det(np.eye(len(shape)) + matrix)), atol=1e-12)


def test_folds_are_counted():
    field = np.zeros((2, 9, 9))
    assert metrics.count_folds(field) == 0
    field[0] = -2 * np.indices((9, 9))[0]  # turns the first axis round
    assert metrics.count_folds(field) == 81
    with pytest.raises(ValueError, match="field must have shape"):
        metrics.jacobian_determinant(field[:1])
