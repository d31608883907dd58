import json

import numpy as np
import pytest

import medkern
from medkern import losses, models, nn, optim
from medkern.models import UNet


@pytest.fixture(autouse=True)
def seed():
    medkern.random.manual_seed(7)


def test_the_default_is_the_classic_network():
    # Counted by hand from the paper's figure, with one input and one output channel.
    filters = (64, 128, 256, 512, 1024)
    count = 0
    for before, after in zip((1, *filters), filters, strict=False):
        count += 9 * before * after + after + 9 * after * after + after
    for before, after in zip(filters[:0:-1], filters[-2::-1], strict=True):
        count += 4 * before * after + after + 9 * before * after + after + 9 * after * after + after
    count += 64 + 1
    config = models.config(UNet(filters=(2, 4)))
    config["filters"] = list(filters)
    net = models.build(config)
    assert sum(p.size for p in net.parameters()) == count == 31_030_593
    assert net.config == UNet().config


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("norm", [None, "batch", "instance", "group"])
@pytest.mark.parametrize("up", ["transposed", "resize"])
def test_forward_and_a_step_that_lowers_the_loss(rng, spatial_dims, norm, up):
    net = UNet(2, 3, spatial_dims=spatial_dims, filters=(4, 6, 8), norm=norm, up=up, activation=None)
    shape = (2, 2, 8, 12, 4)[: spatial_dims + 2]
    x = medkern.tensor(rng.normal(size=shape).astype(np.float32))
    labels = rng.integers(0, 3, (2, *shape[2:]))
    optimizer = optim.SGD(net.parameters(), lr=0.01)
    criterion = losses.DiceCELoss()
    seen = []
    for _ in range(2):
        y = net(x)
        assert y.shape == (2, 3, *shape[2:])
        optimizer.zero_grad()
        loss = criterion(y, labels)
        loss.backward()
        assert all(p.grad is not None and np.isfinite(p.grad.numpy()).all() for p in net.parameters())
        optimizer.step()
        seen.append(loss.item())
    assert seen[1] < seen[0]


def test_activations(rng):
    x = medkern.tensor(rng.normal(size=(1, 1, 8, 8)).astype(np.float32))
    logits = UNet(1, 3, filters=(4, 8), activation=None)
    state = logits.state_dict()
    for activation, function in (
        ("sigmoid", medkern.functional.sigmoid),
        ("softmax", lambda y: medkern.functional.softmax(y, 1)),
    ):
        net = UNet(1, 3, filters=(4, 8), activation=activation)
        net.load_state_dict(state)
        np.testing.assert_array_equal(net(x).numpy(), function(logits(x)).numpy())


def test_a_residual_network_adds_its_input(rng):
    x = medkern.tensor(rng.normal(size=(1, 2, 8, 8)).astype(np.float32))
    plain = UNet(2, 2, filters=(4, 8), activation=None)
    net = UNet(2, 2, filters=(4, 8), activation=None, residual=True)
    np.testing.assert_array_equal(net(x).numpy(), x.numpy())  # to begin with
    net.load_state_dict(plain.state_dict())
    np.testing.assert_allclose(net(x).numpy(), plain(x).numpy() + x.numpy(), rtol=1e-6, atol=1e-6)
    assert models.build(models.config(net)).config["residual"]
    with pytest.raises(ValueError, match="residual needs as many out_channels as in_channels, got 3 and 2"):
        UNet(2, 3, residual=True)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_attention_weighs_what_is_concatenated(rng, spatial_dims):
    net = UNet(1, 2, spatial_dims=spatial_dims, filters=(4, 6, 8), activation=None, attention=True)
    assert [gate.theta.in_channels for gate in net.gates] == [6, 4]
    shape = (1, 1, 8, 12, 8)[: spatial_dims + 2]
    x = medkern.tensor(rng.normal(size=shape).astype(np.float32))
    y = net(x)
    losses.DiceCELoss()(y, rng.integers(0, 2, (1, *shape[2:]))).backward()
    assert all(p.grad is not None and np.isfinite(p.grad.numpy()).all() for p in net.parameters())
    # A gate that lets all pass leaves the plain network, one that lets nothing pass one without skips.
    plain = UNet(1, 2, spatial_dims=spatial_dims, filters=(4, 6, 8), activation=None)
    plain.load_state_dict(net.state_dict(), strict=False)
    for gate in net.gates:
        gate.psi.weight.copy_(np.zeros(gate.psi.weight.shape, np.float32))
        gate.psi.bias.copy_(np.full(1, 30, np.float32))
    np.testing.assert_allclose(net(x).numpy(), plain(x).numpy(), rtol=1e-5, atol=1e-6)
    net.gates[0].psi.bias.copy_(np.full(1, -30, np.float32))
    assert np.abs(net(x).numpy() - plain(x).numpy()).max() > 1e-3


def test_the_weight_of_a_gate_lies_between_0_and_1(rng):
    gate = models.unet.AttentionGate(3, 5, 2)
    x = np.ones((2, 3, 4, 6), np.float32)
    y = gate(medkern.tensor(x), medkern.tensor(rng.normal(size=(2, 5, 2, 3)).astype(np.float32))).numpy()
    assert ((y > 0) & (y < 1)).all() and (y == y[:, :1]).all()


def test_dropout_acts_in_training_only(rng):
    x = medkern.tensor(rng.normal(size=(1, 1, 8, 8)).astype(np.float32))
    net = UNet(filters=(4, 8), dropout=0.5)
    assert (net(x).numpy() != net(x).numpy()).any()
    net.eval()
    np.testing.assert_array_equal(net(x).numpy(), net(x).numpy())


def test_a_sample_alone_gives_the_bits_it_gives_in_a_batch(rng):
    net = UNet(filters=(4, 8), norm="group").eval()
    x = rng.normal(size=(3, 1, 16, 16)).astype(np.float32)
    together = net(medkern.tensor(x)).numpy()
    for i in range(3):
        np.testing.assert_array_equal(net(medkern.tensor(x[i : i + 1])).numpy()[0], together[i])


def test_training_gives_the_same_bits_at_any_thread_count(rng):
    x = medkern.tensor(rng.normal(size=(2, 1, 32, 32)).astype(np.float32))
    t = (x.numpy() > 0).astype(np.float32)
    results = []
    before = medkern.get_num_threads()
    try:
        for threads in (1, 2, 3):
            medkern.set_num_threads(threads)
            medkern.random.manual_seed(1)
            net = UNet(filters=(8, 16), norm="batch", dropout=0.2)
            optimizer = optim.Adam(net.parameters(), lr=1e-2)
            for _ in range(2):
                optimizer.zero_grad()
                losses.binary_cross_entropy(net(x), t).backward()
                optim.clip_grad_norm_(net.parameters(), 0.1)
                optimizer.step()
            results.append(net.state_dict())
    finally:
        medkern.set_num_threads(before)
    for other in results[1:]:
        for name, value in results[0].items():
            np.testing.assert_array_equal(value.numpy(), other[name].numpy(), err_msg=name)


def test_state_and_description_go_round(rng):
    net = UNet(2, 3, spatial_dims=3, filters=(4, 8), norm="batch", up="resize", activation=None, dropout=0.1)
    x = medkern.tensor(rng.normal(size=(1, 2, 4, 4, 4)).astype(np.float32))
    net(x)  # moves the running statistics
    again = models.build(json.loads(json.dumps(models.config(net))))
    assert type(again) is UNet and again.config == net.config
    again.load_state_dict({name: value.numpy() for name, value in net.state_dict().items()})
    np.testing.assert_array_equal(net.eval()(x).numpy(), again.eval()(x).numpy())
    net.config["filters"].append(1)
    assert net.config["filters"] == [4, 8]


def test_x_is_checked_before_anything_is_computed():
    net = UNet(2, 1, filters=(4, 8, 16), norm="batch")

    def check(shape, message):
        with pytest.raises(ValueError, match=message):
            net(medkern.tensor(np.zeros(shape, np.float32)))
        assert net.down[0].norm1.num_batches_tracked.item() == 0

    check((1, 2, 8, 10), r"UNet: every spatial size must be a multiple of 4 .*, got 10 in \(1, 2, 8, 10\)")
    check((1, 2, 0, 8), "UNet: every spatial size must be a multiple of 4 .*, got 0")
    check((1, 3, 8, 8), r"UNet: x must have shape \(N, 2, H, W\), got \(1, 3, 8, 8\)")
    check((1, 2, 8, 8, 8), r"UNet: x must have shape \(N, 2, H, W\)")
    with pytest.raises(ValueError, match=r"UNet: x must have shape \(N, 1, D, H, W\)"):
        UNet(filters=(4, 8), spatial_dims=3)(medkern.tensor(np.zeros((1, 1, 8, 8), np.float32)))


def test_an_empty_batch():
    net = UNet(filters=(4, 8))
    assert net(medkern.tensor(np.zeros((0, 1, 8, 8), np.float32))).shape == (0, 1, 8, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_channels": 0}, "UNet: in_channels must be positive, got 0"),
        ({"filters": (4,)}, r"UNet: filters must have at least 2 levels, got \(4,\)"),
        ({"filters": (4, 0)}, "UNet: filters must be positive, got 0"),
        ({"spatial_dims": 4}, r"UNet: spatial_dims must be one of \(2, 3\), got 4"),
        ({"norm": "layer"}, "UNet: norm must be one of .*, got 'layer'"),
        ({"up": "deconv"}, "UNet: up must be one of .*, got 'deconv'"),
        ({"activation": "relu"}, "UNet: activation must be one of .*, got 'relu'"),
        ({"dropout": 2.0}, r"UNet: dropout must lie in \[0, 1\], got 2.0"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        UNet(**options)


def test_build_knows_its_models_only():
    with pytest.raises(ValueError, match=r"build: name must be one of AlexNet, .*UNet, VGG, got 'os.system'"):
        models.build({"name": "os.system"})
    with pytest.raises(ValueError, match=r"build: name must be one of AlexNet, .*UNet, VGG, got None"):
        models.build({})
    with pytest.raises(ValueError, match=r"build: UNet takes in_channels, .*, got depth, x"):
        models.build({"name": "UNet", "depth": 3, "x": 1})
    with pytest.raises(TypeError, match="build: config must be a mapping, got list"):
        models.build([])
    with pytest.raises(TypeError, match=r"config: model must be one of AlexNet, .*, got Linear"):
        models.config(nn.Linear(1, 1))
