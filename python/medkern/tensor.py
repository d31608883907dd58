"""`Tensor`: an array that remembers how it was computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from medkern import _C, kernels

if TYPE_CHECKING:
    from medkern.autograd import Node

ArrayLike = Any


class Tensor:
    """An n-dimensional array with a gradient.

    Operators and methods are those of `medkern.functional`, attached there.

    Attributes:
        array: the values, a `medkern._C.Array` (NumPy, on the CPU, and every DLPack library view it without a
            copy).
        grad: after `backward()`, the gradient of the result with respect to this tensor if it is a
            leaf with `requires_grad`; else None.
        requires_grad: whether gradients flow to this tensor.
    """

    __slots__ = ("_bfloat16", "_index", "_node", "_version", "array", "grad", "requires_grad")

    # What a norm need not find out: see `Measured`.
    moments: _C.Array | None = None
    sample_moments: _C.Array | None = None

    # NumPy leaves `ndarray op Tensor` to Tensor's reflected operators.
    __array_priority__ = 1000
    __array_ufunc__ = None

    def __init__(self, array: _C.Array, requires_grad: bool = False):
        self.array = array
        self.grad: Tensor | None = None
        self.requires_grad = requires_grad
        self._node: Node | None = None  # the operation that made this tensor, None for a leaf
        self._index = 0  # which of that operation's results it is
        self._version = 0  # counts changes in place, so that backward can refuse stale values
        self._bfloat16: tuple[_C.Array, int, _C.Array] | None = None  # see `functional/_bfloat16.py`

    @property
    def shape(self) -> tuple[int, ...]:
        """The size along each axis."""
        return self.array.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.array.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.array.size

    @property
    def dtype(self) -> np.dtype:
        """The element type: a NumPy dtype, or `medkern.bfloat16`."""
        return self.array.dtype

    @property
    def device(self) -> str:
        """Where the values are: "cpu", "cuda:0", ..."""
        return self.array.device

    @property
    def is_cuda(self) -> bool:
        """Whether they are on a CUDA device."""
        return self.array.device != "cpu"

    @property
    def is_bfloat16(self) -> bool:
        """Whether their type is bfloat16."""
        # The size first: comparing types takes ten times as long, and every operation asks.
        dtype = self.array.dtype
        return dtype.itemsize == 2 and dtype == _C.bfloat16

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made this tensor."""
        return self._node is None

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array that shares this tensor's memory.

        From a CUDA device they are copied, once all work on them is done; the copy is read-only, since what
        is written to it would not reach the tensor.

        Raises:
            TypeError: the elements are bfloat16, which NumPy has not; `.to("float32")` converts them.
        """
        values = self.array.numpy()
        if self.is_cuda:
            values.flags.writeable = False
        return values

    def item(self) -> float | int:
        """The only element, as a Python number; ValueError if there are more."""
        if self.size != 1:
            raise ValueError(f"item: the tensor must have one element, got shape {self.shape}")
        return self._readable().item()

    def _readable(self) -> np.ndarray:
        """The values in a type NumPy has."""
        if not self.is_bfloat16:
            return self.numpy()
        return _C.copy(self.array, "float32", False, None).numpy()

    def detach(self) -> Tensor:
        """The same memory without its history: gradients stop here."""
        return Tensor(self.array)

    def copy_(self, values: ArrayLike) -> Tensor:
        """Overwrites the values in place with `values` of the same shape, outside of any gradient.

        They may come from any device, and are converted if that loses no more than precision.
        """
        new = values.array if isinstance(values, Tensor) else values
        if not isinstance(new, _C.Array):
            new = _C.Array(new, "cpu") if _is_bfloat16(new) else np.asarray(new)
        if new.shape != self.shape:
            raise ValueError(f"copy_: values must have shape {self.shape}, got {new.shape}")
        if not self.is_cuda and _C.bfloat16 not in (self.dtype, new.dtype):
            np.copyto(self.numpy(), np.asarray(new))
        elif np.can_cast(_stand_in(new.dtype), _stand_in(self.dtype), casting="same_kind"):
            _C.copy(_C.Array(new, self.device), None, False, self.array)
        else:
            raise TypeError(f"copy_: values must be {self.dtype}, got {new.dtype}")
        self._version += 1
        return self

    def backward(
        self, grad: Tensor | None = None, retain_graph: bool = False, create_graph: bool = False
    ) -> None:
        """Adds the gradient of this tensor to the `grad` of every leaf it was computed from.

        Args:
            grad: gradient of the final result with respect to this tensor; may be left out for a
                tensor with one element, where it is 1.
            retain_graph: keep what `backward` needs, so that it can be called again.
            create_graph: record the gradients themselves, so that they can be differentiated.
        """
        from medkern.autograd import backward

        backward([self], [grad], retain_graph=retain_graph, create_graph=create_graph)

    if TYPE_CHECKING:  # attached by medkern.functional, where they are explained

        def __neg__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __pow__(self, exponent: float) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __eq__(self, other: object) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: object) -> Tensor: ...  # type: ignore[override]
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __hash__(self) -> int: ...
        def __getitem__(self, key: Any) -> Tensor: ...

        T: Tensor
        relu: Callable[[], Tensor]
        sigmoid: Callable[[], Tensor]
        tanh: Callable[[], Tensor]
        exp: Callable[[], Tensor]
        log: Callable[[], Tensor]
        sqrt: Callable[[], Tensor]
        abs: Callable[[], Tensor]
        square: Callable[[], Tensor]
        clamp: Callable[..., Tensor]
        sum: Callable[..., Tensor]
        mean: Callable[..., Tensor]
        var: Callable[..., Tensor]
        max: Callable[..., Any]
        min: Callable[..., Any]
        reshape: Callable[..., Tensor]
        permute: Callable[..., Tensor]
        expand: Callable[..., Tensor]
        transpose: Callable[[int, int], Tensor]
        flatten: Callable[..., Tensor]
        squeeze: Callable[..., Tensor]
        unsqueeze: Callable[[int], Tensor]
        contiguous: Callable[[], Tensor]
        to: Callable[..., Tensor]
        cuda: Callable[..., Tensor]
        cpu: Callable[[], Tensor]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy:
            return np.array(self.array, dtype=dtype)
        if self.is_cuda:
            if copy is False:
                raise ValueError(f"a tensor on {self.device} can't become a NumPy array without a copy")
            return np.asarray(self.numpy(), dtype=dtype)
        return np.asarray(self.array, dtype=dtype)

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self.array.__cuda_array_interface__

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of a tensor with no axes")
        return self.shape[0]

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __repr__(self) -> str:
        values = np.array2string(self._readable(), precision=4, threshold=100, prefix="tensor(")
        extra = f", dtype={self.dtype}" if self.dtype != np.float32 else ""
        extra += f", device={self.device!r}" if self.is_cuda else ""
        extra += ", requires_grad=True" if self.requires_grad else ""
        return f"tensor({values}{extra})"


class Measured(Tensor):
    """The same tensor, with the moments that a convolution left for a norm."""

    __slots__ = ("_moments", "_per_sample")

    def __init__(self, x: Tensor, moments: _C.Array, per_sample: bool):
        super().__init__(x.array, x.requires_grad)
        self._node, self._index = x._node, x._index
        self._moments: _C.Array | None = moments
        self._per_sample = per_sample

    @property
    def moments(self) -> _C.Array | None:  # type: ignore[override]
        """Of the values, as long as they are not changed in place."""
        return None if self._version else self._moments

    def forget_moments(self) -> None:
        """Frees their memory: a norm has used them, and keeps this tensor for its gradient."""
        self._moments = None

    @property
    def sample_moments(self) -> _C.Array | None:  # type: ignore[override]
        """The same if none is of two samples."""
        return self.moments if self._per_sample else None


def tensor(data: ArrayLike, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """A tensor with a copy of `data`.

    Args:
        data: a number, a nested sequence, a NumPy array, any DLPack object or one with
            `__cuda_array_interface__`.
        dtype: the element type. Without it arrays keep theirs, Python floats become float32 and
            Python ints int64.
        requires_grad: whether gradients flow to it; float types only.
        device: where the tensor is: "cpu", "cuda", "cuda:1", ... Without it what is on a CUDA device stays
            there, and all else goes to the default device.

    Raises:
        TypeError: the dtype is not float32, float64, float16, bfloat16, int32, int64, uint8 or bool, or an
            integer tensor requires a gradient.
        DeviceError: there is no such device.

    Example:
        >>> medkern.tensor([[1.0, 2.0], [3.0, 4.0]]).shape
        (2, 2)
    """
    if dtype is not None and _C.dtype(dtype) == _C.bfloat16:
        data, dtype = tensor(data, device=device), _C.bfloat16
    if _is_on_cuda(data) or _is_bfloat16(data) or dtype == _C.bfloat16:
        source = data.array if isinstance(data, Tensor) else _C.Array(data)
        _expect_dtype(source.dtype if dtype is None else _C.dtype(dtype), requires_grad)
        copied = _C.copy(source, dtype, source.keeps_channels_last, None)
        return Tensor(copied if device is None else copied.to(device), requires_grad)
    target = _C.default_device() if device is None else device
    array = np.array if target == "cpu" else np.asarray  # to go elsewhere is to be copied
    if dtype is None and not hasattr(data, "dtype"):
        values = array(data)
        if values.dtype == np.float64:
            values = values.astype(np.float32)
    elif hasattr(data, "__dlpack__") and not isinstance(data, (np.ndarray, np.generic)):
        values = array(_C.Array(data, "cpu"), dtype=dtype)
    else:
        values = array(data, dtype=dtype)
    _expect_dtype(values.dtype, requires_grad)
    return Tensor(_C.Array(values, device), requires_grad)


def _is_on_cuda(data: ArrayLike) -> bool:
    if isinstance(data, (np.ndarray, np.generic, int, float, list, tuple)):
        return False
    if hasattr(data, "__dlpack_device__"):
        return data.__dlpack_device__()[0] == _DLPACK_CUDA
    return hasattr(data, "__cuda_array_interface__")


def _is_bfloat16(data: ArrayLike) -> bool:
    """Whether it holds bfloat16, which can't go by way of NumPy."""
    if isinstance(data, (np.ndarray, np.generic, int, float, list, tuple)):
        return False
    return str(getattr(data, "dtype", "")).rpartition(".")[2] == "bfloat16"  # torch has "torch.bfloat16"


def _stand_in(dtype: np.dtype) -> np.dtype:
    """The same, float16 for bfloat16: a type of NumPy that converts alike."""
    return np.dtype("float16") if dtype == _C.bfloat16 else dtype


def _expect_dtype(dtype: np.dtype, requires_grad: bool) -> None:
    if dtype not in _DTYPES:
        raise TypeError(f"tensor: dtype must be one of {', '.join(map(str, _DTYPES))}, got {dtype}")
    if requires_grad and dtype.kind != "f":
        raise TypeError(f"tensor: only float tensors can require a gradient, got {dtype}")


def full(
    shape: Sequence[int],
    value: float,
    dtype: Any = "float32",
    requires_grad: bool = False,
    device: Any = None,
) -> Tensor:
    """A tensor whose elements are all `value`.

    Args:
        shape: the size along each axis.
        value: the number.
        dtype: the element type.
        requires_grad: as in `tensor`.
        device: where it is made; None is the default device.

    Example:
        >>> medkern.full((2,), 0.5).numpy()
        array([0.5, 0.5], dtype=float32)
    """
    _expect_dtype(_C.dtype(dtype), requires_grad)
    return Tensor(kernels.full(shape, value, dtype, device=device), requires_grad)


def zeros(
    shape: Sequence[int], dtype: Any = "float32", requires_grad: bool = False, device: Any = None
) -> Tensor:
    """A tensor of zeros; the arguments of `full`."""
    return full(shape, 0, dtype, requires_grad, device)


def ones(
    shape: Sequence[int], dtype: Any = "float32", requires_grad: bool = False, device: Any = None
) -> Tensor:
    """A tensor of ones; the arguments of `full`."""
    return full(shape, 1, dtype, requires_grad, device)


_DTYPES = [
    _C.dtype(name)
    for name in ("float32", "float64", "float16", "bfloat16", "int32", "int64", "uint8", "bool")
]
_DLPACK_CUDA = 2
