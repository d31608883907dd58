// The CUDA runtime's functions for devices, memory and kernels, under their own names. The device's
// kernels are the functions of this library that MK_KERNEL has made.
#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <map>

#include "cuda/emulator/guard.h"
#include "cuda/emulator/launch.h"
#include "cuda/emulator/memory.h"
#include "cuda/emulator/scheduler.h"
#include "cuda/emulator/work.h"

namespace {

using namespace medkern::cuda;
using namespace medkern::cuda::emulator;
using Lock = std::lock_guard<std::recursive_mutex>;

constexpr int kDevices = 2;
constexpr size_t kSharedWithoutAsking = 48 << 10;
thread_local int device_now = 0;
int major_now = 9, minor_now = 0;  // compute capability

// The schedule of MEDKERN_EMULATOR_SCHEDULE: forward, backward, random or random:<seed>; else
// every.
void read_schedule() {
  static const bool once = [] {
    const char* wish = std::getenv("MEDKERN_EMULATOR_SCHEDULE");
    if (wish == nullptr) return true;
    if (std::strcmp(wish, "forward") == 0) choose_schedule(Schedule::forward, 1);
    if (std::strcmp(wish, "backward") == 0) choose_schedule(Schedule::backward, 1);
    if (std::strncmp(wish, "random", 6) == 0) {
      const int seed = wish[6] == ':' ? std::atoi(wish + 7) : 1;
      choose_schedule(Schedule::random, static_cast<uint32_t>(seed));
    }
    return true;
  }();
  static_cast<void>(once);
}

int attribute(int number) {
  switch (number) {
    case 1:  // threads of a block
      return kMostThreads;
    case 5:  // blocks in x
      return 0x7fffffff;
    case 6:  // in y and z
    case 7:
      return 65535;
    case 8:  // shared memory of a block that doesn't ask for more
      return kSharedWithoutAsking;
    case 10:  // threads of a warp
      return 32;
    case 12:  // registers of a block, and of a multiprocessor
    case 82:
      return 65536;
    case 16:
      return kProcessors;
    case 38:  // last cache
      return 50 << 20;
    case 39:  // threads of a multiprocessor
      return kResidentThreads;
    case 19:  // memory of the host can be mapped, has the same addresses; cooperative launches
    case 41:  // and pools of memory are there
    case 95:
    case 115:
      return 1;
    case 75:
      return major_now;
    case 76:
      return minor_now;
    case 81:  // shared memory of a multiprocessor, and of a block
      return 228 << 10;
    case 97:
      return kMostShared;
    case 106:  // blocks of a multiprocessor
      return 32;
    default:
      return -1;
  }
}

std::map<const KernelRecord*, size_t>& allowed_shared() {
  static auto* all = new std::map<const KernelRecord*, size_t>;
  return *all;
}

std::map<std::string, int>& launches() {
  static auto* all = new std::map<std::string, int>;
  return *all;
}

Status copy_now(void* to, const void* from, size_t bytes, std::string& report) {
  const Trap trap = run_guarded([=] { std::memmove(to, from, bytes); }, report);
  if (trap == Trap::none) return kSuccess;
  report = "copy of " + std::to_string(bytes) + " bytes: " + report;
  return kIllegalAddress;
}

// Of one end of a copy: whether it is memory of the device, and whether the runtime knows it at
// all.
bool expect_bounds(const void* address, size_t bytes, bool& device, bool& known,
                   std::string& report) {
  known = find_allocation(address) != nullptr;
  if (!known) {
    device = false;
    return true;
  }
  if (is_allocated(address, bytes, device)) return true;
  report = "copy or fill of " + std::to_string(bytes) + " bytes that begins at " +
           describe_address(address);
  return false;
}

}  // namespace

// For tests: the order in which threads and blocks run, 0 forward, 1 backward, 2 random, 3 every
// one of them in turn, which must leave the same bits.
MK_EXPORT void medkern_emulator_set_schedule(int kind, unsigned seed) {
  const Lock lock(mutex);
  read_schedule();
  drain_all();
  choose_schedule(static_cast<Schedule>(kind), seed);
}

// For tests: how many launches there were of kernels whose names begin so.
MK_EXPORT int medkern_emulator_launches(const char* begin) {
  const Lock lock(mutex);
  int count = 0;
  for (const auto& [name, times] : launches()) {
    if (name.rfind(begin, 0) == 0) count += times;
  }
  return count;
}

// For tests: the compute capability that devices are said to have, 9.0 at first. Kernels run
// whatever it is.
MK_EXPORT void medkern_emulator_set_capability(int major, int minor) {
  major_now = major;
  minor_now = minor;
}

// For tests: how often the host has waited for the device so far.
MK_EXPORT uint64_t medkern_emulator_waits() { return waits; }

// ---------------------------------------------------------------- devices

MK_EXPORT Status cudaGetDeviceCount(int* count) {
  *count = kDevices;
  return kSuccess;
}
MK_EXPORT Status cudaSetDevice(int device) {
  if (device < 0 || device >= kDevices) return result(kInvalidDevice);
  device_now = device;
  return kSuccess;
}
MK_EXPORT Status cudaGetDevice(int* device) {
  *device = device_now;
  return kSuccess;
}
MK_EXPORT Status cudaDeviceGetAttribute(int* value, int number, int device) {
  if (device < 0 || device >= kDevices) return result(kInvalidDevice);
  *value = attribute(number);
  return *value < 0 ? result(kInvalidValue, "attribute " + std::to_string(number)) : kSuccess;
}
MK_EXPORT Status cudaGetDeviceProperties_v2(void* properties, int device) {
  if (device < 0 || device >= kDevices) return result(kInvalidDevice);
  auto* bytes = static_cast<unsigned char*>(properties);
  std::memset(bytes, 0, 512);
  std::memcpy(bytes, "emulated device", 16);
  const size_t total = kDeviceBytes;
  std::memcpy(bytes + 288, &total, sizeof total);
  return kSuccess;
}
MK_EXPORT Status cudaMemGetInfo(size_t* free, size_t* total) {
  const Lock lock(mutex);
  *free = kDeviceBytes - memory_in_use();
  *total = kDeviceBytes;
  return kSuccess;
}

// ---------------------------------------------------------------- memory

MK_EXPORT Status cudaMallocAsync(void** memory, size_t bytes, Stream stream) {
  const Lock lock(mutex);
  *memory = nullptr;
  if (bytes == 0) return kSuccess;
  *memory = allocate_memory(bytes, false, device_now);
  if (*memory == nullptr) {
    drain_all();  // what is to be freed
    *memory = allocate_memory(bytes, false, device_now);
  }
  if (*memory == nullptr) return result(kOutOfMemory);
  const auto& capture = queue_of(stream).capture;
  if (capture != nullptr) capture->memory.push_back(*memory);
  return kSuccess;
}
MK_EXPORT Status cudaFreeAsync(void* memory, Stream stream) {
  const Lock lock(mutex);
  if (memory == nullptr) return kSuccess;
  Queue& queue = queue_of(stream);
  if (queue.capture != nullptr) return kSuccess;  // it is the graph's as long as that lives
  enqueue(queue, [memory](std::string& report) {
    if (free_memory(memory, false, report)) return kSuccess;
    report = "freeing what isn't allocated: " + describe_address(memory);
    return kInvalidValue;
  });
  return kSuccess;
}
MK_EXPORT Status cudaMalloc(void** memory, size_t bytes) {
  return cudaMallocAsync(memory, bytes, nullptr);
}
MK_EXPORT Status cudaFree(void* memory) {
  const Lock lock(mutex);
  drain_all();
  const Status status = cudaFreeAsync(memory, nullptr);
  drain_all();
  return status;
}
MK_EXPORT Status cudaHostAlloc(void** memory, size_t bytes, unsigned) {
  const Lock lock(mutex);
  *memory = bytes > 0 ? allocate_memory(bytes, true, device_now) : nullptr;
  return *memory == nullptr && bytes > 0 ? result(kOutOfMemory) : kSuccess;
}
MK_EXPORT Status cudaMallocHost(void** memory, size_t bytes) {
  return cudaHostAlloc(memory, bytes, 0);
}
MK_EXPORT Status cudaFreeHost(void* memory) {
  const Lock lock(mutex);
  if (memory == nullptr) return kSuccess;
  drain_all();
  std::string report;
  if (!free_memory(memory, true, report)) return result(kInvalidValue);
  return report.empty() ? kSuccess : result(kIllegalAddress, report);
}
MK_EXPORT Status cudaHostGetDevicePointer(void** device, void* host, unsigned) {
  *device = host;
  return kSuccess;
}
MK_EXPORT Status cudaPointerGetAttributes(void* attributes, const void* address) {
  const Lock lock(mutex);
  struct {
    int kind, device;  // 0 unknown, 1 of the host, 2 of a device
    void *of_device, *of_host;
  } found{};
  bool device = false;
  if (is_allocated(address, 1, device)) {
    found.kind = device ? 2 : 1;
    found.device = find_allocation(address)->device;
    found.of_device = const_cast<void*>(address);
    found.of_host = device ? nullptr : found.of_device;
  }
  std::memcpy(attributes, &found, sizeof found);
  return kSuccess;
}

MK_EXPORT Status cudaMemcpyAsync(void* to, const void* from, size_t bytes, int, Stream stream) {
  const Lock lock(mutex);
  if (bytes == 0) return kSuccess;
  bool to_device = false, from_device = false, to_known = false, from_known = false;
  std::string report;
  if (!expect_bounds(to, bytes, to_device, to_known, report) ||
      !expect_bounds(from, bytes, from_device, from_known, report)) {
    return result(kInvalidValue, report);
  }
  Queue& queue = queue_of(stream);
  if (!from_known && queue.capture == nullptr) {
    // Memory of the host that CUDA doesn't know is copied before the call returns.
    auto staged = std::make_shared<std::vector<unsigned char>>(bytes);
    std::memcpy(staged->data(), from, bytes);
    enqueue(queue, [to, staged](std::string& why) {
      return copy_now(to, staged->data(), staged->size(), why);
    });
  } else {
    enqueue(queue, [=](std::string& why) { return copy_now(to, from, bytes, why); });
  }
  if (to_known || queue.capture != nullptr) return kSuccess;
  ++waits;
  drain(queue);
  return take_work_error();
}
MK_EXPORT Status cudaMemsetAsync(void* to, int value, size_t bytes, Stream stream) {
  const Lock lock(mutex);
  if (bytes == 0) return kSuccess;
  bool device = false, known = false;
  std::string report;
  if (!expect_bounds(to, bytes, device, known, report) || !known) {
    return result(kInvalidValue, report);
  }
  enqueue(queue_of(stream), [=](std::string& why) {
    const Trap trap = run_guarded([=] { std::memset(to, value, bytes); }, why);
    return trap == Trap::none ? kSuccess : kIllegalAddress;
  });
  return kSuccess;
}

MK_EXPORT Status cudaDeviceGetDefaultMemPool(MemoryPool* pool, int) {
  static int one;
  *pool = &one;
  return kSuccess;
}
MK_EXPORT Status cudaMemPoolSetAttribute(MemoryPool, int, void*) { return kSuccess; }
MK_EXPORT Status cudaMemPoolGetAttribute(MemoryPool, int number, void* value) {
  const Lock lock(mutex);
  uint64_t bytes = 0;
  if (number == kReservedNow || number == kUsedNow) bytes = memory_in_use();
  std::memcpy(value, &bytes, sizeof bytes);
  return kSuccess;
}
MK_EXPORT Status cudaMemPoolTrimTo(MemoryPool, size_t) { return kSuccess; }

// ---------------------------------------------------------------- kernels

MK_EXPORT Status cudaLibraryLoadData(Library* library, const void*, int*, void**, unsigned, int*,
                                     void**, unsigned) {
  // The code is here already, in C++.
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(&read_schedule), &info) == 0)
    return result(kInvalidValue);
  *library = dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD);
  return *library == nullptr ? result(kInvalidValue, "the emulator can't find itself") : kSuccess;
}
MK_EXPORT Status cudaLibraryUnload(Library) { return kSuccess; }
MK_EXPORT Status cudaLibraryGetKernel(KernelHandle* kernel, Library library, const char* name) {
  using Find = const KernelRecord* (*)();
  const auto find = reinterpret_cast<Find>(dlsym(library, name));
  if (find == nullptr) return result(kSymbolNotFound, std::string("the emulator has no ") + name);
  *kernel = const_cast<KernelRecord*>(find());
  return kSuccess;
}
MK_EXPORT Status cudaKernelSetAttributeForDevice(KernelHandle kernel, int number, int value, int) {
  const Lock lock(mutex);
  if (number != kMaxDynamicSharedBytes) return kSuccess;
  if (value < 0 || static_cast<size_t>(value) > kMostShared) return result(kInvalidValue);
  allowed_shared()[static_cast<const KernelRecord*>(kernel)] = static_cast<size_t>(value);
  return kSuccess;
}
MK_EXPORT Status cudaFuncSetAttribute(const void* kernel, int number, int value) {
  return cudaKernelSetAttributeForDevice(const_cast<void*>(kernel), number, value, 0);
}
MK_EXPORT Status cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void* kernel,
                                                               int threads, size_t shared_bytes) {
  *blocks = static_cast<int>(resident_blocks(*static_cast<const KernelRecord*>(kernel),
                                             static_cast<uint32_t>(threads), shared_bytes));
  return kSuccess;
}
MK_EXPORT Status cudaLaunchKernelExC(const LaunchConfig* config, const void* kernel, void** args) {
  const Lock lock(mutex);
  read_schedule();
  const auto& record = *static_cast<const KernelRecord*>(kernel);
  bool cooperative = false;
  for (uint32_t i = 0; i < config->attribute_count; ++i) {
    if (config->attributes[i].id == kLaunchCooperative) {
      cooperative = config->attributes[i].cooperative != 0;
    }
  }
  const Dim3 grid = config->grid, threads = config->block;
  const size_t shared_bytes = config->shared_bytes;
  Status status = check_launch(record, grid, threads, shared_bytes, cooperative);
  const auto allowed = allowed_shared().find(&record);
  if (shared_bytes > kSharedWithoutAsking &&
      (allowed == allowed_shared().end() || shared_bytes > allowed->second)) {
    status = kInvalidValue;
  }
  if (status != kSuccess) {
    return result(status, std::string(record.name) + " on " + std::to_string(grid.x) + " x " +
                              std::to_string(grid.y) + " x " + std::to_string(grid.z) +
                              " blocks of " + std::to_string(threads.x * threads.y * threads.z) +
                              " threads (at most " + std::to_string(record.most_threads) +
                              ") with " + std::to_string(shared_bytes) + " bytes of shared memory");
  }
  ++launches()[record.name];
  struct alignas(64) Piece {
    unsigned char bytes[64];
  };
  auto kept = std::make_shared<std::vector<Piece>>((record.args_bytes + 63) / 64);
  std::memcpy(kept->data(), args[0], record.args_bytes);
  enqueue(queue_of(config->stream), [=, &record](std::string& report) {
    return run_launch(record, kept->data(), grid, threads, shared_bytes, cooperative, report);
  });
  return kSuccess;
}
MK_EXPORT Status cudaLaunchCooperativeKernel(const void* kernel, Dim3 grid, Dim3 block, void** args,
                                             size_t shared_bytes, Stream stream) {
  LaunchAttribute attribute{};
  attribute.id = kLaunchCooperative;
  attribute.cooperative = 1;
  const LaunchConfig config{grid, block, shared_bytes, stream, &attribute, 1};
  return cudaLaunchKernelExC(&config, kernel, args);
}
