// What a block has under way of cuda/hopper.h: barriers in shared memory, copies of boxes, and
// products of warpgroups.
//
// Copies land as late as can be: when no thread of the block can go on. Until then their
// destination is not a number, so that whoever reads it without waiting gets that. Products take
// their operands when they are asked for and give their sums when they are waited for; in between
// the sums are not numbers, and operands and sums must stay as they are.
//
// `published` is shared memory as the copy engine and wgmma see it: what they have written, and
// what threads had written at the last fence_proxy_async().
#pragma once

#include <map>
#include <vector>

#include "cuda/emulator/scheduler.h"
#include "cuda/hopper.h"

namespace medkern::cuda::emulator {

struct PhaseWait {
  uint32_t thread, parity;
};

struct PhaseBarrier {
  uint32_t count;    // arrivals of a phase
  uint32_t pending;  // arrivals that this one still waits for
  int64_t bytes;     // expected less come
  uint32_t phase;
  bool published;
  std::vector<PhaseWait> waits;
};

constexpr uint32_t kMostAxes = 5;

// What a TensorMap of the emulator holds. Axes from `rank` on have the size 1.
struct Tensor {
  uint32_t mark;
  uint8_t type, swizzle, rank;
  uint8_t steps[kMostAxes];
  uint16_t box[kMostAxes];  // places, `steps` apart
  const unsigned char* begin;
  uint64_t sizes[kMostAxes], strides[kMostAxes - 1];  // in bytes; the first axis has none
};
static_assert(sizeof(Tensor) <= sizeof(TensorMap));
constexpr uint32_t kTensorMark = 0x544d4150;

struct BoxCopy {
  uint32_t to;  // address in shared memory
  Tensor tensor;
  int at[kMostAxes];
  uint32_t barrier;
};

// A product that a warp has asked for: operands as numbers.
struct PendingProduct {
  WarpgroupProduct what;
  uint32_t group;
  std::vector<float> a, b;  // [16][k], [k][columns]
};

// Sums in the tensor cores' hands.
struct HeldSums {
  float* d[32];
  uint32_t count;
  std::vector<float> values;  // [16][columns]
};

struct WarpProducts {
  bool fenced = false;
  uint32_t groups = 0;  // closed
  std::vector<PendingProduct> pending;
  std::vector<HeldSums> held;
};

struct Async {
  std::map<uint32_t, PhaseBarrier> barriers;  // by their addresses
  std::vector<BoxCopy> copies;
  std::vector<unsigned char> published;
  WarpProducts warps[kMostWarps];
};

// That of the block that runs.
Async& async_of_block();
// What lies in shared memory at an address.
inline unsigned char* shared_at(uint32_t address) { return block->shared + address; }
// Ends the launch if these bytes hold what threads have written without fence_proxy_async().
void expect_published(uint32_t address, uint32_t bytes, const char* by, Site site);

}  // namespace medkern::cuda::emulator
