// Recurrent layers on CUDA, forward. The backward pass is in recurrent_backward.cu.
//
//   sums = (x weight_ih^T + bias_ih) + bias_hh + h weight_hh^T, then the cell's gates; formulas in
//   lstm.simd.cpp, gru.simd.cpp and rnn.simd.cpp.
//
// Loops     what comes from x is summed for all steps at once by a GEMM; for a single step here.
//           Then step by step: a block takes some samples and, of some hidden units, all gates.
//           Where weight_hh fits the shared memory of the blocks that can run together, one
//           cooperative launch takes all steps: weights are read once, blocks wait for each other
//           after every step, and h goes through the L2 cache. Else there is one launch a step.
// Flops     2 N T G H (I + H).
// Bytes     x and y once, the products with x twice; per step, h once for every group of units, and
//           without resident weights those once for every group of samples.
// Numerics  a step in float32 or float64 throughout, see product.cuh; the GEMM as matmul precision
//           says. The same bits for a sample alone or in a batch, and for resident weights or not.
#include "kernels/recurrent/product.cuh"

namespace medkern::cuda {

// The sums of the gates of one hidden unit: `in` from x, `own` from h.
template <class T>
struct GateSums {
  T in[4], own[4];
};

// Gives h; c and `saved` become what they are after the step.
template <class T>
MK_INLINE T step_forward(RecurrentCell cell, const GateSums<T>& sums, T h_prev, T& c,
                         T (&saved)[5]) {
  if (cell == RecurrentCell::lstm) {
    saved[0] = sigmoid(sums.in[0] + sums.own[0]);
    saved[1] = sigmoid(sums.in[1] + sums.own[1]);
    saved[2] = tanh(sums.in[2] + sums.own[2]);
    saved[3] = sigmoid(sums.in[3] + sums.own[3]);
    c = fma(saved[1], c, saved[0] * saved[2]);
    saved[4] = c;
    return saved[3] * tanh(c);
  }
  if (cell == RecurrentCell::gru) {
    saved[0] = sigmoid(sums.in[0] + sums.own[0]);
    saved[1] = sigmoid(sums.in[1] + sums.own[1]);
    saved[3] = sums.own[2];
    saved[2] = tanh(fma(saved[0], saved[3], sums.in[2]));
    return fma(saved[1], h_prev - saved[2], saved[2]);
  }
  const T sum = sums.in[0] + sums.own[0];
  // As in max(0, sum), but for NaN, which passes.
  saved[0] = cell == RecurrentCell::rnn_tanh ? tanh(sum) : sum <= T(0) ? T(0) : sum;
  return saved[0];
}

template <class Block>
MK_INLINE void recurrent_forward(const RecurrentForwardArgs& p) {
  using T = typename Block::T;
  constexpr int kRows = Block::kTile.rows;
  const RecurrentLoop& loop = p.loop;
  const RecurrentPlace at = place_of(loop, kRows);
  const RecurrentForwardSide& side = p.side[at.direction];
  const bool reverse = at.direction == 1;
  const int gates = gates_of(loop.cell), kept = saved_of(loop.cell);
  const int units = static_cast<int>(loop.units.divisor), items = kRows * units;
  const int64_t hidden = loop.hidden;

  T* const weights = shared<T>();
  T* const stages = weights + Block::kTile.template weights_elements<T>(loop.hidden);
  T* const inputs = stages + kRecurrentWarps * Block::kWarpElements;  // [G, items]: sums of x
  T* const own_h = inputs + gates * items;                            // [items]
  T* const own_c = own_h + items;
  T* const bias = own_c + items;  // [G, units]

  const RecurrentColumns<T> columns = {
      static_cast<const T*>(side.weight_hh) + at.first_unit * hidden,
      hidden,
      hidden * hidden,
      units,
      loop.hidden - at.first_unit,
      gates,
      loop.hidden,
      p.hidden_vectors};
  if constexpr (Block::kResident) keep_weights<Block>(weights, columns);

  const auto for_items = [&](auto body) {
#pragma unroll 1
    for (int item = static_cast<int>(threadIdx.x); item < items; item += kRecurrentThreads) {
      const RecurrentItem i = item_of(loop, at, item);
      if (i.exists) body(item, i);
    }
  };
  const auto row_of = [&](const RecurrentItem& i, int32_t t) {
    return i.n * loop.row_n + t * loop.row_t;
  };
  // Starts to copy what x contributes to step s.
  const auto fetch_inputs = [&](int32_t s) {
    for_items([&](int item, const RecurrentItem& i) {
      const int32_t length = length_of(loop, i.n);
      const T* from = static_cast<const T*>(side.inputs) +
                      row_of(i, time_of(reverse, s, length)) * gates * hidden + i.unit;
      for (int g = 0; g < gates; ++g) {
        copy_one(inputs + g * items + item, from + g * hidden, s < length);
      }
    });
    cp_async_commit();
  };

  // A thread reads only what it has written itself of the states and of `inputs`.
  if (loop.first < loop.last && side.inputs != nullptr) fetch_inputs(loop.first);
  {
    const T* h = static_cast<const T*>(loop.first == 0 ? side.h0 : side.h_n);
    const T* c = static_cast<const T*>(loop.first == 0 ? side.c0 : side.c_n);
    for_items([&](int item, const RecurrentItem& i) {
      const int64_t state = i.n * hidden + i.unit;
      own_h[item] = h != nullptr ? h[state] : T(0);
      own_c[item] = c != nullptr ? c[state] : T(0);
    });
    for (int c = static_cast<int>(threadIdx.x); c < gates * units; c += kRecurrentThreads) {
      const int gate = c / units, unit = at.first_unit + c % units;
      bias[c] = side.bias_hh != nullptr && unit < loop.hidden
                    ? static_cast<const T*>(side.bias_hh)[gate * hidden + unit]
                    : T(0);
    }
  }
  __syncthreads();

  if constexpr (!Block::kResident) {
    if (side.inputs == nullptr && loop.first < loop.last) {
      const RecurrentRows<T> rows = {static_cast<const T*>(side.x) + at.first_sample * p.x_row,
                                     p.x_row, at.samples, p.input, p.input_vectors};
      const RecurrentColumns<T> input_columns = {
          static_cast<const T*>(side.weight_ih) + int64_t{at.first_unit} * p.input,
          p.input,
          hidden * p.input,
          units,
          loop.hidden - at.first_unit,
          gates,
          p.input,
          p.input_vectors};
      partial_product<Block>(stages, rows, weights, input_columns);
      __syncthreads();
      for_items([&](int item, const RecurrentItem& i) {
        for (int g = 0; g < gates; ++g) {
          const T bias_ih = side.bias_ih != nullptr
                                ? static_cast<const T*>(side.bias_ih)[g * hidden + i.unit]
                                : T(0);
          inputs[g * items + item] =
              whole_sum<Block>(stages, i.row, g * units + i.column) + bias_ih;
        }
      });
      __syncthreads();
    }
  }

  const int32_t most = longest(loop, at);
  uint32_t passed = 0;
  T* const states = static_cast<T*>(side.state);
  const int64_t states_of_step = int64_t{loop.batch} * p.state_row;
  for (int32_t s = loop.first; s < loop.last; ++s) {
    if (s < most) {
      RecurrentRows<T> rows;
      if (s == 0) {
        rows = {static_cast<const T*>(side.h0) + at.first_sample * hidden, hidden,
                side.h0 != nullptr ? at.samples : 0, loop.hidden, p.hidden_vectors};
      } else {
        rows = {states + s % 2 * states_of_step + int64_t{at.first_sample} * p.state_row,
                p.state_row, at.samples, loop.hidden, true};
      }
      partial_product<Block>(stages, rows, weights, columns);
      __syncthreads();
    }
    cp_async_wait<0>();
    T* const next = states + (s + 1) % 2 * states_of_step;
    for_items([&](int item, const RecurrentItem& i) {
      const int32_t length = length_of(loop, i.n), t = time_of(reverse, s, length);
      T h = own_h[item], y = 0;
      if (s < length) {
        GateSums<T> sums;
        T saved[5], c = own_c[item];
        for (int g = 0; g < 4; ++g) {
          if (g >= gates) break;
          sums.in[g] = inputs[g * items + item];
          sums.own[g] =
              whole_sum<Block>(stages, i.row, g * units + i.column) + bias[g * units + i.column];
        }
        y = h = step_forward(loop.cell, sums, h, c, saved);
        own_h[item] = h;
        own_c[item] = c;
        if (side.saved != nullptr) {
          T* to = static_cast<T*>(side.saved) + row_of(i, t) * kept * hidden + i.unit;
          for (int k = 0; k < 5; ++k) {
            if (k < kept) to[k * hidden] = saved[k];
          }
        }
      }
      if (s + 1 < loop.steps) next[int64_t{i.n} * p.state_row + i.unit] = h;
      if (side.y != nullptr) static_cast<T*>(side.y)[i.n * p.y_n + t * p.y_t + i.unit] = y;
    });
    if constexpr (Block::kResident) {
      // All blocks of a task see the same lengths.
      if (s + 1 < loop.last && s + 1 < most) {
        fetch_inputs(s + 1);
        grid_barrier(loop.arrived + at.task, passed, loop.unit_groups.divisor);
      }
    }
  }
  for_items([&](int item, const RecurrentItem& i) {
    const int64_t state = i.n * hidden + i.unit;
    static_cast<T*>(side.h_n)[state] = own_h[item];
    if (side.c_n != nullptr) static_cast<T*>(side.c_n)[state] = own_c[item];
  });
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

// Named by the samples of a block; all have 32 columns, of as many units as have their gates there.
template <class T, bool kResident>
using Block1 = RecurrentBlock<T, 1, 32, 1, 1, kResident>;
template <class T, bool kResident>
using Block4 = RecurrentBlock<T, 1, 32, 4, 1, kResident>;
template <class T, bool kResident>
using Block8 = RecurrentBlock<T, 2, 16, 4, 2, kResident>;
template <class T, bool kResident>
using Block16 = RecurrentBlock<T, 4, 8, 4, 4, kResident>;
template <class T, bool kResident>
using Block32 = RecurrentBlock<T, 4, 8, 8, 4, kResident>;
template <class T, bool kResident>
using Block64 = RecurrentBlock<T, 8, 4, 8, 8, kResident>;

MK_KERNEL(recurrent_forward_f32_resident_1, RecurrentForwardArgs, 256, 1) {
  recurrent_forward<Block1<float, true>>(args);
}
MK_KERNEL(recurrent_forward_f32_resident_4, RecurrentForwardArgs, 256, 1) {
  recurrent_forward<Block4<float, true>>(args);
}
MK_KERNEL(recurrent_forward_f32_resident_8, RecurrentForwardArgs, 256, 1) {
  recurrent_forward<Block8<float, true>>(args);
}
MK_KERNEL(recurrent_forward_f32_resident_16, RecurrentForwardArgs, 256, 1) {
  recurrent_forward<Block16<float, true>>(args);
}
MK_KERNEL(recurrent_forward_f32_resident_32, RecurrentForwardArgs, 256, 1) {
  recurrent_forward<Block32<float, true>>(args);
}
MK_KERNEL(recurrent_forward_f32_resident_64, RecurrentForwardArgs, 256, 1) {
  recurrent_forward<Block64<float, true>>(args);
}
MK_KERNEL(recurrent_forward_f32_step_1, RecurrentForwardArgs, 256, 1) {
  recurrent_forward<Block1<float, false>>(args);
}
MK_KERNEL(recurrent_forward_f32_step_4, RecurrentForwardArgs, 256, 1) {
  recurrent_forward<Block4<float, false>>(args);
}
MK_KERNEL(recurrent_forward_f32_step_16, RecurrentForwardArgs, 256, 1) {
  recurrent_forward<Block16<float, false>>(args);
}
MK_KERNEL(recurrent_forward_f32_step_64, RecurrentForwardArgs, 256, 1) {
  recurrent_forward<Block64<float, false>>(args);
}
MK_KERNEL(recurrent_forward_f64_step_4, RecurrentForwardArgs, 256, 1) {
  recurrent_forward<Block4<double, false>>(args);
}
MK_KERNEL(recurrent_forward_f64_step_16, RecurrentForwardArgs, 256, 1) {
  recurrent_forward<Block16<double, false>>(args);
}
