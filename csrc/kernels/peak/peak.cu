// A chain of multiply-adds on the device: what the arithmetic units do when nothing holds them up.
//
//   y = x, then `rounds` times  y <- y / 2 + 1
//
// Each thread has kChains chains of its own, a block's width apart; with up to sixteen warps on
// each of a multiprocessor's four schedulers that is more than enough to hide the latency of an
// operation (4 cycles). Work    2 flops per element and round. Memory  x read once, y written once.
#include "cuda/device.h"
#include "kernels/peak/peak.cuda.h"

namespace medkern::cuda {
namespace {

template <class T>
MK_INLINE void fma_chain(const FmaChainKernelArgs& args) {
  const T* x = static_cast<const T*>(args.x);
  T* y = static_cast<T*>(args.y);
  const int64_t first = int64_t{blockIdx.x} * (kChains * blockDim.x) + threadIdx.x;
  T chain[kChains];
#pragma unroll
  for (int i = 0; i < kChains; ++i) {
    const int64_t at = first + i * blockDim.x;
    chain[i] = at < args.count ? x[at] : T(0);
  }
#pragma unroll 16
  for (int64_t round = 0; round < args.rounds; ++round) {
#pragma unroll
    for (int i = 0; i < kChains; ++i) chain[i] = fma(chain[i], T(0.5), T(1));
  }
#pragma unroll
  for (int i = 0; i < kChains; ++i) {
    const int64_t at = first + i * blockDim.x;
    if (at < args.count) y[at] = chain[i];
  }
}

}  // namespace

MK_KERNEL(peak_fma_chain_f32, FmaChainKernelArgs, 256) { fma_chain<float>(args); }
MK_KERNEL(peak_fma_chain_f64, FmaChainKernelArgs, 256) { fma_chain<double>(args); }

}  // namespace medkern::cuda
