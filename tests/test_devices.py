"""The device profiles that come with the package, and those a user writes."""

import io
import json
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from edgequant import Error
from edgequant.profiles import device, device_table
from edgequant.profiles.device import Cores, Device, KernelSpeed
from edgequant.profiles.machine import host
from edgequant.report import device_listing

NAMES = [name for name in device.names() if name != "host"]
MINE = """
title = "My board"
isa = ["neon"]
ram_bytes = 4_000_000_000
usable_ram_bytes = 3_500_000_000
prefill_threads = 6
decode_threads = 4
context = 2048

[[cores]]
kind = "big"
count = 4
clock_hz = 2.4e9

[[cores]]
kind = "small"
count = 2
"""


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_is_whole_and_says_where_its_figures_come_from(name: str) -> None:
    found, sources = device.load(name), device.sources(name)
    assert (found.name, found.is_host) == (name, False)
    assert 0 < found.threads == found.decode_threads <= found.n_cores
    assert 0 < found.prefill_threads <= found.n_cores
    assert 0 < found.usable_ram_bytes < found.ram_bytes
    assert set(found.isa) <= set(host.ISA_NAMES.values())
    figures = {"cores", "isa", "ram_bytes", "usable_ram_bytes", "prefill_threads", "decode_threads", "context"}
    assert figures <= sources.keys() and all(sources.values())
    for key in ("theoretical_bandwidth_bytes_per_second", "measured_bandwidth_bytes_per_second"):
        assert (key in sources) == (getattr(found, key) is not None)


def test_the_boards_that_people_ask_for_are_there() -> None:
    boards = {"rpi-zero2w", "rpi3b-plus", "rpi400-4gb", "rpi500plus-16gb", "rk3588-16gb", "jetson-orin-nano-8gb"}
    boards |= {f"rpi4-{n}gb" for n in (1, 2, 4, 8)} | {f"rpi5-{n}gb" for n in (2, 4, 8, 16)}
    laptops = {"macbook-air-m1-8gb", "macbook-air-m2-8gb", "macbook-air-m3-8gb", "macbook-air-m4-16gb"}
    laptops |= {"ryzen-7840u-32gb", "core-ultra-155h-32gb", "avx2-laptop-8gb", "i3-1315u-8gb", "ryzen-ai-340-16gb"}
    assert boards | laptops | {"n100-16gb", "n150-16gb", "snapdragon-8gen3-12gb", "cloud-vm-2c-4gb"} <= set(NAMES)


def test_big_cores_come_first_and_carry_the_threads() -> None:
    """RK3588: Cortex-A76 at 2.3 GHz and A55 at 1.8 GHz; four threads, not eight."""
    found = device.load("rk3588-16gb")
    assert [(each.kind, each.count) for each in found.cores] == [("Cortex-A76", 4), ("Cortex-A55", 4)]
    assert (found.n_cores, found.decode_threads) == (8, 4)
    for name in NAMES:
        clocks = [each.clock_hz for each in device.load(name).cores if each.clock_hz]
        assert clocks == sorted(clocks, reverse=True), name


def test_what_was_measured_is_below_what_the_bus_can_carry() -> None:
    """A copy moves each byte twice at least; reading and writing alone, once."""
    for name in NAMES:
        found = device.load(name)
        measured, most = found.measured_bandwidth_bytes_per_second, found.theoretical_bandwidth_bytes_per_second
        if measured and most:
            assert measured * (2 if found.bandwidth_method == "memcpy" else 1) < most, name


def test_memory_is_what_the_name_says() -> None:
    for name in NAMES:
        size = name.split("-")[-1]
        if size.endswith("gb"):
            assert device.load(name).ram_bytes == int(size[:-2]) << 30


def test_formats_that_are_slow_there_follow_the_facts_of_kernels(tmp_path: Path) -> None:
    assert set(device.load("rpi4-4gb").slow_formats) >= {"onnx-int8", "onnx-int4"}
    assert device.load("rpi5-4gb").slow_formats == ()
    own = write(tmp_path, MINE.replace("context = 2048", 'context = 2048\nslow_formats = ["IQ2_XS"]'))
    assert device.load(own).slow_formats[0] == "IQ2_XS" and "onnx-int8" in device.load(own).slow_formats


def test_only_new_enough_arm_cores_have_dot_products() -> None:
    """lscpu of the boards: no asimddp on Cortex-A53 (Pi 3, Zero 2 W) and A72 (Pi 4); A76 (Pi 5) has it, not i8mm."""
    assert not any("dotprod" in device.load(n).isa for n in ("rpi-zero2w", "rpi3b-plus", "rpi4-8gb"))
    assert "dotprod" in device.load("rpi5-8gb").isa and "i8mm" not in device.load("rpi5-8gb").isa


def shown(renderable: RenderableType) -> str:
    """What a terminal of 80 columns shows."""
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_listing_says_which_formats_a_board_computes_slowly() -> None:
    for name, said in (("rpi4-4gb", True), ("rpi5-4gb", False)):
        text = " ".join(shown(device_listing.device(device.load(name))).split())
        assert ("onnx-int4-gptq, onnx-int4-rtn: slow here: without dot products" in text) is said
        assert "- no " in text  # the profile's own notes


def test_one_profile_shows_each_figure_with_its_source() -> None:
    text = " ".join(shown(device_listing.device(device.load("rk3588-16gb"))).split())
    assert "4 Cortex-A76 at 2.3 GHz, 4 Cortex-A55 at 1.8 GHz lscpu in ThomasKaiser/sbc-bench" in text
    assert "bandwidth measured 29.0 GB/s, written by one thread" in text
    assert "bandwidth in theory 34.1 GB/s unsourced" in text


def test_the_listing_fits_80_columns_and_marks_what_is_no_reading() -> None:
    text = shown(device_listing.devices([device.load(name) for name in NAMES]))
    assert all(len(line.rstrip()) <= 80 for line in text.splitlines())
    rows = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "11.6 GB/s " in rows["rpi5-8gb"] and "6.25 GB/s*" in rows["n150-16gb"]
    assert "~89.6 GB/s" in rows["ryzen-7840u-32gb"] and "not known" in rows["cloud-vm-2c-4gb"]


def test_a_profile_of_one_s_own(tmp_path: Path) -> None:
    path = write(tmp_path, MINE)
    mine = device.load(path)
    assert (mine.name, mine.title, mine.isa) == ("mine", "My board", ("neon",))
    assert (mine.measured_bandwidth_bytes_per_second, mine.cpu_names) == (None, ())
    assert mine.cores == (Cores(kind="big", count=4, clock_hz=2.4e9), Cores(kind="small", count=2))
    assert (mine.n_cores, mine.prefill_threads, mine.decode_threads, mine.threads) == (6, 6, 4, 4)
    assert set(device.sources(path).values()) == {"unsourced"}


def test_this_machine() -> None:
    here = device.load("host")
    assert here.is_host and here.name == "host" and here.measured_bandwidth_bytes_per_second is None
    assert 1 <= here.threads <= here.n_cores
    assert 0 < here.usable_ram_bytes <= here.ram_bytes
    assert here.context == 2048


def test_an_unknown_device_lists_the_known_and_names_the_nearest() -> None:
    with pytest.raises(Error, match="unknown device 'rpi5-8g'") as caught:
        device.load("rpi5-8g")
    assert "did you mean rpi5-8gb?" in caught.value.hint
    assert all(name in caught.value.hint for name in device.names())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("context = 2048", "contexts = 2048"), "unknown key 'contexts'"),
        (("context = 2048\n", ""), "the key 'context' is missing"),
        (('kind = "big"\n', ""), r"\[\[cores\]\]: the key 'kind' is missing"),
        (("count = 2", "counts = 2"), "unknown key 'counts'"),
        (("count = 2", "count = 2.5"), r"\[\[cores\]\]: count = 2.5 is no positive whole number"),
        (("count = 2", "count = true"), "count = True is no positive whole number"),
        (("clock_hz = 2.4e9", "clock_hz = inf"), "clock_hz = inf is no positive number"),
        (("clock_hz = 2.4e9", "clock_hz = nan"), "clock_hz = nan is no positive number"),
        (("decode_threads = 4", "decode_threads = 0"), "no positive whole number"),
        (("decode_threads = 4", "decode_threads = 7"), "decode_threads is more than the 6 cores"),
        (("context = 2048", "context = 127"), "context = 127 is less than 128 tokens"),
        (('isa = ["neon"]', 'isa = ["asimd"]'), "isa: 'asimd' is not known"),
        (("context = 2048", "context = 2048\nbandwidth_method = 'read'"), "go together"),
        (
            ("context = 2048", "context = 2048\nmeasured_bandwidth_bytes_per_second = 1\nbandwidth_method = 'guess'"),
            "none of read, scan",
        ),
        (('isa = ["neon"]', 'isa = "neon"'), "is no list of texts"),
        (('isa = ["neon"]', "isa = [1]"), "is no list of texts"),
        (("usable_ram_bytes = 3_500", "usable_ram_bytes = 4_500"), "usable_ram_bytes is more than ram_bytes"),
        (('title = "My board"', "title = My board"), "is not TOML"),
        (("count = 2", "count = 2\n[sources]\nwatts = 'x'"), "sources names 'watts'"),
    ],
)
def test_a_profile_that_is_not_right_is_refused(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    assert change[0] in MINE
    with pytest.raises(Error, match=message):
        device.load(write(tmp_path, MINE.replace(*change)))


@pytest.mark.parametrize(
    ("written", "meant"),
    [("asimd", "neon"), ("NEON", "neon"), ("asimddp", "dotprod"), ("dotprd", "dotprod"), ("AVX-512F", "avx512f")],
)
def test_an_instruction_set_by_another_name_is_put_right(tmp_path: Path, written: str, meant: str) -> None:
    """Taken as it stands it would switch off every fact about the processor's kernels, unseen."""
    with pytest.raises(Error) as caught:
        device.load(write(tmp_path, MINE.replace('"neon"', f'"neon", "{written}"')))
    assert caught.value.hint.startswith(f"did you mean {meant}? known: sse4_2, ")


KERNEL = """
[[kernels]]
container = "gguf"
type = "Q4_K"
threads = 4
weights_per_second_decode = 1e10
weights_per_second_prefill = 1e11
"""


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        (('"gguf"', '"GGUF"'), "container: 'GGUF' is not known", "did you mean gguf? known: gguf, onnx"),
        (('"gguf"', '"onnx"'), "type: 'Q4_K' is not known", "known: onnx-fp32, onnx-int8"),
        (('"Q4_K"', '"Q4_K_M"'), "type: 'Q4_K_M' is not known", "did you mean Q4_K?"),
        (('"Q4_K"', '"bf16"'), "type: 'bf16' is not known", "did you mean BF16?"),
    ],
)
def test_speeds_of_kernels_that_there_are_not_are_refused(
    tmp_path: Path, change: tuple[str, str], message: str, hint: str
) -> None:
    assert device.load(write(tmp_path, MINE + KERNEL)).kernels[0].type == "Q4_K"
    assert device.load(write(tmp_path, MINE + KERNEL.replace("Q4_K", "IQ4_NL"))).kernels  # of an earlier probe
    with pytest.raises(Error, match=message) as caught:
        device.load(write(tmp_path, MINE + KERNEL.replace(*change)))
    assert hint in caught.value.hint


@pytest.mark.parametrize(("file", "name"), [("host", "host.toml"), ("rpi5-8gb", "rpi5-8gb.toml"), ("mine", "mine")])
def test_a_file_is_never_called_as_a_device_that_is_known(tmp_path: Path, file: str, name: str) -> None:
    path = tmp_path / f"{file}.toml"
    path.write_text(MINE.replace("My board", "this machine: My board"))
    found = device.load(str(path))
    assert (found.name, found.title, found.is_host) == (name, "My board", False)
    assert device.load(str(device_table.FOLDER / "rpi5-8gb.toml")) == device.load("rpi5-8gb")


#: what machines call themselves: recorded /proc/device-tree/model with parts, /proc/cpuinfo, sysctl
SEEN = {
    "Raspberry Pi Zero 2 W Rev 1.0 (Cortex-A53)": {"rpi-zero2w"},
    "Raspberry Pi 3 Model B Plus Rev 1.3 (Cortex-A53)": {"rpi3b-plus"},
    "Raspberry Pi 3 Model B Rev 1.2 (Cortex-A53)": set(),
    "Raspberry Pi 4 Model B Rev 1.4 (Cortex-A72)": {f"rpi4-{n}gb" for n in (1, 2, 4, 8)},
    "Raspberry Pi 400 Rev 1.0 (Cortex-A72)": {"rpi400-4gb"},
    "Raspberry Pi 5 Model B Rev 1.0 (Cortex-A76)": {f"rpi5-{n}gb" for n in (2, 4, 8, 16)},
    "Radxa ROCK 5B (Cortex-A55 + Cortex-A76)": {"rk3588-8gb", "rk3588-16gb"},
    "Apple M1": {"macbook-air-m1-8gb", "macbook-air-m1-16gb"},
    "Apple M1 Pro": set(),
    "Intel(R) N100": {"n100-16gb"},
    "Intel(R) Core(TM) Ultra 7 155H": {"core-ultra-155h-32gb"},
    "AMD Ryzen 7 7840U w/ Radeon  780M Graphics": {"ryzen-7840u-32gb"},
    "AMD Ryzen AI 5 340 w/ Radeon 840M": {"ryzen-ai-340-16gb"},
    "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz": set(),
}


@pytest.mark.parametrize("cpu", SEEN)
def test_a_profile_knows_the_machines_that_it_is_of(cpu: str) -> None:
    found = {name for name in NAMES if any(fnmatchcase(cpu, each) for each in device.load(name).cpu_names)}
    assert found == SEEN[cpu]


def test_a_misspelt_key_is_put_right(tmp_path: Path) -> None:
    with pytest.raises(Error) as caught:
        device.load(write(tmp_path, MINE.replace("decode_threads", "decode_thread")))
    assert caught.value.hint == "did you mean decode_threads?"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Error, match=r"absent\.toml: No such file"):
        device.load(str(tmp_path / "absent.toml"))


def test_a_device_comes_back_from_json_as_it_was() -> None:
    speed = KernelSpeed(
        container="gguf", type="Q4_K", threads=2, weights_per_second_decode=1e10, weights_per_second_prefill=1e11
    )
    probed = replace(device.load("rk3588-16gb"), read_bandwidths=((1, 1e10), (2, 2e10)), kernels=(speed,))
    assert device.from_json(json.loads(json.dumps(asdict(probed)))) == probed


def test_what_version_0_1_wrote_is_still_read() -> None:
    """The device of a run.json of edgequant 0.1, where cores and threads were one number each."""
    old = {
        "name": "rpi5-8gb",
        "title": "Raspberry Pi 5, 8 GB",
        "cores": 4,
        "isa": ["neon", "dotprod"],
        "ram_bytes": 8589934592,
        "usable_ram_bytes": 8239934592,
        "bandwidth_bytes_per_second": 14100000000.0,
        "threads": 4,
        "context": 2048,
        "notes": ["no i8mm, bf16 or SVE"],
        "is_host": False,
    }
    found = device.from_json(old)
    assert isinstance(found, Device)
    assert (found.n_cores, found.threads, found.prefill_threads) == (4, 4, 4)
    assert (found.measured_bandwidth_bytes_per_second, found.notes) == (14.1e9, ("no i8mm, bf16 or SVE",))
