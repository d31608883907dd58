// Memory of CUDA devices: the runtime's own pools, which are caching allocators in the order of
// streams. They keep what is freed, and give it back on trim().
//
// A block belongs to the stream it was allocated on. Freed while another stream is current, its own
// stream first waits for what that one has queued by then.
#include <map>
#include <mutex>

#include "core/status.h"
#include "cuda/devices.h"
#include "cuda/fault.h"
#include "cuda/runtime.h"

namespace medkern::cuda {
namespace {

struct Block {
  size_t bytes;
  Stream stream;
};

struct Heap {
  MemoryPool pool = nullptr;
  std::map<void*, Block> blocks;
  size_t in_use = 0, peak = 0;
};

std::mutex mutex;

// Of a device; with the lock held.
Heap& heap_of(int device) {
  static auto* heaps = new std::map<int, Heap>;
  Heap& heap = (*heaps)[device];
  if (heap.pool == nullptr) {
    expect_success(runtime()->cudaDeviceGetDefaultMemPool(&heap.pool, device), "memory pool");
    uint64_t keep = UINT64_MAX;
    expect_success(runtime()->cudaMemPoolSetAttribute(heap.pool, kReleaseThreshold, &keep),
                   "memory pool");
  }
  return heap;
}

uint64_t pool_attribute(MemoryPool pool, int number) {
  uint64_t value = 0;
  expect_success(runtime()->cudaMemPoolGetAttribute(pool, number, &value), "memory pool");
  return value;
}

void free_block(void* memory, const Block& block) {
  const Stream now = current_stream();
  if (now != block.stream) wait_for_stream(block.stream, now);
  expect_success(runtime()->cudaFreeAsync(memory, block.stream), "freeing memory");
}

PointerAttributes kind_of(const void* memory) {
  PointerAttributes about{};
  if (runtime()->cudaPointerGetAttributes(&about, memory) != kSuccess) {
    runtime()->cudaGetLastError();
    about = {};
  }
  return about;
}

}  // namespace

void* allocate(size_t bytes) {
  const Stream stream = current_stream();
  std::lock_guard<std::mutex> lock(mutex);
  Heap& heap = heap_of(current_device());
  void* memory = nullptr;
  // The pool gives nothing for 0 bytes, but every block has an address of its own here.
  const Status status = runtime()->cudaMallocAsync(&memory, bytes > 0 ? bytes : 1, stream);
  if (status == kOutOfMemory) {
    runtime()->cudaGetLastError();
    fail(MK_OUT_OF_MEMORY, "cannot allocate ", bytes, " bytes on CUDA device ", current_device(),
         ", where ", heap.in_use, " are in use");
  }
  expect_success(status, "allocating memory");
  heap.blocks[memory] = {bytes, stream};
  heap.in_use += bytes;
  if (heap.in_use > heap.peak) heap.peak = heap.in_use;
  return memory;
}

void release(int device, void* memory) noexcept {
  try {
    const int before = current_device();
    use_device(device);
    {
      std::lock_guard<std::mutex> lock(mutex);
      Heap& heap = heap_of(device);
      const auto found = heap.blocks.find(memory);
      if (found != heap.blocks.end()) {
        const Block block = found->second;
        heap.blocks.erase(found);
        heap.in_use -= block.bytes;
        free_block(memory, block);
      }
    }
    use_device(before);
  } catch (...) {
    // The device is gone or broken; its memory is lost with it.
  }
}

void copy(void* to, const void* from, size_t bytes, bool to_host, bool from_host) {
  if (bytes == 0) return;
  // Memory of the host is read before the call returns, but for such as CUDA knows, which is read
  // when its turn comes.
  const bool host_waits = to_host || (from_host && kind_of(from).kind == kHostMemory);
  const Stream stream = current_stream();
  expect_success(runtime()->cudaMemcpyAsync(to, from, bytes, kCopyDefault, stream), "copy");
  if (host_waits) synchronize_stream(stream);
}

DLDevice device_of(const void* memory) {
  const PointerAttributes about = kind_of(memory);
  const bool cuda = about.kind != kUnknownMemory && about.kind != kHostMemory;
  return cuda ? DLDevice{kDLCUDA, about.device} : DLDevice{kDLCPU, 0};
}

void memory_stats(mk_device_memory_stats& stats) {
  std::lock_guard<std::mutex> lock(mutex);
  const Heap& heap = heap_of(current_device());
  stats.bytes_in_use = heap.in_use;
  stats.peak_bytes_in_use = heap.peak;
  const uint64_t used = pool_attribute(heap.pool, kUsedNow);
  const uint64_t reserved = pool_attribute(heap.pool, kReservedNow);
  stats.bytes_cached = reserved > used ? reserved - used : 0;
}

void reset_peak() {
  std::lock_guard<std::mutex> lock(mutex);
  Heap& heap = heap_of(current_device());
  heap.peak = heap.in_use;
}

void trim() {
  std::lock_guard<std::mutex> lock(mutex);
  Heap& heap = heap_of(current_device());
  expect_success(runtime()->cudaDeviceSynchronize(), "work on the device");
  expect_success(runtime()->cudaMemPoolTrimTo(heap.pool, 0), "memory pool");
}

}  // namespace medkern::cuda
