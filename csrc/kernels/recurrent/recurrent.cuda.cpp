// CUDA kernels of recurrent: none yet.
#include "kernels/recurrent/recurrent.h"

#include "cuda/absent.h"

namespace medkern::cuda {

extern const RecurrentKernels gru_kernels;
constinit const RecurrentKernels gru_kernels = {
    .packed_bytes = absent,
    .pack = absent,
    .forward_workspace = absent,
    .forward = absent,
    .backward_workspace = absent,
    .backward = absent,
};

extern const RecurrentKernels lstm_kernels;
constinit const RecurrentKernels lstm_kernels = {
    .packed_bytes = absent,
    .pack = absent,
    .forward_workspace = absent,
    .forward = absent,
    .backward_workspace = absent,
    .backward = absent,
};

extern const RecurrentKernels rnn_relu_kernels;
constinit const RecurrentKernels rnn_relu_kernels = {
    .packed_bytes = absent,
    .pack = absent,
    .forward_workspace = absent,
    .forward = absent,
    .backward_workspace = absent,
    .backward = absent,
};

extern const RecurrentKernels rnn_tanh_kernels;
constinit const RecurrentKernels rnn_tanh_kernels = {
    .packed_bytes = absent,
    .pack = absent,
    .forward_workspace = absent,
    .forward = absent,
    .backward_workspace = absent,
    .backward = absent,
};

}  // namespace medkern::cuda
