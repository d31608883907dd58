// Memory as the device sees it.
//
// Every allocation lies in pages of its own, with its end, rounded up to 256 bytes as CUDA's
// alignment demands, at a page that can't be accessed; what lies between is checked for having been
// written to. Fresh memory is filled with NaN. Addresses are used once, so that freed memory is
// known as such. The host can't touch the device's memory: pages can be accessed only while a
// kernel or a copy of the emulator runs, each opened when it is first touched (large ones for
// good).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace medkern::cuda::emulator {

constexpr size_t kDeviceBytes = size_t{16} << 30;  // what the device is said to have
constexpr size_t kMostShared = 227 << 10;          // of a block

struct Allocation {
  unsigned char *pages, *pages_end;  // what is mapped
  unsigned char* begin;
  size_t bytes;
  bool of_host, freed, open;
  int device;
};

// Null if the device's memory is full. The devices share it, and each allocation is one's.
void* allocate_memory(size_t bytes, bool of_host, int device);
// False if there is no such allocation. Writes beyond its ends are told in `report`.
bool free_memory(void* begin, bool of_host, std::string& report);
size_t memory_in_use();

// The allocation the address lies in or near, freed ones too; null if there is none.
const Allocation* find_allocation(const void* address);
// Whether all these bytes lie in one allocation that isn't freed; `device` tells which kind.
bool is_allocated(const void* address, size_t bytes, bool& device);

// Opens the pages of the device's memory that the address lies in; false if it lies in none.
bool open_memory(const void* address);
// Closes all but the large, with `large` those too; checks those that were open for writes beyond
// their ends, told in `report`.
void close_memory(std::string& report, bool large = false);
// Of the large that were left open.
size_t open_bytes();
// To be called with each allocation that open_memory opens; null for none.
void on_open(void (*call)(Allocation&));

// The allocation is open as long as this lives.
class OpenNow {
 public:
  explicit OpenNow(Allocation& allocation);
  ~OpenNow();
  OpenNow(const OpenNow&) = delete;
  OpenNow& operator=(const OpenNow&) = delete;

 private:
  Allocation& allocation_;
};

// Memory for the shared memory of one of the blocks that run at once: `bytes` that end at a page
// that can't be accessed, and begin no more than a page after one.
unsigned char* shared_arena(size_t number, size_t bytes);

// What an address is that must not be touched: "4 bytes past the end of ...".
std::string describe_address(const void* address);

}  // namespace medkern::cuda::emulator
