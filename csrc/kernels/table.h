// The registry: every kernel of a device and instruction set, filled in cpu/table.simd.cpp and
// chosen in dispatch.cpp. An empty slot is a compile error there.
#pragma once

#include "kernels/conv/conv.h"
#include "kernels/copy/copy.h"
#include "kernels/embedding/embedding.h"
#include "kernels/gemm/gemm.h"
#include "kernels/norm/norm.h"
#include "kernels/optim/optim.h"
#include "kernels/peak/peak.h"
#include "kernels/pointwise/pointwise.h"
#include "kernels/pool/pool.h"
#include "kernels/random/random.h"
#include "kernels/recurrent/recurrent.h"
#include "kernels/reduce/reduce.h"
#include "kernels/resample/resample.h"
#include "kernels/resize/resize.h"
#include "kernels/softmax/softmax.h"
#include "medkern/base.h"

namespace medkern {

struct KernelTable {
  const BinaryKernels* binary;
  const ConvKernels* conv;
  const CopyKernels* copy;
  const CrossEntropyKernels* cross_entropy;
  const EmbeddingKernels* embedding;
  const GemmKernels* gemm;
  const RecurrentKernels* gru;
  const LayerNormKernels* layer_norm;
  const RecurrentKernels* lstm;
  const NormKernels* norm;
  const OptimKernels* optim;
  const PeakKernels* peak;
  const PoolKernels* pool;
  const RandomKernels* random;
  const ReduceKernels* reduce;
  const ResampleKernels* resample;
  const ResizeKernels* resize;
  const RecurrentKernels* rnn_relu;
  const RecurrentKernels* rnn_tanh;
  const SoftmaxKernels* softmax;
  const UnaryKernels* unary;
};

// The kernels for a device; fails with MK_DEVICE_ERROR where there are none. Defined in
// dispatch.cpp.
const KernelTable& kernels_for(DLDevice device);

}  // namespace medkern
