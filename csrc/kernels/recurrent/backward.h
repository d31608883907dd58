// The backward pass that all cells share, for *.simd.cpp files.
//
// Loops     per step, from the last: the gates of all units, then dh += dgates weight_hh, by
//           samples or by units as steps.h says; then, over all steps at once, one GEMM each for
//           dx, dweight_ih and dweight_hh.
// Flops     4 N T G H (I + H).
// Memory    the gradients of the gates (N T G H) live in scratch; weight_hh is packed once.
// Numerics  sums are those of the GEMM: chains of fma over kGemmBlockK, added one after the other.
#pragma once

#include "kernels/gemm/gemm.simd.h"
#include "kernels/gemm/pack.simd.h"
#include "kernels/gemm/tile.simd.h"
#include "kernels/recurrent/steps.h"

namespace medkern::MK_ISA {
namespace {

// Vectors of columns of one task of column_sums.
constexpr int64_t kSumVectors = 8;

template <class T>
struct BackwardRows {
  const T* saved;
  const T* h_prev;
  const T* c_prev;  // LSTM only; nullptr for zeros
  const T* dy;      // nullptr for zeros
  T* dh;            // of the state after the step; becomes the part that bypasses weight_hh
  T* dc;            // of the state after the step; becomes that of the state before. LSTM only
  T* dgates_x;      // G H, gradient of weight_ih x
  T* dgates_h;      // G H, gradient of weight_hh h, where it differs
  T* step;          // G H, gradient of weight_hh h
  int64_t hidden;
};

// c = a b (+ bias), all row-major: a [m, k], b [k, n], c [m, n] with rows of c_row.
inline GemmArgs product(const RecurrentArgs& a, int64_t m, int64_t n, int64_t k) {
  GemmArgs g{};
  g.dtype = a.dtype;
  g.m = m;
  g.n = n;
  g.k = k;
  g.a_row = k;
  g.a_col = 1;
  g.b_row = n;
  g.b_col = 1;
  g.c_row = n;
  return g;
}

// dx = dgates_x weight_ih.
template <class Cell>
GemmArgs dx_product(const RecurrentArgs& a) {
  GemmArgs g = product(a, a.batch * a.steps, a.input, Cell::kGates * a.hidden);
  g.b = a.weight_ih;
  g.accumulate = a.accumulate_dx;
  g.c = a.dx;
  return g;
}

// dweight = dgates^T rows, where `rows` (x, or the hidden states) are `columns` wide.
template <class Cell>
GemmArgs dweight_product(const RecurrentArgs& a, int64_t columns) {
  GemmArgs g = product(a, Cell::kGates * a.hidden, columns, a.batch * a.steps);
  g.a_row = 1;
  g.a_col = g.m;
  return g;
}

template <class T>
struct BackwardBuffers {
  T* dgates_x;  // [N T, G H]
  T* dgates_h;  // [N T, G H], the same memory unless the cell has two gradients
  T* h_prev;    // [N T, H]: the hidden state each step began with, 0 where it is idle
  T* x;         // [N T, I]: x with zeros where a step is idle; nullptr if none can be
  T* step;      // [2, N, step_row]: the gradients of a step's gates; by samples one is used
  int64_t step_row;
  T* packed;   // weight_hh
  void* gemm;  // shared by the directions
};

template <class Cell>
BackwardBuffers<typename Cell::Scalar> backward_buffers(const RecurrentArgs& a, Arena& arena) {
  using T = typename Cell::Scalar;
  const int64_t rows = a.batch * a.steps, gates = Cell::kGates * a.hidden;
  BackwardBuffers<T> b;
  b.dgates_x = arena.take<T>(rows * gates);
  b.dgates_h = Cell::kTwoGradients ? arena.take<T>(rows * gates) : b.dgates_x;
  b.h_prev = arena.take<T>(rows * a.hidden);
  b.x = a.lengths != nullptr ? arena.take<T>(rows * a.input) : nullptr;
  b.step_row = scratch_row<T>(gates);
  b.step = arena.take<T>(2 * a.batch * b.step_row);
  b.packed = arena.take<T>(padded_columns<T>(a.hidden) * gates);
  b.gemm = nullptr;
  return b;
}

template <class Cell>
size_t backward_gemm_bytes(const RecurrentArgs& a) {
  size_t most = 0;
  const GemmArgs products[3] = {dx_product<Cell>(a), dweight_product<Cell>(a, a.input),
                                dweight_product<Cell>(a, a.hidden)};
  for (const GemmArgs& g : products) most = gemm_workspace(g) > most ? gemm_workspace(g) : most;
  return most;
}

// Fills h_prev, and x with its idle rows (which may hold anything) cleared.
template <class T>
void gather_step_inputs(const RecurrentArgs& a, const BackwardBuffers<T>& b) {
  const int64_t work = a.batch * a.steps * (a.hidden + (b.x != nullptr ? a.input : 0));
  parallel_for(a.batch, work, [&](int64_t n, int) {
    const int64_t length = length_of(a, n);
    for (int64_t s = 0; s < a.steps; ++s) {
      const int64_t t = time_of(a, s, length), row = row_of(a, n, t);
      const T* from = nullptr;
      if (s == 0 && s < length && a.h0 != nullptr) {
        from = static_cast<const T*>(a.h0) + n * a.hidden;
      } else if (s > 0 && s < length) {
        from = step_row<T>(a.y, n, time_of(a, s - 1, length));
      }
      copy_or_zero(b.h_prev + row * a.hidden, from, a.hidden);
      if (b.x == nullptr) continue;
      const T* x = s < length ? static_cast<const T*>(a.x) + row * a.input : nullptr;
      copy_or_zero(b.x + row * a.input, x, a.input);
    }
  });
}

// sums[j] = sum over rows of from[row, j], in blocks of T that are added up in double. Rows of a
// task are walked once, kSumVectors at a time.
template <class T>
void column_sums(const T* from, int64_t rows, int64_t columns, T* sums) {
  constexpr int64_t kBlock = 128, kLanes = Vec<T>::kLanes, kColumns = kSumVectors * kLanes;
  parallel_for(divide_up(columns, kColumns), rows * columns, [&](int64_t task, int) {
    const int64_t begin = task * kColumns, end = smaller(begin + kColumns, columns);
    double total[kColumns] = {};
    for (int64_t first = 0; first < rows; first += kBlock) {
      const int64_t last = smaller(first + kBlock, rows);
      Vec<T> block[kSumVectors];
      for (int64_t v = 0; v < kSumVectors; ++v) block[v] = Vec<T>::zero();
      for (int64_t row = first; row < last; ++row) {
        const T* at = from + row * columns + begin;
        if (end - begin == kColumns) {
#pragma GCC unroll 8
          for (int64_t v = 0; v < kSumVectors; ++v) block[v] += Vec<T>::load(at + v * kLanes);
        } else {
          for (int64_t v = 0; v < kSumVectors; ++v) {
            const int64_t rest = smaller(end - begin - v * kLanes, kLanes);
            if (rest > 0) block[v] += Vec<T>::load(at + v * kLanes, rest);
          }
        }
      }
      for (int64_t j = 0; j < kColumns; ++j) total[j] += block[j / kLanes][j % kLanes];
    }
    for (int64_t j = begin; j < end; ++j) sums[j] = static_cast<T>(total[j - begin]);
  });
}

// dx and the gradients of the weights and biases, from those of the gates at all steps.
template <class Cell>
void parameter_gradients(const RecurrentArgs& a, const BackwardBuffers<typename Cell::Scalar>& b) {
  using T = typename Cell::Scalar;
  const int64_t rows = a.batch * a.steps, gates = Cell::kGates * a.hidden;
  const auto run = [&](GemmArgs g, const void* left, const void* right, void* result) {
    if (result == nullptr) return;
    g.a = left;
    g.b = right;
    g.c = result;
    g.workspace = b.gemm;
    gemm(g);
  };
  run(dx_product<Cell>(a), b.dgates_x, a.weight_ih, a.dx);
  run(dweight_product<Cell>(a, a.input), b.dgates_x, b.x != nullptr ? b.x : a.x, a.dweight_ih);
  run(dweight_product<Cell>(a, a.hidden), b.dgates_h, b.h_prev, a.dweight_hh);
  if (a.dbias_ih != nullptr) {
    column_sums<T>(b.dgates_x, rows, gates, static_cast<T*>(a.dbias_ih));
  }
  if (a.dbias_hh != nullptr && a.dbias_ih != nullptr && b.dgates_h == b.dgates_x) {
    copy_or_zero(static_cast<T*>(a.dbias_hh), static_cast<const T*>(a.dbias_ih), gates);
  } else if (a.dbias_hh != nullptr) {
    column_sums<T>(b.dgates_h, rows, gates, static_cast<T*>(a.dbias_hh));
  }
}

// The gates of samples first .. first + rows at step s: units begin .. end. `step` takes the
// gradients, a row per sample from `first` on.
template <class Cell>
void backward_units(const RecurrentArgs& a, const BackwardBuffers<typename Cell::Scalar>& b,
                    int64_t s, int64_t first, int64_t count, int64_t begin, int64_t end,
                    typename Cell::Scalar* step) {
  using T = typename Cell::Scalar;
  const int64_t gates = Cell::kGates * a.hidden, saved_row = Cell::kSaved * a.hidden;
  for (int64_t n = first; n < first + count; ++n) {
    const int64_t length = length_of(a, n), t = time_of(a, s, length), row = row_of(a, n, t);
    const BackwardRows<T> rows{
        .saved = static_cast<const T*>(a.saved) + row * saved_row,
        .h_prev = b.h_prev + row * a.hidden,
        .c_prev = Cell::previous_cells(a, n, s, length),
        .dy = step_row<const T>(a.dy, n, t),
        .dh = static_cast<T*>(a.dh0) + n * a.hidden,
        .dc = a.dc0 != nullptr ? static_cast<T*>(a.dc0) + n * a.hidden : nullptr,
        .dgates_x = b.dgates_x + row * gates,
        .dgates_h = b.dgates_h + row * gates,
        .step = step + (n - first) * b.step_row,
        .hidden = a.hidden};
    if (s < length) {
      for_vectors<T>(begin, end, [&](int64_t j, auto access) { Cell::backward(rows, j, access); });
      continue;
    }
    for (int64_t gate = 0; gate < Cell::kGates; ++gate) {  // idle: dh passes through unchanged
      for (T* zero : {rows.dgates_x, rows.dgates_h, rows.step}) {
        fill_zero(zero + gate * a.hidden + begin, end - begin);
      }
    }
  }
}

// dh of those samples, in units from `begin` on (a panel of them), += step weight_hh, in chains as
// gemm() has them.
template <class Cell>
void add_hidden_gradient(const RecurrentArgs& a, const BackwardBuffers<typename Cell::Scalar>& b,
                         int64_t first, int64_t count, int64_t begin,
                         const typename Cell::Scalar* step) {
  using T = typename Cell::Scalar;
  const int64_t depth = Cell::kGates * a.hidden, blocks = divide_up(depth, kGemmBlockK);
  const int64_t columns = smaller(a.hidden - begin, kPanel<T>), tiles = tiles_in(count);
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t k = block * kGemmBlockK, width = panel_width<T>(columns);
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t row = tile_start(i, tiles, count);
      run_tile(Tile<T>{.a = step + row * b.step_row + k,
                       .a_row = b.step_row,
                       .a_col = 1,
                       .b = b.packed + begin * depth + k * width,
                       .b_row = width,
                       .c = static_cast<T*>(a.dh0) + (first + row) * a.hidden + begin,
                       .c_row = a.hidden,
                       .k = smaller(depth - k, kGemmBlockK),
                       .rows = tile_start(i + 1, tiles, count) - row,
                       .columns = columns,
                       .accumulate = true});
    }
  }
}

template <class Cell>
void pack_hidden_panel(const RecurrentArgs& a, const BackwardBuffers<typename Cell::Scalar>& b,
                       int64_t begin) {
  using T = typename Cell::Scalar;
  const int64_t gates = Cell::kGates * a.hidden;
  pack_panel(static_cast<const T*>(a.weight_hh) + begin, a.hidden, 1, gates,
             smaller(a.hidden - begin, kPanel<T>), b.packed + begin * gates);
}

template <class Cell>
void backward_by_samples(const RecurrentArgs* layers, int directions, const Cut& cut,
                         const BackwardBuffers<typename Cell::Scalar>* buffers, int64_t work) {
  using T = typename Cell::Scalar;
  const int64_t hidden = layers[0].hidden, panels = panels_in<T>(hidden);
  parallel_for(directions * panels, directions * Cell::kGates * hidden * hidden,
               [&](int64_t task, int) {
                 const int64_t d = task / panels;
                 pack_hidden_panel<Cell>(layers[d], buffers[d], task % panels * kPanel<T>);
               });
  parallel_for(directions * cut.chunks, work, [&](int64_t task, int) {
    const int64_t d = task / cut.chunks, chunk = task % cut.chunks;
    const RecurrentArgs& a = layers[d];
    const int64_t first = chunk_start(a, cut, chunk);
    const int64_t count = chunk_start(a, cut, chunk + 1) - first;
    T* step = buffers[d].step + first * buffers[d].step_row;
    const int64_t most = longest(a, first, count);
    for (int64_t s = a.steps - 1; s >= 0; --s) {
      backward_units<Cell>(a, buffers[d], s, first, count, 0, hidden, step);
      for (int64_t j = 0; j < hidden && s < most; j += kPanel<T>) {
        add_hidden_gradient<Cell>(a, buffers[d], first, count, j, step);
      }
    }
  });
}

template <class Cell>
void backward_by_units(const RecurrentArgs* layers, int directions,
                       const BackwardBuffers<typename Cell::Scalar>* buffers, int64_t work) {
  using T = typename Cell::Scalar;
  const RecurrentArgs& first_layer = layers[0];
  const int64_t panels = panels_in<T>(first_layer.hidden), parts = directions * panels;
  const int64_t most = longest(first_layer, 0, first_layer.batch);
  parallel_team(static_cast<int>(smaller(parts, max_workers())), work, [&](Team& team) {
    // Calls body(a, buffers, begin) for this worker's panels of units.
    const auto for_parts = [&](auto body) {
      const int64_t end = share_start(team, parts, team.worker() + 1);
      for (int64_t p = share_start(team, parts, team.worker()); p < end; ++p) {
        body(layers[p / panels], buffers[p / panels], p % panels * kPanel<T>);
      }
    };
    using Buffers = BackwardBuffers<T>;
    for_parts([&](const RecurrentArgs& a, const Buffers& b, int64_t begin) {
      pack_hidden_panel<Cell>(a, b, begin);
    });
    for (int64_t s = first_layer.steps - 1; s >= 0; --s) {
      // Two by turns: another worker may still read the gradients of the step before.
      const auto step_of = [&](const Buffers& b) {
        return b.step + s % 2 * first_layer.batch * b.step_row;
      };
      for_parts([&](const RecurrentArgs& a, const Buffers& b, int64_t begin) {
        const int64_t end = smaller(begin + kPanel<T>, a.hidden);
        backward_units<Cell>(a, b, s, 0, a.batch, begin, end, step_of(b));
      });
      team.barrier();
      if (s >= most) continue;
      for_parts([&](const RecurrentArgs& a, const Buffers& b, int64_t begin) {
        add_hidden_gradient<Cell>(a, b, 0, a.batch, begin, step_of(b));
      });
    }
  });
}

// All directions of a layer, of which there may be two.
template <class Cell>
void sequence_backward(const RecurrentArgs* layers, int directions) {
  using T = typename Cell::Scalar;
  const RecurrentArgs& first = layers[0];
  Arena arena{static_cast<char*>(first.workspace)};
  BackwardBuffers<T> buffers[2];
  for (int d = 0; d < directions; ++d) buffers[d] = backward_buffers<Cell>(layers[d], arena);
  void* gemm = arena.take<char>(0);
  const int64_t states = first.batch * first.hidden;
  for (int d = 0; d < directions; ++d) {
    const RecurrentArgs& a = layers[d];
    buffers[d].gemm = gemm;
    copy_or_zero(static_cast<T*>(a.dh0), static_cast<const T*>(a.dh_n), states);
    if (a.dc0 != nullptr) {
      copy_or_zero(static_cast<T*>(a.dc0), static_cast<const T*>(a.dc_n), states);
    }
    gather_step_inputs(a, buffers[d]);
  }
  const int64_t weight_bytes = Cell::kGates * first.hidden * first.hidden * sizeof(T);
  const int64_t work =
      2 * directions * first.batch * first.steps * Cell::kGates * first.hidden * first.hidden;
  const Cut cut = cut_of(first, directions, weight_bytes);
  if (cut.by_units) {
    backward_by_units<Cell>(layers, directions, buffers, work);
  } else {
    backward_by_samples<Cell>(layers, directions, cut, buffers, work);
  }
  for (int d = 0; d < directions; ++d) parameter_gradients<Cell>(layers[d], buffers[d]);
}

template <class Cell>
size_t sequence_backward_workspace(const RecurrentArgs* layers, int directions) {
  Arena arena{nullptr};
  for (int d = 0; d < directions; ++d) backward_buffers<Cell>(layers[d], arena);
  arena.take<char>(backward_gemm_bytes<Cell>(layers[0]));
  return arena.used;
}

}  // namespace
}  // namespace medkern::MK_ISA
