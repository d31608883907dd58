"""Programs of native calls, under compiled models."""

import gc
import weakref

import numpy as np
import pytest

from medkern import _C


def outline(shape, dtype="float32"):
    before = _C.outlining(True)
    try:
        return _C.empty(shape, dtype)
    finally:
        _C.outlining(before)


def doubled():
    """x + x and then, by a Python function, its square."""
    program, between = _C.Program(), _C.empty((3,), "float32")
    x, y = program.slot(outline((3,))), program.slot(outline((3,)))
    program.record(_C.binary, _C.BinaryOp.add, x, x, between)
    program.add(lambda a, out: _C.binary(_C.BinaryOp.mul, a, a, out), between, y)
    return program


def test_calls_run_in_order_on_what_is_given():
    program = doubled()
    for values in ([1, 2, 3], [4, 5, -6]):
        x, y = np.array(values, np.float32), np.zeros(3, np.float32)
        program.run([_C.Array(x), _C.Array(y)])
        np.testing.assert_array_equal(y, (2 * x) ** 2)


def test_plain_inputs_give_new_results():
    program = doubled()
    (first,), (second,) = (program.run_plain([np.full(3, v, np.float32)]) for v in (1, 2))
    np.testing.assert_array_equal(np.asarray(first), 4)
    np.testing.assert_array_equal(np.asarray(second), 16)
    for other in (np.ones(4, np.float32), np.ones(3), np.ones(6, np.float32)[::2], [1, 2, 3], outline((3,))):
        assert program.run_plain([other]) is None
    assert program.run_plain([np.ones(3, np.float32)] * 3) is None


def test_recording_computes_nothing():
    program, x = _C.Program(), np.ones(3, np.float32)
    program.record(_C.unary, _C.UnaryOp.neg, x, 0.0, 0.0, x)
    np.testing.assert_array_equal(x, 1)
    program.run([])
    np.testing.assert_array_equal(x, -1)


def test_calls_share_scratch_memory(rng):
    # A product needs some, of another size than the next.
    program, pairs = _C.Program(), [rng.standard_normal((2, n, n)) for n in (300, 20)]
    results = [np.empty(pair[0].shape) for pair in pairs]
    for (a, b), out in zip(pairs, results, strict=True):
        program.record(_C.gemm, a, b, None, 0, out)
    before = _C.memory_stats()["bytes_in_use"]
    for _ in range(2):
        program.run([])
    assert _C.memory_stats()["bytes_in_use"] == before
    for (a, b), out in zip(pairs, results, strict=True):
        np.testing.assert_array_equal(out, np.asarray(_C.gemm(a, b, None, 0, None)))


def test_nothing_of_the_caller_is_kept():
    program, arrays = doubled(), [np.ones(3, np.float32) for _ in range(2)]
    program.run([_C.Array(x) for x in arrays])
    held = [weakref.ref(x) for x in arrays]
    arrays.clear()
    gc.collect()
    assert [ref() for ref in held] == [None, None]


def test_other_arrays_are_refused():
    program, x = doubled(), _C.Array(np.ones(3, np.float32))
    with pytest.raises(ValueError, match="takes 2 arrays, got 1"):
        program.run([x])
    for other in (
        np.ones(4, np.float32),
        np.ones(3),
        np.ones((3, 1), np.float32),
        np.ones(6, np.float32)[::2],
    ):
        with pytest.raises(ValueError, match="not the type, the layout or the device of its slot"):
            program.run([x, _C.Array(other)])
    with pytest.raises(ValueError, match="not the type, the layout or the device of its slot"):
        program.run([x, outline((3,))])


def test_errors_of_calls_come_through():
    program, indices = _C.Program(), np.zeros(2, np.int64)
    slot = program.slot(outline((2,), "int64"))
    y = np.empty((2, 4), np.float32)
    program.record(_C.embedding, slot, np.ones((3, 4), np.float32), None, y)
    program.run([_C.Array(indices)])
    np.testing.assert_array_equal(y, 1)
    indices[1] = 3
    with pytest.raises(ValueError, match="indices"):
        program.run([_C.Array(indices)])

    def fails():
        raise KeyError("here")

    program = _C.Program()
    program.add(fails)
    with pytest.raises(KeyError, match="here"):
        program.run([])


def test_wrong_arguments_are_refused_when_they_are_recorded():
    program = _C.Program()
    with pytest.raises(TypeError, match="x must be an array"):
        program.record(_C.unary, _C.UnaryOp.neg, "text", 0.0, 0.0, None)
    with pytest.raises(RuntimeError, match="can't be recorded"):
        program.record(_C.uniform, (3,), "float32", 1, 0, 0.0, 1.0, None)
    np.testing.assert_array_equal(np.asarray(_C.unary(_C.UnaryOp.neg, np.ones(2), 0.0, 0.0, None)), -1)
