// Batch, group and instance normalization on the CPU. The backward pass: norm_backward.simd.cpp.
//
//   y = (x - mean) * rstd * weight + bias,   rstd = 1 / sqrt(var + eps)
//
// With ReLU y is max(y, 0).
//
// Moments of short stretches of x, merged in float64 in a fixed order; per channel (and sample) the
// three numbers hi, scale, shift; then y = (x - hi) * scale + shift. hi is the mean rounded to x's
// dtype. What it lacks goes into shift, so that nothing is lost where the mean is far larger than
// the spread.
// Memory    x read twice (the stretches' second reading hits the cache), y written once, large ones
//           streamed. The second pass goes from the end to the beginning, since the end is what the
//           caches still hold.
#include "kernels/norm/stretches.h"

namespace medkern::MK_ISA {

void norm_backward(const NormBackwardArgs& a);

namespace {

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
        const T* next = x + (first + items) * cut.width + c * items;
        column_moments(x + first * cut.width + c, items, cut.width, lanes, next, out + c,
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
  const int64_t bytes = 2 * s.n * s.c * s.s * int64_t{sizeof(T)};
  for_stretches(
      s,
      [&](int64_t at, int64_t pixels, int64_t row) {
        const T* hi = coefficient<T>(a.coefficients, s, 0, row);
        const T* scale = coefficient<T>(a.coefficients, s, 1, row);
        const T* shift = coefficient<T>(a.coefficients, s, 2, row);
        const bool streams = s.c % V::kLanes == 0 && may_stream(y, bytes);
        for (int64_t p = 0; p < pixels; ++p, at += s.c) {
          for_each_vector<T>(s.c, [&](int64_t c, int64_t lanes) {
            const V d = load_lanes(x + at + c, lanes) - load_lanes(hi + c, lanes);
            const V value = fma(d, load_lanes(scale + c, lanes), load_lanes(shift + c, lanes));
            put(max(value, least), y + at + c, lanes, streams);
          });
        }
        if (streams) end_stream();
      },
      [&](int64_t at, int64_t length, int64_t row, int64_t channel) {
        const V hi(coefficient<T>(a.coefficients, s, 0, row)[channel]);
        const V scale(coefficient<T>(a.coefficients, s, 1, row)[channel]);
        const V shift(coefficient<T>(a.coefficients, s, 2, row)[channel]);
        const bool streams = may_stream(y + at, bytes);
        for_each_vector<T>(length, [&](int64_t i, int64_t lanes) {
          const V value = fma(load_lanes(x + at + i, lanes) - hi, scale, shift);
          put(max(value, least), y + at + i, lanes, streams);
        });
        if (streams) end_stream();
      });
}

void forward(const NormForwardArgs& a) {
  a.shape.dtype == Dtype::f32 ? forward_of<float>(a) : forward_of<double>(a);
}

int64_t rows_of_chunk(Dtype, int64_t, int64_t) { return kNormColumnChunk; }

}  // namespace

extern const NormKernels norm_kernels;
constinit const NormKernels norm_kernels = {
    .takes_moments = false,
    .rows_of_chunk = rows_of_chunk,
    .forward = forward,
    .backward = norm_backward,
};

}  // namespace medkern::MK_ISA
