// Entry points of adaptive pooling and of max unpooling: check, then call the table.
#include "kernels/indices.h"
#include "kernels/pool/pool.h"
#include "kernels/table.h"

namespace medkern {
namespace {

constexpr int64_t kMostSize = INT32_MAX;  // so that o * size fits 64 bits

// Two tensors of the same batch, channels, rank and dtype, of which `written` is one.
void expect_pair(const char* op, int32_t spatial_rank, const TensorView& read,
                 const TensorView& written) {
  expect_image(op, read, spatial_rank);
  expect_float_or_bfloat(op, read);
  expect_same_dtype(op, written, read);
  expect_image(op, written, spatial_rank);
  require(written.shape[0] == read.shape[0] && written.shape[1] == read.shape[1], op, ": ",
          written.name, " must have the batch and channels of ", read.name, ", got ",
          shape_text(written), " for ", shape_text(read));
  expect_dense(op, read);
  expect_dense(op, written);
  expect_same_device(op, written, read);
  expect_no_overlap(op, written, read);
}

// The windows of y over x, whose spatial sizes are checked.
PoolWindows adaptive_windows(const char* op, const TensorView& x, const TensorView& y) {
  PoolWindows windows{{{1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}, {1, 1, 1}}, true};
  const int missing = 5 - x.rank;
  for (int i = 2; i < x.rank; ++i) {
    expect_range(op, "the spatial size of x", x.shape[i], 1, kMostSize);
    expect_range(op, "output_size", y.shape[i], 1, kMostSize);
    const int64_t size = x.shape[i], count = y.shape[i];
    const int64_t extent = (size + count - 1) / count + 1;  // the most elements of a window
    windows.window.kernel[i - 2 + missing] = extent < size ? extent : size;
  }
  return windows;
}

// `indices` are int64, one per element of `like`.
void expect_flat(const char* op, const TensorView& indices, const TensorView& like,
                 const TensorView& written) {
  expect_dtype(op, indices, Dtype::i64);
  expect_same_shape(op, indices, like);
  expect_dense(op, indices);
  expect_same_device(op, indices, written);
  expect_no_overlap(op, written, indices);
}

// They point at spatial positions of `into`, or are -1.
void expect_inside(const char* op, const TensorView& indices, const TensorView& into) {
  const Image image = image_of(into);
  expect_indices(op, indices, -1, image.size[0] * image.size[1] * image.size[2] - 1);
}

}  // namespace
}  // namespace medkern

using namespace medkern;

extern "C" mk_status mk_adaptive_pool_output_shape(int32_t spatial_rank, const int64_t* output_size,
                                                   const DLTensor* x, int64_t* shape) {
  return guarded([&] {
    const char* op = "adaptive_pool";
    const TensorView xv = view(op, "x", x);
    expect_image(op, xv, spatial_rank);
    require(output_size != nullptr, op, ": output_size is NULL");
    int64_t y_shape[5] = {xv.shape[0], xv.shape[1]};
    for (int i = 0; i < spatial_rank; ++i) {
      const bool keep = output_size[i] == -1;
      if (!keep) expect_range(op, "output_size", output_size[i], 1, kMostSize);
      y_shape[2 + i] = keep ? xv.shape[2 + i] : output_size[i];
    }
    give_shape(op, shape, spatial_rank + 2, y_shape);
  });
}

extern "C" mk_status mk_adaptive_avg_pool_forward(int32_t spatial_rank, const DLTensor* x,
                                                  DLTensor* y) {
  return guarded([&] {
    const char* op = "adaptive_avg_pool";
    const TensorView xv = view(op, "x", x), yv = view(op, "y", y);
    expect_pair(op, spatial_rank, xv, yv);
    const PoolWindows windows = adaptive_windows(op, xv, yv);
    if (yv.count == 0) return;
    kernels_for(xv.device).pool->average_forward(
        {xv.dtype, false, windows, image_of(xv), image_of(yv)});
  });
}

extern "C" mk_status mk_adaptive_avg_pool_backward(int32_t spatial_rank, const DLTensor* dy,
                                                   DLTensor* dx) {
  return guarded([&] {
    const char* op = "adaptive_avg_pool_backward";
    const TensorView dyv = view(op, "dy", dy), dxv = view(op, "dx", dx);
    expect_pair(op, spatial_rank, dyv, dxv);
    const PoolWindows windows = adaptive_windows(op, dxv, dyv);
    if (dxv.count == 0) return;
    kernels_for(dxv.device)
        .pool->average_backward({dxv.dtype, false, windows, image_of(dxv), image_of(dyv)});
  });
}

extern "C" mk_status mk_adaptive_max_pool_forward(int32_t spatial_rank, const DLTensor* x,
                                                  DLTensor* y, DLTensor* indices) {
  return guarded([&] {
    const char* op = "adaptive_max_pool";
    const TensorView xv = view(op, "x", x), yv = view(op, "y", y);
    const TensorView iv = optional_view(op, "indices", indices);
    expect_pair(op, spatial_rank, xv, yv);
    const PoolWindows windows = adaptive_windows(op, xv, yv);
    MaxPoolArgs args{xv.dtype, Dtype::i64, windows, image_of(xv), image_of(yv), {}};
    if (indices != nullptr) {
      expect_dtype(op, iv, Dtype::i64);
      expect_same_shape(op, iv, yv);
      expect_dense(op, iv);
      expect_same_device(op, iv, xv);
      expect_no_overlap(op, iv, xv);
      expect_no_overlap(op, iv, yv);
      args.indices = image_of(iv);
    }
    if (yv.count > 0) kernels_for(xv.device).pool->max_forward(args);
  });
}

extern "C" mk_status mk_adaptive_max_pool_backward(int32_t spatial_rank, const DLTensor* dy,
                                                   const DLTensor* indices, DLTensor* dx) {
  return guarded([&] {
    const char* op = "adaptive_max_pool_backward";
    const TensorView dyv = view(op, "dy", dy), iv = view(op, "indices", indices);
    const TensorView dxv = view(op, "dx", dx);
    expect_pair(op, spatial_rank, dyv, dxv);
    adaptive_windows(op, dxv, dyv);
    expect_flat(op, iv, dyv, dxv);
    expect_inside(op, iv, dxv);
    if (dxv.count == 0) return;
    kernels_for(dxv.device)
        .pool->scatter_add({dxv.dtype, image_of(dxv), image_of(dyv), image_of(iv)});
  });
}

extern "C" mk_status mk_max_unpool_output_shape(const mk_pool_desc* desc,
                                                const int64_t* output_size, const DLTensor* x,
                                                int64_t* shape) {
  return guarded([&] {
    const char* op = "max_unpool";
    const Window window = pool_window(op, desc, false);
    const TensorView xv = view(op, "x", x);
    expect_image(op, xv, desc->spatial_rank);
    int64_t y_shape[5] = {xv.shape[0], xv.shape[1]};
    for (int i = 0; i < desc->spatial_rank; ++i) {
      const int j = 3 - desc->spatial_rank + i;
      const int64_t padding = window.pad_before[j] + window.pad_after[j];
      const int64_t spread =
          xv.shape[2 + i] > 0 ? checked_mul(op, xv.shape[2 + i] - 1, window.stride[j]) : 0;
      const int64_t usual = checked_add(op, spread, window.kernel[j]) - padding;
      y_shape[2 + i] = usual;
      if (output_size != nullptr) {
        require(output_size[i] >= 0 && output_size[i] > usual - window.stride[j] &&
                    output_size[i] < usual + window.stride[j],
                op, ": output_size must be within stride - 1 = ", window.stride[j] - 1, " of ",
                usual, ", got ", output_size[i]);
        y_shape[2 + i] = output_size[i];
      }
    }
    give_shape(op, shape, desc->spatial_rank + 2, y_shape);
  });
}

extern "C" mk_status mk_max_unpool_forward(int32_t spatial_rank, const DLTensor* x,
                                           const DLTensor* indices, DLTensor* y) {
  return guarded([&] {
    const char* op = "max_unpool";
    const TensorView xv = view(op, "x", x), iv = view(op, "indices", indices);
    const TensorView yv = view(op, "y", y);
    expect_pair(op, spatial_rank, xv, yv);
    expect_flat(op, iv, xv, yv);
    const PoolKernels& kernels = *kernels_for(xv.device).pool;
    const ScatterArgs args{xv.dtype, image_of(yv), image_of(xv), image_of(iv)};
    if (kernels.in_tiles(args)) return kernels.spread(args);
    expect_inside(op, iv, yv);
    if (yv.count > 0) kernels.scatter(args);
  });
}

extern "C" mk_status mk_max_unpool_backward(int32_t spatial_rank, const DLTensor* dy,
                                            const DLTensor* indices, DLTensor* dx) {
  return guarded([&] {
    const char* op = "max_unpool_backward";
    const TensorView dyv = view(op, "dy", dy), iv = view(op, "indices", indices);
    const TensorView dxv = view(op, "dx", dx);
    expect_pair(op, spatial_rank, dyv, dxv);
    expect_flat(op, iv, dxv, dxv);
    const PoolKernels& kernels = *kernels_for(dxv.device).pool;
    const ScatterArgs args{dxv.dtype, image_of(dyv), image_of(dxv), image_of(iv)};
    if (kernels.in_tiles(args)) return kernels.collect(args);
    expect_inside(op, iv, dyv);
    if (dxv.count > 0) kernels.gather(args);
  });
}
