// Barriers in shared memory and copies of boxes (cuda/hopper.h), as the PTX manual has them.
#include <algorithm>
#include <cstring>

#include "cuda/emulator/async.h"
#include "cuda/emulator/memory.h"
#include "cuda/emulator/work.h"

namespace medkern::cuda::emulator {
namespace {

constexpr uint32_t kMostArrivals = (1u << 20) - 1;

[[noreturn]] void refuse_text(const std::string& what, Site site) {
  give_up(where() + what + " at " + text_of(site));
}

uint32_t address_of(const void* pointer, uint32_t alignment, const char* what, Site site) {
  const int64_t at = static_cast<const unsigned char*>(pointer) - shared_begin;
  if (at < 0 || at >= launch.shared_bytes) {
    refuse_text(std::string(what) + " outside of shared memory", site);
  }
  if (at % alignment != 0) {
    refuse_text(std::string(what) + " at a misaligned address, " + std::to_string(at), site);
  }
  return static_cast<uint32_t>(at);
}

// What the eight bytes of a barrier hold: its state, so that what else is written there shows.
uint64_t word_of(const PhaseBarrier& barrier) {
  return uint64_t{0xb} << 60 | uint64_t{barrier.phase & 0xff} << 52 |
         uint64_t{barrier.pending} << 32 | static_cast<uint32_t>(barrier.bytes);
}
void keep(uint32_t address, const PhaseBarrier& barrier) {
  const uint64_t word = word_of(barrier);
  std::memcpy(shared_at(address), &word, sizeof word);
  std::memcpy(async_of_block().published.data() + address, &word, sizeof word);
}

PhaseBarrier& barrier_at(uint32_t address, Site site) {
  auto& all = async_of_block().barriers;
  const auto found = all.find(address);
  if (found == all.end()) {
    refuse_text("no mbarrier is at byte " + std::to_string(address) + " of shared memory", site);
  }
  const uint64_t word = word_of(found->second);
  if (std::memcmp(shared_at(address), &word, sizeof word) != 0) {
    refuse_text("an mbarrier that something else has written to", site);
  }
  return found->second;
}

// Goes on to the next phase if all has come.
void advance(Block& of, uint32_t address, PhaseBarrier& barrier) {
  if (barrier.pending == 0 && barrier.bytes == 0) {
    ++barrier.phase;
    barrier.pending = barrier.count;
    size_t kept = 0;
    for (const PhaseWait& wait : barrier.waits) {
      if ((barrier.phase & 1) != wait.parity) {
        make_ready(of, wait.thread);
      } else {
        barrier.waits[kept++] = wait;
      }
    }
    barrier.waits.resize(kept);
  }
  keep(address, barrier);
}

uint32_t size_of_type(uint32_t type) {
  switch (type) {
    case 6:  // float16
    case 9:  // bfloat16
      return 2;
    case 7:   // float32
    case 11:  // float32, rounded to tf32 on its way
      return 4;
    default:
      return 0;
  }
}

// Where the copy engine puts a byte: with the 128-byte swizzle bits 4 to 6 of the address are
// exchanged by bits 7 to 9.
uint32_t placed(uint32_t address, uint32_t swizzle) {
  return swizzle == 3 ? address ^ (address >> 7 & 7) << 4 : address;
}

uint32_t places_of(const Tensor& t) {
  uint32_t places = 1;
  for (const uint32_t size : t.box) places *= size;
  return places;
}
uint32_t bytes_of(const Tensor& t) { return places_of(t) * size_of_type(t.type); }

void land(const BoxCopy& copy) {
  const Tensor& t = copy.tensor;
  const uint32_t size = size_of_type(t.type);
  auto& published = async_of_block().published;
  uint32_t to = copy.to;
  const uint32_t lines = places_of(t) / t.box[0];
  for (uint32_t line = 0; line < lines; ++line) {
    bool inside = true;
    const unsigned char* from = t.begin;
    uint32_t rest = line;
    for (uint32_t i = 1; i < kMostAxes; ++i) {
      const int64_t at = copy.at[i] + int64_t{rest % t.box[i]} * t.steps[i];
      rest /= t.box[i];
      inside = inside && at >= 0 && at < static_cast<int64_t>(t.sizes[i]);
      from += at * static_cast<int64_t>(t.strides[i - 1]);
    }
    for (uint32_t x = 0; x < t.box[0]; ++x, to += size) {
      const int64_t at = copy.at[0] + int64_t{x};
      uint32_t bits = 0;
      if (inside && at >= 0 && at < static_cast<int64_t>(t.sizes[0])) {
        std::memcpy(&bits, from + at * size, size);
        if (t.type == 11) bits = to_tf32(std::bit_cast<float>(bits));
      }
      std::memcpy(shared_at(placed(to, t.swizzle)), &bits, size);
      std::memcpy(published.data() + placed(to, t.swizzle), &bits, size);
    }
  }
}

Status encode(TensorMap* map, int type, uint32_t rank, void* begin, const uint64_t* sizes,
              const uint64_t* strides, const uint32_t* box, const uint32_t* steps, int interleave,
              int swizzle, int, int fill) {
  Tensor t{};
  const uint32_t size = size_of_type(static_cast<uint32_t>(type));
  const auto address = reinterpret_cast<uintptr_t>(begin);
  if ((rank != 3 && rank != 5) || size == 0 || interleave != 0 || fill != 0 ||
      (swizzle != 0 && swizzle != 3) || address % 16 != 0 ||
      reinterpret_cast<uintptr_t>(map) % 64 != 0) {
    return kInvalidValue;
  }
  for (uint32_t i = 0; i < rank; ++i) {
    if (sizes[i] == 0 || sizes[i] > uint64_t{1} << 32 || box[i] == 0 || box[i] > 256 ||
        steps[i] == 0 || steps[i] > 8) {
      return kInvalidValue;
    }
    // So many places from one end of the box to the other; none are left out along the first axis.
    t.steps[i] = static_cast<uint8_t>(i == 0 ? 1 : steps[i]);
    t.box[i] = static_cast<uint16_t>((box[i] + t.steps[i] - 1) / t.steps[i]);
    t.sizes[i] = sizes[i];
    if (i == 0) continue;
    const uint64_t stride = strides[i - 1];
    if (stride % 16 != 0 || stride >= uint64_t{1} << 40) return kInvalidValue;
    t.strides[i - 1] = stride;
  }
  for (uint32_t i = rank; i < kMostAxes; ++i) t.box[i] = 1, t.steps[i] = 1, t.sizes[i] = 1;
  if (box[0] * size % 16 != 0 || (swizzle == 3 && box[0] * size > 128)) return kInvalidValue;
  t.mark = kTensorMark, t.type = static_cast<uint8_t>(type);
  t.swizzle = static_cast<uint8_t>(swizzle), t.rank = static_cast<uint8_t>(rank);
  t.begin = static_cast<const unsigned char*>(begin);
  std::memset(map, 0, sizeof *map);
  std::memcpy(map, &t, sizeof t);
  return kSuccess;
}

}  // namespace

Async& async_of_block() {
  if (block->async == nullptr) block->async = new Async;
  Async& async = *block->async;
  if (!block->async_used) {
    block->async_used = true;
    async.barriers.clear();
    async.copies.clear();
    async.published.assign(launch.shared_bytes, 0xff);
    for (WarpProducts& warp : async.warps) {
      warp.fenced = false;
      warp.pending.clear();
      warp.held.clear();
    }
  }
  return async;
}

void expect_published(uint32_t address, uint32_t bytes, const char* by, Site site) {
  if (std::memcmp(shared_at(address), async_of_block().published.data() + address, bytes) == 0) {
    return;
  }
  refuse_text(std::string(by) +
                  " of shared memory that threads have written to without "
                  "fence_proxy_async",
              site);
}

void init_barrier(uint64_t* pointer, uint32_t count, Site site) {
  const uint32_t address = address_of(pointer, 8, "an mbarrier", site);
  if (count == 0 || count > kMostArrivals) refuse("an mbarrier of no such count", site);
  PhaseBarrier& made = async_of_block().barriers[address];
  made = {count, count, 0, 0, false, {}};
  keep(address, made);
}

void arrive(uint64_t* pointer, uint32_t bytes, Site site) {
  const uint32_t address = address_of(pointer, 8, "an mbarrier", site);
  PhaseBarrier& barrier = barrier_at(address, site);
  if (barrier.pending == 0) {
    refuse_text("more than the " + std::to_string(barrier.count) + " arrivals of an mbarrier",
                site);
  }
  --barrier.pending;
  barrier.bytes += bytes;
  if (barrier.pending == 0 && barrier.bytes < 0) {
    refuse("more bytes came than an mbarrier expects", site);
  }
  advance(*block, address, barrier);
}

void wait_for_phase(uint64_t* pointer, uint32_t parity, Site site) {
  const uint32_t address = address_of(pointer, 8, "an mbarrier", site);
  PhaseBarrier& barrier = barrier_at(address, site);
  if ((barrier.phase & 1) != (parity & 1)) return;
  barrier.waits.push_back({thread_number, parity & 1});
  suspend("an mbarrier", 0, site);
}

void publish_shared() {
  Async& async = async_of_block();
  std::memcpy(async.published.data(), block->shared, launch.shared_bytes);
  for (auto& [address, barrier] : async.barriers) barrier.published = true;
}

void copy_box_later(void* shared, const TensorMap& map, const int* at, uint32_t rank,
                    uint64_t* pointer, Site site) {
  BoxCopy copy{};
  std::memcpy(&copy.tensor, &map, sizeof copy.tensor);
  const Tensor& t = copy.tensor;
  if (t.mark != kTensorMark) refuse("copy_box of what is no tensor", site);
  if (t.rank != rank) refuse("copy_box with coordinates of another rank than the tensor's", site);
  copy.to = address_of(shared, 128, "a box", site);
  copy.barrier = address_of(pointer, 8, "an mbarrier", site);
  if (copy.to + bytes_of(t) > launch.shared_bytes) {
    refuse("copy_box to outside of shared memory", site);
  }
  if (!barrier_at(copy.barrier, site).published) {
    refuse("copy_box with an mbarrier that was made without fence_proxy_async", site);
  }
  uint64_t extent = size_of_type(t.type);
  extent *= t.sizes[0];
  for (uint32_t i = 1; i < kMostAxes; ++i) extent += (t.sizes[i] - 1) * t.strides[i - 1];
  bool device = false;
  if (!is_allocated(t.begin, extent, device)) {
    refuse_text("copy_box of a tensor of " + std::to_string(extent) + " bytes that begins at " +
                    describe_address(t.begin),
                site);
  }
  std::copy(at, at + rank, copy.at);
  Async& async = async_of_block();
  std::memset(shared_at(copy.to), 0xff, bytes_of(t));
  std::memset(async.published.data() + copy.to, 0xff, bytes_of(t));
  async.copies.push_back(copy);
}

bool land_a_copy() {
  for (Block* one : launch.blocks) {
    if (!one->async_used || one->async->copies.empty()) continue;
    Block* before = block;
    block = one;
    auto& copies = one->async->copies;
    const size_t which = schedule == Schedule::forward    ? 0
                         : schedule == Schedule::backward ? copies.size() - 1
                                                          : random_number() % copies.size();
    const BoxCopy copy = copies[which];
    copies.erase(copies.begin() + static_cast<std::ptrdiff_t>(which));
    land(copy);
    PhaseBarrier& barrier = one->async->barriers[copy.barrier];
    barrier.bytes -= bytes_of(copy.tensor);
    if (barrier.pending == 0 && barrier.bytes < 0) {
      give_up(where() + "more bytes came than an mbarrier expects");
    }
    advance(*one, copy.barrier, barrier);
    block = before;
    return true;
  }
  return false;
}

void end_thread_of_async() {
  const WarpProducts& warp = block->async->warps[thread_number / 32];
  if (!warp.pending.empty()) give_up(where() + "returns before its last wgmma_wait");
  if (block->live == 0 && !block->async->copies.empty()) {
    give_up(where() + "the block returns while copy_box is under way");
  }
}

}  // namespace medkern::cuda::emulator

// The driver's functions that the runtime finds for its callers.
MK_EXPORT medkern::cuda::Status cudaGetDriverEntryPoint(const char* name, void** function,
                                                        unsigned long long, int* found) {
  const bool known = std::strcmp(name, "cuTensorMapEncodeTiled") == 0;
  *function = known ? reinterpret_cast<void*>(&medkern::cuda::emulator::encode) : nullptr;
  if (found != nullptr) *found = known ? 0 : 1;
  return medkern::cuda::kSuccess;
}
