// Recurrent layers on CUDA, backward: the gradients of the gates at every step, and what they need.
// Those of x, weights and biases are products over all steps, which the host leaves to GEMMs.
//
//   dh[s - 1] = dgates[s] weight_hh + the part that bypasses it; formulas of the gates in
//   lstm.simd.cpp, gru.simd.cpp and rnn.simd.cpp.
//
// Loops     step by step from the last, as the forward pass: a block has dh of some samples and
//           hidden units, and the columns of weight_hh of those units, transposed beforehand so
//           that k, which is G H long here, is contiguous.
// Flops     2 N T G H^2.
// Bytes     `saved` and the gradients once; per step, dgates once for every group of units, and
//           without resident weights those once for every group of samples.
// Numerics  as the forward pass.
#include "kernels/recurrent/product.cuh"

namespace medkern::cuda {

// Of one hidden unit at one step, what the gates' gradients are made of.
template <class T>
struct StepValues {
  T saved[5], c_prev, h_prev, dy;
};

// dh and dc become those of the state before the step, but for what goes through weight_hh.
template <class T>
MK_INLINE void step_backward(RecurrentCell cell, const StepValues<T>& v, T& dh, T& dc, T (&dx)[4],
                             T (&dgates_h)[4]) {
  const T one = 1;
  dh += v.dy;
  if (cell == RecurrentCell::lstm) {
    const T i = v.saved[0], f = v.saved[1], g = v.saved[2], o = v.saved[3];
    const T tanh_c = tanh(v.saved[4]);
    const T all = dc + dh * o * (one - tanh_c * tanh_c);
    dx[0] = all * g * i * (one - i);
    dx[1] = all * v.c_prev * f * (one - f);
    dx[2] = all * i * (one - g * g);
    dx[3] = dh * tanh_c * o * (one - o);
    for (int k = 0; k < 4; ++k) dgates_h[k] = dx[k];
    dc = all * f;
    dh = 0;
  } else if (cell == RecurrentCell::gru) {
    const T r = v.saved[0], z = v.saved[1], n = v.saved[2], b_n = v.saved[3];
    dx[2] = dh * (one - z) * (one - n * n);
    dx[1] = dh * (v.h_prev - n) * z * (one - z);
    dx[0] = dx[2] * b_n * r * (one - r);
    dgates_h[0] = dx[0];
    dgates_h[1] = dx[1];
    dgates_h[2] = dx[2] * r;
    dh = dh * z;
  } else {
    const T h = v.saved[0];
    dx[0] = cell == RecurrentCell::rnn_tanh ? dh * (one - h * h) : h <= T(0) ? T(0) : dh;
    dgates_h[0] = dx[0];
    dh = 0;
  }
}

template <class Block>
MK_INLINE void recurrent_backward(const RecurrentBackwardArgs& p) {
  using T = typename Block::T;
  constexpr int kRows = Block::kTile.rows, kUnits = Block::kTile.columns;
  constexpr int kItems = kRows * kUnits;
  const RecurrentLoop& loop = p.loop;
  const RecurrentPlace at = place_of(loop, kRows);
  const RecurrentBackwardSide& side = p.side[at.direction];
  const bool reverse = at.direction == 1;
  const bool is_lstm = loop.cell == RecurrentCell::lstm;
  const int gates = gates_of(loop.cell), kept = saved_of(loop.cell);
  const int64_t hidden = loop.hidden;
  const int32_t k = gates * loop.hidden;

  T* const weights = shared<T>();
  T* const stages = weights + Block::kTile.template weights_elements<T>(k);
  T* const values = stages + kRecurrentWarps * Block::kWarpElements;  // [slots, items]
  T* const own_dh = values + backward_slots_of(loop.cell) * kItems;   // [items]
  T* const own_dc = own_dh + kItems;

  const RecurrentColumns<T> columns = {
      static_cast<const T*>(side.weight) + int64_t{at.first_unit} * p.step_row,
      p.step_row,
      0,
      kUnits,
      loop.hidden - at.first_unit,
      1,
      k,
      true};
  if constexpr (Block::kResident) keep_weights<Block>(weights, columns);

  const auto for_items = [&](auto body) {
#pragma unroll 1
    for (int item = static_cast<int>(threadIdx.x); item < kItems; item += kRecurrentThreads) {
      const RecurrentItem i = item_of(loop, at, item);
      if (i.exists) body(item, i);
    }
  };
  const auto row_of = [&](const RecurrentItem& i, int32_t t) {
    return i.n * loop.row_n + t * loop.row_t;
  };
  // Starts to copy what step s saved: in slots as StepValues has them, dy last.
  const auto fetch_values = [&](int32_t s) {
    for_items([&](int item, const RecurrentItem& i) {
      const int32_t length = length_of(loop, i.n), t = time_of(reverse, s, length);
      const bool active = s < length;
      const int64_t row = row_of(i, t);
      const T* saved = static_cast<const T*>(side.saved);
      int slot = 0;
      const auto fetch = [&](const T* from, bool valid) {
        copy_one(values + slot++ * kItems + item, from, valid && active);
      };
      for (int v = 0; v < kept; ++v) fetch(saved + (row * kept + v) * hidden + i.unit, true);
      if (is_lstm && s > 0) {
        const int64_t before = row_of(i, time_of(reverse, s - 1, length));
        fetch(saved + (before * kept + 4) * hidden + i.unit, true);
      } else if (is_lstm) {
        fetch(static_cast<const T*>(side.c0) + i.n * hidden + i.unit, side.c0 != nullptr);
      } else if (loop.cell == RecurrentCell::gru) {
        fetch(static_cast<const T*>(side.h_prev) + row * hidden + i.unit, true);
      }
      fetch(static_cast<const T*>(side.dy) + i.n * p.dy_n + t * p.dy_t + i.unit,
            side.dy != nullptr);
    });
    cp_async_commit();
  };

  // A thread reads only what it has written itself of the states and of `values`.
  if (loop.first < loop.steps) fetch_values(loop.steps - 1 - loop.first);
  {
    const T* dh = static_cast<const T*>(loop.first == 0 ? side.dh_n : side.dh0);
    const T* dc = static_cast<const T*>(loop.first == 0 ? side.dc_n : side.dc0);
    for_items([&](int item, const RecurrentItem& i) {
      const int64_t state = i.n * hidden + i.unit;
      own_dh[item] = dh != nullptr ? dh[state] : T(0);
      own_dc[item] = dc != nullptr ? dc[state] : T(0);
    });
  }
  __syncthreads();

  const int32_t most = longest(loop, at);
  uint32_t passed = 0;
  T* const steps = static_cast<T*>(side.step);
  const int64_t one_step = int64_t{loop.batch} * p.step_row;
  for (int32_t iteration = loop.first; iteration < loop.last; ++iteration) {
    const int32_t after = loop.steps - iteration, s = after - 1;  // steps
    const bool product = iteration > 0 && after < most;
    if (product) {
      const RecurrentRows<T> rows = {
          steps + after % 2 * one_step + int64_t{at.first_sample} * p.step_row, p.step_row,
          at.samples, k, true};
      partial_product<Block>(stages, rows, weights, columns);
      __syncthreads();
    }
    cp_async_wait<0>();
    for_items([&](int item, const RecurrentItem& i) {
      const int32_t length = length_of(loop, i.n);
      T dh = own_dh[item], dc = own_dc[item];
      if (product && after < length) dh += whole_sum<Block>(stages, i.row, i.column);
      if (s >= 0) {
        T dx[4] = {}, dgates_h[4] = {};
        if (s < length) {
          StepValues<T> v;
          int slot = 0;
          for (int j = 0; j < 5; ++j) {
            if (j < kept) v.saved[j] = values[slot++ * kItems + item];
          }
          v.c_prev = v.h_prev = 0;
          if (is_lstm) v.c_prev = values[slot++ * kItems + item];
          if (loop.cell == RecurrentCell::gru) v.h_prev = values[slot++ * kItems + item];
          v.dy = values[slot * kItems + item];
          step_backward(loop.cell, v, dh, dc, dx, dgates_h);
        }
        const int64_t row = row_of(i, time_of(reverse, s, length)) * k + i.unit;
        T* const step = steps + s % 2 * one_step + int64_t{i.n} * p.step_row + i.unit;
        for (int g = 0; g < 4; ++g) {
          if (g >= gates) break;
          static_cast<T*>(side.dgates_x)[row + g * hidden] = dx[g];
          if (side.dgates_h != side.dgates_x) {
            static_cast<T*>(side.dgates_h)[row + g * hidden] = dgates_h[g];
          }
          if (s < most) step[g * hidden] = dgates_h[g];
        }
      }
      own_dh[item] = dh;
      own_dc[item] = dc;
    });
    if constexpr (Block::kResident) {
      if (iteration + 1 < loop.last) {
        if (s > 0) fetch_values(s - 1);
        // All blocks of a task see the same lengths.
        if (s < most) {
          grid_barrier(loop.arrived + at.task, passed, loop.unit_groups.divisor);
        }
      }
    }
  }
  for_items([&](int item, const RecurrentItem& i) {
    const int64_t state = i.n * hidden + i.unit;
    static_cast<T*>(side.dh0)[state] = own_dh[item];
    if (side.dc0 != nullptr) static_cast<T*>(side.dc0)[state] = own_dc[item];
  });
}

constexpr int kSide = 32;  // of a tile that is transposed

// A tile a block, by way of shared memory: both sides are read and written along their rows.
template <class T>
MK_INLINE void transpose(const RecurrentTransposeArgs& p) {
  T* const tile = shared<T>();
  const int32_t row = static_cast<int32_t>(blockIdx.x) * kSide;
  const int32_t column = static_cast<int32_t>(blockIdx.y) * kSide;
  for (int i = warp_number(); i < kSide; i += kRecurrentWarps) {
    if (row + i < p.rows && column + lane_number() < p.columns) {
      tile[i * (kSide + 1) + lane_number()] =
          static_cast<const T*>(p.from)[int64_t{row + i} * p.columns + column + lane_number()];
    }
  }
  __syncthreads();
  for (int j = warp_number(); j < kSide; j += kRecurrentWarps) {
    if (column + j < p.columns && row + lane_number() < p.to_row) {
      static_cast<T*>(p.to)[(column + j) * p.to_row + row + lane_number()] =
          row + lane_number() < p.rows ? tile[lane_number() * (kSide + 1) + j] : T(0);
    }
  }
}

// A row of h_prev, and of x, a block.
template <class T>
MK_INLINE void gather(const RecurrentGatherArgs& p) {
  for (uint32_t row = blockIdx.x; row < p.rows; row += gridDim.x) {
    uint32_t outer = row;
    const int32_t inner = static_cast<int32_t>(p.inner.take(outer));
    const int32_t n = p.batch_major ? static_cast<int32_t>(outer) : inner;
    const int32_t t = p.batch_major ? inner : static_cast<int32_t>(outer);
    int64_t length = p.lengths != nullptr ? p.lengths[n] : p.steps;
    length = length < 0 ? 0 : length > p.steps ? p.steps : length;
    const bool active = t < length, first = p.reverse ? t == length - 1 : t == 0;
    const T* from = nullptr;
    if (active && !first) {
      from = static_cast<const T*>(p.y) + n * p.y_n + (p.reverse ? t + 1 : t - 1) * p.y_t;
    } else if (active && p.h0 != nullptr) {
      from = static_cast<const T*>(p.h0) + int64_t{n} * p.hidden;
    }
    for (int32_t j = static_cast<int32_t>(threadIdx.x); j < p.hidden; j += kRecurrentThreads) {
      static_cast<T*>(p.h_prev)[int64_t{row} * p.hidden + j] = from != nullptr ? from[j] : T(0);
    }
    if (p.x_active == nullptr) continue;
    for (int32_t j = static_cast<int32_t>(threadIdx.x); j < p.input; j += kRecurrentThreads) {
      const int64_t element = int64_t{row} * p.input + j;
      static_cast<T*>(p.x_active)[element] = active ? static_cast<const T*>(p.x)[element] : T(0);
    }
  }
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

// Named by the samples and the hidden units of a block.
template <class T, bool kResident>
using Block4x32 = RecurrentBlock<T, 1, 32, 4, 1, kResident>;
template <class T, bool kResident>
using Block16x32 = RecurrentBlock<T, 4, 8, 4, 4, kResident>;
template <class T, bool kResident>
using Block64x32 = RecurrentBlock<T, 8, 4, 8, 8, kResident>;
using Block8x8 = RecurrentBlock<float, 8, 4, 1, 2, true>;
using Block32x8 = RecurrentBlock<float, 8, 4, 4, 2, true>;
using Block8x16 = RecurrentBlock<float, 4, 8, 2, 2, true>;
using Block32x16 = RecurrentBlock<float, 8, 4, 4, 4, true>;
using Block8x32 = RecurrentBlock<float, 2, 16, 4, 2, true>;
using Block32x32 = RecurrentBlock<float, 4, 8, 8, 4, true>;

MK_KERNEL(recurrent_backward_f32_resident_8x8, RecurrentBackwardArgs, 256, 1) {
  recurrent_backward<Block8x8>(args);
}
MK_KERNEL(recurrent_backward_f32_resident_32x8, RecurrentBackwardArgs, 256, 1) {
  recurrent_backward<Block32x8>(args);
}
MK_KERNEL(recurrent_backward_f32_resident_8x16, RecurrentBackwardArgs, 256, 1) {
  recurrent_backward<Block8x16>(args);
}
MK_KERNEL(recurrent_backward_f32_resident_32x16, RecurrentBackwardArgs, 256, 1) {
  recurrent_backward<Block32x16>(args);
}
MK_KERNEL(recurrent_backward_f32_resident_8x32, RecurrentBackwardArgs, 256, 1) {
  recurrent_backward<Block8x32>(args);
}
MK_KERNEL(recurrent_backward_f32_resident_32x32, RecurrentBackwardArgs, 256, 1) {
  recurrent_backward<Block32x32>(args);
}
MK_KERNEL(recurrent_backward_f32_step_4x32, RecurrentBackwardArgs, 256, 1) {
  recurrent_backward<Block4x32<float, false>>(args);
}
MK_KERNEL(recurrent_backward_f32_step_16x32, RecurrentBackwardArgs, 256, 1) {
  recurrent_backward<Block16x32<float, false>>(args);
}
MK_KERNEL(recurrent_backward_f32_step_64x32, RecurrentBackwardArgs, 256, 1) {
  recurrent_backward<Block64x32<float, false>>(args);
}
MK_KERNEL(recurrent_backward_f64_step_4x32, RecurrentBackwardArgs, 256, 1) {
  recurrent_backward<Block4x32<double, false>>(args);
}
MK_KERNEL(recurrent_backward_f64_step_16x32, RecurrentBackwardArgs, 256, 1) {
  recurrent_backward<Block16x32<double, false>>(args);
}
MK_KERNEL(recurrent_transpose_f32, RecurrentTransposeArgs, 256, 1) { transpose<float>(args); }
MK_KERNEL(recurrent_transpose_f64, RecurrentTransposeArgs, 256, 1) { transpose<double>(args); }
MK_KERNEL(recurrent_gather_f32, RecurrentGatherArgs, 256, 1) { gather<float>(args); }
MK_KERNEL(recurrent_gather_f64, RecurrentGatherArgs, 256, 1) { gather<double>(args); }
