"""medkern: fast, reproducible neural-network kernels for medical imaging.

The namespaces:

- `kernels`: array in, array out, without gradients.
- `functional`: the same operations on `Tensor`, differentiable.
- `nn`, `models`: layers and networks.
- `losses`, `optim`: what training minimizes, and how.
- `data`, `io`: data sets, batches and files.
- `inference`: prediction with compiled models.
- `explain`: what a prediction depends on.
- `callbacks`, `metrics`, `plot`: what goes with training, by `Trainer` and `GANTrainer`.
- `random`: the seed of all random numbers.
- `cuda`, `devices`: GPUs, and where tensors are made.
"""

from medkern import (
    callbacks,
    cuda,
    data,
    devices,
    explain,
    functional,
    inference,
    io,
    kernels,
    losses,
    metrics,
    models,
    nn,
    optim,
    plot,
    random,
)
from medkern._C import DeviceError, bfloat16, get_num_threads, set_num_threads
from medkern._C import version as _version
from medkern.autograd import enable_grad, is_grad_enabled, no_grad
from medkern.devices import device, get_default_device, set_default_device
from medkern.embed import get_include, get_library
from medkern.gan import GANTrainer
from medkern.inference import compile
from medkern.kernels._algorithm import get_algorithm, set_algorithm
from medkern.kernels._precision import (
    autocast,
    get_float32_matmul_precision,
    set_float32_matmul_precision,
)
from medkern.tensor import Tensor, full, ones, tensor, zeros
from medkern.trainer import Trainer

__version__ = _version()

__all__ = [
    "DeviceError",
    "GANTrainer",
    "Tensor",
    "Trainer",
    "__version__",
    "autocast",
    "bfloat16",
    "callbacks",
    "compile",
    "cuda",
    "data",
    "device",
    "devices",
    "enable_grad",
    "explain",
    "full",
    "functional",
    "get_algorithm",
    "get_default_device",
    "get_float32_matmul_precision",
    "get_include",
    "get_library",
    "get_num_threads",
    "inference",
    "io",
    "is_grad_enabled",
    "kernels",
    "losses",
    "metrics",
    "models",
    "nn",
    "no_grad",
    "ones",
    "optim",
    "plot",
    "random",
    "set_algorithm",
    "set_default_device",
    "set_float32_matmul_precision",
    "set_num_threads",
    "tensor",
    "zeros",
]
