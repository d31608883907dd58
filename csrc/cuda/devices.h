// CUDA devices, for dispatch.cpp and devices.cpp: which there are, their memory, streams and
// graphs. A build without CUDA has none.cpp, where all of it fails.
#pragma once

#include <cstddef>
#include <cstdint>

#include "medkern/device.h"

namespace medkern {
struct KernelTable;
}

namespace medkern::cuda {

// A folder more in which packages of the CUDA runtime may lie.
void search_packages(const char* folder);
// Fails with MK_DEVICE_ERROR and the reason where there is no CUDA.
int device_count();
// Names the device that the calling thread works on from now on; fails unless there is such a
// device. What the CUDA runtime calls the thread's current device stays the caller's business.
void use_device(int device);
// The device that has this memory: the CPU for any that CUDA has not given out.
DLDevice device_of(const void* memory);
// The kernels, all on the device named last.
const KernelTable& kernel_table();
// All that follows works on the device named last.
void describe(mk_device_properties& properties);

void* allocate(size_t bytes);
void release(int device, void* memory) noexcept;
// Returns when the memory may be changed or read, if it is the host's.
void copy(void* to, const void* from, size_t bytes, bool to_host, bool from_host);
void synchronize();
void memory_stats(mk_device_memory_stats& stats);
void reset_peak();
void trim();

void* create_stream();
void destroy_stream(void* stream);
// The calling thread's stream on the current device.
void* current_stream();
void set_stream(void* stream);
void synchronize_stream(void* stream);
void wait_for_stream(void* stream, void* other);

void* create_event();
void destroy_event(void* event);
void record_event(void* event);
float milliseconds_between(void* begin, void* end);

void begin_graph();
void* end_graph();
void launch_graph(void* graph);
void destroy_graph(void* graph);

}  // namespace medkern::cuda
