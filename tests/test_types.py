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
# pybind11's own; and the buffer protocol, which is a method for Python 3.12 and later only.
NOT_IN_STUB, ONLY_IN_STUB = {"_pybind11_conduit_v1_"}, {"__buffer__", "__init__"}


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


def stub_functions(body):
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef)}


def compare(owner, stub_body):
    ordinary = set(dir(object)) | {"__module__", "__dict__", "__weakref__", "__doc__"}
    there = {n for n in dir(owner) if n not in ordinary} - NOT_IN_STUB
    if owner is _C:
        there = {n for n in there if not n.startswith("__")}
    stub = stub_functions(stub_body)
    stubbed = set(stub) | {node.name for node in stub_body if isinstance(node, ast.ClassDef)}
    faults = []
    for name in sorted(there - stubbed):
        value = getattr(owner, name)
        faults.append(f"add to the stub: {native_signature(value) if callable(value) else name}")
    faults += [f"not in the native module: {name}" for name in sorted(stubbed - there - ONLY_IN_STUB)]
    for name in sorted(there & set(stub)):
        if not callable(getattr(owner, name)):
            continue
        native = native_signature(getattr(owner, name))
        if arguments(ast.parse(native).body[0]) != arguments(stub[name]):
            faults.append(f"{name} is: {native}")
    return faults


def test_the_stub_has_every_name_and_argument():
    faults = compare(_C, STUB.body)
    array = next(n for n in STUB.body if isinstance(n, ast.ClassDef) and n.name == "Array")
    faults += compare(_C.Array, array.body)
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
