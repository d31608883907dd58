// The gradient of a bias: sums over all axes but the channels'.
//
//   dbias[c] = sum over o, i of dy[o, c, i]
//
// inner 1:   rows of channels in up to kChunks chunks, one task each; in a chunk dy is read from
//            end to end into sums of T of a period: a row, or as many rows of few channels as fill
//            whole vectors. After kRun periods they are added in double; chunks are added in order.
// Otherwise: one task per channel, runs of kRun vectors likewise.
// Memory-bound: dy is read once. The order of summation depends on the shape only.
#include "core/parallel.h"
#include "cpu/integers.h"
#include "kernels/gemm/gemm.h"

namespace medkern::MK_ISA {
namespace {

constexpr int64_t kChunks = 64;
constexpr int64_t kRowsPerChunk = 256;  // at least
constexpr int64_t kRun = 64;

int64_t chunks_of(const BiasBackwardArgs& a) {
  const int64_t chunks = (a.outer + kRowsPerChunk - 1) / kRowsPerChunk;
  return chunks < 1 ? 1 : smaller(chunks, kChunks);
}

// Elements of a period: a multiple of the channels, and of whole vectors if there are few.
template <class T>
int64_t period_of(const BiasBackwardArgs& a) {
  constexpr int64_t kLanes = Vec<T>::kLanes;
  if (a.channels >= kLanes || a.channels == 0) return a.channels;
  int64_t period = a.channels * kLanes;
  while (period < 4 * kLanes) period *= 2;  // else an addition waits for the one before
  return period;
}

// The same in whole vectors.
template <class T>
int64_t padded_period(const BiasBackwardArgs& a) {
  return (period_of<T>(a) + Vec<T>::kLanes - 1) / Vec<T>::kLanes * Vec<T>::kLanes;
}

// sums[i] += from[i], i < count.
template <class T>
MK_INLINE void add(const T* from, int64_t count, T* sums) {
  using V = Vec<T>;
  int64_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes)
    (V::load(sums + i) + V::load(from + i)).store(sums + i);
  if (i < count) (V::load(sums + i) + V::load(from + i, count - i)).store(sums + i, count - i);
}

template <class T>
void sum_rows(const BiasBackwardArgs& a) {
  const int64_t chunks = chunks_of(a), period = period_of<T>(a);
  double* partial = static_cast<double*>(a.workspace);  // [chunks][channels]
  T* periods = reinterpret_cast<T*>(partial + chunks * a.channels);
  const int64_t room = padded_period<T>(a);
  parallel_for(chunks, a.outer * a.channels, [&](int64_t chunk, int) {
    const int64_t begin = a.outer / chunks * chunk + smaller(chunk, a.outer % chunks);
    const int64_t end = a.outer / chunks * (chunk + 1) + smaller(chunk + 1, a.outer % chunks);
    double* total = partial + chunk * a.channels;
    T* sums = periods + chunk * room;
    for (int64_t c = 0; c < a.channels; ++c) total[c] = 0;
    const T* from = static_cast<const T*>(a.dy) + begin * a.channels;
    for (int64_t left = (end - begin) * a.channels; left > 0;) {
      for (int64_t i = 0; i < room; ++i) sums[i] = 0;
      for (int64_t run = 0; run < kRun && left > 0; ++run) {
        const int64_t count = smaller(period, left);
        add(from, count, sums);
        from += count;
        left -= count;
      }
      for (int64_t i = 0; i < period; i += a.channels) {
        for (int64_t c = 0; c < a.channels; ++c) total[c] += sums[i + c];
      }
    }
  });
  for (int64_t c = 0; c < a.channels; ++c) {
    double total = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) total += partial[chunk * a.channels + c];
    static_cast<T*>(a.dbias)[c] = static_cast<T>(total);
  }
}

template <class T>
void sum_planes(const BiasBackwardArgs& a) {
  using V = Vec<T>;
  parallel_for(a.channels, a.outer * a.inner * a.channels, [&](int64_t c, int) {
    double total = 0;
    for (int64_t o = 0; o < a.outer; ++o) {
      const T* plane = static_cast<const T*>(a.dy) + (o * a.channels + c) * a.inner;
      for (int64_t first = 0; first < a.inner; first += kRun * V::kLanes) {
        const int64_t last = smaller(first + kRun * V::kLanes, a.inner);
        V run = V::zero();
        for (int64_t i = first; i < last; i += V::kLanes) {
          run += V::load(plane + i, smaller(last - i, V::kLanes));
        }
        total += sum(run);
      }
    }
    static_cast<T*>(a.dbias)[c] = static_cast<T>(total);
  });
}

template <class T>
void bias_backward_of(const BiasBackwardArgs& a) {
  a.inner == 1 ? sum_rows<T>(a) : sum_planes<T>(a);
}

}  // namespace

size_t bias_backward_workspace(const BiasBackwardArgs& a) {
  if (a.inner != 1) return 0;
  const size_t period = a.dtype == Dtype::f32 ? padded_period<float>(a) * sizeof(float)
                                              : padded_period<double>(a) * sizeof(double);
  return chunks_of(a) * (a.channels * sizeof(double) + period);
}

void bias_backward(const BiasBackwardArgs& a) {
  a.dtype == Dtype::f32 ? bias_backward_of<float>(a) : bias_backward_of<double>(a);
}

}  // namespace medkern::MK_ISA
