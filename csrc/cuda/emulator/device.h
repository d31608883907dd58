// The host's half of cuda/device.h: every name of it with a body in C++, so that g++ compiles the
// kernels as they are and the emulator runs them (cuda/emulator/, a tool of the tests).
//
// A kernel becomes a function and a record that the launcher finds by the kernel's name.
#pragma once

#include <bit>
#include <cstdint>

#include "cuda/emulator/builtins.h"
#include "cuda/emulator/threads.h"

#define MK_INLINE inline __attribute__((always_inline))
#define MK_KERNEL(name, Args, ...)                                                               \
  static void name##_of_a_thread(const medkern::cuda::Args& args);                               \
  extern "C" __attribute__((visibility("default"))) const medkern::cuda::emulator::KernelRecord* \
  name() {                                                                                       \
    static constexpr medkern::cuda::emulator::KernelRecord record = {                            \
        #name, medkern::cuda::emulator::threads_of(__VA_ARGS__), sizeof(medkern::cuda::Args),    \
        [](const void* args) {                                                                   \
          name##_of_a_thread(*static_cast<const medkern::cuda::Args*>(args));                    \
        }};                                                                                      \
    return &record;                                                                              \
  }                                                                                              \
  static void name##_of_a_thread([[maybe_unused]] const medkern::cuda::Args& args)

namespace medkern::cuda {
namespace emulator {

struct KernelRecord {
  const char* name;
  uint32_t most_threads;
  size_t args_bytes;
  void (*run)(const void* args);
};

constexpr uint32_t threads_of(uint32_t threads, uint32_t = 1) { return threads; }

template <class T>
void expect_aligned(const T* pointer, size_t bytes, Site site) {
  if (reinterpret_cast<uintptr_t>(pointer) % bytes != 0) refuse("a misaligned address", site);
}

}  // namespace emulator

constexpr int kWarp = 32;
constexpr uint32_t kAllLanes = 0xffffffffu;

// Its end touches a page that can't be accessed, so the alignment to 1024 bytes is that of
// shared_address, not of the pointer.
template <class T>
MK_INLINE T* shared() {
  return reinterpret_cast<T*>(emulator::shared_begin);
}

MK_INLINE uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(static_cast<const unsigned char*>(pointer) - emulator::shared_begin);
}

// NaN and infinity stay what they are.
MK_INLINE uint32_t to_tf32(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const bool finite = (bits & 0x7f800000u) != 0x7f800000u;
  return (finite ? bits + 0x1000u : bits) & ~0x1fffu;
}

namespace emulator {

inline uint32_t to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if (x != x) return 0x7fff;
  return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}
inline uint32_t to_f16(float x) {
  if (x != x) return 0x7fff;
  return std::bit_cast<uint16_t>(static_cast<_Float16>(x));
}

}  // namespace emulator

MK_INLINE uint32_t to_bf16x2(float low, float high) {
  return emulator::to_bf16(low) | emulator::to_bf16(high) << 16;
}
MK_INLINE uint32_t to_f16x2(float low, float high) {
  return emulator::to_f16(low) | emulator::to_f16(high) << 16;
}
MK_INLINE float from_f16(uint16_t bits) {
  return static_cast<float>(std::bit_cast<_Float16>(bits));
}

inline void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], MK_SITE) {
  emulator::Product mine{d, a, b};
  emulator::warp_collective(emulator::product_tf32, kAllLanes, &mine, site);
}
inline void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], MK_SITE) {
  emulator::Product mine{d, a, b};
  emulator::warp_collective(emulator::product_bf16, kAllLanes, &mine, site);
}
inline void mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], MK_SITE) {
  emulator::Product mine{d, a, b};
  emulator::warp_collective(emulator::product_f16, kAllLanes, &mine, site);
}

inline void ldmatrix_x4(uint32_t (&r)[4], const void* row, MK_SITE) {
  emulator::expect_aligned(row, 16, site);
  emulator::Load mine{r, row};
  emulator::warp_collective(emulator::load_matrix, kAllLanes, &mine, site);
}
inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row, MK_SITE) {
  emulator::expect_aligned(row, 16, site);
  emulator::Load mine{r, row};
  emulator::warp_collective(emulator::load_matrix_transposed, kAllLanes, &mine, site);
}

inline void cp_async16(void* shared, const void* global, bool valid, MK_SITE) {
  emulator::copy_later(shared, global, 16, valid, site);
}
inline void cp_async8(void* shared, const void* global, bool valid, MK_SITE) {
  emulator::copy_later(shared, global, 8, valid, site);
}
inline void cp_async4(void* shared, const void* global, bool valid, MK_SITE) {
  emulator::copy_later(shared, global, 4, valid, site);
}
inline void cp_async_commit() { emulator::commit_copies(); }
template <int Left>
inline void cp_async_wait() {
  emulator::wait_for_copies(Left);
}

inline void grid_barrier(uint32_t* arrived, uint32_t& passed, uint32_t blocks = gridDim.x,
                         MK_SITE) {
  __syncthreads(site);
  ++passed;
  if (threadIdx.x == 0) {
    atomicAdd(arrived, 1u);
    emulator::wait_for_count(arrived, passed * blocks, site);
  }
  __syncthreads(site);
}

inline float4 load16(const float* p, MK_SITE) {
  emulator::expect_aligned(p, 16, site);
  return *reinterpret_cast<const float4*>(p);
}
inline void store16(float* p, float4 v, MK_SITE) {
  emulator::expect_aligned(p, 16, site);
  *reinterpret_cast<float4*>(p) = v;
}

}  // namespace medkern::cuda
