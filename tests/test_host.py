"""Reading /proc, /sys and control groups, on recorded trees of other machines; the parts that matter here are kept."""

import json
from pathlib import Path

import psutil
import pytest

from edgequant.profiles import host
from edgequant.profiles.host import Limits

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


def test_a_windows_laptop_without_proc_is_known_by_what_numpy_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What numpy 2.4 says of an AVX2 laptop, the keys that matter here."""
    found = {"SSE42": True, "AVX": True, "AVX2": True, "FMA3": True, "F16C": True, "AVX512F": False, "ASIMD": False}
    monkeypatch.setattr(host, "_numpy_features", lambda: found)
    assert host.isa_elsewhere("Windows", "AMD64") == ("sse4_2", "avx", "avx2", "fma", "f16c")
    assert host.isa_elsewhere("Darwin", "arm64") == ("neon", "dotprod", "fp16", "atomics")


def test_numpy_agrees_with_the_kernel_about_this_machine() -> None:
    told = set(host.isa_elsewhere("Windows", "any"))
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
