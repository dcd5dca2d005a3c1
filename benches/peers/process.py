"""Runs a program and tells what it took: time, memory, and what else the machine did meanwhile."""

import os
import re
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass

FIRST_STEP = re.compile(r"step 0, loss = ([0-9.]+)")


class Failed(Exception):
    """The program did not end well; the message says what it last said."""


@dataclass(frozen=True)
class Outcome:
    output: str
    wall_s: float
    # From the program's start until it told the loss of its first step, if it did.
    first_step_s: float | None
    first_loss: float | None
    # The program's, or that of the largest of the processes that it started and waited for.
    peak_mib: float
    # Share of the processors' time that other programs had.
    other_load: float
    # Share that this virtual machine wanted and did not get.
    stolen: float


def run(command, environment, patience_s, to_the_end=True):
    """Runs a program to its end, or until it told of its first step and is killed.

    Raises `Failed` if it ends badly, takes longer than `patience_s`, or says nothing of a first
    step where that was its end.
    """
    with tempfile.TemporaryFile("w+") as errors:
        before, begin = processor_s(), time.monotonic()
        process = subprocess.Popen(
            [str(word) for word in command],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        watch = threading.Timer(patience_s, process.kill)
        watch.start()
        try:
            output, first = read(process.stdout, begin, to_the_end)
            if first and not to_the_end:
                process.kill()
            # Not `process.wait`: this also tells what the program used.
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            watch.cancel()
        wall_s, after = time.monotonic() - begin, processor_s()
        killed = first and not to_the_end
        if process.returncode != 0 and not killed:
            errors.seek(0)
            raise Failed(f"exit status {process.returncode}: {reason(errors.read() or output)}")
    busy_s, stolen_s = (after[kind] - before[kind] for kind in ["busy", "stolen"])
    capacity_s = wall_s * os.cpu_count()
    others_s = busy_s - usage.ru_utime - usage.ru_stime
    return Outcome(
        output=output,
        wall_s=wall_s,
        first_step_s=first and first[0],
        first_loss=first and first[1],
        peak_mib=usage.ru_maxrss / 1024,
        other_load=max(0.0, others_s / capacity_s),
        stolen=stolen_s / capacity_s,
    )


def read(lines, begin, to_the_end):
    """All that comes, and when the first step was told, with its loss."""
    output, first = [], None
    for line in lines:
        output.append(line)
        if first is None and (found := FIRST_STEP.search(line)):
            first = time.monotonic() - begin, float(found[1])
            if not to_the_end:
                break
    return "".join(output), first


def reason(text):
    """Of what a program said, the line that tells best why it failed: an error, or the last."""
    lines = [line for line in text.splitlines() if line.strip()] or ["it said nothing"]
    return next((line for line in lines if line.startswith("error")), lines[-1])


def processor_s():
    """Time that the processors spent since the machine started, from /proc/stat."""
    with open("/proc/stat") as file:
        fields = [int(field) for field in file.readline().split()[1:9]]
    user, nice, system, _idle, _waiting, interrupts, soft_interrupts, stolen = fields
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    busy = user + nice + system + interrupts + soft_interrupts
    return {"busy": busy * tick_s, "stolen": stolen * tick_s}
