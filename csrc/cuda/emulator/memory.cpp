#include "cuda/emulator/memory.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <new>
#include <vector>

#include "cuda/emulator/fiber.h"

namespace medkern::cuda::emulator {
namespace {

constexpr size_t kPage = 4096, kAlignment = 256, kSharedAlignment = 16;
constexpr size_t kRegion = size_t{1} << 43;  // addresses only
// Between allocations: the first half is past the end of one, the rest before the begin of the
// next.
constexpr size_t kGap = 128 << 10;
constexpr size_t kKept = 32;             // freed ones of a size that aren't used again yet
constexpr size_t kOpened = 1 << 20;      // what is larger is left open: it takes long to close
constexpr unsigned char kPoison = 0xff;  // NaN in every format
constexpr size_t kArena = (kMostShared + kPage - 1) / kPage * kPage;

struct Arena {
  unsigned char *pages, *end;
  size_t bytes;
};

struct Heap {
  unsigned char *begin = nullptr, *next = nullptr, *end = nullptr;
  std::map<const unsigned char*, Allocation> all;   // by the first address that could be meant
  std::map<size_t, std::deque<Allocation*>> freed;  // by the size of their pages
  std::vector<Allocation*> open;
  void (*opened)(Allocation&) = nullptr;  // called with what is opened
  std::vector<Arena> arenas;
  size_t in_use = 0;
};

Heap& heap() {
  static auto* one = new Heap;
  return *one;
}

size_t round_up(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

void reserve(Heap& heap) {
  for (size_t bytes = kRegion; heap.begin == nullptr && bytes >= kDeviceBytes; bytes /= 2) {
    void* region =
        mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED) continue;
    heap.begin = static_cast<unsigned char*>(region);
    heap.next = heap.begin;
    heap.end = heap.begin + bytes;
  }
  if (heap.begin == nullptr) throw std::bad_alloc();
}

void protect(const Allocation& allocation, int access) {
  mprotect(allocation.pages, static_cast<size_t>(allocation.pages_end - allocation.pages), access);
}

bool all_poison(const unsigned char* begin, const unsigned char* end) {
  if (begin == end) return true;
  // Each byte is like the one before it.
  return *begin == kPoison &&
         std::memcmp(begin, begin + 1, static_cast<size_t>(end - begin) - 1) == 0;
}

std::string text_of(const Allocation& allocation) {
  return (allocation.of_host ? std::string("host memory of ") : std::string("an allocation of ")) +
         std::to_string(allocation.bytes) + " bytes";
}

// The pages must be open.
void check_ends(Allocation& allocation, std::string& report) {
  unsigned char* end = allocation.begin + allocation.bytes;
  const bool before = !all_poison(allocation.pages, allocation.begin);
  const bool after = !all_poison(end, allocation.pages_end);
  if (!before && !after) return;
  report = std::string("a write ") + (before ? "before the begin" : "past the end") + " of " +
           text_of(allocation);
  std::memset(allocation.pages, kPoison, static_cast<size_t>(allocation.begin - allocation.pages));
  std::memset(end, kPoison, static_cast<size_t>(allocation.pages_end - end));
}

Allocation* find(const void* address) {
  Heap& heap = emulator::heap();
  const auto* at = static_cast<const unsigned char*>(address);
  if (at < heap.begin || at >= heap.end || heap.all.empty()) return nullptr;
  auto next = heap.all.upper_bound(at);
  return next == heap.all.begin() ? nullptr : &std::prev(next)->second;
}

// Addresses that weren't used before, or not lately.
unsigned char* take_pages(Heap& heap, size_t pages) {
  auto& freed = heap.freed[pages];
  if (freed.size() > kKept) {
    unsigned char* place = freed.front()->pages;
    freed.pop_front();
    return place;
  }
  if (pages + kGap > static_cast<size_t>(heap.end - heap.next)) return nullptr;
  unsigned char* place = heap.next + kGap / 2;
  heap.next = place + pages + kGap / 2;
  return place;
}

}  // namespace

void* allocate_memory(size_t bytes, bool of_host, int device) {
  Heap& heap = emulator::heap();
  if (heap.begin == nullptr) reserve(heap);
  const size_t rounded = round_up(bytes, kAlignment), pages = round_up(rounded, kPage);
  if (rounded < bytes || pages > kDeviceBytes - heap.in_use) return nullptr;
  unsigned char* place = take_pages(heap, pages);
  if (place == nullptr || mprotect(place, pages, PROT_READ | PROT_WRITE) != 0) return nullptr;
  std::memset(place, kPoison, pages);
  Allocation& made = heap.all[place - kGap / 2];
  made = {place, place + pages, place + pages - rounded, bytes, of_host, false, of_host, device};
  if (!of_host) protect(made, PROT_NONE);
  heap.in_use += pages;
  return made.begin;
}

bool free_memory(void* begin, bool of_host, std::string& report) {
  Allocation* found = find(begin);
  if (found == nullptr || found->begin != begin || found->freed || found->of_host != of_host) {
    return false;
  }
  if (of_host) check_ends(*found, report);
  found->freed = true;
  heap().freed[static_cast<size_t>(found->pages_end - found->pages)].push_back(found);
  madvise(found->pages, static_cast<size_t>(found->pages_end - found->pages), MADV_DONTNEED);
  protect(*found, PROT_NONE);
  heap().in_use -= static_cast<size_t>(found->pages_end - found->pages);
  return true;
}

size_t memory_in_use() { return heap().in_use; }

const Allocation* find_allocation(const void* address) { return find(address); }

bool is_allocated(const void* address, size_t bytes, bool& device) {
  const Allocation* found = find(address);
  const auto* at = static_cast<const unsigned char*>(address);
  device = found != nullptr && !found->of_host;
  return found != nullptr && !found->freed && at >= found->begin &&
         at + bytes <= found->begin + found->bytes;
}

bool open_memory(const void* address) {
  Allocation* found = find(address);
  const auto* at = static_cast<const unsigned char*>(address);
  if (found == nullptr || found->freed || found->open || at < found->pages ||
      at >= found->pages_end) {
    return false;
  }
  protect(*found, PROT_READ | PROT_WRITE);
  found->open = true;
  heap().open.push_back(found);
  if (heap().opened != nullptr) heap().opened(*found);
  return true;
}

size_t open_bytes() {
  size_t sum = 0;
  for (const Allocation* one : heap().open) sum += one->bytes;
  return sum;
}

void on_open(void (*call)(Allocation&)) { heap().opened = call; }

OpenNow::OpenNow(Allocation& allocation) : allocation_(allocation) {
  if (!allocation.open) protect(allocation, PROT_READ | PROT_WRITE);
}
OpenNow::~OpenNow() {
  if (!allocation_.open) protect(allocation_, PROT_NONE);
}

void close_memory(std::string& report, bool large) {
  Heap& heap = emulator::heap();
  size_t kept = 0;
  for (Allocation* allocation : heap.open) {
    if (allocation->freed) continue;
    check_ends(*allocation, report);
    if (!large && static_cast<size_t>(allocation->pages_end - allocation->pages) > kOpened) {
      heap.open[kept++] = allocation;
    } else {
      protect(*allocation, PROT_NONE);
      allocation->open = false;
    }
  }
  heap.open.resize(kept);
}

unsigned char* shared_arena(size_t number, size_t bytes) {
  Heap& heap = emulator::heap();
  while (heap.arenas.size() <= number) {
    void* region = mmap(nullptr, kArena + 2 * kPage, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED) throw std::bad_alloc();
    auto* pages = static_cast<unsigned char*>(region) + kPage;
    heap.arenas.push_back({pages, pages + kArena, 0});
  }
  Arena& arena = heap.arenas[number];
  if (arena.bytes != bytes) {
    const size_t used = round_up(bytes, kPage);
    mprotect(arena.pages, kArena - used, PROT_NONE);
    mprotect(arena.end - used, used, PROT_READ | PROT_WRITE);
    arena.bytes = bytes;
  }
  return arena.end - round_up(bytes, kSharedAlignment);
}

std::string describe_address(const void* address) {
  const auto* at = static_cast<const unsigned char*>(address);
  if (is_below_stack(address)) return "a stack that is full: too much in a thread's local arrays";
  for (const Arena& arena : heap().arenas) {
    if (at < arena.pages - kPage || at >= arena.end + kPage) continue;
    const unsigned char* begin = arena.end - round_up(arena.bytes, kSharedAlignment);
    return "byte " + std::to_string(at - begin) + " of a shared memory of " +
           std::to_string(arena.bytes) + " bytes";
  }
  const Allocation* found = find(address);
  if (found == nullptr) {
    char text[32];
    const int length = snprintf(text, sizeof text, "%p", address);
    return "address " + std::string(text, static_cast<size_t>(length)) +
           ", which is no memory of the device";
  }
  const unsigned char* end = found->begin + found->bytes;
  std::string text;
  if (at < found->begin) {
    text = std::to_string(found->begin - at) + " bytes before the begin of ";
  } else if (at >= end) {
    text = std::to_string(at - end) + " bytes past the end of ";
  }
  return text + text_of(*found) + (found->freed ? ", which was freed" : "");
}

}  // namespace medkern::cuda::emulator
