// CUDA kernels of resizing: what the checked arguments come to on the device.
#include "kernels/resize/resize.cuda.h"

#include "cuda/launch.h"
#include "cuda/variants.h"
#include "kernels/image.cuda.h"
#include "kernels/resize/resize.h"

namespace medkern::cuda {
namespace {

Variants forward_kernels = MK_VARIANTS("resize", "resize_forward");
Variants backward_kernels = MK_VARIANTS("resize", "resize_backward");

constexpr const char* kOp = "interpolate";

// Writes `to`, which is x or y, from the other one.
void run(Variants& kernels, const ResizeArgs& r, const Image& from, const Image& to,
         size_t shared_bytes) {
  const bool pixels = have_pixels({&r.x, &r.y});
  const int64_t lanes = lanes_of(r.dtype);
  const bool vectors = lanes > 1 && have_vectors({&r.x, &r.y}, lanes, size_of(r.dtype));
  ResizeKernelArgs a{};
  a.from = from.data;
  a.to = to.data;
  for (int i = 0; i < 3; ++i) {
    a.axis[i] = {static_cast<int32_t>(narrow(kOp, r.x.size[i])),
                 static_cast<int32_t>(narrow(kOp, r.y.size[i])),
                 r.ratio[i],
                 r.linear,
                 r.align_corners,
                 r.x.stride[i],
                 r.y.stride[i]};
  }
  a.rows = image_rows(kOp, to, pixels, vectors ? lanes : 1);
  a.x_stride_n = r.x.stride_n;
  a.x_stride_c = r.x.stride_c;
  a.y_stride_n = r.y.stride_n;
  a.y_stride_c = r.y.stride_c;
  launch(kernels[variant_of(r.dtype, vectors)], {a.rows.blocks}, kRowThreads, shared_bytes, a);
}

void forward(const ResizeArgs& r) {
  // Two numbers, two weights and the place of every row.
  run(forward_kernels, r, r.x, r.y, kMostRows * (16 + 2 * wide_size_of(r.dtype)));
}

void backward(const ResizeArgs& r) {
  // The readers of a row along two axes, and of a column; three numbers (padded) and weights.
  const size_t readers = 16 + kKeptReaders * wide_size_of(r.dtype);
  run(backward_kernels, r, r.y, r.x,
      2 * kMostRows * readers + kKeptReaders * kRowThreads * wide_size_of(r.dtype));
}

}  // namespace

extern const ResizeKernels resize_kernels;
constinit const ResizeKernels resize_kernels = {
    .forward = forward,
    .backward = backward,
};

}  // namespace medkern::cuda
