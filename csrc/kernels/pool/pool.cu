// Pooling on CUDA.
//
// Max: y[n, c, o] = max over taps t of x[n, c, o stride - pad + t dilation]; the first of equal
// values, and of NaNs, wins. One thread an element of y, in the order of y's memory; the windows of
// neighbors overlap in the L1 cache. Bytes: x once, y and the indices once.
#include "cuda/device.h"
#include "kernels/pool/pool.cuda.h"

namespace medkern::cuda {

struct PoolPlace {
  uint32_t n, c, o[3];
};

MK_INLINE PoolPlace place_of(const MaxPoolKernelArgs& p, uint32_t flat) {
  PoolPlace at;
  if (p.channels_last) at.c = p.channels.take(flat);
  at.o[2] = p.width.take(flat);
  at.o[1] = p.height.take(flat);
  at.o[0] = p.depth.take(flat);
  if (!p.channels_last) at.c = p.channels.take(flat);
  at.n = flat;
  return at;
}

// Index: uint8_t numbers the taps of a window row by row, int64_t the elements of an image of x.
template <class T, class Index>
MK_INLINE void max_pool_forward(const MaxPoolKernelArgs& p) {
  for (uint32_t flat = blockIdx.x * blockDim.x + threadIdx.x; flat < p.count;
       flat += gridDim.x * blockDim.x) {
    const PoolPlace at = place_of(p, flat);
    const T* x = static_cast<const T*>(p.x) + at.n * p.x_stride_n + at.c * p.x_stride_c;
    const PoolAxis &depth = p.axis[0], &height = p.axis[1], &width = p.axis[2];
    const int32_t d0 = static_cast<int32_t>(at.o[0]) * depth.stride - depth.pad;
    const int32_t h0 = static_cast<int32_t>(at.o[1]) * height.stride - height.pad;
    const int32_t w0 = static_cast<int32_t>(at.o[2]) * width.stride - width.pad;
    T best = -T(INFINITY);
    int64_t winner = -1;
    for (int32_t i = 0; i < depth.kernel; ++i) {
      const int32_t d = d0 + i * depth.dilation;
      if (d < 0 || d >= depth.size) continue;
      for (int32_t j = 0; j < height.kernel; ++j) {
        const int32_t h = h0 + j * height.dilation;
        if (h < 0 || h >= height.size) continue;
        for (int32_t k = 0; k < width.kernel; ++k) {
          const int32_t w = w0 + k * width.dilation;
          if (w < 0 || w >= width.size) continue;
          const T value = x[d * depth.x_stride + h * height.x_stride + w * width.x_stride];
          if (winner < 0 || value > best || (value != value && best == best)) {
            best = value;
            winner = sizeof(Index) == 1 ? (i * height.kernel + j) * width.kernel + k
                                        : (int64_t{d} * height.size + h) * width.size + w;
          }
        }
      }
    }
    static_cast<T*>(p.y)[flat] = best;
    if (p.indices != nullptr) static_cast<Index*>(p.indices)[flat] = static_cast<Index>(winner);
  }
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

MK_KERNEL(pool_max_forward_f32_u8, MaxPoolKernelArgs, 256) {
  max_pool_forward<float, uint8_t>(args);
}
MK_KERNEL(pool_max_forward_f32_i64, MaxPoolKernelArgs, 256) {
  max_pool_forward<float, int64_t>(args);
}
MK_KERNEL(pool_max_forward_f64_u8, MaxPoolKernelArgs, 256) {
  max_pool_forward<double, uint8_t>(args);
}
MK_KERNEL(pool_max_forward_f64_i64, MaxPoolKernelArgs, 256) {
  max_pool_forward<double, int64_t>(args);
}
