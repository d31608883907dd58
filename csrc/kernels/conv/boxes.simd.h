// How the pixels of a convolution's result are cut into tasks, and what a task reads of the source.
//
// Along each axis, positions of the result are numbered within their residue class (conv.h). A box
// is a range of these numbers along n, d, h and w, the same for all classes. For one class it reads
// the source at equal steps from pixel to pixel and from tap to tap: in place where no padding is
// needed and channels lie as the kernel wants them; otherwise the task copies what it needs, zeros
// for padding included, to scratch memory of its worker, where it stays in the L2 cache.
//
// Along each axis a copy holds the whole span that is read or, where that is less, the positions of
// each tap one after the other (dilation).
#pragma once

#include "cpu/integers.h"
#include "kernels/conv/source.simd.h"

namespace medkern::MK_ISA {

// Numbers 0 .. count - 1 in `parts` parts of `extent`, the last perhaps smaller.
struct Cut {
  int64_t count, extent, parts;
};

// Where the channels of what is read lie: side by side, or each in a plane of its own.
enum class Order : uint8_t { channels_last, planes };

struct Boxes {
  int64_t classes[3];
  int64_t in_step[3], in_tap_step[3], most_taps[3];  // of all classes
  Cut cut[4];                                        // along n, d, h, w
  int64_t source_step[4], result_step[4];            // from number to number, in elements
  bool in_place;
  bool joined;  // axes of one class that lie one behind the other are numbered as one, w
  Order order;
  int64_t pixel;     // elements of a copy from pixel to pixel, if channels-last; else channels
  int64_t elements;  // of a box's copy
  int64_t number;    // of boxes
};

// How the copy of a box lies along an axis.
struct CopyAxis {
  int64_t size, step, tap_step;
  bool by_tap;
};

MK_INLINE CopyAxis copy_axis(int64_t in_step, int64_t in_tap_step, int64_t taps, int64_t extent) {
  const int64_t span = (extent - 1) * in_step + (taps - 1) * in_tap_step + 1;
  if (taps * extent < span) return {taps * extent, 1, extent, true};
  return {span, in_step, in_tap_step, false};
}

// Describes the boxes of a convolution, not cut yet. A kernel that takes channels in planes may
// get them so; one that doesn't gets them side by side, `pixel` elements per pixel.
MK_INLINE Boxes boxes_of(const ConvArgs& a, bool takes_planes, int64_t pixel) {
  const Image &x = a.source, &y = a.result;
  Boxes b{};
  b.cut[0].count = y.n;
  b.source_step[0] = x.stride_n;
  b.result_step[0] = y.stride_n;
  bool single = true;
  for (int i = 0; i < 3; ++i) {
    b.classes[i] = axis_classes(a, i);
    single &= b.classes[i] == 1;
    const AxisClass first = axis_class(a, i, 0);
    b.in_step[i] = first.in_step;
    b.in_tap_step[i] = b.most_taps[i] = 1;
    b.cut[i + 1].count = first.count;  // no class has more
    // Tap by tap, for there may be far more classes than taps, most of them without any.
    const int64_t taps = smaller(a.window.kernel[i], a.backward ? a.window.stride[i] : 1);
    for (int64_t tap = 0; tap < taps; ++tap) {
      const AxisClass c = class_of_tap(a, i, tap);
      b.in_tap_step[i] = c.in_tap_step;
      b.most_taps[i] = larger(b.most_taps[i], c.taps);
    }
    b.source_step[i + 1] = b.in_step[i] * x.stride[i];
    b.result_step[i + 1] = first.out_step * y.stride[i];
  }
  const bool last = is_channels_last_image(x);
  const bool planes = takes_planes && !last && (x.size[2] == 1 || x.stride[2] == 1);
  b.order = planes ? Order::planes : Order::channels_last;
  b.pixel = planes ? x.c : pixel;
  b.in_place = is_inside(x, a.region) && (planes || (last && pixel == x.c));
  if (!b.in_place || !single) return b;
  for (int i = 2; i >= 0; --i) {
    const int64_t inner = b.cut[3].count, outer = b.cut[i].count;
    if (outer == 1) continue;
    if (inner == 1) {
      b.source_step[3] = b.source_step[i];
      b.result_step[3] = b.result_step[i];
    } else if (b.source_step[i] != b.source_step[3] * inner ||
               b.result_step[i] != b.result_step[3] * inner) {
      break;
    }
    b.cut[3].count = inner * outer;
    b.cut[i].count = 1;
    b.joined = true;
  }
  return b;
}

MK_INLINE int64_t box_pixels(const Boxes& b) {
  return b.cut[0].extent * b.cut[1].extent * b.cut[2].extent * b.cut[3].extent;
}

// Elements that a box reads for one class.
MK_INLINE int64_t box_elements(const Boxes& b) {
  int64_t elements = b.cut[0].extent * b.pixel;
  for (int i = 0; i < 3; ++i) {
    elements *= copy_axis(b.in_step[i], b.in_tap_step[i], b.most_taps[i], b.cut[i + 1].extent).size;
  }
  return elements;
}

// Cuts into boxes of at most so many pixels that read at most so many elements (but `few_pixels` of
// a row may stay together whatever they read), as even as can be.
MK_INLINE void cut_boxes(Boxes& b, int64_t most_pixels, int64_t most_elements, int64_t few_pixels) {
  for (Cut& cut : b.cut) cut.extent = 1;
  bool whole = true;  // the axes inside this one are not cut
  b.number = 1;
  for (int i = 3; i >= 0; --i) {
    Cut& cut = b.cut[i];
    int64_t fitting = 1, beyond = whole ? cut.count + 1 : 2;
    while (beyond - fitting > 1) {
      cut.extent = fitting + (beyond - fitting) / 2;
      const bool fits = box_pixels(b) <= most_pixels && box_elements(b) <= most_elements;
      (fits || (i == 3 && cut.extent <= few_pixels) ? fitting : beyond) = cut.extent;
    }
    cut.extent = larger(divide_up(cut.count, larger(divide_up(cut.count, fitting), 1)), 1);
    cut.parts = larger(divide_up(cut.count, cut.extent), 1);
    whole &= cut.parts <= 1;
    b.number *= cut.parts;
  }
  b.elements = b.in_place ? 0 : (box_elements(b) + 15) / 16 * 16;
}

// What a box reads and writes for one class.
template <class T>
struct Box {
  const T* source;  // of the first pixel and tap
  int64_t step[4];  // from pixel to pixel along n, d, h, w
  int64_t taps[3], tap_step[3];
  int64_t channel_step;
  T* result;            // of the first pixel
  int64_t count[4];     // pixels along n, d, h, w
  int64_t taps_before;  // of the classes before this one
};

// Copies one row of a box: `count` positions from `first` on, `step` apart. `from` is position 0 of
// the row in x, or nullptr if the row is padding.
template <class T>
MK_INLINE void copy_row(const Image& x, const T* from, int64_t first, int64_t step, int64_t count,
                        int64_t pixel, T* to) {
  if (step == 1) {
    int64_t begin = smaller(larger(-first, 0), count);
    int64_t end = larger(smaller(x.size[2] - first, count), begin);
    if (from == nullptr) begin = end = 0;
    zero(to, begin * pixel);
    if (begin < end) {
      copy_pixels(x, from + (first + begin) * x.stride[2], end - begin, 1, pixel,
                  to + begin * pixel);
    }
    zero(to + end * pixel, (count - end) * pixel);
  } else {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = first + i * step;
      if (from == nullptr || at < 0 || at >= x.size[2]) {
        zero(to + i * pixel, pixel);
      } else {
        copy_pixels(x, from + at * x.stride[2], 1, 1, pixel, to + i * pixel);
      }
    }
  }
}

// Copies what the class c reads for a box whose first numbers are `first`.
template <class T>
MK_INLINE void copy_box(const Image& x, const Boxes& b, const AxisClass c[3],
                        const CopyAxis axis[3], const int64_t first[4], int64_t images, T* to) {
  // Source position of number `i` of the copy along an axis.
  const auto position = [&](int k, int64_t i) {
    const int64_t start = c[k].in_first + first[k + 1] * c[k].in_step;
    if (!axis[k].by_tap) return start + i;
    const int64_t extent = b.cut[k + 1].extent;
    return start + i % extent * c[k].in_step + i / extent * c[k].in_tap_step;
  };
  const bool planes = b.order == Order::planes;
  const int64_t pixel = planes ? 1 : b.pixel;
  const int64_t pieces = axis[2].by_tap ? c[2].taps : 1;
  const int64_t piece = axis[2].size / pieces, step = axis[2].by_tap ? c[2].in_step : 1;
  for (int64_t n = 0; n < images; ++n)
    for (int64_t channel = 0; channel < (planes ? x.c : 1); ++channel)
      for (int64_t d = 0; d < axis[0].size; ++d)
        for (int64_t h = 0; h < axis[1].size; ++h) {
          const int64_t at_d = position(0, d), at_h = position(1, h);
          const T* from = nullptr;
          if (at_d >= 0 && at_d < x.size[0] && at_h >= 0 && at_h < x.size[1]) {
            from = static_cast<const T*>(x.data) + (first[0] + n) * x.stride_n +
                   channel * x.stride_c + at_d * x.stride[0] + at_h * x.stride[1];
          }
          for (int64_t i = 0; i < pieces; ++i, to += piece * pixel) {
            copy_row(x, from, position(2, i * piece), step, piece, pixel, to);
          }
        }
}

// Taps of the classes before this one: all taps of smaller classes of d, this d's of smaller
// classes of h, this d's and h's of smaller ones of w.
MK_INLINE int64_t taps_before(const Window& window, const AxisClass c[3]) {
  const int64_t* kernel = window.kernel;
  return (c[0].taps_before * kernel[1] + c[0].taps * c[1].taps_before) * kernel[2] +
         c[0].taps * c[1].taps * c[2].taps_before;
}

// Calls visit(Box) for each class of a box whose first numbers are `first`. `copy` has room for
// b.elements.
template <class T, class Visit>
MK_INLINE void for_each_class(const ConvArgs& a, const Boxes& b, const int64_t first[4], T* copy,
                              Visit visit) {
  AxisClass c[3];
  Box<T> box;
  const auto count = [&](int i) {
    return smaller(b.cut[i].extent,
                   (i == 0 || b.joined ? b.cut[i].count : c[i - 1].count) - first[i]);
  };
  box.count[0] = count(0);
  for (int64_t kd = 0; kd < b.classes[0]; ++kd) {
    c[0] = axis_class(a, 0, kd);
    box.count[1] = count(1);
    for (int64_t kh = 0; kh < b.classes[1]; ++kh) {
      c[1] = axis_class(a, 1, kh);
      box.count[2] = count(2);
      for (int64_t kw = 0; kw < b.classes[2]; ++kw) {
        c[2] = axis_class(a, 2, kw);
        box.count[3] = count(3);
        if (box.count[1] <= 0 || box.count[2] <= 0 || box.count[3] <= 0) continue;
        box.taps_before = taps_before(a.window, c);
        const bool any = c[0].taps * c[1].taps * c[2].taps > 0;
        box.result = static_cast<T*>(a.result.data) + first[0] * b.result_step[0];
        const T* source = static_cast<const T*>(a.source.data) + first[0] * b.source_step[0];
        CopyAxis axis[3];
        for (int i = 0; i < 3; ++i) {
          box.taps[i] = any ? c[i].taps : 0;
          box.result += c[i].out_first * a.result.stride[i] + first[i + 1] * b.result_step[i + 1];
          source += c[i].in_first * a.source.stride[i] + first[i + 1] * b.source_step[i + 1];
          axis[i] = copy_axis(c[i].in_step, c[i].in_tap_step, c[i].taps, b.cut[i + 1].extent);
        }
        if (b.in_place) {
          box.source = source;
          for (int i = 0; i < 4; ++i) box.step[i] = b.source_step[i];
          for (int i = 0; i < 3; ++i) box.tap_step[i] = c[i].in_tap_step * a.source.stride[i];
          box.channel_step = b.order == Order::planes ? a.source.stride_c : 1;
        } else {
          int64_t stride = b.order == Order::planes ? 1 : b.pixel;
          for (int i = 2; i >= 0; --i) {
            box.step[i + 1] = axis[i].step * stride;
            box.tap_step[i] = axis[i].tap_step * stride;
            stride *= axis[i].size;
          }
          box.channel_step = b.order == Order::planes ? stride : 1;
          box.step[0] = b.order == Order::planes ? stride * a.source.c : stride;
          box.source = copy;
          if (any) copy_box(a.source, b, c, axis, first, box.count[0], copy);
        }
        visit(box);
      }
    }
  }
}

// The first numbers of box `i`.
MK_INLINE void box_first(const Boxes& b, int64_t i, int64_t first[4]) {
  for (int k = 3; k >= 0; --k) {
    first[k] = i % b.cut[k].parts * b.cut[k].extent;
    i /= b.cut[k].parts;
  }
}

}  // namespace medkern::MK_ISA
