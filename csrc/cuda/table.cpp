// The kernels of CUDA devices, family by family.
#include "kernels/table.h"
#include "cuda/devices.h"

namespace medkern::cuda {

extern const BinaryKernels binary_kernels;
extern const ConvKernels conv_kernels;
extern const CopyKernels copy_kernels;
extern const CrossEntropyKernels cross_entropy_kernels;
extern const EmbeddingKernels embedding_kernels;
extern const GemmKernels gemm_kernels;
extern const RecurrentKernels gru_kernels;
extern const LayerNormKernels layer_norm_kernels;
extern const RecurrentKernels lstm_kernels;
extern const NormKernels norm_kernels;
extern const OptimKernels optim_kernels;
extern const PeakKernels peak_kernels;
extern const PoolKernels pool_kernels;
extern const RandomKernels random_kernels;
extern const ReduceKernels reduce_kernels;
extern const ResampleKernels resample_kernels;
extern const ResizeKernels resize_kernels;
extern const RecurrentKernels rnn_relu_kernels;
extern const RecurrentKernels rnn_tanh_kernels;
extern const SoftmaxKernels softmax_kernels;
extern const UnaryKernels unary_kernels;

const KernelTable& kernel_table() {
  static constexpr KernelTable table = {
      .binary = &binary_kernels,
      .conv = &conv_kernels,
      .copy = &copy_kernels,
      .cross_entropy = &cross_entropy_kernels,
      .embedding = &embedding_kernels,
      .gemm = &gemm_kernels,
      .gru = &gru_kernels,
      .layer_norm = &layer_norm_kernels,
      .lstm = &lstm_kernels,
      .norm = &norm_kernels,
      .optim = &optim_kernels,
      .peak = &peak_kernels,
      .pool = &pool_kernels,
      .random = &random_kernels,
      .reduce = &reduce_kernels,
      .resample = &resample_kernels,
      .resize = &resize_kernels,
      .rnn_relu = &rnn_relu_kernels,
      .rnn_tanh = &rnn_tanh_kernels,
      .softmax = &softmax_kernels,
      .unary = &unary_kernels,
  };
  return table;
}

}  // namespace medkern::cuda
