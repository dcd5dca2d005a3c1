"""What the figures were measured on."""

import os
import platform
import re
from pathlib import Path


def describe():
    """The machine, for people, as JSON."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory_kib = re.search(r"MemTotal:\s*(\d+) kB", Path("/proc/meminfo").read_text())
    release = platform.freedesktop_os_release()
    return {
        "processor": model[1] if model else platform.machine(),
        "processors": threads(),
        "memory_gib": int(memory_kib[1]) / 2**20,
        "system": release.get("PRETTY_NAME", release["NAME"]),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def threads():
    """Processors that this program, and what it starts, may use."""
    return len(os.sched_getaffinity(0))
