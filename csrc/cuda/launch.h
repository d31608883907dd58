// Starting kernels from the host: which kernel, how many blocks, with what arguments. Runs on the
// stream of the calling thread (cuda/stream.h) of the device that dispatch.cpp made current.
#pragma once

#include <atomic>
#include <cstdint>

namespace medkern::cuda {

// A kernel of the file <family>.cu, as MK_KERNEL names it; found when it is first started.
class Kernel {
 public:
  constexpr Kernel(const char* family, const char* name) : family_(family), name_(name) {}
  const char* family() const { return family_; }
  const char* name() const { return name_; }
  // The handle that the CUDA runtime starts; fails with MK_DEVICE_ERROR if it can't be loaded.
  const void* handle();
  // Lets blocks on the current device have as much shared memory as there is; asked for once.
  void allow_shared();

 private:
  const char *family_, *name_;
  std::atomic<const void*> handle_{nullptr};
  std::atomic<uint64_t> allowed_{0};  // the devices that have been asked, a bit each
};

struct Grid {
  uint32_t x, y = 1, z = 1;
};

namespace detail {
void launch(Kernel& kernel, Grid grid, uint32_t threads, size_t shared_bytes, bool cooperative,
            const void* args);
}

// Starts `kernel` on grid.x * grid.y * grid.z blocks of `threads` threads with `shared_bytes` of
// shared memory each (up to 227 KiB), and returns at once. Fails with MK_DEVICE_ERROR. A grid with
// no blocks does nothing.
template <class Args>
void launch(Kernel& kernel, Grid grid, uint32_t threads, size_t shared_bytes, const Args& args) {
  detail::launch(kernel, grid, threads, shared_bytes, false, &args);
}

// The same with all blocks running at once, so that they may wait for each other (grid_barrier).
// There may be no more blocks than fit on the device: resident_blocks.
template <class Args>
void launch_cooperative(Kernel& kernel, Grid grid, uint32_t threads, size_t shared_bytes,
                        const Args& args) {
  detail::launch(kernel, grid, threads, shared_bytes, true, &args);
}

// Long sums are split for a device of this many multiprocessors (an H200) whatever the device is,
// so that bits are the same on all.
constexpr int64_t kSplitProcessors = 132;

// Multiprocessors of the current device.
int multiprocessors();
// Compute capability of the current device, 90 for 9.0.
int compute_capability();
// Shared memory that a block may have on it.
size_t most_shared_bytes();
// Blocks of this kernel that the current device can run at once.
int resident_blocks(Kernel& kernel, uint32_t threads, size_t shared_bytes);

// Blocks for a loop over `count` elements in strides of the whole grid, `each` elements a thread:
// enough to fill the device, and no more than there is work for.
uint32_t blocks_for(int64_t count, uint32_t threads, int64_t each = 1);

// Sets device memory to zero, in the order of the stream.
void fill_zero(void* memory, size_t bytes);

}  // namespace medkern::cuda
