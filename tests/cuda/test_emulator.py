"""What device code is made of does what the PTX manual says, in the emulator and on a GPU if there is one."""

import numpy as np
import pytest
from emulator import ROOT
from launcher import EVERYWHERE, open_device, open_emulator

SOURCE = ROOT / "tests" / "cuda" / "primitives.cu"


@pytest.fixture
def emulated():
    return open_emulator(SOURCE)


@pytest.fixture(params=EVERYWHERE)
def device(request):
    """The emulator under each schedule, then the GPU."""
    return open_device(request.param, SOURCE)


def bits(x):
    return np.asarray(x, np.float32).view(np.uint32)


def small_integers(rng, *shape):
    return rng.integers(-8, 9, shape).astype(np.float32)


def test_threads_know_their_places(device):
    out = device.put(np.zeros(2 * 3 * 4 * 5 * 3 * 2, np.uint32))
    device.launch("test_places", None, None, out, grid=(2, 3, 4), block=(5, 3, 2))
    z, y, x, tz, ty, tx = np.indices((4, 3, 2, 2, 3, 5))
    wanted = tx + 10 * ty + 100 * tz + 1000 * x + 10000 * y + 100000 * z
    np.testing.assert_array_equal(out.read(np.uint32), wanted.ravel())


@pytest.mark.parametrize("width", [32, 16, 8])
@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.float32, np.float64, np.int64])
def test_shuffle(device, rng, dtype, width):
    x = (rng.normal(size=64) * 1e6).astype(dtype) if np.dtype(dtype).kind == "f" else rng.integers(1, 99, 64)
    x = x.astype(dtype)
    out = device.put(np.zeros((64, 4), dtype))
    name = f"test_shuffle_{np.dtype(dtype).kind}{np.dtype(dtype).itemsize * 8}"
    device.launch(name, device.put(x), None, out, block=64, number=width)
    lane = np.arange(32)
    begin, end = lane // width * width, lane // width * width + width
    sources = [
        begin + (lane * 7 + 3) % width,
        np.where(lane - 3 < begin, lane, lane - 3),
        np.where(lane + 5 >= end, lane, lane + 5),
        np.where(lane ^ 9 >= end, lane, lane ^ 9),
    ]
    wanted = np.concatenate([np.stack([x[warp + s] for s in sources], 1) for warp in (0, 32)])
    np.testing.assert_array_equal(out.read(dtype, (64, 4)), wanted)


@pytest.mark.parametrize("low, high", [(-9, 10), (-4, 6), (6, 9)])
def test_votes(device, rng, low, high):
    x = rng.integers(low, high, 64).astype(np.int32)
    out = device.put(np.zeros((64, 6), np.uint32))
    device.launch("test_votes", device.put(x), None, out, block=64)
    wanted = []
    for warp in (x[:32], x[32:]):
        ballot = sum(1 << i for i in range(32) if warp[i] > 0)
        row = [ballot, (warp > 5).any(), (warp > -5).all(), (x > 0).sum(), (x > 5).any(), (x > -5).all()]
        wanted += [row] * 32
    np.testing.assert_array_equal(out.read(np.uint32, (64, 6)), np.array(wanted, np.uint32))


def test_shuffle_of_half_a_warp(device):
    out = device.put(np.zeros(32, np.int32))
    device.launch("test_half_warp", None, None, out)
    lane = np.arange(32)
    np.testing.assert_array_equal(out.read(np.int32), np.where(lane % 2 == 0, lane ^ 2, lane))


def test_atomics(device, rng):
    x = rng.integers(1, 1000, 512).astype(np.int32)
    start = np.array([0, 0, 9999, 0, 0, 0, 0, 0], np.int32)
    out = device.put(start)
    device.launch("test_atomics", device.put(x), None, out, grid=2, block=256)
    got = out.read(np.int32)
    assert got[0] == x.sum() and got[1] == x.max() and got[2] == x.min() and got[5] == 512
    assert np.uint32(got[3]) == np.bitwise_or.reduce(np.uint32(1) << (x % 32).astype(np.uint32))
    assert got[4] == 5
    assert got[6:8].view(np.int64)[0] == int(x.sum()) << 32


def test_schedules_differ(emulated):
    orders = set()
    for kind, seed in [(0, 0), (1, 0), (2, 1), (2, 2)]:
        emulated.runtime.medkern_emulator_set_schedule(kind, seed)
        x, counter = emulated.put(np.arange(512, dtype=np.int32)), emulated.put(np.zeros(1, np.uint32))
        out = emulated.put(np.zeros(512, np.int32))
        emulated.launch("test_order", x, counter, out, grid=2, block=256)
        got = out.read(np.int32)
        np.testing.assert_array_equal(np.sort(got), np.arange(512))
        orders.add(tuple(got))
    assert len(orders) == 4
    assert tuple(range(512)) in orders and tuple(range(511, -1, -1)) in orders


@pytest.mark.parametrize("threads", [1, 31, 32, 100, 256])
@pytest.mark.parametrize("rounds", [1, 4])
def test_barrier(device, rng, threads, rounds):
    x = small_integers(rng, threads)
    out = device.put(np.zeros(threads, np.float32))
    device.launch("test_barrier", device.put(x), None, out, block=threads, number=rounds, shared=4 * threads)
    wanted = (x if rounds % 2 == 0 else x[::-1]) + rounds
    np.testing.assert_array_equal(out.read(), wanted)


def multiply(device, kind, a, b, d):
    """`a` (16, 8) and `b` (8 columns, 8) words."""
    out = device.put(d.astype(np.float32))
    device.launch(f"test_product_{kind}", device.put(a), device.put(b), out)
    return out.read(np.float32, (16, 8))


def pairs(x, kind):
    """Rows of numbers as words of two, the first in the lower half."""
    halves = x.astype(np.float16).view(np.uint16) if kind == "f16" else (bits(x) >> 16).astype(np.uint16)
    return np.ascontiguousarray(halves).view(np.uint32)


def test_product_of_tf32(device, rng):
    a, b, d = small_integers(rng, 16, 8), small_integers(rng, 8, 8), small_integers(rng, 16, 8)
    got = multiply(device, "tf32", bits(a), bits(b.T.copy()), d)
    np.testing.assert_array_equal(got, a @ b + d)


def test_product_of_tf32_cuts_the_lowest_bits(device):
    a, b = np.zeros((16, 8), np.uint32), np.zeros((8, 8), np.uint32)
    a[:, 0], b[:, 0] = bits(1) | 0x1FFF, bits(3) | 0x1FFF
    got = multiply(device, "tf32", a, b, np.zeros((16, 8)))
    np.testing.assert_array_equal(got, np.full((16, 8), 3))


@pytest.mark.parametrize("kind", ["bf16", "f16"])
def test_product_of_pairs(device, rng, kind):
    a, b, d = small_integers(rng, 16, 16), small_integers(rng, 16, 8), small_integers(rng, 16, 8)
    got = multiply(device, kind, pairs(a, kind), pairs(b.T, kind), d)
    np.testing.assert_array_equal(got, a @ b + d)


def test_product_of_unusual_f16(device):
    """Subnormal, largest, infinite and no number."""
    values = [5.960464477539063e-08, 6.097555160522461e-05, 65504.0, -65504.0, np.inf, np.nan]
    a, b = np.zeros((16, 16), np.float16), np.zeros((8, 16), np.float16)
    a[: len(values), 0], b[:, 0] = values, 1
    got = multiply(device, "f16", a.view(np.uint32), b.view(np.uint32), np.zeros((16, 8)))
    np.testing.assert_array_equal(got[: len(values), 3], np.array(values, np.float32))


def test_load_matrix(device, rng):
    x = rng.integers(0, 65536, (4, 8, 8)).astype(np.uint16)
    out = device.put(np.zeros((2, 4, 32), np.uint32))
    device.launch("test_load_matrix", device.put(x), None, out, shared=512)
    got = out.read(np.uint32, (2, 4, 32))
    plain = x.reshape(4, 32, 2)
    transposed = np.ascontiguousarray(x.transpose(0, 2, 1)).reshape(4, 32, 2)
    for got_now, wanted in zip(got, (plain, transposed), strict=True):
        np.testing.assert_array_equal(got_now, np.ascontiguousarray(wanted).view(np.uint32)[..., 0])


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_ring_of_asynchronous_copies(device, rng, steps):
    count = steps * 128 - 64
    x = small_integers(rng, count)
    out = device.put(np.zeros(steps * 32, np.float32))
    device.launch("test_ring", device.put(x), None, out, count=count, number=steps, shared=3 * 512)
    padded = np.concatenate([x, np.zeros(64, np.float32)]).reshape(steps, 4, 32)
    np.testing.assert_array_equal(out.read(np.float32, (steps, 32)), padded.sum(1))


def test_small_asynchronous_copies(device, rng):
    x = small_integers(rng, 32)
    out = device.put(np.zeros(96, np.float32))
    device.launch("test_small_copies", device.put(x), None, out, shared=384)
    wanted = np.concatenate([np.where(np.arange(32) < 20, x, 0), x, np.zeros(32)])
    np.testing.assert_array_equal(out.read(), wanted)


@pytest.mark.parametrize("blocks", [1, 3, 8])
def test_grid_barrier(device, blocks):
    out, counter = device.put(np.zeros(blocks, np.int32)), device.put(np.zeros(1, np.uint32))
    device.launch("test_grid_barrier", None, counter, out, grid=blocks, block=64, number=5, cooperative=True)
    wanted = np.arange(blocks)
    for _ in range(5):
        wanted = wanted + np.roll(wanted, 1)
    np.testing.assert_array_equal(out.read(np.int32), wanted)


def test_rounding(device, rng):
    x = (rng.normal(size=256) * 10.0 ** rng.integers(-9, 9, 256)).astype(np.float32)
    x[:8] = [0, -0.0, np.inf, -np.inf, 1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-8, 1 + 3 * 2**-8]
    x[8:12] = [65519, 65520, 2**-25, 2**-24]
    out = device.put(np.zeros((256, 3), np.uint32))
    device.launch("test_rounding", device.put(x), None, out, block=256)
    got = out.read(np.uint32, (256, 3))
    finite = np.isfinite(x)
    # tf32: to nearest, ties away from 0; the lowest 13 bits of the result are not looked at.
    wanted = np.where(finite, bits(x) + np.uint32(0x1000), bits(x)) & np.uint32(0xFFFFE000)
    np.testing.assert_array_equal(got[:, 0] & np.uint32(0xFFFFE000), wanted)
    # bf16: ties to even.
    even = bits(x) + np.uint32(0x7FFF) + ((bits(x) >> 16) & 1)
    np.testing.assert_array_equal(got[:, 1], np.where(finite, even, bits(x)) >> 16)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(got[:, 2] >> 16, x.astype(np.float16).view(np.uint16))


def test_arithmetic(device, rng):
    x = rng.integers(0, 2**32, 256, dtype=np.uint64).astype(np.uint32)
    x[:5] = [0, 1, 0xFFFFFFFF, 0x7FC00000, 0x80000000]
    out = device.put(np.zeros((256, 10), np.uint32))
    device.launch("test_arithmetic", device.put(x), None, out, block=256)
    f, one = x.view(np.float32), np.float32(1)
    text = [f"{int(v):032b}" for v in x]
    wanted = [
        [t.count("1") for t in text],
        [len(t) - len(t.lstrip("0")) for t in text],
        [t[::-1].find("1") + 1 for t in text],
        (x.astype(np.uint64) * 0x9E3779B9) >> 32,
        [int(t[::-1], 2) for t in text],
        bits(np.fmax(f, one)),
        bits(np.fmin(f, one)),
        np.minimum(x.view(np.int32), 5).view(np.uint32),
        np.maximum(x, 5),
        (x & 0xFFFFFF) | np.uint32(0x01000000),
    ]
    got = out.read(np.uint32, (256, 10))
    for column, values in enumerate(wanted):
        np.testing.assert_array_equal(
            got[:, column], np.asarray(values).astype(np.uint32), f"column {column}"
        )


def test_vectors(device, rng):
    x = rng.normal(size=(256, 4)).astype(np.float32)
    out = device.put(np.zeros_like(x))
    device.launch("test_vectors", device.put(x), None, out, block=256)
    np.testing.assert_array_equal(out.read(np.float32, (256, 4)), x[:, ::-1])
