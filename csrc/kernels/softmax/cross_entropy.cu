// Cross-entropy of logits on CUDA, forward and backward.
//
//   p = softmax(x),  a[c] = (1 - e) w[t] [c = t] + e / C w[c],  a = sum of a[c]
//   loss = -sum of a[c] log p[c] = a log(s) - sum of a[c] (x[c] - m),  s = sum of exp(x - m), m =
//   max x dx[c] = scale dloss (a p[c] - a[c])
//
// Order and memory as softmax.cuh says; backward computes p anew. Losses and weights are summed in
// float64: by threads, blocks, and then by one block over all, in an order that depends on the
// shape alone. A target outside the classes is reported and counts as one to be ignored.
#include "kernels/softmax/softmax.cuh"

namespace medkern::cuda {

// Of one element: its target, w[t] and (1 - e) w[t]. Ignored ones have target -1.
struct Label {
  int32_t target;
  double weight, share;
};

template <class T>
MK_INLINE T class_weight(const CrossEntropyKernelArgs& a, uint32_t c) {
  return a.weight != nullptr ? static_cast<const T*>(a.weight)[c] : T(1);
}

template <class T>
MK_INLINE Label label_of(const CrossEntropyKernelArgs& a, int64_t element) {
  const int64_t t = a.target_bytes == 8   ? static_cast<const int64_t*>(a.target)[element]
                    : a.target_bytes == 4 ? static_cast<const int32_t*>(a.target)[element]
                                          : static_cast<const uint8_t*>(a.target)[element];
  if (t == a.ignore_index) return {-1, 0, 0};
  if (t < 0 || t >= a.softmax.axis) {
    *a.fault = a.fault_number;
    return {-1, 0, 0};
  }
  const double weight = class_weight<T>(a, static_cast<uint32_t>(t));
  return {static_cast<int32_t>(t), weight, (1 - a.smoothing) * weight};
}

// What a loss is made of: s, and, where there is smoothing, the sums of w (x - m) and of w.
enum { kSum, kWeighted, kWeights, kTerms };

template <class T>
MK_INLINE void add_term(const CrossEntropyKernelArgs& a, T x, T m, uint32_t c,
                        double (&terms)[kTerms]) {
  terms[kSum] += exp(x - m);
  if (a.smoothing_each == 0) return;
  const T weight = class_weight<T>(a, c);
  terms[kWeighted] += weight * (x - m);
  terms[kWeights] += weight;
}

// Losses and weights of a thread's elements.
struct LossSums {
  double of[2] = {0, 0};

  // x_t is x[t] - m.
  template <class T>
  MK_INLINE void add(const CrossEntropyKernelArgs& a, int64_t element, const Label& label, T x_t,
                     const double (&terms)[kTerms]) {
    double loss = 0;
    if (label.target >= 0) {
      loss =
          (label.share + a.smoothing_each * terms[kWeights]) * log(terms[kSum]) - label.share * x_t;
      if (a.smoothing_each != 0) loss -= a.smoothing_each * terms[kWeighted];
    }
    if (a.losses != nullptr) static_cast<T*>(a.losses)[element] = static_cast<T>(loss);
    of[0] += loss;
    of[1] += label.weight;
  }
  // All of a block's to its place among the partial results.
  MK_INLINE void give(const CrossEntropyKernelArgs& a) {
    merge_block<kSoftmaxThreads>(of, shared<double>(), Sum());
    if (threadIdx.x > 0) return;
    a.partials[2 * blockIdx.x] = of[0];
    a.partials[2 * blockIdx.x + 1] = of[1];
  }
};

template <class T>
MK_INLINE void line_loss(const CrossEntropyKernelArgs& a, const Line<T>& x, int64_t element,
                         LossSums& sums) {
  const Label label = label_of<T>(a, element);
  const T m = line_max(x);
  double terms[kTerms] = {};
#pragma unroll 4
  for (uint32_t c = 0; c < x.axis; ++c) add_term(a, x(c), m, c, terms);
  sums.add(a, element, label, label.target < 0 ? T(0) : x(label.target) - m, terms);
}

template <class T>
MK_INLINE void loss_of_tile(const CrossEntropyKernelArgs& a) {
  const SoftmaxKernelArgs& s = a.softmax;
  const SoftmaxTile t = softmax_tile(s);
  T* x = shared<T>();
  load_tile(s, t, s.x, x);
  tile_arrived();
  LossSums sums;
  for (uint32_t e = threadIdx.x; e < t.count; e += kSoftmaxThreads) {
    line_loss(a, tile_line(s, x, e), t.element + e, sums);
  }
  sums.give(a);
}

template <class T>
MK_INLINE void loss_of_line(const CrossEntropyKernelArgs& a) {
  const SoftmaxKernelArgs& s = a.softmax;
  const int64_t element = int64_t{blockIdx.x} * kSoftmaxThreads + threadIdx.x;
  LossSums sums;
  if (element < s.elements) {
    const T* first = static_cast<const T*>(s.x) + line_offset(s, element);
    line_loss(a, Line<T>{first, s.inner, s.axis}, element, sums);
  }
  sums.give(a);
}

template <class T, class Row>
MK_INLINE void row_terms(const CrossEntropyKernelArgs& a, const Row& row, T m,
                         double (&terms)[kTerms]) {
  row.for_each(a.softmax.axis,
               [&](auto slot, uint32_t c) { add_term(a, row.at(slot), m, c, terms); });
  merge_team<Row::kThreads>(terms, Sum());
}

template <class T, class Row>
MK_INLINE void loss_of_row(const CrossEntropyKernelArgs& a) {
  const SoftmaxKernelArgs& s = a.softmax;
  const TeamRow i = team_row<Row::kThreads>(s);
  const T* x = static_cast<const T*>(s.x) + i.row * s.axis;
  const Label label = label_of<T>(a, i.row);
  const Row row(x, s.axis);
  const T m = row_max<Row, T>(row, s.axis);
  double terms[kTerms] = {};
  row_terms(a, row, m, terms);
  LossSums sums;
  if (i.written > 0 && threadIdx.x % Row::kThreads == 0) {
    sums.add(a, i.row, label, label.target < 0 ? T(0) : x[label.target] - m, terms);
  }
  sums.give(a);
}

template <class T>
MK_INLINE void reduce_losses(const CrossEntropyKernelArgs& a) {
  double sums[2] = {0, 0};
#pragma unroll 4
  for (uint32_t block = threadIdx.x; block < a.blocks; block += kSoftmaxThreads) {
    sums[0] += a.partials[2 * block];
    sums[1] += a.partials[2 * block + 1];
  }
  merge_block<kSoftmaxThreads>(sums, shared<double>(), Sum());
  if (threadIdx.x > 0) return;
  *a.total_weight = sums[1];
  if (a.loss == nullptr) return;
  if (a.mean) sums[0] = sums[1] != 0 ? sums[0] / sums[1] : 0;
  *static_cast<T*>(a.loss) = static_cast<T>(sums[0]);
}

// ---- backward ----

// What turns x into dx.
template <class T>
struct LogitGradient {
  T m, factor, each, share;
  int32_t target;

  LogitGradient() = default;
  MK_INLINE LogitGradient(const CrossEntropyKernelArgs& a, int64_t element, T largest,
                          const double (&terms)[kTerms]) {
    const Label label = label_of<T>(a, element);
    const double total = *a.total_weight;
    const double all = !a.mean ? 1 : total != 0 ? 1 / total : 0;
    const double scale = all * static_cast<const T*>(a.dloss)[a.dloss_per_element ? element : 0];
    m = largest;
    factor =
        static_cast<T>(scale * (label.share + a.smoothing_each * terms[kWeights]) / terms[kSum]);
    each = static_cast<T>(scale * a.smoothing_each);
    share = static_cast<T>(scale * label.share);
    target = label.target;
  }
  MK_INLINE T operator()(const CrossEntropyKernelArgs& a, T x, uint32_t c) const {
    if (target < 0) return 0;
    T value = exp(x - m) * factor;
    if (a.smoothing_each != 0) value -= each * class_weight<T>(a, c);
    return static_cast<int32_t>(c) == target ? value - share : value;
  }
};

template <class T>
MK_INLINE LogitGradient<T> line_gradient(const CrossEntropyKernelArgs& a, const Line<T>& x,
                                         int64_t element) {
  const T m = line_max(x);
  double terms[kTerms] = {};
#pragma unroll 4
  for (uint32_t c = 0; c < x.axis; ++c) add_term(a, x(c), m, c, terms);
  return {a, element, m, terms};
}

template <class T>
MK_INLINE void gradient_of_tile(const CrossEntropyKernelArgs& a) {
  const SoftmaxKernelArgs& s = a.softmax;
  const SoftmaxTile t = softmax_tile(s);
  T* x = shared<T>();
  auto* gradients = reinterpret_cast<LogitGradient<T>*>(x + tile_numbers(s));
  load_tile(s, t, s.x, x);
  tile_arrived();
  for (uint32_t e = threadIdx.x; e < t.count; e += kSoftmaxThreads) {
    gradients[e] = line_gradient(a, tile_line(s, x, e), t.element + e);
  }
  __syncthreads();
  write_tile<T>(s, t, s.y, [&](uint32_t at, uint32_t element, uint32_t c) {
    return gradients[element](a, x[at], c);
  });
}

template <class T>
MK_INLINE void gradient_of_line(const CrossEntropyKernelArgs& a) {
  const SoftmaxKernelArgs& s = a.softmax;
  const int64_t element = int64_t{blockIdx.x} * kSoftmaxThreads + threadIdx.x;
  if (element >= s.elements) return;
  const int64_t offset = line_offset(s, element);
  const Line<T> x = {static_cast<const T*>(s.x) + offset, s.inner, s.axis};
  T* dx = static_cast<T*>(s.y) + offset;
  const LogitGradient<T> gradient = line_gradient(a, x, element);
#pragma unroll 4
  for (uint32_t c = 0; c < s.axis; ++c) dx[c * s.inner] = gradient(a, x(c), c);
}

template <class T, class Row>
MK_INLINE void gradient_of_row(const CrossEntropyKernelArgs& a) {
  const SoftmaxKernelArgs& s = a.softmax;
  const TeamRow i = team_row<Row::kThreads>(s);
  const Row row(static_cast<const T*>(s.x) + i.row * s.axis, s.axis);
  const T m = row_max<Row, T>(row, s.axis);
  double terms[kTerms] = {};
  row_terms(a, row, m, terms);
  const LogitGradient<T> gradient(a, i.row, m, terms);
  row.write(static_cast<T*>(s.y) + i.row * s.axis, i.written,
            [&](auto slot, uint32_t c) { return gradient(a, row.at(slot), c); });
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

MK_KERNEL(cross_entropy_tile_f32, CrossEntropyKernelArgs, 256) { loss_of_tile<float>(args); }
MK_KERNEL(cross_entropy_tile_f64, CrossEntropyKernelArgs, 256) { loss_of_tile<double>(args); }
MK_KERNEL(cross_entropy_line_f32, CrossEntropyKernelArgs, 256) { loss_of_line<float>(args); }
MK_KERNEL(cross_entropy_line_f64, CrossEntropyKernelArgs, 256) { loss_of_line<double>(args); }
MK_KERNEL(cross_entropy_short_row_f32x4, CrossEntropyKernelArgs, 256) {
  loss_of_row<float, RegisterRow<float, 4, 1>>(args);
}
MK_KERNEL(cross_entropy_short_row_f32x2, CrossEntropyKernelArgs, 256) {
  loss_of_row<float, RegisterRow<float, 2, 1>>(args);
}
MK_KERNEL(cross_entropy_group_row_f32x4, CrossEntropyKernelArgs, 256) {
  loss_of_row<float, RegisterRow<float, 4, kRowGroup>>(args);
}
MK_KERNEL(cross_entropy_warp_row_f32x4, CrossEntropyKernelArgs, 256) {
  loss_of_row<float, RegisterRow<float, 4, 32>>(args);
}
MK_KERNEL(cross_entropy_warp_row_f32, CrossEntropyKernelArgs, 256) {
  loss_of_row<float, MemoryRow<float, 32>>(args);
}
MK_KERNEL(cross_entropy_warp_row_f64, CrossEntropyKernelArgs, 256) {
  loss_of_row<double, MemoryRow<double, 32>>(args);
}
MK_KERNEL(cross_entropy_block_row_f32x4, CrossEntropyKernelArgs, 256) {
  loss_of_row<float, RegisterRow<float, 4, 256>>(args);
}
MK_KERNEL(cross_entropy_block_row_f32, CrossEntropyKernelArgs, 256) {
  loss_of_row<float, MemoryRow<float, 256>>(args);
}
MK_KERNEL(cross_entropy_block_row_f64, CrossEntropyKernelArgs, 256) {
  loss_of_row<double, MemoryRow<double, 256>>(args);
}
MK_KERNEL(cross_entropy_reduce_f32, CrossEntropyKernelArgs, 256) { reduce_losses<float>(args); }
MK_KERNEL(cross_entropy_reduce_f64, CrossEntropyKernelArgs, 256) { reduce_losses<double>(args); }

MK_KERNEL(cross_entropy_backward_tile_f32, CrossEntropyKernelArgs, 256) {
  gradient_of_tile<float>(args);
}
MK_KERNEL(cross_entropy_backward_tile_f64, CrossEntropyKernelArgs, 256) {
  gradient_of_tile<double>(args);
}
MK_KERNEL(cross_entropy_backward_line_f32, CrossEntropyKernelArgs, 256) {
  gradient_of_line<float>(args);
}
MK_KERNEL(cross_entropy_backward_line_f64, CrossEntropyKernelArgs, 256) {
  gradient_of_line<double>(args);
}
MK_KERNEL(cross_entropy_backward_short_row_f32x4, CrossEntropyKernelArgs, 256) {
  gradient_of_row<float, RegisterRow<float, 4, 1>>(args);
}
MK_KERNEL(cross_entropy_backward_short_row_f32x2, CrossEntropyKernelArgs, 256) {
  gradient_of_row<float, RegisterRow<float, 2, 1>>(args);
}
MK_KERNEL(cross_entropy_backward_group_row_f32x4, CrossEntropyKernelArgs, 256) {
  gradient_of_row<float, RegisterRow<float, 4, kRowGroup>>(args);
}
MK_KERNEL(cross_entropy_backward_warp_row_f32x4, CrossEntropyKernelArgs, 256) {
  gradient_of_row<float, RegisterRow<float, 4, 32>>(args);
}
MK_KERNEL(cross_entropy_backward_warp_row_f32, CrossEntropyKernelArgs, 256) {
  gradient_of_row<float, MemoryRow<float, 32>>(args);
}
MK_KERNEL(cross_entropy_backward_warp_row_f64, CrossEntropyKernelArgs, 256) {
  gradient_of_row<double, MemoryRow<double, 32>>(args);
}
MK_KERNEL(cross_entropy_backward_block_row_f32x4, CrossEntropyKernelArgs, 256) {
  gradient_of_row<float, RegisterRow<float, 4, 256>>(args);
}
MK_KERNEL(cross_entropy_backward_block_row_f32, CrossEntropyKernelArgs, 256) {
  gradient_of_row<float, MemoryRow<float, 256>>(args);
}
MK_KERNEL(cross_entropy_backward_block_row_f64, CrossEntropyKernelArgs, 256) {
  gradient_of_row<double, MemoryRow<double, 256>>(args);
}
