// Cross-entropy of logits on the CPU, forward and backward.
//
//   p = softmax(x),  a[c] = (1 - e) w[t] [c = t] + e / C w[c],  a = sum of a[c]
//   loss = -sum of a[c] log p[c] = a log(s) - sum of a[c] (x[c] - m),  s = sum of exp(x - m), m =
//   max x dx[c] = scale dloss (a p[c] - a[c])
//
// Strip by strip or row by row (strips.h); backward computes p anew, which costs no more
// exponentials than keeping log(s) would. Losses and weights are summed in float64, per task in the
// order of elements.
#include "kernels/softmax/softmax.h"
#include "kernels/softmax/strips.h"

namespace medkern::MK_ISA {
namespace {

MK_INLINE int64_t target_of(const CrossEntropyArgs& a, int64_t element) {
  if (a.target_dtype == Dtype::i64) return static_cast<const int64_t*>(a.target)[element];
  if (a.target_dtype == Dtype::i32) return static_cast<const int32_t*>(a.target)[element];
  return static_cast<const uint8_t*>(a.target)[element];
}

template <class T>
MK_INLINE T weight_of(const CrossEntropyArgs& a, int64_t c) {
  return a.weight != nullptr ? static_cast<const T*>(a.weight)[c] : T(1);
}

// e / C, and its product with the sum of all weights.
template <class T>
struct Smoothing {
  double each, all;
};

template <class T>
MK_INLINE Smoothing<T> smoothing_of(const CrossEntropyArgs& a) {
  const double each = a.smoothing / double(a.shape.axis);
  double sum = 0;
  if (each != 0) {
    for (int64_t c = 0; c < a.shape.axis; ++c) sum += weight_of<T>(a, c);
  }
  return {each, each * sum};
}

// Of one element: its target, and (1 - e) w[t]. Ignored ones have target -1.
struct Label {
  int64_t target;
  double weight, share;
};

template <class T>
MK_INLINE Label label_of(const CrossEntropyArgs& a, int64_t element) {
  const int64_t t = target_of(a, element);
  if (t == a.ignore_index) return {-1, 0, 0};
  const double weight = weight_of<T>(a, t);
  return {t, weight, (1 - a.smoothing) * weight};
}

int64_t partials(const SoftmaxShape& s) { return s.tasks; }

// Adds up what the tasks have summed.
template <class T>
void reduce(const CrossEntropyArgs& a) {
  double losses = 0, weights = 0;
  for (int64_t task = 0; task < a.shape.tasks; ++task) {
    losses += a.partials[2 * task];
    weights += a.partials[2 * task + 1];
  }
  *a.total_weight = weights;
  if (a.loss == nullptr) return;
  if (a.mean) losses = weights != 0 ? losses / weights : 0;
  *static_cast<T*>(a.loss) = static_cast<T>(losses);
}

template <class T>
void forward_of(const CrossEntropyArgs& a) {
  using V = Vec<T>;
  constexpr int64_t kLanes = V::kLanes;
  const SoftmaxShape& s = a.shape;
  const Smoothing<T> smooth = smoothing_of<T>(a);
  T* losses = static_cast<T*>(a.losses);
  for_blocks(s, [&](int64_t task, int64_t begin, int64_t end) {
    double loss_sum = 0, weight_sum = 0;
    // The element's loss, given log(s), x[t] - m and the weighted sum of x - m.
    const auto add = [&](int64_t element, const Label& label, double log_s, double x_t,
                         double weighted) {
      const double loss = label.target < 0
                              ? 0
                              : (label.share + smooth.all) * log_s - label.share * x_t -
                                    (smooth.each != 0 ? smooth.each * weighted : 0);
      if (losses != nullptr) losses[element] = static_cast<T>(loss);
      loss_sum += loss;
      weight_sum += label.weight;
    };
    if (has_long_rows(s)) {
      for (int64_t i = begin; i < end; ++i) {
        const Label label = label_of<T>(a, i);
        const T* x = static_cast<const T*>(a.logits) + i * s.axis;
        const T m = row_max(x, s.axis);
        const double sum = row_sum<T>(
            s.axis, [&](int64_t c, int64_t lanes) { return exp(load_lanes(x + c, lanes) - V(m)); });
        double weighted = 0;
        if (smooth.each != 0) {
          weighted = row_sum<T>(s.axis, [&](int64_t c, int64_t lanes) {
            const V d = load_lanes(x + c, lanes) - V(m);
            return a.weight != nullptr ? d * load_lanes(static_cast<const T*>(a.weight) + c, lanes)
                                       : d;
          });
        }
        const double x_t = label.target < 0 ? 0 : x[label.target] - m;
        add(i, label, __builtin_log(sum), x_t, weighted);
      }
    } else {
      Tile<T> tile;
      for (int64_t i = begin; i < end; i += kLanes) {
        const int64_t lanes = smaller(kLanes, end - i);
        const Strip<T> x = strip_at<T>(s, a.logits, i, lanes, tile);
        const V m = strip_max(x);
        const V log_s = log(strip_sum<T>(s.axis, [&](int64_t c) { return exp(x.load(c) - m); }));
        V weighted = V::zero();
        if (smooth.each != 0) {
          weighted = strip_sum<T>(
              s.axis, [&](int64_t c) { return (x.load(c) - m) * V(weight_of<T>(a, c)); });
        }
        for (int64_t k = 0; k < lanes; ++k) {
          const Label label = label_of<T>(a, i + k);
          const T x_t = label.target < 0 ? T(0) : x.data[label.target * x.stride + k] - m[k];
          add(i + k, label, log_s[k], x_t, weighted[k]);
        }
      }
    }
    a.partials[2 * task] = loss_sum;
    a.partials[2 * task + 1] = weight_sum;
  });
  reduce<T>(a);
}

template <class T>
void backward_of(const CrossEntropyArgs& a) {
  using V = Vec<T>;
  constexpr int64_t kLanes = V::kLanes;
  const SoftmaxShape& s = a.shape;
  const Smoothing<T> smooth = smoothing_of<T>(a);
  const T* dloss = static_cast<const T*>(a.dloss);
  const double total = *a.total_weight;
  const double scale = !a.mean ? 1 : total != 0 ? 1 / total : 0;
  const auto scale_of = [&](int64_t element) {
    return scale * dloss[a.dloss_per_element ? element : 0];
  };
  for_blocks(s, [&](int64_t, int64_t begin, int64_t end) {
    if (has_long_rows(s)) {
      for (int64_t i = begin; i < end; ++i) {
        const Label label = label_of<T>(a, i);
        const T* x = static_cast<const T*>(a.logits) + i * s.axis;
        T* dx = static_cast<T*>(a.dlogits) + i * s.axis;
        if (label.target < 0) {
          for_each_vector<T>(
              s.axis, [&](int64_t c, int64_t lanes) { store_lanes(V::zero(), dx + c, lanes); });
          continue;
        }
        const V m(row_max(x, s.axis));
        const double sum = row_sum<T>(s.axis, [&](int64_t c, int64_t lanes) {
          const V e = exp(load_lanes(x + c, lanes) - m);
          store_lanes(e, dx + c, lanes);
          return e;
        });
        const double scale = scale_of(i);
        const V factor(static_cast<T>(scale * (label.share + smooth.all) / sum));
        const V each(static_cast<T>(scale * smooth.each));
        for_each_vector<T>(s.axis, [&](int64_t c, int64_t lanes) {
          V value = load_lanes(dx + c, lanes) * factor;
          if (smooth.each != 0) {
            const T* weight = static_cast<const T*>(a.weight);
            value = value - (weight != nullptr ? each * load_lanes(weight + c, lanes) : each);
          }
          store_lanes(value, dx + c, lanes);
        });
        dx[label.target] -= static_cast<T>(scale * label.share);
      }
      return;
    }
    Tile<T> in, out;
    for (int64_t i = begin; i < end; i += kLanes) {
      const int64_t lanes = smaller(kLanes, end - i);
      const Strip<T> x = strip_at<T>(s, a.logits, i, lanes, in);
      const Target<T> dx = target_at<T>(s, a.dlogits, i, lanes, out);
      const V m = strip_max(x);
      const V sum = strip_sum<T>(s.axis, [&](int64_t c) {
        const V e = exp(x.load(c) - m);
        dx.store(c, e);
        return e;
      });
      Label labels[kLanes];
      V factor = V::zero(), each = V::zero(), used = V::zero();
      for (int64_t k = 0; k < lanes; ++k) {
        labels[k] = label_of<T>(a, i + k);
        if (labels[k].target < 0) continue;
        const double scale = scale_of(i + k);
        used.v[k] = 1;
        factor.v[k] = static_cast<T>(scale * (labels[k].share + smooth.all) / sum[k]);
        each.v[k] = static_cast<T>(scale * smooth.each);
        labels[k].share *= scale;
      }
      for (int64_t c = 0; c < s.axis; ++c) {
        V value = dx.load(c) * factor;
        if (smooth.each != 0) value = value - each * V(weight_of<T>(a, c));
        dx.store(c, select<T>(used.v != 0, value, V::zero()));
      }
      for (int64_t k = 0; k < lanes; ++k) {
        if (labels[k].target < 0) continue;
        dx.data[labels[k].target * dx.stride + k] -= static_cast<T>(labels[k].share);
      }
      finish<T>(s, a.dlogits, i, lanes, out);
    }
  });
}

void forward(const CrossEntropyArgs& a) {
  a.shape.dtype == Dtype::f32 ? forward_of<float>(a) : forward_of<double>(a);
}

void backward(const CrossEntropyArgs& a) {
  a.shape.dtype == Dtype::f32 ? backward_of<float>(a) : backward_of<double>(a);
}

}  // namespace

extern const CrossEntropyKernels cross_entropy_kernels;
constinit const CrossEntropyKernels cross_entropy_kernels = {
    .check_targets = false,
    .partials = partials,
    .forward = forward,
    .backward = backward,
};

}  // namespace medkern::MK_ISA
