"""Examples that textbooks print: where a text says otherwise, the arithmetic decides."""

import math

import numpy as np
import pytest

import medkern
from medkern import functional, losses


def test_activations_of_two():
    x = medkern.tensor([2.0])
    assert functional.sigmoid(x).item() == pytest.approx(0.88, abs=0.005)
    assert functional.tanh(x).item() == pytest.approx(0.96, abs=0.005)
    assert functional.sigmoid(x).item() == pytest.approx(1 / (1 + math.exp(-2)), rel=1e-6)
    assert functional.relu(medkern.tensor([-2.0, 2.0])).numpy().tolist() == [0.0, 2.0]


def test_losses_of_a_prediction_of_eight_tenths():
    """The truth is 1, the prediction 0.8."""
    p = medkern.tensor([0.8])
    assert losses.mse_loss(p, np.ones(1)).item() == pytest.approx(0.04, rel=1e-5)
    assert losses.binary_cross_entropy(p, np.ones(1)).item() == pytest.approx(0.22, abs=0.005)
    assert losses.binary_cross_entropy(p, np.ones(1)).item() == pytest.approx(-math.log(0.8), rel=1e-5)


IMAGE = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


def conv(kernel, padding):
    x = medkern.tensor(np.array(IMAGE, np.float32)[None, None])
    weight = medkern.tensor(np.array(kernel, np.float32)[None, None])
    return functional.conv2d(x, weight, padding=padding).numpy()[0, 0].tolist()


def test_a_convolution_is_a_correlation():
    """[[6, 8], [12, 14]]: element (0, 0) is 2 + 4. The kernel is not turned round, as in every framework."""
    assert conv([[0, 1], [1, 0]], 0) == [[6, 8], [12, 14]]
    assert conv([[1, 0], [0, 0]], 0) == [[1, 2], [4, 5]]


def test_the_cross_with_zero_padding():
    """Each element and its four neighbors, zeros outside: the middle is 5 + 2 + 4 + 6 + 8 = 25."""
    cross = [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    padded = np.pad(np.array(IMAGE), 1)
    by_hand = sum(padded[i : i + 3, j : j + 3] for i, j in ((0, 1), (1, 0), (1, 1), (1, 2), (2, 1)))
    assert conv(cross, 1) == by_hand.tolist() == [[7, 11, 11], [17, 25, 23], [19, 29, 23]]


def test_max_pooling_of_one_to_sixteen():
    x = medkern.tensor(np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4))
    assert functional.max_pool2d(x, 2).numpy()[0, 0].tolist() == [[6, 8], [14, 16]]
    assert functional.avg_pool2d(x, 2).numpy()[0, 0].tolist() == [[3.5, 5.5], [11.5, 13.5]]


def test_softmax_and_its_cross_entropy():
    logits = medkern.tensor([[2.0, 1.0, 0.1]])
    np.testing.assert_allclose(functional.softmax(logits, 1).numpy()[0], [0.659, 0.242, 0.099], atol=5e-4)
    assert losses.cross_entropy(logits, np.array([0])).item() == pytest.approx(-math.log(0.659), abs=1e-3)
