"""Whether other processes are using the machine; Linux only."""

import os
import time
from pathlib import Path

BUSY_CORES = 0.25


def wait(*, seconds: float, patience: float) -> bool:
    """Wait until other processes used less than a quarter of a core for `seconds`; False where that did not come."""
    end = time.monotonic() + patience
    quiet_since, used = time.monotonic(), used_seconds()
    while time.monotonic() < end:
        time.sleep(1)
        now, before, used = time.monotonic(), used, used_seconds()
        if used - before >= BUSY_CORES:
            quiet_since = now
        elif now - quiet_since >= seconds:
            return True
    return False


def used_seconds() -> float:
    """Seconds of all cores since the system started, idling and waiting for disks left out (man 5 proc_stat)."""
    fields = [int(n) for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")
