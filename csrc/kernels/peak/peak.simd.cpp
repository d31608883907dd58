// A chain of multiply-adds on the CPU: what the arithmetic units do when nothing holds them up.
//
//   y = x, then `rounds` times  y <- y / 2 + 1
//
// One task per block of kChains registers; each register is a chain of its own, and there are
// enough of them to hide the latency of an operation (4 or 5 cycles on two ports) without spilling.
// Work    2 flops per element and round. Memory  x read once, y written once.
// Rounding: y approaches 2; the first rounds are exact for small integers.
#include "kernels/peak/peak.h"

#include "core/parallel.h"
#include "cpu/vec.h"

namespace medkern::MK_ISA {
namespace {

constexpr int kChains = 12;

template <class T>
void fma_chain_of(const FmaChainArgs& a) {
  using V = Vec<T>;
  constexpr int64_t kBlock = kChains * V::kLanes;
  const T* x = static_cast<const T*>(a.x);
  T* y = static_cast<T*>(a.y);
  const int64_t blocks = (a.count + kBlock - 1) / kBlock;
  parallel_for(blocks, 2 * a.count * a.rounds, [&](int64_t block, int) {
    const int64_t first = block * kBlock;
    const auto lanes_of = [&](int i) {
      const int64_t left = a.count - first - i * V::kLanes;
      return left < 0 ? int64_t{0} : left < V::kLanes ? left : int64_t{V::kLanes};
    };
    const V half = V(T(0.5)), one = V(T(1));
    V chain[kChains];
    for (int i = 0; i < kChains; ++i) chain[i] = V::load(x + first + i * V::kLanes, lanes_of(i));
    for (int64_t round = 0; round < a.rounds; ++round) {
#pragma GCC unroll 12
      for (int i = 0; i < kChains; ++i) chain[i] = fma(chain[i], half, one);
    }
    for (int i = 0; i < kChains; ++i) chain[i].store(y + first + i * V::kLanes, lanes_of(i));
  });
}

void fma_chain(const FmaChainArgs& a) {
  a.dtype == Dtype::f32 ? fma_chain_of<float>(a) : fma_chain_of<double>(a);
}

}  // namespace

extern const PeakKernels peak_kernels;
constinit const PeakKernels peak_kernels = {.fma_chain = fma_chain};

}  // namespace medkern::MK_ISA
