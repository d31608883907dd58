// Matrix product on CUDA: c[m, n] = act(sum over k of a[m, k] b[k, n] + bias[n]), any strides of a
// and b.
//
// float32: tiles of c by the tensor cores (cuda/tile.h), 128 x 128 or 64 x 64. Operands are copied
// along whichever of their axes is contiguous, in vectors of 16 bytes where sizes and addresses
// allow. Blocks go down 8 tiles of rows before the next column of tiles, so that both operands of
// what runs at once fit the L2 cache. Long sums with few tiles (gradients of weights) are split,
// the parts added in order. float64: cuda/plain_tile.h.
//
// Work 2 m n k flops (three times that on the tensor cores where products are exact). Memory: a
// read n / tile columns times, b m / tile rows times, mostly from L2.
#include "cuda/half.h"
#include "cuda/plain_tile.h"
#include "cuda/product.h"
#include "cuda/tile.h"
#include "kernels/gemm/gemm.cuda.h"

namespace medkern::cuda {

// Starts the copy of rows first.. and k from .. from + kDepth - 1 (0 from `end` on) of an operand.
template <int kThreads, class S>
MK_INLINE void copy_slice(const GemmOperand& x, int first, int from, int end, float* to) {
  const int thread = threadIdx.x;
  const float* data = static_cast<const float*>(x.data) + blockIdx.z * x.item_stride;
  if (x.vectors) {
#pragma unroll
    for (int i = 0; i < S::kRows * kDepth / 4 / kThreads; ++i) {
      const int flat = thread + i * kThreads;
      const int row = S::kByRow ? flat / (kDepth / 4) : flat % (S::kRows / 4) * 4;
      const int k = S::kByRow ? flat % (kDepth / 4) * 4 : flat / (S::kRows / 4);
      const int64_t at = S::kByRow ? (first + row) * x.row_stride + from + k
                                   : (from + k) * x.k_stride + first + row;
      cp_async16(to + S::at(row, k), data + at, first + row < x.rows && from + k < end);
    }
    return;
  }
#pragma unroll 4
  for (int i = 0; i < S::kRows * kDepth / kThreads; ++i) {
    const int flat = thread + i * kThreads;
    const int row = S::kByRow ? flat / kDepth : flat % S::kRows;
    const int k = S::kByRow ? flat % kDepth : flat / S::kRows;
    const int64_t at = (first + row) * x.row_stride + (from + k) * x.k_stride;
    cp_async4(to + S::at(row, k), data + at, first + row < x.rows && from + k < end);
  }
}

// The number of a block's partial product among [item][split].
MK_INLINE int64_t part_of_block() { return int64_t{blockIdx.z} * gridDim.y + blockIdx.y; }

// What becomes of four sums that lie at `to`.
MK_INLINE void finish_four(const GemmKernelArgs& p, const float* to, int column, float4& x) {
  if (p.accumulate) {
    const float4 old = load16(to);
    x = {old.x + x.x, old.y + x.y, old.z + x.z, old.w + x.w};
    return;
  }
  const float* bias = static_cast<const float*>(p.bias);
  x.x = finished(x.x, bias, column, p.relu);
  x.y = finished(x.y, bias, column + 1, p.relu);
  x.z = finished(x.z, bias, column + 2, p.relu);
  x.w = finished(x.w, bias, column + 3, p.relu);
}

template <class T, class Math, bool kABy, bool kBBy>
MK_INLINE void gemm_tile(const GemmKernelArgs& p) {
  using A = Slice<T::kRows, kABy>;
  using B = Slice<T::kColumns, kBBy>;
  const int m = p.a.rows, n = p.b.rows;
  const TilePlace at = tile_place(m, n, T::kRows, T::kColumns);
  const int k_first = blockIdx.y * p.split_k;
  const int k_end = p.k - k_first < p.split_k ? p.k : k_first + p.split_k;
  const int slices = (k_end - k_first + kDepth - 1) / kDepth;
  const bool part = p.partial != nullptr;
  const int64_t c_row = part ? n : p.c_row;
  float* c = part ? static_cast<float*>(p.partial) + part_of_block() * m * n
                  : static_cast<float*>(p.c) + blockIdx.z * p.c_item;
  const float* bias = static_cast<const float*>(p.bias);
  const bool vectors = c_row % 4 == 0 && reinterpret_cast<size_t>(c) % 16 == 0;
  float* own = shared<float>() + kStages * T::kStageFloats + threadIdx.x;  // eight, behind the ring
  sum_and_store<T, Math, A, B>(
      slices,
      [&](float* a, float* b, int s) {
        copy_slice<T::kThreads, A>(p.a, at.row, k_first + s * kDepth, k_end, a);
        copy_slice<T::kThreads, B>(p.b, at.column, k_first + s * kDepth, k_end, b);
      },
      [&](int row, int column, float (&v)[8], uint32_t wanted) {
        row += at.row;
        column += at.column;
        if (row >= m) return;
        float* to = c + row * c_row + column;
        const int left = n - column;
        if (left < 8) wanted &= left > 0 ? (1u << left) - 1 : 0;
        if (vectors && wanted == 255u) {
#pragma unroll
          for (int i = 0; i < 8; i += 4) {
            float4 x{v[i], v[i + 1], v[i + 2], v[i + 3]};
            if (!part) finish_four(p, to + i, column + i, x);
            store16(to + i, x);
          }
          return;
        }
    // One after the other, which takes a tenth of the code.
#pragma unroll
        for (int i = 0; i < 8; ++i) own[i * T::kThreads] = v[i];
#pragma unroll 1
        for (int i = 0; i < 8; ++i) {
          if ((wanted >> i & 1) == 0) continue;
          const float sum = own[i * T::kThreads];
          to[i] = part ? sum : p.accumulate ? to[i] + sum : finished(sum, bias, column + i, p.relu);
        }
      });
}

template <class T>
MK_INLINE void gemm_plain(const GemmKernelArgs& p) {
  const int m = p.a.rows, n = p.b.rows;
  const TilePlace at = tile_place(m, n, kPlainTile, kPlainTile);
  const int k_first = blockIdx.y * p.split_k;
  const int k_count = p.k - k_first < p.split_k ? p.k - k_first : p.split_k;
  const auto element = [&](const GemmOperand& x, int row, int k) {
    if (row >= x.rows) return T(0);
    return static_cast<const T*>(
        x.data)[blockIdx.z * x.item_stride + row * x.row_stride + (k_first + k) * x.k_stride];
  };
  T sum[4][4];
  plain_sum<T>(
      k_count, p.a.k_stride == 1, p.b.k_stride == 1,
      [&](int row, int k) { return element(p.a, at.row + row, k); },
      [&](int row, int k) { return element(p.b, at.column + row, k); }, sum);
  T* partial = static_cast<T*>(p.partial);
  plain_give(sum, [&](int row, int column, T value) {
    row += at.row;
    column += at.column;
    if (row >= m || column >= n) return;
    if (partial != nullptr) {
      partial[(part_of_block() * m + row) * n + column] = value;
      return;
    }
    T* to = static_cast<T*>(p.c) + blockIdx.z * p.c_item + row * p.c_row + column;
    *to =
        p.accumulate ? *to + value : finished(value, static_cast<const T*>(p.bias), column, p.relu);
  });
}

// One thread an element of c, which is stored as T.
template <class T>
MK_INLINE void gemm_reduce(const GemmReduceArgs& p) {
  const int64_t count = int64_t{p.m} * p.n;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count * p.items;
       i += int64_t{gridDim.x} * blockDim.x) {
    const int64_t item = p.items == 1 ? 0 : i / count, at = i - item * count;
    const Wide<T>* partial = static_cast<const Wide<T>*>(p.partial) + item * p.splits * count + at;
    Wide<T> sum = 0;
#pragma unroll 8
    for (int s = 0; s < p.splits; ++s) sum += partial[s * count];
    const int row = at / p.n, column = at % p.n;
    T* to = static_cast<T*>(p.c) + item * p.c_item + row * p.c_row + column;
    if (p.accumulate) {
      *to = T(*to + sum);
      continue;
    }
    if (p.bias != nullptr) sum += Wide<T>(static_cast<const T*>(p.bias)[column]);
    *to = T(p.relu && sum < 0 ? Wide<T>(0) : sum);
  }
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

// gemm_<how>_<tile>_<a><b>: k or r for the contiguous axis of an operand, k or its rows. (For rk
// the host turns b.)
MK_KERNEL(gemm_f32_large_kk, GemmKernelArgs, 256) { gemm_tile<Large, Exact, true, true>(args); }
MK_KERNEL(gemm_f32_large_kr, GemmKernelArgs, 256) { gemm_tile<Large, Exact, true, false>(args); }
MK_KERNEL(gemm_f32_large_rr, GemmKernelArgs, 256) { gemm_tile<Large, Exact, false, false>(args); }
MK_KERNEL(gemm_f32_small_kk, GemmKernelArgs, kSmallBound) {
  gemm_tile<Small, Exact, true, true>(args);
}
MK_KERNEL(gemm_f32_small_kr, GemmKernelArgs, kSmallBound) {
  gemm_tile<Small, Exact, true, false>(args);
}
MK_KERNEL(gemm_f32_small_rr, GemmKernelArgs, kSmallBound) {
  gemm_tile<Small, Exact, false, false>(args);
}
MK_KERNEL(gemm_tf32_large_kk, GemmKernelArgs, 256) { gemm_tile<Large, Tf32, true, true>(args); }
MK_KERNEL(gemm_tf32_large_kr, GemmKernelArgs, 256) { gemm_tile<Large, Tf32, true, false>(args); }
MK_KERNEL(gemm_tf32_large_rr, GemmKernelArgs, 256) { gemm_tile<Large, Tf32, false, false>(args); }
MK_KERNEL(gemm_tf32_small_kk, GemmKernelArgs, kSmallBound) {
  gemm_tile<Small, Tf32, true, true>(args);
}
MK_KERNEL(gemm_tf32_small_kr, GemmKernelArgs, kSmallBound) {
  gemm_tile<Small, Tf32, true, false>(args);
}
MK_KERNEL(gemm_tf32_small_rr, GemmKernelArgs, kSmallBound) {
  gemm_tile<Small, Tf32, false, false>(args);
}
MK_KERNEL(gemm_bf16_large_kk, GemmKernelArgs, 256) { gemm_tile<Large, Bf16, true, true>(args); }
MK_KERNEL(gemm_bf16_large_kr, GemmKernelArgs, 256) { gemm_tile<Large, Bf16, true, false>(args); }
MK_KERNEL(gemm_bf16_large_rr, GemmKernelArgs, 256) { gemm_tile<Large, Bf16, false, false>(args); }
MK_KERNEL(gemm_bf16_small_kk, GemmKernelArgs, kSmallBound) {
  gemm_tile<Small, Bf16, true, true>(args);
}
MK_KERNEL(gemm_bf16_small_kr, GemmKernelArgs, kSmallBound) {
  gemm_tile<Small, Bf16, true, false>(args);
}
MK_KERNEL(gemm_bf16_small_rr, GemmKernelArgs, kSmallBound) {
  gemm_tile<Small, Bf16, false, false>(args);
}
MK_KERNEL(gemm_plain_f64, GemmKernelArgs, 256) { gemm_plain<double>(args); }
MK_KERNEL(gemm_reduce_f32, GemmReduceArgs, 256) { gemm_reduce<float>(args); }
MK_KERNEL(gemm_reduce_f64, GemmReduceArgs, 256) { gemm_reduce<double>(args); }
MK_KERNEL(gemm_reduce_f16, GemmReduceArgs, 256) { gemm_reduce<float16>(args); }
MK_KERNEL(gemm_reduce_bf16, GemmReduceArgs, 256) { gemm_reduce<bfloat16>(args); }
