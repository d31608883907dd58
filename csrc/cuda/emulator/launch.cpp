#include "cuda/emulator/launch.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <numeric>
#include <set>

#include "cuda/emulator/guard.h"
#include "cuda/emulator/memory.h"
#include "cuda/emulator/scheduler.h"
#include "cuda/emulator/snapshot.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace medkern::cuda::emulator {
namespace {

constexpr uint32_t kMostOfAxis = 65535;  // blocks in y and z
// Of kernels that take longer, or may touch more memory, only the first launch is run under every
// schedule.
constexpr std::chrono::milliseconds kShort{100};
constexpr size_t kMuchMemory = 16 << 20;

Schedule chosen = Schedule::every;
uint32_t seed = 1;

// Rounding to nearest and denormals kept while device code runs, whatever the caller has set.
class FloatMode {
 public:
  FloatMode() {
#if defined(__x86_64__)
    before_ = _mm_getcsr();
    _mm_setcsr(0x1f80);
#endif
  }
  ~FloatMode() {
#if defined(__x86_64__)
    _mm_setcsr(before_);
#endif
  }
  FloatMode(const FloatMode&) = delete;
  FloatMode& operator=(const FloatMode&) = delete;

 private:
  [[maybe_unused]] unsigned before_ = 0;
};

Block& kept_block(size_t number) {
  static auto* all = new std::vector<std::unique_ptr<Block>>;
  while (all->size() <= number) all->push_back(std::make_unique<Block>());
  return *(*all)[number];
}

uint3 index_of(uint64_t number, Dim3 grid) {
  return {static_cast<uint32_t>(number % grid.x), static_cast<uint32_t>(number / grid.x % grid.y),
          static_cast<uint32_t>(number / grid.x / grid.y)};
}

void begin(Block& next, size_t place, uint3 index, uint32_t threads) {
  next.shared = shared_arena(place, launch.shared_bytes);
  if (launch.shared_bytes > 0) std::memset(next.shared, 0xff, launch.shared_bytes);
  begin_block(next, index, threads);
}

// The order of blocks that run one after the other: a permutation n -> first + n step.
struct Order {
  uint64_t first, step;
};
Order order_of(uint64_t blocks) {
  if (schedule == Schedule::forward) return {0, 1};
  if (schedule == Schedule::backward) return {blocks - 1, blocks - 1};
  uint64_t step = random_number() % blocks;
  while (std::gcd(step, blocks) != 1) ++step;
  return {random_number() % blocks, step};
}

void run_grid(Dim3 grid, uint32_t threads) {
  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  launch.blocks.clear();
  if (launch.cooperative) {
    for (uint64_t n = 0; n < blocks; ++n) {
      Block& one = kept_block(n);
      begin(one, n, index_of(n, grid), threads);
      launch.blocks.push_back(&one);
    }
    run_blocks();
    return;
  }
  Block& one = kept_block(0);
  launch.blocks.push_back(&one);
  const Order order = order_of(blocks);
  uint64_t at = order.first;
  for (uint64_t n = 0; n < blocks; ++n) {
    begin(one, 0, index_of(at, grid), threads);
    if (!run_blocks()) return;
    at = (at + order.step) % blocks;
  }
}

// After a launch that failed: nobody waits any longer.
void clear_up() {
  for (Block* one : launch.blocks) {
    for (Thread& thread : one->thread) thread.fiber = nullptr;
  }
  give_all_fibers();
}

Status run_under(Schedule now, Dim3 grid, Dim3 threads, std::string& report) {
  schedule = now;
  launch.count_waits.clear();
  launch.report.clear();
  std::string words;
  const Trap trap =
      run_guarded([grid, threads] { run_grid(grid, threads.x * threads.y * threads.z); }, words);
  if (trap == Trap::none && launch.report.empty()) return kSuccess;
  report = trap == Trap::none      ? launch.report
           : trap == Trap::spilled ? std::string(launch.kernel->name) + ": " + words
                                   : where() + words;
  clear_up();
  if (trap == Trap::address || trap == Trap::spilled) return kIllegalAddress;
  return trap == Trap::misaligned ? kMisaligned : kLaunchFailure;
}

// Leaves the results of the forward schedule, which the others must give too.
Status run_under_every(Dim3 grid, Dim3 threads, std::string& report) {
  static auto* compared = new std::set<const KernelRecord*>;
  const bool first = compared->insert(launch.kernel).second;
  if (!first && open_bytes() > kMuchMemory) {
    return run_under(Schedule::forward, grid, threads, report);
  }
  const auto begun = std::chrono::steady_clock::now();
  begin_snapshots();
  Status status = run_under(Schedule::forward, grid, threads, report);
  const bool is_short = std::chrono::steady_clock::now() - begun < kShort;
  if (status == kSuccess && (first || is_short)) {
    keep_results();
    for (const Schedule next : {Schedule::backward, Schedule::random}) {
      if (next == Schedule::random) seed_random(seed++);
      std::string difference;
      status = run_under(next, grid, threads, report);
      if (!same_results(difference) && status == kSuccess) {
        report = std::string(launch.kernel->name) + ": " + difference;
        status = kLaunchFailure;
      }
      if (status != kSuccess) break;
    }
  }
  end_snapshots();
  return status;
}

}  // namespace

void choose_schedule(Schedule now, uint32_t first_seed) {
  chosen = now;
  seed = first_seed;
  seed_random(first_seed);
}

uint32_t resident_blocks(const KernelRecord& kernel, uint32_t threads, size_t shared_bytes) {
  if (threads == 0 || threads > kernel.most_threads || shared_bytes > kMostShared) return 0;
  size_t blocks = std::min(kResidentBlocks, kResidentThreads / threads);
  if (shared_bytes > 0) blocks = std::min(blocks, (kMostShared + 1024) / (shared_bytes + 1024));
  return static_cast<uint32_t>(blocks);
}

Status check_launch(const KernelRecord& kernel, Dim3 grid, Dim3 threads, size_t shared_bytes,
                    bool cooperative) {
  const uint64_t all = uint64_t{threads.x} * threads.y * threads.z;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || all == 0 || all > kMostThreads ||
      grid.x > 0x7fffffffu || grid.y > kMostOfAxis || grid.z > kMostOfAxis || threads.z > 64) {
    return kInvalidConfiguration;
  }
  if (all > kernel.most_threads) return kOutOfResources;
  if (shared_bytes > kMostShared) return kInvalidValue;
  if (cooperative &&
      uint64_t{grid.x} * grid.y * grid.z >
          kProcessors * resident_blocks(kernel, static_cast<uint32_t>(all), shared_bytes)) {
    return kTooManyBlocks;
  }
  return kSuccess;
}

Status run_launch(const KernelRecord& kernel, const void* args, Dim3 grid, Dim3 threads,
                  size_t shared_bytes, bool cooperative, std::string& report) {
  const FloatMode mode;
  launch.kernel = &kernel;
  launch.args = args;
  launch.cooperative = cooperative;
  launch.shared_bytes = static_cast<uint32_t>(shared_bytes);
  blockDim = {threads.x, threads.y, threads.z};
  gridDim = {grid.x, grid.y, grid.z};
  if (chosen != Schedule::every) return run_under(chosen, grid, threads, report);
  return run_under_every(grid, threads, report);
}

}  // namespace medkern::cuda::emulator
