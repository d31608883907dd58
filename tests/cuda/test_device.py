"""The device layer as users see it: where tensors are, copies, exchange, streams, and what trains there.

What a machine without a GPU does is in test_no_device.py.
"""

import ctypes
import os
import threading

import numpy as np
import pytest

import medkern
from medkern import _C, data, functional, kernels, losses, nn, optim

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not medkern.cuda.is_available(), reason="no CUDA device and no emulator"),
]


def on_cuda(rng, *shape, **options):
    return medkern.tensor(rng.standard_normal(shape, np.float32), device="cuda", **options)


# ---------------------------------------------------------------- where tensors are


def test_tensors_are_made_where_they_are_asked_for(rng):
    x = rng.standard_normal((2, 3), np.float32)
    for made in (
        medkern.tensor(x, device="cuda"),
        medkern.tensor(x).to("cuda"),
        medkern.tensor(x).cuda(),
        medkern.tensor(medkern.tensor(x), device="cuda:0"),
    ):
        assert made.device == "cuda:0" and made.is_cuda
        np.testing.assert_array_equal(made.numpy(), x)
        np.testing.assert_array_equal(made.cpu().numpy(), x)
    assert medkern.tensor(medkern.tensor(x, device="cuda")).device == "cuda:0"
    assert medkern.tensor(medkern.tensor(x, device="cuda"), device="cpu").device == "cpu"
    assert medkern.zeros((2,)).device == "cpu"
    assert medkern.ones((2,), device="cuda").numpy().tolist() == [1, 1]
    assert medkern.random.uniform((4,), device="cuda").device == "cuda:0"
    assert "device='cuda:0'" in repr(medkern.zeros((1,), device="cuda"))


def test_the_default_device_holds_in_its_context_and_thread():
    with medkern.device("cuda"):
        assert medkern.get_default_device() == "cuda:0"
        assert medkern.zeros((1,)).device == "cuda:0"
        assert nn.Linear(2, 1).weight.device == "cuda:0"
        elsewhere = []
        thread = threading.Thread(target=lambda: elsewhere.append(medkern.zeros((1,)).device))
        thread.start()
        thread.join()
        assert elsewhere == ["cpu"]
    assert medkern.zeros((1,)).device == "cpu"


def test_copies_keep_values_and_layout(rng):
    x = rng.standard_normal((2, 3, 4, 5), np.float32)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for source in (x, last, x.transpose(3, 1, 0, 2), x[:, :, ::2], np.broadcast_to(x[:1], x.shape)):
        array = _C.Array(_C.Array(source), "cuda")
        np.testing.assert_array_equal(array.numpy(), source)
        assert array.to("cpu").device == "cpu"
    assert _C.Array(last, "cuda").is_channels_last
    assert _C.Array(x.transpose(3, 1, 0, 2), "cuda").numpy().strides == x.transpose(3, 1, 0, 2).strides
    for dtype in ("float32", "float64", "int32", "int64", "uint8", "bool"):
        values = (10 * x).astype(dtype)
        np.testing.assert_array_equal(medkern.tensor(values, device="cuda").numpy(), values)
    assert medkern.tensor(np.zeros((0, 3), np.float32), device="cuda").numpy().shape == (0, 3)


def test_a_copy_on_the_host_is_read_only(rng):
    values = on_cuda(rng, 3).numpy()
    with pytest.raises(ValueError, match="read-only"):
        values[0] = 1
    assert np.array(on_cuda(rng, 3)).flags.writeable
    with pytest.raises(ValueError, match="without a copy"):
        on_cuda(rng, 3).__array__(copy=False)
    with pytest.raises(BufferError):
        memoryview(on_cuda(rng, 3).array)


def test_values_written_in_place_reach_the_device(rng):
    x = on_cuda(rng, 2, 3)
    for values in (np.arange(6.0).reshape(2, 3), medkern.tensor(np.ones((2, 3))), on_cuda(rng, 2, 3)):
        x.copy_(values)
        np.testing.assert_array_equal(x.numpy(), np.asarray(values, np.float32))
    with pytest.raises(TypeError, match="copy_: values must be int64, got float32"):
        medkern.tensor([1], device="cuda").copy_(np.ones(1, np.float32))
    nn.init.constant_(x, 2.5)
    assert (x.numpy() == 2.5).all()


def test_gradients_pass_between_devices(rng):
    x = medkern.tensor(rng.standard_normal((2, 3), np.float32), requires_grad=True)
    y = functional.sum(functional.square(x.to("cuda")).to("cpu", "float64"))
    y.backward()
    assert x.grad.device == "cpu"
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.numpy(), rtol=1e-6)


def test_constants_follow_the_tensor(rng):
    x = on_cuda(rng, 2, 3)
    other = rng.standard_normal((2, 3), np.float32)
    np.testing.assert_allclose((x + other).numpy(), x.numpy() + other, rtol=1e-6)
    np.testing.assert_allclose((2 * x - 1).numpy(), 2 * x.numpy() - 1, rtol=1e-6)


def test_mixed_devices_are_named(rng):
    with pytest.raises(medkern.DeviceError, match=r"b must be on .*a"):
        functional.add(on_cuda(rng, 2, 3), medkern.tensor(np.ones((2, 3), np.float32)))


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "", 3])
def test_a_wrong_name_of_a_device(name):
    with pytest.raises(ValueError, match="device must be 'cpu', 'cuda' or 'cuda:' and a number"):
        medkern.zeros((1,), device=name)


def test_a_device_that_is_not_there():
    count = medkern.cuda.device_count()
    with (
        pytest.raises(medkern.DeviceError, match=f"there is no device 'cuda:{count}'"),
        medkern.device(f"cuda:{count}"),
    ):
        pass
    with pytest.raises(medkern.DeviceError):
        medkern.zeros((1,), device=f"cuda:{count}")


# ---------------------------------------------------------------- kernels on NumPy arrays


def test_kernels_on_numpy_arrays_give_numpy_arrays(rng):
    x = rng.standard_normal((1, 2, 6, 6), np.float32)
    out = np.zeros((1, 2, 3, 3), np.float32)
    expected = kernels.max_pool2d(x, 2)
    with medkern.device("cuda"):
        found = kernels.max_pool2d(x, 2)
        written = kernels.max_pool2d(x, 2, out=out)
    assert type(found) is np.ndarray and found.flags.writeable
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(out, expected)
    assert np.shares_memory(written, out)


def test_strided_results_leave_their_gaps_alone(rng):
    x = rng.standard_normal((1, 2, 6, 6), np.float32)
    wide = np.full((1, 2, 3, 6), 7, np.float32)
    with medkern.device("cuda"):
        kernels.copy(kernels.max_pool2d(x, 2), out=wide[..., ::2])
    np.testing.assert_array_equal(wide[..., ::2], kernels.max_pool2d(x, 2))
    assert (wide[..., 1::2] == 7).all()


def test_arguments_changed_in_place_come_back():
    param, grad = np.array([1.0, 2.0]), np.array([1.0, 1.0])
    with medkern.device("cuda"):
        kernels.sgd_step(param, grad, None, lr=0.5)
    np.testing.assert_array_equal(param, [0.5, 1.5])
    with medkern.device("cuda"), pytest.raises(ValueError, match="param is read-only"):
        param.flags.writeable = False
        kernels.sgd_step(param, grad, None, lr=0.5)


# ---------------------------------------------------------------- exchange with other libraries


class OtherLibrary:
    """An array of another library, which keeps what it was asked for."""

    def __init__(self, array, versioned=True):
        self.array, self.versioned, self.asked = array, versioned, []

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, *, stream=None, **options):
        if options and not self.versioned:
            raise TypeError("unexpected keyword argument 'max_version'")
        self.asked.append(stream)
        return self.array.__dlpack__(stream=stream, **options)


@pytest.mark.parametrize("versioned", [True, False])
def test_dlpack_shares_memory_and_names_the_stream(rng, versioned):
    other = OtherLibrary(on_cuda(rng, 2, 3), versioned)
    stream = medkern.cuda.Stream()
    shared = _C.Array(other)
    with stream:
        again = _C.Array(other)
    assert other.asked == [1, stream.pointer]
    assert shared.device == again.device == "cuda:0"
    medkern.kernels.copy(np.ones((2, 3)), out=None)
    _C.fill(shared, 5)
    medkern.cuda.synchronize()
    assert (other.array.numpy() == 5).all()
    assert medkern.tensor(other).numpy().tolist() == other.array.numpy().tolist()


def test_dlpack_options(rng):
    x = on_cuda(rng, 2, 3)
    assert x.__dlpack_device__() == (2, 0)
    for stream in (None, -1, 1, medkern.cuda.Stream().pointer):
        x.__dlpack__(stream=stream)
    for stream in (0, -2):
        with pytest.raises(ValueError, match="stream must be -1"):
            x.__dlpack__(stream=stream)
    with pytest.raises(TypeError, match="stream must be an int or None"):
        x.__dlpack__(stream="default")
    np.testing.assert_array_equal(np.from_dlpack(OnHost(x)), x.numpy())
    with pytest.raises(BufferError, match="has to be copied"):
        x.__dlpack__(dl_device=(1, 0), copy=False)
    assert _C.Array(OnDevice(medkern.tensor([1.0, 2.0]))).numpy().tolist() == [1, 2]


class OnHost(OtherLibrary):
    """Asked for on the CPU whatever the consumer wants."""

    def __init__(self, array):
        super().__init__(array)

    def __dlpack_device__(self):
        return (1, 0)

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**{**options, "dl_device": (1, 0), "stream": None})


class OnDevice(OnHost):
    """Asked for on the first CUDA device."""

    def __dlpack_device__(self):
        return (2, 0)

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**{**options, "dl_device": (2, 0)})


def test_the_cuda_array_interface(rng):
    x = on_cuda(rng, 2, 3, 4, 5)
    part = x.array.with_layout((2, 3), (60, 20), 7)

    class Other:
        __cuda_array_interface__ = part.__cuda_array_interface__

    about = Other.__cuda_array_interface__
    assert about["version"] == 3 and about["typestr"] == "<f4" and about["shape"] == (2, 3)
    assert about["strides"] == (240, 80) and about["stream"] == 1
    assert x.__cuda_array_interface__["strides"] is None
    shared = _C.Array(Other())
    assert shared.device == "cuda:0"
    np.testing.assert_array_equal(shared.numpy(), part.numpy())
    _C.fill(shared, 3)
    assert (part.numpy() == 3).all()
    np.testing.assert_array_equal(medkern.tensor(Other()).numpy(), part.numpy())
    assert not hasattr(medkern.tensor([1.0]), "__cuda_array_interface__")


@pytest.mark.skipif(medkern.cuda.is_available() and medkern.cuda.device_count() < 2, reason="one device")
def test_the_cuda_array_interface_is_on_the_device_of_its_memory(rng):
    x = medkern.tensor(rng.standard_normal((2, 3)), device="cuda:1")

    class Other:
        __cuda_array_interface__ = x.__cuda_array_interface__

    for default in ("cpu", "cuda:0", "cuda:1"):
        with medkern.device(default):
            shared = _C.Array(Other())
        assert shared.device == "cuda:1"
        np.testing.assert_array_equal(shared.numpy(), x.numpy())
    empty = medkern.zeros((0, 3), device="cuda:1").__cuda_array_interface__
    assert _C.Array(type("Empty", (), {"__cuda_array_interface__": empty})()).shape == (0, 3)


@pytest.mark.skipif(medkern.cuda.is_available() and medkern.cuda.device_count() < 2, reason="one device")
def test_the_callers_own_device_stays_as_it_is(rng):
    runtime = ctypes.CDLL(os.environ.get("MEDKERN_CUDA_EMULATOR", "libcudart.so.12"))
    now = ctypes.c_int()

    def current():
        assert runtime.cudaGetDevice(ctypes.byref(now)) == 0
        return now.value

    for mine in (0, 1, 0):
        assert runtime.cudaSetDevice(mine) == 0
        for other in ("cuda:0", "cuda:1"):
            x = medkern.tensor(rng.standard_normal((4, 3), np.float32), device=other)
            y = functional.softmax(x @ medkern.ones((3, 3), device=other), 1)
            assert y.device == other and current() == mine
            np.testing.assert_allclose(y.numpy(), 1 / 3, rtol=1e-6)
            with medkern.cuda.Stream(other) as stream:
                functional.exp(x)
            stream.synchronize()
            del x, y
            assert current() == mine
            with pytest.raises(medkern.DeviceError, match="there is no device"):
                medkern.zeros((1,), device="cuda:99")
            assert current() == mine


@pytest.mark.parametrize(
    "change, message",
    [
        ({"mask": 1}, "has a mask"),
        ({"data": (64, False)}, "no CUDA device has the memory at its address"),
        ({"strides": (-4,)}, "negative strides"),
        ({"strides": (4, 4)}, "a stride for each dimension"),
        ({"typestr": "<c8"}, "unsupported dtype"),
    ],
)
def test_a_wrong_cuda_array_interface(rng, change, message):
    class Other:
        __cuda_array_interface__ = on_cuda(rng, 2).__cuda_array_interface__ | change

    with pytest.raises((TypeError, ValueError), match=message):
        _C.Array(Other())


# ---------------------------------------------------------------- streams, events, memory


def test_streams(rng):
    stream = medkern.cuda.Stream()
    before = medkern.cuda.current_stream()
    assert before.pointer == 0
    x = on_cuda(rng, 64)
    with stream:
        assert medkern.cuda.current_stream() == stream
        stream.wait_stream(before)
        y = functional.square(x)
        with medkern.cuda.Stream() as inner:
            assert medkern.cuda.current_stream() == inner
        assert medkern.cuda.current_stream() == stream
    assert medkern.cuda.current_stream() == before
    before.wait_stream(stream)
    np.testing.assert_allclose(y.numpy(), x.numpy() ** 2, rtol=1e-6)
    stream.synchronize()
    pointer = stream.pointer
    del stream, inner
    assert pointer in {medkern.cuda.Stream().pointer for _ in range(1)} | {
        s.pointer for s in [medkern.cuda.Stream() for _ in range(3)]
    }


def test_memory_used_on_several_streams_is_freed(rng):
    medkern.cuda.synchronize()
    before = medkern.cuda.memory_stats()["in use"]
    stream = medkern.cuda.Stream()
    x = on_cuda(rng, 1024)
    with stream:
        stream.wait_stream(medkern.cuda.Stream(pointer=0))
        y = functional.add(x, x)
        del x
    z = functional.add(y, y)
    del y
    assert medkern.cuda.memory_stats()["in use"] - before == 4096
    medkern.cuda.reset_peak_memory_stats()
    assert medkern.cuda.max_memory_allocated() == before + 4096
    del z
    assert medkern.cuda.memory_stats()["in use"] == before
    medkern.cuda.empty_cache()
    assert medkern.cuda.memory_stats()["cached"] == 0


def test_events():
    begin, end = medkern.cuda.Event(), medkern.cuda.Event()
    begin.record()
    medkern.zeros((8,), device="cuda")
    end.record()
    assert begin.elapsed_time(end) >= 0


def test_properties():
    properties = medkern.cuda.get_device_properties()
    assert properties["multiprocessors"] > 0 and properties["memory_bytes"] > 0
    assert properties["name"] and len(properties["compute_capability"]) == 2
    with pytest.raises(ValueError, match="must be a CUDA device"):
        medkern.cuda.get_device_properties("cpu")


# ---------------------------------------------------------------- models


def small_network():
    # A bias before a batch norm has no gradient but rounding errors, and AdamW would make steps of them.
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 3, 3, padding=1),
    )


def twins(make):
    """The same network on the CPU and on a CUDA device."""
    first, second = make(), make()
    second.load_state_dict(first.state_dict())
    return first, second.to("cuda")


def close(network, other, tolerance=2e-5):
    for (name, a), (_, b) in zip(network.state_dict().items(), other.state_dict().items(), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=tolerance, atol=tolerance, err_msg=name)


def test_modules_move_with_gradients_and_back(rng):
    network = small_network()
    network(medkern.tensor(rng.standard_normal((1, 1, 4, 4), np.float32))).sum().backward()
    grads = [p.grad.numpy().copy() for p in network.parameters()]
    values = [x.numpy().copy() for x in network.state_dict().values()]
    assert network.to("cuda") is network
    assert {x.device for x in (*network.parameters(), *network.buffers())} == {"cuda:0"}
    for p, grad in zip(network.parameters(), grads, strict=True):
        np.testing.assert_array_equal(p.grad.numpy(), grad)
    network.to("cpu", "float64")
    assert network[0].weight.device == "cpu" and network[0].weight.dtype == np.float64
    for x, value in zip(network.state_dict().values(), values, strict=True):
        np.testing.assert_array_equal(x.numpy(), value)


@pytest.mark.parametrize(
    "make", [lambda p: optim.SGD(p, lr=0.1, momentum=0.9), lambda p: optim.AdamW(p, lr=0.01)]
)
def test_training_steps_equal_those_of_the_cpu(rng, make):
    networks = twins(small_network)
    optimizers = [make(network.parameters()) for network in networks]
    for _ in range(2):
        x = rng.standard_normal((2, 1, 8, 8), np.float32)
        y = rng.integers(0, 3, (2, 4, 4))
        found = []
        for network, optimizer in zip(networks, optimizers, strict=True):
            device = network[0].weight.device
            loss = losses.DiceCELoss()(
                network(medkern.tensor(x, device=device)), medkern.tensor(y, device=device)
            )
            optimizer.zero_grad()
            loss.backward()
            optim.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            found.append(loss.item())
        np.testing.assert_allclose(*found, rtol=2e-5)
    close(*networks)
    # The optimizer's state follows its parameters.
    networks[1].cpu()
    networks[1](medkern.tensor(x)).sum().backward()
    optimizers[1].step()
    state = optimizers[1].state_dict()
    optimizers[0].load_state_dict(state)


def test_trainer_on_a_device(rng, tmp_path):
    x = rng.standard_normal((6, 1, 8, 8)).astype(np.float32)
    y = (x[:, 0, ::2, ::2] > 0).astype(np.int64)
    histories = []
    for device in ("cpu", "cuda"):
        medkern.random.manual_seed(3)
        trainer = medkern.Trainer(
            small_network(), losses.CrossEntropyLoss(), None, metrics=None, device=device
        )
        trainer.optimizer = optim.SGD(trainer.model.parameters(), lr=0.05)
        assert trainer.device == ("cpu" if device == "cpu" else "cuda:0")
        loader = data.DataLoader(list(zip(x, y, strict=True)), batch_size=2)
        checkpoint = tmp_path / f"{device}.safetensors"
        histories.append(trainer.fit(loader, loader, epochs=2, progress=False, checkpoint=checkpoint))
        prediction = trainer.predict(x)
        assert prediction.shape == (6, 3, 4, 4)
    for first, second in zip(*histories, strict=True):
        np.testing.assert_allclose(first["loss"], second["loss"], rtol=1e-4)
        np.testing.assert_allclose(first["val_loss"], second["val_loss"], rtol=1e-4)


def test_a_loss_that_is_not_finite_ends_training_on_a_device():
    trainer = medkern.Trainer(nn.Linear(1, 1), losses.mse_loss, None, device="cuda")
    trainer.optimizer = optim.SGD(trainer.model.parameters(), lr=0.05)
    batch = np.full((1, 1), np.inf, np.float32)
    with pytest.raises(FloatingPointError, match="a lower learning rate"):
        trainer.fit([(batch, batch)], epochs=1, progress=False)


def test_compiled_models_become_graphs(rng):
    network = small_network().eval().to("cuda")
    x = rng.standard_normal((2, 1, 8, 8), np.float32)
    expected = network(medkern.tensor(x, device="cuda")).numpy()
    compiled = medkern.compile(network, x)
    for number in range(4):
        result = compiled(x)
        assert result.device == "cuda:0"
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-5, atol=1e-5)
        (program,) = compiled._programs.values()
        assert program._bound.is_graph == (number > 0)
    stream = medkern.cuda.Stream()
    with stream:
        np.testing.assert_allclose(compiled(medkern.tensor(2 * x)).numpy()[0], compiled(2 * x[:1]).numpy()[0])
    np.testing.assert_allclose(compiled(x).numpy(), expected, rtol=1e-5, atol=1e-5)


class Text(nn.Module):
    """All that recurrent models need: several layers, both directions, a state, a cell, lengths."""

    def __init__(self, kind):
        super().__init__()
        self.layers = kind(3, 4, num_layers=2, bidirectional=True, batch_first=True)
        self.last = kind(8, 5)
        self.cell = nn.GRUCell(5, 2)

    def forward(self, x, lengths=None):
        y, state = self.layers(x, lengths=lengths)
        z, _ = self.last(functional.permute(y, (1, 0, 2)))
        return self.cell(z[-1]), y, state[0] if isinstance(state, tuple) else state


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_models_become_graphs(rng, kind):
    model = Text(kind).eval().to("cuda")
    for lengths in ((), (np.array([6, 2]),)):
        x = rng.standard_normal((2, 6, 3), np.float32)
        compiled = medkern.compile(model, (x, *lengths) if lengths else x)
        for number in range(3):
            x = rng.standard_normal((2, 6, 3), np.float32)
            with medkern.no_grad():
                expected = model(medkern.tensor(x, device="cuda"), *lengths)
            for found, wanted in zip(compiled(x, *lengths), expected, strict=True):
                np.testing.assert_array_equal(found.numpy(), wanted.numpy())
            (program,) = compiled._programs.values()
            assert program._bound.is_graph == (number > 0)


def test_arrays_at_any_address(rng):
    """What a program was recorded for was aligned; what comes may not be."""
    shape, weight = (2, 8, 5, 6), rng.standard_normal((12, 8, 3, 3), np.float32)
    plan = _C.ConvPlan(_C.Array(weight, "cuda"), None, 2, 1, 1, 1, 1, False, 0, 0, 0)
    before = _C.outlining(True)
    try:
        image, result = (_C.empty((2, c, 5, 6), "float32", True, "cuda") for c in (8, 12))
    finally:
        _C.outlining(before)
    program = _C.Program("cuda")
    x, y = program.slot(image), program.slot(result, True)
    program.record(plan.run, x, False, y)
    memory = _C.Array(rng.standard_normal(481, np.float32), "cuda")
    for _ in range(3):
        results = []
        for offset in (1, 0):
            given = memory.with_layout(shape, (240, 1, 48, 8), offset)
            assert given.is_channels_last
            (found,) = program.run_plain([given])
            expected = kernels.conv2d(given.numpy(), weight, padding=1)
            np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=2e-5)
            results.append(found.numpy())
        assert (results[0] != results[1]).any()
    assert program.is_graph


def test_weights_go_between_devices_in_files(tmp_path):
    network, other = small_network().to("cuda"), small_network()
    medkern.io.weights.save_weights(network, tmp_path / "w.safetensors")
    medkern.io.weights.load_weights(other, tmp_path / "w.safetensors")
    close(network, other, 0)


def test_an_index_out_of_range_is_reported(rng):
    logits = on_cuda(rng, 2, 3)
    with pytest.raises(ValueError, match="target"):
        losses.cross_entropy(logits, np.array([0, 3])).item()
    assert np.isfinite(losses.cross_entropy(logits, np.array([0, 2])).item())
