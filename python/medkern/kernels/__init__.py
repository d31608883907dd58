"""The kernels: array in, array out, no gradients.

Every function takes NumPy arrays or any object that speaks DLPack and gives back the same kind. Shapes
are (N, C, W), (N, C, H, W) or (N, C, D, H, W); memory may be contiguous or channels-last, and the result has
the format of x; anything else is copied once. `out=` takes an array for the result. The same inputs give the
same bits at any number of threads.
"""

from medkern.kernels.gemm import (
    activation_number,
    bias_backward,
    gemm,
    linear,
    linear_backward_input,
    linear_backward_weight,
)
from medkern.kernels.embedding import embedding, embedding_backward
from medkern.kernels.gemm import bias_backward, gemm, linear, linear_backward_input, linear_backward_weight
from medkern.kernels.norm import (
    batch_norm,
    batch_norm_backward,
    group_norm,
    group_norm_backward,
    instance_norm,
    instance_norm_backward,
    layer_norm,
    layer_norm_backward,
)
from medkern.kernels.peak import (
    fma_chain,
)
from medkern.kernels.optim import adam_step, sgd_step
from medkern.kernels.peak import fma_chain
from medkern.kernels.pointwise import (
    abs,
    add,
    clamp,
    compare,
    div,
    elu,
    erf,
    exp,
    expm1,
    gelu,
    leaky_relu,
    log,
    log1p,
    maximum,
    minimum,
    mul,
    neg,
    pow,
    reciprocal,
    relu,
    sigmoid,
    silu,
    softplus,
    sqrt,
    square,
    sub,
    tanh,
    unary_backward,
    where,
)
from medkern.kernels.pool import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_avg_pool_backward,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    adaptive_max_pool_backward,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    avg_pool_backward,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_pool_backward,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
    max_unpool_backward,
)
from medkern.kernels.pool import max_pool1d, max_pool2d, max_pool3d, max_pool_backward
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
from medkern.kernels.embedding import (embedding, embedding_backward,)
from medkern.kernels.gemm import (batch_norm_backward, bias_backward, from medkern.kernels.norm import (     batch_norm, gemm, group_norm, group_norm_backward, instance_norm, instance_norm_backward, layer_norm, layer_norm_backward, linear, linear_backward_input, linear_backward_weight,)
from medkern.kernels.norm import (batch_norm, batch_norm_backward, group_norm, group_norm_backward, instance_norm, instance_norm_backward, layer_norm, layer_norm_backward,)
from medkern.kernels.optim import (adam_step, sgd_step,)
from medkern.kernels.peak import (fma_chain,)
from medkern.kernels.pointwise import (abs, add, clamp, compare, div, elu, erf, exp, expm1, gelu, leaky_relu, log, log1p, maximum, minimum, mul, neg, pow, reciprocal, relu, sigmoid, silu, softplus, sqrt, square, sub, tanh, unary_backward, where,)
from medkern.kernels.pool import (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d, adaptive_avg_pool_backward, adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d, adaptive_max_pool_backward, avg_pool1d, avg_pool2d, avg_pool3d, avg_pool_backward, max_pool1d, max_pool2d, max_pool3d, max_pool_backward, max_unpool1d, max_unpool2d, max_unpool3d, max_unpool_backward,)
from medkern.kernels.recurrent import (gru, gru_cell, gru_cell_backward, lstm, lstm_cell, lstm_cell_backward, recurrent_layer, recurrent_layer_backward, rnn, rnn_cell, rnn_cell_backward,)
from medkern.kernels.resize import interpolate, interpolate_backward

__all__ = [
    "abs",
    "activation_number",

__all__ = [
    "abs",
    "adam_step",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_avg_pool_backward",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "adaptive_max_pool_backward",
    "add",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "avg_pool_backward",
    "batch_norm",
    "batch_norm_backward",
    "bias_backward",
    "clamp",
    "compare",
    "div",
    "elu",
    "embedding",
    "embedding_backward",
    "erf",
    "exp",
    "expm1",
    "fma_chain",
    "from medkern.kernels.norm import (     batch_norm",
    "gelu",
    "gemm",
    "group_norm",
    "group_norm_backward",
    "gru",
    "gru_cell",
    "gru_cell_backward",
    "instance_norm",
    "instance_norm_backward",
    "layer_norm",
    "layer_norm_backward",
    "leaky_relu",
    "linear",
    "linear_backward_input",
    "linear_backward_weight",
    "log",
    "log1p",
    "lstm",
    "lstm_cell",
    "lstm_cell_backward",
    "interpolate",
    "interpolate_backward",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_pool_backward",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "max_unpool_backward",
    "maximum",
    "minimum",
    "mul",
    "neg",
    "pow",
    "reciprocal",
    "recurrent_layer",
    "recurrent_layer_backward",
    "relu",
    "rnn",
    "rnn_cell",
    "rnn_cell_backward",
    "sgd_step",
    "sigmoid",
    "silu",
    "softplus",
    "sqrt",
    "square",
    "sub",
    "tanh",
    "unary_backward",
    "where",
]
