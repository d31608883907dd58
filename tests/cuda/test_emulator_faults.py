"""Faults planted in kernels and in their use, each of which the emulator must show.

By an error that says what and where, by NaN in the result, or by results that differ between schedules.
"""

import ctypes
import re
import subprocess
import sys
from ctypes import byref, c_float, c_int, c_size_t, c_void_p

import numpy as np
import pytest
from emulator import ROOT, build, compiler
from launcher import Buffer, CudaError, Device

SOURCE = ROOT / "tests" / "cuda" / "faults.cu"
SCHEDULES = [(0, 0), (1, 0), (2, 1), (2, 2)]


@pytest.fixture(scope="module")
def library():
    if compiler() is None:
        pytest.skip("needs a C++ compiler")
    return build([SOURCE, SOURCE.with_name("namesakes.cu")])


@pytest.fixture
def device(library):
    device = Device(library)
    device.runtime.medkern_emulator_set_schedule(0, 0)
    yield device
    # Nothing of it stays behind.
    out = device.put(np.zeros(300, np.float32))
    device.launch(
        "fault_none", device.put(np.arange(300, dtype=np.float32)), None, out, count=300, grid=2, block=256
    )
    np.testing.assert_array_equal(out.read(), np.arange(300) + 1)


def results(device, name, x, **options):
    """Of each schedule."""
    found = []
    for schedule in SCHEDULES:
        device.runtime.medkern_emulator_set_schedule(*schedule)
        out = device.put(np.zeros_like(x))
        device.launch(name, device.put(x), None, out, **options)
        found.append(out.read(x.dtype))
    return found


def report(device, name, *buffers, **options):
    """The error of a launch, which is told under every schedule."""
    texts = []
    for schedule in SCHEDULES:
        device.runtime.medkern_emulator_set_schedule(*schedule)
        with pytest.raises(CudaError) as error:
            device.launch(name, *buffers, **options)
        texts.append(str(error.value))
        assert name in texts[-1]
    return texts[0]


def line_of(text, name):
    """The source line of a kernel that holds `text`, as reports name it."""
    begin = False
    for number, line in enumerate(SOURCE.read_text().splitlines(), 1):
        begin = begin or f"({name}," in line
        if begin and text in line:
            return f"faults.cu:{number}"
    raise AssertionError(text)


def numbers(count, start=0):
    return np.arange(start, start + count, dtype=np.float32)


# ---------------------------------------------------------------- barriers


def test_missing_barrier(device):
    x = numbers(128)
    found = results(device, "fault_missing_barrier", x, block=128, number=3, shared=512)
    assert any(not np.array_equal(found[0], other, equal_nan=True) for other in found[1:])
    # With one round there is no fault, and no difference.
    found = results(device, "fault_missing_barrier", x, block=128, number=1, shared=512)
    for other in found:
        np.testing.assert_array_equal(other, x + np.roll(x, -33))


def test_missing_syncwarp(device):
    found = results(device, "fault_missing_syncwarp", numbers(32), shared=128)
    assert all(np.isnan(one).any() for one in found)


def test_shared_memory_begins_as_nan(device):
    assert all(
        np.isnan(one).all() for one in results(device, "fault_unwritten_shared", numbers(32), shared=128)
    )


def test_divergent_barrier(device):
    text = report(device, "fault_divergent_barrier", block=64)
    at = line_of("__syncthreads", "fault_divergent_barrier")
    assert f"threads 0 to 15: waiting for __syncthreads at {at}" in text
    assert "threads 32 to 63: returned" in text


def test_thread_that_returns_before_a_barrier(device):
    text = report(device, "fault_returned_before_barrier", block=64)
    assert "threads 0 to 39: waiting for __syncthreads" in text and "threads 40 to 63: returned" in text


def test_two_barriers_at_once(device):
    text = report(device, "fault_two_barriers", block=64)
    assert re.search(r"__syncthreads at faults.cu:\d+ while others of its block are at __syncthreads", text)


def test_grid_barrier_of_a_launch_that_is_not_cooperative(device):
    for schedule in SCHEDULES:
        device.runtime.medkern_emulator_set_schedule(*schedule)
        with pytest.raises(CudaError, match=r"waiting for a counter in memory(.|\n)*isn't cooperative"):
            device.launch("fault_grid_barrier", None, None, device.put(np.zeros(1, np.uint32)), grid=2)


def test_uneven_grid_barrier(device):
    counter = Buffer(device, 4)

    for schedule in SCHEDULES:
        device.runtime.medkern_emulator_set_schedule(*schedule)
        counter.write(np.zeros(1, np.uint32))
        with pytest.raises(CudaError, match=r"block \(1, 0, 0\), threads 0 to 0: waiting for a counter"):
            device.launch("fault_uneven_grid_barrier", None, None, counter, grid=3, cooperative=True)


@pytest.mark.parametrize("name", ["fault_missing_barrier", "fault_missing_syncwarp", "fault_order"])
def test_one_launch_under_every_schedule(device, rng, name):
    """What depends on the order of threads is told by the launch itself."""
    x, out = device.put(rng.normal(size=128).astype(np.float32)), device.put(np.zeros(128, np.float32))
    device.runtime.medkern_emulator_set_schedule(3, 0)
    block = 32 if name == "fault_missing_syncwarp" else 128
    options = {"block": block, "shared": 512, "number": 3}
    with pytest.raises(CudaError, match=f"{name}: the results depend on the order of threads: at byte"):
        device.launch(name, x, None, out, **options)
    # Where there is no fault its results are those of one run.
    device.launch("fault_missing_barrier", x, None, out, block=128, number=1, shared=512)
    once = out.read()
    device.launch("fault_none", out, None, out, count=128, block=128)
    np.testing.assert_array_equal(out.read(), once + 1)


# ---------------------------------------------------------------- warps


def test_collective_that_not_all_lanes_call(device):
    buffers = device.put(numbers(32)), None, device.put(numbers(32))
    text = report(device, "fault_partial_collective", *buffers)
    assert "threads 0 to 19: waiting for __shfl_sync" in text and "threads 20 to 31: returned" in text


def test_two_collectives_at_once(device):
    buffers = device.put(numbers(32)), None, device.put(numbers(32))
    assert "while others of its warp are at" in report(device, "fault_two_collectives", *buffers)


def test_thread_outside_of_its_mask(device):
    buffers = device.put(numbers(32)), None, device.put(numbers(32))
    assert "its mask leaves out" in report(device, "fault_outside_mask", *buffers)


def test_wrong_fragment_index(device, rng):
    a, b = rng.integers(-8, 9, (16, 8)).astype(np.float32), rng.integers(-8, 9, (8, 8)).astype(np.float32)
    out = device.put(np.zeros((16, 8), np.float32))
    device.launch("fault_fragment", device.put(a), device.put(b.T), out)
    got = out.read(np.float32, (16, 8))
    assert not np.array_equal(got, a @ b)
    np.testing.assert_array_equal(got, np.roll(a, 8, 0) @ b)


# ---------------------------------------------------------------- asynchronous copies


@pytest.mark.parametrize("wait", [0, 1])
def test_missing_wait_for_a_copy(device, wait):
    found = results(device, "fault_missing_wait", numbers(32), number=wait, shared=128)
    assert all(np.isnan(one).all() for one in found)


def test_wait_for_a_copy_without_a_barrier(device):
    found = results(device, "fault_wait_without_barrier", numbers(64), block=64, shared=256)
    assert all(np.isnan(one).any() for one in found)


# ---------------------------------------------------------------- memory


def test_read_past_shared_memory(device):
    out = device.put(numbers(64))
    text = report(device, "fault_past_shared", None, None, out, block=64, shared=256)
    assert "thread (63, 0, 0): a read of byte 256 of a shared memory of 256 bytes" in text
    device.launch("fault_past_shared", None, None, out, block=64, shared=260)


def test_write_before_shared_memory(device):
    text = report(device, "fault_before_shared", block=64, shared=16384 - 4096)
    assert "a write to byte -8192 of a shared memory" in text


@pytest.mark.parametrize("count", [64, 1024, 1000, 1])
def test_write_past_an_allocation(device, count):
    out = Buffer(device, 4 * count)
    grid = -(-(count + 1) // 256)
    text = report(device, "fault_past_allocation", None, None, out, count=count, grid=grid, block=256)
    size = f"an allocation of {4 * count} bytes"
    if count % 64 == 0:
        assert f"a write to 0 bytes past the end of {size}" in text
    else:
        assert f"a write past the end of {size}" in text


def test_read_past_an_allocation(device):
    x, out = device.put(numbers(64)), device.put(numbers(64))
    options = {"count": 64, "block": 64}
    text = report(device, "fault_read_past_allocation", x, None, out, number=1, **options)
    assert "thread (63, 0, 0): a read of 0 bytes past the end of an allocation of 256 bytes" in text
    device.launch("fault_read_past_allocation", x, None, out, number=-1, **options)
    np.testing.assert_array_equal(out.read(), [np.nan, *range(63)])


def test_read_of_what_alignment_leaves_free_is_nan(device):
    x, out = device.put(numbers(10)), device.put(numbers(10))
    device.launch("fault_read_past_allocation", x, None, out, count=10, number=1)
    np.testing.assert_array_equal(out.read(), [*range(1, 10), np.nan])


def test_memory_begins_as_nan_and_ends_when_freed(device):
    x, out = Buffer(device, 128), device.put(numbers(32))
    device.launch("fault_none", x, None, out, count=32)
    assert np.isnan(out.read()).all()
    x.free()
    text = report(device, "fault_none", x, None, out, count=32)
    assert "an allocation of 128 bytes, which was freed" in text
    with pytest.raises(CudaError, match="isn't allocated"):
        x.free()
        device.synchronize()


def test_copy_past_an_allocation(device):
    x = Buffer(device, 128)
    with pytest.raises(
        CudaError, match="copy or fill of 132 bytes that begins at an allocation of 128 bytes"
    ):
        x.write(numbers(33))


def test_host_must_not_touch_device_memory(library):
    code = f"""
import ctypes, sys
sys.path.insert(0, {str(ROOT / "tests" / "cuda")!r})
from launcher import Buffer, Device
x = Buffer(Device({str(library)!r}), 64)
print("before", flush=True)
ctypes.string_at(x.address, 4)
print("after", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode < 0 and done.stdout == "before\n"


# ---------------------------------------------------------------- what has no meaning


def test_misaligned_access(device):
    buffers = device.put(numbers(64)), None, device.put(numbers(32))
    text = report(device, "fault_misaligned", *buffers)
    assert f"misaligned address, 4 past a multiple of 16 at {line_of('float4*>', 'fault_misaligned')}" in text
    assert "misaligned" in report(device, "fault_misaligned_load16", *buffers)
    assert "misaligned" in report(device, "fault_misaligned_copy", *buffers, shared=512)


def test_division_by_zero(device):
    text = report(device, "fault_division", None, None, device.put(numbers(32)), count=5)
    assert "division of integers by zero" in text


def test_index_out_of_a_local_array(device):
    out = device.put(numbers(32))
    assert "index 4 out of an array" in report(device, "fault_local_index", None, None, out)
    device.launch("fault_local_index", None, None, out, block=16)


def test_shift_by_the_whole_width(device):
    out = device.put(numbers(64))
    assert "a shift by 32" in report(device, "fault_shift", None, None, out, block=33)
    device.launch("fault_shift", None, None, out, block=32)


def test_order_of_additions(device, rng):
    x = rng.normal(size=256).astype(np.float32)
    sums = []
    for schedule in SCHEDULES:
        device.runtime.medkern_emulator_set_schedule(*schedule)
        out = device.put(np.zeros(1, np.float32))
        device.launch("fault_order", device.put(x), None, out, block=256)
        sums.append(out.read()[0])
    assert len(set(sums)) > 1
    np.testing.assert_allclose(sums, x.sum(dtype=np.float64), atol=1e-4)


# ---------------------------------------------------------------- launches


@pytest.mark.parametrize(
    "options, reason",
    [
        ({"block": 257}, "too many resources"),
        ({"block": 1025}, "invalid configuration"),
        ({"grid": (1, 65536)}, "invalid configuration"),
        ({"shared": 50000, "ask": False}, "invalid argument"),
        ({"shared": (227 << 10) + 1}, "invalid argument"),
        ({"grid": 9, "cooperative": True}, "too many blocks in cooperative launch"),
    ],
)
def test_launch_that_a_device_refuses(device, options, reason):
    with pytest.raises(CudaError, match=reason):
        device.launch("fault_none", **options)


def test_unknown_kernel(device):
    with pytest.raises(CudaError, match="no fault_that_is_not_there"):
        device.launch("fault_that_is_not_there")


@pytest.mark.parametrize("name, wanted", [("namesake_of_one", 2), ("namesake_of_two", 3)])
def test_functions_of_one_name_in_two_files(device, name, wanted):
    out = device.put(numbers(32))
    device.launch(name, None, None, out)
    np.testing.assert_array_equal(out.read(), np.full(32, wanted))


# ---------------------------------------------------------------- order of streams


def stream_of(device):
    stream = c_void_p()
    device.call("cudaStreamCreateWithFlags", byref(stream), 1)
    return stream


def event_of(device):
    event = c_void_p()
    device.call("cudaEventCreateWithFlags", byref(event), 0)
    return event


def test_streams_keep_no_order_between_them(device):
    x, middle, out = device.put(numbers(32)), Buffer(device, 128), Buffer(device, 128)
    first, second, event = stream_of(device), stream_of(device), event_of(device)
    device.synchronize()
    device.start("fault_none", x, None, middle, count=32, stream=first)
    device.start("fault_none", middle, None, out, count=32, stream=second)
    device.call("cudaStreamSynchronize", second)
    assert np.isnan(out.read()).all()
    # With an event they do.
    device.start("fault_none", x, None, middle, count=32, stream=first)
    device.call("cudaEventRecord", event, first)
    device.call("cudaStreamWaitEvent", second, event, 0)
    device.start("fault_none", middle, None, out, count=32, stream=second)
    device.call("cudaStreamSynchronize", second)
    np.testing.assert_array_equal(out.read(), numbers(32) + 2)
    for stream in (first, second):
        device.call("cudaStreamDestroy", stream)
    device.call("cudaEventDestroy", event)


def test_host_that_does_not_wait(device):
    """A copy to memory that CUDA can reach is under way until something waits for it."""
    pinned = c_void_p()
    device.call("cudaHostAlloc", byref(pinned), c_size_t(128), 0)
    seen = np.ctypeslib.as_array(ctypes.cast(pinned, ctypes.POINTER(c_float)), (32,))
    x = device.put(numbers(32))
    device.call("cudaMemcpyAsync", pinned, x.address, c_size_t(128), 4, None)
    assert np.isnan(seen).all()
    device.synchronize()
    np.testing.assert_array_equal(seen, numbers(32))
    device.call("cudaFreeHost", pinned)


def test_graph_runs_again(device):
    x, out = device.put(numbers(32)), Buffer(device, 128)
    device.synchronize()
    stream, graph, ready = stream_of(device), c_void_p(), c_void_p()
    device.call("cudaStreamBeginCapture", stream, 1)
    device.start("fault_none", x, None, out, count=32, stream=stream)
    device.start("fault_none", out, None, x, count=32, stream=stream)
    with pytest.raises(CudaError, match="capturing"):
        device.call("cudaStreamSynchronize", stream)
    device.call("cudaStreamEndCapture", stream, byref(graph))
    np.testing.assert_array_equal(x.read(), numbers(32))
    device.call("cudaGraphInstantiate", byref(ready), graph, ctypes.c_ulonglong(0))
    device.call("cudaGraphDestroy", graph)
    for _ in range(3):
        device.call("cudaGraphLaunch", ready, stream)
    device.call("cudaStreamSynchronize", stream)
    np.testing.assert_array_equal(x.read(), numbers(32) + 6)
    device.call("cudaGraphExecDestroy", ready)
    device.call("cudaStreamDestroy", stream)


def test_time_between_events(device):
    begin, end, milliseconds = event_of(device), event_of(device), c_float(-1)
    device.call("cudaEventRecord", begin, None)
    device.launch("fault_none", device.put(numbers(32)), None, device.put(numbers(32)), count=32)
    device.call("cudaEventRecord", end, None)
    device.call("cudaEventSynchronize", end)
    device.call("cudaEventElapsedTime", byref(milliseconds), begin, end)
    assert milliseconds.value > 0


def test_devices(device):
    count = c_int()
    device.call("cudaGetDeviceCount", byref(count))
    assert count.value == 2
    with pytest.raises(CudaError, match="invalid device ordinal"):
        device.call("cudaSetDevice", 2)
