#include "core/regions.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>

namespace medkern {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
// A region that is mapped for a smaller request.
constexpr size_t kRegionBytes = size_t{256} << 20;

size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

// Pages of at least `bytes`, a multiple of kHugePage, aligned to kHugePage; nullptr if there are
// none.
char* map_pages(size_t bytes) {
  const size_t room = bytes + kHugePage;
  void* memory = mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  char* begin = static_cast<char*>(memory);
  const size_t before =
      round_up(reinterpret_cast<uintptr_t>(begin), kHugePage) - reinterpret_cast<uintptr_t>(begin);
  if (before > 0) munmap(begin, before);
  munmap(begin + before + bytes, room - before - bytes);
#ifdef MADV_HUGEPAGE
  madvise(begin + before, bytes, MADV_HUGEPAGE);  // no matter if the system has none
#endif
  return begin + before;
}

}  // namespace

Regions::Blocks::iterator Regions::map_region(size_t bytes) {
  const size_t least = round_up(bytes, kHugePage);
  for (size_t size : {std::max(least, kRegionBytes), least}) {
    if (char* begin = map_pages(size)) {
      return blocks_.insert({begin, Block{size, 0, true, true}}).first;
    }
  }
  return blocks_.end();
}

void* Regions::take(size_t bytes) {
  auto block = std::find_if(blocks_.begin(), blocks_.end(), [bytes](const auto& entry) {
    return entry.second.free && entry.second.bytes >= bytes;
  });
  if (block == blocks_.end()) block = map_region(bytes);
  if (block == blocks_.end()) return nullptr;
  Block& taken = block->second;
  const size_t kept = std::min(taken.kept, bytes);
  if (taken.bytes > bytes) {
    blocks_.insert(
        {block->first + bytes, Block{taken.bytes - bytes, taken.kept - kept, true, false}});
    taken.bytes = bytes;
  }
  taken.kept = 0;
  taken.free = false;
  kept_ -= kept;
  return block->first;
}

void Regions::merge_with_next(Blocks::iterator block) {
  const auto next = std::next(block);
  if (next == blocks_.end() || !next->second.free || next->second.begins_region) return;
  block->second.bytes += next->second.bytes;
  block->second.kept += next->second.kept;
  blocks_.erase(next);
}

size_t Regions::give_back(void* memory) {
  const auto block = blocks_.find(static_cast<char*>(memory));
  const size_t bytes = block->second.bytes;
  block->second.free = true;
  block->second.kept = bytes;
  kept_ += bytes;
  merge_with_next(block);
  if (!block->second.begins_region && std::prev(block)->second.free) {
    merge_with_next(std::prev(block));
  }
  return bytes;
}

void Regions::trim() {
  for (auto block = blocks_.begin(); block != blocks_.end();) {
    const auto next = std::next(block);
    Block& b = block->second;
    const bool whole_region =
        b.begins_region && (next == blocks_.end() || next->second.begins_region);
    if (b.free && whole_region) {
      munmap(block->first, b.bytes);
      blocks_.erase(block);
    } else if (b.free && b.kept > 0) {
      // Whole huge pages only, so that those at the ends stay.
      const auto begin = round_up(reinterpret_cast<uintptr_t>(block->first), kHugePage);
      const auto end =
          (reinterpret_cast<uintptr_t>(block->first) + b.bytes) / kHugePage * kHugePage;
      if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
      b.kept = 0;
    }
    block = next;
  }
  kept_ = 0;
}

}  // namespace medkern
