// Which elements meet which: the residue classes of a convolution's axes.
#include <numeric>
#include <utility>

#include "kernels/conv/conv.h"

namespace medkern {
namespace {

// The inverse of a modulo m, for a and m without a common factor.
int64_t inverse(int64_t a, int64_t m) {
  int64_t r = a % m, next_r = m, t = 1, next_t = 0;
  while (next_r != 0) {
    const int64_t quotient = r / next_r;
    r = std::exchange(next_r, r - quotient * next_r);
    t = std::exchange(next_t, t - quotient * next_t);
  }
  return t < 0 ? t + m : t;
}

int64_t remainder(int64_t a, int64_t m) { return a % m < 0 ? a % m + m : a % m; }

}  // namespace

int64_t axis_classes(const ConvArgs& args, int axis) {
  if (!args.backward) return 1;
  const int64_t stride = args.window.stride[axis], size = args.result.size[axis];
  return stride < size ? stride : size;
}

AxisClass axis_class(const ConvArgs& args, int axis, int64_t i) {
  const Window& w = args.window;
  const int64_t size = args.result.size[axis], stride = w.stride[axis];
  const int64_t kernel = w.kernel[axis], dilation = w.dilation[axis], pad = w.pad_before[axis];
  if (!args.backward) return {0, 1, size, -pad, stride, dilation, 0, 1, kernel, 0};

  // dx[p] gets dy[o] weight[t] where o stride + t dilation = p + pad. So for p = i + j stride the
  // taps are those with (i + pad - t dilation) divisible by the stride; if t is one, the next is a
  // period on.
  AxisClass c{i, stride, (size - i + stride - 1) / stride, 0, 1, 1, 0, 0, 0, 0};
  for (int64_t tap = 0; tap < kernel; ++tap) {
    c.taps_before += remainder(tap * dilation - pad, stride) < i;
  }
  const int64_t divisor = std::gcd(stride, dilation), period = stride / divisor;
  if ((i + pad) % divisor != 0) return c;  // no tap reaches this class
  const int64_t first = remainder((i + pad) / divisor, period);
  const int64_t tap = first * inverse(dilation / divisor, period) % period;
  if (tap >= kernel) return c;
  c.taps = (kernel - 1 - tap) / period + 1;
  // From the last tap to the first, so that positions in dy ascend.
  c.tap_first = tap + (c.taps - 1) * period;
  c.tap_step = -period;
  c.in_first = (i + pad - c.tap_first * dilation) / stride;
  c.in_tap_step = period * dilation / stride;
  return c;
}

AxisClass class_of_tap(const ConvArgs& args, int axis, int64_t tap) {
  const Window& w = args.window;
  const int64_t reached = tap * w.dilation[axis] - w.pad_before[axis];
  return axis_class(args, axis, args.backward ? remainder(reached, w.stride[axis]) : 0);
}

Region region_of(const ConvArgs& args) {
  Region region{};
  for (int axis = 0; axis < 3; ++axis) {
    const Window& w = args.window;
    const int64_t classes = axis_classes(args, axis);
    bool any = false;
    int64_t first = 0, last = -1;
    // Tap by tap, for there may be far more classes than taps, most of them without any.
    const int64_t distinct = w.kernel[axis] < w.stride[axis] ? w.kernel[axis] : w.stride[axis];
    const int64_t taps = args.backward ? distinct : 1;
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t reached = tap * w.dilation[axis] - w.pad_before[axis];
      const int64_t i = args.backward ? remainder(reached, w.stride[axis]) : 0;
      if (i >= classes) continue;
      const AxisClass c = axis_class(args, axis, i);
      if (c.count == 0 || c.taps == 0) continue;
      const int64_t end = c.in_first + (c.count - 1) * c.in_step + (c.taps - 1) * c.in_tap_step;
      if (!any || c.in_first < first) first = c.in_first;
      if (!any || end > last) last = end;
      any = true;
    }
    region.first[axis] = first;
    region.size[axis] = last - first + 1;
  }
  return region;
}

}  // namespace medkern
