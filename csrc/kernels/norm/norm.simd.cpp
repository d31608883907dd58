// Batch, group and instance normalization on the CPU, forward and backward.
//
//   y  = (x - mean) * rstd * weight + bias,   rstd = 1 / sqrt(var + eps)
//   dx = rstd * (g - mean(g) - xhat * mean(g * xhat)),   g = dy * weight, xhat = (x - mean) * rstd
//   dweight = sum of dy * xhat,   dbias = sum of dy
//
// With ReLU y is max(y, 0), and dy counts where y > 0: y is computed anew from x, so that nothing
// of the forward pass but x has to be kept.
//
// Forward   moments of short stretches of x, merged in float64 in a fixed order; per channel (and
//           sample) the three numbers hi, scale, shift; then y = (x - hi) * scale + shift.
// Backward  sums of dy and dy * (x - hi) likewise; then dx = k1 * dy + k2 * (x - hi) + k0.
// hi is the mean rounded to x's dtype. What it lacks goes into shift (k0), so that nothing is lost
// where the mean is far larger than the spread.
// Memory    x read twice (the stretches' second reading hits the cache), y written once; in
//           backward x and dy read twice, dx written once. The second pass goes from the end to the
//           beginning, since the end is what the caches still hold.
#include "kernels/norm/norm.h"

#include "core/parallel.h"
#include "kernels/loops.simd.h"
#include "kernels/norm/moments.h"

namespace medkern::MK_ISA {
namespace {

// Elements of a row that a task of the last pass takes.
constexpr int64_t kApplyChunk = 65536;
// Columns whose partial results one task merges.
constexpr int64_t kMergeColumns = 64;

MK_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Runs body(item) for each of 0 .. items - 1, small ones several to a task.
template <class Body>
MK_INLINE void for_items(int64_t items, int64_t elements_each, Body body) {
  const int64_t each = elements_each > 0 ? elements_each : 1;
  const int64_t per_task = ceil_div(task_elements(items * each), each);
  parallel_for(ceil_div(items, per_task), items * each, [&](int64_t task, int) {
    const int64_t end = smaller((task + 1) * per_task, items);
    for (int64_t item = task * per_task; item < end; ++item) body(item);
  });
}

// The pair of partial results of a chunk: [which][column].
MK_INLINE double* partial(double* partials, const NormCut& cut, int64_t unit, int64_t chunk) {
  return partials + (unit * cut.chunks + chunk) * 2 * cut.width;
}

// Runs body(unit, chunk, first item, number of items) for each chunk.
template <class Body>
MK_INLINE void for_chunks(const NormCut& cut, Body body) {
  for_items(cut.units * cut.chunks, smaller(cut.chunk, cut.length) * cut.width, [&](int64_t item) {
    const int64_t unit = item / cut.chunks, chunk = item % cut.chunks, first = chunk * cut.chunk;
    body(unit, chunk, unit * cut.length + first, smaller(cut.chunk, cut.length - first));
  });
}

// Folds every chunk of a unit into its first: merge(into, other, columns, covered, added), where
// `covered` items are in `into` and `added` in `other`.
template <class Merge>
MK_INLINE void merge_chunks(const NormCut& cut, double* partials, Merge merge) {
  if (cut.chunks == 1) return;
  const int64_t blocks = ceil_div(cut.width, kMergeColumns);
  const int64_t work = cut.units * cut.chunks * cut.width * 4;
  parallel_for(cut.units * blocks, work, [&](int64_t task, int) {
    const int64_t unit = task / blocks, column = task % blocks * kMergeColumns;
    const int64_t columns = smaller(kMergeColumns, cut.width - column);
    double* into = partial(partials, cut, unit, 0) + column;
    for (int64_t chunk = 1; chunk < cut.chunks; ++chunk) {
      const int64_t covered = chunk * cut.chunk;
      merge(into, partial(partials, cut, unit, chunk) + column, columns, covered,
            smaller(cut.chunk, cut.length - covered));
    }
  });
}

// Where the statistics of sample (or, over_batch, 0) and channel lie.
MK_INLINE int64_t statistic_of(const NormShape& s, int64_t sample, int64_t channel) {
  return sample * s.groups + channel / (s.c / s.groups);
}

// Samples that have coefficients of their own.
MK_INLINE int64_t coefficient_rows(const NormShape& s) { return s.over_batch ? 1 : s.n; }

// The coefficient arrays are [which][sample][channel].
template <class T>
MK_INLINE T* coefficient(double* coefficients, const NormShape& s, int which, int64_t sample) {
  return reinterpret_cast<T*>(coefficients) + (which * coefficient_rows(s) + sample) * s.c;
}

// Calls columns(offset, pixels, coefficient row) or run(offset, length, coefficient row, channel)
// over all of x, in parallel, the last first.
template <class Columns, class Run>
MK_INLINE void for_stretches(const NormShape& s, Columns columns, Run run) {
  if (s.channels_last) {
    const int64_t units = coefficient_rows(s), pixels = s.n * s.s / units;
    const int64_t chunk = ceil_div(task_elements(s.n * s.c * s.s), s.c);
    const int64_t chunks = ceil_div(pixels, chunk);
    parallel_for(units * chunks, s.n * s.c * s.s, [&](int64_t index, int) {
      const int64_t task = units * chunks - 1 - index;
      const int64_t unit = task / chunks, first = task % chunks * chunk;
      columns((unit * pixels + first) * s.c, smaller(chunk, pixels - first), unit);
    });
  } else {
    const int64_t chunks = ceil_div(s.s, kApplyChunk);
    for_items(s.n * s.c * chunks, smaller(s.s, kApplyChunk), [&](int64_t index) {
      const int64_t item = s.n * s.c * chunks - 1 - index;
      const int64_t plane = item / chunks, first = item % chunks * kApplyChunk;
      run(plane * s.s + first, smaller(kApplyChunk, s.s - first), s.over_batch ? 0 : plane / s.c,
          plane % s.c);
    });
  }
}

// The coefficients of y = (x - hi) * scale + shift, for every sample (or batch) and channel.
template <class T, class Args>
void forward_coefficients(const Args& a) {
  const NormShape& s = a.shape;
  for (int64_t n = 0; n < coefficient_rows(s); ++n) {
    T* hi = coefficient<T>(a.coefficients, s, 0, n);
    T* scale = coefficient<T>(a.coefficients, s, 1, n);
    T* shift = coefficient<T>(a.coefficients, s, 2, n);
    for (int64_t c = 0; c < s.c; ++c) {
      const int64_t i = statistic_of(s, n, c);
      const double weight = a.weight != nullptr ? static_cast<const T*>(a.weight)[c] : T(1);
      const double bias = a.bias != nullptr ? static_cast<const T*>(a.bias)[c] : T(0);
      hi[c] = static_cast<T>(a.mean[i]);
      const double factor = a.rstd[i] * weight, rest = a.mean[i] - hi[c];
      scale[c] = static_cast<T>(factor);
      shift[c] = static_cast<T>(bias - rest * factor);
    }
  }
}

// ---- forward ----

template <class T>
void moments_of_chunks(const NormForwardArgs& a) {
  const NormCut& cut = a.moments;
  const T* x = static_cast<const T*>(a.x);
  for_chunks(cut, [&](int64_t unit, int64_t chunk, int64_t first, int64_t items) {
    double* out = partial(a.partials, cut, unit, chunk);
    if (!a.shape.channels_last) {
      const Moments m = run_moments(x + first, items);
      out[0] = m.mean;
      out[1] = m.m2;
    } else {
      for_each_vector<T>(cut.width, [&](int64_t c, int64_t lanes) {
        column_moments(x + first * cut.width + c, items, cut.width, lanes, out + c,
                       out + cut.width + c);
      });
    }
  });
  merge_chunks(cut, a.partials,
               [&](double* into, const double* other, int64_t columns, int64_t na, int64_t nb) {
                 const double share = double(nb) / double(na + nb), weight = double(na) * share;
                 double *mean = into, *m2 = into + cut.width;
                 const double *other_mean = other, *other_m2 = other + cut.width;
                 for (int64_t i = 0; i < columns; ++i) {
                   const double delta = other_mean[i] - mean[i];
                   mean[i] += delta * share;
                   m2[i] += other_m2[i] + delta * delta * weight;
                 }
               });
}

// The moments of statistic i: those of its units (a contiguous batch) or columns (a group,
// channels-last) together.
Moments moments_of_statistic(const NormForwardArgs& a, int64_t i) {
  const NormShape& s = a.shape;
  const NormCut& cut = a.moments;
  const double* first;
  int64_t step = 0, members = 1;
  if (s.over_batch && s.channels_last) {
    first = a.partials + i;
  } else if (s.over_batch) {
    first = partial(a.partials, cut, i, 0);
    step = s.c * cut.chunks * 2;
    members = s.n;
  } else if (s.channels_last) {
    members = s.c / s.groups;
    first = partial(a.partials, cut, i / s.groups, 0) + i % s.groups * members;
    step = 1;
  } else {
    first = partial(a.partials, cut, i, 0);
  }
  Moments m{first[0], first[cut.width]};
  for (int64_t k = 1; k < members; ++k) {
    const double* other = first + k * step;
    m = merged(m, double(k * cut.length), {other[0], other[cut.width]}, double(cut.length));
  }
  return m;
}

template <class T>
void statistics(const NormForwardArgs& a) {
  const NormShape& s = a.shape;
  T* running_mean = static_cast<T*>(a.running_mean);
  T* running_var = static_cast<T*>(a.running_var);
  const int64_t number = coefficient_rows(s) * s.groups;
  const int64_t values = number > 0 ? s.n * s.c * s.s / number : 0;
  if (a.training && values > 0) moments_of_chunks<T>(a);
  for (int64_t i = 0; i < number; ++i) {
    if (!a.training) {
      a.mean[i] = running_mean[i];
      a.rstd[i] = 1 / __builtin_sqrt(running_var[i] + a.eps);
      continue;
    }
    const Moments m = values > 0 ? moments_of_statistic(a, i) : Moments{0, 0};
    a.mean[i] = m.mean;
    a.rstd[i] = 1 / __builtin_sqrt((values > 0 ? m.m2 / double(values) : 0) + a.eps);
    if (running_mean == nullptr || values < 2) continue;
    const double unbiased = m.m2 / double(values - 1);
    running_mean[i] = T((1 - a.momentum) * running_mean[i] + a.momentum * m.mean);
    running_var[i] = T((1 - a.momentum) * running_var[i] + a.momentum * unbiased);
  }
}

template <class T>
void forward_of(const NormForwardArgs& a) {
  using V = Vec<T>;
  const NormShape& s = a.shape;
  const V least(a.relu ? T(0) : T(-__builtin_inf()));
  statistics<T>(a);
  if (s.n * s.c * s.s == 0) return;

  forward_coefficients<T>(a);
  const T* x = static_cast<const T*>(a.x);
  T* y = static_cast<T*>(a.y);
  for_stretches(
      s,
      [&](int64_t at, int64_t pixels, int64_t row) {
        const T* hi = coefficient<T>(a.coefficients, s, 0, row);
        const T* scale = coefficient<T>(a.coefficients, s, 1, row);
        const T* shift = coefficient<T>(a.coefficients, s, 2, row);
        for (int64_t p = 0; p < pixels; ++p, at += s.c) {
          for_each_vector<T>(s.c, [&](int64_t c, int64_t lanes) {
            const V d = load_lanes(x + at + c, lanes) - load_lanes(hi + c, lanes);
            const V value = fma(d, load_lanes(scale + c, lanes), load_lanes(shift + c, lanes));
            store_lanes(max(value, least), y + at + c, lanes);
          });
        }
      },
      [&](int64_t at, int64_t length, int64_t row, int64_t channel) {
        const V hi(coefficient<T>(a.coefficients, s, 0, row)[channel]);
        const V scale(coefficient<T>(a.coefficients, s, 1, row)[channel]);
        const V shift(coefficient<T>(a.coefficients, s, 2, row)[channel]);
        for_each_vector<T>(length, [&](int64_t i, int64_t lanes) {
          const V value = fma(load_lanes(x + at + i, lanes) - hi, scale, shift);
          store_lanes(max(value, least), y + at + i, lanes);
        });
      });
}

// ---- backward ----

// dy where y > 0, for d = x - hi; all of it without ReLU.
template <bool kRelu, class T>
MK_INLINE Vec<T> passed(Vec<T> dy, Vec<T> d, Vec<T> scale, Vec<T> shift) {
  return kRelu ? select<T>(fma(d, scale, shift) > Vec<T>::zero(), dy, Vec<T>::zero()) : dy;
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
        Sum4<T> g, gx;
        for_each_row4(items, [&](int64_t r, int k) {
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
  for_stretches(
      s,
      [&](int64_t at, int64_t pixels, int64_t row) {
        const T* of[6];
        for (int i = 0; i < 6; ++i) of[i] = coefficient<T>(a.coefficients, s, i, row);
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
            store_lanes(result, dx + at + c, lanes);
          });
        }
      },
      [&](int64_t at, int64_t length, int64_t row, int64_t channel) {
        V of[6];
        for (int i = 0; i < 6; ++i) of[i] = V(coefficient<T>(a.coefficients, s, i, row)[channel]);
        for_each_vector<T>(length, [&](int64_t i, int64_t lanes) {
          const V d = kRelu || !kConstant ? load_lanes(x + at + i, lanes) - of[0] : V::zero();
          V result = of[3] * passed<kRelu>(load_lanes(dy + at + i, lanes), d, of[1], of[2]);
          if (!kConstant) result += fma(of[4], d, of[5]);
          store_lanes(result, dx + at + i, lanes);
        });
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

void forward(const NormForwardArgs& a) {
  a.shape.dtype == Dtype::f32 ? forward_of<float>(a) : forward_of<double>(a);
}

void backward(const NormBackwardArgs& a) {
  a.shape.dtype == Dtype::f32 ? backward_of<float>(a) : backward_of<double>(a);
}

}  // namespace

extern const NormKernels norm_kernels;
constinit const NormKernels norm_kernels = {
    .forward = forward,
    .backward = backward,
};

}  // namespace medkern::MK_ISA
