// Entry points of softmax and log-softmax: check, then call the table.
#include "kernels/softmax/softmax.h"

#include "kernels/table.h"
#include "medkern/softmax.h"

namespace medkern {
namespace {

constexpr int64_t kTaskNumbers = 16384;  // numbers of x that a task takes
constexpr int64_t kBlockMultiple = 64;   // whole vectors in every instruction set

// The axis that desc names, and checks of x.
int checked_dim(const char* op, const mk_softmax_desc* desc, const TensorView& x) {
  expect_descriptor(op, desc, desc != nullptr ? desc->struct_size : 0, sizeof *desc);
  expect_float(op, x);
  require(x.rank >= 1, op, ": ", x.name, " must have at least 1 dimension, got 0");
  expect_range(op, "dim", desc->dim, -x.rank, x.rank - 1);
  expect_dense(op, x);
  return desc->dim < 0 ? desc->dim + x.rank : desc->dim;
}

void check_output(const char* op, const TensorView& output, const TensorView& x) {
  expect_same_dtype(op, output, x);
  expect_same_shape(op, output, x);
  expect_same_layout(op, output, x);
  expect_same_device(op, output, x);
}

}  // namespace

SoftmaxShape softmax_shape(const TensorView& x, int dim) {
  SoftmaxShape s{x.dtype, 1, x.shape[dim], 1, 0, 0};
  if (is_contiguous(x)) {
    for (int i = 0; i < dim; ++i) s.outer *= x.shape[i];
    for (int i = dim + 1; i < x.rank; ++i) s.inner *= x.shape[i];
  } else {  // channels-last: the order in memory is 0, 2, 3, ..., 1
    for (int i = 0; i < x.rank; ++i) {
      if (i == dim) continue;
      const bool before = dim == 1 || (i != 1 && i < dim);
      (before ? s.outer : s.inner) *= x.shape[i];
    }
  }
  const int64_t multiples = kTaskNumbers / (s.axis * kBlockMultiple);
  s.block = kBlockMultiple * (multiples > 0 ? multiples : 1);
  s.tasks = s.inner > 1 ? s.outer * ((s.inner + s.block - 1) / s.block)
                        : (s.outer + s.block - 1) / s.block;
  return s;
}

}  // namespace medkern

using namespace medkern;

extern "C" mk_status mk_softmax_forward(const mk_softmax_desc* desc, const DLTensor* x,
                                        DLTensor* y) {
  return guarded([&] {
    const char* op = desc != nullptr && desc->logarithmic != 0 ? "log_softmax" : "softmax";
    const TensorView xv = view(op, "x", x), yv = view(op, "y", y);
    const int dim = checked_dim(op, desc, xv);
    check_output(op, yv, xv);
    expect_no_overlap(op, yv, xv);
    if (xv.count == 0) return;
    SoftmaxArgs args{};
    args.shape = softmax_shape(xv, dim);
    args.logarithmic = desc->logarithmic != 0;
    args.x = xv.data;
    args.y = yv.data;
    kernels_for(xv.device).softmax->forward(args);
  });
}

extern "C" mk_status mk_softmax_backward(const mk_softmax_desc* desc, const DLTensor* dy,
                                         const DLTensor* y, DLTensor* dx) {
  return guarded([&] {
    const char* op =
        desc != nullptr && desc->logarithmic != 0 ? "log_softmax_backward" : "softmax_backward";
    const TensorView dyv = view(op, "dy", dy), yv = view(op, "y", y), dxv = view(op, "dx", dx);
    const int dim = checked_dim(op, desc, yv);
    check_output(op, dyv, yv);
    check_output(op, dxv, yv);
    expect_no_overlap(op, dxv, yv);
    expect_no_overlap(op, dxv, dyv);
    if (yv.count == 0) return;
    SoftmaxArgs args{};
    args.shape = softmax_shape(yv, dim);
    args.logarithmic = desc->logarithmic != 0;
    args.x = yv.data;
    args.dy = dyv.data;
    args.y = dxv.data;
    kernels_for(yv.device).softmax->backward(args);
  });
}
