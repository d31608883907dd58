// Entry points of pooling: check, then call the table.
#include "kernels/pool/pool.h"

#include "kernels/table.h"
#include "medkern/pool.h"

namespace medkern {
namespace {

constexpr int64_t kMostLocalPositions = 256;  // what a one-byte index can number

Window pool_window(const char* op, const mk_pool_desc* desc) {
  expect_descriptor(op, desc, desc != nullptr ? desc->struct_size : 0, sizeof(mk_pool_desc));
  const Window window = window_of(op, desc->spatial_rank, desc->kernel_size, desc->stride,
                                  desc->padding, desc->dilation);
  for (int i = 0; i < 3; ++i) {
    const int64_t half = (window.dilation[i] * (window.kernel[i] - 1) + 1) / 2;
    expect_range(op, "padding", window.pad_before[i], 0, half);
    expect_range(op, "padding", window.pad_after[i], 0, half);
  }
  return window;
}

// Shape of y for x of the given shape.
void pool_output_shape(const char* op, const mk_pool_desc* desc, const Window& window,
                       const TensorView& x, int64_t shape[5]) {
  expect_image(op, x, desc->spatial_rank);
  int64_t output[3];
  window_output_size(op, window, image_of(x).size, desc->ceil_mode != 0, output);
  shape[0] = x.shape[0];
  shape[1] = x.shape[1];
  for (int i = 0; i < desc->spatial_rank; ++i) shape[2 + i] = output[3 - desc->spatial_rank + i];
}

void expect_index_dtype(const char* op, const TensorView& indices, const Window& window) {
  if (indices.dtype == Dtype::u8) {
    const int64_t positions = window.kernel[0] * window.kernel[1] * window.kernel[2];
    require(positions <= kMostLocalPositions, op, ": uint8 indices can number ",
            kMostLocalPositions, " window positions, kernel_size has ", positions);
  } else {
    expect_dtype(op, indices, Dtype::i64);
  }
}

}  // namespace
}  // namespace medkern

using namespace medkern;

extern "C" mk_status mk_max_pool_output_shape(const mk_pool_desc* desc, const DLTensor* x,
                                              int64_t* shape) {
  return guarded([&] {
    const char* op = "max_pool";
    const Window window = pool_window(op, desc);
    int64_t y_shape[5];
    pool_output_shape(op, desc, window, view(op, "x", x), y_shape);
    give_shape(op, shape, desc->spatial_rank + 2, y_shape);
  });
}

extern "C" mk_status mk_max_pool_forward(const mk_pool_desc* desc, const DLTensor* x, DLTensor* y,
                                         DLTensor* indices) {
  return guarded([&] {
    const char* op = "max_pool";
    const Window window = pool_window(op, desc);
    const TensorView xv = view(op, "x", x), yv = view(op, "y", y);
    const TensorView iv = optional_view(op, "indices", indices);
    int64_t shape[5];
    pool_output_shape(op, desc, window, xv, shape);
    expect_float(op, xv);
    expect_same_dtype(op, yv, xv);
    expect_shape(op, yv, xv.rank, shape);
    for (const TensorView* t : {&xv, &yv}) expect_dense(op, *t);
    expect_same_device(op, yv, xv);
    expect_no_overlap(op, yv, xv);
    MaxPoolArgs args{xv.dtype, Dtype::i64, window, image_of(xv), image_of(yv), {}};
    if (indices != nullptr) {
      expect_shape(op, iv, xv.rank, shape);
      expect_index_dtype(op, iv, window);
      expect_dense(op, iv);
      expect_same_device(op, iv, xv);
      expect_no_overlap(op, iv, xv);
      expect_no_overlap(op, iv, yv);
      args.index_dtype = iv.dtype;
      args.indices = image_of(iv);
    }
    if (yv.count > 0) kernels_for(xv.device).pool->max_forward(args);
  });
}

extern "C" mk_status mk_max_pool_backward(const mk_pool_desc* desc, const DLTensor* dy,
                                          const DLTensor* indices, DLTensor* dx) {
  return guarded([&] {
    const char* op = "max_pool_backward";
    const Window window = pool_window(op, desc);
    const TensorView dyv = view(op, "dy", dy), iv = view(op, "indices", indices);
    const TensorView dxv = view(op, "dx", dx);
    int64_t shape[5];
    pool_output_shape(op, desc, window, dxv, shape);
    expect_float(op, dxv);
    expect_same_dtype(op, dyv, dxv);
    expect_index_dtype(op, iv, window);
    for (const TensorView* t : {&dyv, &iv}) {
      expect_shape(op, *t, dxv.rank, shape);
      expect_same_device(op, *t, dxv);
      expect_no_overlap(op, dxv, *t);
    }
    for (const TensorView* t : {&dyv, &iv, &dxv}) expect_dense(op, *t);
    const Image x = image_of(dxv);
    const int64_t limit = iv.dtype == Dtype::u8
                              ? window.kernel[0] * window.kernel[1] * window.kernel[2]
                              : x.size[0] * x.size[1] * x.size[2];
    expect_indices(op, iv, iv.dtype == Dtype::u8 ? 0 : -1, limit - 1);
    const MaxPoolArgs args{dxv.dtype, iv.dtype, window, x, image_of(dyv), image_of(iv)};
    if (dxv.count > 0) kernels_for(dxv.device).pool->max_backward(args);
  });
}
