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

// Numbers 0 .. count - 1 in parts of `extent`, the last of them perhaps smaller, between two parts
// of their own, those that read padding (perhaps empty).
struct Cut {
  int64_t count, extent, parts;
  int64_t before, after;
};

// Where the channels of what is read lie: side by side, or each in a plane of its own.
enum class Order : uint8_t { channels_last, planes };

struct Boxes {
  int64_t classes[3];
  int64_t in_step[3], in_tap_step[3], most_taps[3];  // of all classes
  Cut cut[4];                                        // along n, d, h, w
  int64_t source_step[4], result_step[4];            // from number to number, in elements
  int64_t before, after;  // numbers along w that read padding at the beginning and end
  bool readable;          // in place, where there is no padding
  bool in_place;          // all of it, with padding if the kernel sees to that
  bool joined;            // axes of one class that lie one behind the other are numbered as one, w
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

MK_INLINE int64_t taps_of(const Window& w) { return w.kernel[0] * w.kernel[1] * w.kernel[2]; }

// Taps of the classes before this one: all taps of smaller classes of d, this d's of smaller
// classes of h, this d's and h's of smaller ones of w.
MK_INLINE int64_t taps_before(const Window& window, const AxisClass c[3]) {
  const int64_t* kernel = window.kernel;
  return (c[0].taps_before * kernel[1] + c[0].taps * c[1].taps_before) * kernel[2] +
         c[0].taps * c[1].taps * c[2].taps_before;
}

// Where a tap has its place in packed weights: by class, then in the order in which the taps of a
// class read the source.
struct TapPlace {
  int64_t before;  // taps of the classes before its own
  int64_t taps;    // of its class
  int64_t number;  // its own in the class
};

MK_INLINE TapPlace place_of_tap(const ConvArgs& a, int64_t tap) {
  const int64_t* kernel = a.window.kernel;
  const int64_t taps[3] = {tap / kernel[2] / kernel[1], tap / kernel[2] % kernel[1],
                           tap % kernel[2]};
  AxisClass c[3];
  TapPlace place{0, 1, 0};
  for (int i = 0; i < 3; ++i) {
    c[i] = class_of_tap(a, i, taps[i]);
    const int64_t number = c[i].tap_step == 0 ? 0 : (taps[i] - c[i].tap_first) / c[i].tap_step;
    place.number = place.number * c[i].taps + number;
    place.taps *= c[i].taps;
  }
  place.before = taps_before(a.window, c);
  return place;
}

// What a kernel asks of its source. Where it doesn't take planes it gets channels side by side,
// `pixel` elements per pixel.
struct Wants {
  int64_t pixel;
  bool planes = false;   // takes channels in planes too
  bool padding = false;  // leaves out itself what lies outside the source, if channels-last
};

// Describes the boxes of a convolution, not cut yet.
MK_INLINE Boxes boxes_of(const ConvArgs& a, const Wants& wants) {
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
      if (i < 2) continue;
      const int64_t end = c.in_first + (c.taps - 1) * c.in_tap_step + (first.count - 1) * c.in_step;
      b.before = larger(b.before, divide_up(larger(-c.in_first, 0), c.in_step));
      b.after = larger(b.after, divide_up(larger(end + 1 - x.size[2], 0), c.in_step));
    }
    b.source_step[i + 1] = b.in_step[i] * x.stride[i];
    b.result_step[i + 1] = first.out_step * y.stride[i];
  }
  const bool last = is_channels_last_image(x);
  const bool planes = wants.planes && !last && (x.size[2] == 1 || x.stride[2] == 1);
  b.order = planes ? Order::planes : Order::channels_last;
  b.pixel = planes ? x.c : wants.pixel;
  b.readable = planes || (last && wants.pixel == x.c);
  const bool inside = is_inside(x, a.region);
  b.in_place = b.readable && (inside || wants.padding);
  if (!b.readable || !inside || !single) return b;
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

// Pixels that are numbered, in all boxes.
MK_INLINE int64_t all_pixels(const Boxes& b) {
  return b.cut[0].count * b.cut[1].count * b.cut[2].count * b.cut[3].count;
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

// What the boxes may be.
struct BoxLimits {
  int64_t most_pixels, most_elements;  // of a box, and of what it reads
  int64_t few_pixels;                  // of a row may stay together whatever they read
  // Least pixels of a part of a row for those that read padding, so that the others needn't be
  // copied. 0 where copying doesn't matter.
  int64_t border;
};

// Cuts, as even as can be, with parts along h and w of at most so many.
MK_INLINE void cut_within(Boxes& b, const BoxLimits& limits, int64_t most_h, int64_t most_w) {
  for (Cut& cut : b.cut) cut.extent = 1;
  bool whole = true;  // the axes inside this one are not cut
  b.number = 1;
  for (int i = 3; i >= 0; --i) {
    Cut& cut = b.cut[i];
    const int64_t most = i == 3 ? most_w : i == 2 ? most_h : cut.count;
    int64_t fitting = 1, beyond = whole ? smaller(cut.count, most) + 1 : 2;
    while (beyond - fitting > 1) {
      cut.extent = fitting + (beyond - fitting) / 2;
      const bool fits =
          box_pixels(b) <= limits.most_pixels && box_elements(b) <= limits.most_elements;
      (fits || (i == 3 && cut.extent <= limits.few_pixels) ? fitting : beyond) = cut.extent;
    }
    // A part that was cut to read less leaves room for more along the outer axes.
    whole &= fitting >= smaller(cut.count, most);
    const int64_t inner = cut.count - cut.before - cut.after;
    cut.extent = larger(divide_up(inner, larger(divide_up(inner, fitting), 1)), 1);
    cut.parts = larger(divide_up(inner, cut.extent), 1) + (cut.before > 0) + (cut.after > 0);
    b.number *= cut.parts;
  }
}

// Elements that a box reads for each that a pixel alone would.
MK_INLINE double elements_per_pixel(const Boxes& b) {
  const double steps = static_cast<double>(b.in_step[0] * b.in_step[1] * b.in_step[2] * b.pixel);
  return static_cast<double>(box_elements(b)) / (static_cast<double>(box_pixels(b)) * steps);
}

MK_INLINE void cut_boxes(Boxes& b, const BoxLimits& limits) {
  Cut& w = b.cut[3];
  w.before = w.after = 0;
  if (limits.border > 0 && b.readable && !b.in_place) {
    const int64_t before = b.before > 0 ? larger(b.before, limits.border) : 0;
    const int64_t after = b.after > 0 ? larger(b.after, limits.border) : 0;
    if (2 * (before + after) <= w.count) w.before = before, w.after = after;
  }
  cut_within(b, limits, b.cut[2].count, w.count);
  // Shorter rows may let a box have more of them, so that less is read twice.
  if (limits.border > 0 && elements_per_pixel(b) > 1.5) {
    Boxes best = b;
    for (int64_t most_w = w.count; most_w >= limits.few_pixels; most_w /= 2) {
      for (int64_t most_h = b.cut[2].count; most_h >= 4; most_h /= 2) {
        cut_within(b, limits, most_h, most_w);
        if (elements_per_pixel(b) < 0.9 * elements_per_pixel(best)) best = b;
      }
    }
    b = best;
  }
  const int64_t inner = w.extent;
  w.extent = larger(inner, larger(w.before, w.after));
  b.elements = b.in_place ? 0 : (box_elements(b) + 15) / 16 * 16;
  w.extent = inner;
}

// The numbers of a box along n, d, h, w.
struct BoxRange {
  int64_t begin[4], end[4];
};

MK_INLINE BoxRange box_range(const Boxes& b, int64_t i) {
  BoxRange r;
  for (int k = 3; k >= 0; --k) {
    const Cut& cut = b.cut[k];
    const int64_t part = i % cut.parts;
    i /= cut.parts;
    if (cut.before > 0 && part == 0) {
      r.begin[k] = 0;
      r.end[k] = cut.before;
    } else if (cut.after > 0 && part == cut.parts - 1) {
      r.begin[k] = cut.count - cut.after;
      r.end[k] = cut.count;
    } else {
      r.begin[k] = cut.before + (part - (cut.before > 0)) * cut.extent;
      r.end[k] = smaller(r.begin[k] + cut.extent, cut.count - cut.after);
    }
  }
  return r;
}

// What a box reads and writes for one class.
template <class T>
struct Box {
  const T* source;  // of the first pixel and tap
  int64_t at[3];    // where that lies in the source along d, h, w
  bool inside;      // nothing that is read lies outside the source
  int64_t step[4];  // from pixel to pixel along n, d, h, w
  int64_t taps[3], tap_step[3];
  int64_t channel_step;
  T* result;            // of the first pixel
  int64_t count[4];     // pixels along n, d, h, w
  int64_t taps_before;  // of the classes before this one
};

// Calls visit(source, result) for the first pixel of each row of a box, which has count[3] of them.
template <class T, class Visit>
MK_INLINE void for_each_row(const Boxes& b, const Box<T>& box, Visit visit) {
  for (int64_t n = 0; n < box.count[0]; ++n)
    for (int64_t d = 0; d < box.count[1]; ++d)
      for (int64_t h = 0; h < box.count[2]; ++h) {
        visit(box.source + n * box.step[0] + d * box.step[1] + h * box.step[2],
              box.result + n * b.result_step[0] + d * b.result_step[1] + h * b.result_step[2]);
      }
}

// Copies one row of a box: `count` positions from `first` on, `step` apart, of one channel or of
// all. `from` is position 0 of the row in x, or nullptr if the row is padding.
template <class T>
MK_INLINE void copy_row(const Image& x, Order order, const T* from, int64_t first, int64_t step,
                        int64_t count, int64_t pixel, T* to) {
  const auto copy_some = [&](int64_t position, int64_t number, T* at) {
    order == Order::planes ? copy(from + position, at, number)
                           : copy_pixels(x, from + position * x.stride[2], number, 1, pixel, at);
  };
  if (step == 1) {
    int64_t begin = smaller(larger(-first, 0), count);
    int64_t end = larger(smaller(x.size[2] - first, count), begin);
    if (from == nullptr) begin = end = 0;
    zero(to, begin * pixel);
    if (begin < end) copy_some(first + begin, end - begin, to + begin * pixel);
    zero(to + end * pixel, (count - end) * pixel);
  } else {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = first + i * step;
      const bool inside = from != nullptr && at >= 0 && at < x.size[2];
      inside ? copy_some(at, 1, to + i * pixel) : zero(to + i * pixel, pixel);
    }
  }
}

// Copies what the class c reads for `count` numbers from `first` on.
template <class T>
MK_INLINE void copy_box(const Image& x, const Boxes& b, const AxisClass c[3],
                        const CopyAxis axis[3], const int64_t first[4], const int64_t count[4],
                        T* to) {
  // Source position of number `i` of the copy along an axis.
  const auto position = [&](int k, int64_t i) {
    const int64_t start = c[k].in_first + first[k + 1] * c[k].in_step;
    if (!axis[k].by_tap) return start + i;
    return start + i % count[k + 1] * c[k].in_step + i / count[k + 1] * c[k].in_tap_step;
  };
  const bool planes = b.order == Order::planes;
  const int64_t pixel = planes ? 1 : b.pixel;
  const int64_t pieces = axis[2].by_tap ? c[2].taps : 1;
  const int64_t piece = axis[2].size / pieces, step = axis[2].by_tap ? c[2].in_step : 1;
  for (int64_t n = 0; n < count[0]; ++n)
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
            copy_row(x, b.order, from, position(2, i * piece), step, piece, pixel, to);
          }
        }
}

// Calls visit(Box) for each class of a box. `copy` has room for b.elements; where there is a single
// class, it may hold what this box reads already.
template <class T, class Visit>
MK_INLINE void for_each_class(const ConvArgs& a, const Boxes& b, const BoxRange& range, T* copy,
                              Visit visit, bool copied = false) {
  const Image& x = a.source;
  const int64_t* first = range.begin;
  AxisClass c[3];
  Box<T> box;
  const auto count = [&](int i) {
    const int64_t end = i == 0 || b.joined ? b.cut[i].count : c[i - 1].count;
    return smaller(range.end[i], end) - first[i];
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
        const T* source = static_cast<const T*>(x.data) + first[0] * b.source_step[0];
        CopyAxis axis[3];
        box.inside = true;
        for (int i = 0; i < 3; ++i) {
          box.taps[i] = any ? c[i].taps : 0;
          box.result += c[i].out_first * a.result.stride[i] + first[i + 1] * b.result_step[i + 1];
          source += c[i].in_first * x.stride[i] + first[i + 1] * b.source_step[i + 1];
          axis[i] = copy_axis(c[i].in_step, c[i].in_tap_step, c[i].taps, box.count[i + 1]);
          box.at[i] = c[i].in_first + first[i + 1] * c[i].in_step;
          const int64_t last = box.at[i] + (box.count[i + 1] - 1) * c[i].in_step +
                               (c[i].taps - 1) * c[i].in_tap_step;
          box.inside &= box.at[i] >= 0 && last < x.size[i];
        }
        box.inside |= b.joined;
        if (b.in_place || (b.readable && box.inside)) {
          box.source = source;
          for (int i = 0; i < 4; ++i) box.step[i] = b.source_step[i];
          for (int i = 0; i < 3; ++i) box.tap_step[i] = c[i].in_tap_step * x.stride[i];
          box.channel_step = b.order == Order::planes ? x.stride_c : 1;
        } else {
          int64_t stride = b.order == Order::planes ? 1 : b.pixel;
          for (int i = 2; i >= 0; --i) {
            box.step[i + 1] = axis[i].step * stride;
            box.tap_step[i] = axis[i].tap_step * stride;
            stride *= axis[i].size;
          }
          box.channel_step = b.order == Order::planes ? stride : 1;
          box.step[0] = b.order == Order::planes ? stride * x.c : stride;
          box.source = copy;
          box.inside = true;
          if (any && !copied) copy_box(x, b, c, axis, first, box.count, copy);
        }
        visit(box);
      }
    }
  }
}

// Lists where the taps of a box lie, and gives their number.
template <class T>
MK_INLINE int64_t list_taps(const Box<T>& box, int64_t* offsets) {
  int64_t taps = 0;
  for (int64_t d = 0; d < box.taps[0]; ++d)
    for (int64_t h = 0; h < box.taps[1]; ++h)
      for (int64_t w = 0; w < box.taps[2]; ++w)
        offsets[taps++] = d * box.tap_step[0] + h * box.tap_step[1] + w * box.tap_step[2];
  return taps;
}

}  // namespace medkern::MK_ISA
