// Checks that all normalizations share.
#pragma once

#include <initializer_list>

#include "core/tensor.h"

namespace medkern {

// y, dy or dx: the shape, dtype, layout and device of x.
inline void check_like(const char* op, const TensorView& t, const TensorView& x) {
  expect_same_dtype(op, t, x);
  expect_same_shape(op, t, x);
  expect_same_layout(op, t, x);
  expect_same_device(op, t, x);
}

// weight, bias, their gradients or running statistics; may be absent. float32 beside 16-bit x.
inline void check_parameter(const char* op, const TensorView& t, const TensorView& x, int rank,
                            const int64_t* shape) {
  if (t.data == nullptr && t.rank == 0) return;
  if (is_half(x.dtype)) {
    expect_dtype(op, t, Dtype::f32);
  } else {
    expect_same_dtype(op, t, x);
  }
  expect_shape(op, t, rank, shape);
  expect_contiguous(op, t);
  expect_same_device(op, t, x);
}

// mean or rstd.
inline void check_statistic(const char* op, const TensorView& t, const TensorView& x, int rank,
                            const int64_t* shape) {
  expect_dtype(op, t, Dtype::f64);
  expect_shape(op, t, rank, shape);
  expect_contiguous(op, t);
  expect_same_device(op, t, x);
}

// No output shares memory with an input or with another output; either may be absent.
inline void check_outputs(const char* op, std::initializer_list<const TensorView*> outputs,
                          std::initializer_list<const TensorView*> inputs) {
  for (const TensorView* const* out = outputs.begin(); out != outputs.end(); ++out) {
    for (const TensorView* in : inputs) {
      if ((*out)->data != nullptr && in->data != nullptr) expect_no_overlap(op, **out, *in);
    }
    for (const TensorView* const* other = outputs.begin(); other != out; ++other) {
      if ((*out)->data != nullptr && (*other)->data != nullptr) {
        expect_no_overlap(op, **out, **other);
      }
    }
  }
}

inline void check_eps(const char* op, double eps) {
  require(eps > 0 && eps <= 1e30, op, ": eps must be above 0 and finite, got ", eps);
}

}  // namespace medkern
