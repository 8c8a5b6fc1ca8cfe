"""Reading /proc, /sys and control groups, on recorded trees of other machines; the parts that matter here are kept."""

import json
import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import pytest

from edgequant.profiles.machine import cores, elsewhere, host
from edgequant.profiles.machine.cores import Cores
from edgequant.profiles.machine.host import Limits

XEON = """\
processor\t: {n}
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
flags\t\t: fpu vme sse sse2 sse4_1 sse4_2 fma avx f16c avx2 avx512f avx512_vnni amx_bf16 avx512_fp16 amx_tile amx_int8

"""
PI_4 = """\
processor\t: {n}
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd08

"""
PI_5 = """\
processor\t: {n}
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b

"""
LITTLE = """\
processor\t: {n}
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd05

"""
CORE_ULTRA = """\
processor\t: {n}
vendor_id\t: GenuineIntel
model name\t: Intel(R) Core(TM) Ultra 7 155H
cpu MHz\t\t: 400.000
flags\t\t: fpu vme sse sse2 sse4_1 sse4_2 fma avx f16c avx2 avx_vnni

"""
#: `sysctl machdep.cpu.brand_string hw.nperflevels ...` on a MacBook Air with an M2; it knows no third level
MAC = """\
machdep.cpu.brand_string: Apple M2
hw.nperflevels: 2
hw.perflevel0.name: Performance
hw.perflevel0.physicalcpu: 4
hw.perflevel1.name: Efficiency
hw.perflevel1.physicalcpu: 4
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_FP16: 1
hw.optional.arm.FEAT_LSE: 1
hw.optional.arm.FEAT_I8MM: 1
hw.optional.arm.FEAT_BF16: 1
hw.optional.arm.FEAT_SME: 0
"""
V1_UNLIMITED = "9223372036854771712"


def put(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def topology(root: Path, cores: list[list[int]]) -> None:
    """/sys of a machine: one list of sibling processors for each core."""
    for siblings in cores:
        for cpu in siblings:
            text = ",".join(map(str, siblings)) + "\n"
            put(root, f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", text)


def test_an_x86_server(tmp_path: Path) -> None:
    cpuinfo = "".join(XEON.format(n=n) for n in range(2))
    assert host.cpu_name(cpuinfo, root=tmp_path) == "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz"
    vector = {"sse4_2", "fma", "avx", "f16c", "avx2", "avx512f", "avx512_vnni", "avx512_fp16"}
    assert set(host.isa_flags(cpuinfo)) == vector | {"amx_bf16", "amx_tile", "amx_int8"}


def test_a_raspberry_pi_4(tmp_path: Path) -> None:
    put(tmp_path, "proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")
    cpuinfo = "".join(PI_4.format(n=n) for n in range(4)) + "Model\t\t: Raspberry Pi 4 Model B Rev 1.4\n"
    assert host.cpu_name(cpuinfo, root=tmp_path) == "Raspberry Pi 4 Model B Rev 1.4 (Cortex-A72)"
    assert host.isa_flags(cpuinfo) == ("neon",)


def test_a_raspberry_pi_5(tmp_path: Path) -> None:
    put(tmp_path, "proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    cpuinfo = "".join(PI_5.format(n=n) for n in range(4))
    assert host.cpu_name(cpuinfo, root=tmp_path) == "Raspberry Pi 5 Model B Rev 1.0 (Cortex-A76)"
    assert set(host.isa_flags(cpuinfo)) == {"neon", "dotprod", "fp16", "atomics"}


def test_only_what_every_core_has_counts() -> None:
    assert host.isa_flags(PI_5.format(n=0) + PI_4.format(n=1)) == ("neon",)


def test_numpy_agrees_with_the_kernel_about_this_machine() -> None:
    told = set(elsewhere.isa({}))
    assert told and told <= set(host.machine().isa)


def test_a_32_bit_system_names_neon_differently() -> None:
    assert host.isa_flags("Features\t: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva crc32\n") == ("neon",)


def test_a_mac_has_none_of_these_files(tmp_path: Path) -> None:
    assert host.isa_flags("") == ()
    assert host.cpu_name("", root=tmp_path) == ""
    assert host.physical_cores([0, 1], root=tmp_path) == 0
    assert host.cgroup_limits(root=tmp_path) == Limits()


def test_siblings_share_a_core(tmp_path: Path) -> None:
    topology(tmp_path, [[0, 4], [1, 5], [2, 6], [3, 7]])
    assert host.physical_cores(range(8), root=tmp_path) == 4
    assert host.physical_cores([0, 4], root=tmp_path) == 1
    assert host.physical_cores([1, 2, 6], root=tmp_path) == 2


def test_cgroup_2_with_a_quota(tmp_path: Path) -> None:
    """docker run --cpus=2.5 --memory=2g, seen from outside: the group's own folder."""
    put(tmp_path, "proc/self/cgroup", "0::/system.slice/docker-abc.scope\n")
    put(tmp_path, "sys/fs/cgroup/system.slice/docker-abc.scope/cpu.max", "250000 100000\n")
    put(tmp_path, "sys/fs/cgroup/system.slice/docker-abc.scope/memory.max", "2147483648\n")
    assert host.cgroup_limits(root=tmp_path) == Limits(cpus=2.5, memory_bytes=2 << 30)


def test_cgroup_2_without_limits(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "0::/user.slice\n")
    put(tmp_path, "sys/fs/cgroup/user.slice/cpu.max", "max 100000\n")
    put(tmp_path, "sys/fs/cgroup/user.slice/memory.max", "max\n")
    assert host.cgroup_limits(root=tmp_path) == Limits()


def test_the_tightest_limit_on_the_way_up_counts(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "0::/a/b\n")
    put(tmp_path, "sys/fs/cgroup/a/b/cpu.max", "400000 100000\n")
    put(tmp_path, "sys/fs/cgroup/a/cpu.max", "100000 100000\n")
    put(tmp_path, "sys/fs/cgroup/a/b/memory.max", "1000000000\n")
    put(tmp_path, "sys/fs/cgroup/a/memory.max", "4000000000\n")
    assert host.cgroup_limits(root=tmp_path) == Limits(cpus=1.0, memory_bytes=1_000_000_000)


def test_cgroup_2_inside_a_container(tmp_path: Path) -> None:
    """With a namespace of its own a container sees its group as the root of the mount."""
    put(tmp_path, "proc/self/cgroup", "0::/\n")
    put(tmp_path, "sys/fs/cgroup/cpu.max", "150000 100000\n")
    put(tmp_path, "sys/fs/cgroup/memory.max", "536870912\n")
    assert host.cgroup_limits(root=tmp_path) == Limits(cpus=1.5, memory_bytes=512 << 20)


def test_what_a_container_holds_already_is_not_free(tmp_path: Path) -> None:
    """2 GiB allowed, 1.5 GiB held, 0.5 GiB of that files that can be dropped: 1 GiB is left; version 2, then 1."""
    stat = f"anon {1 << 30}\nfile {600 << 20}\ninactive_file {512 << 20}\n"
    put(tmp_path, "proc/self/cgroup", "0::/\n")
    put(tmp_path, "sys/fs/cgroup/memory.max", f"{2 << 30}\n")
    put(tmp_path, "sys/fs/cgroup/memory.current", f"{1536 << 20}\n")
    put(tmp_path, "sys/fs/cgroup/memory.stat", stat)
    assert host.cgroup_limits(root=tmp_path) == Limits(memory_bytes=2 << 30, memory_free_bytes=1 << 30)
    old = tmp_path / "v1"
    put(old, "proc/self/cgroup", "4:memory:/job\n")
    put(old, "sys/fs/cgroup/memory/job/memory.limit_in_bytes", f"{2 << 30}\n")
    put(old, "sys/fs/cgroup/memory/job/memory.usage_in_bytes", f"{1536 << 20}\n")
    put(old, "sys/fs/cgroup/memory/job/memory.stat", f"cache 1\ninactive_file 7\ntotal_inactive_file {512 << 20}\n")
    assert host.cgroup_limits(root=old) == Limits(memory_bytes=2 << 30, memory_free_bytes=1 << 30)


def test_cgroup_1(tmp_path: Path) -> None:
    """Memory limited in the group, processors in the mount's root, as a container without a namespace sees them."""
    put(tmp_path, "proc/self/cgroup", "9:name=systemd:/\n4:memory:/job/77\n1:cpu,cpuacct:/docker/abc\n0::/\n")
    put(tmp_path, "sys/fs/cgroup/memory/job/77/memory.limit_in_bytes", "3221225472\n")
    put(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", f"{V1_UNLIMITED}\n")
    put(tmp_path, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "200000\n")
    put(tmp_path, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    assert host.cgroup_limits(root=tmp_path) == Limits(cpus=2.0, memory_bytes=3 << 30)


def test_controllers_that_share_a_mount_may_have_a_folder_each(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "1:cpu,cpuacct:/\n")
    put(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000\n")
    put(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert host.cgroup_limits(root=tmp_path) == Limits(cpus=3.0)


def test_cgroup_1_without_limits(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "4:memory:/job\n1:cpu:/\n")
    put(tmp_path, "sys/fs/cgroup/memory/job/memory.limit_in_bytes", f"{V1_UNLIMITED}\n")
    put(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    put(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert host.cgroup_limits(root=tmp_path) == Limits()


def machine(*, cores: int, cpus: float | None, memory_bytes: int | None = None) -> host.Machine:
    return host.Machine(
        cpu="x",
        logical_cpus=2 * cores,
        physical_cores=cores,
        limits=Limits(cpus=cpus, memory_bytes=memory_bytes),
        total_bytes=16_000_000_000,
        available_bytes=9_000_000_000,
        isa=(),
    )


@pytest.mark.parametrize(
    ("cores", "cpus", "threads"), [(8, None, 8), (8, 2.0, 2), (2, 8.0, 2), (4, 1.5, 1), (4, 0.5, 1)]
)
def test_threads_are_what_cores_and_quota_allow(cores: int, cpus: float | None, threads: int) -> None:
    assert machine(cores=cores, cpus=cpus).threads == threads


def test_a_control_group_bounds_the_memory() -> None:
    free, bound = machine(cores=1, cpus=None), machine(cores=1, cpus=None, memory_bytes=2_000_000_000)
    full = replace(bound, limits=replace(bound.limits, memory_free_bytes=300_000_000))
    assert (full.memory_bytes, full.usable_bytes) == (2_000_000_000, 300_000_000)
    assert (free.memory_bytes, free.usable_bytes) == (16_000_000_000, 9_000_000_000)
    assert (bound.memory_bytes, bound.usable_bytes) == (2_000_000_000, 2_000_000_000)


def test_facts_of_this_machine_are_json_and_agree_with_psutil() -> None:
    facts = json.loads(json.dumps(host.facts()))
    assert facts["memory_bytes"] <= psutil.virtual_memory().total
    assert 1 <= facts["threads"] <= facts["physical_cores"] <= facts["logical_cpus"]
    assert facts["cpu"] and facts["os"] and facts["python"] and facts["machine"]
    assert len(facts["load_average"]) == 3


def test_affinity_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """taskset -c 1,5 on four cores with two threads each leaves one core."""
    topology(tmp_path, [[0, 4], [1, 5], [2, 6], [3, 7]])
    put(tmp_path, "proc/cpuinfo", XEON.format(n=0))
    monkeypatch.setattr(host, "ROOT", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {1, 5}, raising=False)
    found = host.machine()
    assert (found.logical_cpus, found.physical_cores, found.threads) == (2, 1, 1)
    assert "avx2" in found.isa and found.cpu.startswith("Intel")


def clocks(root: Path, megahertz: dict[int, int]) -> None:
    """/sys of cpufreq: the highest clock of each processor, in kilohertz."""
    for cpu, clock in megahertz.items():
        put(root, f"sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq", f"{1000 * clock}\n")


def test_cores_of_a_raspberry_pi_5(tmp_path: Path) -> None:
    topology(tmp_path, [[0], [1], [2], [3]])
    clocks(tmp_path, dict.fromkeys(range(4), 2400))
    cpuinfo = "".join(PI_5.format(n=n) for n in range(4))
    assert cores.kinds(range(4), cpuinfo, name="", root=tmp_path) == (
        Cores(kind="Cortex-A76", count=4, clock_hz=2.4e9),
    )


def test_cores_of_a_raspberry_pi_4_that_tells_no_clock(tmp_path: Path) -> None:
    cpuinfo = "".join(PI_4.format(n=n) for n in range(4)) + "Model\t\t: Raspberry Pi 4 Model B Rev 1.4\n"
    assert cores.kinds(range(4), cpuinfo, name="", root=tmp_path) == (Cores(kind="Cortex-A72", count=4),)


def test_the_small_cores_of_an_rk3588_come_last(tmp_path: Path) -> None:
    """A Rock 5B numbers its Cortex-A55 first, at 1.8 GHz; two pairs of A76 reach clocks of their own."""
    topology(tmp_path, [[n] for n in range(8)])
    clocks(tmp_path, dict.fromkeys(range(4), 1800) | {4: 2352, 5: 2352, 6: 2304, 7: 2304})
    cpuinfo = "".join((LITTLE if n < 4 else PI_5).format(n=n) for n in range(8))
    found = cores.kinds(range(8), cpuinfo, name="", root=tmp_path)
    assert found == (
        Cores(kind="Cortex-A76", count=4, clock_hz=2.352e9),
        Cores(kind="Cortex-A55", count=4, clock_hz=1.8e9),
    )
    untold = cores.kinds(range(8), cpuinfo, name="", root=tmp_path / "elsewhere")
    assert [each.kind for each in untold] == ["Cortex-A76", "Cortex-A55"]
    assert cores.fast(found) == 4
    assert cores.fast(found[1:]) == 4  # nothing but small ones, as in a Pi 3: all are worth a thread


def test_a_hybrid_laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Core Ultra 7 155H: 6 cores of two threads, 8 efficient ones and 2 low-power ones, 22 processors in all."""
    topology(tmp_path, [[2 * n, 2 * n + 1] for n in range(6)] + [[n] for n in range(12, 22)])
    clocks(tmp_path, dict.fromkeys(range(12), 4800) | dict.fromkeys(range(12, 20), 3800) | {20: 2500, 21: 2500})
    put(tmp_path, "sys/devices/cpu_core/cpus", "0-11\n")
    put(tmp_path, "sys/devices/cpu_atom/cpus", "12-19\n")
    put(tmp_path, "sys/devices/cpu_lowpower/cpus", "20-21\n")
    put(tmp_path, "proc/cpuinfo", "".join(CORE_ULTRA.format(n=n) for n in range(22)))
    monkeypatch.setattr(host, "ROOT", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(22)), raising=False)
    found = host.machine()
    assert [(each.kind, each.count, each.clock_hz) for each in found.cores] == [
        ("performance core", 6, 4.8e9),
        ("efficient core", 8, 3.8e9),
        ("low-power core", 2, 2.5e9),
    ]
    assert (found.physical_cores, found.threads, found.decode_threads) == (16, 16, 6)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2, 12, 13}, raising=False)
    assert [each.count for each in host.machine().cores] == [2, 2]
    assert host.machine().decode_threads == 2


def test_a_virtual_machine_tells_its_clock_in_cpuinfo(tmp_path: Path) -> None:
    cpuinfo = "processor\t: 0\nmodel name\t: AMD EPYC\ncpu MHz\t\t: 2596.130\n\n"
    found = cores.kinds([0], cpuinfo, name="AMD EPYC", root=tmp_path)
    assert found == (Cores(kind="AMD EPYC", count=1, clock_hz=2596130000.0),)


def on(monkeypatch: pytest.MonkeyPatch, system: str, arch: str) -> None:
    """Another system without /proc, as `platform` and `os` show it; what psutil says comes on top."""
    monkeypatch.setattr(host, "ROOT", Path("/no such folder"))
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: arch)
    monkeypatch.delattr("os.sched_getaffinity", raising=False)


def test_a_macbook(monkeypatch: pytest.MonkeyPatch) -> None:
    """psutil 7 on a MacBook Air M2 with 16 GB: 8 processors, 8 cores, and platform.processor() says "arm"."""
    on(monkeypatch, "Darwin", "arm64")
    monkeypatch.setattr(elsewhere, "_sysctl", lambda names: elsewhere.parse_sysctl(MAC))
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("psutil.cpu_count", lambda logical=True: 8)
    found = host.machine()
    assert (found.cpu, found.physical_cores, found.threads, found.decode_threads) == ("Apple M2", 8, 8, 4)
    assert found.isa == ("neon", "dotprod", "fp16", "atomics", "i8mm", "bf16")
    assert found.cores == (
        Cores(kind="Apple M2 Performance", count=4),
        Cores(kind="Apple M2 Efficiency", count=4),
    )
    assert found.limits == Limits()


def test_a_mac_without_sysctl_has_what_numpy_found(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "Darwin", "arm64")
    monkeypatch.setattr(elsewhere, "_sysctl", lambda names: {})
    monkeypatch.setattr(elsewhere, "_numpy_features", lambda: {"ASIMD": True, "ASIMDDP": True, "ASIMDHP": True})
    assert host.machine().isa == ("neon", "dotprod", "fp16")


class Registry(ModuleType):
    """Python's winreg as far as the processor's name."""

    HKEY_LOCAL_MACHINE = 1

    def OpenKey(self, key: int, path: str) -> Any:
        assert (key, path) == (1, "HARDWARE\\DESCRIPTION\\System\\CentralProcessor\\0")
        return nullcontext(self)

    def QueryValueEx(self, key: Any, name: str) -> tuple[str, int]:
        return {"ProcessorNameString": ("12th Gen Intel(R) Core(TM) i5-1235U   ", 1)}[name]


def test_a_windows_laptop(monkeypatch: pytest.MonkeyPatch) -> None:
    """psutil 7 on a laptop with an i5-1235U: 12 processors, 10 cores, 1.3 GHz; numpy 2.4 says what AVX2 laptops say."""
    on(monkeypatch, "Windows", "AMD64")
    monkeypatch.setitem(sys.modules, "winreg", Registry("winreg"))
    monkeypatch.setattr("os.cpu_count", lambda: 12)
    monkeypatch.setattr("psutil.cpu_count", lambda logical=True: 12 if logical else 10)
    monkeypatch.setattr("psutil.cpu_freq", lambda: SimpleNamespace(current=1300.0, min=0.0, max=1300.0), raising=False)
    numpy = {"SSE42": True, "AVX": True, "AVX2": True, "FMA3": True, "F16C": True, "AVX512F": False, "ASIMD": False}
    monkeypatch.setattr(elsewhere, "_numpy_features", lambda: numpy)
    found = host.machine()
    assert (found.cpu, found.logical_cpus, found.physical_cores) == ("12th Gen Intel(R) Core(TM) i5-1235U", 12, 10)
    assert found.isa == ("sse4_2", "avx", "avx2", "fma", "f16c")
    assert found.cores == (Cores(kind="12th Gen Intel(R) Core(TM) i5-1235U", count=10, clock_hz=1.3e9),)


def test_a_container_with_half_a_pi_5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docker run --cpus=2 --memory=1g on a Pi 5: threads and memory are the container's, the cores the board's."""
    topology(tmp_path, [[0], [1], [2], [3]])
    put(tmp_path, "proc/cpuinfo", "".join(PI_5.format(n=n) for n in range(4)))
    put(tmp_path, "proc/self/cgroup", "0::/\n")
    put(tmp_path, "sys/fs/cgroup/cpu.max", "200000 100000\n")
    put(tmp_path, "sys/fs/cgroup/memory.max", "1073741824\n")
    monkeypatch.setattr(host, "ROOT", tmp_path)
    monkeypatch.setattr(host, "cgroup_limits", partial(host.cgroup_limits, root=tmp_path))
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(4)), raising=False)
    found = host.machine()
    assert (found.physical_cores, found.threads, found.decode_threads) == (4, 2, 2)
    assert found.memory_bytes == 1 << 30 >= found.usable_bytes


@pytest.mark.parametrize(
    ("text", "cpus"), [("0-3,8", [0, 1, 2, 3, 8]), ("5", [5]), ("", []), ("0-1,4-5", [0, 1, 4, 5])]
)
def test_lists_of_processors(text: str, cpus: list[int]) -> None:
    assert cores.cpu_list(text) == cpus


def test_parts_of_other_makers_keep_their_numbers() -> None:
    """A Snapdragon X's Oryon is part 0x001 of implementer 0x51; a MacBook under Asahi Linux has Apple's, 0x61."""
    block = "processor\t: 0\nCPU implementer\t: {}\nCPU part\t: {}\n\n"
    assert cores.arm_parts(block.format("0x51", "0x001")) == {0: "0x51 0x001"}
    assert cores.arm_parts(block.format("0x61", "0x023")) == {0: "Firestorm"}
