"""medkern: fast, reproducible neural-network kernels for medical imaging.

The namespaces:

- `kernels`: array in, array out, without gradients.
- `functional`: the same operations on `Tensor`, differentiable.
- `nn`: layers with parameters.
- `optim`: optimizers and learning-rate schedules.
- `random`: the seed of all random numbers.
"""

from medkern import functional, kernels, nn, optim, random
from medkern._C import DeviceError, get_num_threads, set_num_threads
from medkern._C import version as _version
from medkern.autograd import enable_grad, is_grad_enabled, no_grad
from medkern.embed import get_include, get_library
from medkern.tensor import Tensor, tensor

__version__ = _version()

__all__ = [
    "DeviceError",
    "Tensor",
    "__version__",
    "enable_grad",
    "functional",
    "get_include",
    "get_library",
    "get_num_threads",
    "is_grad_enabled",
    "kernels",
    "nn",
    "no_grad",
    "optim",
    "random",
    "set_num_threads",
    "tensor",
]
