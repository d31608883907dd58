// A caching allocator, so that a network that runs again on the same shapes maps no page twice.
// Small blocks are rounded up to one of four sizes per power of two and kept in a free list per
// size; large ones are cut from regions.
#include <pthread.h>

#include <array>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#include "core/regions.h"
#include "core/status.h"
#include "medkern/runtime.h"

namespace medkern {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kSmallestBlock = 64;
constexpr size_t kLargestSmall = size_t{64} << 10;
constexpr size_t kLargestRequest = size_t{1} << 62;
constexpr int kLarge = 4 * std::bit_width(kLargestSmall);  // the class after the last small one

// Written in the 64 bytes before the memory handed out.
struct Header {
  int size_class;
};

// Class 4 e + q holds 2^e * (1 + q / 4) bytes, q = 0 .. 3.
constexpr size_t class_bytes(int size_class) {
  const size_t base = size_t{1} << (size_class / 4);
  return base + base / 4 * (size_class % 4);
}

int class_of(size_t bytes) {
  if (bytes > kLargestSmall) return kLarge;
  if (bytes < kSmallestBlock) bytes = kSmallestBlock;
  int size_class = 4 * (std::bit_width(bytes) - 1);
  while (class_bytes(size_class) < bytes) ++size_class;
  return size_class;
}

size_t with_header(size_t bytes) {
  return (kAlignment + bytes + kAlignment - 1) / kAlignment * kAlignment;
}

class Cache {
 public:
  void* take(size_t bytes) {
    if (bytes > kLargestRequest) fail(MK_OUT_OF_MEMORY, "cannot allocate ", bytes, " bytes");
    const int size_class = class_of(bytes);
    const size_t block_bytes = with_header(size_class == kLarge ? bytes : class_bytes(size_class));
    std::lock_guard<std::mutex> lock(mutex_);
    void* block = take_block(size_class, block_bytes);
    if (block == nullptr) {
      give_all_back();
      block = take_block(size_class, block_bytes);
    }
    if (block == nullptr) fail(MK_OUT_OF_MEMORY, "cannot allocate ", bytes, " bytes");
    static_cast<Header*>(block)->size_class = size_class;
    count_use(block_bytes - kAlignment);
    return static_cast<char*>(block) + kAlignment;
  }

  void give_back(void* memory) {
    void* block = static_cast<char*>(memory) - kAlignment;
    const int size_class = static_cast<Header*>(block)->size_class;
    std::lock_guard<std::mutex> lock(mutex_);
    if (size_class == kLarge) {
      in_use_ -= regions_.give_back(block) - kAlignment;
      return;
    }
    in_use_ -= with_header(class_bytes(size_class)) - kAlignment;
    try {
      free_[size_class].push_back(block);
      kept_small_ += class_bytes(size_class);
    } catch (const std::bad_alloc&) {
      std::free(block);
    }
  }

  void trim() {
    std::lock_guard<std::mutex> lock(mutex_);
    give_all_back();
  }

  mk_memory_stats stats() {
    std::lock_guard<std::mutex> lock(mutex_);
    return {sizeof(mk_memory_stats), in_use_, peak_, kept_small_ + regions_.kept()};
  }

  // A fork while another thread holds the lock would leave it locked in the child for ever.
  void before_fork() { mutex_.lock(); }
  void after_fork() { mutex_.unlock(); }

  void reset_peak() {
    std::lock_guard<std::mutex> lock(mutex_);
    peak_ = in_use_;
  }

 private:
  void* take_block(int size_class, size_t bytes) {
    if (size_class == kLarge) {
      try {
        return regions_.take(bytes);
      } catch (const std::bad_alloc&) {
        return nullptr;
      }
    }
    auto& blocks = free_[size_class];
    if (blocks.empty()) return std::aligned_alloc(kAlignment, bytes);
    void* block = blocks.back();
    blocks.pop_back();
    kept_small_ -= class_bytes(size_class);
    return block;
  }

  void give_all_back() {
    for (auto& blocks : free_) {
      for (void* block : blocks) std::free(block);
      blocks.clear();
    }
    kept_small_ = 0;
    regions_.trim();
  }

  void count_use(size_t bytes) {
    in_use_ += bytes;
    if (in_use_ > peak_) peak_ = in_use_;
  }

  std::mutex mutex_;
  std::array<std::vector<void*>, kLarge> free_;  // blocks by class
  Regions regions_;
  size_t in_use_ = 0, peak_ = 0, kept_small_ = 0;
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
