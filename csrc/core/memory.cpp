// A caching allocator. Blocks are rounded up to one of four sizes per power of two and kept in a
// free list per size, so that a network that runs again on the same shapes maps no page twice.
#include <pthread.h>

#include <array>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "core/status.h"
#include "medkern/runtime.h"

namespace medkern {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kSmallestBlock = 64;
constexpr size_t kLargestRequest = size_t{1} << 62;
constexpr int kClasses = 256;

// Written in the 64 bytes before the memory handed out.
struct Header {
  int size_class;
};

// Class 4 e + q holds 2^e * (1 + q / 4) bytes, q = 0 .. 3.
size_t class_bytes(int size_class) {
  const size_t base = size_t{1} << (size_class / 4);
  return base + base / 4 * (size_class % 4);
}

int class_of(size_t bytes) {
  if (bytes < kSmallestBlock) bytes = kSmallestBlock;
  int size_class = 4 * (std::bit_width(bytes) - 1);
  while (class_bytes(size_class) < bytes) ++size_class;
  return size_class;
}

class Cache {
 public:
  void* take(size_t bytes) {
    if (bytes > kLargestRequest) fail(MK_OUT_OF_MEMORY, "cannot allocate ", bytes, " bytes");
    const int size_class = class_of(bytes);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      auto& blocks = free_[size_class];
      if (!blocks.empty()) {
        void* memory = blocks.back();
        blocks.pop_back();
        cached_ -= class_bytes(size_class);
        count_use(class_bytes(size_class));
        return memory;
      }
    }
    void* memory = map(size_class);
    if (memory == nullptr) {
      trim();
      memory = map(size_class);
    }
    if (memory == nullptr) fail(MK_OUT_OF_MEMORY, "cannot allocate ", bytes, " bytes");
    std::lock_guard<std::mutex> lock(mutex_);
    count_use(class_bytes(size_class));
    return memory;
  }

  void give_back(void* memory) {
    const int size_class = header(memory)->size_class;
    std::lock_guard<std::mutex> lock(mutex_);
    in_use_ -= class_bytes(size_class);
    try {
      free_[size_class].push_back(memory);
      cached_ += class_bytes(size_class);
    } catch (const std::bad_alloc&) {
      std::free(header(memory));
    }
  }

  void trim() {
    std::lock_guard<std::mutex> lock(mutex_);
    for (auto& blocks : free_) {
      for (void* memory : blocks) std::free(header(memory));
      blocks.clear();
    }
    cached_ = 0;
  }

  mk_memory_stats stats() {
    std::lock_guard<std::mutex> lock(mutex_);
    return {sizeof(mk_memory_stats), in_use_, peak_, cached_};
  }

  // A fork while another thread holds the lock would leave it locked in the child for ever.
  void before_fork() { mutex_.lock(); }
  void after_fork() { mutex_.unlock(); }

  void reset_peak() {
    std::lock_guard<std::mutex> lock(mutex_);
    peak_ = in_use_;
  }

 private:
  static Header* header(void* memory) {
    return reinterpret_cast<Header*>(static_cast<char*>(memory) - kAlignment);
  }

  static void* map(int size_class) {
    // Header and block; aligned_alloc wants a multiple of the alignment, which 80, 96 and 112 bytes
    // are not.
    const size_t bytes =
        (kAlignment + class_bytes(size_class) + kAlignment - 1) / kAlignment * kAlignment;
    void* block = std::aligned_alloc(kAlignment, bytes);
    if (block == nullptr) return nullptr;
    static_cast<Header*>(block)->size_class = size_class;
    return static_cast<char*>(block) + kAlignment;
  }

  void count_use(size_t bytes) {
    in_use_ += bytes;
    if (in_use_ > peak_) peak_ = in_use_;
  }

  std::mutex mutex_;
  std::array<std::vector<void*>, kClasses> free_;
  size_t in_use_ = 0, peak_ = 0, cached_ = 0;
};

// Never destroyed: arrays may outlive static destruction at interpreter exit.
Cache& cache() {
  static Cache* instance = [] {
    auto* made = new Cache;
    pthread_atfork([] { cache().before_fork(); }, [] { cache().after_fork(); },
                   [] { cache().after_fork(); });
    return made;
  }();
  return *instance;
}

}  // namespace
}  // namespace medkern

using medkern::cache;
using medkern::guarded;
using medkern::require;

extern "C" mk_status mk_alloc(size_t bytes, void** memory) {
  return guarded([&] {
    require(memory != nullptr, "mk_alloc: memory is NULL");
    *memory = cache().take(bytes);
  });
}

extern "C" void mk_free(void* memory) {
  if (memory != nullptr) cache().give_back(memory);
}

extern "C" mk_status mk_memory_get_stats(mk_memory_stats* stats) {
  return guarded([&] {
    require(stats != nullptr && stats->struct_size >= sizeof(mk_memory_stats),
            "mk_memory_get_stats: stats is NULL or its struct_size is too small");
    *stats = cache().stats();
  });
}

extern "C" void mk_memory_reset_peak(void) { cache().reset_peak(); }

extern "C" void mk_memory_trim(void) { cache().trim(); }
