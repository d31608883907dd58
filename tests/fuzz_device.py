"""Calls every function of medkern/device.h with hostile arguments; test_bad_input.py runs it as a program.

    python fuzz_device.py CASES LOG

Functions and their arguments are read from the header, so that none can be forgotten. Each call is written
to LOG before it is made, so that a crash can be told. What no library can tell is left out: memory that is
said to be the host's and isn't, more bytes than there are, streams of others that don't live.
"""

import ctypes
import random
import re
import sys
from pathlib import Path

import medkern

HEADER = Path(medkern.__file__).parent / "include" / "medkern" / "device.h"
FUNCTION = re.compile(r"MK_API (mk_status|void) (mk_\w+)\(([^)]*)\);")
INTERNAL = 5  # the first status that no call may have
CPU, CUDA = 1, 2
PLACES = [(CPU, 0), *[(CUDA, 0)] * 6, (CUDA, 1)]
NOWHERE = [(CUDA, -1), (CUDA, 99), (CUDA, 2**31 - 1), (3, 0), (7, 0), (0, 0), (-1, -1)]
BYTES = 4096
SIZES = [0, 1, 255, *[BYTES] * 6, 1 << 20, 2**62, 2**63, 2**64 - 1]
GARBAGE = [8, 4096, 2**47, 2**64 - 8]
ROOM = 1 << 14  # for any result


class Device(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int32), ("id", ctypes.c_int32)]


class Fuzz:
    """What is alive, and arguments made of it.

    Attributes:
        live: handles by the name that arguments of their kind have.
        gone: those that were destroyed.
        memory: (device, pointer) of blocks of BYTES that are alive.
    """

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.live = {"stream": [], "event": [], "graph": []}
        self.gone = {"stream": [], "event": [], "graph": []}
        self.memory = []
        self.copied = set()  # those on the host that a graph may copy again

    def device(self):
        return self.chance.choice(NOWHERE if self.chance.random() < 0.15 else PLACES)

    def result(self):
        """Room for a result whose struct_size says this or that, or none."""
        if self.chance.random() < 0.1:
            return None
        room = ctypes.create_string_buffer(ROOM)
        size = self.chance.choice([0, 8, ROOM, ROOM, ROOM, 2**64 - 1])
        ctypes.memmove(room, ctypes.byref(ctypes.c_uint64(size)), 8)
        return room

    def handle(self, function, name):
        kind = {"other": "stream", "begin": "event", "end": "event"}.get(name, name)
        choices = self.live[kind] * 2 + [None]
        if kind == "stream" and function != "mk_stream_destroy":
            return self.chance.choice([*choices, 1])
        return self.chance.choice([*choices, *self.gone[kind], *GARBAGE])

    def place(self):
        """Memory and the device it is on, now and then a device that isn't there or no memory."""
        if not self.memory or self.chance.random() < 0.2:
            device, pointer = self.chance.choice(NOWHERE), self.chance.choice([None, *GARBAGE])
            return (device, pointer) if self.chance.random() < 0.5 else (self.device(), None)
        return self.chance.choice(self.memory)

    def arguments(self, function, parameters):
        values = {}
        for kind, name in parameters:
            if name in values:
                continue
            if kind == "DLDevice":
                values[name] = self.device()
                if name == "to_device":
                    values["to_device"], values["to"] = self.place()
                elif name == "from_device":
                    values["from_device"], values["from"] = self.place()
                elif function == "mk_device_free":
                    values["device"], values["memory"] = self.place()
                    if (values["device"], values["memory"]) in self.copied:
                        values["memory"] = None
            elif kind == "size_t":
                values[name] = self.chance.choice(
                    [n for n in SIZES if n <= BYTES] if "to" in values else SIZES
                )
            elif kind == "const void*":  # of any kind
                values[name] = self.chance.choice([None, *GARBAGE, *(pointer for _, pointer in self.memory)])
            elif kind == "void*":
                values[name] = self.handle(function, name)
            else:
                values[name] = self.result()
        if "to" in values:
            ends = (values["to_device"], values["to"]), (values["from_device"], values["from"])
            self.copied |= {end for end in ends if end[0][0] == CPU}
        return [values[name] for _, name in parameters]

    def note(self, function, parameters, given):
        """What a call that succeeded made or destroyed."""
        for (kind, name), value in zip(parameters, given, strict=True):
            if kind == "void**" and name in self.live and function != "mk_stream_get":
                self.live[name].append(int.from_bytes(value[:8], sys.byteorder))
            elif function.endswith("_destroy") and name in self.live:
                self.live[name].remove(value)
                self.gone[name].append(value)
        if function == "mk_device_alloc" and given[1] == BYTES:
            self.memory.append((given[0], int.from_bytes(given[2][:8], sys.byteorder)))
        elif function == "mk_device_free" and tuple(given) in self.memory:
            self.memory.remove(tuple(given))


def functions():
    """(name, whether it has a status, [(type, name) of each parameter]) of all functions."""
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)
    for result, name, parameters in FUNCTION.findall(text):
        words = [
            re.fullmatch(r"(.*?)(\w+)", p.strip(), flags=re.S)
            for p in " ".join(parameters.split()).split(",")
        ]
        yield name, result == "mk_status", [(w[1].replace(" *", "*").strip(), w[2]) for w in words]


def main(cases, log):
    library = ctypes.CDLL(str(next(Path(medkern.__file__).parent.glob("libmedkern.*"))))
    library.mk_last_error.restype = ctypes.c_char_p
    fuzz, succeeded, all_functions = Fuzz(1), set(), list(functions())
    assert len(all_functions) > 20
    with open(log, "wb", buffering=0) as file:
        for _ in range(cases * len(all_functions)):
            name, has_status, parameters = fuzz.chance.choice(all_functions)
            given = fuzz.arguments(name, parameters)
            file.seek(0)
            file.truncate()
            file.write(f"{name}({given})".encode())
            function = getattr(library, name)
            function.restype = ctypes.c_int if has_status else None
            status = function(
                *(
                    Device(*value)
                    if kind == "DLDevice"
                    else ctypes.c_uint64(value)
                    if kind == "size_t"
                    else ctypes.c_void_p(value)
                    if isinstance(value, int)
                    else value
                    for (kind, _), value in zip(parameters, given, strict=True)
                )
            )
            if has_status and not 0 <= status < INTERNAL:
                sys.exit(f"{name}({given})\n    {library.mk_last_error().decode()}")
            if not status:
                succeeded.add(name)
                fuzz.note(name, parameters, given)
    print(" ".join(sorted(succeeded)))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
