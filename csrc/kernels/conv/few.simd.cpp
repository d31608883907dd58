// Convolution with few result channels, forward and backward with respect to the input: what an
// implicit GEMM would do with most lanes idle.
//
//   y[pixel, k] = act(sum over taps t, channels c of x[pixel + t, c] w[k, t, c] + bias[k])
//
// Lanes are channels of the source, padded with zeros to whole vectors; each pixel and result
// channel has a vector of sums, and a block of them is transposed and added up at the end. Weights
// are packed [result channel][tap][channel].
//
// Loops: tasks of a box of pixels (boxes.simd.h); classes, rows of pixels, result channels in up to
// fours, pixels in as many as fill a vector with results, taps, vectors of channels. Work 2 pixels
// taps channels results flops. Memory-bound for 1x1 kernels: the source is read once. Numerics:
// for each lane a chain of fma over (taps, vectors of channels), then the sum of the lanes in a
// fixed order, then the bias.
#include "core/parallel.h"
#include "cpu/shuffle.h"
#include "kernels/conv/algorithm.simd.h"
#include "kernels/conv/boxes.simd.h"

namespace medkern::MK_ISA {
namespace {

constexpr int64_t kBoxBytes = 256 << 10;
constexpr int64_t kMostPixels = 2048, kFewPixels = 32, kFewTasks = 16;
// Result channels whose sums are kept in registers together.
template <class T>
constexpr int kTogether = Vec<T>::kLanes < 4 ? Vec<T>::kLanes : 4;

// Channels in whole vectors.
template <class T>
int64_t pixel_of(const ConvArgs& a) {
  return divide_up(a.source.c, Vec<T>::kLanes) * Vec<T>::kLanes;
}

// Where it does less than the implicit GEMM, whose vectors hold result channels. Reads the numbers
// of channels only.
template <class T>
bool few_of(const ConvArgs& a) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  if (a.groups != 1 || a.result.c == 0 || a.result.c > kLanes / 2) return false;
  const int64_t taps = taps_of(a.window);
  const int64_t sum = 4 * a.result.c;  // adding up lanes, per pixel
  return taps * (pixel_of<T>(a) / kLanes) * a.result.c + sum < taps * a.source.c;
}

bool is_few(const ConvArgs& a) {
  return a.dtype == Dtype::f32 ? few_of<float>(a) : few_of<double>(a);
}

template <class T>
void pack_of(const ConvArgs& a, T* packed) {
  const int64_t taps = taps_of(a.window), pixel = pixel_of<T>(a);
  const int64_t channels = a.source.c, results = a.result.c;
  const T* weight = static_cast<const T*>(a.weight);
  for (int64_t t = 0; t < taps; ++t) {
    const TapPlace place = place_of_tap(a, t);
    for (int64_t k = 0; k < results; ++k) {
      T* to = packed + (k * taps + place.before + place.number) * pixel;
      for (int64_t c = 0; c < channels; ++c) {
        to[c] = weight[(a.backward ? c * results + k : k * channels + c) * taps + t];
      }
      zero(to + channels, pixel - channels);
    }
  }
}

template <class T>
struct Plan {
  Boxes boxes;
  T* copies;  // a box's for each worker
  int64_t* all_offsets;
  size_t bytes;
};

template <class T>
Plan<T> plan_of(const ConvArgs& a) {
  Plan<T> p{};
  p.boxes = boxes_of(a, {.pixel = pixel_of<T>(a)});
  const int64_t share = larger(divide_up(all_pixels(p.boxes), kFewTasks), kFewPixels);
  cut_boxes(p.boxes, {
                         .most_pixels = smaller(share, kMostPixels),
                         .most_elements = kBoxBytes / static_cast<int64_t>(sizeof(T)),
                         .few_pixels = kFewPixels,
                         .border = Vec<T>::kLanes,
                     });
  Pieces pieces{a.workspace};
  p.copies = pieces.take<T>(p.boxes.elements * max_workers());
  p.all_offsets = pieces.take<int64_t>(taps_of(a.window) * max_workers());
  p.bytes = pieces.used;
  return p;
}

// A row of pixels of one class.
template <class T>
struct Row {
  const T* source;
  T* result;
  int64_t step, result_step, result_channel;
  const T* weights;      // of the class, for result channel 0
  int64_t weights_step;  // to the next
  int64_t vectors, taps;
  const int64_t* offsets;
  const T* bias;
  bool relu;
};

// kCount pixels by kResults result channels from k on.
template <class T, int kCount, int kResults>
MK_INLINE void run_pixels(const Row<T>& row, int64_t pixel, int64_t k, Vec<T> bias) {
  using V = Vec<T>;
  constexpr int kLanes = V::kLanes;
  static_assert(kCount * kResults <= kLanes);
  V acc[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) acc[i] = V::zero();
  const T* weights = row.weights + k * row.weights_step;
  const int64_t step = row.step;
  const T* source = row.source + pixel * step;
  for (int64_t t = 0; t < row.taps; ++t) {
    const T* from = source + row.offsets[t];
    for (int64_t v = 0; v < row.vectors; ++v) {
      V w[kResults];
#pragma GCC unroll 4
      for (int j = 0; j < kResults; ++j) w[j] = V::load(weights + j * row.weights_step);
      // Pixels in threes from one pointer: p, p + step, p + 2 step are addresses the processor
      // forms itself.
      const T* at = from;
#pragma GCC unroll 16
      for (int i = 0; i < kCount; ++i) {
        if (i > 0 && i % 3 == 0) {
          at += 3 * step;
          __asm__("" : "+r"(at));  // a register of its own, not one per pixel
        }
        const V x = V::load(at + i % 3 * step);
#pragma GCC unroll 4
        for (int j = 0; j < kResults; ++j) {
          acc[i * kResults + j] = fma(x, w[j], acc[i * kResults + j]);
        }
      }
      weights += kLanes;
      from += kLanes;
    }
  }
  // Adds up lanes, halves first: a step adds the halves of two vectors and interleaves the sums, so
  // that in the end lane i has the sum of vector i.
#pragma GCC unroll 4
  for (int half = kLanes / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i) {
      const Interleaved<T> sides = interleave(acc[i], acc[i + half]);
      acc[i] = sides.low + sides.high;
    }
  }
  V y = acc[0] + bias;
  if (row.relu) y = max(y, V::zero());
  T* to = row.result + pixel * row.result_step + k * row.result_channel;
  const int64_t result_step = row.result_step, channel = row.result_channel;
  if (result_step == kResults && (channel == 1 || kResults == 1)) {
    kCount* kResults == kLanes ? y.store(to) : y.store(to, kCount * kResults);
  } else {
    T values[kLanes];
    y.store(values);
    for (int i = 0; i < kCount; ++i)
      for (int j = 0; j < kResults; ++j)
        to[i * result_step + j * channel] = values[i * kResults + j];
  }
}

template <class T, int kResults>
MK_INLINE void run_results(const Row<T>& row, int64_t pixels, int64_t k) {
  constexpr int kLanes = Vec<T>::kLanes, kCount = kLanes / kResults;
  T biases[kLanes];
  for (int j = 0; j < kLanes; ++j)
    biases[j] = row.bias != nullptr ? row.bias[k + j % kResults] : T(0);
  const Vec<T> bias = Vec<T>::load(biases);
  int64_t i = 0;
  for (; i + kCount <= pixels; i += kCount) run_pixels<T, kCount, kResults>(row, i, k, bias);
  if (i < pixels && pixels >= kCount) {  // the last ones, some of them again
    return run_pixels<T, kCount, kResults>(row, pixels - kCount, k, bias);
  }
  for (; i < pixels; ++i) run_pixels<T, 1, kResults>(row, i, k, bias);
}

template <class T>
MK_INLINE void run_row(const Row<T>& row, int64_t pixels, int64_t results) {
  int64_t k = 0;
  for (; k + kTogether<T> <= results; k += kTogether<T>)
    run_results<T, kTogether<T>>(row, pixels, k);
  if constexpr (kTogether<T> > 2) {
    if (results - k == 3) return run_results<T, 3>(row, pixels, k);
    if (results - k == 2) return run_results<T, 2>(row, pixels, k);
  }
  if (k < results) run_results<T, 1>(row, pixels, k);
}

template <class T>
void run_of(const ConvArgs& a) {
  const Plan<T> p = plan_of<T>(a);
  const Boxes& boxes = p.boxes;
  const int64_t pixel = pixel_of<T>(a);
  const int64_t work = 2 * all_pixels(boxes) * taps_of(a.window) * pixel * a.result.c;
  parallel_for(boxes.number, work, [&](int64_t task, int worker) {
    int64_t* offsets = p.all_offsets + worker * taps_of(a.window);
    T* copy = p.copies + worker * boxes.elements;
    for_each_class<T>(a, boxes, box_range(boxes, task), copy, [&](const Box<T>& box) {
      Row<T> row{};
      row.taps = list_taps(box, offsets);
      row.offsets = offsets;
      row.step = box.step[3];
      row.result_step = boxes.result_step[3];
      row.result_channel = a.result.stride_c;
      row.weights = static_cast<const T*>(a.packed) + box.taps_before * pixel;
      row.weights_step = taps_of(a.window) * pixel;
      row.vectors = pixel / Vec<T>::kLanes;
      row.bias = static_cast<const T*>(a.bias);
      row.relu = a.activation == Activation::relu;
      for_each_row(boxes, box, [&](const T* source, T* result) {
        row.source = source;
        row.result = result;
        run_row(row, box.count[3], a.result.c);
      });
    });
  });
}

template <class T>
struct FewResults {
  static size_t packed_bytes(const ConvArgs& a) {
    return a.result.c * taps_of(a.window) * pixel_of<T>(a) * sizeof(T);
  }
  static void pack(const ConvArgs& a, void* packed) { pack_of(a, static_cast<T*>(packed)); }
  static size_t workspace(const ConvArgs& a) { return plan_of<T>(a).bytes; }
  static void run(const ConvArgs& a) { run_of<T>(a); }
};

}  // namespace

constinit const ConvAlgorithm few_results_algorithm = algorithm_of_types<FewResults>(is_few);

}  // namespace medkern::MK_ISA
