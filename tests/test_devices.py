"""The device profiles that come with the package, and those a user writes."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from edgequant import Error
from edgequant.profiles import device, host
from edgequant.report import listings

NAMES = [name for name in device.names() if name != "host"]
MINE = """
title = "My board"
cores = 4
isa = ["neon"]
ram_bytes = 4_000_000_000
usable_ram_bytes = 3_500_000_000
threads = 4
context = 2048
"""


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_is_whole_and_says_where_its_figures_come_from(name: str) -> None:
    found, sources = device.load(name), device.sources(name)
    assert (found.name, found.is_host) == (name, False)
    assert 0 < found.threads <= found.cores
    assert 0 < found.usable_ram_bytes < found.ram_bytes
    assert found.bandwidth_bytes_per_second is None or found.bandwidth_bytes_per_second > 1e9
    assert set(found.isa) <= set(host.ISA_NAMES.values())
    figures = {"cores", "isa", "ram_bytes", "usable_ram_bytes", "threads", "context"}
    assert figures <= sources.keys() and all(sources.values())
    assert ("bandwidth_bytes_per_second" in sources) == (found.bandwidth_bytes_per_second is not None)


def test_the_boards_that_people_ask_for_are_there() -> None:
    assert {"rpi-zero2w", "rpi4-4gb", "rpi5-8gb", "n100-16gb", "macbook-air-m1-8gb", "cloud-vm-2c-4gb"} <= set(NAMES)


def test_memory_is_what_the_name_says() -> None:
    for name in NAMES:
        size = name.split("-")[-1]
        if size.endswith("gb"):
            assert device.load(name).ram_bytes == int(size[:-2]) << 30


def test_only_new_enough_arm_cores_have_dot_products() -> None:
    """lscpu of the boards: no asimddp on Cortex-A53 (Pi 3, Zero 2 W) and A72 (Pi 4); A76 (Pi 5) has it, not i8mm."""
    assert not any("dotprod" in device.load(n).isa for n in ("rpi-zero2w", "rpi3b-plus", "rpi4-8gb"))
    assert "dotprod" in device.load("rpi5-8gb").isa and "i8mm" not in device.load("rpi5-8gb").isa


def test_a_listing_says_which_formats_a_board_computes_slowly() -> None:
    for name, said in (("rpi4-4gb", True), ("rpi5-4gb", False)):
        console = Console(width=200, file=io.StringIO(), color_system=None)
        console.print(listings.device(device.load(name)))
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert ("- onnx-int8: slow here: without dot products" in text) is said
        assert "- no " in text  # the profile's own notes


def test_a_profile_of_one_s_own(tmp_path: Path) -> None:
    path = write(tmp_path, MINE)
    mine = device.load(path)
    assert (mine.name, mine.title, mine.isa, mine.bandwidth_bytes_per_second) == ("mine", "My board", ("neon",), None)
    assert set(device.sources(path).values()) == {"unsourced"}


def test_this_machine() -> None:
    here = device.load("host")
    assert here.is_host and here.name == "host" and here.bandwidth_bytes_per_second is None
    assert 1 <= here.threads <= here.cores
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
        (("cores = 4", "core = 4"), "unknown key 'core'"),
        (("cores = 4\n", ""), "the key 'cores' is missing"),
        (("cores = 4", 'cores = "4"'), "cores = '4' is no number"),
        (("cores = 4", "cores = true"), "cores = True is no number"),
        (("cores = 4", "cores = 2.5"), "no positive whole number"),
        (("threads = 4", "threads = 0"), "no positive whole number"),
        (('isa = ["neon"]', 'isa = "neon"'), "is no list of texts"),
        (('isa = ["neon"]', "isa = [1]"), "is no list of texts"),
        (("usable_ram_bytes = 3_500", "usable_ram_bytes = 4_500"), "usable_ram_bytes is more than ram_bytes"),
        (('title = "My board"', "title = My board"), "is not TOML"),
        (("context = 2048", "context = 2048\n[sources]\nwatts = 'x'"), "sources names 'watts'"),
    ],
)
def test_a_profile_that_is_not_right_is_refused(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    assert change[0] in MINE
    with pytest.raises(Error, match=message):
        device.load(write(tmp_path, MINE.replace(*change)))


def test_a_misspelt_key_is_put_right(tmp_path: Path) -> None:
    with pytest.raises(Error) as caught:
        device.load(write(tmp_path, MINE.replace("threads", "thread")))
    assert caught.value.hint == "did you mean threads?"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Error, match=r"absent\.toml: No such file"):
        device.load(str(tmp_path / "absent.toml"))
