"""The operations on `Tensor`, differentiable. Names and arguments are those of `torch.nn.functional`."""

from medkern.functional.conv import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from medkern.functional.copy import (
    concat,
    contiguous,
    flatten,
    getitem,
    pad,
    permute,
    reshape,
    squeeze,
    stack,
    to,
    transpose,
    unsqueeze,
)
from medkern.functional.embedding import (
    embedding,
)
from medkern.functional.gemm import (
    linear,
    matmul,
)
from medkern.functional.norm import (
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
)
from medkern.functional.pool import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
)
from medkern.functional.random import (
    dropout,
)
from medkern.functional.recurrent import (
    gru,
    gru_cell,
    lstm,
    lstm_cell,
    rnn,
    rnn_cell,
)
from medkern.functional.resize import (
    interpolate,
)
from medkern.functional.softmax import (
    cross_entropy,
    log_softmax,
    softmax,
)

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "concat",
    "contiguous",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cross_entropy",
    "dropout",
    "embedding",
    "flatten",
    "getitem",
    "group_norm",
    "gru",
    "gru_cell",
    "instance_norm",
    "interpolate",
    "layer_norm",
    "linear",
    "log_softmax",
    "lstm",
    "lstm_cell",
    "matmul",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "pad",
    "permute",
    "reshape",
    "rnn",
    "rnn_cell",
    "softmax",
    "squeeze",
    "stack",
    "to",
    "transpose",
    "unsqueeze",
]
