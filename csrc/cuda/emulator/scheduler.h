// The emulator's view of a launch: blocks, their warps and threads, and what each waits for.
//
// A block that has begun is finished before the next begins; those of a cooperative launch run all
// at once. Threads take turns: one runs until it waits, then another of its warp that can go on,
// then one of another warp, then of another block. Which first is the schedule's choice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "cuda/emulator/device.h"
#include "cuda/emulator/fiber.h"

namespace medkern::cuda::emulator {

struct Async;  // async.h

constexpr uint32_t kMostThreads = 1024, kMostWarps = kMostThreads / 32;

// A copy that has been asked for but hasn't landed.
struct PendingCopy {
  void* to;
  const void* from;  // null: zeros
  uint32_t bytes, commit;
};

struct Thread {
  Fiber* fiber = nullptr;  // that it waits on; null if it hasn't begun, runs or has returned
  const char* waits_for = nullptr;
  Site site;
  uint32_t mask = 0;     // of the collective it waits for
  uint32_t commits = 0;  // of its copies
  std::vector<PendingCopy> copies;
};

// Lanes of a warp that have come to the same collective.
struct Gathering {
  uint32_t mask, arrived;
  const Operation* operation;
  Site site;
};

struct Warp {
  uint32_t ready;   // lanes that can run
  uint32_t exists;  // lanes there are
  uint32_t gatherings;
  Gathering gathering[32];
  void* operands[32];
};

struct Block {
  uint3 index;
  unsigned char* shared;
  uint32_t threads, live;  // live: haven't returned
  uint32_t ready;          // warps with lanes that can run
  bool copies;             // some thread has asked for one
  bool async_used;         // `async` is of this block
  Async* async;            // made when first used, and kept
  // The barrier that threads have come to.
  uint32_t arrived;
  Barrier kind;
  Site site;
  int count, result;
  Warp warps[kMostWarps];
  Thread thread[kMostThreads];
};

// A thread that waits for a counter in memory; with none, one that lets the others go first.
struct CountWait {
  Block* block;
  uint32_t thread;
  const volatile uint32_t* word;
  uint32_t least;
};

// `every`: each launch runs under all three and must leave the same bits.
enum class Schedule : int { forward = 0, backward = 1, random = 2, every = 3 };

struct Launch {
  const KernelRecord* kernel = nullptr;
  const void* args = nullptr;
  bool cooperative = false;
  uint32_t shared_bytes = 0;
  std::vector<Block*> blocks;  // that run now
  std::vector<CountWait> count_waits;
  uint32_t idle_rounds = 0;  // of waking threads that only let others go first
  std::string report;        // why it failed
  Fiber host;                // the thread of the host that launched it
  Fiber* running = nullptr;
};

extern Launch& launch;
extern Block* block;       // of the thread that runs; its number is thread_number
extern Schedule schedule;  // of the launch that runs, never `every`
uint32_t random_number();
void seed_random(uint32_t seed);

inline Thread& current_thread() { return block->thread[thread_number]; }

// The current thread waits for what its record says, until something makes it ready.
void suspend(const char* waits_for, uint32_t mask, Site site);
void make_ready(Block& block, uint32_t thread);

// Of async.h: lands one copy of a box, false if there is none; looks at what a thread that returns
// leaves.
bool land_a_copy();
void end_thread_of_async();

// Runs the blocks of launch.blocks to their ends. False: they stopped, and launch.report says why.
bool run_blocks();
void begin_block(Block& block, uint3 index, uint32_t threads);

// "kernel, block (x, y, z), thread (x, y, z): "
std::string where();
// "file.cu:12"
std::string text_of(Site site);
// What all threads of the launch wait for.
std::string waiting_threads();
// Ends the launch; what was running is given up.
[[noreturn]] void give_up(std::string report);

}  // namespace medkern::cuda::emulator
