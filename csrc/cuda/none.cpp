// A build without CUDA: everything that asks for a CUDA device fails.
#include "core/status.h"
#include "cuda/devices.h"

namespace medkern::cuda {
namespace {

[[noreturn]] void refuse() { fail(MK_DEVICE_ERROR, "CUDA: this build of medkern has none"); }

}  // namespace

void search_packages(const char*) {}
int device_count() { refuse(); }
void use_device(int) { refuse(); }
DLDevice device_of(const void*) { refuse(); }
const KernelTable& kernel_table() { refuse(); }
void describe(mk_device_properties&) { refuse(); }

void* allocate(size_t) { refuse(); }
void release(int, void*) noexcept {}
void copy(void*, const void*, size_t, bool, bool) { refuse(); }
void synchronize() { refuse(); }
void memory_stats(mk_device_memory_stats&) { refuse(); }
void reset_peak() { refuse(); }
void trim() { refuse(); }

void* create_stream() { refuse(); }
void destroy_stream(void*) { refuse(); }
void* current_stream() { refuse(); }
void set_stream(void*) { refuse(); }
void synchronize_stream(void*) { refuse(); }
void wait_for_stream(void*, void*) { refuse(); }

void* create_event() { refuse(); }
void destroy_event(void*) { refuse(); }
void record_event(void*) { refuse(); }
float milliseconds_between(void*, void*) { refuse(); }

void begin_graph() { refuse(); }
void* end_graph() { refuse(); }
void launch_graph(void*) { refuse(); }
void destroy_graph(void*) { refuse(); }

}  // namespace medkern::cuda
