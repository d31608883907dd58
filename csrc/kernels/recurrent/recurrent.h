// Recurrent layers: what the kernels are given once every argument has been checked. A kernel
// computes all directions of one layer, each with its own RecurrentArgs.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace medkern {

// Where (n, t) of an [N, T, columns] tensor with contiguous columns begins: n * n_stride + t *
// t_stride elements.
struct StepRows {
  void* data;
  int64_t n_stride, t_stride;
};

struct RecurrentArgs {
  Dtype dtype;
  bool reverse;
  int64_t batch, steps, input, hidden;  // N T I H
  // Buffers of N T dense rows (x, saved, dx and scratch) hold (n, t) in row n * row_n + t * row_t,
  // batch-major or time-major as x is.
  int64_t row_n, row_t;
  const int64_t* lengths;  // [N]; nullptr for T each

  const void* x;          // [N T, I]
  const void* h0;         // [N, H], nullptr for zeros; c0 likewise
  const void* c0;         //
  const void* weight_ih;  // [G H, I]
  const void* weight_hh;  // [G H, H]
  const void* bias_ih;    // [G H], nullptr for zeros; bias_hh likewise
  const void* bias_hh;    //
  const void* packed;     // what `pack` made of the weights and biases, or nullptr
  StepRows y;             // [N, T, H]; data is nullptr if there is none
  void* h_n;              // [N, H]
  void* c_n;              // [N, H], LSTM only
  void* saved;            // [N T, S], nullptr if nothing is to be saved

  // Backward only.
  StepRows dy;         // data is nullptr for zeros
  const void* dh_n;    // nullptr for zeros; dc_n likewise
  const void* dc_n;    //
  void* dx;            // this and the weights' gradients: nullptr if not wanted
  bool accumulate_dx;  // add to dx instead of overwriting it
  void* dh0;
  void* dc0;  // LSTM only
  void *dweight_ih, *dweight_hh, *dbias_ih, *dbias_hh;

  void* workspace;  // of the first direction: for all of them
};

// Workspace sizes depend on dtype, sizes and whether `lengths` and `packed` are nullptr.
struct RecurrentKernels {
  // The weights of one direction, prepared for many calls of `forward`.
  size_t (*packed_bytes)(const RecurrentArgs&);
  void (*pack)(const RecurrentArgs&, void* packed);
  size_t (*forward_workspace)(const RecurrentArgs*, int directions);
  void (*forward)(const RecurrentArgs*, int directions);
  size_t (*backward_workspace)(const RecurrentArgs*, int directions);
  void (*backward)(const RecurrentArgs*, int directions);
};

}  // namespace medkern
