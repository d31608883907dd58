"""Modules that hold other modules."""

from __future__ import annotations

import itertools
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from medkern.nn.conv import _DirectConv
from medkern.nn.module import Module


def _expect_module(owner: Module, value: Any) -> Module:
    if not isinstance(value, Module):
        raise TypeError(f"{type(owner).__name__}: expected a Module, got {type(value).__name__}")
    return value


class ModuleList(Module):
    """A list of modules, named "0", "1", ... ; it has no forward of its own.

    Args:
        modules: the first modules.
    """

    def __init__(self, modules: Iterable[Module] = ()):
        super().__init__()
        self.extend(modules)

    def append(self, module: Module) -> None:
        """Adds a module at the end."""
        setattr(self, str(len(self)), _expect_module(self, module))

    def extend(self, modules: Iterable[Module]) -> None:
        """Adds modules at the end."""
        for module in modules:
            self.append(module)

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, index: int) -> Module:
        return list(self.children())[index]

    def __setitem__(self, index: int, module: Module) -> None:
        name = range(len(self))[index]
        setattr(self, str(name), _expect_module(self, module))


class Sequential(ModuleList):
    """Modules applied one after the other.

    Args:
        modules: the modules, in order.

    Example:
        >>> net = medkern.nn.Sequential(medkern.nn.Linear(4, 8), medkern.nn.ReLU())
        >>> net[0].out_features
        8
    """

    def __init__(self, *modules: Module):
        super().__init__(modules)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if isinstance(value, Module):
            for module, following in itertools.pairwise(self.children()):
                if isinstance(module, _DirectConv) and (module is value or following is value):
                    module.precede(following)

    def forward(self, x: Any) -> Any:
        """Passes x through every module in turn."""
        for module in self:
            x = module(x)
        return x


class ModuleDict(Module):
    """Modules by name; it has no forward of its own.

    Args:
        modules: the first modules.
    """

    def __init__(self, modules: Mapping[str, Module] | None = None):
        super().__init__()
        for name, module in (modules or {}).items():
            self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        taken = name not in self.keys() and hasattr(self, name)
        if not name or "." in name or taken:
            raise ValueError(
                f"ModuleDict: a name must not be empty, hold a dot or be a method's, got {name!r}"
            )
        setattr(self, name, _expect_module(self, module))

    def __getitem__(self, name: str) -> Module:
        return dict(self.named_children())[name]

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __len__(self) -> int:
        return len(self.keys())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self) -> KeysView[str]:
        """The names."""
        return dict(self.named_children()).keys()

    def values(self) -> ValuesView[Module]:
        """The modules."""
        return dict(self.named_children()).values()

    def items(self) -> ItemsView[str, Module]:
        """Pairs of name and module."""
        return dict(self.named_children()).items()
