// Embedding on the device, forward and backward.
//
//   y[i, :] = weight[indices[i], :]
//   dweight[v, :] = sum of dy[i, :] over i with indices[i] = v
//
// Forward:  a thread per 16 bytes of y; neighbors copy neighboring parts of a row.
// Backward: a block sums some rows by some columns of dweight in shared memory. It walks all
// indices
//           256 at a time, keeps those of its rows in their order, and each of its warps adds
//           the lines of dy that belong to the rows of its own, a line per step: every sum is in
//           the order of the indices, as on the CPU, and dweight is written once.
// An index out of range gives a row of zeros, and adds to none.
// Memory  y (or dy) and the rows chosen, once each; backward the indices once for every 32 rows,
//         mostly from the L2 cache.
#include "cuda/loops.h"
#include "kernels/embedding/embedding.cuda.h"

namespace medkern::cuda {
namespace {

template <int lanes, class T, class Index>
MK_INLINE void lookup_vectors(const LookupKernelArgs& args) {
  uint32_t step[kVectorSteps];
  own_steps(step);
  Pack<T, lanes> value[kVectorSteps];
  const T* weight = static_cast<const T*>(args.weight);
#pragma unroll
  for (int u = 0; u < kVectorSteps; ++u) {
    if (step[u] >= args.count) continue;
    const uint32_t i = args.vectors.quotient(step[u]);
    const int64_t column = int64_t{step[u] - i * args.vectors.divisor} * lanes;
    const int64_t row = static_cast<const Index*>(args.indices)[i];
    if (row >= 0 && row < args.rows) {
      value[u] = load_pack<lanes>(weight + row * args.vectors.divisor * lanes + column);
    } else {
      for (int k = 0; k < lanes; ++k) value[u].at[k] = 0;
    }
  }
#pragma unroll
  for (int u = 0; u < kVectorSteps; ++u) {
    if (step[u] >= args.count) continue;
    store_pack<lanes>(static_cast<T*>(args.y) + int64_t{step[u]} * lanes, value[u]);
  }
}

template <class T, class Index>
MK_INLINE void lookup(const LookupKernelArgs& args) {
  if (args.lanes > 1) {
    lookup_vectors<vector_lanes(sizeof(T)), T, Index>(args);
  } else {
    lookup_vectors<1, T, Index>(args);
  }
}

// Adds the lines of dy that the list names to the rows of this warp, in the order of the list.
template <class T>
MK_INLINE void add_lines(const T* dy, int64_t size, int64_t columns, const int64_t* places,
                         const int32_t* rows, int total, T* sums) {
  constexpr int kWarps = kScatterThreads / kWarp, kEach = kColumnsOfBlock / kWarp;
  constexpr int kLines = 16;  // on their way at once: a frequent index makes a long sum
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  for (int begin = 0; begin < total; begin += kWarp) {
    const bool own = begin + lane < total && rows[begin + lane] % kWarps == warp;
    uint32_t left = __ballot_sync(kAllLanes, own);
    while (left != 0) {
      T line[kLines][kEach];
      int row[kLines];
#pragma unroll
      for (int i = 0; i < kLines; ++i) {
        const int at = begin + __ffs(static_cast<int>(left)) - 1;
        row[i] = left != 0 ? rows[at] : -1;
        const T* from = dy + (left != 0 ? places[at] : 0) * size + lane;
#pragma unroll
        for (int k = 0; k < kEach; ++k) {
          line[i][k] = row[i] >= 0 && lane + k * kWarp < columns ? from[k * kWarp] : T(0);
        }
        left &= left - 1;
      }
#pragma unroll
      for (int i = 0; i < kLines; ++i) {
        if (row[i] < 0) continue;
#pragma unroll
        for (int k = 0; k < kEach; ++k) {
          sums[row[i] * kColumnsOfBlock + lane + k * kWarp] += line[i][k];
        }
      }
    }
  }
}

template <class T, class Index>
MK_INLINE void scatter(const ScatterKernelArgs& args) {
  constexpr int kWarps = kScatterThreads / kWarp, kOwn = kIndicesOfStep / kScatterThreads;
  uint32_t rest = blockIdx.x;
  const int64_t first_row = int64_t{args.row_blocks.take(rest)} * kRowsOfBlock;
  const int64_t first_column = int64_t{rest} * kColumnsOfBlock;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  T* sums = shared<T>();  // [kRowsOfBlock][kColumnsOfBlock]
  int64_t* places = reinterpret_cast<int64_t*>(sums + kRowsOfBlock * kColumnsOfBlock);
  int32_t* rows = reinterpret_cast<int32_t*>(places + kIndicesOfStep);  // of the block
  int32_t* counts = rows + kIndicesOfStep;                              // of each warp
  for (int i = static_cast<int>(threadIdx.x); i < kRowsOfBlock * kColumnsOfBlock;
       i += kScatterThreads) {
    sums[i] = 0;
  }
  const Index* indices = static_cast<const Index*>(args.indices);
  const T* dy = static_cast<const T*>(args.dy) + first_column;
  const int64_t columns = args.size - first_column;
  for (int64_t begin = 0; begin < args.count; begin += kIndicesOfStep) {
    // A list of those of the block's rows, in order.
    const int64_t first = begin + static_cast<int>(threadIdx.x) * kOwn;
    int32_t row[kOwn];
    int before = 0, of_warp = 0;
#pragma unroll
    for (int k = 0; k < kOwn; ++k) {
      const int64_t index = first + k < args.count ? int64_t{indices[first + k]} : -1;
      const int64_t at = index - first_row;
      const bool here =
          at >= 0 && at < kRowsOfBlock && index < args.rows && index != args.padding_idx;
      row[k] = here ? static_cast<int32_t>(at) : -1;
      const uint32_t all = __ballot_sync(kAllLanes, here);
      before += __popc(all & ((1u << lane) - 1));
      of_warp += __popc(all);
    }
    __syncthreads();
    if (lane == 0) counts[warp] = of_warp;
    __syncthreads();
    int total = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      before += w < warp ? counts[w] : 0;
      total += counts[w];
    }
#pragma unroll
    for (int k = 0; k < kOwn; ++k) {
      if (row[k] < 0) continue;
      places[before] = first + k;
      rows[before++] = row[k];
    }
    __syncthreads();
    add_lines(dy, args.size, columns, places, rows, total, sums);
  }
  __syncthreads();
  T* dweight = static_cast<T*>(args.dweight) + first_column;
  for (int i = static_cast<int>(threadIdx.x); i < kRowsOfBlock * kColumnsOfBlock;
       i += kScatterThreads) {
    const int64_t row = first_row + i / kColumnsOfBlock, column = i % kColumnsOfBlock;
    if (row < args.rows && column < columns) dweight[row * args.size + column] = sums[i];
  }
}

}  // namespace

MK_KERNEL(embedding_lookup_f32_i32, LookupKernelArgs, 256) { lookup<float, int32_t>(args); }
MK_KERNEL(embedding_lookup_f32_i64, LookupKernelArgs, 256) { lookup<float, int64_t>(args); }
MK_KERNEL(embedding_lookup_f64_i32, LookupKernelArgs, 256) { lookup<double, int32_t>(args); }
MK_KERNEL(embedding_lookup_f64_i64, LookupKernelArgs, 256) { lookup<double, int64_t>(args); }
MK_KERNEL(embedding_scatter_f32_i32, ScatterKernelArgs, 256) { scatter<float, int32_t>(args); }
MK_KERNEL(embedding_scatter_f32_i64, ScatterKernelArgs, 256) { scatter<float, int64_t>(args); }
MK_KERNEL(embedding_scatter_f64_i32, ScatterKernelArgs, 256) { scatter<double, int32_t>(args); }
MK_KERNEL(embedding_scatter_f64_i64, ScatterKernelArgs, 256) { scatter<double, int64_t>(args); }

}  // namespace medkern::cuda
