"""Barriers, copies of boxes and products of warpgroups (cuda/hopper.h) do what the PTX manual says.

In the emulator and on a GPU of compute capability 9.0 if there is one; and the emulator shows their faults.
"""

import ctypes
from ctypes import byref, c_int, c_int32, c_uint32, c_uint64, c_void_p

import numpy as np
import pytest
from emulator import ROOT
from launcher import EVERYWHERE, Buffer, CudaError, open_device, open_emulator

SOURCE = ROOT / "tests" / "cuda" / "hopper.cu"
TYPES = {"f16": (6, np.uint16), "bf16": (9, np.uint16), "tf32": (11, np.float32)}  # the driver's numbers
SWIZZLE_128 = 3


class _Args(ctypes.Structure):
    """HopperArgs of hopper.cu."""

    _fields_ = [("a", c_uint64 * 16), ("b", c_uint64 * 16), ("out", c_void_p)]
    _fields_ += [(name, c_int32) for name in ("x", "y", "z", "number")]
    _fields_ += [("rest", c_int32 * 10)]  # to a multiple of 64 bytes


@pytest.fixture
def emulated():
    return open_emulator(SOURCE)


@pytest.fixture(params=EVERYWHERE)
def device(request):
    """The emulator under each schedule, then the GPU."""
    return open_device(request.param, SOURCE, "sm_90a")


def encode(device, kind, buffer, sizes, strides, box, swizzle=SWIZZLE_128, steps=None):
    """A tensor map: 128 bytes, at a multiple of 64."""
    rank = len(sizes)
    function, found = c_void_p(), c_int()
    device.call(
        "cudaGetDriverEntryPoint", b"cuTensorMapEncodeTiled", byref(function), c_uint64(0), byref(found)
    )
    call = ctypes.CFUNCTYPE(c_int, c_void_p, c_int, c_uint32, *[c_void_p] * 5, *[c_int] * 4)(function.value)
    memory = (c_uint64 * 24)()
    address = -(-ctypes.addressof(memory) // 64) * 64
    arrays = [(c_uint64 * rank)(*sizes), (c_uint64 * (rank - 1))(*strides)]
    arrays += [(c_uint32 * rank)(*box), (c_uint32 * rank)(*(steps or [1] * rank))]
    status = call(address, TYPES[kind][0], rank, buffer.address, *arrays, 0, swizzle, 0, 0)
    if status != 0:
        raise CudaError(f"encoding failed with {status}")
    return (c_uint64 * 16).from_buffer_copy(ctypes.string_at(address, 128))


def tensor_of(device, kind, x, box):
    """A map of items of lines, whose numbers have the kind's bytes."""
    items, lines, inner = x.shape
    size = x.itemsize
    return encode(
        device, kind, device.put(x), (inner, lines, items), (inner * size, lines * inner * size), (*box, 1)
    )


def launch(device, name, a=None, b=None, out=None, *, at=(0, 0, 0), number=0, block=128, shared=0):
    empty = (c_uint64 * 16)()
    args = _Args(a or empty, b or empty, out.address if out else None, *at, number)
    device.launch(name, args=args, block=block, shared=shared)


def rounded(x):
    """To tf32, to nearest."""
    return (x.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)


def swizzled(lines):
    """64 lines of 128 bytes as the copy engine leaves them."""
    pieces = lines.view(np.uint32).reshape(64, 8, 4)
    wanted = np.empty_like(pieces)
    for row in range(64):
        for piece in range(8):
            wanted[row, piece ^ row % 8] = pieces[row, piece]
    return wanted


@pytest.mark.parametrize("at", [(0, 0, 0), (24, 40, 1), (-8, -3, 2), (200, 0, 0)])
@pytest.mark.parametrize("kind", ["bf16", "tf32"])
def test_box(device, rng, kind, at):
    size = 2 if kind == "bf16" else 4
    inner, lines, items = 80, 90, 3
    x = rng.normal(size=(items, lines, inner)).astype(np.float32)
    x = rounded(x) if kind == "tf32" else (x.view(np.uint32) >> 16).astype(np.uint16)
    count = 128 // size
    out = Buffer(device, 64 * 128)
    tensor = tensor_of(device, kind, x, (count, 64))
    launch(device, "test_box", tensor, None, out, at=at, shared=64 * 128 + 16)
    padded = np.zeros((64, count), x.dtype)
    rows, columns = np.meshgrid(np.arange(64) + at[1], np.arange(count) + at[0], indexing="ij")
    inside = (rows >= 0) & (rows < lines) & (columns >= 0) & (columns < inner) & (at[2] < items)
    padded[inside] = x[min(at[2], items - 1)][rows[inside], columns[inside]]
    np.testing.assert_array_equal(out.read(np.uint32, (64, 8, 4)), swizzled(padded))


GRID = (2, 3, 9, 11, 48)  # of a tensor of five axes, the last of them contiguous


def grid_of(device, x, box, steps=(1, 1, 1, 1)):
    strides = np.cumprod(x.shape[:0:-1]) * x.itemsize
    reach = [places * step for places, step in zip(box, steps, strict=True)]
    return encode(device, "bf16", device.put(x), x.shape[::-1], strides, (64, *reach), steps=(1, *steps))


@pytest.mark.parametrize("at", [(0, 0, 0), (-1, -2, 1), (7, 5, 2), (-3, 8, -1)])
@pytest.mark.parametrize(
    "box, steps", [((8, 8, 1, 1), (1, 1, 1, 1)), ((4, 8, 2, 1), (2, 1, 1, 1)), ((8, 2, 2, 2), (1, 3, 2, 1))]
)
def test_box_of_five_axes(device, rng, box, steps, at):
    x = rng.integers(1, 1 << 16, GRID).astype(np.uint16)
    out = Buffer(device, 64 * 128)
    launch(device, "test_grid_box", grid_of(device, x, box, steps), None, out, at=at, shared=64 * 128 + 16)
    wanted = np.zeros((*box[::-1], 64), np.uint16)
    for place in np.ndindex(*box[::-1]):
        where = [p * s + a for p, s, a in zip(place, steps[::-1], (1, *at[::-1]), strict=True)]
        if all(0 <= w < size for w, size in zip(where, GRID[:4], strict=True)):
            wanted[place][:48] = x[tuple(where)]
    np.testing.assert_array_equal(out.read(np.uint32, (64, 8, 4)), swizzled(wanted.reshape(64, 64)))


def test_box_rounds_to_tf32(device, rng):
    x = rng.normal(size=(1, 64, 32)).astype(np.float32)
    out = Buffer(device, 64 * 128)
    launch(device, "test_box", tensor_of(device, "tf32", x, (32, 64)), None, out, shared=64 * 128 + 16)
    got = np.sort(out.read().ravel())
    assert np.all(got.view(np.uint32) & 0x1FFF == 0)
    np.testing.assert_allclose(got, np.sort(x.ravel()), rtol=2.0**-11)


def numbers_of(kind, x):
    if kind == "tf32":
        return x.astype(np.float32)
    if kind == "f16":
        return x.astype(np.float16).view(np.uint16)
    return (x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def multiply(device, name, a, b, number=0):
    """`a` (64, k) and `b` (columns, k)."""
    _, _, kind, columns, layout = name.split("_")
    maps = []
    for x, axis in zip((a, b), layout, strict=True):
        x = numbers_of(kind, x if axis == "k" else x.T)[None]
        lines = 64 if axis == "r" else x.shape[1]
        maps.append(tensor_of(device, kind, np.ascontiguousarray(x), (128 // x.itemsize, lines)))
    out = Buffer(device, 4 * 64 * int(columns))
    launch(device, name, *maps, out, number=number, shared=(64 + int(columns)) * 128 + 16)
    return out.read(np.float32, (64, int(columns)))


PRODUCTS = [
    f"test_product_{name}"
    for name in ["bf16_256_kk", "bf16_256_kr", "bf16_64_rk", "f16_128_rr", "f16_64_kk", "tf32_128_kk"]
]


def operands(rng, name):
    columns, k = int(name.split("_")[3]), 32 if "tf32" in name else 64
    return (rng.integers(-8, 9, (rows, k)).astype(np.float32) for rows in (64, columns))


@pytest.mark.parametrize("name", PRODUCTS)
def test_product_of_a_warpgroup(device, rng, name):
    a, b = operands(rng, name)
    np.testing.assert_array_equal(multiply(device, name, a, b), a @ b.T)


@pytest.mark.parametrize("turns", [1, 2, 7])
def test_turns(device, turns):
    out = Buffer(device, turns * 512)
    launch(device, "test_turns", out=out, at=(turns, 0, 0), block=256, shared=1024)
    wanted = np.arange(turns)[:, None] * 1000 + np.arange(127, -1, -1)
    np.testing.assert_array_equal(out.read(np.uint32, (turns, 128)), wanted)


# ---------------------------------------------------------------- faults, which the emulator shows


@pytest.fixture(params=[(0, 0), (1, 0), (2, 1)])
def faulty(request, emulated):
    emulated.runtime.medkern_emulator_set_schedule(*request.param)
    yield emulated
    emulated.runtime.medkern_emulator_set_schedule(0, 0)


@pytest.mark.parametrize(
    "number, message",
    [
        (1, "an mbarrier that was made without fence_proxy_async"),
        (3, "more bytes came than an mbarrier expects"),
        (4, "no thread can go on(.|\n)*waiting for an mbarrier"),
    ],
)
def test_faults_of_boxes(faulty, number, message):
    x = np.ones((1, 64, 64), np.uint16)
    tensor = tensor_of(faulty, "bf16", x, (64, 64))
    with pytest.raises(CudaError, match=message):
        launch(faulty, "test_box", tensor, None, Buffer(faulty, 8192), number=number, shared=8208)


def test_box_that_is_not_waited_for(faulty):
    out = Buffer(faulty, 8192)
    tensor = tensor_of(faulty, "tf32", np.ones((1, 64, 32), np.float32), (32, 64))
    launch(faulty, "test_box", tensor, None, out, number=2, shared=8208)
    assert np.isnan(out.read()).any()


def test_box_of_five_axes_that_is_not_waited_for(faulty):
    x = np.ones(GRID, np.uint16)
    out = Buffer(faulty, 8192)
    launch(faulty, "test_grid_box", grid_of(faulty, x, (8, 8, 1, 1)), None, out, number=1, shared=8208)
    assert (out.read(np.uint32, (64, 32)) == 0xFFFFFFFF).all()


def test_box_with_coordinates_of_another_rank(faulty):
    x = np.ones(GRID, np.uint16)
    with pytest.raises(CudaError, match="coordinates of another rank"):
        launch(
            faulty,
            "test_grid_box",
            grid_of(faulty, x, (8, 8, 1, 1)),
            None,
            Buffer(faulty, 8192),
            number=2,
            shared=8208,
        )


@pytest.mark.parametrize("steps", [(1, 9, 1, 1), (0, 1, 1, 1)])
def test_steps_that_the_driver_refuses(emulated, steps):
    with pytest.raises(CudaError, match="encoding failed"):
        grid_of(emulated, np.ones(GRID, np.uint16), (8, 8, 1, 1), steps)


def test_tensor_past_its_allocation(faulty):
    x = faulty.put(np.ones((64, 64), np.uint16))
    tensor = encode(faulty, "bf16", x, (64, 65, 1), (128, 65 * 128), (64, 64, 1))
    with pytest.raises(
        CudaError, match="copy_box of a tensor of 8320 bytes that begins at an allocation of 8192"
    ):
        launch(faulty, "test_box", tensor, None, Buffer(faulty, 8192), shared=8208)


@pytest.mark.parametrize(
    "sizes, strides, box",
    [
        ((64, 64, 1), (120, 8192), (64, 64, 1)),  # no multiple of 16 bytes
        ((64, 64, 1), (128, 8192), (128, 64, 1)),  # lines longer than the swizzle spans
        ((64, 64, 1), (128, 8192), (64, 257, 1)),
        ((64, 0, 1), (128, 8192), (64, 64, 1)),
    ],
)
def test_tensor_that_the_driver_refuses(emulated, sizes, strides, box):
    with pytest.raises(CudaError, match="encoding failed"):
        encode(emulated, "bf16", Buffer(emulated, 8192), sizes, strides, box)


@pytest.mark.parametrize(
    "number, message",
    [
        (1, "sums that were the threads' own, without wgmma_fence"),
        (2, "sums were written to before their wgmma was waited for"),
        (3, "returns before its last wgmma_wait"),
        (4, "an operand was overwritten before its wgmma was waited for"),
        (5, "written to without fence_proxy_async"),
        (7, "returns before its last wgmma_wait"),
        (8, "an operand was overwritten before its wgmma was waited for"),
    ],
)
def test_faults_of_products(faulty, rng, number, message):
    a, b = operands(rng, PRODUCTS[0])
    with pytest.raises(CudaError, match=message):
        multiply(faulty, PRODUCTS[0], a, b, number)


def test_sums_that_are_not_waited_for(faulty, rng):
    a, b = operands(rng, PRODUCTS[0])
    assert np.isnan(multiply(faulty, PRODUCTS[0], a, b, 6)).all()


def test_wrong_stride(faulty, rng):
    a, b = operands(rng, PRODUCTS[0])
    assert not np.array_equal(multiply(faulty, PRODUCTS[0], a, b, 9), a @ b.T)


def test_too_many_arrivals(faulty):
    with pytest.raises(CudaError, match="more than the 1 arrivals of an mbarrier"):
        launch(faulty, "test_arrivals", block=32, shared=64)


def test_barrier_that_nobody_made(faulty):
    with pytest.raises(CudaError, match="no mbarrier is at byte 0"):
        launch(faulty, "test_no_barrier", block=32, shared=64)


def test_block_that_leaves_with_a_copy_under_way(faulty):
    tensor = tensor_of(faulty, "bf16", np.ones((1, 64, 64), np.uint16), (64, 64))
    with pytest.raises(CudaError, match="the block returns while copy_box is under way"):
        launch(faulty, "test_leaves", tensor, block=32, shared=8208)
