#include "cuda/launch.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

#include "core/status.h"
#include "cuda/code.h"
#include "cuda/devices.h"
#include "cuda/divide.h"
#include "cuda/runtime.h"

namespace medkern::cuda {

namespace {

constexpr size_t kSharedWithoutAsking = 48 << 10;
constexpr uint32_t kMostBlocksPerProcessor = 8;  // of a loop over elements

std::mutex mutex;

const DeviceCode& code_of(const char* family) {
  for (int i = 0; all_code[i] != nullptr; ++i) {
    if (std::strcmp(all_code[i]->family, family) == 0) return *all_code[i];
  }
  fail(MK_INTERNAL, "CUDA: no device code of ", family);
}

// The machine code for a compute capability: that of its own architecture, else of the earlier one
// of its family, else PTX.
const MachineCode& code_for(const DeviceCode& code, int major, int minor) {
  const char* wanted = major == 9 && minor == 0 ? "sm_90a" : major == 8 ? "sm_80" : "compute_80";
  if (major < 8) {
    fail(MK_DEVICE_ERROR, "CUDA: compute capability ", major, ".", minor, ", medkern needs 8.0");
  }
  for (const MachineCode& one : code.code) {
    if (one.architecture != nullptr && std::strcmp(one.architecture, wanted) == 0) return one;
  }
  fail(MK_INTERNAL, "CUDA: no code for ", wanted);
}

// The loaded library of a family. Devices of one process are taken to be of one kind.
Library library_of(const char* family) {
  static auto* libraries = new std::map<std::string, Library>;
  Library& library = (*libraries)[family];
  if (library == nullptr) {
    mk_device_properties properties{};
    describe(properties);
    const MachineCode& code =
        code_for(code_of(family), properties.compute_major, properties.compute_minor);
    expect_success(runtime()->cudaLibraryLoadData(&library, code.begin, nullptr, nullptr, 0,
                                                  nullptr, nullptr, 0),
                   "loading kernels");
  }
  return library;
}

}  // namespace

const void* Kernel::handle() {
  const void* found = handle_.load(std::memory_order_acquire);
  if (found != nullptr) return found;
  std::lock_guard<std::mutex> lock(mutex);
  KernelHandle handle = nullptr;
  expect_success(runtime()->cudaLibraryGetKernel(&handle, library_of(family_), name_), name_);
  handle_.store(handle, std::memory_order_release);
  return handle;
}

void Kernel::allow_shared() {
  const int device = current_device();
  const uint64_t bit = device < 64 ? uint64_t{1} << device : 0;
  if ((allowed_.load(std::memory_order_relaxed) & bit) != 0) return;
  expect_success(runtime()->cudaKernelSetAttributeForDevice(
                     const_cast<KernelHandle>(handle()), kMaxDynamicSharedBytes,
                     static_cast<int>(most_shared_bytes()), device),
                 name_);
  allowed_.fetch_or(bit, std::memory_order_relaxed);
}

void detail::launch(Kernel& kernel, Grid grid, uint32_t threads, size_t shared_bytes,
                    bool cooperative, const void* args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  if (shared_bytes > kSharedWithoutAsking) kernel.allow_shared();
  LaunchAttribute attribute{};
  attribute.id = kLaunchCooperative;
  attribute.cooperative = 1;
  const LaunchConfig config{{grid.x, grid.y, grid.z}, {threads, 1, 1}, shared_bytes,
                            current_stream(),         &attribute,      cooperative ? 1u : 0u};
  void* pointers[] = {const_cast<void*>(args)};
  expect_success(runtime()->cudaLaunchKernelExC(&config, kernel.handle(), pointers), kernel.name());
}

int resident_blocks(Kernel& kernel, uint32_t threads, size_t shared_bytes) {
  if (shared_bytes > kSharedWithoutAsking) kernel.allow_shared();
  int blocks = 0;
  expect_success(runtime()->cudaOccupancyMaxActiveBlocksPerMultiprocessor(
                     &blocks, kernel.handle(), static_cast<int>(threads), shared_bytes),
                 kernel.name());
  return blocks * multiprocessors();
}

uint32_t blocks_for(int64_t count, uint32_t threads, int64_t each) {
  const int64_t per_block = each * threads;
  const int64_t wanted = divide_up(count, per_block);
  const int64_t most = int64_t{kMostBlocksPerProcessor} * multiprocessors();
  return static_cast<uint32_t>(std::min(wanted, most));
}

void fill_zero(void* memory, size_t bytes) {
  if (bytes == 0) return;
  expect_success(runtime()->cudaMemsetAsync(memory, 0, bytes, current_stream()), "zeros");
}

}  // namespace medkern::cuda
