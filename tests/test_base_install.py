"""The base install alone, in a fresh environment: it measures a bundle, and the run takes its rows back."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgequant.export.llama_wheel import NAME, slim
from edgequant.export.target import target_of
from edgequant.export.wheel_file import write_wheel
from edgequant.profiles.device import load
from edgequant.profiles.records.measurement import QUALITY_METRICS, SPEED_METRICS, WHERE_POSSIBLE, Measurement
from edgequant.profiles.records.store import read

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.system() != "Linux", reason="a wheelhouse is for Linux"),
]
MOST_BYTES = 240_000_000
FORMATS = ("Q8_0", "Q2_K", "onnx-int8")
NEEDLESS = ("torch", "transformers", "onnx", "safetensors", "sentencepiece", "pip", "setuptools", "scipy")


@dataclass(frozen=True)
class Device:
    """A machine that got the tar and nothing else; `run` is the first machine's folder."""

    tar: Path
    folder: Path
    run: Path

    @property
    def site(self) -> Path:
        """Where its packages lie."""
        (found,) = (self.folder / "venv" / "lib").glob("python3.*/site-packages")
        return found

    def call(self, *words: str) -> str:
        """Standard output of its own edgequant."""
        return call(self.folder / "venv" / "bin" / "edgequant", *words, cwd=self.tar.parent)


def call(*words: str | Path, cwd: Path, **environment: str) -> str:
    """Standard output of a command that must succeed, without what points to this environment."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "EDGEQUANT"))}
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env={**kept, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.fail(f"{done.stdout}\n{done.stderr}", pytrace=False)
    return done.stdout


def files_of(name: str) -> dict[str, Path]:
    """The files of a distribution that is installed here, without bytecode."""
    found = importlib.metadata.distribution(name).files or ()
    return {str(file): Path(str(file.locate())) for file in found if file.suffix != ".pyc" and file.parts[0] != ".."}


def cached_wheel(cache: Path) -> None:
    """Put the llama-cpp-python that is installed here where a bundle for this machine looks for one."""
    target = target_of(load("host"))
    folder = cache / "wheels" / f"{NAME}-{importlib.metadata.version(NAME)}-{target.machine}-{target.architecture}"
    folder.mkdir(parents=True)
    added = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
    files = {name: file.read_bytes() for name, file in files_of(NAME).items() if file.name not in added}
    whole = write_wheel(cache, files, tag=f"py3-none-linux_{target.machine}")
    slim(whole, folder, openmp=None)


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory, pocket_folder: Path, pocket_items: Path) -> Device:
    """The pocket model converted, measured and bundled here, and the bundle installed as its script does it."""
    here, there = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("there")
    lines = pocket_items.read_text(encoding="utf-8").splitlines(keepends=True)
    (here / "few.jsonl").write_text("".join(lines[::12]), encoding="utf-8")
    ours = [sys.executable, "-m", "edgequant.cli", "-q"]
    options = ["--formats", ",".join(FORMATS), "--task", here / "few.jsonl", "--context", "512", "--out", here / "run"]
    call(*ours, "run", pocket_folder, *options, cwd=here)
    cached_wheel(here / "cache")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    tar = there / "pocket.tar"
    made = ["bundle", here / "run", "-o", tar, "--device", "host", "--python", python]
    call(*ours, *made, cwd=here, EDGEQUANT_CACHE_DIR=str(here / "cache"))
    call("tar", "xf", tar.name, cwd=there)
    call("sh", "pocket/install.sh", cwd=there)
    return Device(tar=tar, folder=there / "pocket", run=here / "run")


@pytest.fixture(scope="module")
def measured(device: Device) -> Device:
    """The device after it has measured."""
    device.call("-q", "profile", "pocket.tar")
    device.call("-q", "evaluate", "pocket.tar")
    return device


def rows(path: Path) -> Mapping[tuple[str, str], Measurement]:
    """The rows that count: (format, metric) -> the last plain one."""
    return {(row.format, row.metric): row for row in read(path) if not row.variant}


def mean(row: Measurement) -> float:
    return sum(row.samples) / len(row.samples)


def test_nothing_else_is_installed(device: Device) -> None:
    there = {path.name for path in device.site.iterdir()}
    assert not [name for name in NEEDLESS if name in there]
    assert {"edgequant", "numpy", "onnxruntime", "llama_cpp"} <= there


def test_it_takes_no_more_than_240_mb(measured: Device) -> None:
    """With the bytecode that measuring wrote; and what pip writes where llama-cpp-python is compiled on the device."""
    sizes = {file: file.stat().st_size for file in device_files(measured)}
    assert sum(sizes.values()) <= MOST_BYTES
    shipped = sum(size for file, size in sizes.items() if file.suffix != ".pyc")
    slimmed = sum(size for file, size in sizes.items() if "llama_cpp" in file.relative_to(measured.site).parts[0])
    whole = sum(file.stat().st_size for file in files_of(NAME).values())
    assert whole > slimmed
    assert shipped - slimmed + whole <= MOST_BYTES


def device_files(device: Device) -> list[Path]:
    return [file for file in device.site.rglob("*") if file.is_file() and not file.is_symlink()]


def test_every_metric_of_every_format_is_there(measured: Device) -> None:
    found = rows(measured.folder / "results.jsonl")
    for name in FORMATS:
        for metric in (*SPEED_METRICS, *QUALITY_METRICS):
            if not metric.startswith("joules") and metric not in WHERE_POSSIBLE:
                assert found[name, metric].status == "ok", (name, metric, found[name, metric].note)


@pytest.mark.parametrize("name", FORMATS)
def test_divergences_are_those_of_the_whole_reference(name: str, measured: Device) -> None:
    """The same reference on the machine that converted and on the device, near and far."""
    here, there = rows(measured.run / "results.jsonl"), rows(measured.folder / "results.jsonl")
    exact, compact = (mean(found[name, "kl_divergence"]) for found in (here, there))
    assert abs(compact / exact - 1) < 0.005
    error = there[name, "kl_divergence"].parameters["kl_divergence_error"]
    assert abs(compact - exact) < 4 * error + 2e-6
    assert error < 0.003 * exact


@pytest.mark.parametrize("metric", ["accuracy", "same_top_token", "negative_log_likelihood"])
@pytest.mark.parametrize("name", FORMATS)
def test_the_rest_is_the_same_on_the_same_processor(name: str, metric: str, measured: Device) -> None:
    here, there = rows(measured.run / "results.jsonl"), rows(measured.folder / "results.jsonl")
    assert mean(there[name, metric]) == pytest.approx(mean(here[name, metric]), rel=1e-4)


def test_measuring_again_does_nothing(measured: Device) -> None:
    before = (measured.folder / "results.jsonl").read_bytes()
    measured.call("-q", "profile", "pocket.tar")
    measured.call("-q", "evaluate", str(measured.folder))
    assert (measured.folder / "results.jsonl").read_bytes() == before


def test_it_reports_and_picks_by_itself(measured: Device) -> None:
    said = json.loads(measured.call("-q", "report", "pocket.tar", "--json"))
    assert said["answer"]["pick"] in FORMATS
    losses = {row["format"]: row["loss"] for row in said["rows"]}
    assert all(losses[name] for name in FORMATS)  # against the answers that came along
    assert json.loads(measured.call("-q", "pick", "pocket.tar", "--json"))["pick"] == said["answer"]["pick"]


def test_the_devices_are_known_there(device: Device) -> None:
    assert "rpi5-8gb" in device.call("devices")


def test_the_run_takes_the_rows_back(measured: Device, tmp_path: Path) -> None:
    before = (measured.run / "results.jsonl").read_bytes()
    add = ["-q", "report", str(measured.run), "--add", str(measured.folder / "results.jsonl"), "--json"]
    said = json.loads(call(sys.executable, "-m", "edgequant.cli", *add, cwd=tmp_path))
    (other,) = said["others"]
    assert {row["format"] for row in other["rows"]} >= set(FORMATS)
    assert other["answer"]["pick"] in FORMATS
    assert (measured.run / "results.jsonl").read_bytes() == before


def test_rows_of_another_run_are_refused_in_one_line(measured: Device, tmp_path: Path) -> None:
    lines = (measured.folder / "results.jsonl").read_text().splitlines()
    row = {**json.loads(lines[-1]), "artifact_sha256": "0" * 64}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    add = ["-q", "report", str(measured.run), "--add", str(tmp_path / "rows.jsonl")]
    done = subprocess.run(
        [sys.executable, "-m", "edgequant.cli", *add], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith("edgequant: ") and "rows.jsonl, line 1" in line


def test_what_is_installed_there_makes_the_same_wheel_again(device: Device, tmp_path: Path) -> None:
    """A machine that installed edgequant from a wheel bundles it on: byte for byte what it got."""
    code = "import sys, pathlib; from edgequant.export.own_wheel import own_wheel; own_wheel(pathlib.Path(sys.argv[1]))"
    call(device.folder / "venv" / "bin" / "python", "-c", code, tmp_path, cwd=tmp_path)
    (made,) = tmp_path.glob("*.whl")
    assert made.read_bytes() == (device.folder / "wheels" / made.name).read_bytes()
