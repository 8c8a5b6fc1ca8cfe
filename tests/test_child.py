"""The fence: whatever becomes of a child, the parent gets an Outcome that names it."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgequant import Error, child

TESTS = Path(__file__).parent


@pytest.fixture(autouse=True)
def victims_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))


def run(name: str, **job: object) -> child.Outcome:
    return child.run(f"victims:{name}", job)


def test_a_value_comes_back_from_another_process() -> None:
    outcome = run("echo", text="é 😀 \u2028 '\n", nested={"n": [1, 2.5, None, True]})
    assert outcome.status == "ok" and outcome.unwrap() is outcome.value
    assert outcome.value["got"] == {"text": "é 😀 \u2028 '\n", "nested": {"n": [1, 2.5, None, True]}}
    assert outcome.value["pid"] != os.getpid()
    assert outcome.note == outcome.hint == outcome.signal == ""
    assert outcome.seconds > 0


def test_not_a_number_comes_back_as_such() -> None:
    value = run("echo", n=float("nan")).unwrap()["got"]["n"]
    assert value != value


def test_an_error_keeps_its_hint() -> None:
    outcome = run("fails")
    assert (outcome.status, outcome.note, outcome.hint) == ("error", "the disk is full", "delete something")
    with pytest.raises(Error, match="the disk is full") as caught:
        outcome.unwrap()
    assert caught.value.hint == "delete something"


def test_a_bug_is_a_crash_with_its_traceback() -> None:
    outcome = run("breaks")
    assert (outcome.status, outcome.note, outcome.signal) == ("crash", "RuntimeError: a bug", "")
    assert "in breaks" in outcome.log and "Traceback" in outcome.log
    with pytest.raises(Error, match="RuntimeError: a bug"):
        outcome.unwrap()


def test_an_answer_that_is_no_json_is_a_crash() -> None:
    outcome = run("answers_what_json_cannot")
    assert outcome.status == "crash" and "not JSON serializable" in outcome.note


@pytest.mark.parametrize("entry", ["victims:nothing", "no_such_module:f", "victims"])
def test_an_entry_that_does_not_exist_is_a_crash(entry: str) -> None:
    assert child.run(entry, {}).status == "crash"


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGILL", "SIGABRT", "SIGFPE", "SIGTERM"])
def test_a_signal_is_named(name: str) -> None:
    outcome = run("dies", signal=name, words="last words\n")
    assert (outcome.status, outcome.signal, outcome.note) == ("crash", name, f"died of {name}")
    assert outcome.log == "last words\n"


def test_being_killed_means_lack_of_memory() -> None:
    outcome = run("dies", signal="SIGKILL")
    assert (outcome.status, outcome.signal) == ("oom", "SIGKILL")
    assert "memory" in outcome.note


@pytest.mark.parametrize(
    "words",
    [
        "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n",
        "ggml_aligned_malloc: insufficient memory (attempted to allocate 9999.00 MB)\nfailed to allocate buffer\n",
        "vendor/llama.cpp/ggml/src/ggml.c:1644: GGML_ASSERT(ctx->mem_buffer != NULL) failed\n",
        "OpenBLAS error: Memory allocation still failed after 10 retries, giving up.\n",
        "memory allocation of 1048576 bytes failed\n",
        "Fatal Python error: _PyErr_NoMemory: Out of memory and PyExc_MemoryError is not initialized yet\n",
        "OSError: [Errno 12] Cannot allocate memory: '/usr/lib/python3.11/encodings'\n",
    ],
)
def test_native_code_that_aborts_for_lack_of_memory(words: str) -> None:
    outcome = run("dies", signal="SIGABRT", words=words)
    assert (outcome.status, outcome.signal, outcome.log) == ("oom", "SIGABRT", words)


@pytest.mark.parametrize("of", ["python", "numpy"])
def test_a_memory_error_is_lack_of_memory(of: str) -> None:
    outcome = run("runs_out", of=of)
    assert outcome.status == "oom" and outcome.note.startswith("out of memory (MemoryError") and outcome.signal == ""


@pytest.mark.parametrize(
    "message",
    [
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to",
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception during initialization: bad allocation",
        "[ONNXRuntimeError] : 1 : FAIL : Failed to allocate memory for requested buffer of size 98304000000",
    ],
)
def test_libraries_that_raise_for_lack_of_memory(message: str) -> None:
    assert run("breaks", message=message).status == "oom"


def test_an_error_for_lack_of_memory_is_lack_of_memory() -> None:
    """As runtimes/ort.py passes on what ONNX Runtime's arena says."""
    words = (
        "onnxruntime cannot run the graph: bfc_arena.cc:360 Failed to allocate memory for requested buffer of size 64"
    )
    outcome = run("fails", message=words)
    assert (outcome.status, outcome.note, outcome.hint) == ("oom", words, "delete something")


def test_an_exit_without_an_answer() -> None:
    outcome = run("exits", code=3)
    assert (outcome.status, outcome.signal) == ("crash", "")
    assert outcome.note == "ended with exit code 3 and no answer"


def test_progress_arrives_in_order_and_is_no_part_of_the_answer() -> None:
    seen: list[str] = []
    outcome = child.run("victims:counts", {"n": 3}, progress=seen.append)
    assert seen == ["1 of 3", "2 of 3", "3 of 3"] and outcome.value == 3
    assert child.run("victims:counts", {"n": 3}).value == 3


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_deadline_ends_the_child() -> None:
    seen: list[str] = []
    outcome = child.run("victims:hangs", {}, deadline_seconds=1.5, progress=seen.append)
    assert outcome.status == "timeout" and "did not finish in its time" in outcome.note
    assert not seen or not alive(int(seen[0]))


def test_an_interrupted_parent_takes_the_child_along() -> None:
    seen: list[str] = []

    def interrupt(text: str) -> None:
        seen.append(text)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        child.run("victims:hangs", {}, progress=interrupt)
    assert not alive(int(seen[0]))


def test_limits_can_be_laid_on_a_child_before_it_gets_its_job() -> None:
    pids: list[int] = []

    def started(pid: int) -> None:
        assert alive(pid)
        time.sleep(0.1)  # the child waits for its job
        pids.append(pid)

    outcome = child.run("victims:echo", {"n": 1}, started=started)
    assert [outcome.unwrap()["pid"]] == pids


def test_a_limit_that_cannot_be_laid_ends_the_child() -> None:
    pids: list[int] = []

    def refuses(pid: int) -> None:
        pids.append(pid)
        raise PermissionError("cgroup.procs")

    with pytest.raises(PermissionError):
        child.run("victims:hangs", {}, started=refuses)
    assert not alive(pids[0])


def test_noise_does_not_spoil_the_answer() -> None:
    outcome = run("chatters")
    assert outcome.value == "the answer"
    assert all(f'"result": "{who}"' in outcome.log for who in ("python", "system call", "C"))


def test_half_a_message_is_none() -> None:
    seen: list[str] = []
    outcome = child.run("victims:breaks_off", {}, progress=seen.append)
    assert (outcome.status, outcome.signal, outcome.value) == ("crash", "SIGSEGV", None)
    assert seen == ["whole"]


def test_a_large_job_for_a_child_that_never_reads_it() -> None:
    outcome = child.run("victims:echo", {"big": "x" * 4_000_000})
    assert len(outcome.unwrap()["got"]["big"]) == 4_000_000


def test_a_child_that_dies_before_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    outcome = child.run("victims:echo", {"big": "x" * 4_000_000})
    assert outcome.status == "crash" and outcome.note == "ended with exit code 1 and no answer"


def test_the_log_is_cut_to_its_end() -> None:
    outcome = run("dies", signal="SIGSEGV", words="a" * 100_000 + "the end")
    assert outcome.log.endswith("the end") and len(outcome.log) == child.LOG_TAIL_CHARACTERS


def test_libraries_are_kept_quiet_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "debug")
    names = ["HF_HUB_DISABLE_TELEMETRY", "TOKENIZERS_PARALLELISM", "TRANSFORMERS_VERBOSITY"]
    assert list(run("environment", names=names).unwrap().values()) == ["1", "false", "debug"]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with a module that has the name of a library."""
    (tmp_path / "json.py").write_text("raise RuntimeError('the wrong json')\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def test_files_in_the_working_folder_are_not_imported(elsewhere: Path) -> None:
    assert run("echo", n=1).unwrap()["got"] == {"n": 1}


def test_the_parent_imports_nothing_heavy() -> None:
    script = """
import json, sys
from edgequant import child
value = child.run("victims:uses_numpy", {}).unwrap()
heavy = ("torch", "transformers", "onnxruntime", "onnx", "llama_cpp", "numpy")
print(json.dumps([value, [name for name in heavy if name in sys.modules]]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [["llama_cpp", "numpy"], []]
