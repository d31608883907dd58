// The gradient of a bias on CUDA: sums over all axes but the channels'.
//
//   dbias[c] = sum over o, i of dy[o, c, i]
//
// Positions (o, i) are cut into chunks, one block each (inner 1: for up to 256 channels, with as
// many rows at a time as fill the block; else one channel). A block leaves its sums in double; a
// second kernel adds the chunks in order. Memory-bound: dy is read once. The order of summation
// depends on the shape only.
#include "cuda/half.h"
#include "kernels/gemm/gemm.cuda.h"

namespace medkern::cuda {

constexpr int kThreads = 256;

// dy is [positions][channels]. blockIdx: channels / across, chunk.
template <class T>
MK_INLINE void bias_rows(const BiasSumArgs& p) {
  double* sums = shared<double>();
  const int across = p.across, thread = threadIdx.x;
  const int rows = kThreads / across, row = thread / across;
  const int c = blockIdx.x * across + thread % across;
  const bool mine = row < rows && c < p.channels;
  const uint32_t first = blockIdx.y * p.chunk;
  const uint32_t end = p.positions - first < p.chunk ? p.positions : first + p.chunk;
  double sum[4] = {};
  if (mine) {
    const T* dy = static_cast<const T*>(p.dy) + c;
    uint32_t q = first + row;
    for (; q + 3 * rows < end; q += 4 * rows) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sum[i] += dy[int64_t{q + i * rows} * p.channels];
    }
    for (; q < end; q += rows) sum[0] += dy[int64_t{q} * p.channels];
  }
  sums[thread] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  __syncthreads();
  if (thread >= across || c >= p.channels) return;
  double total = 0;
  for (int i = 0; i < rows; ++i) total += sums[i * across + thread];
  p.partial[blockIdx.y * int64_t{p.channels} + c] = total;
}

// Sum over the block, for its first thread.
MK_INLINE double block_sum(double x) {
  double* sums = shared<double>();
  for (int step = kWarp / 2; step > 0; step /= 2) x += __shfl_xor_sync(kAllLanes, x, step);
  if (threadIdx.x % kWarp == 0) sums[threadIdx.x / kWarp] = x;
  __syncthreads();
  double total = 0;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kThreads / kWarp; ++i) total += sums[i];
  }
  return total;
}

// dy is [outer][channels][inner]. blockIdx: channel, chunk.
template <class T>
MK_INLINE void bias_planes(const BiasSumArgs& p) {
  const uint32_t c = blockIdx.x, first = blockIdx.y * p.chunk;
  const uint32_t end = p.positions - first < p.chunk ? p.positions : first + p.chunk;
  const T* dy = static_cast<const T*>(p.dy);
  double sum[4] = {};
  const auto at = [&](uint32_t q) {
    const uint32_t o = p.inner_divider.quotient(q), i = q - o * p.inner;
    return static_cast<double>(dy[(o * int64_t{p.channels} + c) * p.inner + i]);
  };
  uint32_t q = first + threadIdx.x;
  for (; q + 3 * kThreads < end; q += 4 * kThreads) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sum[i] += at(q + i * kThreads);
  }
  for (; q < end; q += kThreads) sum[0] += at(q);
  const double total = block_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
  if (threadIdx.x == 0) p.partial[blockIdx.y * int64_t{p.channels} + c] = total;
}

// 32 channels a block; 8 threads a channel take every eighth chunk.
template <class T>
MK_INLINE void bias_reduce(const BiasReduceArgs& p) {
  constexpr int kParts = kThreads / kWarp;
  double* sums = shared<double>();
  const int c = blockIdx.x * kWarp + threadIdx.x % kWarp, part = threadIdx.x / kWarp;
  double sum = 0;
  if (c < p.channels) {
#pragma unroll 4
    for (int i = part; i < p.chunks; i += kParts) sum += p.partial[i * int64_t{p.channels} + c];
  }
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (part != 0 || c >= p.channels) return;
  for (int i = 1; i < kParts; ++i) sum += sums[i * kWarp + threadIdx.x];
  if constexpr (is_half<T>) {
    static_cast<T*>(p.dbias)[c] = T(odd_float(sum));
  } else {
    static_cast<T*>(p.dbias)[c] = static_cast<T>(sum);
  }
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

MK_KERNEL(gemm_bias_rows_f32, BiasSumArgs, 256) { bias_rows<float>(args); }
MK_KERNEL(gemm_bias_rows_f64, BiasSumArgs, 256) { bias_rows<double>(args); }
MK_KERNEL(gemm_bias_rows_f16, BiasSumArgs, 256) { bias_rows<float16>(args); }
MK_KERNEL(gemm_bias_rows_bf16, BiasSumArgs, 256) { bias_rows<bfloat16>(args); }
MK_KERNEL(gemm_bias_planes_f32, BiasSumArgs, 256) { bias_planes<float>(args); }
MK_KERNEL(gemm_bias_planes_f64, BiasSumArgs, 256) { bias_planes<double>(args); }
MK_KERNEL(gemm_bias_planes_f16, BiasSumArgs, 256) { bias_planes<float16>(args); }
MK_KERNEL(gemm_bias_planes_bf16, BiasSumArgs, 256) { bias_planes<bfloat16>(args); }
MK_KERNEL(gemm_bias_reduce_f32, BiasReduceArgs, 256) { bias_reduce<float>(args); }
MK_KERNEL(gemm_bias_reduce_f64, BiasReduceArgs, 256) { bias_reduce<double>(args); }
MK_KERNEL(gemm_bias_reduce_f16, BiasReduceArgs, 256) { bias_reduce<float16>(args); }
MK_KERNEL(gemm_bias_reduce_bf16, BiasReduceArgs, 256) { bias_reduce<bfloat16>(args); }
