"""What the figures were measured on."""

from __future__ import annotations

import datetime
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_ISA_FLAGS = ("avx2", "fma", "avx512f", "avx512vl", "avx512_bf16", "amx_tile")


def _cpuinfo() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo, where there is one."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    pairs = [line.partition(":") for line in text.split("\n\n")[0].splitlines()]
    return {key.strip(): value.strip() for key, _, value in pairs}


def _caches() -> dict[str, str]:
    """Name -> size, as the system tells it."""
    found = {}
    for folder in sorted(_CACHES.glob("index*")):
        try:
            level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        found[f"L{level}{ {'Data': 'd', 'Instruction': 'i'}.get(kind, '') }"] = size
    return found


def busy_seconds() -> float | None:
    """Processor time that all programs have used, time taken by the host included; None where not known."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    ticks = [int(field) for field in fields]
    user, nice, system, _, _, irq, softirq, steal = ticks[:8]
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


_ASKED = {
    "driver": "driver_version",
    "SM clock MHz": "clocks.sm",
    "of at most": "clocks.max.sm",
    "memory clock MHz": "clocks.mem",
    "power limit W": "power.limit",
    "temperature C": "temperature.gpu",
}


def gpu() -> dict[str, Any]:
    """The CUDA device that medkern uses, and what nvidia-smi says of it now, where it is installed."""
    from medkern import cuda

    properties = cuda.get_device_properties()
    major, minor = properties["compute_capability"]
    found = {
        "name": properties["name"],
        "compute capability": f"{major}.{minor}",
        "multiprocessors": properties["multiprocessors"],
        "memory GiB": round(properties["memory_bytes"] / 2**30, 1),
    }
    program = None if properties["emulated"] else shutil.which("nvidia-smi")
    if program is not None:
        query = [
            program,
            "-i",
            "0",
            "--format=csv,noheader,nounits",
            f"--query-gpu={','.join(_ASKED.values())}",
        ]
        try:
            done = subprocess.run(query, capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return found
        values = [value.strip() for value in done.stdout.split("\n", 1)[0].split(",")]
        if done.returncode == 0 and len(values) == len(_ASKED):
            found.update(zip(_ASKED, values, strict=True))
    return found


def description() -> dict[str, Any]:
    """Processor, caches, memory, system and date."""
    info = _cpuinfo()
    numbers = [f"{key} {info[name]}" for key, name in _NUMBERS.items() if name in info]
    return {
        "processor": " ".join([info.get("model name", platform.processor()), *numbers]).strip(),
        "instructions": [flag for flag in _ISA_FLAGS if flag in info.get("flags", "").split()],
        "caches": _caches(),
        "processors": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
    }


_NUMBERS = {"family": "cpu family", "model": "model", "stepping": "stepping"}
