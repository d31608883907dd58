// The product that a step of a recurrent layer is made of, a few samples by a few columns of
// weights, and what else both passes share.
//
//   sum[m, c] = sum over k of a[m, k] b[c, k]
//
// Loops     each of the 8 warps takes an eighth of k, for all samples and columns of the block: a
//           lane some of both, in registers. A warp stages its own part of a (and of b, unless that
//           stays in shared memory) with asynchronous copies, some chunks ahead, and waits for no
//           other warp. Then the eight partial sums are added in pairs.
// Numerics  in the precision of the data: eight chains of fma, added in pairs, these in pairs.
//           Which samples a block has, and where b lies, changes no bit.
#pragma once

#include "cuda/device.h"
#include "kernels/recurrent/recurrent.cuda.h"

namespace medkern::cuda {

template <class T>
struct alignas(16) RecurrentVector {
  T at[16 / sizeof(T)];
};

// kLaneRows by kLaneColumns lanes of kRows by kColumns sums each: those of a lane lie kLaneRows,
// and kLaneColumns, apart.
template <class Scalar, int kLaneRows_, int kLaneColumns_, int kRows_, int kColumns_,
          bool kResident_>
struct RecurrentBlock {
  using T = Scalar;
  static constexpr int kLaneRows = kLaneRows_, kLaneColumns = kLaneColumns_;
  static constexpr int kRows = kRows_, kColumns = kColumns_;
  static constexpr bool kResident = kResident_;
  static_assert(kLaneRows * kLaneColumns == kWarp, "one sum a lane");
  static constexpr RecurrentTile kTile = {kLaneRows * kRows, kLaneColumns * kColumns, kResident};
  static constexpr int kVector = RecurrentTile::vector<T>();
  static constexpr int kStageRow = RecurrentTile::stage_row<T>();
  static constexpr int kPartialRow = kTile.template partial_row<T>();
  static constexpr int kStages = kTile.stages();
  static constexpr int kStage = kTile.template stage<T>();
  static constexpr int kWarpElements = kTile.template warp_elements<T>();
  static_assert(kTile.rows * kPartialRow <= kWarpElements, "partial sums take the stages' place");

  T sum[kRows][kColumns];
};

MK_INLINE int lane_number() { return static_cast<int>(threadIdx.x % kWarp); }
MK_INLINE int warp_number() { return static_cast<int>(threadIdx.x / kWarp); }

// Rows of a matrix in global memory, k of each; rows from `rows` on count as zeros. `vectors`: k,
// stride and address are whole 16-byte vectors.
template <class T>
struct RecurrentRows {
  const T* first;
  int64_t stride;
  int32_t rows, k;
  bool vectors;
  MK_INLINE const T* row(int i) const { return i < rows ? first + i * stride : nullptr; }
};

// Rows of weights that belong to the columns of a block: column c is gate c / units of unit
// c % units, in row gate * hidden + unit.
template <class T>
struct RecurrentColumns {
  const T* first;  // of the block's first unit
  int64_t stride, gate_stride;
  int32_t units, units_left, gates, k;
  bool vectors;
  MK_INLINE const T* row(int c) const {
    int gate = 0, unit = c;
    for (; unit >= units; ++gate) unit -= units;
    return gate < gates && unit < units_left ? first + gate * gate_stride + unit * stride : nullptr;
  }
};

template <class T>
MK_INLINE void copy_one(T* to, const T* from, bool valid) {
  if constexpr (sizeof(T) == 4) {
    cp_async4(to, from, valid);
  } else {
    cp_async8(to, from, valid);
  }
}

// Starts to copy a chunk of kCount rows, from k on, by one warp; zeros where there is no row or k
// is past its end.
template <class Block, int kCount, class Rows>
MK_INLINE void stage_rows(typename Block::T* to, const Rows& rows, int k, int k_end) {
  constexpr int kVectors = kRecurrentChunk / Block::kVector;
  if (rows.vectors) {
#pragma unroll
    for (int i = 0; i < kCount * kVectors; i += kWarp) {
      const int at = i + lane_number(), row = at / kVectors, part = at % kVectors * Block::kVector;
      if (kCount * kVectors % kWarp == 0 || at < kCount * kVectors) {
        const auto* from = rows.row(row);
        cp_async16(to + row * Block::kStageRow + part, from + k + part,
                   from != nullptr && k + part < k_end);
      }
    }
    return;
  }
#pragma unroll 1
  for (int at = lane_number(); at < kCount * kRecurrentChunk; at += kWarp) {
    const int row = at / kRecurrentChunk, part = at % kRecurrentChunk;
    const auto* from = rows.row(row);
    copy_one(to + row * Block::kStageRow + part, from + k + part,
             from != nullptr && k + part < k_end);
  }
}

// sum += a b over `vectors` vectors of k.
template <class Block, int kVectors>
MK_INLINE void multiply_vectors(Block& block, const typename Block::T* a,
                                const typename Block::T* b, int b_row) {
  using Vector = RecurrentVector<typename Block::T>;
#pragma unroll
  for (int q = 0; q < kVectors; ++q) {
    Vector right[Block::kColumns];
#pragma unroll
    for (int j = 0; j < Block::kColumns; ++j) {
      right[j] = *reinterpret_cast<const Vector*>(b + j * Block::kLaneColumns * b_row +
                                                  q * Block::kVector);
    }
#pragma unroll
    for (int i = 0; i < Block::kRows; ++i) {
      const Vector left = *reinterpret_cast<const Vector*>(
          a + i * Block::kLaneRows * Block::kStageRow + q * Block::kVector);
#pragma unroll
      for (int e = 0; e < Block::kVector; ++e) {
#pragma unroll
        for (int j = 0; j < Block::kColumns; ++j) {
          block.sum[i][j] = fma(left.at[e], right[j].at[e], block.sum[i][j]);
        }
      }
    }
  }
}

// Copies the weights of a block to shared memory, each warp those of its own slice of k.
template <class Block, class Columns>
MK_INLINE void keep_weights(typename Block::T* weights, const Columns& columns) {
  using T = typename Block::T;
  const int slice = RecurrentTile::slice<T>(columns.k), first = warp_number() * slice;
  const int row = Block::kTile.template weights_row<T>(columns.k);
  const int each = columns.vectors ? Block::kVector : 1;
#pragma unroll 1
  for (int c = 0; c < Block::kTile.columns; ++c) {
    const T* from = columns.row(c);
    T* to = weights + c * row;
#pragma unroll 1
    for (int k = first + lane_number() * each; k < first + slice; k += kWarp * each) {
      const bool valid = from != nullptr && k < columns.k;
      if (columns.vectors) {
        cp_async16(to + k, from + k, valid);
      } else {
        copy_one(to + k, from + k, valid);
      }
    }
  }
  cp_async_commit();
  cp_async_wait<0>();
  __syncwarp();
}

// This warp's partial sums of a b, which take the place of its stages. b is in `weights`, or read
// from `columns` if that is nullptr. Ends without a barrier.
template <class Block, class Rows, class Columns>
MK_INLINE void partial_product(typename Block::T* stages, const Rows& a,
                               const typename Block::T* weights, const Columns& columns) {
  using T = typename Block::T;
  constexpr int kChunk = kRecurrentChunk, kStages = Block::kStages;
  constexpr int kColumnsAt = Block::kTile.rows * Block::kStageRow;
  const int slice = RecurrentTile::slice<T>(columns.k), first = warp_number() * slice;
  const int chunks = (slice + kChunk - 1) / kChunk;
  T* const mine = stages + warp_number() * Block::kWarpElements;
  const int lane_row = lane_number() / Block::kLaneColumns;
  const int lane_column = lane_number() % Block::kLaneColumns;
  const int weights_row = Block::kTile.template weights_row<T>(columns.k);

  const auto stage = [&](int chunk) {
    if (chunk < chunks) {
      T* to = mine + chunk % kStages * Block::kStage;
      const int k = first + chunk * kChunk;
      stage_rows<Block, Block::kTile.rows>(to, a, k, columns.k);
      if constexpr (!Block::kResident) {
        stage_rows<Block, Block::kTile.columns>(to + kColumnsAt, columns, k, columns.k);
      }
    }
    cp_async_commit();
  };

  Block block;
#pragma unroll
  for (int i = 0; i < Block::kRows; ++i) {
#pragma unroll
    for (int j = 0; j < Block::kColumns; ++j) block.sum[i][j] = 0;
  }
#pragma unroll 1
  for (int chunk = 1 - kStages; chunk < chunks; ++chunk) {
    if (chunk >= 0) {
      cp_async_wait<kStages - 2>();
      __syncwarp();
    }
    stage(chunk + kStages - 1);
    if (chunk < 0) continue;
    const T* from = mine + chunk % kStages * Block::kStage;
    const T* left = from + lane_row * Block::kStageRow;
    const T* right;
    int right_row;
    if constexpr (Block::kResident) {
      right = weights + lane_column * weights_row + first + chunk * kChunk;
      right_row = weights_row;
    } else {
      right = from + kColumnsAt + lane_column * Block::kStageRow;
      right_row = Block::kStageRow;
    }
    const int vectors = min(kChunk, slice - chunk * kChunk) / Block::kVector;
    if (vectors == kChunk / Block::kVector) {
      multiply_vectors<Block, kChunk / Block::kVector>(block, left, right, right_row);
    } else {
#pragma unroll 1
      for (int q = 0; q < vectors; ++q) {
        multiply_vectors<Block, 1>(block, left + q * Block::kVector, right + q * Block::kVector,
                                   right_row);
      }
    }
  }
  cp_async_wait<0>();
  __syncwarp();
#pragma unroll
  for (int i = 0; i < Block::kRows; ++i) {
#pragma unroll
    for (int j = 0; j < Block::kColumns; ++j) {
      mine[(lane_row + i * Block::kLaneRows) * Block::kPartialRow + lane_column +
           j * Block::kLaneColumns] = block.sum[i][j];
    }
  }
}

// The whole sum of a sample and a column, after a barrier.
template <class Block>
MK_INLINE typename Block::T whole_sum(const typename Block::T* stages, int row, int column) {
  using T = typename Block::T;
  const T* at = stages + row * Block::kPartialRow + column;
  T part[kRecurrentWarps];
#pragma unroll
  for (int w = 0; w < kRecurrentWarps; ++w) part[w] = at[w * Block::kWarpElements];
  return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
}

// Which samples and units a block has, in which direction.
struct RecurrentPlace {
  int32_t direction, first_sample, samples, first_unit;
  uint32_t task;
};
MK_INLINE RecurrentPlace place_of(const RecurrentLoop& loop, int rows) {
  RecurrentPlace at;
  uint32_t block = blockIdx.x;
  const uint32_t group = loop.unit_groups.take(block);
  at.first_unit = static_cast<int32_t>(group * loop.units.divisor);
  at.task = loop.first_task + block;
  uint32_t direction = at.task;
  at.first_sample = static_cast<int32_t>(loop.sample_groups.take(direction)) * rows;
  at.direction = static_cast<int32_t>(direction);
  at.samples = min(rows, loop.batch - at.first_sample);
  return at;
}

MK_INLINE int32_t length_of(const RecurrentLoop& loop, int32_t n) {
  if (loop.lengths == nullptr) return loop.steps;
  const int64_t length = loop.lengths[n];
  return length < 0 ? 0 : length > loop.steps ? loop.steps : static_cast<int32_t>(length);
}
MK_INLINE int32_t longest(const RecurrentLoop& loop, const RecurrentPlace& at) {
  if (loop.lengths == nullptr) return loop.steps;
  int32_t most = 0;
  for (int32_t m = 0; m < at.samples; ++m) {
    most = max(most, length_of(loop, at.first_sample + m));
  }
  return most;
}
// The time at which a sample of this length takes its step s. Steps from its length on are idle,
// and stand for the times from its length on in both directions.
MK_INLINE int32_t time_of(bool reverse, int32_t s, int32_t length) {
  return reverse && s < length ? length - 1 - s : s;
}

// What a thread computes of a step: hidden unit `unit` of sample n.
struct RecurrentItem {
  int32_t row, column;  // in the block
  int32_t n, unit;
  bool exists;
};
MK_INLINE RecurrentItem item_of(const RecurrentLoop& loop, const RecurrentPlace& at, int item) {
  RecurrentItem i;
  uint32_t rest = static_cast<uint32_t>(item);
  i.column = static_cast<int32_t>(loop.units.take(rest));
  i.row = static_cast<int32_t>(rest);
  i.n = at.first_sample + i.row;
  i.unit = at.first_unit + i.column;
  i.exists = i.row < at.samples && i.unit < loop.hidden;
  return i;
}

template <class T>
MK_INLINE T sigmoid(T v) {
  return T(1) / (T(1) + exp(-v));
}

}  // namespace medkern::cuda
