import numpy as np
import pytest

import medkern
from medkern import nn


def test_the_table_starts_normal():
    medkern.random.manual_seed(1)
    weight = nn.Embedding(100, 50).weight.numpy()
    assert weight.shape == (100, 50) and weight.dtype == np.float32
    # 4 standard errors each
    assert abs(weight.mean()) < 4 / np.sqrt(weight.size)
    assert abs(weight.std() - 1) < 4 / np.sqrt(2 * weight.size)


def test_rows_are_chosen_and_learnt():
    layer = nn.Embedding(5, 3, padding_idx=-1)
    weight = layer.weight.numpy().copy()
    assert (weight[4] == 0).all() and (weight[:4] != 0).all()
    y = layer(medkern.tensor([[1, 4], [1, 0]]))
    np.testing.assert_array_equal(y.numpy(), weight[[[1, 4], [1, 0]]])
    y.backward(medkern.tensor(np.ones(y.shape, np.float32)))
    np.testing.assert_array_equal(layer.weight.grad.numpy()[:, 0], [1, 2, 0, 0, 0])


@pytest.mark.parametrize(
    "arguments,message",
    [
        ((0, 3), "Embedding: num_embeddings must be positive, got 0"),
        ((3, 0), "Embedding: embedding_dim must be positive, got 0"),
        ((3, 2, 3), "Embedding: padding_idx must be from -3 to 2, got 3"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        nn.Embedding(*arguments)


def test_repr():
    assert repr(nn.Embedding(5, 3)) == "Embedding(5, 3)"
    assert repr(nn.Embedding(5, 3, 1)) == "Embedding(5, 3, padding_idx=1)"
