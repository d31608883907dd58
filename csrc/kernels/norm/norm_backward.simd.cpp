// The gradients of batch, group and instance normalization on the CPU.
//
//   dx = rstd * (g - mean(g) - xhat * mean(g * xhat)),   g = dy * weight, xhat = (x - mean) * rstd
//   dweight = sum of dy * xhat,   dbias = sum of dy
//
// With ReLU dy counts where y > 0: y is computed anew from x, so that nothing of the forward pass
// but x has to be kept.
//
// Sums of dy and dy * (x - hi) over short stretches, merged in float64 in a fixed order; then dx =
// k1 * dy + k2 * (x - hi) + k0. hi is the mean rounded to x's dtype; what it lacks goes into k0.
// Memory    x and dy read twice, dx written once, large ones streamed. The second pass goes from
// the
//           end to the beginning, since the end is what the caches still hold.
#include "kernels/norm/stretches.h"

namespace medkern::MK_ISA {
namespace {

// dy where y > 0, for d = x - hi; all of it without ReLU.
template <bool kRelu, class T>
MK_INLINE Vec<T> passed(Vec<T> dy, Vec<T> d, Vec<T> scale, Vec<T> shift) {
  if (!kRelu) return dy;
  return select<T>(fma(d, scale, shift) > Vec<T>::zero(), in_register(dy), Vec<T>::zero());
}

// Per unit and column: sums of dy and of dy * (x - hi).
template <bool kRelu, class T>
void sums_of_chunks(const NormBackwardArgs& a) {
  using V = Vec<T>;
  const NormShape& s = a.shape;
  const NormCut& cut = a.sums;
  const T* x = static_cast<const T*>(a.x);
  const T* dy = static_cast<const T*>(a.dy);
  for_chunks(cut, [&](int64_t unit, int64_t chunk, int64_t first, int64_t items) {
    double* out = partial(a.partials, cut, unit, chunk);
    const int64_t row = s.channels_last ? unit : s.over_batch ? 0 : unit / s.c;
    const T* hi = coefficient<T>(a.coefficients, s, 0, row);
    const T* scale = coefficient<T>(a.coefficients, s, 1, row);
    const T* shift = coefficient<T>(a.coefficients, s, 2, row);
    if (!s.channels_last) {
      const V center(hi[unit % s.c]), factor(scale[unit % s.c]), offset(shift[unit % s.c]);
      Sum4<T> g, gx;
      const int64_t vectors = items / V::kLanes, rest = vectors * V::kLanes;
      const auto add = [&](int64_t i, int64_t lanes, int k) {
        const V d = load_lanes(x + first + i, lanes) - center;
        const V gradient = passed<kRelu>(load_lanes(dy + first + i, lanes), d, factor, offset);
        g.part[k] += gradient;
        gx.part[k] = fma(gradient, d, gx.part[k]);
      };
      for_each_row4(vectors, [&](int64_t v, int k) { add(v * V::kLanes, V::kLanes, k); });
      if (rest < items) add(rest, items - rest, 0);
      out[0] = sum(g.total());
      out[1] = sum(gx.total());
    } else {
      for_each_vector<T>(s.c, [&](int64_t c, int64_t lanes) {
        const V center = load_lanes(hi + c, lanes);
        const V factor = load_lanes(scale + c, lanes), offset = load_lanes(shift + c, lanes);
        const T *x_at = x + first * s.c + c, *dy_at = dy + first * s.c + c;
        const int64_t next = (first + items) * s.c + c * items;
        Sum4<T> g, gx;
        for_each_row4(items, [&](int64_t r, int k) {
          __builtin_prefetch(x + next + r * V::kLanes);
          __builtin_prefetch(dy + next + r * V::kLanes);
          const V d = load_lanes(x_at + r * s.c, lanes) - center;
          const V gradient = passed<kRelu>(load_lanes(dy_at + r * s.c, lanes), d, factor, offset);
          g.part[k] += gradient;
          gx.part[k] = fma(gradient, d, gx.part[k]);
        });
        const V g_total = g.total(), gx_total = gx.total();
        for (int64_t i = 0; i < lanes; ++i) {
          out[c + i] = g_total[i];
          out[s.c + c + i] = gx_total[i];
        }
      });
    }
  });
  const auto add = [&](double* into, const double* other, int64_t columns) {
    for (int64_t i = 0; i < columns; ++i) {
      into[i] += other[i];
      into[cut.width + i] += other[cut.width + i];
    }
  };
  merge_chunks(cut, a.partials,
               [&](double* into, const double* other, int64_t columns, int64_t, int64_t) {
                 add(into, other, columns);
               });
  if (s.over_batch && !s.channels_last) {  // the units of a channel are its samples
    for (int64_t unit = s.c; unit < cut.units; ++unit)
      add(partial(a.partials, cut, unit % s.c, 0), partial(a.partials, cut, unit, 0), 1);
  }
}

// dx = k1 * dy + k2 * (x - hi) + k0, with dy where y > 0 only if there is ReLU. Of constant
// statistics x has no part in dx, not even where it is NaN.
template <bool kRelu, bool kConstant, class T>
void input_gradient(const NormBackwardArgs& a) {
  using V = Vec<T>;
  const NormShape& s = a.shape;
  const T* x = static_cast<const T*>(a.x);
  const T* dy = static_cast<const T*>(a.dy);
  T* dx = static_cast<T*>(a.dx);
  const int64_t bytes = 3 * s.n * s.c * s.s * int64_t{sizeof(T)};
  for_stretches(
      s,
      [&](int64_t at, int64_t pixels, int64_t row) {
        const T* of[6];
        for (int i = 0; i < 6; ++i) of[i] = coefficient<T>(a.coefficients, s, i, row);
        const bool streams = s.c % V::kLanes == 0 && may_stream(dx, bytes);
        for (int64_t p = 0; p < pixels; ++p, at += s.c) {
          for_each_vector<T>(s.c, [&](int64_t c, int64_t lanes) {
            const V d = kRelu || !kConstant
                            ? load_lanes(x + at + c, lanes) - load_lanes(of[0] + c, lanes)
                            : V::zero();
            const V gradient =
                passed<kRelu>(load_lanes(dy + at + c, lanes), d, load_lanes(of[1] + c, lanes),
                              load_lanes(of[2] + c, lanes));
            V result = load_lanes(of[3] + c, lanes) * gradient;
            if (!kConstant) {
              result += fma(load_lanes(of[4] + c, lanes), d, load_lanes(of[5] + c, lanes));
            }
            put(result, dx + at + c, lanes, streams);
          });
        }
        if (streams) end_stream();
      },
      [&](int64_t at, int64_t length, int64_t row, int64_t channel) {
        V of[6];
        for (int i = 0; i < 6; ++i) of[i] = V(coefficient<T>(a.coefficients, s, i, row)[channel]);
        const bool streams = may_stream(dx + at, bytes);
        for_each_vector<T>(length, [&](int64_t i, int64_t lanes) {
          const V d = kRelu || !kConstant ? load_lanes(x + at + i, lanes) - of[0] : V::zero();
          V result = of[3] * passed<kRelu>(load_lanes(dy + at + i, lanes), d, of[1], of[2]);
          if (!kConstant) result += fma(of[4], d, of[5]);
          put(result, dx + at + i, lanes, streams);
        });
        if (streams) end_stream();
      });
}

template <class T>
void backward_of(const NormBackwardArgs& a) {
  const NormShape& s = a.shape;
  const int64_t rows = coefficient_rows(s), per_group = s.groups > 0 ? s.c / s.groups : 0;
  T* dweight = static_cast<T*>(a.dweight);
  T* dbias = static_cast<T*>(a.dbias);
  if (s.n * s.s == 0) {
    for (int64_t c = 0; c < s.c; ++c) {
      if (dweight != nullptr) dweight[c] = 0;
      if (dbias != nullptr) dbias[c] = 0;
    }
  }
  if (s.n * s.c * s.s == 0) return;

  const auto mean_rest = [&](int64_t i) { return a.mean[i] - static_cast<T>(a.mean[i]); };
  forward_coefficients<T>(a);
  a.relu ? sums_of_chunks<true, T>(a) : sums_of_chunks<false, T>(a);

  // The sums of dy and of dy * (x - mean), for sample (or batch) n and channel c.
  const auto sum_dy = [&](int64_t n, int64_t c) -> double* {
    return s.channels_last ? partial(a.partials, a.sums, n, 0) + c
                           : partial(a.partials, a.sums, n * s.c + c, 0);
  };
  for (int64_t n = 0; n < rows; ++n)
    for (int64_t c = 0; c < s.c; ++c) {
      double* of = sum_dy(n, c);
      of[a.sums.width] -= mean_rest(statistic_of(s, n, c)) * of[0];
    }
  for (int64_t c = 0; c < s.c; ++c) {
    double of_weight = 0, of_bias = 0;
    for (int64_t n = 0; n < rows; ++n) {
      const double* of = sum_dy(n, c);
      of_weight += of[a.sums.width] * a.rstd[statistic_of(s, n, c)];
      of_bias += of[0];
    }
    if (dweight != nullptr) dweight[c] = static_cast<T>(of_weight);
    if (dbias != nullptr) dbias[c] = static_cast<T>(of_bias);
  }
  if (a.dx == nullptr) return;

  const double values = double(s.n * s.c * s.s) / double(rows * s.groups);
  for (int64_t n = 0; n < rows; ++n) {
    T* k1 = coefficient<T>(a.coefficients, s, 3, n);
    T* k2 = coefficient<T>(a.coefficients, s, 4, n);
    T* k0 = coefficient<T>(a.coefficients, s, 5, n);
    for (int64_t group = 0; group < s.groups; ++group) {
      const int64_t i = n * s.groups + group;
      const double rstd = a.rstd[i];
      const auto weight = [&](int64_t c) -> double {
        return a.weight != nullptr ? static_cast<const T*>(a.weight)[c] : T(1);
      };
      double g = 0, gx = 0;
      for (int64_t c = group * per_group; c < (group + 1) * per_group; ++c) {
        g += weight(c) * sum_dy(n, c)[0];
        gx += weight(c) * sum_dy(n, c)[a.sums.width];
      }
      const double slope = -rstd * rstd * rstd * gx / values;
      const double offset = -rstd * g / values - slope * mean_rest(i);
      for (int64_t c = group * per_group; c < (group + 1) * per_group; ++c) {
        k1[c] = static_cast<T>(rstd * weight(c));
        k2[c] = static_cast<T>(slope);
        k0[c] = static_cast<T>(offset);
      }
    }
  }

  const auto gradient =
      a.relu ? (a.training ? input_gradient<true, false, T> : input_gradient<true, true, T>)
             : (a.training ? input_gradient<false, false, T> : input_gradient<false, true, T>);
  gradient(a);
}

}  // namespace

void norm_backward(const NormBackwardArgs& a) {
  a.shape.dtype == Dtype::f32 ? backward_of<float>(a) : backward_of<double>(a);
}

}  // namespace medkern::MK_ISA
