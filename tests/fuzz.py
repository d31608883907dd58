"""Calls every function of a namespace with hostile arguments; test_bad_input.py runs it as a program.

    python fuzz.py NAMESPACE CASES LOG

Each case is written to LOG before it is called, so that a crash can be told. Arguments are drawn by chance; a
case that got a new answer (a new kind of message, or a success) is kept and others are made from it by
changing an argument or two, which soon leads past the first checks.
"""

import importlib
import inspect
import os
import random
import re
import resource
import sys

import numpy as np

import medkern

ALLOWED = (ValueError, TypeError, MemoryError, medkern.DeviceError)
# The functions on tensors may use what a tensor has before they look at what came; and indexing is theirs.
ALLOWED_WITH_TENSORS = (*ALLOWED, AttributeError, IndexError)

SHAPES = [
    *[(), (1,), (3,), (4,), (8,), (0,), (12,), (16,), (2, 3), (3, 4), (4, 3), (3, 3), (2, 0), (16, 3)],
    *[(12, 4), (16, 4), (2, 3, 8), (2, 3, 4), (3, 2, 4), (4, 3, 3), (1, 3, 8, 8), (2, 3, 4, 4)],
    *[(4, 3, 3, 3), (3, 1, 3, 3), (0, 3, 4, 4), (1, 0, 4, 4), (2, 3, 0, 4), (1, 2, 4, 4, 4)],
    *[(2, 2, 1, 3, 3), (1,) * 6, (1,) * 9],
]
DTYPES = ["float32"] * 8 + ["float64", "float64", "int64", "int64", "int32", "uint8", "bool", "float16"]
DTYPES += ["bfloat16", "complex64", ">f4", "uint32", "O", "M8[s]"]
LAYOUTS = ["dense"] * 6 + ["channels_last", "strided", "backward", "readonly", "broadcast", "unaligned"]
FILLS = ["small"] * 4 + ["huge", "nan"]
INTEGERS = [
    -(2**63),
    -(2**31),
    -1,
    0,
    1,
    1,
    2,
    2,
    3,
    4,
    5,
    7,
    65537,
    2**31 - 1,
    2**31,
    2**62,
    2**63 - 1,
    2**63,
]
OTHERS = [
    *[None, True, 0.0, 0.5, -1.5, 1e300, float("nan"), float("inf"), 1j, {}, object, b"bytes", "text"],
    *["same", "mean", "sum", "linear", "relu", "float32", (), (2, 2), (3, 1), [1, 2, 3], (1, 3, 8, 8)],
    *[(2, 3, 4), (2, 3, 4, 4), (2**40, 2**40), (-1, 2), ((1, 1), (0, 2)), ((1, 0),)],
]


def random_array(chance):
    return ("array", *(chance.choice(pool) for pool in (SHAPES, DTYPES, LAYOUTS, FILLS)))


def random_value(chance):
    """A description of a value; `build` makes the value."""
    kind = chance.random()
    if kind < 0.55:
        return random_array(chance)
    if kind < 0.75:
        return ("is", chance.choice(INTEGERS))
    if kind < 0.92:
        return ("is", chance.choice(OTHERS))
    if kind < 0.97:
        return ("tuple", *[random_array(chance) for _ in range(chance.randrange(1, 4))])
    return ("tuple", *[random_array(chance)] * 2)


def build(description):
    kind, *rest = description
    if kind == "is":
        return rest[0]
    if kind == "tuple":
        return tuple(build(each) for each in rest)
    shape, dtype, layout, fill = rest
    if dtype == "bfloat16":  # which NumPy has not
        return medkern.kernels.copy(build(("array", shape, "float32", layout, fill)), dtype=dtype)
    values = np.resize(np.array([1, 0, 2, -1, 3]), shape)
    with np.errstate(all="ignore"):
        x = values.astype("i8").astype(dtype) if dtype != "O" else values.astype(object)
        if fill == "huge" and x.dtype.kind in "iuf":
            x = np.full(shape, (np.iinfo if x.dtype.kind in "iu" else np.finfo)(x.dtype).max, dtype)
    if fill == "nan" and x.dtype.kind == "f":
        x = np.full(shape, np.nan, dtype)
    if layout == "channels_last" and x.ndim >= 3:
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    elif layout == "strided" and x.ndim:
        x = np.repeat(x, 2, axis=-1)[..., ::2]
    elif layout == "backward" and x.ndim:
        x = x[::-1]
    elif layout == "readonly":
        x.flags.writeable = False
    elif layout == "broadcast" and x.ndim and x.shape[0]:
        x = np.broadcast_to(x[:1], shape)
    elif layout == "unaligned" and x.dtype.kind in "iuf" and x.size:
        raw = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(shape)
        raw[...] = x
        x = raw
    return x


def gentle_value(chance):
    """One that could well be right."""
    if chance.random() < 0.6:
        return ("array", chance.choice(SHAPES), "float32", "dense", "small")
    return ("is", chance.randrange(1, 4))


def draw(function, chance):
    """Descriptions of values for the parameters without a default and for some of the others."""
    case = {}
    gentle = chance.random() < 0.5
    for name, parameter in inspect.signature(function).parameters.items():
        required = parameter.default is parameter.empty
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if gentle and required:
            case[name] = gentle_value(chance)
        elif required or (not gentle and chance.random() < 0.3):
            case[name] = random_value(chance)
    return case


def change(case, function, chance):
    changed = dict(case)
    parameters = inspect.signature(function).parameters
    for name in case:
        if parameters[name].default is not inspect.Parameter.empty and chance.random() < 0.3:
            del changed[name]
    for _ in range(chance.randrange(1, 3)):
        name = chance.choice(list(parameters))
        if name in changed and changed[name][0] == "array" and chance.random() < 0.7:
            pools = (SHAPES, DTYPES, LAYOUTS, FILLS)
            place = chance.randrange(4)
            parts = list(changed[name])
            parts[1 + place] = chance.choice(pools[place])
            changed[name] = tuple(parts)
        elif name in changed and chance.random() < 0.2:
            others = [v for v in changed.values() if v[0] == "array"]
            changed[name] = chance.choice(others) if others else random_value(chance)
        else:
            changed[name] = chance.choice([random_value, gentle_value])(chance)
    return changed


def answer(function, case, wrap, allowed):
    """What the call came to: "ok", or the kind of error and message."""
    positional, keywords = [], {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in case:
            continue
        value = wrap(build(case[name]))
        if parameter.kind == parameter.POSITIONAL_ONLY:
            positional.append(value)
        else:
            keywords[name] = value
    try:
        function(*positional, **keywords)
    except allowed as error:
        return f"{type(error).__name__}: {re.sub('[0-9]+', '#', str(error))[:80]}"
    except Exception as error:
        return f"FORBIDDEN {type(error).__name__}: {error}"
    return "ok"


def as_tensor(value):
    if isinstance(value, tuple):
        return tuple(as_tensor(each) for each in value)
    try:
        return medkern.tensor(value) if isinstance(value, (np.ndarray, medkern._C.Array)) else value
    except (TypeError, ValueError):  # of a type, or with dimensions, that no tensor has
        return value


def main(namespace, cases, log):
    # A size that is large but not absurd must not fill the machine's memory.
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
    os.environ.setdefault("MEDKERN_NUM_THREADS", "2")
    module = importlib.import_module(namespace)
    on_tensors = namespace == "medkern.functional"
    wrap = as_tensor if on_tensors else lambda value: value
    allowed = ALLOWED_WITH_TENSORS if on_tensors else ALLOWED
    succeeded, faults = [], []
    with open(log, "wb", buffering=0) as file:
        for name in module.__all__:
            function = getattr(module, name)
            if not inspect.isfunction(function):
                continue
            chance = random.Random(name)
            kept, seen = [], set()
            for number in range(cases):
                fresh = not kept or number < cases // 10 or chance.random() < 0.2
                case = draw(function, chance) if fresh else change(chance.choice(kept), function, chance)
                file.seek(0)
                file.truncate()
                file.write(f"{namespace}.{name}({case})".encode())
                outcome = answer(function, case, wrap, allowed)
                if outcome not in seen:
                    seen.add(outcome)
                    kept.append(case)
                    if outcome.startswith("FORBIDDEN"):
                        faults.append(f"{name}({case})\n    {outcome}")
            if "ok" in seen:
                succeeded.append(name)
    if faults:
        sys.exit("\n".join(faults))
    print(" ".join(succeeded))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
