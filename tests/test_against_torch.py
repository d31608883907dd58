"""Every differentiable operation against PyTorch in float64: results and gradients on random cases.

Names and arguments are PyTorch's, so one call serves both. Skipped where PyTorch is absent; medkern never
needs it.
"""

import numpy as np
import pytest

import medkern
from medkern import functional

torch = pytest.importorskip("torch")

# Both sides compute in float64 and differ in the order of their sums only.
TOLERANCE = dict(rtol=1e-9, atol=1e-10)

# name, shapes of the float inputs, keyword arguments
SAME_CALL = [
    ("linear", [(5, 7), (4, 7), (4,)], {}),
    ("linear", [(2, 3, 7), (4, 7)], {}),
    ("matmul", [(5, 7), (7, 3)], {}),
    ("matmul", [(2, 5, 7), (2, 7, 3)], {}),
    ("conv1d", [(2, 3, 11), (4, 3, 3), (4,)], dict(stride=2, padding=1)),
    ("conv2d", [(2, 3, 9, 8), (5, 3, 3, 3), (5,)], dict(padding=1)),
    ("conv2d", [(1, 4, 9, 8), (6, 2, 3, 2)], dict(stride=(2, 1), dilation=(1, 2), groups=2)),
    ("conv2d", [(2, 6, 7, 7), (6, 1, 3, 3), (6,)], dict(groups=6, padding="same")),
    ("conv3d", [(1, 2, 5, 6, 4), (3, 2, 3, 3, 3), (3,)], dict(padding=1)),
    ("conv_transpose1d", [(2, 3, 5), (3, 4, 3), (4,)], dict(stride=2, output_padding=1)),
    ("conv_transpose2d", [(2, 6, 5, 4), (6, 3, 2, 2), (3,)], dict(stride=2)),
    ("conv_transpose2d", [(1, 4, 5, 4), (4, 3, 3, 3)], dict(stride=2, padding=1, groups=2, dilation=2)),
    ("conv_transpose3d", [(1, 2, 3, 4, 3), (2, 3, 4, 4, 4)], dict(stride=2, padding=1)),
    ("max_pool1d", [(2, 3, 9)], dict(kernel_size=3, stride=2, padding=1)),
    ("max_pool2d", [(2, 3, 9, 8)], dict(kernel_size=(3, 2), ceil_mode=True)),
    ("max_pool3d", [(1, 2, 5, 6, 7)], dict(kernel_size=2, dilation=2, stride=1)),
    ("avg_pool1d", [(2, 3, 9)], dict(kernel_size=3, padding=1)),
    ("avg_pool2d", [(2, 3, 9, 8)], dict(kernel_size=3, stride=2, padding=1, ceil_mode=True)),
    ("avg_pool2d", [(2, 3, 9, 8)], dict(kernel_size=3, padding=1, count_include_pad=False)),
    ("avg_pool3d", [(1, 2, 5, 6, 7)], dict(kernel_size=2)),
    ("adaptive_avg_pool1d", [(2, 3, 9)], dict(output_size=4)),
    ("adaptive_avg_pool2d", [(2, 3, 9, 8)], dict(output_size=(3, 5))),
    ("adaptive_avg_pool3d", [(1, 2, 5, 6, 7)], dict(output_size=1)),
    ("adaptive_max_pool2d", [(2, 3, 9, 8)], dict(output_size=(3, 5))),
    ("interpolate", [(2, 3, 5)], dict(scale_factor=2.5, mode="linear")),
    ("interpolate", [(2, 3, 5, 6)], dict(scale_factor=2, mode="nearest")),
    ("interpolate", [(2, 3, 5, 6)], dict(size=(8, 3), mode="nearest")),
    ("interpolate", [(2, 3, 5, 6)], dict(size=(9, 7), mode="bilinear", align_corners=True)),
    ("interpolate", [(2, 3, 5, 6)], dict(scale_factor=2, mode="bilinear", align_corners=False)),
    ("interpolate", [(1, 2, 3, 4, 5)], dict(scale_factor=2, mode="trilinear", align_corners=False)),
    ("grid_sample", [(2, 3, 5, 6), (2, 4, 3, 2)], dict(align_corners=False)),
    ("grid_sample", [(2, 3, 5, 6), (2, 4, 3, 2)], dict(align_corners=True, padding_mode="border")),
    ("grid_sample", [(1, 9, 3, 4, 5), (1, 2, 3, 4, 3)], dict(align_corners=False, padding_mode="reflection")),
    ("grid_sample", [(1, 9, 3, 4, 5), (1, 2, 3, 4, 3)], dict(align_corners=True, mode="nearest")),
    ("instance_norm", [(2, 3, 5, 6)], {}),
    ("group_norm", [(2, 6, 5, 4)], dict(num_groups=3)),
    ("layer_norm", [(2, 5, 6)], dict(normalized_shape=(5, 6))),
    ("softmax", [(3, 5, 4)], dict(dim=1)),
    ("log_softmax", [(3, 5, 4)], dict(dim=-1)),
    ("relu", [(4, 5)], {}),
    ("leaky_relu", [(4, 5)], dict(negative_slope=0.2)),
    ("elu", [(4, 5)], dict(alpha=0.7)),
    ("sigmoid", [(4, 5)], {}),
    ("tanh", [(4, 5)], {}),
    ("silu", [(4, 5)], {}),
    ("gelu", [(4, 5)], {}),
    ("softplus", [(4, 5)], {}),
    ("exp", [(4, 5)], {}),
    ("abs", [(4, 5)], {}),
    ("neg", [(4, 5)], {}),
    ("square", [(4, 5)], {}),
    ("reciprocal", [(4, 5)], {}),
    ("clamp", [(4, 5)], dict(min=-0.5, max=0.7)),
    ("add", [(4, 5), (5,)], {}),
    ("sub", [(4, 1), (4, 5)], {}),
    ("mul", [(2, 4, 5), (4, 1)], {}),
    ("div", [(4, 5), (4, 5)], {}),
    ("maximum", [(4, 5), (4, 5)], {}),
    ("minimum", [(4, 5), (5,)], {}),
    ("sum", [(3, 4, 5)], dict(dim=(0, 2))),
    ("mean", [(3, 4, 5)], dict(dim=1, keepdim=True)),
    ("var", [(3, 4, 5)], dict(dim=2)),
    ("flatten", [(3, 4, 5)], dict(start_dim=1)),
    ("mse_loss", [(3, 4), (3, 4)], {}),
    ("l1_loss", [(3, 4), (3, 4)], {}),
    ("binary_cross_entropy_with_logits", [(3, 4), (3, 4)], {}),
]


def torch_function(name):
    return getattr(torch.nn.functional, name, None) or getattr(torch, name)


def medkern_function(name):
    return getattr(functional, name, None) or getattr(medkern.losses, name)


def assert_close(ours, theirs):
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), **TOLERANCE)


def compare(ours, theirs, arrays):
    """Results and gradients of two functions of the same float64 arrays."""
    ours_in = [medkern.tensor(a, requires_grad=True) for a in arrays]
    theirs_in = [torch.tensor(a, requires_grad=True) for a in arrays]
    ours_out, theirs_out = ours(*ours_in), theirs(*theirs_in)
    assert_close(ours_out, theirs_out)
    weight = np.random.default_rng(1).uniform(0.5, 1.5, ours_out.shape)
    ours_out.backward(medkern.tensor(weight))
    theirs_out.backward(torch.tensor(weight))
    for a, b in zip(ours_in, theirs_in, strict=True):
        assert_close(a.grad, b.grad)


@pytest.mark.parametrize("name,shapes,options", SAME_CALL, ids=lambda v: v if isinstance(v, str) else "")
def test_same_call(rng, name, shapes, options):
    arrays = [rng.standard_normal(shape) for shape in shapes]
    compare(
        lambda *x: medkern_function(name)(*x, **options),
        lambda *x: torch_function(name)(*x, **options),
        arrays,
    )


@pytest.mark.parametrize("name", ["log", "sqrt"])
def test_functions_of_positive_numbers(rng, name):
    compare(medkern_function(name), torch_function(name), [rng.uniform(0.1, 3, (4, 5))])


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(rng, training):
    arrays = [rng.standard_normal(s) for s in [(4, 3, 5, 6), (3,), (3,)]]
    mean, var = rng.standard_normal(3), rng.uniform(0.5, 2, 3)
    ours = [medkern.tensor(mean), medkern.tensor(var)]
    theirs = [torch.tensor(mean), torch.tensor(var)]
    compare(
        lambda x, w, b: functional.batch_norm(x, *ours, w, b, training=training),
        lambda x, w, b: torch.nn.functional.batch_norm(x, *theirs, w, b, training=training),
        arrays,
    )
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("options", [{}, dict(label_smoothing=0.1), dict(ignore_index=2)])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy(rng, reduction, options, weighted):
    logits = rng.standard_normal((3, 5, 4, 2))
    target = rng.integers(0, 5, (3, 4, 2))
    weight = rng.uniform(0.5, 2, 5) if weighted else None
    compare(
        lambda x: functional.cross_entropy(
            x,
            medkern.tensor(target),
            weight=None if weight is None else medkern.tensor(weight),
            reduction=reduction,
            **options,
        ),
        lambda x: torch.nn.functional.cross_entropy(
            x,
            torch.tensor(target),
            weight=None if weight is None else torch.tensor(weight),
            reduction=reduction,
            **options,
        ),
        [logits],
    )


def test_binary_cross_entropy(rng):
    target = rng.integers(0, 2, (3, 4)).astype(float)
    compare(
        lambda x: medkern.losses.binary_cross_entropy(x, medkern.tensor(target)),
        lambda x: torch.nn.functional.binary_cross_entropy(x, torch.tensor(target)),
        [rng.uniform(0.05, 0.95, (3, 4))],
    )


def test_max_pool_indices_and_unpooling(rng):
    x = rng.standard_normal((2, 3, 8, 6))
    y, indices = functional.max_pool2d(medkern.tensor(x), 2, return_indices=True)
    _, tindices = torch.nn.functional.max_pool2d(torch.tensor(x), 2, return_indices=True)
    np.testing.assert_array_equal(indices.numpy(), tindices.numpy())
    compare(
        lambda y: functional.max_unpool2d(y, indices, 2),
        lambda y: torch.nn.functional.max_unpool2d(y, tindices, 2),
        [y.numpy()],
    )


def test_embedding(rng):
    indices = rng.integers(0, 7, (3, 4))
    compare(
        lambda w: functional.embedding(medkern.tensor(indices), w, padding_idx=2),
        lambda w: torch.nn.functional.embedding(torch.tensor(indices), w, padding_idx=2),
        [rng.standard_normal((7, 5))],
    )


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_concat(rng, dim):
    arrays = [rng.standard_normal((2, 3, 4)) for _ in range(3)]
    compare(lambda *x: functional.concat(x, dim=dim), lambda *x: torch.concat(x, dim=dim), arrays)


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_pad(rng, mode):
    compare(
        lambda x: functional.pad(x, (1, 2, 2, 1), mode=mode),
        lambda x: torch.nn.functional.pad(x, (1, 2, 2, 1), mode=mode),
        [rng.standard_normal((2, 3, 5, 6))],
    )


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_recurrent_layers(rng, kind, bidirectional, batch_first):
    options = dict(num_layers=2, bidirectional=bidirectional, batch_first=batch_first)
    theirs = getattr(torch.nn, kind)(5, 4, **options).double()
    ours = getattr(medkern.nn, kind)(5, 4, **options).to("float64")
    ours.load_state_dict({k: medkern.tensor(v.detach().numpy()) for k, v in theirs.state_dict().items()})
    compare(lambda x: ours(x)[0], lambda x: theirs(x)[0], [rng.standard_normal((3, 6, 5))])
    gradients = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        assert_close(parameter.grad, gradients[name].grad)


@pytest.mark.parametrize("kind", ["RNNCell", "GRUCell", "LSTMCell"])
def test_recurrent_cells(rng, kind):
    theirs = getattr(torch.nn, kind)(5, 4).double()
    ours = getattr(medkern.nn, kind)(5, 4).to("float64")
    ours.load_state_dict({k: medkern.tensor(v.detach().numpy()) for k, v in theirs.state_dict().items()})

    def first(result):
        return result[0] if isinstance(result, tuple) else result

    compare(lambda x: first(ours(x)), lambda x: first(theirs(x)), [rng.standard_normal((3, 5))])


def test_second_derivatives(rng):
    """The gradient penalty of a small convolutional network."""
    x, w, v = (rng.standard_normal(s) for s in [(2, 3, 6, 6), (4, 3, 3, 3), (1, 4 * 16)])

    def ours(x, w, v):
        y = functional.leaky_relu(functional.conv2d(x, w), 0.2)
        y = functional.linear(functional.flatten(y, 1), v)
        (gradient,) = medkern.autograd.grad(y, [x], [medkern.tensor(np.ones(y.shape))], create_graph=True)
        return functional.sum(functional.square(gradient))

    def theirs(x, w, v):
        y = torch.nn.functional.leaky_relu(torch.nn.functional.conv2d(x, w), 0.2)
        y = torch.nn.functional.linear(torch.flatten(y, 1), v)
        (gradient,) = torch.autograd.grad(y, [x], torch.ones_like(y), create_graph=True)
        return torch.sum(torch.square(gradient))

    ours_in = [medkern.tensor(a, requires_grad=True) for a in (x, w, v)]
    theirs_in = [torch.tensor(a, requires_grad=True) for a in (x, w, v)]
    ours(*ours_in).backward()
    theirs(*theirs_in).backward()
    for a, b in zip(ours_in[1:], theirs_in[1:], strict=True):
        assert_close(a.grad, b.grad)


@pytest.mark.parametrize("kind", ["linear", "conv", "transposed"])
def test_spectral_norm(rng, kind):
    """From the same u and v: the weight of each use, and the gradients through three of them."""
    arguments = {"linear": (7, 5), "conv": (3, 6, 3), "transposed": (3, 6, 3)}[kind]
    name = {"linear": "Linear", "conv": "Conv2d", "transposed": "ConvTranspose2d"}[kind]
    ours = medkern.nn.spectral_norm(getattr(medkern.nn, name)(*arguments), n_power_iterations=2)
    ours.to("float64")
    theirs = getattr(torch.nn, name)(*arguments).double()
    torch.nn.utils.parametrizations.spectral_norm(theirs, n_power_iterations=2)
    keys = {
        "bias": "bias",
        "weight_original": "parametrizations.weight.original",
        "weight_u": "parametrizations.weight.0._u",
        "weight_v": "parametrizations.weight.0._v",
    }
    state = {theirs: torch.tensor(ours.state_dict()[mine].numpy()) for mine, theirs in keys.items()}
    theirs.load_state_dict(state)
    x = rng.standard_normal((2, 7) if kind == "linear" else (2, 3, 5, 6))
    for _ in range(3):
        a, b = ours(medkern.tensor(x)), theirs(torch.tensor(x))
        assert_close(a, b)
        functional.sum(functional.square(a)).backward()
        b.square().sum().backward()
    assert_close(ours.weight_u, theirs.parametrizations.weight[0]._u)
    assert_close(ours.weight_original.grad, theirs.parametrizations.weight.original.grad)
    assert_close(ours.bias.grad, theirs.bias.grad)
    ours.eval(), theirs.eval()
    assert_close(ours.weight, theirs.weight)


@pytest.mark.parametrize("norm", [None, "batch", "spectral"])
def test_penalties_of_a_dcgan_discriminator(rng, norm):
    """Second derivatives: the gradients of R1 by every parameter."""
    medkern.random.manual_seed(2)
    ours = medkern.models.DCGANDiscriminator(filters=2, norm=norm).to("float64").eval()
    layers = []
    for layer in ours.layers:
        if isinstance(layer, medkern.nn.Conv2d):
            args = (layer.in_channels, layer.out_channels, 4)
            stride = {} if layer.stride == 1 else dict(stride=2, padding=1)
            layers.append(torch.nn.Conv2d(*args, **stride).double())
            values = layers[-1]
            values.weight.data = torch.tensor(layer.weight.numpy() * 20)
            values.bias.data = torch.tensor(layer.bias.numpy())
            for own in (layer.weight_original if norm == "spectral" else layer.weight,):
                own.copy_(own.numpy() * 20)
            if norm == "spectral":
                torch.nn.utils.parametrizations.spectral_norm(values)
                values.parametrizations.weight[0]._u = torch.tensor(layer.weight_u.numpy())
                values.parametrizations.weight[0]._v = torch.tensor(layer.weight_v.numpy())
                values.parametrizations.weight.original.data = torch.tensor(layer.weight_original.numpy())
        elif isinstance(layer, medkern.nn.BatchNorm2d):
            layers.append(torch.nn.BatchNorm2d(layer.num_features).double())
        else:
            layers.append(torch.nn.LeakyReLU(0.2))
    theirs = torch.nn.Sequential(*layers).train(norm == "batch")
    ours.train(norm == "batch")
    x = rng.standard_normal((3, 1, 64, 64))
    images = torch.tensor(x, requires_grad=True)
    (slope,) = torch.autograd.grad(theirs(images).sum(), images, create_graph=True)
    expected = slope.square().sum((1, 2, 3)).mean() / 2
    expected.backward()
    penalty = medkern.losses.r1_penalty(ours, medkern.tensor(x))
    penalty.backward()
    assert penalty.item() == pytest.approx(expected.item(), rel=1e-9)
    pairs = zip(ours.layers, theirs, strict=True)
    compared = 0
    for a, b in pairs:
        if isinstance(a, medkern.nn.Conv2d):
            if norm == "spectral":
                assert_close(a.weight_original.grad, b.parametrizations.weight.original.grad)
            else:
                assert_close(a.weight.grad, b.weight.grad)
            compared += 1
        elif isinstance(a, medkern.nn.BatchNorm2d):
            assert_close(a.weight.grad, b.weight.grad)
    assert compared == 5
