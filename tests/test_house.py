"""The architecture, as a test: what may know what, and where things live (docs/architecture.md).

Adding an operation or a family needs no edit here; adding a namespace to `medkern` needs a layer below.
"""

import ast
import ctypes
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import medkern

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"
PYTHON = ROOT / "python" / "medkern"
KERNELS = CSRC / "kernels"
LONGEST_FILE = 600

FAMILIES = sorted({p.parent.name for p in KERNELS.glob("*/*.cpp")})


def files(*suffixes, below=("csrc", "python", "tests", "bench")):
    found = []
    for folder in below:
        found += [p for p in (ROOT / folder).rglob("*") if p.suffix in suffixes and p.is_file()]
    assert found, f"no {suffixes} below {below}"
    return sorted(found)


def named(path):
    return path.relative_to(ROOT).as_posix()


def complain(faults):
    assert not faults, "\n".join(["", *faults])


# ---------------------------------------------------------------- Python: imports point down only

LAYERS = [
    ["_C", "embed", "extras"],
    ["devices"],
    ["cuda", "kernels"],
    ["tensor"],
    ["autograd", "random"],
    ["functional"],
    ["nn"],
    ["losses", "metrics", "optim", "testing"],
    ["models"],
    ["io"],
    ["data", "plot"],
    ["explain", "inference"],
    ["segmentation"],
    ["callbacks"],
    ["trainer"],
    ["gan"],
    [""],  # medkern itself
    ["demo"],
    ["bench", "cli"],
    ["__main__"],
]
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}

# The knot that reverse mode ties: a tensor's own method starts the sweep, and the sweep adds gradients that
# are tensors themselves. Both imports wait until they are needed.
DEFERRED_UPWARD = {("tensor", "autograd"), ("autograd", "functional")}


def module_name(path):
    parts = list(path.relative_to(PYTHON).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PYTHON.rglob("*.py"))}


def imported(path):
    """(module inside medkern, whether the import waits inside a function, line) for each import."""
    package = ["medkern", *path.relative_to(PYTHON).parent.parts]
    found = []

    def add(target, deferred, line):
        if target == "medkern":
            found.append(("", deferred, line))
        elif target.startswith("medkern."):
            found.append((target.removeprefix("medkern."), deferred, line))

    def visit(node, deferred):
        for child in ast.iter_child_nodes(node):
            inside = deferred or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue  # names for annotations only: nothing is imported when the code runs
            if isinstance(child, ast.Import):
                for alias in child.names:
                    add(alias.name, inside, child.lineno)
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    stem = package[: len(package) - child.level + 1]
                    base = ".".join([*stem, base]).rstrip(".")
                for alias in child.names:
                    full = f"{base}.{alias.name}"
                    inner = full.removeprefix("medkern.")
                    # `from medkern import kernels` names a module, `from medkern.tensor import Tensor` a
                    # thing inside one.
                    is_module = full.startswith("medkern.") and (inner in MODULES or inner == "_C")
                    add(full if is_module else base, inside, child.lineno)
            visit(child, inside)

    visit(ast.parse(path.read_text()), False)
    return found


def top(module):
    return module.partition(".")[0]


def test_every_module_has_a_layer():
    complain(
        [
            f"{named(path)}: give '{top(name)}' a layer in tests/test_house.py"
            for name, path in MODULES.items()
            if top(name) not in LAYER
        ]
    )


def test_python_imports_point_down():
    faults = []
    for name, path in MODULES.items():
        for target, deferred, line in imported(path):
            user, used = top(name), top(target)
            if user == used or used not in LAYER or user not in LAYER:
                continue
            if LAYER[used] < LAYER[user] or (deferred and (user, used) in DEFERRED_UPWARD):
                continue
            faults.append(f"{named(path)}:{line}: {user} must not import {used or 'medkern itself'}")
    complain(faults)


def test_python_modules_import_in_no_circle():
    """Inside one layer too: a package's files have an order."""
    uses = {}
    for name, path in MODULES.items():
        targets = {t for t, deferred, _ in imported(path) if not deferred and t in MODULES and t != name}
        # A file that imports its own package imports whatever the package's __init__ does.
        uses[name] = targets
    done, path_now = set(), []

    def follow(module):
        if module in path_now:
            circle = [*path_now[path_now.index(module) :], module]
            pytest.fail(" -> ".join(circle))
        if module in done:
            return
        path_now.append(module)
        for used in sorted(uses[module]):
            follow(used)
        path_now.pop()
        done.add(module)

    for module in uses:
        follow(module)


# ---------------------------------------------------------------- C++: includes point down only

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.MULTILINE)

# Folder of csrc -> what its files may include.
MAY_INCLUDE = {
    "include": {"include"},
    "core": {"include", "core"},
    "cpu": {"include", "core", "cpu"},
    "cuda": {"include", "core", "cuda"},
    "kernels": {"include", "core", "cpu", "cuda", "kernels"},
    "bindings": {"include", "bindings"},
    "devices.cpp": {"include", "core", "cuda"},
    "dispatch.cpp": {"include", "core", "cuda", "kernels"},
}
# The registries are filled from the top: these files see every family's table.
REGISTRIES = {"csrc/cpu/table.simd.cpp", "csrc/cuda/table.cpp"}

# What a file that is built for several instruction sets may take from outside: types and instructions, but no
# inline functions that the linker could keep in the copy for a newer processor.
SIMD_SYSTEM_HEADERS = {"cstddef", "cstdint", "immintrin.h", "type_traits"}


def includes(path):
    return [(kind == "<", name) for kind, name in INCLUDE.findall(path.read_text())]


def folder_of(include):
    return "include" if include.startswith("medkern") else include.partition("/")[0]


def test_cpp_includes_point_down():
    faults = []
    for path in files(".h", ".cpp", below=("csrc",)):
        layer = path.relative_to(CSRC).parts[0]
        allowed = MAY_INCLUDE[layer]
        for system, include in includes(path):
            if system:
                continue
            folder = folder_of(include)
            if folder not in allowed and not (named(path) in REGISTRIES and folder == "kernels"):
                faults.append(f'{named(path)}: {layer} must not include "{include}"')
    complain(faults)


def test_core_knows_no_operation():
    complain(
        [
            f'{named(path)}: must not include "{include}"'
            for path in files(".h", ".cpp", below=("csrc/core",))
            for _, include in includes(path)
            if include.removeprefix("medkern/").removesuffix(".h") in FAMILIES
        ]
    )


def test_vector_code_is_included_by_vector_code_only():
    faults = []
    for path in files(".cpp", below=("csrc",)):
        if path.name.endswith(".simd.cpp"):
            for system, include in includes(path):
                if system and include not in SIMD_SYSTEM_HEADERS:
                    faults.append(f"{named(path)}: must not include <{include}>")
        else:
            faults += [
                f'{named(path)}: must not include "{include}", which is for *.simd.cpp'
                for _, include in includes(path)
                if folder_of(include) == "cpu"
            ]
    for path in files(".h", below=("csrc/cpu",)):
        faults += [
            f"{named(path)}: must not include <{include}>"
            for system, include in includes(path)
            if system and include not in SIMD_SYSTEM_HEADERS
        ]
    complain(faults)


# ---------------------------------------------------------------- where a family's files lie


def family_of(path):
    """The family a file belongs to: by its folder, its name, or its name being that of one of its parts.

    `test_unary.py` and `unary_flags.py` belong to the family whose folder holds `unary.cpp`.
    """
    if path.parent.parent == KERNELS:
        return path.parent.name
    words = path.stem.removeprefix("test_").split("_")
    stems = ["_".join(words[:n]) for n in range(len(words), 0, -1)]
    for stem in stems:
        if stem in FAMILIES:
            return stem
        for part in KERNELS.glob(f"*/{stem}.*"):
            return part.parent.name
    return None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_all_its_files(family):
    expected = [
        f"csrc/include/medkern/{family}.h",
        f"csrc/kernels/{family}/{family}.h",
        f"csrc/bindings/{family}.cpp",
        f"python/medkern/kernels/{family}.py",
        f"tests/reference/{family}.py",
    ]
    if (PYTHON / "functional" / f"{family}.py").exists():
        expected.append(f"tests/functional/test_{family}.py")
    faults = [f"{path} is missing" for path in expected if not (ROOT / path).exists()]
    for folder, pattern in [(KERNELS / family, "*.simd.cpp"), (ROOT / "tests" / "kernels", "test_*.py")]:
        if not any(family_of(p) == family for p in folder.glob(pattern)):
            faults.append(f"{named(folder)} has no {pattern} of {family}")
    header = (CSRC / "include" / "medkern.h").read_text()
    if f'"medkern/{family}.h"' not in header:
        faults.append(f"medkern.h does not include medkern/{family}.h")
    complain(faults)


def test_there_are_no_strays():
    shared = {"arguments", "array", "device", "dtype", "exchange", "module", "program", "runtime"}
    folders = [CSRC / "bindings", PYTHON / "kernels", ROOT / "tests" / "kernels"]
    complain(
        [
            f"{named(p)}: no family, or part of one, has that name"
            for folder in folders
            for p in sorted(folder.iterdir())
            if p.suffix in (".cpp", ".py") and not p.stem.startswith("_")
            if p.stem not in shared and family_of(p) is None
        ]
    )


def test_every_function_of_a_kernels_file_is_public():
    faults = []
    for path in sorted((PYTHON / "kernels").glob("[a-z]*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                if node.name not in medkern.kernels.__all__:
                    faults.append(f"{named(path)}: {node.name} is not in medkern.kernels.__all__")
                if ast.get_docstring(node) is None:
                    faults.append(f"{named(path)}: {node.name} has no docstring")
    complain(faults)


# ---------------------------------------------------------------- manners


def test_files_fit_a_sitting():
    faults = []
    for path in files(".h", ".c", ".cpp", ".py", ".pyi"):
        lines = len(path.read_text().splitlines())
        if lines > LONGEST_FILE and path.suffix != ".pyi":
            faults.append(f"{named(path)}: {lines} lines, at most {LONGEST_FILE}")
    complain(faults)


def test_sources_are_ascii():
    complain(
        [
            f"{named(path)}: not ASCII"
            for path in files(".h", ".c", ".cpp", ".py", ".pyi")
            if not path.read_bytes().isascii()
        ]
    )


def without_comments_and_strings(text):
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', '""', text, flags=re.DOTALL)


def test_the_library_never_prints_or_ends_the_process():
    forbidden = re.compile(r"\b(?:f?printf|puts|abort|_?exit|terminate)\s*\(|\bstd::(?:cout|cerr|clog)\b")
    faults = []
    for path in files(".h", ".cpp", below=("csrc",)):
        for match in forbidden.findall(without_comments_and_strings(path.read_text())):
            faults.append(f"{named(path)}: {match}")
    complain(faults)


def test_python_runs_no_code_from_data():
    """Nothing that is loaded can run code: no pickle, no eval, no exec."""
    modules = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    faults = []
    for path in files(".py", below=("python", "bench")):
        for node in ast.walk(ast.parse(path.read_text())):
            where = f"{named(path)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("eval", "exec"):
                faults.append(f"{where}: {ast.unparse(node.func)}()")
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                faults.append(f"{where}: allow_pickle")
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            faults += [f"{where}: imports {name}" for name in names if top(name) in modules]
    complain(faults)


def test_importing_medkern_is_light():
    """No module that only some functions need is imported by `import medkern`."""
    heavy = ["matplotlib", "nibabel", "nilearn", "PIL", "pandas", "pydicom", "scipy", "sklearn", "torch"]
    heavy += ["tqdm", "argparse", "asyncio", "multiprocessing", "unittest"]
    code = (
        "import sys, numpy; before = set(sys.modules); import medkern\n"
        f"print([m for m in {heavy} if m in sys.modules and m not in before])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------- what was built

LIBRARY = Path(medkern.__file__).parent / "libmedkern.so"
NM = shutil.which("nm")


def declared_functions():
    names = set()
    for header in files(".h", below=("csrc/include",)):
        names |= set(re.findall(r"\bMK_API[^;()]*?\b(mk_\w+)\s*\(", header.read_text()))
    assert names
    return names


def test_every_declared_function_is_defined():
    library = ctypes.CDLL(str(LIBRARY))
    complain([f"{n} is declared but not defined" for n in declared_functions() if not hasattr(library, n)])


@pytest.mark.skipif(NM is None, reason="needs nm")
def test_the_library_exports_the_c_api_only():
    listing = subprocess.run(
        [NM, "-D", "--defined-only", LIBRARY], capture_output=True, text=True, check=True
    )
    exported = {line.split()[-1].partition("@")[0] for line in listing.stdout.splitlines()}
    # Weak symbols of the C++ library's own templates are not ours to hide.
    ours = {name for name in exported if not name.startswith("_Z")}
    complain([f"{name} is exported but not declared" for name in sorted(ours - declared_functions())])
    complain([f"{name} is exported" for name in sorted(exported) if "medkern" in name])


def isa_objects():
    """Object files of the last build in this checkout, by instruction set."""
    found = {}
    for path in ROOT.glob("build/*/CMakeFiles/medkern_*.dir/**/*.simd.cpp.o"):
        isa = re.search(r"medkern_(\w+)\.dir", path.as_posix()).group(1)
        found.setdefault(isa, []).append(path)
    return found


@pytest.mark.skipif(NM is None, reason="needs nm")
def test_instruction_sets_share_no_code():
    """A function outside the namespace of its instruction set may be kept by the linker in place of one
    that older processors can run. (Needs the objects of a build in this folder: libraries are stripped.)"""
    objects = isa_objects()
    if not objects:
        pytest.skip("no object files: medkern was not built in this folder")
    faults = []
    for isa, paths in objects.items():
        command = [NM, "--print-file-name", "--defined-only", "--extern-only", *paths]
        listing = subprocess.run(command, capture_output=True, text=True, check=True)
        for line in listing.stdout.splitlines():
            name = line.split()[-1]
            # A mangled name that holds the namespace, if only in a template argument, is its own.
            if f"7medkern{len(isa)}{isa}" not in name and f"NS_{len(isa)}{isa}" not in name:
                faults.append(f"{isa}: {line}")
    complain(faults)
