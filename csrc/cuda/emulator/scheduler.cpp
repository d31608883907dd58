#include "cuda/emulator/scheduler.h"

#include <bit>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace medkern::cuda::emulator {

uint32_t thread_number;
unsigned char* shared_begin;
Launch& launch = *new Launch;  // never destroyed: memory may be freed when the process ends
Block* block;
Schedule schedule = Schedule::forward;

namespace {

constexpr uint32_t kIdleRounds = 1 << 20;
uint32_t random_state = 1;

// One bit of `mask`, which isn't 0: the next after `current` in the order of the schedule.
uint32_t choose(uint32_t mask, uint32_t current) {
  if (schedule == Schedule::backward) {
    const uint32_t before = mask & ((1u << current) - 1);
    return 31 - static_cast<uint32_t>(std::countl_zero(before != 0 ? before : mask));
  }
  if (schedule == Schedule::random) current = random_number() % 32;
  const uint32_t after = current == 31 ? 0 : mask & (~0u << (current + 1));
  return static_cast<uint32_t>(std::countr_zero(after != 0 ? after : mask));
}

void enter_block(Block& next) {
  block = &next;
  blockIdx = next.index;
  shared_begin = next.shared;
}

void enter_thread(uint32_t number) {
  thread_number = number;
  if (blockDim.y == 1 && blockDim.z == 1) {
    threadIdx = {number, 0, 0};
  } else {
    const uint32_t rows = number / blockDim.x;
    threadIdx = {number % blockDim.x, rows % blockDim.y, rows / blockDim.y};
  }
}

// Wakes threads whose counters have come far enough, or else those that let others go first.
bool wake_count_waits() {
  auto& waits = launch.count_waits;
  size_t kept = 0;
  for (const CountWait& wait : waits) {
    if (wait.word != nullptr && *wait.word >= wait.least) {
      make_ready(*wait.block, wait.thread);
    } else {
      waits[kept++] = wait;
    }
  }
  bool woken = kept < waits.size();
  waits.resize(kept);
  if (woken) {
    launch.idle_rounds = 0;
    return true;
  }
  if (++launch.idle_rounds > kIdleRounds) return false;
  kept = 0;
  for (const CountWait& wait : waits) {
    if (wait.word == nullptr) {
      make_ready(*wait.block, wait.thread);
    } else {
      waits[kept++] = wait;
    }
  }
  woken = kept < waits.size();
  waits.resize(kept);
  return woken;
}

// Another block with threads that can run.
bool choose_block() {
  const auto& blocks = launch.blocks;
  const size_t count = blocks.size();
  size_t at = 0;
  while (blocks[at] != block) ++at;
  if (schedule == Schedule::random) at = random_number() % count;
  for (size_t i = 1; i <= count; ++i) {
    const size_t next = (schedule == Schedule::backward ? at + count - i : at + i) % count;
    if (blocks[next]->ready != 0) {
      enter_block(*blocks[next]);
      return true;
    }
  }
  return false;
}

// Makes the thread that goes next the current one; false if none can. `elsewhere`: the block is
// only about to begin.
bool choose_thread(bool elsewhere = false) {
  while (block->ready == 0) {
    elsewhere = true;
    if (launch.blocks.size() > 1 && choose_block()) continue;
    if (land_a_copy()) continue;
    if (!wake_count_waits()) return false;
  }
  // From beyond the last thread a schedule goes on at its beginning.
  const uint32_t beyond = schedule == Schedule::backward ? 0 : 31;
  uint32_t warp = elsewhere ? beyond : thread_number / 32;
  uint32_t lane = elsewhere ? beyond : thread_number % 32;
  if (elsewhere || schedule == Schedule::random || block->warps[warp].ready == 0) {
    warp = choose(block->ready, warp);
    lane = beyond;
  }
  enter_thread(warp * 32 + choose(block->warps[warp].ready, lane));
  return true;
}

void make_waiting() {
  const uint32_t warp = thread_number / 32;
  block->warps[warp].ready &= ~(1u << thread_number % 32);
  if (block->warps[warp].ready == 0) block->ready &= ~(1u << warp);
}

// Runs threads that haven't begun, one after the other for as long as none waits.
void run_threads() {
  for (;;) {
    launch.kernel->run(launch.args);
    make_waiting();
    --block->live;
    if (block->async_used) end_thread_of_async();
    if (!choose_thread()) switch_fiber(*launch.running, launch.host);
    Thread& next = current_thread();
    if (next.fiber != nullptr) {
      Fiber* self = launch.running;
      launch.running = next.fiber;
      next.fiber = nullptr;
      give_fiber(self);
      switch_fiber(*self, *launch.running);
    }
  }
}

}  // namespace

uint32_t random_number() {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 17;
  random_state ^= random_state << 5;
  return random_state;
}

void seed_random(uint32_t seed) { random_state = seed * 2654435761u | 1u; }

void make_ready(Block& of, uint32_t thread) {
  of.warps[thread / 32].ready |= 1u << thread % 32;
  of.ready |= 1u << thread / 32;
}

void suspend(const char* waits_for, uint32_t mask, Site site) {
  Thread& self = current_thread();
  self.waits_for = waits_for;
  self.mask = mask;
  self.site = site;
  self.fiber = launch.running;
  make_waiting();
  if (!choose_thread()) {
    switch_fiber(*self.fiber, launch.host);  // never to come back
  }
  Thread& next = current_thread();
  Fiber* from = self.fiber;
  launch.running = next.fiber != nullptr ? next.fiber : take_fiber(run_threads);
  next.fiber = nullptr;
  if (launch.running != from) switch_fiber(*from, *launch.running);
}

void begin_block(Block& next, uint3 index, uint32_t threads) {
  next.index = index;
  next.threads = next.live = threads;
  next.arrived = 0;
  next.async_used = false;
  const uint32_t warps = (threads + 31) / 32;
  next.ready = warps == 32 ? ~0u : (1u << warps) - 1;
  for (uint32_t w = 0; w < warps; ++w) {
    const uint32_t lanes = threads - w * 32;
    next.warps[w].exists = lanes >= 32 ? ~0u : (1u << lanes) - 1;
    next.warps[w].ready = next.warps[w].exists;
    next.warps[w].gatherings = 0;
  }
  if (next.copies) {
    next.copies = false;
    for (uint32_t t = 0; t < threads; ++t) {
      next.thread[t].copies.clear();
      next.thread[t].commits = 0;
    }
  }
}

bool run_blocks() {
  Block& first = schedule == Schedule::backward ? *launch.blocks.back() : *launch.blocks.front();
  enter_block(first);
  launch.idle_rounds = 0;
  choose_thread(true);
  launch.running = take_fiber(run_threads);
  switch_fiber(launch.host, *launch.running);
  bool ended = launch.report.empty();
  for (const Block* one : launch.blocks) ended = ended && one->live == 0;
  if (ended) {
    give_fiber(launch.running);
    return true;
  }
  if (launch.report.empty()) {
    launch.report = std::string(launch.kernel->name) +
                    ": no thread can go on:" + waiting_threads() +
                    (launch.cooperative || launch.count_waits.empty()
                         ? ""
                         : "; a launch that isn't cooperative runs one block after the other");
  }
  return false;
}

void give_up(std::string report) {
  launch.report = std::move(report);
  switch_fiber(*launch.running, launch.host);
  __builtin_unreachable();
}

}  // namespace medkern::cuda::emulator
