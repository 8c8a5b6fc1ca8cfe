"""Limits on a child's memory: which is chosen on recorded trees, and what becomes of a child under a real one."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgequant import Error, child
from edgequant.child import Outcome
from edgequant.convert import conversion
from edgequant.convert.formats import FORMATS
from edgequant.convert.source import open_source
from edgequant.profiles.machine import confinement
from edgequant.profiles.machine.confinement import DATA, NONE, V1, V2, Limit, confine

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits are laid on Linux alone")
LAPTOP = "user.slice/user-1000.slice/user@1000.service/app.slice"


@pytest.fixture(autouse=True)
def victims_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@pytest.fixture
def plain_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded groups are plain folders, which go only with what lies in them."""
    monkeypatch.setattr(confinement, "_remove", lambda group: shutil.rmtree(group))


def put(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def laptop(root: Path) -> Path:
    """Ubuntu 24.04: a terminal's group below one that systemd has handed to the user."""
    put(root, "proc/self/cgroup", f"0::/{LAPTOP}/vte-spawn-1.scope\n")
    groups = root / "sys/fs/cgroup" / LAPTOP
    for folder, handed_down in ((groups, "memory pids"), (groups / "vte-spawn-1.scope", "")):
        put(folder, "cgroup.procs", "")
        put(folder, "cgroup.subtree_control", f"{handed_down}\n")
    return groups


def old_board(root: Path) -> Path:
    """Cgroups of version 1, as root: each controller's own mount."""
    put(root, "proc/self/cgroup", "3:memory:/user\n1:name=systemd:/user\n0::/user\n")
    group = root / "sys/fs/cgroup/memory/user"
    put(group, "cgroup.procs", "")
    put(group, "memory.limit_in_bytes", "9223372036854771712\n")
    put(root, "sys/fs/cgroup/systemd/user/cgroup.procs", "")
    return group


def test_version_2_makes_a_group_beside_its_own(tmp_path: Path, plain_folders: None) -> None:
    parent = laptop(tmp_path)
    with confine(10**9, root=tmp_path) as limit:
        assert limit.kind == V2 and limit.group and limit.group.parent == parent
        assert (limit.group / "memory.max").read_text() == "1000000000"
        assert not limit.struck() and limit.peak_bytes() is None
        put(limit.group, "cgroup.procs", "")
        limit.take(4711)
        assert (limit.group / "cgroup.procs").read_text() == "4711"
        put(limit.group, "memory.events", "low 0\nhigh 0\nmax 31\noom 2\noom_kill 1\noom_group_kill 0\n")
        put(limit.group, "memory.peak", "999997440\n")
    assert not limit.group.exists()
    assert limit.struck() and limit.to_json()["peak_bytes"] == 999997440


def test_version_1_makes_a_group_in_its_own(tmp_path: Path, plain_folders: None) -> None:
    parent = old_board(tmp_path)
    with confine(5 * 10**8, root=tmp_path) as limit:
        assert limit.kind == V1 and limit.group and limit.group.parent == parent
        assert (limit.group / "memory.limit_in_bytes").read_text() == "500000000"
        put(limit.group, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n")
        put(limit.group, "memory.max_usage_in_bytes", "123456\n")
        assert not limit.struck() and limit.peak_bytes() == 123456


def test_swap_is_taken_away_where_it_is_counted(tmp_path: Path) -> None:
    group = tmp_path / "group"
    put(group, "memory.memsw.limit_in_bytes", "9223372036854771712\n")
    assert confinement._set(group / "memory.memsw.limit_in_bytes", 7)
    assert (group / "memory.memsw.limit_in_bytes").read_text()[0] == "7"
    assert not confinement._set(group / "memory.swap.max", 0) and not (group / "memory.swap.max").exists()


def test_a_controller_that_is_not_handed_down_is_no_use(tmp_path: Path) -> None:
    """Raspberry Pi OS: version 2, and the memory controller off unless cmdline.txt says cgroup_enable=memory."""
    put(tmp_path, "proc/self/cgroup", "0::/user.slice\n")
    put(tmp_path, "sys/fs/cgroup/user.slice/cgroup.procs", "")
    put(tmp_path, "sys/fs/cgroup/user.slice/cgroup.subtree_control", "cpu pids\n")
    assert confinement.group_parents(root=tmp_path) == []


@LINUX
def test_without_groups_the_data_is_limited(tmp_path: Path) -> None:
    with confine(10**9, root=tmp_path) as limit:
        assert limit.kind == DATA and "do not count" in limit.meaning
        outcome = child.run("victims:limits", {}, started=limit.take)
    assert outcome.unwrap() == [10**9, 10**9]
    assert not limit.struck() and limit.peak_bytes() is None


def test_elsewhere_nothing_is_limited_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement.sys, "platform", "darwin")
    with confine(10**9, root=tmp_path) as limit:
        limit.take(os.getpid())
        assert limit.kind == NONE and "nothing is limited" in limit.meaning
    crash = Outcome(status="oom", note="out of memory")
    assert limit.judge(crash) is crash


@LINUX
def test_a_group_that_takes_no_process_is_passed_over(tmp_path: Path, plain_folders: None) -> None:
    """As a domain that is not valid does (EOPNOTSUPP), one of another user's (EACCES) or a busy one (EBUSY)."""
    parent = laptop(tmp_path)
    before = sorted(parent.iterdir())
    with pytest.MonkeyPatch.context() as patch:
        made = confinement.tempfile.mkdtemp

        def unwilling(**options: Any) -> str:
            folder = made(**options)
            (Path(folder) / "cgroup.procs").mkdir()  # root may write every file, but no folder as one
            return str(folder)

        patch.setattr(confinement.tempfile, "mkdtemp", unwilling)
        with confine(10**9, root=tmp_path) as limit:
            assert limit.kind == DATA and limit.group is None
    assert sorted(parent.iterdir()) == before


def test_a_refusal_afterwards_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").mkdir()
    limit = Limit(limit_bytes=10**9, kind=V2, meaning="", group=tmp_path)
    with pytest.raises(Error, match="memory cannot be limited by cgroup v2: Is a directory"):
        limit.take(os.getpid())


def test_one_that_has_died_is_let_go() -> None:
    done = child.run("victims:echo", {}).unwrap()["pid"]
    Limit(limit_bytes=10**9, kind=DATA, meaning="").take(done)


def test_a_failure_leaves_no_group(tmp_path: Path, plain_folders: None) -> None:
    parent = laptop(tmp_path)
    before = sorted(parent.iterdir())
    with pytest.raises(KeyboardInterrupt), confine(1, root=tmp_path):
        assert sorted(parent.iterdir()) != before
        raise KeyboardInterrupt
    assert sorted(parent.iterdir()) == before


def test_groups_of_the_dead_are_removed_and_no_others(tmp_path: Path, plain_folders: None) -> None:
    parent, dead = laptop(tmp_path), child.run("victims:echo", {}).unwrap()["pid"]
    left, used = parent / f"edgequant-{dead}-abc", parent / f"edgequant-{os.getppid()}-abc"
    left.mkdir()
    used.mkdir()
    with confine(1, root=tmp_path):
        assert not left.exists() and used.exists()


#: what engines died of under RLIMIT_DATA (llama.cpp of llama-cpp-python 0.3.36, onnxruntime 1.31, numpy 2.4): the way a
#: child's outcome looked, note and log cut to what tells
REFUSED = [
    Outcome(status="crash", note="died of SIGABRT", signal="SIGABRT", log="libgcc_s.so.1 must be installed"),
    Outcome(status="crash", note="died of SIGSEGV", signal="SIGSEGV"),
    Outcome(status="crash", note="ended with exit code 127 and no answer", log="for thread-local data: ABORT"),
    Outcome(
        status="crash", note="ended with exit code 1 and no answer", log="libgomp: Thread creation failed: Resource"
    ),
    Outcome(status="crash", note="ImportError: libgomp.so.1: failed to map segment from shared object"),
    Outcome(status="crash", note="ImportError: state.so: cannot map zero-fill pages"),
    Outcome(status="error", note="llama.cpp cannot load m.gguf: llama_model_loader: failed to load model from m.gguf"),
]


@pytest.mark.parametrize("outcome", REFUSED)
def test_a_refused_allocation_is_lack_of_memory(outcome: Outcome) -> None:
    judged = Limit(limit_bytes=110_000_000, kind=DATA, meaning="").judge(outcome)
    assert judged.status == "oom" and judged.note.startswith("needs more than 110 MB (RLIMIT_DATA): ")
    assert outcome.note in judged.note and "most likely" in judged.note
    assert Limit(limit_bytes=110_000_000, kind=V1, meaning="").judge(outcome) is outcome, "the killer did not strike"


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(status="ok", value=1),
        Outcome(status="timeout", note="victims:hangs did not finish in its time"),
        Outcome(status="crash", note="died of SIGILL", signal="SIGILL"),
        Outcome(status="crash", note="RuntimeError: a bug", log="Traceback"),
        Outcome(status="error", note="the disk is full"),
    ],
)
def test_what_is_no_lack_of_memory_stays_what_it_was(outcome: Outcome) -> None:
    assert Limit(limit_bytes=10**9, kind=DATA, meaning="").judge(outcome) is outcome


def test_a_child_in_a_real_group_is_ended_by_the_kernel() -> None:
    with confine(100_000_000) as limit:
        if limit.kind not in (V1, V2):
            pytest.skip("no control group may be made here")
        kept = limit.judge(child.run("victims:fills", {"bytes": 20_000_000}, started=limit.take))
        assert kept.unwrap() == 20_000_000 and not limit.struck()
        ended = limit.judge(child.run("victims:fills", {"bytes": 200_000_000}, started=limit.take))
    assert (ended.status, ended.signal) == ("oom", "SIGKILL")
    assert ended.note == f"needs more than 100 MB ({limit.kind}): the kernel ended it"
    assert limit.struck() and limit.group and not limit.group.exists()
    assert (limit.peak_bytes() or 0) == pytest.approx(100_000_000, rel=0.02)


@LINUX
def test_a_child_whose_data_is_limited_runs_out(tmp_path: Path) -> None:
    with confine(300_000_000, root=tmp_path) as limit:
        assert child.run("victims:fills", {"bytes": 100_000_000}, started=limit.take).unwrap() == 100_000_000
        ended = limit.judge(child.run("victims:fills", {"bytes": 400_000_000}, started=limit.take))
    assert ended.status == "oom" and ended.note.startswith("needs more than 300 MB (RLIMIT_DATA): out of memory")


@LINUX
def test_what_others_have_read_is_charged_all_the_same(tmp_path: Path) -> None:
    """A file in the page cache on our account would cost the group nothing."""
    file = tmp_path / "weights"
    file.write_bytes(os.urandom(60_000_000))
    with confine(200_000_000, files=[tmp_path]) as limit:
        if limit.kind not in (V1, V2):
            pytest.skip("no control group may be made here")
        child.run("victims:maps", {"path": str(file)}, started=limit.take).unwrap()
    mounts = [each for each in psutil.disk_partitions(all=True) if tmp_path.is_relative_to(each.mountpoint)]
    if max(mounts, key=lambda each: len(each.mountpoint)).fstype == "tmpfs":
        pytest.skip("files in memory stay where they are")
    assert (limit.peak_bytes() or 0) > 60_000_000


@contextmanager
def limited_data(limit_bytes: int) -> Iterator[Limit]:
    yield Limit(limit_bytes=limit_bytes, kind=DATA, meaning="")


def speed(limit_bytes: int, kind: str, container: str, path: str) -> Outcome:
    settings = {"threads": 1, "context": 512, "repack": False}
    job: dict[str, Any] = {"container": container, "path": path, "settings": settings, "tokens": list(range(2, 66))}
    with limited_data(limit_bytes) if kind == DATA else confine(limit_bytes, files=[path]) as limit:
        if kind == "group" and limit.kind not in (V1, V2):
            pytest.skip("no control group may be made here")
        return limit.judge(child.run("victims:computes", job, started=limit.take, deadline_seconds=300))


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["group", DATA])
@pytest.mark.parametrize("model", ["pocket", "demo"])
@pytest.mark.parametrize("name", ["Q8_0", "onnx-int8"])
def test_every_engine_under_limits_that_are_too_small(
    name: str, model: str, kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """From far too little to enough: never a crash, and enough is enough.

    The largest limit is what the process was seen to need and more (MB, pocket and demo): in a group 40 and 300, as
    data, which counts what is reserved as well, 200 and 500.
    """
    folder = request.getfixturevalue(f"{model}_folder")
    made = tmp_path_factory.getbasetemp() / f"confined-{model}"
    workshop = conversion.Workshop(folder=made, threads=2)
    for wanted in ("F16", "onnx-fp32", name):  # the first two are what the others are made from
        artifact = conversion.convert(open_source(str(folder), workspace=made), FORMATS[wanted], workshop)
    megabytes = {
        ("pocket", DATA): (5, 15, 40, 80, 104, 108, 112, 116, 120, 126, 400),
        ("demo", DATA): (15, 60, 102, 106, 110, 116, 122, 130, 150, 200, 600),
        ("pocket", "group"): (5, 10, 20, 100),
        ("demo", "group"): (20, 40, 400),
    }[model, kind]
    found = {n: speed(n * 10**6, kind, artifact.container, artifact.path) for n in megabytes}
    assert {n: (each.status, each.note) for n, each in found.items() if each.status not in ("ok", "oom")} == {}
    assert found[megabytes[0]].status == "oom" and found[megabytes[-1]].status == "ok"
