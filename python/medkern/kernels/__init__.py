"""The kernels: array in, array out, no gradients.

Every function takes NumPy arrays or any object that speaks DLPack and gives back the same kind. Shapes
are (N, C, W), (N, C, H, W) or (N, C, D, H, W); memory may be contiguous or channels-last, and the result has
the format of x; anything else is copied once. `out=` takes an array for the result. The same inputs give the
same bits at any number of threads.
"""

from medkern.kernels.embedding import embedding, embedding_backward
from medkern.kernels.gemm import (
    bias_backward,
    gemm,
    linear,
    linear_backward_input,
    linear_backward_weight,
)
from medkern.kernels.pool import (
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_pool_backward,
)
from medkern.kernels.recurrent import (
    gru,
    gru_cell,
    gru_cell_backward,
    lstm,
    lstm_cell,
    lstm_cell_backward,
    recurrent_layer,
    recurrent_layer_backward,
    rnn,
    rnn_cell,
    rnn_cell_backward,
)

__all__ = [
    "bias_backward",
    "embedding",
    "embedding_backward",
    "gemm",
    "gru",
    "gru_cell",
    "gru_cell_backward",
    "linear",
    "linear_backward_input",
    "linear_backward_weight",
    "lstm",
    "lstm_cell",
    "lstm_cell_backward",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_pool_backward",
    "recurrent_layer",
    "recurrent_layer_backward",
    "rnn",
    "rnn_cell",
    "rnn_cell_backward",
]
