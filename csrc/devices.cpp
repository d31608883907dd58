// Entry points of medkern/device.h: the CPU's answers stand here, CUDA's in cuda/.
#include <cstring>

#include "core/status.h"
#include "cuda/devices.h"
#include "medkern/runtime.h"

using namespace medkern;

namespace {

// Whether it is a CUDA device, on which the rest of the call is then; false for the CPU.
bool on_cuda(DLDevice device) {
  if (device.device_type == kDLCPU) return false;
  if (device.device_type != kDLCUDA) {
    fail(MK_DEVICE_ERROR, "medkern has kernels for the CPU and CUDA only; got DLPack device type ",
         int(device.device_type));
  }
  cuda::use_device(device.device_id);
  return true;
}

void expect_cuda(const char* function, DLDevice device) {
  if (!on_cuda(device)) fail(MK_DEVICE_ERROR, function, ": the CPU has no streams");
}

void expect_given(const char* function, const void* pointer, const char* name) {
  require(pointer != nullptr, function, ": ", name, " is NULL");
}

// The body of an entry point that needs a CUDA device and a pointer, which messages call `name`.
template <class Body>
mk_status on_device(const char* function, DLDevice device, const void* pointer, const char* name,
                    Body&& body) {
  return guarded([&] {
    expect_given(function, pointer, name);
    expect_cuda(function, device);
    body();
  });
}

template <class Struct>
void expect_struct(const char* function, const Struct* given, const char* name) {
  require(given != nullptr && given->struct_size >= sizeof(Struct), function, ": ", name,
          " is NULL or its struct_size is too small");
}

}  // namespace

extern "C" mk_status mk_cuda_search_packages(const char* folder) {
  return guarded([&] {
    expect_given("mk_cuda_search_packages", folder, "folder");
    cuda::search_packages(folder);
  });
}

extern "C" mk_status mk_cuda_device_count(int32_t* count) {
  return guarded([&] {
    expect_given("mk_cuda_device_count", count, "count");
    *count = 0;
    *count = cuda::device_count();
  });
}

extern "C" mk_status mk_device_get_properties(DLDevice device, mk_device_properties* properties) {
  return guarded([&] {
    expect_struct("mk_device_get_properties", properties, "properties");
    expect_cuda("mk_device_get_properties", device);
    cuda::describe(*properties);
  });
}

extern "C" mk_status mk_device_alloc(DLDevice device, size_t bytes, void** memory) {
  return guarded([&] {
    expect_given("mk_device_alloc", memory, "memory");
    if (on_cuda(device)) {
      *memory = cuda::allocate(bytes);
    } else if (const mk_status status = mk_alloc(bytes, memory); status != MK_OK) {
      throw Error(status, mk_last_error());
    }
  });
}

extern "C" void mk_device_free(DLDevice device, void* memory) {
  if (memory == nullptr) return;
  device.device_type == kDLCPU ? mk_free(memory) : cuda::release(device.device_id, memory);
}

extern "C" mk_status mk_device_copy(DLDevice to_device, void* to, DLDevice from_device,
                                    const void* from, size_t bytes) {
  return guarded([&] {
    if (bytes == 0) return;
    expect_given("mk_device_copy", to, "to");
    expect_given("mk_device_copy", from, "from");
    const bool cuda_to = on_cuda(to_device), cuda_from = on_cuda(from_device);
    if (cuda_to || cuda_from) {
      cuda::copy(to, from, bytes, !cuda_to, !cuda_from);
    } else {
      std::memmove(to, from, bytes);
    }
  });
}

extern "C" mk_status mk_device_of(const void* memory, DLDevice* device) {
  return guarded([&] {
    expect_given("mk_device_of", memory, "memory");
    expect_given("mk_device_of", device, "device");
    *device = cuda::device_of(memory);
  });
}

extern "C" mk_status mk_device_synchronize(DLDevice device) {
  return guarded([&] {
    if (on_cuda(device)) cuda::synchronize();
  });
}

extern "C" mk_status mk_device_memory_get_stats(DLDevice device, mk_device_memory_stats* stats) {
  return guarded([&] {
    expect_struct("mk_device_memory_get_stats", stats, "stats");
    if (on_cuda(device)) {
      cuda::memory_stats(*stats);
      return;
    }
    mk_memory_stats cpu{};
    cpu.struct_size = sizeof cpu;
    mk_memory_get_stats(&cpu);
    stats->bytes_in_use = cpu.bytes_in_use;
    stats->peak_bytes_in_use = cpu.peak_bytes_in_use;
    stats->bytes_cached = cpu.bytes_cached;
  });
}

extern "C" mk_status mk_device_memory_reset_peak(DLDevice device) {
  return guarded([&] { on_cuda(device) ? cuda::reset_peak() : mk_memory_reset_peak(); });
}

extern "C" mk_status mk_device_memory_trim(DLDevice device) {
  return guarded([&] { on_cuda(device) ? cuda::trim() : mk_memory_trim(); });
}

extern "C" mk_status mk_stream_create(DLDevice device, void** stream) {
  return on_device("mk_stream_create", device, stream, "stream",
                   [&] { *stream = cuda::create_stream(); });
}

extern "C" mk_status mk_stream_destroy(DLDevice device, void* stream) {
  return on_device("mk_stream_destroy", device, stream, "stream",
                   [&] { cuda::destroy_stream(stream); });
}

extern "C" mk_status mk_stream_get(DLDevice device, void** stream) {
  return on_device("mk_stream_get", device, stream, "stream",
                   [&] { *stream = cuda::current_stream(); });
}

extern "C" mk_status mk_stream_set(DLDevice device, void* stream) {
  return guarded([&] {
    expect_cuda("mk_stream_set", device);
    cuda::set_stream(stream);
  });
}

extern "C" mk_status mk_stream_synchronize(DLDevice device, void* stream) {
  return guarded([&] {
    expect_cuda("mk_stream_synchronize", device);
    cuda::synchronize_stream(stream);
  });
}

extern "C" mk_status mk_stream_wait(DLDevice device, void* stream, void* other) {
  return guarded([&] {
    expect_cuda("mk_stream_wait", device);
    cuda::wait_for_stream(stream, other);
  });
}

extern "C" mk_status mk_event_create(DLDevice device, void** event) {
  return on_device("mk_event_create", device, event, "event",
                   [&] { *event = cuda::create_event(); });
}

extern "C" mk_status mk_event_destroy(DLDevice device, void* event) {
  return on_device("mk_event_destroy", device, event, "event", [&] { cuda::destroy_event(event); });
}

extern "C" mk_status mk_event_record(DLDevice device, void* event) {
  return on_device("mk_event_record", device, event, "event", [&] { cuda::record_event(event); });
}

extern "C" mk_status mk_event_milliseconds(DLDevice device, void* begin, void* end,
                                           float* milliseconds) {
  const char* function = "mk_event_milliseconds";
  return on_device(function, device, milliseconds, "milliseconds", [&] {
    expect_given(function, begin, "begin");
    expect_given(function, end, "end");
    *milliseconds = cuda::milliseconds_between(begin, end);
  });
}

extern "C" mk_status mk_graph_begin(DLDevice device) {
  return guarded([&] {
    expect_cuda("mk_graph_begin", device);
    cuda::begin_graph();
  });
}

extern "C" mk_status mk_graph_end(DLDevice device, void** graph) {
  return on_device("mk_graph_end", device, graph, "graph", [&] { *graph = cuda::end_graph(); });
}

extern "C" mk_status mk_graph_launch(DLDevice device, void* graph) {
  return on_device("mk_graph_launch", device, graph, "graph", [&] { cuda::launch_graph(graph); });
}

extern "C" mk_status mk_graph_destroy(DLDevice device, void* graph) {
  return on_device("mk_graph_destroy", device, graph, "graph", [&] { cuda::destroy_graph(graph); });
}
