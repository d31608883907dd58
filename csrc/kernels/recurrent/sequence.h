// The loop over steps that all cells share, forward and backward, for *.simd.cpp files.
//
// A Cell is a struct with
//   Scalar            float or double
//   kGates            G: blocks of H rows in the weights
//   kSaved            S / H: values per hidden unit kept for the backward pass
//   kOwnHiddenBias    whether bias_hh of the last gate stays apart from bias_ih (GRU)
//   kTwoGradients     whether gradients of the gates differ between the input's and the hidden
//                     state's side (GRU)
//   forward, backward one vector of hidden units of one sample at one step
//
// Forward   one GEMM of all inputs with weight_ih; then per step a GEMM of h with weight_hh (packed
//           once) and one pass over the gates.
// Backward  per step one pass over the gates and a GEMM of their gradients with weight_hh; then one
//           GEMM each for dx, dweight_ih and dweight_hh over all steps.
// Flops     2 N T G H (I + H) forward, twice that backward.
// Memory    the pre-activated gates (N T G H) live in `saved` where it is wanted, else in scratch.
// Numerics  sums are those of the GEMM. A sample's h, c and y have the same bits alone or in a
// batch.
#pragma once

#include "core/parallel.h"
#include "cpu/vec.h"
#include "kernels/gemm/gemm.simd.h"
#include "kernels/recurrent/recurrent.h"

namespace medkern::MK_ISA {
namespace {

// Hidden units, or columns, of one task.
constexpr int64_t kUnitBlock = 256;
// What a step costs per gate in operations, for parallel_for: the activations dominate.
constexpr int64_t kGateWork = 16;

// Loads and stores of a whole vector, or of the first `lanes` of one.
struct WholeVector {
  template <class T>
  MK_INLINE Vec<T> load(const T* p) const {
    return Vec<T>::load(p);
  }
  template <class T>
  MK_INLINE void store(Vec<T> v, T* p) const {
    v.store(p);
  }
};
struct PartVector {
  int64_t lanes;
  template <class T>
  MK_INLINE Vec<T> load(const T* p) const {
    return Vec<T>::load(p, lanes);
  }
  template <class T>
  MK_INLINE void store(Vec<T> v, T* p) const {
    v.store(p, lanes);
  }
};

// Calls body(j, access) for the vectors that cover [begin, end).
template <class T, class Body>
MK_INLINE void for_vectors(int64_t begin, int64_t end, Body body) {
  int64_t j = begin;
  for (; j + Vec<T>::kLanes <= end; j += Vec<T>::kLanes) body(j, WholeVector{});
  if (j < end) body(j, PartVector{end - j});
}

// Pointers to one sample's rows at one step. `pre` holds weight_ih x + bias and `recurrent`
// weight_hh h; both are G H long.
template <class T>
struct ForwardRows {
  const T* pre;
  const T* recurrent;
  const T* bias_hn;  // bias_hh of the last gate, where the cell wants it apart
  T* h;              // updated
  T* c;              // updated, LSTM only
  T* y;              // may be nullptr
  T* saved;          // may be nullptr, may be `pre`
  int64_t hidden;
};

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

// Workspace, measured (base is nullptr) or handed out in pieces of 64 bytes.
struct Arena {
  char* base;
  size_t used = 0;

  template <class T>
  T* take(size_t count) {
    T* piece = base != nullptr ? reinterpret_cast<T*>(base + used) : nullptr;
    used += (count * sizeof(T) + 63) / 64 * 64;
    return piece;
  }
};

MK_INLINE int64_t length_of(const RecurrentArgs& a, int64_t n) {
  return a.lengths != nullptr ? a.lengths[n] : a.steps;
}
MK_INLINE int64_t longest(const RecurrentArgs& a) {
  int64_t most = 0;
  for (int64_t n = 0; n < a.batch; ++n) most = length_of(a, n) > most ? length_of(a, n) : most;
  return most;
}
// The time at which a sample of this length takes its step s. Steps from its length on are idle,
// and stand for the times from its length on in both directions.
MK_INLINE int64_t time_of(const RecurrentArgs& a, int64_t s, int64_t length) {
  return a.reverse && s < length ? length - 1 - s : s;
}
MK_INLINE int64_t row_of(const RecurrentArgs& a, int64_t n, int64_t t) {
  return n * a.row_n + t * a.row_t;
}
template <class T>
MK_INLINE T* step_row(const StepRows& rows, int64_t n, int64_t t) {
  return rows.data != nullptr ? static_cast<T*>(rows.data) + n * rows.n_stride + t * rows.t_stride
                              : nullptr;
}

template <class T>
MK_INLINE void fill_zero(T* to, int64_t count) {
  for (int64_t j = 0; j < count; ++j) to[j] = 0;
}
template <class T>
MK_INLINE void copy_or_zero(T* to, const T* from, int64_t count) {
  for (int64_t j = 0; j < count; ++j) to[j] = from != nullptr ? from[j] : T(0);
}

// Calls body(n, begin, end) for each sample and block of hidden units.
template <class Body>
MK_INLINE void for_samples_and_units(const RecurrentArgs& a, int64_t gates, Body body) {
  const int64_t blocks = (a.hidden + kUnitBlock - 1) / kUnitBlock;
  parallel_for(a.batch * blocks, a.batch * a.hidden * gates * kGateWork, [&](int64_t task, int) {
    const int64_t begin = task % blocks * kUnitBlock;
    const int64_t end = begin + kUnitBlock < a.hidden ? begin + kUnitBlock : a.hidden;
    body(task / blocks, begin, end);
  });
}

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

// Forward.

// pre = x weight_ih^T + bias.
template <class Cell>
GemmArgs input_product(const RecurrentArgs& a) {
  GemmArgs g = product(a, a.batch * a.steps, Cell::kGates * a.hidden, a.input);
  g.a = a.x;
  g.b = a.weight_ih;
  g.b_row = 1;
  g.b_col = a.input;
  g.c_row = (a.saved != nullptr ? Cell::kSaved : Cell::kGates) * a.hidden;
  return g;
}

// recurrent = h weight_hh^T, with the weights packed.
template <class Cell>
GemmArgs step_product(const RecurrentArgs& a) {
  GemmArgs g = product(a, a.batch, Cell::kGates * a.hidden, a.hidden);
  g.a = a.h_n;
  g.b_packed = true;
  return g;
}

template <class T>
struct ForwardBuffers {
  T* bias;       // [G H]: bias_ih + bias_hh, less what the cell wants apart
  T* pre;        // [N T, c_row of input_product]
  T* recurrent;  // [N, G H]
  void* packed;  // weight_hh^T
  void* gemm;
};

template <class Cell>
ForwardBuffers<typename Cell::Scalar> forward_buffers(const RecurrentArgs& a, Arena& arena) {
  using T = typename Cell::Scalar;
  const int64_t gates = Cell::kGates * a.hidden;
  ForwardBuffers<T> b;
  b.bias = arena.take<T>(gates);
  b.pre = a.saved != nullptr ? static_cast<T*>(a.saved) : arena.take<T>(a.batch * a.steps * gates);
  b.recurrent = arena.take<T>(a.batch * gates);
  b.packed = arena.take<char>(packed_b_bytes(a.dtype, a.hidden, gates));
  const size_t input = gemm_workspace(input_product<Cell>(a));
  const size_t step = gemm_workspace(step_product<Cell>(a));
  b.gemm = arena.take<char>(input > step ? input : step);
  return b;
}

template <class Cell>
void merge_biases(const RecurrentArgs& a, typename Cell::Scalar* bias) {
  using T = typename Cell::Scalar;
  const T* bias_ih = static_cast<const T*>(a.bias_ih);
  const T* bias_hh = static_cast<const T*>(a.bias_hh);
  const int64_t gates = Cell::kGates * a.hidden;
  const int64_t merged = Cell::kOwnHiddenBias ? gates - a.hidden : gates;
  copy_or_zero(bias, bias_ih, gates);
  if (bias_hh == nullptr) return;
  for (int64_t j = 0; j < merged; ++j) bias[j] += bias_hh[j];
}

template <class Cell>
void sequence_forward(const RecurrentArgs& a) {
  using T = typename Cell::Scalar;
  const int64_t gates = Cell::kGates * a.hidden;
  Arena arena{static_cast<char*>(a.workspace)};
  const ForwardBuffers<T> b = forward_buffers<Cell>(a, arena);
  T* h = static_cast<T*>(a.h_n);
  T* c = static_cast<T*>(a.c_n);
  copy_or_zero(h, static_cast<const T*>(a.h0), a.batch * a.hidden);
  if (c != nullptr) copy_or_zero(c, static_cast<const T*>(a.c0), a.batch * a.hidden);

  merge_biases<Cell>(a, b.bias);
  GemmArgs input = input_product<Cell>(a);
  input.bias = b.bias;
  input.c = b.pre;
  input.workspace = b.gemm;
  gemm(input);

  pack_b(a.dtype, a.hidden, gates, a.weight_hh, 1, a.hidden, b.packed);
  GemmArgs recurrent = step_product<Cell>(a);
  recurrent.b = b.packed;
  recurrent.c = b.recurrent;
  recurrent.workspace = b.gemm;
  const T* bias_hh = static_cast<const T*>(a.bias_hh);
  const int64_t most = longest(a);
  for (int64_t s = 0; s < a.steps; ++s) {
    if (s < most) gemm(recurrent);
    for_samples_and_units(a, Cell::kGates, [&](int64_t n, int64_t begin, int64_t end) {
      const int64_t length = length_of(a, n), t = time_of(a, s, length);
      T* y = step_row<T>(a.y, n, t);
      if (s >= length) {
        if (y != nullptr) fill_zero(y + begin, end - begin);
        return;
      }
      T* pre = b.pre + row_of(a, n, t) * input.c_row;
      const ForwardRows<T> rows{
          .pre = pre,
          .recurrent = b.recurrent + n * gates,
          .bias_hn = bias_hh != nullptr ? bias_hh + gates - a.hidden : nullptr,
          .h = h + n * a.hidden,
          .c = c != nullptr ? c + n * a.hidden : nullptr,
          .y = y,
          .saved = a.saved != nullptr ? pre : nullptr,
          .hidden = a.hidden};
      for_vectors<T>(begin, end, [&](int64_t j, auto access) { Cell::forward(rows, j, access); });
    });
  }
}

template <class Cell>
size_t sequence_forward_workspace(const RecurrentArgs& a) {
  Arena arena{nullptr};
  forward_buffers<Cell>(a, arena);
  return arena.used;
}

// Backward.

// dh += step weight_hh, with the weights packed.
template <class Cell>
GemmArgs step_backward_product(const RecurrentArgs& a) {
  GemmArgs g = product(a, a.batch, a.hidden, Cell::kGates * a.hidden);
  g.b_packed = true;
  g.accumulate = true;
  g.c = a.dh0;
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
  T* dgates_x;   // [N T, G H]
  T* dgates_h;   // [N T, G H], the same memory unless the cell has two gradients
  T* h_prev;     // [N T, H]: the hidden state each step began with, 0 where it is idle
  T* x;          // [N T, I]: x with zeros where a step is idle; nullptr if none can be
  T* step;       // [N, G H]
  void* packed;  // weight_hh
  void* gemm;
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
  b.step = arena.take<T>(a.batch * gates);
  b.packed = arena.take<char>(packed_b_bytes(a.dtype, gates, a.hidden));
  size_t most = gemm_workspace(step_backward_product<Cell>(a));
  const GemmArgs others[3] = {dx_product<Cell>(a), dweight_product<Cell>(a, a.input),
                              dweight_product<Cell>(a, a.hidden)};
  for (const GemmArgs& g : others) most = gemm_workspace(g) > most ? gemm_workspace(g) : most;
  b.gemm = arena.take<char>(most);
  return b;
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

// sums[j] = sum over rows of from[row, j], in blocks of T that are added up in double.
template <class T>
void column_sums(const T* from, int64_t rows, int64_t columns, T* sums) {
  constexpr int64_t kBlock = 128, kLanes = Vec<T>::kLanes;
  parallel_for((columns + kUnitBlock - 1) / kUnitBlock, rows * columns, [&](int64_t task, int) {
    const int64_t begin = task * kUnitBlock;
    const int64_t end = begin + kUnitBlock < columns ? begin + kUnitBlock : columns;
    for_vectors<T>(begin, end, [&](int64_t j, auto access) {
      double total[kLanes] = {};
      for (int64_t first = 0; first < rows; first += kBlock) {
        const int64_t last = first + kBlock < rows ? first + kBlock : rows;
        Vec<T> block = Vec<T>::zero();
        for (int64_t row = first; row < last; ++row) block += access.load(from + row * columns + j);
        for (int64_t lane = 0; lane < kLanes; ++lane) total[lane] += block[lane];
      }
      Vec<T> result = Vec<T>::zero();
      for (int64_t lane = 0; lane < kLanes; ++lane) result.v[lane] = static_cast<T>(total[lane]);
      access.store(result, sums + j);
    });
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
  if (a.dbias_hh != nullptr) {
    column_sums<T>(b.dgates_h, rows, gates, static_cast<T*>(a.dbias_hh));
  }
}

template <class Cell>
void sequence_backward(const RecurrentArgs& a) {
  using T = typename Cell::Scalar;
  const int64_t gates = Cell::kGates * a.hidden, saved_row = Cell::kSaved * a.hidden;
  Arena arena{static_cast<char*>(a.workspace)};
  const BackwardBuffers<T> b = backward_buffers<Cell>(a, arena);
  T* dh = static_cast<T*>(a.dh0);
  T* dc = static_cast<T*>(a.dc0);
  copy_or_zero(dh, static_cast<const T*>(a.dh_n), a.batch * a.hidden);
  if (dc != nullptr) copy_or_zero(dc, static_cast<const T*>(a.dc_n), a.batch * a.hidden);
  gather_step_inputs(a, b);

  pack_b(a.dtype, gates, a.hidden, a.weight_hh, a.hidden, 1, b.packed);
  GemmArgs recurrent = step_backward_product<Cell>(a);
  recurrent.a = b.step;
  recurrent.b = b.packed;
  recurrent.workspace = b.gemm;
  const T* saved = static_cast<const T*>(a.saved);
  const int64_t most = longest(a);
  for (int64_t s = a.steps - 1; s >= 0; --s) {
    for_samples_and_units(a, Cell::kGates, [&](int64_t n, int64_t begin, int64_t end) {
      const int64_t length = length_of(a, n), t = time_of(a, s, length), row = row_of(a, n, t);
      const BackwardRows<T> rows{.saved = saved + row * saved_row,
                                 .h_prev = b.h_prev + row * a.hidden,
                                 .c_prev = Cell::previous_cells(a, n, s, length),
                                 .dy = step_row<const T>(a.dy, n, t),
                                 .dh = dh + n * a.hidden,
                                 .dc = dc != nullptr ? dc + n * a.hidden : nullptr,
                                 .dgates_x = b.dgates_x + row * gates,
                                 .dgates_h = b.dgates_h + row * gates,
                                 .step = b.step + n * gates,
                                 .hidden = a.hidden};
      if (s < length) {
        for_vectors<T>(begin, end,
                       [&](int64_t j, auto access) { Cell::backward(rows, j, access); });
        return;
      }
      for (int64_t gate = 0; gate < Cell::kGates; ++gate) {  // idle: dh passes through unchanged
        for (T* zero : {rows.dgates_x, rows.dgates_h, rows.step}) {
          fill_zero(zero + gate * a.hidden + begin, end - begin);
        }
      }
    });
    if (s < most) gemm(recurrent);
  }
  parameter_gradients<Cell>(a, b);
}

template <class Cell>
size_t sequence_backward_workspace(const RecurrentArgs& a) {
  Arena arena{nullptr};
  backward_buffers<Cell>(a, arena);
  return arena.used;
}

// The kernels of a cell, for both data types.
template <template <class> class Cell>
struct SequenceKernels {
  static size_t forward_workspace(const RecurrentArgs& a) {
    return a.dtype == Dtype::f32 ? sequence_forward_workspace<Cell<float>>(a)
                                 : sequence_forward_workspace<Cell<double>>(a);
  }
  static void forward(const RecurrentArgs& a) {
    a.dtype == Dtype::f32 ? sequence_forward<Cell<float>>(a) : sequence_forward<Cell<double>>(a);
  }
  static size_t backward_workspace(const RecurrentArgs& a) {
    return a.dtype == Dtype::f32 ? sequence_backward_workspace<Cell<float>>(a)
                                 : sequence_backward_workspace<Cell<double>>(a);
  }
  static void backward(const RecurrentArgs& a) {
    a.dtype == Dtype::f32 ? sequence_backward<Cell<float>>(a) : sequence_backward<Cell<double>>(a);
  }
  static constexpr RecurrentKernels table = {
      .forward_workspace = forward_workspace,
      .forward = forward,
      .backward_workspace = backward_workspace,
      .backward = backward,
  };
};

}  // namespace
}  // namespace medkern::MK_ISA
