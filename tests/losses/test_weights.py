import numpy as np
import pytest

from medkern import losses, nn


def test_a_penalty_by_hand_and_its_gradient():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    net[0].weight.copy_(np.array([[1.0, -2.0], [3.0, 0.0]]))
    net[0].bias.copy_(np.array([5.0, 5.0]))
    penalty = losses.WeightPenalty(l1=0.1, l2=0.01)(net)
    assert penalty.item() == pytest.approx(0.1 * 6 + 0.01 * 14, rel=1e-6)
    penalty.backward()
    expected = 0.1 * np.array([[1, -1], [1, 0]]) + 0.02 * np.array([[1, -2], [3, 0]])
    np.testing.assert_allclose(net[0].weight.grad.numpy(), expected, rtol=1e-6)
    assert net[0].bias.grad is None and net[1].weight.grad is None


def test_without_factors_there_is_none():
    net = nn.Linear(2, 2)
    penalty = losses.WeightPenalty()(net)
    penalty.backward()
    assert penalty.item() == 0 and net.weight.grad is None


def test_bad_factors_are_named():
    with pytest.raises(ValueError, match="l1 must be finite and at least 0, got -1"):
        losses.WeightPenalty(-1)
    with pytest.raises(ValueError, match="l2 must be finite and at least 0, got inf"):
        losses.WeightPenalty(l2=float("inf"))
