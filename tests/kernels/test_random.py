import numpy as np
import pytest

import medkern
from arrays import FORMATS, channels_last
from medkern import _C, kernels
from reference import random as reference

# The known answers published with Random123 (kat_vectors, philox4x32 10): counter, key, words.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
SEEDS = [(0, 0), (1, 7), (2**64 - 1, 2**32 - 5), (0x123456789ABCDEF0, 2**63)]


def hexadecimal(text):
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize("counter,key,expected", KNOWN_ANSWERS)
def test_the_reference_gives_the_published_answers(counter, key, expected):
    assert reference.philox(hexadecimal(counter), hexadecimal(key)) == hexadecimal(expected)


def test_the_kernel_gives_the_published_answer(isa):
    words = hexadecimal(KNOWN_ANSWERS[0][2])
    u = kernels.uniform((4,), seed=0, offset=0)
    np.testing.assert_array_equal(u, np.array([w >> 8 for w in words], np.float32) / 2**24)


@pytest.mark.parametrize("seed,offset", SEEDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [0, 1, 3, 63, 64, 65, 200])
def test_uniform_is_exact(isa, seed, offset, dtype, count):
    u, after = _C.uniform((count,), dtype, seed, offset, 0.0, 1.0, None)
    np.testing.assert_array_equal(u, reference.uniform(seed, offset, count, dtype))
    assert np.asarray(u).dtype == dtype
    assert after == offset + -(-count // (4 if dtype == np.float32 else 2))


@pytest.mark.parametrize("seed,offset", SEEDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 65, 200])
def test_normal_follows_box_and_muller(isa, seed, offset, dtype, count):
    z, after = _C.normal((count,), dtype, seed, offset, 0.0, 1.0, None)
    expected = reference.normal(seed, offset, count, dtype)
    # Radius and angle are right to a few units; near a zero of sine or cosine the angle's error of
    # 2 pi units in v * 2 pi is absolute, so the radius (at most 9) carries over.
    unit = float(np.finfo(dtype).eps) / 2
    np.testing.assert_allclose(z, expected, rtol=8 * unit, atol=8 * 9 * unit)
    assert after == offset + -(-count // (4 if dtype == np.float32 else 2))


def test_every_instruction_set_and_thread_count_gives_the_same_bits():
    results = []
    threads_before, isa_before = medkern.get_num_threads(), _C.isa_active()
    x = np.linspace(-1, 1, 40001, dtype=np.float32)
    for isa in _C.isa_names():
        _C.isa_select(isa)
        for threads in (1, 2, 3):
            medkern.set_num_threads(threads)
            arrays = [
                draw((40001,), d, 5, 9) for d in ("f4", "f8") for draw in (kernels.uniform, kernels.normal)
            ]
            arrays += [*kernels.dropout(x, 0.3, 5, 9)]
            results.append([a.tobytes() for a in arrays])
    medkern.set_num_threads(threads_before)
    _C.isa_select(isa_before)
    assert all(result == results[0] for result in results)


def test_distributions():
    # 2^20 draws: the mean of z is within 5 / 2^10, its variance within 5 sqrt(2) / 2^10, with all but
    # one chance in a million; the seed is fixed anyway.
    for dtype in (np.float32, np.float64):
        z = kernels.normal((2**20,), dtype, 3, 0, 2.0, 3.0).astype(np.float64)
        assert abs((z.mean() - 2) / 3) < 5e-3 and abs(z.var() / 9 - 1) < 7e-3
        assert abs(((z - 2) / 3 < 1).mean() - 0.8413447) < 2e-3
        u = kernels.uniform((2**20,), dtype, 4, 0, -1.0, 3.0).astype(np.float64)
        assert abs(u.mean() - 1) < 6e-3 and abs(u.var() - 16 / 12) < 6e-3
        assert u.min() >= -1 and u.max() < 3
        assert len(np.unique(z)) > 0.9 * 2**20


def test_uniform_stays_below_high():
    # Half of the numbers of [0, 1) would round up to high.
    low, high = 1.0, float(np.nextafter(np.float32(1), np.float32(2)))
    assert (kernels.uniform((1000,), low=low, high=high) == 1).all()
    assert (kernels.uniform((10,), low=2.5, high=2.5) == 2.5).all()


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 17, 4), (0, 3, 2, 2)])
def test_dropout(isa, rng, shape, p, dtype, layout):
    x = layout(rng.standard_normal(shape).astype(dtype))
    before = x.copy()
    y, mask = kernels.dropout(x, p, seed=11, offset=3)
    np.testing.assert_array_equal(x, before)
    assert y.dtype == dtype and mask.dtype == np.uint8 and y.shape == mask.shape == shape
    # Words are dealt in the order of memory: channels-last here means that of the transposed array.
    keep = np.array([w >= p * 2**32 for w in reference.words(11, 3, x.size)], np.uint8)
    if layout is channels_last:
        axes = (0, *range(2, x.ndim), 1)
        keep = np.moveaxis(keep.reshape([shape[i] for i in axes]), -1, 1)
    keep = keep.reshape(shape)
    np.testing.assert_array_equal(mask, keep)
    scale = dtype(1 / (1 - p)) if p < 1 else dtype(0)
    np.testing.assert_array_equal(y, x * keep * scale)

    for dy in (layout(rng.standard_normal(shape).astype(dtype)), rng.standard_normal(shape).astype(dtype)):
        np.testing.assert_array_equal(kernels.dropout_backward(dy, mask, p), dy * keep * scale)


def test_dropout_in_place_and_nan(isa):
    x = np.array([1, np.nan, np.inf, 2] * 10, np.float32)
    expected, mask = kernels.dropout(x.copy(), 0.5)
    assert np.isnan(expected[1::4]).all()  # also where dropped: NaN * 0
    y, _ = kernels.dropout(x, 0.5, out=x)
    assert np.shares_memory(x, y)
    np.testing.assert_array_equal(x, expected)
    dy = np.ones(40, np.float32)
    kernels.dropout_backward(dy, mask, 0.5, out=dy)
    np.testing.assert_array_equal(dy, 2.0 * mask)


@pytest.mark.parametrize(
    "call,error,message",
    [
        (lambda: kernels.uniform((2,), seed=-1), ValueError, r"seed must be from 0 to 2\*\*64 - 1, got -1"),
        (lambda: kernels.uniform((2,), seed=2**64), ValueError, "seed must be from 0"),
        (lambda: kernels.uniform((2,), seed=1.5), TypeError, "seed must be an int, got 1.5"),
        (lambda: kernels.normal((2,), offset=-1), ValueError, "normal: offset must be from 0"),
        (lambda: kernels.uniform((5,), offset=2**64 - 1), ValueError, "leaves no room for 2 blocks"),
        (lambda: kernels.uniform((-2,)), ValueError, r"shape must not be negative, got \[-2\]"),
        (lambda: kernels.uniform((2,), "int32"), TypeError, "y must be float32 or float64, got int32"),
        (lambda: kernels.uniform((2,), low=2.0, high=1.0), ValueError, "low must be at most high"),
        (lambda: kernels.uniform((2,), high=float("nan")), ValueError, "high must be a finite float32"),
        (lambda: kernels.uniform((2,), low=1e300), ValueError, "low must be a finite float32"),
        (lambda: kernels.uniform((2,), low=-3e38, high=3e38), ValueError, "high - low must be a finite"),
        (lambda: kernels.normal((2,), std=-1.0), ValueError, "std must be at least 0, got -1"),
        (lambda: kernels.normal((2,), mean=float("inf")), ValueError, "mean must be a finite float32"),
        (lambda: kernels.uniform((2,), out=np.empty(3, "f4")), ValueError, r"out must have shape \(2,\)"),
        (lambda: kernels.uniform((2**40, 2**40)), MemoryError, "overflow 64 bits"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_bad_dropout_arguments_are_named():
    x = np.zeros((2, 3, 4, 4), np.float32)
    mask = np.zeros((2, 3, 4, 4), np.uint8)
    for p in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="p must be from 0 to 1, got"):
            kernels.dropout(x, p)
        with pytest.raises(ValueError, match="p must be from 0 to 1, got"):
            kernels.dropout_backward(x, mask, p)
    with pytest.raises(TypeError, match="x must be float32 or float64, got int64"):
        kernels.dropout(x.astype(np.int64))
    with pytest.raises(ValueError, match="y must have shape"):
        kernels.dropout(x, out=np.empty((2, 3, 4, 5), np.float32))
    with pytest.raises(ValueError, match="y must have the memory format of x"):
        kernels.dropout(x, out=channels_last(x))
    with pytest.raises(ValueError, match="y must not share memory with x"):
        kernels.dropout(x[:1], out=x.reshape(-1)[16:64].reshape(1, 3, 4, 4))
    with pytest.raises(ValueError, match="mask must have shape"):
        kernels.dropout_backward(x, mask[:1])
    with pytest.raises(TypeError, match="mask must be uint8, got float32"):
        kernels.dropout_backward(x, x)
