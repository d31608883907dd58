// Memory for large blocks: regions of address space mapped from the system, cut into blocks.
//
// A request gets the first free block, in order of address, that is large enough; neighbors that
// are free are one block. So memory that one shape used serves every other shape later, and the
// pages ever touched stay close to the most that was in use at one time. Pages are touched when a
// block is used first, not when a region is mapped; huge pages are asked for.
#pragma once

#include <cstddef>
#include <map>

namespace medkern {

// Not safe for threads by itself.
class Regions {
 public:
  // `bytes` (a multiple of 64) at an address that is one too, or nullptr if the system gives no
  // more. May throw std::bad_alloc.
  void* take(size_t bytes);
  // `block` is free again; returns its size.
  size_t give_back(void* block);
  // Gives the pages of free blocks back to the system.
  void trim();
  // Bytes in free blocks whose pages the system has not got back.
  size_t kept() const { return kept_; }

 private:
  struct Block {
    size_t bytes;
    size_t
        kept;  // of a free block: bytes of it that were in use since its pages were last given back
    bool free;
    bool begins_region;
  };
  using Blocks = std::map<char*, Block>;

  Blocks::iterator map_region(size_t bytes);
  void merge_with_next(Blocks::iterator block);

  Blocks blocks_;  // all of them by address; those of a region lie side by side
  size_t kept_ = 0;
};

}  // namespace medkern
