// Depthwise convolution, forward and backward with respect to the input: every channel with weights
// of its own.
//
//   y[pixel, c] = act(sum over taps t of x[pixel + t, c] w[t, c] + bias[c])
//
// The source is read in place or from a task's copy (boxes.simd.h), weights are packed
// [tap][channel].
//
// Loops: tasks of a box of pixels; classes, rows of pixels, pixels in eights, vectors of channels,
// taps: one vector of weights against eight pixels. Memory-bound from about 20 taps down. Numerics:
// the bias, then one chain of fma over the taps.
#include "core/parallel.h"
#include "cpu/lanes.h"
#include "kernels/conv/algorithm.simd.h"
#include "kernels/conv/boxes.simd.h"

namespace medkern::MK_ISA {
namespace {

constexpr int64_t kBoxBytes = 384 << 10;
constexpr int64_t kFewTasks = 16, kFewPixels = 16;
constexpr int kPixels = 8;

bool is_depthwise(const ConvArgs& a) {
  return a.groups > 1 && a.groups == a.source.c && a.groups == a.result.c;
}

template <class T>
void pack_of(const ConvArgs& a, T* packed) {
  const int64_t taps = taps_of(a.window);
  const T* weight = static_cast<const T*>(a.weight);
  for (int64_t t = 0; t < taps; ++t) {
    const TapPlace place = place_of_tap(a, t);
    T* to = packed + (place.before + place.number) * a.groups;
    for (int64_t c = 0; c < a.groups; ++c) to[c] = weight[c * taps + t];
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
  // Every tap loads whole vectors of the source: better once than often across lines of the cache.
  const bool aligned = is_aligned<T>(a.source);
  const int64_t pixel = divide_up(a.groups, Vec<T>::kLanes) * Vec<T>::kLanes;
  p.boxes = boxes_of(a, false, aligned ? a.groups : pixel, !aligned);
  cut_boxes(p.boxes,
            {
                .most_pixels = larger(divide_up(all_pixels(p.boxes), kFewTasks), kFewPixels),
                .most_elements = kBoxBytes / static_cast<int64_t>(sizeof(T)),
                .few_pixels = kFewPixels,
                .border = kPixels,
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
  int64_t step, result_step;  // from pixel to pixel
  const T* weights;
  const T* bias;
  bool relu;
  int64_t taps;
  const int64_t* offsets;
  int64_t channels, result_channel;
};

template <class T, int kCount, bool kWhole>
MK_INLINE void run_pixels(const Row<T>& row, int64_t pixel, int64_t c) {
  using V = Vec<T>;
  const int64_t lanes = kWhole ? V::kLanes : row.channels - c;
  const auto load = [&](const T* p) { return kWhole ? V::load(p) : V::load(p, lanes); };
  const V bias = row.bias != nullptr ? load(row.bias + c) : V::zero();
  V acc[kCount];
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) acc[i] = bias;
  const T* source = row.source + pixel * row.step + c;
  const T* weights = row.weights + c;
  for (int64_t t = 0; t < row.taps; ++t) {
    const V weight = load(weights + t * row.channels);
    const T* from = source + row.offsets[t];
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) acc[i] = fma(load(from + i * row.step), weight, acc[i]);
  }
  if (row.relu) {
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) acc[i] = max(acc[i], V::zero());
  }
  T* to = row.result + pixel * row.result_step + c * row.result_channel;
  const int64_t step = row.result_step, channel = row.result_channel;
  if (channel == 1) {
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) {
      kWhole ? acc[i].store(to + i * step) : acc[i].store(to + i * step, lanes);
    }
  } else {
    T staged[kCount][V::kLanes];
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) acc[i].store(staged[i]);
    for (int64_t lane = 0; lane < lanes; ++lane)
      for (int i = 0; i < kCount; ++i) to[i * step + lane * channel] = staged[i][lane];
  }
}

// All channels of some pixels: neighbors share what they read of the source.
template <class T, int kCount>
MK_INLINE void run_channels(const Row<T>& row, int64_t pixel) {
  int64_t c = 0;
  for (; c + Vec<T>::kLanes <= row.channels; c += Vec<T>::kLanes) {
    run_pixels<T, kCount, true>(row, pixel, c);
  }
  if (c < row.channels) run_pixels<T, kCount, false>(row, pixel, c);
}

template <class T>
MK_INLINE void run_row(const Row<T>& row, int64_t pixels) {
  int64_t i = 0;
  for (; i + kPixels <= pixels; i += kPixels) run_channels<T, kPixels>(row, i);
  if (i < pixels && pixels >= kPixels) {  // the last eight, some of them again
    return run_channels<T, kPixels>(row, pixels - kPixels);
  }
  for (; i + 2 <= pixels; i += 2) run_channels<T, 2>(row, i);
  if (i < pixels) run_channels<T, 1>(row, i);
}

template <class T>
void run_of(const ConvArgs& a) {
  const Plan<T> p = plan_of<T>(a);
  const Boxes& boxes = p.boxes;
  const T* weights = static_cast<const T*>(a.packed);
  const int64_t work = 2 * a.result.n * a.result.size[0] * a.result.size[1] * a.result.size[2] *
                       a.result.c * taps_of(a.window);
  parallel_for(boxes.number, work, [&](int64_t task, int worker) {
    int64_t* offsets = p.all_offsets + worker * taps_of(a.window);
    T* copy = p.copies + worker * boxes.elements;
    for_each_class<T>(a, boxes, box_range(boxes, task), copy, [&](const Box<T>& box) {
      Row<T> row{};
      row.taps = list_taps(box, offsets);
      row.offsets = offsets;
      row.step = box.step[3];
      row.result_step = boxes.result_step[3];
      row.channels = a.groups;
      row.result_channel = a.result.stride_c;
      row.weights = weights + box.taps_before * a.groups;
      row.bias = static_cast<const T*>(a.bias);
      row.relu = a.activation == Activation::relu;
      for_each_row(boxes, box, [&](const T* source, T* result) {
        row.source = source;
        row.result = result;
        run_row(row, box.count[3]);
      });
    });
  });
}

size_t packed_bytes(const ConvArgs& a) { return taps_of(a.window) * a.groups * size_of(a.dtype); }

void pack(const ConvArgs& a, void* packed) {
  a.dtype == Dtype::f32 ? pack_of(a, static_cast<float*>(packed))
                        : pack_of(a, static_cast<double*>(packed));
}

size_t workspace(const ConvArgs& a) {
  return a.dtype == Dtype::f32 ? plan_of<float>(a).bytes : plan_of<double>(a).bytes;
}

void run(const ConvArgs& a) { a.dtype == Dtype::f32 ? run_of<float>(a) : run_of<double>(a); }

}  // namespace

constinit const ConvAlgorithm depthwise_algorithm = {
    .fits = is_depthwise,
    .keeps = is_depthwise,
    .packed_bytes = packed_bytes,
    .pack = pack,
    .workspace = workspace,
    .run = run,
};

}  // namespace medkern::MK_ISA
