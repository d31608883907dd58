// Layer normalization on the CPU, forward and backward: rows of `width` contiguous elements.
//
//   y  = (x - mean) * rstd * weight + bias
//   dx = rstd * (g - mean(g) - xhat * mean(g * xhat)),   g = dy * weight, xhat = (x - mean) * rstd
//   dweight = sum over rows of dy * xhat,   dbias = sum over rows of dy
//
// One task takes whole rows, each read for its statistics and again for the result. dweight and
// dbias are cut by columns; float32 sums of kRowChunk rows are added up in float64. The mean is
// used as in norm.simd.cpp.
#include "core/parallel.h"
#include "kernels/norm/moments.h"
#include "kernels/norm/norm.h"

namespace medkern::MK_ISA {
namespace {

constexpr int64_t kTaskElements = 8192;
constexpr int64_t kRowChunk = 128;

// Runs body(row) for every row, short ones several to a task.
template <class Body>
MK_INLINE void for_rows(const LayerNormArgs& a, Body body) {
  const int64_t width = a.width > 0 ? a.width : 1;
  const int64_t per_task = width < kTaskElements ? kTaskElements / width : 1;
  parallel_for((a.rows + per_task - 1) / per_task, a.rows * width, [&](int64_t task, int) {
    const int64_t end = smaller((task + 1) * per_task, a.rows);
    for (int64_t row = task * per_task; row < end; ++row) body(row);
  });
}

template <class T>
MK_INLINE Vec<T> load_or(const void* p, int64_t i, int64_t lanes, T otherwise) {
  return p != nullptr ? load_lanes(static_cast<const T*>(p) + i, lanes) : Vec<T>(otherwise);
}

template <class T>
void forward_of(const LayerNormArgs& a) {
  using V = Vec<T>;
  for_rows(a, [&](int64_t row) {
    const T* x = static_cast<const T*>(a.x) + row * a.width;
    T* y = static_cast<T*>(a.y) + row * a.width;
    Moments m{0, 0};
    for (int64_t i = 0; i < a.width; i += kNormRunChunk) {
      const int64_t n = smaller(kNormRunChunk, a.width - i);
      m = merged(m, double(i), run_moments(x + i, n), double(n));
    }
    const double rstd = 1 / __builtin_sqrt((a.width > 0 ? m.m2 / double(a.width) : 0) + a.eps);
    a.mean[row] = m.mean;
    a.rstd[row] = rstd;
    const T hi = static_cast<T>(m.mean);
    const V center(hi), scale(static_cast<T>(rstd)), shift(static_cast<T>((hi - m.mean) * rstd));
    for_each_vector<T>(a.width, [&](int64_t i, int64_t lanes) {
      V value = fma(load_lanes(x + i, lanes) - center, scale, shift);
      if (a.weight != nullptr) value *= load_or<T>(a.weight, i, lanes, 1);
      if (a.bias != nullptr) value += load_or<T>(a.bias, i, lanes, 0);
      store_lanes(value, y + i, lanes);
    });
  });
}

template <class T>
void input_gradient(const LayerNormArgs& a) {
  using V = Vec<T>;
  for_rows(a, [&](int64_t row) {
    const T* x = static_cast<const T*>(a.x) + row * a.width;
    const T* dy = static_cast<const T*>(a.dy) + row * a.width;
    T* dx = static_cast<T*>(a.dx) + row * a.width;
    const T hi = static_cast<T>(a.mean[row]);
    const V center(hi);
    double sum_g = 0, sum_gx = 0;  // of g and of g * (x - hi)
    for (int64_t first = 0; first < a.width; first += kNormRunChunk) {
      Sum4<T> g, gx;
      const int64_t n = smaller(kNormRunChunk, a.width - first);
      const int64_t vectors = n / V::kLanes, rest = vectors * V::kLanes;
      const auto add = [&](int64_t i, int64_t lanes, int k) {
        const V value = load_lanes(dy + i, lanes) * load_or<T>(a.weight, i, lanes, 1);
        g.part[k] += value;
        gx.part[k] = fma(value, load_lanes(x + i, lanes) - center, gx.part[k]);
      };
      for_each_row4(vectors, [&](int64_t v, int k) { add(first + v * V::kLanes, V::kLanes, k); });
      if (rest < n) add(first + rest, n - rest, 0);
      sum_g += sum(g.total());
      sum_gx += sum(gx.total());
    }
    const double rstd = a.rstd[row], mean_rest = a.mean[row] - hi;
    sum_gx -= mean_rest * sum_g;
    const double slope = -rstd * rstd * rstd * sum_gx / double(a.width);
    const V k1(static_cast<T>(rstd)), k2(static_cast<T>(slope));
    const V k0(static_cast<T>(-rstd * sum_g / double(a.width) - slope * mean_rest));
    for_each_vector<T>(a.width, [&](int64_t i, int64_t lanes) {
      const V g = load_lanes(dy + i, lanes) * load_or<T>(a.weight, i, lanes, 1);
      store_lanes(fma(k1, g, fma(k2, load_lanes(x + i, lanes) - center, k0)), dx + i, lanes);
    });
  });
}

template <class T>
void parameter_gradients(const LayerNormArgs& a) {
  using V = Vec<T>;
  constexpr int64_t kLanes = V::kLanes;
  const T* x = static_cast<const T*>(a.x);
  const T* dy = static_cast<const T*>(a.dy);
  const int64_t blocks = (a.width + kLanes - 1) / kLanes;
  parallel_for(blocks, a.rows * a.width, [&](int64_t block, int) {
    const int64_t c = block * kLanes, lanes = smaller(kLanes, a.width - c);
    double of_weight[kLanes] = {}, of_bias[kLanes] = {};
    for (int64_t first = 0; first < a.rows; first += kRowChunk) {
      V g = V::zero(), gx = V::zero();
      for (int64_t r = first; r < smaller(first + kRowChunk, a.rows); ++r) {
        const T hi = static_cast<T>(a.mean[r]);
        const V scale(static_cast<T>(a.rstd[r]));
        const V shift(static_cast<T>((hi - a.mean[r]) * a.rstd[r]));
        const V d = load_lanes(dy + r * a.width + c, lanes);
        g += d;
        gx = fma(d, fma(load_lanes(x + r * a.width + c, lanes) - V(hi), scale, shift), gx);
      }
      for (int64_t i = 0; i < lanes; ++i) {
        of_bias[i] += g[i];
        of_weight[i] += gx[i];
      }
    }
    for (int64_t i = 0; i < lanes; ++i) {
      if (a.dweight != nullptr) static_cast<T*>(a.dweight)[c + i] = static_cast<T>(of_weight[i]);
      if (a.dbias != nullptr) static_cast<T*>(a.dbias)[c + i] = static_cast<T>(of_bias[i]);
    }
  });
}

template <class T>
void backward_of(const LayerNormArgs& a) {
  if (a.dx != nullptr) input_gradient<T>(a);
  if (a.dweight != nullptr || a.dbias != nullptr) parameter_gradients<T>(a);
}

void forward(const LayerNormArgs& a) {
  a.dtype == Dtype::f32 ? forward_of<float>(a) : forward_of<double>(a);
}

void backward(const LayerNormArgs& a) {
  a.dtype == Dtype::f32 ? backward_of<float>(a) : backward_of<double>(a);
}

int64_t partials(int64_t, int64_t) { return 0; }

}  // namespace

extern const LayerNormKernels layer_norm_kernels;
constinit const LayerNormKernels layer_norm_kernels = {
    .partials = partials,
    .forward = forward,
    .backward = backward,
};

}  // namespace medkern::MK_ISA
