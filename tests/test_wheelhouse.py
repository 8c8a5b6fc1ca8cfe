"""The wheelhouse: what a device's wheels are compiled for, how they are labelled, and what the installer refuses."""

from __future__ import annotations

import base64
import csv
import hashlib
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from packaging.tags import Tag
from packaging.utils import parse_wheel_filename

from edgequant import Error
from edgequant.export import llama_wheel, wheelhouse
from edgequant.export.llama_wheel import check_compiler, needed, platform_tag, slim
from edgequant.export.pip_command import pip
from edgequant.export.target import Target, target_of
from edgequant.export.wheel_file import read_wheel, write_wheel
from edgequant.profiles.device import load

DOTPROD = "armv8.2-a+dotprod+fp16"


@pytest.mark.parametrize(
    ("device", "machine", "architecture"),
    [
        ("rpi-zero2w", "aarch64", "armv8-a"),
        ("rpi3b-plus", "aarch64", "armv8-a"),
        ("rpi4-2gb", "aarch64", "armv8-a"),
        ("rpi5-8gb", "aarch64", DOTPROD),
        ("rk3588-16gb", "aarch64", DOTPROD),
        ("jetson-orin-nano-8gb", "aarch64", DOTPROD),
        ("avx2-laptop-8gb", "x86_64", "sse4_2+avx+avx2+fma+f16c"),
        ("n100-16gb", "x86_64", "sse4_2+avx+avx2+fma+f16c+avx_vnni"),
    ],
)
def test_what_is_compiled_for(device: str, machine: str, architecture: str) -> None:
    target = target_of(load(device))
    assert (target.machine, target.architecture) == (machine, architecture)
    assert target.cmake["GGML_NATIVE"] == "OFF"


def test_a_processor_without_an_instruction_set_gets_none_of_it() -> None:
    old = target_of(load("avx2-laptop-8gb"))
    assert old.cmake["GGML_AVX2"] == "ON" and old.cmake["GGML_AVX512"] == old.cmake["GGML_AVX_VNNI"] == "OFF"
    assert target_of(load("ryzen-7840u-32gb")).cmake["GGML_AVX512_VNNI"] == "ON"
    assert target_of(load("rpi4-2gb")).needs == () and target_of(load("rpi5-8gb")).needs == ("asimddp", "asimdhp")


@pytest.mark.parametrize(("device", "system"), [("macbook-air-m1-8gb", "macOS"), ("snapdragon-8gen3-12gb", "Android")])
def test_other_systems_are_refused(device: str, system: str) -> None:
    with pytest.raises(Error, match=f"no wheels for {system}"):
        target_of(load(device))


@pytest.mark.parametrize(
    ("machine", "here", "package"),
    [
        ("aarch64", "x86_64", "g++-aarch64-linux-gnu"),
        ("x86_64", "aarch64", "g++-x86-64-linux-gnu"),
        ("aarch64", "aarch64", "g++"),
    ],
)
def test_a_missing_compiler_is_named_by_debians_package(
    machine: str, here: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr("platform.machine", lambda: here)
    with pytest.raises(Error, match=f"no compiler here writes code for {machine}") as raised:
        check_compiler(Target(machine=machine, architecture="any", cmake={}, needs=()))
    assert raised.value.hint == f"sudo apt install {package}"


# -- wheels as files


def library(*names: str, machine: int = 0xB7, glibc: str = "2.17") -> bytes:
    """What tests look at of a shared library: the header of an ELF file, and names in its table of strings."""
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + b"\x03\x00" + machine.to_bytes(2, "little")
    return header + b"".join(b"\0" + name.encode() for name in (*names, f"GLIBC_{glibc}")) + b"\0"


LIBRARIES = {
    "libllama.so": library("libllama.so.0", "libggml.so.0", "libggml-base.so.0"),
    "libllama.so.0": library("libllama.so.0"),
    "libggml.so": library("libggml.so.0", "libggml-cpu.so.0"),
    "libggml.so.0": library("libggml.so.0", "libggml-cpu.so.0"),
    "libggml.so.0.25.3": library("libggml.so.0"),
    "libggml-cpu.so.0": library("libggml-cpu.so.0", "libggml-base.so.0", "libgomp.so.1", glibc="2.34"),
    "libggml-cpu.so": library("libggml-cpu.so.0"),
    "libggml-base.so.0": library("libggml-base.so.0"),
    "libggml-base.so": library("libggml-base.so.0"),
}
INFO = "llama_cpp_python-0.3.36.dist-info"
WHEEL = {
    **{f"llama_cpp/lib/{name}": data for name, data in LIBRARIES.items()},
    **{f"lib/{name}": data for name, data in LIBRARIES.items()},
    "include/llama.h": b"int x;",
    "llama_cpp/__init__.py": b"",
    f"{INFO}/METADATA": b"Name: llama-cpp-python\n",
    f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-linux_x86_64\n\n",
    f"{INFO}/RECORD": b"out of date,,\n",
}


def wheel(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "llama_cpp_python-0.3.36-py3-none-linux_x86_64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_each_library_is_kept_once_under_the_name_it_is_looked_up_by() -> None:
    assert set(needed(LIBRARIES)) == {
        "libllama.so", "libggml.so", "libggml.so.0", "libggml-cpu.so.0", "libggml-base.so.0",
    }  # fmt: skip


def test_a_built_wheel_is_labelled_as_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "gomp").write_bytes(library(glibc="2.27"))
    made = slim(wheel(tmp_path, WHEEL), tmp_path, openmp=tmp_path / "gomp")
    name, version, _, tags = parse_wheel_filename(made.name)
    assert (str(name), str(version)) == ("llama-cpp-python", "0.3.36")
    assert tags == {Tag("py3", "none", "manylinux_2_34_aarch64")}
    files = read_wheel(made)
    assert f"Tag: {next(iter(tags))}\n" in files[f"{INFO}/WHEEL"].decode()
    assert files[f"{INFO}/WHEEL"].decode().count("Tag:") == 1
    assert {name for name in files if name.startswith(("lib/", "include/"))} == set()
    assert "llama_cpp/lib/libgomp.so.1" in files and "llama_cpp/__init__.py" in files


def test_openmp_goes_along_only_where_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "gomp").write_bytes(library())
    without = {name: data.replace(b"libgomp.so.1", b"") for name, data in WHEEL.items()}
    made = slim(wheel(tmp_path, without), tmp_path, openmp=tmp_path / "gomp")
    assert "llama_cpp/lib/libgomp.so.1" not in read_wheel(made)


def test_a_wheel_of_two_machines_is_refused() -> None:
    with pytest.raises(Error, match="several machines: aarch64, x86_64"):
        platform_tag({"a": library(), "b": library(machine=0x3E)})


def test_record_fits_the_files(tmp_path: Path) -> None:
    made = write_wheel(tmp_path, WHEEL, tag="py3-none-any")
    files = read_wheel(made)
    rows = {row[0]: row[1:] for row in csv.reader(files[f"{INFO}/RECORD"].decode().splitlines())}
    assert set(rows) == set(files)
    for name, (digest, size) in rows.items():
        if not name.endswith("/RECORD"):
            expected = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).decode().rstrip("=")
            assert (digest, int(size)) == (f"sha256={expected}", len(files[name]))


def test_the_same_files_make_the_same_wheel(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    backwards = dict(reversed(WHEEL.items()))
    made = [write_wheel(tmp_path / name, files, tag="py3-none-any") for name, files in (("a", WHEEL), ("b", backwards))]
    assert made[0].read_bytes() == made[1].read_bytes()


def test_files_that_are_no_wheel(tmp_path: Path) -> None:
    with pytest.raises(Error, match="no wheel"):
        write_wheel(tmp_path, {"a.py": b""}, tag="py3-none-any")


# -- what is fetched


def test_a_wheel_that_was_built_is_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_wheel, "check_compiler", lambda target: pytest.fail("looked for a compiler"))
    target = target_of(load("rpi5-8gb"))
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.3.36")
    folder = tmp_path / f"llama-cpp-python-0.3.36-aarch64-{DOTPROD}"
    folder.mkdir()
    (folder / "x.whl").write_bytes(b"")
    assert llama_wheel.llama_wheel(target, tmp_path, progress=lambda text: None) == folder / "x.whl"


def test_a_build_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*words: object, **options: object) -> None:
        raise Error("cannot compile")

    monkeypatch.setattr(llama_wheel, "check_compiler", lambda target: None)
    monkeypatch.setattr(llama_wheel, "pip", fails)
    with pytest.raises(Error, match="cannot compile"):
        llama_wheel.llama_wheel(target_of(load("rpi5-8gb")), tmp_path / "cache", progress=lambda text: None)
    assert not list((tmp_path / "cache").iterdir())


def test_the_base_install_alone_is_asked_for() -> None:
    named = {line.split(">")[0].strip() for line in wheelhouse.requirements()}
    assert {"click", "numpy", "onnxruntime", "llama-cpp-python", "tokenizers"} <= named
    assert not named & {"torch", "transformers", "onnx", "safetensors", "sentencepiece", "pytest"}


def test_versions_are_those_that_are_installed_here() -> None:
    import numpy

    assert f"numpy=={numpy.__version__}" in wheelhouse.constraints()
    assert not any("+" in line or line.startswith(("pip==", "edgequant==")) for line in wheelhouse.constraints())


def test_every_platform_up_to_a_glibc_is_named() -> None:
    words = wheelhouse.platforms("aarch64", 28)
    assert words[:2] == ["--platform", "manylinux_2_28_aarch64"]
    assert {"manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"} <= set(words)
    assert "manylinux_2_29_aarch64" not in words


def test_the_cache_is_where_one_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("EDGEQUANT_CACHE_DIR", raising=False)
    assert wheelhouse.cache_folder() == tmp_path / "xdg" / "edgequant"
    monkeypatch.setenv("EDGEQUANT_CACHE_DIR", str(tmp_path / "mine"))
    assert wheelhouse.cache_folder() == tmp_path / "mine"


def test_what_is_no_python(tmp_path: Path) -> None:
    with pytest.raises(Error, match="'py3' is no version of CPython"):
        wheelhouse.make(target_of(load("rpi5-8gb")), tmp_path, pythons=["py3"], progress=lambda text: None)


def test_pips_own_words_are_told() -> None:
    with pytest.raises(Error, match=r"cannot look: ERROR: unknown command"):
        pip("no-such-command", doing="look")


# -- install.sh, on machines that the commands in its path make up


MACHINE = {
    "uname": 'case "$1" in -s) echo Linux;; *) echo aarch64;; esac',
    "getconf": 'case "$1" in LONG_BIT) echo 64;; *) echo glibc 2.36;; esac',
    "python3.11": "exit 127",
    "python3": 'case "$*" in *version_info*) echo 3.11;; *calcsize*) echo 8;; *--version) echo Python 3.11.2;; '
    '*-m\\ venv*) mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; cp "$0" "$4/bin/edgequant"; touch "$4/pyvenv.cfg";; '
    '*pip*) echo "$@" > "$(dirname "$0")/../installed";; esac',
}


def install(
    tmp_path: Path, *words: str, needs: tuple[str, ...] = (), **commands: str
) -> subprocess.CompletedProcess[str]:
    """Run the script with these commands in its path, beside those that every system has."""
    target = Target(machine="aarch64", architecture="armv8-a", cmake={}, needs=needs)
    folder, path = tmp_path / "a bundle", tmp_path / "path"
    (folder / "wheels").mkdir(parents=True, exist_ok=True)
    (folder / "wheels" / "pip-26.0-py3-none-any.whl").write_bytes(b"")
    (folder / "install.sh").write_text(wheelhouse.installer(target, ["3.11", "3.13"], glibc=34))
    path.mkdir(exist_ok=True)
    for name, body in {**MACHINE, **commands}.items():
        (path / name.replace("python3_", "python3.")).write_text(f"#!/bin/sh\n{body}\n")
        (path / name.replace("python3_", "python3.")).chmod(0o755)
    script = ["sh", str(folder / "install.sh"), *words]
    env = {"PATH": f"{path}:/usr/bin:/bin"}
    return subprocess.run(script, env=env, capture_output=True, text=True, check=False, cwd=tmp_path)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that it ends in."""
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("install.sh: ")
    return line


def test_it_installs_without_compiler_and_network(tmp_path: Path) -> None:
    done = install(tmp_path)
    assert done.returncode == 0, done.stderr
    said = (tmp_path / "a bundle" / "venv" / "installed").read_text()
    assert "pip-26.0-py3-none-any.whl/pip" in said
    assert {"--no-index", "--isolated", "--find-links", "edgequant"} <= set(said.split())
    assert "edgequant profile" in done.stdout


def test_a_32_bit_system_is_refused_in_one_line(tmp_path: Path) -> None:
    """Raspberry Pi OS of 32 bits runs a kernel of 64: `uname` alone would not tell."""
    assert "32-bit system" in refusal(install(tmp_path, getconf="echo 32"))


@pytest.mark.parametrize(
    ("commands", "said"),
    [
        ({"uname": "echo Darwin"}, "for Linux"),
        ({"uname": 'case "$1" in -s) echo Linux;; *) echo x86_64;; esac'}, "for aarch64, this is x86_64"),
        (
            {"getconf": 'case "$1" in LONG_BIT) echo 64;; *) echo glibc 2.31;; esac'},
            "glibc 2.34 or later, this is 2.31",
        ),
        ({"getconf": 'case "$1" in LONG_BIT) echo 64;; *) exit 1;; esac'}, "another C library"),
        (
            {"python3": 'case "$*" in *--version) echo Python 3.9.2;; *) echo 3.9;; esac'},
            "none of them is here .*3.9.2",
        ),
        ({"python3": 'case "$*" in *version_info*) echo 3.11;; *calcsize*) echo 4;; esac'}, "32-bit program"),
    ],
    ids=["system", "machine", "glibc", "musl", "python", "python of 32 bits"],
)
def test_what_the_wheels_do_not_fit_is_refused_in_one_line(commands: dict[str, str], said: str, tmp_path: Path) -> None:
    import re

    assert re.search(said, refusal(install(tmp_path, **commands)))
    assert not (tmp_path / "a bundle" / "venv").exists()


def test_a_newer_glibc_of_two_digits_is_newer(tmp_path: Path) -> None:
    """2.100 is later than 2.34, and 3.0 than both."""
    for version in ("2.34", "2.100", "3.0"):
        assert (
            install(tmp_path, getconf=f'case "$1" in LONG_BIT) echo 64;; *) echo glibc {version};; esac').returncode
            == 0
        )


def test_a_processor_that_lacks_what_was_compiled_in_is_refused(tmp_path: Path) -> None:
    assert "lacks no_such_flag" in refusal(install(tmp_path, needs=("no_such_flag",)))


def test_the_python_that_fits_is_found(tmp_path: Path) -> None:
    """Debian 13's python3 is 3.13; where 3.12 is the default, a 3.13 beside it is taken."""
    newer = MACHINE["python3"].replace("echo 3.11", "echo 3.13")
    older = MACHINE["python3"].replace("echo 3.11", "echo 3.12")
    done = install(tmp_path, python3=older, **{"python3_13": newer})
    assert done.returncode == 0, done.stderr
    assert "3.13" in (tmp_path / "a bundle" / "venv" / "bin" / "python").read_text()


def test_a_folder_of_ones_own_is_not_made_an_environment(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    assert "no virtual environment" in refusal(install(tmp_path, str(tmp_path / "home")))
    assert not list((tmp_path / "home").iterdir())
