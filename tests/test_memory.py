"""Memory from recorded /proc/self/status texts of several machines."""

import mmap
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from edgequant.convert.artifact import files_of
from edgequant.profiles.machine import memory
from edgequant.profiles.machine.memory import Memory, largest, parse_status
from edgequant.profiles.records.measurement import METRICS

#: Linux 6.1 on x86-64, a Python process that has mapped a model
X86 = """\
Name:\tpython3
Umask:\t0022
State:\tR (running)
Tgid:\t4711
VmPeak:\t  412340 kB
VmSize:\t  398112 kB
VmLck:\t       0 kB
VmHWM:\t  181236 kB
VmRSS:\t  175004 kB
RssAnon:\t   61480 kB
RssFile:\t  113512 kB
RssShmem:\t      12 kB
VmData:\t   71036 kB
VmSwap:\t       0 kB
HugetlbPages:\t       0 kB
CoreDumping:\t0
THP_enabled:\t1
Threads:\t3
Cpus_allowed_list:\t0-1
Seccomp:\t0
Speculation_Store_Bypass:\tthread vulnerable
"""
#: Raspberry Pi OS, 64 bits with pages of 16 KiB, a process that swaps
PI5 = """\
Name:\tpython
VmPeak:\t 5120016 kB
VmHWM:\t 3890176 kB
VmRSS:\t 3880960 kB
RssAnon:\t 2097152 kB
RssFile:\t 1783808 kB
RssShmem:\t       0 kB
VmSwap:\t  131072 kB
untag_mask:\t0xffffffffffffff
"""
#: Linux 4.4: the size is not split
LINUX_4_4 = """\
Name:\tpython3
VmPeak:\t  100000 kB
VmHWM:\t   50000 kB
VmRSS:\t   40000 kB
VmData:\t   30000 kB
"""
#: gVisor's kernel of its own: neither a peak nor a split
GVISOR = """\
Name:\tpython3
State:\tR (running)
Tgid:\t7
Pid:\t7
PPid:\t1
TracerPid:\t0
FDSize:\t8
VmSize:\t198412 kB
VmRSS:\t38404 kB
VmData:\t80000 kB
Threads:\t1
CapEff:\t00000000a80405fb
Mems_allowed:\t1
"""
#: before Linux 4.5 had RssShmem, some vendors' kernels had the other two
WITHOUT_SHARED = "VmHWM:\t 10 kB\nVmRSS:\t 9 kB\nRssAnon:\t 4 kB\nRssFile:\t 5 kB\n"


@pytest.mark.parametrize(
    ("text", "peak", "anonymous", "file_backed"),
    [
        (X86, 181236, 61480 + 12, 113512),
        (PI5, 3890176, 2097152, 1783808),
        (LINUX_4_4, 50000, None, None),
        (GVISOR, 38404, None, None),
        (WITHOUT_SHARED, 10, 4, 5),
    ],
)
def test_recorded_machines(text: str, peak: int, anonymous: int | None, file_backed: int | None) -> None:
    """Expected in KiB."""
    got = parse_status(text)
    assert got.peak_rss_bytes == peak * 1024
    assert got.anonymous_bytes == (None if anonymous is None else anonymous * 1024)
    assert got.file_backed_bytes == (None if file_backed is None else file_backed * 1024)


def test_what_is_resident_now_and_what_went_to_swap() -> None:
    assert parse_status(X86).rss_bytes == 175004 * 1024 and parse_status(X86).swapped_bytes == 0
    assert parse_status(PI5).swapped_bytes == 131072 * 1024
    assert parse_status(GVISOR).swapped_bytes is None


#: /proc/self/smaps_rollup of the X86 process
ROLLUP = """\
558e7e9b8000-7ffeb4c19000 ---p 00000000 00:00 0                          [rollup]
Rss:              175004 kB
Pss:              166310 kB
Pss_Anon:          61492 kB
Shared_Clean:       9620 kB
Shared_Dirty:         12 kB
Private_Clean:    103880 kB
Private_Dirty:     61492 kB
Referenced:       170004 kB
Anonymous:         61480 kB
"""
#: Linux 6.12 on a Pi 5, cut to four mappings: a model, a library, a heap, another file whose name begins alike
SMAPS = """\
7f6e000000-7f96000000 r--s 00000000 b3:02 131425                         /home/pi/models/tiny llama/model-Q4_0.gguf
Size:             655360 kB
KernelPageSize:       16 kB
Rss:              655360 kB
Pss:              655360 kB
Shared_Clean:          0 kB
Private_Clean:    655360 kB
Referenced:       524288 kB
Anonymous:             0 kB
THPeligible:           0
VmFlags: rd mr me ms sd
7f96100000-7f96500000 r-xp 00000000 b3:02 262411                         /usr/lib/aarch64-linux-gnu/libc.so.6
Rss:                1408 kB
Referenced:         1408 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
5555d0a000-5557d0a000 rw-p 00000000 00:00 0                              [heap]
Rss:               32768 kB
Referenced:        32768 kB
Anonymous:         32768 kB
VmFlags: rd wr mr mw me ac
7f99000000-7f99100000 r--s 00000000 b3:02 131426                         /home/pi/models/tiny llama/model-Q4_0.gguf.old
Rss:                1024 kB
Referenced:         1024 kB
Anonymous:             0 kB
VmFlags: rd mr me ms sd
"""


def test_what_is_shared_with_others() -> None:
    assert memory.parse_rollup(ROLLUP) == (9620 + 12) * 1024
    assert memory.parse_rollup("") is None


def test_what_of_a_model_was_touched() -> None:
    """Half a gigabyte of 640 MB: the rest was repacked and is never read again."""
    model = Path("/home/pi/models/tiny llama/model-Q4_0.gguf")
    assert memory.parse_touched(SMAPS, [model]) == 512 << 20
    assert memory.parse_touched(SMAPS, [model, model.with_suffix(".gguf.old")]) == 513 << 20
    assert memory.parse_touched(SMAPS, [Path("/nowhere")]) == 0
    assert memory.parse_touched("", [model]) is None


def test_all_shards_of_a_model_count() -> None:
    """512 MB of the first, 1 MB of the second."""
    whole = SMAPS.replace("Q4_0.gguf.old", "00002-of-00002.gguf").replace("Q4_0.gguf", "00001-of-00002.gguf")
    files = files_of(Path("/home/pi/models/tiny llama/model-00001-of-00002.gguf"))
    assert memory.parse_touched(whole, files) == (512 << 20) + (1 << 20)


@pytest.mark.skipif(not memory.CLEAR_FILE.exists(), reason="Linux tells which pages were touched")
def test_half_of_a_file_is_touched(tmp_path: Path) -> None:
    """Read all of a mapping, then half of it: only what was read since counts, to within a translation cache."""
    file = tmp_path / "weights"
    file.write_bytes(bytes(64 << 20))
    with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as mapped:

        def read(share: float) -> int:
            return sum(mapped[i] for i in range(0, int(len(mapped) * share), mmap.PAGESIZE))

        read(1)
        assert memory.touched_bytes([file], lambda: read(1)) == pytest.approx(64 << 20, abs=8 << 20)
        assert memory.touched_bytes([file], lambda: read(0.5)) == pytest.approx(32 << 20, abs=8 << 20)
        assert memory.touched_bytes([file], lambda: None) == pytest.approx(0, abs=1 << 20)


def test_work_is_done_where_nobody_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CLEAR_FILE", tmp_path / "no folder" / "clear_refs")
    done: list[int] = []
    assert memory.touched_bytes([tmp_path / "m"], lambda: done.append(1)) is None and done == [1]


def test_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    resident = psutil.Process().memory_info().rss
    here = memory.read()
    assert here.peak_rss_bytes >= 0.9 * resident > 2**20
    assert here.rss_bytes == pytest.approx(resident, rel=0.5)
    monkeypatch.setattr(memory, "STATUS_FILE", Path("no such file"))
    elsewhere = memory.read()
    assert elsewhere.peak_rss_bytes == pytest.approx(resident, rel=0.5)
    assert elsewhere.anonymous_bytes == pytest.approx(here.anonymous_bytes or 0, rel=0.3)


@dataclass
class Windows:
    """What psutil tells on Windows of a process that has mapped a model of 640 MB."""

    rss: int = 812_000_000
    uss: int = 131_000_000
    peak_wset: int = 905_000_000


@dataclass
class Mac:
    """The same on macOS, which keeps no peak."""

    rss: int = 798_000_000
    uss: int = 140_000_000


@pytest.mark.parametrize(
    ("info", "expected"), [(Windows(), (905, 812, 131, 681, None)), (Mac(), (798, 798, 140, 658, None))]
)
def test_systems_without_proc(info: object, expected: tuple[int | None, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Expected in MB."""
    monkeypatch.setattr(memory, "STATUS_FILE", Path("no such file"))
    monkeypatch.setattr(psutil.Process, "memory_full_info", lambda self: info)
    got = memory.read()
    found = (got.peak_rss_bytes, got.rss_bytes, got.anonymous_bytes, got.file_backed_bytes, got.shared_bytes)
    assert found == tuple(None if value is None else value * 10**6 for value in expected)
    assert memory.must_fit_bytes([got], touched=None) == got.peak_rss_bytes


def reading(peak: int, rss: int, anonymous: int | None, files: int | None, **more: int) -> Memory:
    return Memory(peak_rss_bytes=peak, rss_bytes=rss, anonymous_bytes=anonymous, file_backed_bytes=files, **more)


def test_the_largest_figure_by_figure() -> None:
    a, b = reading(5, 5, 1, 4, shared_bytes=3), reading(6, 5, 3, 2)
    unknown = reading(1, 1, None, None)
    assert largest([a, b, unknown]) == reading(6, 5, 3, 4, shared_bytes=3)
    assert largest([unknown]) == unknown


def test_what_must_fit() -> None:
    """Worked by hand: after loading, after two repetitions."""
    readings = [reading(900, 700, 200, 500), reading(900, 760, 250, 510), reading(900, 750, 240, 510, swapped_bytes=20)]
    assert memory.must_fit_bytes(readings, touched=400) == (900 - 510) + 20 + 400, "loading had a peak of its own"
    assert memory.must_fit_bytes(readings[1:], touched=None) == (900 - 510) + 20 + 510
    flat = [reading(760, 760, 250, 510)]
    assert memory.must_fit_bytes(flat, touched=400) == 250 + 400
    assert memory.must_fit_bytes([reading(900, 700, None, None)], touched=400) == 900


def test_samples_are_named_as_the_metrics_are() -> None:
    found = memory.samples([reading(900, 700, 200, 500), reading(900, 760, 250, 510, shared_bytes=9)], touched=400)
    assert {name for name in METRICS if name.endswith("_bytes")} == set(found)
    assert found["steady_rss_bytes"] == [760.0] and found["peak_file_backed_bytes"] == [510.0]
    assert found["must_fit_bytes"] == [390.0 + 400.0]
    assert set(memory.samples([reading(900, 700, None, None)])) == {
        "peak_rss_bytes",
        "steady_rss_bytes",
        "must_fit_bytes",
    }
