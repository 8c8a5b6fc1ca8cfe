"""Run a command and print what it spent as one line of JSON: seconds, cpu_seconds, peak_bytes, exit_code.

    python -I -S spent.py COMMAND...

`wait4` reports the largest resident memory of the command or of any process that it waited for, and no less than the
memory of the process that started it. So this file imports almost nothing (10 MB) and is a process of its own; the
command's output goes to standard error.
"""

import os
import sys
import time


def main() -> None:
    """Start, wait, print."""
    command = sys.argv[1:]
    started = time.monotonic()
    pid = os.posix_spawnp(command[0], command, dict(os.environ), file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
    _, status, usage = os.wait4(pid, 0)
    seconds = time.monotonic() - started
    code = os.waitstatus_to_exitcode(status)
    cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024  # Linux counts in KiB
    print(f'{{"seconds": {seconds}, "cpu_seconds": {cpu}, "peak_bytes": {peak}, "exit_code": {code}}}')


if __name__ == "__main__":
    main()
