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
// Makes the device the calling thread's current one; fails unless there is such a device.
void use_device(int device);
// The kernels, all on the current device.
const KernelTable& kernel_table();
// All that follows works on the current device.
void describe(mk_device_properties& properties);

void* allocate(size_t bytes);
void release(int device, void* memory) noexcept;
void copy(void* to, const void* from, size_t bytes, bool host_waits);
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
