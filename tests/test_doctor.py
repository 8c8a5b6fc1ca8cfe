"""The doctor: planted deaths and wrong results are told from right ones; each problem has the line that mends it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from edgequant import child
from edgequant.cli import main
from edgequant.convert import ladder
from edgequant.convert.formats import FORMATS
from edgequant.profiles.doctor import ailments, examination, kernel_trials, trial_model, trial_ort
from edgequant.profiles.doctor.ailments import NOTES, SLOWS, STOPS
from edgequant.profiles.doctor.kernel_trials import DIED, FAILED, PLAIN, REPACKED, RIGHT, WRONG, Family, Trial
from edgequant.profiles.machine import surroundings
from edgequant.profiles.machine.surroundings import Surroundings, Swap
from edgequant.profiles.machine.throttling import Throttling
from edgequant.report import doctor_listing

PI5_ISA, PI4_ISA = ("neon", "dotprod", "fp16", "atomics"), ("neon",)
HASWELL = ("sse4_2", "avx", "avx2", "fma", "f16c")
PI5 = Surroundings(
    system="Linux-6.6.31+rpt-rpi-2712-aarch64-with-glibc2.36",
    machine="aarch64",
    python="3.11.2",
    python_bits=64,
    page_bytes=16384,
    memory_bytes=8_443_772_928,
    usable_bytes=7_000_000_000,
    memory_limit_bytes=None,
    cpu_quota=None,
    online_cpus=4,
    allowed_cpus=4,
    threads=4,
    swap=Swap(total_bytes=209_698_816, used_bytes=0, is_zram=False),
    governors=("ondemand",),
    throttling=Throttling(pi_flags=0),
    on_battery=None,
    disk_folder="/home/pi",
    disk_free_bytes=20_000_000_000,
    temporary_folder="/tmp",
    temporary_free_bytes=20_000_000_000,
    temporary_in_memory=False,
    extras={"convert": True, "optimum": True, "report": True},
    compilers=("g++",),
)


@pytest.fixture(autouse=True)
def victims_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children find victims.py."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def gguf(way: str, **job: Any) -> Family:
    return Family(container="gguf", name="Q4_0", entry=job.pop("entry"), job={"type": "Q4_0", **job}, way=way)


def trial(way: str, verdict: str, *, family: str = "Q4_0", signal: str = "", engine: str = "llama.cpp") -> Trial:
    return Trial(engine=engine, family=family, way=way, verdict=verdict, said="said", signal=signal)


def try_alone(family: Family, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """What becomes of one family that stands in place of all."""
    monkeypatch.setattr(kernel_trials, "FAMILIES", (family,))
    monkeypatch.setattr(kernel_trials, "_MAKES", "victims:makes_nothing")
    (found,) = kernel_trials.tried(folder, isa=(), at_once=1, progress=lambda text: None)
    return found


@pytest.mark.parametrize("signal", ["SIGILL", "SIGSEGV"])
def test_a_family_that_dies_is_named_with_its_signal(
    signal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = try_alone(gguf(PLAIN, entry="victims:dies", signal=signal), tmp_path, monkeypatch)
    assert (found.engine, found.family, found.verdict, found.signal) == ("llama.cpp", "Q4_0", DIED, signal)
    (ailment,) = ailments.of_kernels([found, replace(found, way=REPACKED)], isa=())
    assert ailment.what == f"llama.cpp: Q4_0 dies of {signal}" and ailment.weight == STOPS
    assert "GGML_NATIVE=OFF" in ailment.mend


def test_a_family_that_breaks_otherwise_is_no_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = try_alone(gguf(PLAIN, entry="victims:breaks"), tmp_path, monkeypatch)
    assert (found.verdict, found.signal, found.said) == (FAILED, "", "RuntimeError: a bug")


def test_a_wrong_result_of_llama_cpp_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = try_alone(gguf(PLAIN, entry="victims:computes_wrongly", error=0.3), tmp_path, monkeypatch)
    assert (found.verdict, found.error) == (WRONG, 0.3)


def test_without_a_model_nothing_is_called_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_trials, "_MAKES", "victims:fails")
    monkeypatch.setattr(kernel_trials, "FAMILIES", (gguf(PLAIN, entry="victims:echo"),))
    (found,) = kernel_trials.tried(tmp_path, isa=(), at_once=1, progress=lambda text: None)
    assert found.verdict == FAILED and "the disk is full" in found.said


def test_where_repacked_kernels_die_the_doctor_says_what_is_used_instead() -> None:
    trials = [trial(REPACKED, DIED, signal="SIGILL"), trial(PLAIN, RIGHT)]
    assert kernel_trials.repack_setting(trials) is False
    (ailment,) = ailments.of_kernels(trials, isa=())
    assert "runs it without them (repack off)" in ailment.what and "SIGILL: Q4_0" in ailment.what
    assert "-mno-amx-int8" in ailment.mend and ailment.weight == SLOWS


def test_repack_stays_on_where_it_is_right_and_is_unknown_where_nothing_is() -> None:
    assert kernel_trials.repack_setting([trial(REPACKED, RIGHT), trial(PLAIN, RIGHT)]) is True
    assert kernel_trials.repack_setting([trial(REPACKED, WRONG), trial(PLAIN, WRONG)]) is None
    mixed = [trial(w, v, family=f) for f, a, b in (("F16", RIGHT, RIGHT), ("Q4_0", WRONG, RIGHT)) for w, v in
             ((REPACKED, a), (PLAIN, b))]  # fmt: skip
    assert kernel_trials.repack_setting(mixed) is False


def test_sums_cut_off_where_that_is_known_need_no_mending() -> None:
    """x86 without VNNI (see profiles/kernels.py); the same result on one with it is a fault."""
    cut = trial("", WRONG, family="MatMulInteger, u8 by s8", engine="onnxruntime")
    (known,) = ailments.of_kernels([cut], isa=HASWELL)
    (fault,) = ailments.of_kernels([cut], isa=(*HASWELL, "avx_vnni"))
    assert (known.weight, fault.weight) == (NOTES, STOPS) and "7 bits" in known.mend


def test_a_build_that_leaves_out_what_the_processor_has_is_told() -> None:
    """ggml's own words for the same: dotprod, matmul_int8, avx512."""
    built = ("neon", "arm_fma")
    (slow,) = ailments.of_build(built, PI5_ISA)
    assert slow.what == "llama.cpp was built without dotprod, which this processor has" and slow.weight == SLOWS
    assert ailments.of_build(built, PI4_ISA) == [] and ailments.of_build(None, PI5_ISA) == []
    assert ailments.of_build(("neon", "dotprod", "fp16_va"), PI5_ISA) == []
    assert ailments.of_build(("neon", "dotprod", "matmul_int8"), (*PI5_ISA, "i8mm")) == []
    assert ailments.of_build(("avx2", "fma", "f16c", "avx512"), (*HASWELL, "avx512f")) == []


def told(around: Surroundings, isa: tuple[str, ...] = PI5_ISA) -> dict[str, str]:
    return {each.what: each.mend for each in ailments.of_surroundings(around, isa=isa)}


def test_a_raspberry_pi_5_is_well() -> None:
    assert told(PI5) == {}


@pytest.mark.parametrize(
    ("changes", "what", "mend"),
    [
        ({"python_bits": 32}, "a 32-bit system on a 64-bit kernel", "Raspberry Pi OS, 64-bit"),
        ({"python_bits": 32, "machine": "armv7l"}, "a 32-bit system on a 32-bit kernel", "Raspberry Pi OS, 64-bit"),
        ({"governors": ("powersave",)}, "lowest clock", "echo performance | sudo tee"),
        ({"memory_limit_bytes": 10**9}, "holds this process to 1 GB", "docker run --memory"),
        ({"cpu_quota": 1.5}, "pays for 1.5 of 4", "docker run --cpus 4"),
        ({"allowed_cpus": 2}, "may use 2 of 4", "taskset -cp 0-3 $$"),
        ({"disk_free_bytes": 10**9}, "1 GB is free in /home/pi", "--out"),
        ({"temporary_in_memory": True, "temporary_free_bytes": 10**9}, "/tmp, in memory: 1 GB", "TMPDIR=/var/tmp"),
        ({"usable_bytes": 3 * 10**8}, "only 0.3 GB", "ps aux"),
        ({"swap": Swap(total_bytes=10**9, used_bytes=5 * 10**8, is_zram=True)}, "0.5 GB of swap", "swapoff"),
        ({"throttling": Throttling(pi_flags=0x50005)}, "undervoltage detected", "get_throttled"),
        ({"throttling": Throttling(pi_flags=0x8)}, "soft temperature limit active", "fan"),
        ({"throttling": Throttling(mac_level=2)}, "heavy", "cool"),
        ({"on_battery": True}, "battery", "plug it in"),
        ({"extras": dict.fromkeys(("convert", "report"), False)}, "torch", 'pip install "edgequant[convert]"'),
        ({"machine": "x86_64"}, "cross-compiler", "sudo apt install g++-aarch64-linux-gnu"),
    ],
)
def test_each_problem_has_the_line_that_mends_it(changes: dict[str, Any], what: str, mend: str) -> None:
    found = told(replace(PI5, **changes))
    (line,) = {each for said, each in found.items() if what in said}
    assert mend in line


def test_a_zero_2_w_without_swap_is_warned_and_its_slow_formats_are_named() -> None:
    """416 MB is what Raspberry Pi OS sees of 512 MB; MatMulNBits is slow on Cortex-A53 (see profiles/kernels.py)."""
    small = replace(PI5, memory_bytes=436_207_616, usable_bytes=300_000_000,
                    swap=Swap(total_bytes=0, used_bytes=0, is_zram=False))  # fmt: skip
    found = told(small, PI4_ISA)
    assert found["0.44 GB of memory and no swap: what does not fit is killed"] == "sudo apt install zram-tools"
    assert any(said.startswith("slow on this processor: onnx-int8") for said in found)


def test_large_pages_are_blamed_only_where_an_engine_does_not_load() -> None:
    dead = {"llama.cpp": "", "onnxruntime": "died of SIGSEGV"}
    first, second = ailments.of_engines(dead, PI5)
    assert first.what == "onnxruntime cannot be loaded: died of SIGSEGV"
    assert "16 KB" in second.what and "kernel8.img" in second.mend
    assert len(ailments.of_engines(dead, replace(PI5, page_bytes=4096))) == 1
    assert ailments.of_engines({"llama.cpp": "", "onnxruntime": ""}, PI5) == []


def test_on_arm_the_doctor_says_that_a_wheel_is_compiled_and_what_spares_it() -> None:
    """PyPI has llama-cpp-python as a source alone (issue 5)."""
    small_pages = replace(PI5, page_bytes=4096)
    (dead,) = ailments.of_engines({"llama.cpp": "no module named llama_cpp", "onnxruntime": ""}, small_pages)
    (note,) = ailments.of_compiling([dead], PI5)
    assert "no ready wheel of llama-cpp-python" in note.what and "tens of minutes" in note.what
    assert note.mend.startswith("or on another machine: edgequant bundle RUN --device")
    slow = ailments.of_build(("neon",), PI5_ISA)
    assert ailments.of_compiling(slow, PI5) == [note]
    other = ailments.of_engines({"onnxruntime": "died of SIGILL"}, PI5)
    assert ailments.of_compiling([], PI5) == ailments.of_compiling(other, PI5) == []


def test_elsewhere_it_asks_for_a_compiler_where_there_is_none() -> None:
    laptop = replace(PI5, machine="x86_64", system="Linux-6.1-x86_64-with-glibc2.36")
    slow = ailments.of_build(("avx",), HASWELL)
    assert ailments.of_compiling(slow, laptop) == []
    (bare,) = ailments.of_compiling(slow, replace(laptop, compilers=()))
    assert bare.mend == "sudo apt install g++" and bare.weight == SLOWS
    assert ailments.of_compiling(slow, replace(laptop, compilers=(), system="macOS-14.5-arm64")) == []


def test_swap_of_recorded_machines(tmp_path: Path) -> None:
    """Raspberry Pi OS's file of 100 MB, Fedora's zram, and none; /proc/swaps counts in KiB."""
    head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
    (tmp_path / "proc").mkdir()
    file = tmp_path / "proc/swaps"
    file.write_text(head + "/var/swap                               file\t\t102396\t\t2048\t\t-2\n")
    assert surroundings.swap(root=tmp_path) == Swap(total_bytes=104_853_504, used_bytes=2_097_152, is_zram=False)
    file.write_text(head + "/dev/zram0                              partition\t8388604\t\t0\t\t100\n")
    assert surroundings.swap(root=tmp_path) == Swap(total_bytes=8_589_930_496, used_bytes=0, is_zram=True)
    file.write_text(head)
    assert surroundings.swap(root=tmp_path) == Swap(total_bytes=0, used_bytes=0, is_zram=False)


def test_governors_and_file_systems_of_a_recorded_machine(tmp_path: Path) -> None:
    for cpu, governor in ((0, "ondemand"), (1, "ondemand"), (4, "performance")):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{governor}\n")
    assert surroundings.governors(root=tmp_path) == ("ondemand", "performance")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/mounts").write_text("/dev/mmcblk0p2 / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n")
    assert surroundings.filesystem_of(Path("/tmp/pip-1"), root=tmp_path) == "tmpfs"
    assert surroundings.filesystem_of(Path("/tmporary"), root=tmp_path) == "ext4"


def test_every_type_of_our_own_files_is_tried_and_no_other() -> None:
    """Those that formats name, and those that rows fall back to; ids are of llama.cpp's enum llama_ftype."""
    assert trial_model.FILE_TYPES.keys() == ladder.BLOCKS.keys() - {"F32", "F16", "BF16"}
    stated = {name: fmt.llama_ftype for name, fmt in FORMATS.items() if name in trial_model.FILE_TYPES}
    assert {name: trial_model.FILE_TYPES[name] for name in stated} == stated
    assert {"Q5_0", "Q5_1", "Q4_1"} <= {family.name for family in kernel_trials.FAMILIES}


def test_children_fit_the_memory() -> None:
    assert kernel_trials.children_at_once(4, 8 * 10**9) == 4
    assert kernel_trials.children_at_once(4, 300 * 10**6) == 1


def test_attention_in_numpy_is_causal_and_weighs_alike_where_all_is_alike() -> None:
    """Worked by hand: with equal keys every token sees the mean of the values up to itself."""
    heads, n = trial_model.HEADS + 2 * trial_model.KV_HEADS, 3
    qkv = np.zeros((1, n, heads, trial_model.HEAD_DIM), np.float32)
    qkv[0, :, trial_model.HEADS + trial_model.KV_HEADS :] = np.array([3.0, 6.0, 9.0])[:, None, None]
    still = np.zeros((trial_model.CONTEXT, trial_model.HEAD_DIM // 2))
    found = trial_ort.attended(qkv.reshape(1, n, -1), still)
    np.testing.assert_allclose(found[0, :, 0], [3.0, 4.5, 6.0])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small random model."""
    folder = tmp_path_factory.mktemp("trial") / trial_model.FOLDER
    trial_model.write_checkpoint(folder)
    return folder


def test_onnx_runtime_is_right_here_and_a_product_of_other_weights_is_not(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = child.run("edgequant.profiles.doctor.trial_ort:attention", {})
    assert outcome.unwrap()["is_right"] and outcome.value["error"] < 1e-5
    job = {"checkpoint": str(checkpoint), "format": "onnx-int4"}
    assert child.run("edgequant.profiles.doctor.trial_ort:product", job).unwrap()["is_right"]
    wrong = child.run("victims:product_of_damaged_graph", job).unwrap()
    assert not wrong["is_right"] and wrong["error"] > 0.5


def diagnosed(trials: tuple[Trial, ...]) -> examination.Diagnosis:
    """A diagnosis as `examine` makes it, of recorded parts."""
    names = ("llama.cpp", "onnxruntime")
    engines = tuple(
        examination.Engine(name=name, version="1", build=("NEON",), runs=kernel_trials.runs(trials, name))
        for name in names
    )
    return examination.Diagnosis(
        cpu="Raspberry Pi 5 Model B Rev 1.0 (Cortex-A76)",
        isa=PI5_ISA,
        surroundings=PI5,
        engines=engines,
        trials=trials,
        repack=kernel_trials.repack_setting(trials),
        ailments=tuple(ailments.of_kernels(trials, isa=PI5_ISA)),
        seconds=9.0,
    )


ORT_RIGHT = trial("", RIGHT, family="GroupQueryAttention", engine="onnxruntime")


def shown(found: examination.Diagnosis) -> str:
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(doctor_listing.diagnosis(found))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_listing_fits_80_columns_and_says_what_is_used() -> None:
    text = shown(diagnosed((trial(REPACKED, DIED, signal="SIGILL"), trial(PLAIN, RIGHT), ORT_RIGHT)))
    assert max(map(len, text.splitlines())) <= 80
    assert "died of SIGILL" in text and "repack off" in text and "Both engines run" in text
    assert "→ CFLAGS=" in text


@pytest.mark.parametrize(
    ("trials", "code"),
    [
        ((trial(REPACKED, DIED, signal="SIGILL"), trial(PLAIN, RIGHT), ORT_RIGHT), 0),
        ((trial(REPACKED, RIGHT), trial(PLAIN, WRONG), ORT_RIGHT), 0),
        ((trial(REPACKED, DIED, signal="SIGILL"), trial(PLAIN, DIED, signal="SIGILL"), ORT_RIGHT), 1),
        ((trial(REPACKED, RIGHT), trial(PLAIN, RIGHT)), 1),
    ],
)
def test_only_an_engine_that_cannot_run_at_all_ends_in_1(
    trials: tuple[Trial, ...], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "examine", lambda **options: diagnosed(trials))
    result = CliRunner().invoke(main, ["doctor", "--json"])
    assert result.exit_code == code
    assert json.loads(result.stdout)["runs"] is (code == 0)


@pytest.mark.slow
def test_the_doctor_on_this_machine(tmp_path: Path) -> None:
    """Every family was tried, both ways, and both engines are right where the whole suite runs."""
    found = examination.examine(folder=tmp_path, progress=lambda text: None)
    assert len(found.trials) == len(kernel_trials.FAMILIES) and found.runs
    assert {t.verdict for t in found.trials if t.way != REPACKED} == {RIGHT}
    assert {t.family for t in found.trials if t.way == PLAIN} == {"F16", *trial_model.FILE_TYPES}
    assert all(engine.version and engine.build for engine in found.engines)
    assert max(map(len, shown(found).splitlines())) <= 80
