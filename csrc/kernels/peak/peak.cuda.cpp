// CUDA kernel of the chain of multiply-adds: what the checked arguments come to on the device.
#include "kernels/peak/peak.cuda.h"

#include "core/status.h"
#include "cuda/divide.h"
#include "cuda/launch.h"
#include "kernels/peak/peak.h"

namespace medkern::cuda {
namespace {

constexpr uint32_t kThreads = 256;
Kernel chains_f32{"peak", "peak_fma_chain_f32"}, chains_f64{"peak", "peak_fma_chain_f64"};

void fma_chain(const FmaChainArgs& a) {
  constexpr int64_t kBlock = kChains * kThreads;
  const int64_t blocks = divide_up(a.count, kBlock);
  require(blocks <= INT32_MAX, "fma_chain: x is too large for a CUDA kernel");
  launch(a.dtype == Dtype::f32 ? chains_f32 : chains_f64, {static_cast<uint32_t>(blocks)}, kThreads,
         0, FmaChainKernelArgs{a.x, a.y, a.count, a.rounds});
}

}  // namespace

extern const PeakKernels peak_kernels;
constinit const PeakKernels peak_kernels = {.fma_chain = fma_chain};

}  // namespace medkern::cuda
