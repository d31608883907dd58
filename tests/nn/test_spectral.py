import numpy as np
import pytest

import medkern
from medkern import functional, nn, optim


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.Linear(7, 5),
        lambda: nn.Conv2d(3, 6, 3, padding=1),
        lambda: nn.ConvTranspose2d(3, 6, 4, stride=2, padding=1),
    ],
)
def test_the_largest_singular_value_becomes_one(layer, rng):
    medkern.random.manual_seed(1)
    module = layer()
    matrix = module.weight.numpy().copy()
    axis = 1 if isinstance(module, nn.ConvTranspose2d) else 0
    largest = np.linalg.norm(np.moveaxis(matrix, axis, 0).reshape(matrix.shape[axis], -1), 2)
    assert nn.spectral_norm(module, n_power_iterations=50) is module
    # Each iteration leaves (s2 / s1)^2 of the error: with singular values 7 % apart or more 3e-4 after 65.
    np.testing.assert_allclose(module.weight.numpy(), matrix / largest, rtol=1e-3)
    assert set(module.state_dict()) == {"bias", "weight_original", "weight_u", "weight_v"}
    assert [name for name, _ in module.named_parameters()] == ["bias", "weight_original"]
    assert "SpectralNorm" in repr(module)


def test_evaluation_leaves_the_vectors_alone_and_computes_the_same_twice(rng):
    layer = nn.spectral_norm(nn.Conv2d(2, 4, 3))
    x = medkern.tensor(rng.standard_normal((1, 2, 6, 5)).astype(np.float32))
    layer(x)
    layer.eval()
    before = layer.weight_u.numpy().copy()
    first = layer(x).numpy()
    np.testing.assert_array_equal(layer.weight_u.numpy(), before)
    np.testing.assert_array_equal(first, layer(x).numpy())
    np.testing.assert_allclose(medkern.compile(layer, x)(x).numpy(), first, rtol=1e-5, atol=1e-6)


def test_a_weight_is_learnt_and_keeps_its_norm(rng):
    medkern.random.manual_seed(0)
    layer = nn.spectral_norm(nn.Linear(6, 4))
    optimizer = optim.SGD(layer.parameters(), 0.5)
    x = medkern.tensor(rng.standard_normal((8, 6)).astype(np.float32))
    before = layer.weight_original.numpy().copy()
    for _ in range(50):
        optimizer.zero_grad()
        functional.mean(functional.square(layer(x))).backward()
        optimizer.step()
    assert not np.array_equal(layer.weight_original.numpy(), before)
    assert np.linalg.norm(layer.eval().weight.numpy(), 2) == pytest.approx(1, abs=0.02)


def test_two_uses_before_backward(rng):
    layer = nn.spectral_norm(nn.Linear(6, 4))
    x = medkern.tensor(rng.standard_normal((2, 6)).astype(np.float32))
    functional.sum(functional.add(layer(x), layer(x))).backward()
    assert layer.weight_original.grad is not None


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"Linear\.gain must be a parameter of 2 axes or more, got NoneType"):
        nn.spectral_norm(nn.Linear(2, 3), "gain")
    with pytest.raises(ValueError, match=r"Linear\.bias must be .* got shape \(3,\)"):
        nn.spectral_norm(nn.Linear(2, 3), "bias")
    with pytest.raises(ValueError, match="n_power_iterations must be positive, got 0"):
        nn.spectral_norm(nn.Linear(2, 3), n_power_iterations=0)
    with pytest.raises(ValueError, match="dim must be from 0 to 1, got 2"):
        nn.spectral_norm(nn.Linear(2, 3), dim=2)
