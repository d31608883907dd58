import numpy as np
import pytest

import medkern
from medkern import functional
from medkern.testing import gradcheck


@pytest.mark.parametrize("padding_idx", [None, 2])
def test_embedding_gradient(rng, padding_idx):
    indices = medkern.tensor(np.array([[0, 3, 1], [3, 3, 0]]))  # row 2 is never chosen
    gradcheck(
        lambda weight: functional.embedding(indices, weight, padding_idx), [rng.standard_normal((4, 5))]
    )


def test_padding_row_gets_no_gradient():
    weight = medkern.tensor(np.ones((3, 2)), requires_grad=True)
    y = functional.embedding(medkern.tensor([1, 0, 1]), weight, padding_idx=-2)
    y.backward(medkern.tensor(np.ones((3, 2))))
    np.testing.assert_array_equal(weight.grad.numpy(), [[1, 1], [0, 0], [0, 0]])


def test_bad_padding_idx_is_refused_in_forward():
    with pytest.raises(ValueError, match="padding_idx must be from -3 to 2, got 3"):
        functional.embedding(medkern.tensor([1]), medkern.tensor(np.ones((3, 2))), padding_idx=3)
