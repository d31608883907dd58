// The gradient of a bias: sums over all axes but the channels'.
//
//   dbias[c] = sum over o, i of dy[o, c, i]
//
// inner 1:   rows of channels in up to kChunks chunks, one task each; in a chunk a vector of
// channels
//            at a time, kRun rows summed in T, runs added in double; chunks added in order.
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

template <class T>
void sum_rows(const BiasBackwardArgs& a) {
  using V = Vec<T>;
  const int64_t chunks = chunks_of(a);
  double* partial = static_cast<double*>(a.workspace);  // [chunks][channels]
  parallel_for(chunks, a.outer * a.channels, [&](int64_t chunk, int) {
    const int64_t begin = a.outer / chunks * chunk + smaller(chunk, a.outer % chunks);
    const int64_t end = a.outer / chunks * (chunk + 1) + smaller(chunk + 1, a.outer % chunks);
    double* total = partial + chunk * a.channels;
    for (int64_t c = 0; c < a.channels; ++c) total[c] = 0;
    for (int64_t first = begin; first < end; first += kRun) {
      const int64_t last = smaller(first + kRun, end);
      for (int64_t c = 0; c < a.channels; c += V::kLanes) {
        const int64_t lanes = smaller(a.channels - c, V::kLanes);
        V run = V::zero();
        for (int64_t row = first; row < last; ++row) {
          run += V::load(static_cast<const T*>(a.dy) + row * a.channels + c, lanes);
        }
        for (int64_t lane = 0; lane < lanes; ++lane) total[c + lane] += run[lane];
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
  return a.inner == 1 ? chunks_of(a) * a.channels * sizeof(double) : 0;
}

void bias_backward(const BiasBackwardArgs& a) {
  a.dtype == Dtype::f32 ? bias_backward_of<float>(a) : bias_backward_of<double>(a);
}

}  // namespace medkern::MK_ISA
