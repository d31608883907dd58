// Entry points of max and average pooling with sliding windows: check, then call the table.
#include "kernels/pool/pool.h"

#include "kernels/indices.h"
#include "kernels/table.h"

namespace medkern {

Window pool_window(const char* op, const mk_pool_desc* desc, bool dilated) {
  expect_descriptor(op, desc, desc != nullptr ? desc->struct_size : 0, sizeof(mk_pool_desc));
  const Window window = window_of(op, desc->spatial_rank, desc->kernel_size, desc->stride,
                                  desc->padding, desc->dilation);
  for (int i = 0; i < 3; ++i) {
    const int64_t half = (window.dilation[i] * (window.kernel[i] - 1) + 1) / 2;
    expect_range(op, "padding", window.pad_before[i], 0, half);
    expect_range(op, "padding", window.pad_after[i], 0, half);
    if (!dilated) expect_range(op, "dilation", window.dilation[i], 1, 1);
  }
  // The number of positions of a window must be countable.
  checked_mul(op, checked_mul(op, window.kernel[0], window.kernel[1]), window.kernel[2]);
  return window;
}

namespace {

constexpr int64_t kMostLocalPositions = 256;  // what a one-byte index can number

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

// What holds for x and y of every pooling, dx and dy included; `written` is one of them.
void expect_pair(const char* op, const mk_pool_desc* desc, const Window& window,
                 const TensorView& x, const TensorView& y, const TensorView& written) {
  int64_t shape[5];
  pool_output_shape(op, desc, window, x, shape);
  const TensorView& read = &written == &x ? y : x;
  expect_float_or_bfloat(op, read);
  expect_same_dtype(op, written, read);
  expect_shape(op, y, x.rank, shape);
  &written == &x ? expect_dense(op, x) : expect_image_layout(op, x);
  expect_dense(op, y);
  expect_same_device(op, written, read);
  expect_no_overlap(op, written, read);
}

mk_status output_shape(const char* op, const mk_pool_desc* desc, bool dilated, const DLTensor* x,
                       int64_t* shape) {
  return guarded([&] {
    const Window window = pool_window(op, desc, dilated);
    int64_t y_shape[5];
    pool_output_shape(op, desc, window, view(op, "x", x), y_shape);
    give_shape(op, shape, desc->spatial_rank + 2, y_shape);
  });
}

}  // namespace
}  // namespace medkern

using namespace medkern;

extern "C" mk_status mk_max_pool_output_shape(const mk_pool_desc* desc, const DLTensor* x,
                                              int64_t* shape) {
  return output_shape("max_pool", desc, true, x, shape);
}

extern "C" mk_status mk_avg_pool_output_shape(const mk_pool_desc* desc, const DLTensor* x,
                                              int64_t* shape) {
  return output_shape("avg_pool", desc, false, x, shape);
}

extern "C" mk_status mk_max_pool_forward(const mk_pool_desc* desc, const DLTensor* x, DLTensor* y,
                                         DLTensor* indices) {
  return guarded([&] {
    const char* op = "max_pool";
    const Window window = pool_window(op, desc, true);
    const TensorView xv = view(op, "x", x), yv = view(op, "y", y);
    const TensorView iv = optional_view(op, "indices", indices);
    expect_pair(op, desc, window, xv, yv, yv);
    MaxPoolArgs args{xv.dtype, Dtype::i64, {window, false}, image_of(xv), image_of(yv), {}};
    if (indices != nullptr) {
      expect_same_shape(op, iv, yv);
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
    const Window window = pool_window(op, desc, true);
    const TensorView dyv = view(op, "dy", dy), iv = view(op, "indices", indices);
    const TensorView dxv = view(op, "dx", dx);
    expect_pair(op, desc, window, dxv, dyv, dxv);
    expect_index_dtype(op, iv, window);
    expect_same_shape(op, iv, dyv);
    expect_dense(op, iv);
    expect_same_device(op, iv, dxv);
    expect_no_overlap(op, dxv, iv);
    const Image x = image_of(dxv), y = image_of(dyv), i = image_of(iv);
    const PoolKernels& kernels = *kernels_for(dxv.device).pool;
    if (iv.dtype == Dtype::u8) {
      const int64_t positions = window.kernel[0] * window.kernel[1] * window.kernel[2];
      expect_indices(op, iv, 0, positions - 1);
      if (dxv.count > 0) kernels.max_backward({dxv.dtype, iv.dtype, {window, false}, x, y, i});
    } else {
      expect_indices(op, iv, -1, x.size[0] * x.size[1] * x.size[2] - 1);
      if (dxv.count > 0) kernels.scatter_add({dxv.dtype, x, y, i});
    }
  });
}

extern "C" mk_status mk_avg_pool_forward(const mk_pool_desc* desc, int32_t count_include_pad,
                                         const DLTensor* x, DLTensor* y) {
  return guarded([&] {
    const char* op = "avg_pool";
    const Window window = pool_window(op, desc, false);
    const TensorView xv = view(op, "x", x), yv = view(op, "y", y);
    expect_pair(op, desc, window, xv, yv, yv);
    if (yv.count == 0) return;
    kernels_for(xv.device).pool->average_forward(
        {xv.dtype, count_include_pad != 0, {window, false}, image_of(xv), image_of(yv)});
  });
}

extern "C" mk_status mk_avg_pool_backward(const mk_pool_desc* desc, int32_t count_include_pad,
                                          const DLTensor* dy, DLTensor* dx) {
  return guarded([&] {
    const char* op = "avg_pool_backward";
    const Window window = pool_window(op, desc, false);
    const TensorView dyv = view(op, "dy", dy), dxv = view(op, "dx", dx);
    expect_pair(op, desc, window, dxv, dyv, dxv);
    if (dxv.count == 0) return;
    kernels_for(dxv.device)
        .pool->average_backward(
            {dxv.dtype, count_include_pad != 0, {window, false}, image_of(dxv), image_of(dyv)});
  });
}
