"""The stub of the native module says what is there, and the package passes mypy."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from medkern import _C

ROOT = Path(__file__).resolve().parents[1]
STUB = ast.parse((ROOT / "python" / "medkern" / "_C.pyi").read_text())


def readable(text):
    """pybind11's type names as the stub writes them."""
    text = text.replace("typing.SupportsInt | typing.SupportsIndex", "int")
    text = text.replace("typing.SupportsFloat | typing.SupportsIndex", "float")
    text = text.replace("collections.abc.Sequence", "Sequence").replace("medkern._C.", "")
    return re.sub(r"\bobject\b(?! *:)", "Any", text)


def native_signature(function):
    """The function as a line of the stub, from the signature pybind11 writes into the docstring."""
    return f"def {readable(function.__doc__.strip().splitlines()[0])}: ..."


def arguments(definition):
    """Names, kinds and defaults of the arguments, without `self`."""
    args = definition.args
    names = [a.arg for a in (*args.posonlyargs, *args.args) if a.arg != "self"]
    defaults = [ast.unparse(d) for d in args.defaults]
    keywords = [(a.arg, d and ast.unparse(d)) for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    return names, defaults, keywords


def stub_names(body):
    """Name -> definition: functions, classes and attributes."""
    names = {n.name: n for n in body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    return names | {n.target.id: n for n in body if isinstance(n, ast.AnnAssign)}


def native_names(owner):
    names = {n for n in dir(owner) if not n.startswith("_")}
    if isinstance(owner, type):  # its own special methods, not those of every object or of pybind11's enums
        names |= {n for n in ("__dlpack__", "__dlpack_device__") if hasattr(owner, n)}
    return names


def compare(owner, body):
    native, stub = native_names(owner), stub_names(body)
    faults = []
    for name in sorted(native - set(stub)):
        value = getattr(owner, name)
        is_function = callable(value) and not isinstance(value, type)
        faults.append(f"add to the stub: {native_signature(value) if is_function else name}")
    for name in sorted(set(stub) - native):
        if not name.startswith("__"):
            faults.append(f"not in the native module: {name}")
    for name in sorted(native & set(stub)):
        value, definition = getattr(owner, name), stub[name]
        if isinstance(definition, ast.ClassDef):
            if definition.body and not issubclass(value, Exception):
                faults += [f"{name}: {fault}" for fault in compare(value, definition.body)]
        elif isinstance(definition, ast.FunctionDef) and callable(value):
            line = native_signature(value)
            if arguments(ast.parse(line).body[0]) != arguments(definition):
                faults.append(f"{name} is: {line}")
    return faults


def test_the_stub_has_every_name_and_argument():
    faults = compare(_C, STUB.body)
    assert not faults, "\n".join(["", *faults])


def test_the_package_passes_mypy():
    pytest.importorskip("mypy")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", ROOT / "python" / "medkern"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
