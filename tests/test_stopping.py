"""Ending early, with real signals to real processes: nothing is left running, what is done is kept and gone on from."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from edgequant.commands.stopping import Stopped, exit_code, farewell, stoppable
from edgequant.profiles.records.measurement import Measurement
from edgequant.profiles.records.store import read

#: SIGINT is ignored by what a shell starts in the background, and so by its children: as a terminal has it
MAIN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from edgequant.cli import main; main()"
SECONDS = 300.0


def start(*words: str | Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """The command line in a process of its own."""
    command = [sys.executable, "-P", "-c", MAIN, *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, env={**os.environ, **(env or {})}, **pipes)  # type: ignore[call-overload, no-any-return]


def lines_until(process: subprocess.Popen[str], begin: str) -> Iterator[str]:
    """What it says on standard error up to a line that begins so."""
    assert process.stderr is not None
    for line in process.stderr:
        yield line.rstrip()
        if line.startswith(begin):
            return


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code and the rest of its output; the process must end by itself."""
    timer = threading.Timer(SECONDS, process.kill)
    timer.start()
    out, err = process.communicate()
    timer.cancel()
    return process.returncode, out, err


def gone(processes: list[psutil.Process]) -> bool:
    """Whether all of them ended, within a moment."""
    _, alive = psutil.wait_procs(processes, timeout=10)
    return not [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]


def steps(rows: list[Measurement]) -> list[tuple[str, str, str]]:
    """Format, metric and digest of what was measured, in order."""
    return [(row.format, row.metric, row.artifact_sha256) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_run_that_is_stopped_goes_on_with_the_rest(
    name: str, code: int, pocket_folder: Path, pocket_items: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text("".join(pocket_items.read_text(encoding="utf-8").splitlines(keepends=True)[:6]), encoding="utf-8")
    out_folder = tmp_path / "run"
    asked = ["run", pocket_folder, "--formats", "F16,Q8_0", "--task", few, "--context", "256", "--out", out_folder]
    process = start(*asked, "-v")
    said = list(lines_until(process, "profile  Q8_0"))  # it is measured: the other one is, or is about to be
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(getattr(signal, name))
    returncode, out, err = ended(process)
    assert (returncode, out) == (code, ""), err
    assert "Traceback" not in err
    assert children and gone(children)
    first, line = err.splitlines()[-2:]
    assert first == "edgequant: stopped; what is done is kept. Go on with:"
    assert line == shlex.join(["edgequant", *map(str, asked), "-v"])
    assert any(each.startswith("convert  F16") for each in said)

    kept = read(tmp_path / "run" / "results.jsonl")
    assert {row.format for row in kept if row.metric == "gate_tokenizer" or row.parameters.get("verdict")} == {
        "F16",
        "Q8_0",
    }
    again = start(*shlex.split(line)[1:], "--json")
    returncode, out, err = ended(again)
    assert returncode == 0, err
    assert not any(each.startswith(("convert", "verify")) for each in err.splitlines())
    rows = read(tmp_path / "run" / "results.jsonl")
    assert steps(rows)[: len(kept)] == steps(kept)
    assert {each["format"] for each in json.loads(out)["rows"]} == {"F16", "Q8_0"}


@pytest.mark.slow
def test_nothing_is_promised_where_nothing_is_kept() -> None:
    process = start("-q", "devices", "probe")
    children: list[psutil.Process] = []
    until = time.monotonic() + 30
    while not children and time.monotonic() < until:
        children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    assert ended(process) == (130, "", "edgequant: stopped\n")
    assert children and gone(children)


def test_signals_become_exceptions_and_are_given_back() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    with pytest.raises(Stopped) as caught, stoppable():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert caught.value.number == signal.SIGTERM
    assert {number: signal.getsignal(number) for number in before} == before


def test_a_signal_that_was_to_be_ignored_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """`nohup edgequant run ...`"""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_exit_codes_are_those_of_shells() -> None:
    assert exit_code(KeyboardInterrupt()) == 130
    assert exit_code(Stopped(signal.SIGTERM)) == 143
    assert exit_code(Stopped(signal.SIGHUP)) == 129


def test_the_line_to_go_on_with_can_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["edgequant", "run", "my model", "--out", "runs/it's"]
    monkeypatch.setattr(sys, "argv", words)
    assert shlex.split(farewell(is_kept=True).splitlines()[-1]) == words
    assert farewell(is_kept=False) == "edgequant: stopped"
