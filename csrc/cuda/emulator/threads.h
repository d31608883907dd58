// What the emulator's device code knows of the threads that run it: who it is, and what it waits
// for. The bodies are in block.cpp and warp.cpp; device code sees only this.
//
// Threads of a block are fibers of one thread of the host, so that between two waits a thread runs
// undisturbed, and nothing here needs atomics.
#pragma once

#include <cstdint>
#include <source_location>
#include <type_traits>

#pragma GCC visibility push(hidden)

struct uint3 {
  uint32_t x, y, z;
};
struct dim3 {
  uint32_t x = 1, y = 1, z = 1;
};

// Set whenever another thread goes on.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace medkern::cuda::emulator {

// Where in the source a thread waits.
using Site = std::source_location;

extern uint32_t thread_number;       // threadIdx as one number
extern unsigned char* shared_begin;  // the block's shared memory

inline uint32_t lane() { return thread_number % 32; }

enum class Barrier { plain, count, any, all };
// Waits for all threads of the block; gives the number of those whose `value` isn't 0.
int block_barrier(Barrier kind, bool value, Site site);

// Waits until the word in global memory, a counter, has come to `least`.
void wait_for_count(const uint32_t* word, uint32_t least, Site site);

// Lets other threads go first.
void yield(Site site);

// What the lanes of a warp do together. The last to arrive computes the results of all: `operands`
// has what each lane of `mask` gave, which lies on its stack.
struct Operation {
  const char* name;
  bool whole_warp;
  void (*compute)(uint32_t mask, void* const* operands);
};
void warp_collective(const Operation& operation, uint32_t mask, void* operand, Site site);

struct Exchange {
  uint64_t value;
  int source;  // the lane whose value it gets
};
struct Vote {
  bool value;
  uint32_t lanes;  // those that gave true
};
// Of a matrix product: a thread's part of d, a and b.
struct Product {
  float* d;
  const uint32_t *a, *b;
};
struct Load {
  uint32_t* to;
  const void* row;
};
extern const Operation exchange, vote, sync, product_tf32, product_bf16, product_f16, load_matrix,
    load_matrix_transposed;

// Copies that land when they are waited for.
void copy_later(void* shared, const void* global, unsigned bytes, bool valid, Site site);
void commit_copies();
void wait_for_copies(unsigned left);

// Ends the launch with a report.
[[noreturn]] void refuse(const char* what, Site site);

template <class T>
T exchanged(const Operation& operation, uint32_t mask, T value, int source, Site site) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  Exchange mine{0, source};
  __builtin_memcpy(&mine.value, &value, sizeof value);
  warp_collective(operation, mask, &mine, site);
  __builtin_memcpy(&value, &mine.value, sizeof value);
  return value;
}

}  // namespace medkern::cuda::emulator

#pragma GCC visibility pop

// ---------------------------------------------------------------- barriers

#define MK_SITE medkern::cuda::emulator::Site site = medkern::cuda::emulator::Site::current()

inline void __syncthreads(MK_SITE) {
  medkern::cuda::emulator::block_barrier(medkern::cuda::emulator::Barrier::plain, false, site);
}
inline int __syncthreads_count(int value, MK_SITE) {
  return medkern::cuda::emulator::block_barrier(medkern::cuda::emulator::Barrier::count, value != 0,
                                                site);
}
inline int __syncthreads_or(int value, MK_SITE) {
  return medkern::cuda::emulator::block_barrier(medkern::cuda::emulator::Barrier::any, value != 0,
                                                site) > 0;
}
inline int __syncthreads_and(int value, MK_SITE) {
  return medkern::cuda::emulator::block_barrier(medkern::cuda::emulator::Barrier::all, value == 0,
                                                site) == 0;
}
inline void __syncwarp(uint32_t mask = 0xffffffffu, MK_SITE) {
  medkern::cuda::emulator::warp_collective(medkern::cuda::emulator::sync, mask, nullptr, site);
}
inline void __nanosleep(uint32_t, MK_SITE) { medkern::cuda::emulator::yield(site); }
// Memory has one order here.
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}

// ---------------------------------------------------------------- shuffles and votes

template <class T>
T __shfl_sync(uint32_t mask, T value, int source, int width = 32, MK_SITE) {
  const int lane = static_cast<int>(medkern::cuda::emulator::lane());
  return medkern::cuda::emulator::exchanged(medkern::cuda::emulator::exchange, mask, value,
                                            (lane & -width) | (source & (width - 1)), site);
}
template <class T>
T __shfl_up_sync(uint32_t mask, T value, uint32_t delta, int width = 32, MK_SITE) {
  const int lane = static_cast<int>(medkern::cuda::emulator::lane());
  const int source = lane - static_cast<int>(delta);
  return medkern::cuda::emulator::exchanged(medkern::cuda::emulator::exchange, mask, value,
                                            source < (lane & -width) ? lane : source, site);
}
template <class T>
T __shfl_down_sync(uint32_t mask, T value, uint32_t delta, int width = 32, MK_SITE) {
  const int lane = static_cast<int>(medkern::cuda::emulator::lane());
  const int source = lane + static_cast<int>(delta), last = lane | (width - 1);
  return medkern::cuda::emulator::exchanged(medkern::cuda::emulator::exchange, mask, value,
                                            source > last ? lane : source, site);
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int bits, int width = 32, MK_SITE) {
  const int lane = static_cast<int>(medkern::cuda::emulator::lane());
  const int source = lane ^ bits, last = lane | (width - 1);
  return medkern::cuda::emulator::exchanged(medkern::cuda::emulator::exchange, mask, value,
                                            source > last ? lane : source, site);
}

inline uint32_t __ballot_sync(uint32_t mask, int value, MK_SITE) {
  medkern::cuda::emulator::Vote mine{value != 0, 0};
  medkern::cuda::emulator::warp_collective(medkern::cuda::emulator::vote, mask, &mine, site);
  return mine.lanes;
}
inline int __any_sync(uint32_t mask, int value, MK_SITE) {
  return __ballot_sync(mask, value, site) != 0;
}
inline int __all_sync(uint32_t mask, int value, MK_SITE) {
  return __ballot_sync(mask, value == 0, site) == 0;
}
