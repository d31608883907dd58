"""Recurrent layers have kernels for many tiles, chosen by sizes and by the device: all give the same bits."""

import ctypes
from ctypes import Structure, byref, c_bool, c_int32, c_int64, c_uint32, c_void_p

import emulator
import launcher
import numpy as np
import pytest

FAMILY = emulator.CSRC / "kernels" / "recurrent"
CELLS = {"lstm": (0, 4, 5), "gru": (1, 3, 4), "rnn_tanh": (2, 1, 1)}  # number, gates, values saved
SHARED = 220 << 10
BATCH, STEPS, HIDDEN = 5, 3, 18
ROW = 20  # of states, in whole vectors
LENGTHS = [3, 1, 0, 2, 3]


class Divider(Structure):
    _fields_ = [("divisor", c_uint32), ("multiplier", c_uint32), ("shift", c_uint32)]


def divider(divisor):
    shift = (divisor - 1).bit_length()
    return Divider(divisor, (1 << 32) * ((1 << shift) - divisor) // divisor + 1, shift)


class Loop(Structure):
    _fields_ = [
        *((name, c_int32) for name in ("cell", "batch", "steps", "hidden", "first", "last")),
        *((name, c_int64) for name in ("row_n", "row_t")),
        ("lengths", c_void_p),
        ("first_task", c_uint32),
        *((name, Divider) for name in ("unit_groups", "sample_groups", "units")),
        ("arrived", c_void_p),
    ]


class ForwardSide(Structure):
    _fields_ = [
        (name, c_void_p)
        for name in [
            "x",
            "h0",
            "c0",
            "weight_ih",
            "weight_hh",
            "bias_ih",
            "bias_hh",
            "inputs",
            "y",
            "h_n",
            "c_n",
            "saved",
            "state",
        ]
    ]


class ForwardArgs(Structure):
    _fields_ = [
        ("loop", Loop),
        *((name, c_int32) for name in ("input", "state_row")),
        *((name, c_int64) for name in ("x_row", "y_n", "y_t")),
        *((name, c_bool) for name in ("input_vectors", "hidden_vectors")),
        ("side", ForwardSide * 2),
    ]


class BackwardSide(Structure):
    _fields_ = [
        (name, c_void_p)
        for name in [
            "saved",
            "c0",
            "dy",
            "dh_n",
            "dc_n",
            "h_prev",
            "weight",
            "dh0",
            "dc0",
            "dgates_x",
            "dgates_h",
            "step",
        ]
    ]


class BackwardArgs(Structure):
    _fields_ = [
        ("loop", Loop),
        ("step_row", c_int32),
        *((name, c_int64) for name in ("dy_n", "dy_t")),
        ("side", BackwardSide * 2),
    ]


@pytest.fixture(scope="module")
def device():
    if emulator.compiler() is None:
        pytest.skip("needs a C++ compiler")
    return launcher.Device(emulator.build(sorted(FAMILY.glob("*.cu"))))


def make_loop(device, cell, rows, units):
    groups = -(-HIDDEN // units)
    return Loop(
        cell=CELLS[cell][0],
        batch=BATCH,
        steps=STEPS,
        hidden=HIDDEN,
        row_n=STEPS,
        row_t=1,
        lengths=device.put(np.array(LENGTHS)).address,
        unit_groups=divider(groups),
        sample_groups=divider(-(-BATCH // rows)),
        units=divider(units),
        arrived=device.put(np.zeros(BATCH, np.uint32)).address,
    )


def run(device, name, args, iterations):
    """All iterations, task by task, in one cooperative launch or each in one."""
    resident = "resident" in name
    kernel = device.kernel(name)
    device.call("cudaKernelSetAttributeForDevice", kernel, 8, SHARED, 0)
    attribute = launcher._Attribute(2, b"", 1, b"")
    for task in range(args.loop.sample_groups.divisor):
        args.loop.first_task = task
        for i in range(1 if resident else iterations):
            args.loop.first, args.loop.last = (0, iterations) if resident else (i, i + 1)
            config = launcher._Config(
                launcher._Dim3(args.loop.unit_groups.divisor, 1, 1),
                launcher._Dim3(256, 1, 1),
                SHARED,
                None,
                ctypes.pointer(attribute),
                int(resident),
            )
            pointers = (c_void_p * 1)(ctypes.cast(ctypes.pointer(args), c_void_p))
            device.call("cudaLaunchKernelExC", byref(config), kernel, pointers)
    device.synchronize()


def make_side(device, kind, arrays, results):
    """A side with these arrays on the device, and with room for these results, which are given too."""
    found = {name: device.put(np.zeros(shape, np.float32)) for name, shape in results.items()}
    buffers = {name: device.put(array) for name, array in arrays.items()} | found
    return kind(**{name: buffer.address for name, buffer in buffers.items()}), found


def forward(device, name, cell, arrays, rows):
    _, gates, saved = CELLS[cell]
    states = (BATCH, HIDDEN)
    shapes = dict(y=(BATCH, STEPS, HIDDEN), h_n=states, c_n=states, saved=(BATCH, STEPS, saved * HIDDEN))
    side, found = make_side(device, ForwardSide, arrays, shapes | dict(state=(2, BATCH, ROW)))
    args = ForwardArgs(
        loop=make_loop(device, cell, rows, 32 // gates),
        state_row=ROW,
        y_n=STEPS * HIDDEN,
        y_t=HIDDEN,
        side=(ForwardSide * 2)(side),
    )
    run(device, name, args, STEPS)
    return {k: found[k].read() for k in shapes}


def backward(device, name, cell, arrays, rows, units):
    _, gates, _ = CELLS[cell]
    states, row = (BATCH, HIDDEN), -(-gates * HIDDEN // 4) * 4
    shapes = dict(dh0=states, dc0=states, dgates_x=(BATCH, STEPS, gates * HIDDEN))
    shapes["dgates_h"] = shapes["dgates_x"]
    side, found = make_side(device, BackwardSide, arrays, shapes | dict(step=(2, BATCH, row)))
    args = BackwardArgs(
        loop=make_loop(device, cell, rows, units),
        step_row=row,
        dy_n=STEPS * HIDDEN,
        dy_t=HIDDEN,
        side=(BackwardSide * 2)(side),
    )
    run(device, name, args, STEPS + 1)
    return {k: found[k].read() for k in shapes}


def assert_same(found, expected):
    for name, array in expected.items():
        assert np.isfinite(array).all() and np.abs(array).max() > 0, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("cell", CELLS)
def test_forward(device, rng, cell):
    _, gates, _ = CELLS[cell]
    sizes = dict(
        inputs=(BATCH, STEPS, gates * HIDDEN),
        h0=(BATCH, HIDDEN),
        c0=(BATCH, HIDDEN),
        weight_hh=(gates * HIDDEN, HIDDEN),
        bias_hh=(gates * HIDDEN,),
    )
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in sizes.items()}
    expected = forward(device, "recurrent_forward_f32_step_1", cell, arrays, 1)
    names = [("step", rows) for rows in (4, 16, 64)] + [("resident", rows) for rows in (1, 4, 8, 16, 32, 64)]
    for kind, rows in names:
        name = f"recurrent_forward_f32_{kind}_{rows}"
        assert_same(forward(device, name, cell, arrays, rows), expected)


@pytest.mark.parametrize("cell", CELLS)
def test_backward(device, rng, cell):
    _, gates, saved = CELLS[cell]
    sizes = dict(
        saved=(BATCH, STEPS, saved * HIDDEN),
        c0=(BATCH, HIDDEN),
        dy=(BATCH, STEPS, HIDDEN),
        dh_n=(BATCH, HIDDEN),
        dc_n=(BATCH, HIDDEN),
        h_prev=(BATCH, STEPS, HIDDEN),
        weight=(HIDDEN, -(-gates * HIDDEN // 4) * 4),
    )
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in sizes.items()}
    arrays["weight"][:, gates * HIDDEN :] = 0
    expected = backward(device, "recurrent_backward_f32_step_4x32", cell, arrays, 4, 32)
    names = [("step", rows, 32) for rows in (16, 64)]
    names += [("resident", rows, units) for units in (8, 16, 32) for rows in (8, 32)]
    for kind, rows, units in names:
        name = f"recurrent_backward_f32_{kind}_{rows}x{units}"
        assert_same(backward(device, name, cell, arrays, rows, units), expected)
