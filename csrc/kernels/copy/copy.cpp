// Entry points of copies: check, then call the table.
#include "kernels/copy/copy.h"

#include "kernels/table.h"

namespace medkern {
namespace {

void copy_view(const TensorView& x, const TensorView& y, bool to_bool) {
  if (y.count == 0) return;
  kernels_for(y.device).copy->copy(
      {loops_over({&y, &x}), y.data, x.data, y.dtype, x.dtype, to_bool});
}

bool is_bool(const DLTensor* tensor) { return tensor->dtype.code == kDLBool; }

// Joins: the sizes of y, after checking that the pieces fit each other.
int concat_shape(const char* op, const DLTensor* const* xs, int32_t count, int32_t axis,
                 int64_t shape[MK_MAX_RANK]) {
  require(xs != nullptr && count >= 1, op, ": tensors must not be empty");
  const TensorView first = view(op, "tensors[0]", xs[0]);
  expect_range(op, "dim", axis, 0, first.rank - 1);
  for (int i = 0; i < first.rank; ++i) shape[i] = first.shape[i];
  for (int32_t k = 1; k < count; ++k) {
    const std::string name = "tensors[" + std::to_string(k) + "]";
    const TensorView x = view(op, name.c_str(), xs[k]);
    expect_rank(op, x, first.rank);
    for (int i = 0; i < first.rank; ++i) {
      require(i == axis || x.shape[i] == first.shape[i], op, ": ", name, " must have size ",
              first.shape[i], " in dimension ", i, " as tensors[0] has, got ", shape_text(x));
    }
    expect_same_dtype(op, x, first);
    expect_same_device(op, x, first);
    shape[axis] = checked_add(op, shape[axis], x.shape[axis]);
  }
  return first.rank;
}

void pad_shape(const char* op, const mk_pad_desc* desc, const TensorView& x,
               int64_t shape[MK_MAX_RANK]) {
  expect_descriptor(op, desc, desc != nullptr ? desc->struct_size : 0, sizeof(mk_pad_desc));
  expect_range(op, "mode", desc->mode, MK_PAD_CONSTANT, MK_PAD_CIRCULAR);
  expect_rank(op, x, desc->rank);
  for (int i = 0; i < x.rank; ++i) {
    const int64_t before = desc->padding[i][0], after = desc->padding[i][1];
    if (desc->mode != MK_PAD_CONSTANT && (before != 0 || after != 0)) {
      const int64_t most = desc->mode == MK_PAD_REFLECT    ? x.shape[i] - 1
                           : desc->mode == MK_PAD_CIRCULAR ? x.shape[i]
                           : x.shape[i] > 0                ? INT64_MAX
                                                           : 0;
      for (const int64_t reach : {before, after}) {
        require(reach >= 0 && reach <= most, op, ": padding of dimension ", i,
                " must be from 0 to ", most < 0 ? 0 : most, " in this mode, got ", reach, " for ",
                shape_text(x));
      }
    }
    shape[i] = checked_add(op, checked_add(op, x.shape[i], before), after);
    require(shape[i] >= 0, op, ": padding ", before, " and ", after, " crops more than the size ",
            x.shape[i], " of dimension ", i);
  }
}

PadArgs pad_args(const mk_pad_desc* desc, const TensorView& x, const TensorView& y) {
  PadArgs args{};
  args.dtype = x.dtype;
  args.rank = x.rank;
  args.mode = desc->mode;
  args.value = desc->value;
  args.x = x.data;
  args.y = y.data;
  for (int i = 0; i < x.rank; ++i) {
    args.before[i] = desc->padding[i][0];
    args.x_size[i] = x.shape[i];
    args.x_stride[i] = x.strides[i];
    args.y_size[i] = y.shape[i];
    args.y_stride[i] = y.strides[i];
  }
  return args;
}

// What pad and its gradient check alike: x is the smaller side, y the padded one.
void expect_pad(const char* op, const mk_pad_desc* desc, const TensorView& x, const TensorView& y) {
  int64_t shape[MK_MAX_RANK];
  pad_shape(op, desc, x, shape);
  expect_float_or_half(op, x);
  expect_same_dtype(op, y, x);
  expect_same_device(op, y, x);
  expect_shape(op, y, x.rank, shape);
}

}  // namespace
}  // namespace medkern

using namespace medkern;

extern "C" mk_status mk_copy(const DLTensor* x, DLTensor* y) {
  return guarded([&] {
    const char* op = "copy";
    const TensorView xv = view(op, "x", x), yv = view(op, "y", y);
    expect_same_device(op, yv, xv);
    int64_t shape[MK_MAX_RANK];
    const int rank = broadcast_shape(op, {&xv, &yv}, shape);
    expect_shape(op, yv, rank, shape);
    expect_distinct(op, yv);
    expect_no_overlap(op, yv, xv);
    copy_view(xv, yv, is_bool(y));
  });
}

extern "C" mk_status mk_fill(double value, DLTensor* y) {
  return guarded([&] {
    const char* op = "fill";
    const TensorView yv = view(op, "y", y);
    expect_distinct(op, yv);
    if (yv.count == 0) return;
    kernels_for(yv.device).copy->fill({loops_over({&yv}), yv.data, yv.dtype, value, is_bool(y)});
  });
}

extern "C" mk_status mk_concat_output_shape(const DLTensor* const* xs, int32_t count, int32_t axis,
                                            int64_t* shape) {
  return guarded([&] {
    const char* op = "concat";
    int64_t y_shape[MK_MAX_RANK];
    const int rank = concat_shape(op, xs, count, axis, y_shape);
    give_shape(op, shape, rank, y_shape);
  });
}

extern "C" mk_status mk_concat(const DLTensor* const* xs, int32_t count, int32_t axis,
                               DLTensor* y) {
  return guarded([&] {
    const char* op = "concat";
    int64_t shape[MK_MAX_RANK];
    const int rank = concat_shape(op, xs, count, axis, shape);
    TensorView yv = view(op, "y", y);
    expect_shape(op, yv, rank, shape);
    expect_distinct(op, yv);
    for (int32_t k = 0; k < count; ++k) {
      const TensorView x = view(op, "a tensor", xs[k]);
      expect_same_dtype(op, yv, x);
      expect_same_device(op, yv, x);
      expect_no_overlap(op, yv, x);
    }
    const size_t step = size_of(yv.dtype) * yv.strides[axis];
    for (int32_t k = 0; k < count; ++k) {
      const TensorView x = view(op, "a tensor", xs[k]);
      yv.shape[axis] = x.shape[axis];
      yv.count = x.count;
      copy_view(x, yv, is_bool(y));
      yv.data = static_cast<char*>(yv.data) + step * x.shape[axis];
    }
  });
}

extern "C" mk_status mk_pad_output_shape(const mk_pad_desc* desc, const DLTensor* x,
                                         int64_t* shape) {
  return guarded([&] {
    const char* op = "pad";
    const TensorView xv = view(op, "x", x);
    int64_t y_shape[MK_MAX_RANK];
    pad_shape(op, desc, xv, y_shape);
    give_shape(op, shape, xv.rank, y_shape);
  });
}

extern "C" mk_status mk_pad(const mk_pad_desc* desc, const DLTensor* x, DLTensor* y) {
  return guarded([&] {
    const char* op = "pad";
    const TensorView xv = view(op, "x", x), yv = view(op, "y", y);
    expect_pad(op, desc, xv, yv);
    expect_distinct(op, yv);
    expect_no_overlap(op, yv, xv);
    if (yv.count > 0) kernels_for(xv.device).copy->pad(pad_args(desc, xv, yv));
  });
}

extern "C" mk_status mk_pad_backward(const mk_pad_desc* desc, const DLTensor* dy, DLTensor* dx) {
  return guarded([&] {
    const char* op = "pad_backward";
    const TensorView dxv = view(op, "dx", dx), dyv = view(op, "dy", dy);
    expect_pad(op, desc, dxv, dyv);
    expect_distinct(op, dxv);
    expect_no_overlap(op, dxv, dyv);
    if (dxv.count > 0) kernels_for(dxv.device).copy->pad_backward(pad_args(desc, dxv, dyv));
  });
}
