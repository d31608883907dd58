// Entry points of resizing: check, then call the table.
#include "kernels/resize/resize.h"

#include <cmath>

#include "kernels/table.h"
#include "medkern/resize.h"

namespace medkern {
namespace {

constexpr int64_t kMostSize = INT32_MAX;

void expect_resize_desc(const char* op, const mk_resize_desc* desc) {
  expect_descriptor(op, desc, desc != nullptr ? desc->struct_size : 0, sizeof(mk_resize_desc));
  expect_range(op, "spatial_rank", desc->spatial_rank, 1, 3);
  expect_range(op, "mode", desc->mode, MK_RESIZE_NEAREST, MK_RESIZE_LINEAR);
  require(desc->align_corners == 0 || desc->mode == MK_RESIZE_LINEAR, op,
          ": align_corners works with the linear modes only");
}

// Shape of y for x of the given shape.
void resize_output_shape(const char* op, const mk_resize_desc* desc, const TensorView& x,
                         int64_t shape[5]) {
  expect_image(op, x, desc->spatial_rank);
  shape[0] = x.shape[0];
  shape[1] = x.shape[1];
  for (int i = 0; i < desc->spatial_rank; ++i) {
    const int64_t size = x.shape[2 + i];
    expect_range(op, "the spatial size of x", size, 1, kMostSize);
    if (desc->by_scale == 0) {
      expect_range(op, "size", desc->size[i], 1, kMostSize);
      shape[2 + i] = desc->size[i];
      continue;
    }
    const double scale = desc->scale_factor[i];
    require(std::isfinite(scale) && scale > 0, op,
            ": scale_factor must be above 0 and finite, got ", scale);
    const double scaled = std::floor(static_cast<double>(size) * scale);
    require(scaled >= 1 && scaled <= static_cast<double>(kMostSize), op, ": scale_factor ", scale,
            " of size ", size, " gives ", scaled, ", must be from 1 to ", kMostSize);
    shape[2 + i] = static_cast<int64_t>(scaled);
  }
}

// Checks x and y (or dx and dy), of which `written` is one, and puts them together.
ResizeArgs resize_args(const char* op, const mk_resize_desc* desc, const TensorView& x,
                       const TensorView& y, const TensorView& written) {
  int64_t shape[5];
  resize_output_shape(op, desc, x, shape);
  const TensorView& read = &written == &x ? y : x;
  expect_float_or_bfloat(op, read);
  expect_same_dtype(op, written, read);
  expect_shape(op, y, x.rank, shape);
  expect_dense(op, x);
  expect_dense(op, y);
  expect_same_device(op, written, read);
  expect_no_overlap(op, written, read);

  ResizeArgs args{
      x.dtype,    desc->mode == MK_RESIZE_LINEAR, desc->align_corners != 0, {1, 1, 1}, image_of(x),
      image_of(y)};
  for (int i = 0; i < desc->spatial_rank; ++i) {
    const auto size = static_cast<double>(x.shape[2 + i]);
    const auto output = static_cast<double>(y.shape[2 + i]);
    double ratio = desc->by_scale != 0 ? 1 / desc->scale_factor[i] : size / output;
    if (args.align_corners) ratio = output > 1 ? (size - 1) / (output - 1) : 0;
    // Equal sizes are a copy, whatever factor was rounded to them.
    args.ratio[3 - desc->spatial_rank + i] = size == output ? 1 : ratio;
  }
  return args;
}

}  // namespace
}  // namespace medkern

using namespace medkern;

extern "C" mk_status mk_resize_output_shape(const mk_resize_desc* desc, const DLTensor* x,
                                            int64_t* shape) {
  return guarded([&] {
    const char* op = "interpolate";
    expect_resize_desc(op, desc);
    int64_t y_shape[5];
    resize_output_shape(op, desc, view(op, "x", x), y_shape);
    give_shape(op, shape, desc->spatial_rank + 2, y_shape);
  });
}

extern "C" mk_status mk_resize_forward(const mk_resize_desc* desc, const DLTensor* x, DLTensor* y) {
  return guarded([&] {
    const char* op = "interpolate";
    expect_resize_desc(op, desc);
    const TensorView xv = view(op, "x", x), yv = view(op, "y", y);
    const ResizeArgs args = resize_args(op, desc, xv, yv, yv);
    if (yv.count > 0) kernels_for(xv.device).resize->forward(args);
  });
}

extern "C" mk_status mk_resize_backward(const mk_resize_desc* desc, const DLTensor* dy,
                                        DLTensor* dx) {
  return guarded([&] {
    const char* op = "interpolate_backward";
    expect_resize_desc(op, desc);
    const TensorView dyv = view(op, "dy", dy), dxv = view(op, "dx", dx);
    const ResizeArgs args = resize_args(op, desc, dxv, dyv, dxv);
    if (dxv.count > 0) kernels_for(dxv.device).resize->backward(args);
  });
}
