"""Arrays cross between medkern and PyTorch on one GPU, with streams in order; skipped without a GPU."""

import gc
import warnings

import numpy as np
import pytest

import medkern
from medkern import _C, kernels

if not medkern.cuda.is_available() or medkern.cuda.get_device_properties()["emulated"]:
    pytest.skip("needs a GPU", allow_module_level=True)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("this PyTorch sees no GPU", allow_module_level=True)

pytestmark = [pytest.mark.cuda, pytest.mark.filterwarnings("default")]

LONG = 100_000_000  # cycles, some 50 ms: what doesn't wait for them comes first
COUNT = 1 << 20


class Interface:
    """What offers `__cuda_array_interface__` alone."""

    def __init__(self, owner):
        self.owner = owner
        self.__cuda_array_interface__ = owner.__cuda_array_interface__


@pytest.fixture(autouse=True)
def exact_products():
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("through", [lambda x: x, Interface], ids=["dlpack", "interface"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8])
def test_memory_of_torch_is_shared(through, dtype):
    theirs = torch.arange(6, device="cuda", dtype=dtype).reshape(2, 3)
    ours = _C.Array(through(theirs))
    assert ours.device == "cuda:0" and ours.shape == (2, 3)
    assert ours.__cuda_array_interface__["data"][0] == theirs.data_ptr()
    np.testing.assert_array_equal(ours.numpy(), np.arange(6).reshape(2, 3))
    _C.fill(ours, 1)
    medkern.cuda.synchronize()
    assert (theirs == 1).all().item()


@pytest.mark.parametrize(
    "take",
    [torch.from_dlpack, lambda x: torch.as_tensor(Interface(x), device="cuda")],
    ids=["dlpack", "interface"],
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
def test_memory_of_medkern_is_shared(take, dtype):
    ours = medkern.tensor(np.arange(6).reshape(2, 3).astype(dtype), device="cuda")
    theirs = take(ours)
    assert theirs.is_cuda and theirs.shape == (2, 3)
    assert theirs.data_ptr() == ours.__cuda_array_interface__["data"][0]
    theirs.mul_(2)
    torch.cuda.synchronize()
    np.testing.assert_array_equal(ours.numpy(), 2 * np.arange(6).reshape(2, 3))


def test_layouts_are_kept():
    theirs = torch.randn(2, 3, 4, 5, device="cuda").to(memory_format=torch.channels_last)
    assert _C.Array(theirs).is_channels_last
    assert kernels.relu(theirs).is_contiguous(memory_format=torch.channels_last)
    part = theirs[:, 1:, ::2]
    np.testing.assert_array_equal(_C.Array(part).numpy(), part.cpu().numpy())
    empty = torch.empty(0, 3, device="cuda")
    assert _C.Array(empty).shape == (0, 3) and kernels.relu(empty).shape == (0, 3)


def test_kernels_take_and_give_tensors_of_torch():
    functional = torch.nn.functional
    x, weight = torch.randn(2, 8, 16, 16, device="cuda"), torch.randn(12, 8, 3, 3, device="cuda")
    for found, expected in [
        (kernels.conv2d(x, weight, padding=1), functional.conv2d(x, weight, padding=1)),
        (kernels.max_pool2d(x, 2), functional.max_pool2d(x, 2)),
        (kernels.softmax(x, 1), torch.softmax(x, 1)),
    ]:
        assert isinstance(found, torch.Tensor) and found.device == x.device
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_medkern_waits_for_a_stream_of_torch():
    side = torch.cuda.Stream()
    theirs = torch.zeros(COUNT, device="cuda")
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(LONG)
        theirs.fill_(3)
        ours = _C.Array(theirs)  # asked for while `side` is current
    result = kernels.relu(ours)  # on the default stream
    assert (result.numpy() == 3).all()


def test_torch_waits_for_a_stream_of_medkern():
    stream = medkern.cuda.Stream()
    outside = torch.cuda.ExternalStream(stream.pointer)
    ours = medkern.tensor(np.ones(COUNT, np.float32), device="cuda")
    medkern.cuda.synchronize()
    with torch.cuda.stream(outside):
        torch.cuda._sleep(LONG)
    with stream:
        result = kernels.add(ours.array, ours.array)
        theirs = torch.from_dlpack(result)  # waited for by torch's current stream, the default one
    assert (theirs == 2).all().item()


def test_work_on_streams_of_the_other_library():
    side = torch.cuda.Stream()
    with torch.cuda.stream(side), medkern.cuda.Stream(pointer=side.cuda_stream):
        theirs = torch.ones(COUNT, device="cuda")
        torch.cuda._sleep(LONG)
        theirs.add_(1)
        result = kernels.add(theirs, theirs)
        result.add_(1)
    side.synchronize()
    assert (result == 5).all().item()
    medkern.cuda.synchronize()


def test_memory_lives_as_long_as_either_needs_it():
    theirs = torch.full((COUNT,), 7.0, device="cuda")
    ours = _C.Array(theirs)
    del theirs
    gc.collect()
    others = [torch.zeros(COUNT, device="cuda") for _ in range(4)]
    assert (ours.numpy() == 7).all() and len(others) == 4

    medkern.cuda.synchronize()
    before = medkern.cuda.memory_stats()["in use"]
    x = medkern.tensor(np.full(COUNT, 5, np.float32), device="cuda")
    theirs = torch.from_dlpack(x)
    del x
    gc.collect()
    assert medkern.cuda.memory_stats()["in use"] - before == 4 * COUNT
    assert (theirs == 5).all().item()
    del theirs
    gc.collect()
    assert medkern.cuda.memory_stats()["in use"] == before


def test_gradients_cross():
    """A step by hand: torch computes a loss of what medkern gave, medkern goes on with its gradient."""
    rng = np.random.default_rng(0)
    layer = medkern.nn.Linear(4, 3).to("cuda")
    y = layer(medkern.tensor(rng.standard_normal((5, 4), np.float32), device="cuda"))
    theirs = torch.from_dlpack(y.detach()).clone().requires_grad_()
    theirs.square().sum().backward()
    y.backward(medkern.tensor(theirs.grad))
    expected = 2 * y.numpy().sum(0)
    np.testing.assert_allclose(layer.bias.grad.numpy(), expected, rtol=1e-5, atol=1e-5)
