// The host's half of cuda/hopper.h.
#pragma once

#include "cuda/emulator/device.h"
#include "cuda/tensor_map.h"

#pragma GCC visibility push(hidden)

namespace medkern::cuda::emulator {

void init_barrier(uint64_t* barrier, uint32_t count, Site site);
void arrive(uint64_t* barrier, uint32_t bytes, Site site);
void wait_for_phase(uint64_t* barrier, uint32_t parity, Site site);
void publish_shared();
// Of a tensor of `rank` axes.
void copy_box_later(void* shared, const TensorMap& tensor, const int* at, uint32_t rank,
                    uint64_t* barrier, Site site);

// Of a product of a warpgroup: what each lane of one of its warps gives.
struct WarpgroupProduct {
  int how;  // a Wgmma
  bool a_rows, b_rows, add;
  uint64_t a, b;
  float* d;
  uint32_t count;
  Site site;
};
extern const Operation wgmma_product, wgmma_fence_first, wgmma_close;
extern const Operation wgmma_waits[8];  // by how many groups are left

}  // namespace medkern::cuda::emulator

#pragma GCC visibility pop

namespace medkern::cuda {

inline void mbarrier_init(uint64_t* barrier, uint32_t count, MK_SITE) {
  emulator::init_barrier(barrier, count, site);
}
inline void mbarrier_arrive(uint64_t* barrier, MK_SITE) { emulator::arrive(barrier, 0, site); }
inline void mbarrier_arrive_expect(uint64_t* barrier, uint32_t bytes, MK_SITE) {
  emulator::arrive(barrier, bytes, site);
}
inline void mbarrier_wait(uint64_t* barrier, uint32_t parity, MK_SITE) {
  emulator::wait_for_phase(barrier, parity, site);
}
template <int kCount>
inline void give_registers() {
  static_assert(kCount % 8 == 0 && kCount >= 24 && kCount <= 256);
}
template <int kCount>
inline void take_registers() {
  static_assert(kCount % 8 == 0 && kCount >= 24 && kCount <= 256);
}
inline void fence_proxy_async() { emulator::publish_shared(); }

inline void copy_box(void* shared, const TensorMap& tensor, int x, int y, int z, uint64_t* barrier,
                     MK_SITE) {
  const int at[] = {x, y, z};
  emulator::copy_box_later(shared, tensor, at, 3, barrier, site);
}
inline void copy_box(void* shared, const TensorMap& tensor, int v, int w, int x, int y, int z,
                     uint64_t* barrier, MK_SITE) {
  const int at[] = {v, w, x, y, z};
  emulator::copy_box_later(shared, tensor, at, 5, barrier, site);
}
inline void prefetch_tensor(const TensorMap&) {}

inline void wgmma_fence(MK_SITE) {
  emulator::warp_collective(emulator::wgmma_fence_first, kAllLanes, nullptr, site);
}
inline void wgmma_commit(MK_SITE) {
  emulator::warp_collective(emulator::wgmma_close, kAllLanes, nullptr, site);
}
template <int Left>
inline void wgmma_wait(MK_SITE) {
  static_assert(Left < 8);
  emulator::warp_collective(emulator::wgmma_waits[Left], kAllLanes, nullptr, site);
}
template <int Left, int kCount>
inline void wgmma_wait(float (&)[kCount], MK_SITE) {
  wgmma_wait<Left>(site);
}

template <Wgmma kHow, bool kARows, bool kBRows, int kCount>
inline void wgmma(float (&d)[kCount], uint64_t a, uint64_t b, bool add, MK_SITE) {
  static_assert(kHow != Wgmma::tf32 || (!kARows && !kBRows), "tf32 is read along k");
  emulator::WarpgroupProduct mine{
      static_cast<int>(kHow), kARows, kBRows, add, a, b, d, kCount, site};
  emulator::warp_collective(emulator::wgmma_product, kAllLanes, &mine, site);
}

}  // namespace medkern::cuda
