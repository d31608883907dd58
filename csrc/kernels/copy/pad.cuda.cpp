// CUDA kernels of padding: what the checked arguments come to on the device.
#include <algorithm>

#include "cuda/align.h"
#include "cuda/launch.h"
#include "kernels/copy/copy.cuda.h"
#include "kernels/copy/copy.h"
#include "kernels/loops.cuda.h"

namespace medkern::cuda {
namespace {

// float32, float64, float16, bfloat16.
Kernel forward_kernels[4] = {{"pad", "pad_forward_f32"},
                             {"pad", "pad_forward_f64"},
                             {"pad", "pad_forward_f16"},
                             {"pad", "pad_forward_bf16"}};
Kernel gather_kernels[4] = {{"pad", "pad_gather_f32"},
                            {"pad", "pad_gather_f64"},
                            {"pad", "pad_gather_f16"},
                            {"pad", "pad_gather_bf16"}};

int number_of(Dtype dtype) {
  return dtype == Dtype::f32 ? 0 : dtype == Dtype::f64 ? 1 : dtype == Dtype::f16 ? 2 : 3;
}

struct Axis {
  int64_t before, x_size, x_stride, y_size, y_stride;
  bool padded() const { return before != 0 || x_size != y_size; }
};

// The axes from the innermost one of the side `step` tells the stride of; neighbors that aren't
// padded become one. At least one.
int axes_of(const PadArgs& a, int64_t Axis::* step, Axis (&axes)[kMostAxes]) {
  int rank = 0;
  for (int i = 0; i < a.rank; ++i) {
    const Axis axis{a.before[i], a.x_size[i], a.x_stride[i], a.y_size[i], a.y_stride[i]};
    if (axis.padded() || axis.x_size != 1) axes[rank++] = axis;
  }
  std::stable_sort(axes, axes + rank,
                   [=](const Axis& a, const Axis& b) { return a.*step < b.*step; });
  if (rank == 0) axes[rank++] = {0, 1, 1, 1, 1};
  int last = 0;
  for (int i = 1; i < rank; ++i) {
    Axis &inner = axes[last], &outer = axes[i];
    if (!inner.padded() && !outer.padded() && outer.x_stride == inner.x_stride * inner.x_size &&
        outer.y_stride == inner.y_stride * inner.y_size) {
      inner.x_size *= outer.x_size;
      inner.y_size *= outer.y_size;
    } else {
      axes[++last] = outer;
    }
  }
  return last + 1;
}

void expect_fits(bool fits) {
  require(fits, "pad: CUDA kernels pad tensors of up to 2^31 - 1 elements, or vectors of 16 bytes");
}

Divider size_divider(int64_t size) {
  expect_fits(size <= kMostSteps);
  return divider(static_cast<uint32_t>(size));
}

bool in_vectors(const PadArgs& a, const Axis* axes, int rank, int lanes) {
  bool fits = !axes[0].padded() && axes[0].x_stride == 1 && axes[0].y_stride == 1 &&
              axes[0].x_size % lanes == 0 && are_aligned({a.x, a.y});
  for (int i = 1; i < rank; ++i) {
    fits = fits && axes[i].x_stride % lanes == 0 && axes[i].y_stride % lanes == 0;
  }
  return fits;
}

}  // namespace

void pad(const PadArgs& a) {
  Axis axes[kMostAxes];
  PadKernelArgs p{};
  p.y = a.y;
  p.x = a.x;
  p.value = a.value;
  p.mode = a.mode;
  p.rank = axes_of(a, &Axis::y_stride, axes);
  const int lanes = vector_lanes(size_of(a.dtype));
  p.lanes = in_vectors(a, axes, p.rank, lanes) ? lanes : 1;
  p.count = 1;
  for (int i = 0; i < p.rank; ++i) {
    const Axis& axis = axes[i];
    const int64_t step = i == 0 ? p.lanes : 1;
    expect_fits(axis.x_size / step <= kMostSteps && axis.before >= -kMostSteps &&
                axis.before <= kMostSteps);
    p.y_size[i] = size_divider(axis.y_size / step);
    p.x_size[i] = static_cast<int32_t>(axis.x_size / step);
    p.before[i] = static_cast<int32_t>(axis.before);
    p.x_stride[i] = axis.x_stride * step;
    p.y_stride[i] = axis.y_stride * step;
    p.count *= axis.y_size / step;
    expect_fits(p.count <= kMostSteps);
  }
  constexpr int64_t kBlock = kWalkThreads * kVectorSteps;
  launch(forward_kernels[number_of(a.dtype)], {static_cast<uint32_t>((p.count - 1) / kBlock + 1)},
         kWalkThreads, 0, p);
}

void pad_backward(const PadArgs& a) {
  if (a.mode == MK_PAD_CONSTANT) {
    // dx is dy without what was added, or with zeros where something was taken away.
    PadArgs turned = a;
    turned.value = 0;
    turned.x = a.y;
    turned.y = a.x;
    for (int i = 0; i < a.rank; ++i) {
      turned.before[i] = -a.before[i];
      std::swap(turned.x_size[i], turned.y_size[i]);
      std::swap(turned.x_stride[i], turned.y_stride[i]);
    }
    return pad(turned);
  }
  Axis axes[kMostAxes];
  UnpadKernelArgs p{};
  p.dx = a.x;
  p.dy = a.y;
  p.mode = a.mode;
  p.rank = axes_of(a, &Axis::x_stride, axes);
  p.count = 1;
  for (int i = 0; i < p.rank; ++i) {
    const Axis& axis = axes[i];
    expect_fits(axis.y_size <= kMostSteps);
    p.x_size[i] = size_divider(axis.x_size);
    p.y_size[i] = static_cast<int32_t>(axis.y_size);
    p.before[i] = static_cast<int32_t>(axis.before);
    p.x_stride[i] = axis.x_stride;
    p.y_stride[i] = axis.y_stride;
    p.count *= axis.x_size;
    expect_fits(p.count <= kMostSteps);
  }
  launch(gather_kernels[number_of(a.dtype)],
         {static_cast<uint32_t>((p.count - 1) / kWalkThreads + 1)}, kWalkThreads, 0, p);
}

}  // namespace medkern::cuda
