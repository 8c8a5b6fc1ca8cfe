"""Measuring this machine: what is measured is checked for sense, never for speed; what is written is read by others."""

from __future__ import annotations

import errno
import json
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from gguf import GGMLQuantizationType, GGUFReader, quants

from edgequant import Error, child, cli
from edgequant.convert import ladder
from edgequant.convert.formats import DEFAULT_FORMATS, FORMATS
from edgequant.profiles import device, saved_probe
from edgequant.profiles.device import KernelSpeed
from edgequant.profiles.machine import host
from edgequant.profiles.probing import kernel_speeds, probe, read_bandwidth, speed_model
from edgequant.profiles.probing import storage_speed as storage

SPEED = KernelSpeed(
    container="gguf",
    type="Q4_K",
    threads=2,
    weights_per_second_decode=4.2e10,
    weights_per_second_prefill=1.5e11,
    layer_seconds=2.5e-05,
    token_seconds=1e-4,
)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that a saved probe is, in a folder of the test's own."""
    monkeypatch.setenv("EDGEQUANT_CONFIG_DIR", str(tmp_path / "settings"))
    return tmp_path / "settings" / "devices" / "host.toml"


def probed(**changes: Any) -> probe.Probed:
    """A probe of this machine with figures that nobody measured."""
    here = host.machine()
    values: dict[str, Any] = {
        "read_bandwidths": ((1, 1.25e10), (2, 2e10)),
        "measured_bandwidth_bytes_per_second": 2e10,
        "bandwidth_method": "read",
        "storage_bytes_per_second": 9e7,
        "kernels": (SPEED,),
        **changes,
    }
    facts = {"cpu": here.cpu, "threads": here.threads, "at": "2026-01-02T03:04:05+00:00", "cpu_quota": None}
    return probe.Probed(device=replace(device.from_machine(here), **values), facts=facts, notes=())


# what is saved


def test_a_saved_probe_is_what_this_machine_is_loaded_with(kept: Path) -> None:
    assert device.load("host").measured_bandwidth_bytes_per_second is None
    assert probe.save(probed()) == kept
    here = device.load("host")
    assert here.is_host and here.kernels == (SPEED,)
    assert here.read_bandwidths == ((1, 1.25e10), (2, 2e10))
    assert (here.measured_bandwidth_bytes_per_second, here.bandwidth_method) == (2e10, "read")
    assert here.storage_bytes_per_second == 9e7
    assert device.sources("host")["kernels"] == "edgequant devices probe, 2026-01-02T03:04:05+00:00"


def test_it_is_plain_toml_with_a_source_for_every_figure(kept: Path) -> None:
    probe.save(probed(title='a "board" \\ of\tmine'))
    table = tomllib.loads(kept.read_text(encoding="utf-8"))
    assert table["title"] == 'a "board" \\ of\tmine'
    assert table["kernels"] == [vars(SPEED)]
    assert table["read_bandwidths"] == [
        {"threads": 1, "bytes_per_second": 1.25e10},
        {"threads": 2, "bytes_per_second": 2e10},
    ]
    assert "unsourced" not in device.sources(str(kept)).values()


def test_it_is_a_profile_that_another_machine_can_plan_with(kept: Path, tmp_path: Path) -> None:
    probe.save(probed())
    moved = tmp_path / "my-board.toml"
    moved.write_bytes(kept.read_bytes())
    board = device.load(str(moved))
    assert (board.name, board.is_host, board.kernels) == ("my-board", False, (SPEED,))
    assert board.ram_bytes == host.machine().memory_bytes


def test_the_probe_of_another_machine_does_not_count(kept: Path) -> None:
    probe.save(probed())
    kept.write_text(kept.read_text().replace('cpu = "', 'cpu = "another '))
    assert device.load("host").kernels == () and device.sources("host") == {}


def test_fewer_threads_than_at_the_probe_make_another_machine_of_it(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe.save(probed())
    more = replace(host.machine(), physical_cores=64, limits=host.Limits(cpus=63.0))
    monkeypatch.setattr(host, "machine", lambda: more)
    assert device.load("host").measured_bandwidth_bytes_per_second is None


def test_a_damaged_file_is_said_and_left_alone(kept: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept.parent.mkdir(parents=True)
    kept.write_text("title = ")
    assert device.load("host").kernels == ()
    assert "is not TOML" in caplog.text and "devices probe --save" in caplog.text


def test_counts_of_threads_that_a_sweep_found_are_remembered(kept: Path) -> None:
    probe.remember(decode_threads=1, how="edgequant profile --threads sweep")
    assert device.load("host").decode_threads == 1
    assert device.sources("host")["decode_threads"] == "edgequant profile --threads sweep"
    probe.save(replace(probed(), device=replace(probed().device, decode_threads=1)))
    assert device.sources("host")["decode_threads"] == "edgequant profile --threads sweep"
    probe.remember(prefill_threads=1)
    here = device.load("host")
    assert (here.prefill_threads, here.decode_threads, here.kernels) == (1, 1, (SPEED,))


def threads(n: int) -> host.Machine:
    """This machine as a process sees it that may use so many cores, as `taskset` and quotas leave them."""
    return replace(host.machine(), physical_cores=n, limits=host.Limits())


def test_a_sweep_on_fewer_threads_leaves_a_probe_alone(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`taskset -c 0 edgequant profile RUN --threads sweep`, on a machine that was probed with all of its cores."""
    four, one = threads(4), threads(1)
    monkeypatch.setattr(host, "machine", lambda: four)
    probe.save(probed())
    before = kept.read_bytes()
    monkeypatch.setattr(host, "machine", lambda: one)
    said = "host.toml is of this processor with 4 threads, and this process may use 1"
    with pytest.raises(Error, match=said) as caught:
        probe.remember(decode_threads=1)
    assert kept.read_bytes() == before and "--save --anyway" in caught.value.hint
    for poorer in (probed(), probed(kernels=()), probed(kernels=(), read_bandwidths=())):
        assert said in probe.doubt(poorer)


def test_more_threads_with_all_that_was_known_take_the_place_of_fewer(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, four = threads(1), threads(4)
    monkeypatch.setattr(host, "machine", lambda: one)
    probe.save(probed())
    monkeypatch.setattr(host, "machine", lambda: four)
    assert probe.doubt(probed()) == ""
    assert "with 1 thread, and this process may use 4" in probe.doubt(probed(kernels=()))
    kept.write_text(kept.read_text().replace('cpu = "', 'cpu = "another '))
    assert probe.doubt(probed(kernels=())) == ""  # another machine's goes, as ever


def test_a_title_does_not_call_another_machine_this_one(kept: Path) -> None:
    probe.save(probed())
    assert tomllib.loads(kept.read_text(encoding="utf-8"))["title"] == host.machine().cpu
    assert device.load(str(kept)).name == "host.toml"
    assert device.load(str(kept)).cpu_names == (host.machine().cpu,)


def test_a_quick_probe_keeps_the_kernels_of_the_last(kept: Path) -> None:
    probe.save(probed())
    probe.save(probed(kernels=(), storage_bytes_per_second=None))
    assert device.load("host").kernels == (SPEED,)


@pytest.mark.parametrize(
    ("environment", "platform", "place"),
    [
        ({"EDGEQUANT_CONFIG_DIR": "/own"}, "linux", "/own/devices/host.toml"),
        ({"XDG_CONFIG_HOME": "/xdg"}, "linux", "/xdg/edgequant/devices/host.toml"),
        ({"HOME": "/home/me"}, "darwin", "/home/me/.config/edgequant/devices/host.toml"),
        ({"APPDATA": "/roaming", "HOME": "/home/me"}, "win32", "/roaming/edgequant/devices/host.toml"),
    ],
)
def test_where_it_is_kept(
    environment: dict[str, str], platform: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("EDGEQUANT_CONFIG_DIR", "XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(saved_probe.sys, "platform", platform)
    assert saved_probe.path() == Path(place)


def test_toml_says_what_it_was_given() -> None:
    table = {"text": 'é\n"\\\x7f', "number": 3, "whole": 2e10, "tiny": 2.5e-05, "words": ["a", "b"], "no": None}
    table |= {"rows": [{"x": 1.5, "y": None}, {"x": 0.0}], "facts": {"on": True}}
    read = tomllib.loads(saved_probe.as_toml(table))
    assert read == {key: value for key, value in table.items() if key not in ("no", "rows")} | {
        "rows": [{"x": 1.5}, {"x": 0.0}]
    }


# memory


@pytest.mark.parametrize(
    ("n_cores", "counts"),
    [(1, [1]), (2, [1, 2]), (4, [1, 2, 3, 4]), (12, [*range(1, 9), 12]), (96, [*range(1, 9), 16, 32, 64, 96])],
)
def test_counts_of_threads_that_read(n_cores: int, counts: list[int]) -> None:
    assert read_bandwidth.counts(n_cores) == counts


def test_the_buffer_is_larger_than_the_caches_and_leaves_a_small_board_alone() -> None:
    server = read_bandwidth.job(2, free_bytes=24 << 30, cache_bytes=105 << 20)
    assert server["n_bytes"] == 420 << 20
    zero = read_bandwidth.job(4, free_bytes=180 << 20, cache_bytes=512 << 10)
    assert zero["n_bytes"] == 45 << 20


def test_the_largest_cache_is_found(tmp_path: Path) -> None:
    """A Core Ultra's: 48K and 64K first-level, 2048K second, 24576K third."""
    for index, size in enumerate(("48K", "64K", "2048K", "24M", "")):
        file = tmp_path / f"sys/devices/system/cpu/cpu0/cache/index{index}/size"
        file.parent.mkdir(parents=True)
        file.write_text(f"{size}\n")
    assert read_bandwidth.cache_bytes(root=tmp_path) == 24 << 20
    assert read_bandwidth.cache_bytes(root=tmp_path / "elsewhere") == 0


def test_reading_memory_gives_a_rate_for_each_count() -> None:
    job = {"threads": [1, 2], "n_bytes": 1 << 20, "seconds": 0.02}
    (one, first), (two, second) = child.run(read_bandwidth.ENTRY, job).unwrap()
    assert (one, two) == (1, 2)
    assert first > 0 and second > 0


def test_a_pass_ends_with_the_slowest_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads, from 0 to 3 and from 1 to 5 by their own clocks: five seconds."""
    clocks = iter([(0.0, 3.0), (1.0, 5.0)])
    monkeypatch.setattr(read_bandwidth.threading, "Thread", Straight)
    monkeypatch.setattr(read_bandwidth.threading, "Barrier", lambda n: SimpleNamespace(wait=lambda: None))
    ticks = iter([tick for pair in clocks for tick in pair])
    monkeypatch.setattr(read_bandwidth.time, "perf_counter", lambda: next(ticks))
    assert read_bandwidth._pass([np.ones(1, np.uint64)] * 2) == 5.0


class Straight:
    """A thread that runs when it is started."""

    def __init__(self, target: Any, args: Sequence[Any]) -> None:
        self._target, self._args = target, args

    def start(self) -> None:
        self._target(*self._args)

    def join(self) -> None:
        pass


# disk


def test_a_virtual_machine_tells_nothing_of_its_disk(tmp_path: Path) -> None:
    rate, why = storage.read_speed(tmp_path, virtual=True)
    assert rate is None and "virtual machine" in why


def test_a_file_that_stays_in_memory_is_no_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_BYTES", 4 << 20)
    monkeypatch.setattr(storage.os, "posix_fadvise", lambda *args: None, raising=False)  # as tmpfs takes it
    rate, why = storage.read_speed(tmp_path, virtual=False)
    assert rate is None and "memory" in why


def test_a_file_that_has_to_wait_for_the_disk_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def waits(*args: object) -> int:
        raise BlockingIOError(errno.EAGAIN, "try again")  # what preadv2(2) says of RWF_NOWAIT

    monkeypatch.setattr(storage, "_BYTES", 4 << 20)
    monkeypatch.setattr(storage.os, "preadv", waits, raising=False)
    rate, why = storage.read_speed(tmp_path, virtual=False)
    assert rate is not None and rate > 0 and why == ""


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    rate, why = storage.read_speed(tmp_path / "absent", virtual=False)
    assert rate is None and "absent" in why


def test_a_hypervisor_shows_in_the_flags() -> None:
    assert probe.is_virtual("flags\t\t: fpu sse hypervisor lahf_lm\n")
    assert not probe.is_virtual("model name\t: hypervisor\nflags\t\t: fpu sse\n")


# kernels


def test_every_tensor_type_that_the_default_formats_come_to_is_timed() -> None:
    """Over rows that all blocks fit (1024), those of 32 weights alone (576), and an embedding tied or not."""
    types, decoder = {"F16"}, ladder.Decoder(n_layers=16, n_heads=16, n_kv_heads=4)
    for width in (1024, 576):
        tensors = [
            ("token_embd.weight", (320, width)),
            ("output.weight", (320, width)),
            *((f"blk.{n}.{part}.weight", (width, width)) for n in range(16) for part in PARTS),
        ]
        for name in DEFAULT_FORMATS:
            if FORMATS[name].container == "gguf":
                types |= set(ladder.tensor_types(FORMATS[name], tensors, decoder=decoder).values())
    timed = {type_ for container, type_ in kernel_speeds.TYPES if container == "gguf"}
    assert types - {"F32"} <= timed, types - timed
    assert timed == ladder.BLOCKS.keys() - {"F32", "BF16"}  # and none that nothing here makes
    onnx = {type_ for container, type_ in kernel_speeds.TYPES if container == "onnx"}
    assert onnx == {name for name in DEFAULT_FORMATS if FORMATS[name].container == "onnx"}


PARTS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


@pytest.mark.parametrize("type_", [type_ for container, type_ in kernel_speeds.TYPES if container == "gguf"])
def test_random_blocks_are_weights(type_: str) -> None:
    """gguf's own dequantising makes finite numbers of moderate size of them, not all the same."""
    rows = speed_model.rows(type_, 70, 256)
    values = quants.dequantize(rows, GGMLQuantizationType[type_])
    assert values.shape == (70, 256) and np.isfinite(values).all()
    assert 1e-4 < values.std() < 1.0 and abs(values).max() < 10


def test_a_token_s_time_comes_apart_again() -> None:
    """100 us a token, 25 us a layer, 40e9 weights a second."""
    shape = replace(speed_model.WIDE, layers=8)
    few, many = 100e-6 + 2 * 25e-6, 100e-6 + 34 * 25e-6
    wide = 100e-6 + 8 * 25e-6 + 8 * shape.layer_weights / 40e9
    found = kernel_speeds.separated(few, many, wide, shape=shape)
    assert found["layer_seconds"] == pytest.approx(25e-6)
    assert found["token_seconds"] == pytest.approx(100e-6)
    assert found["weights_per_second_decode"] == pytest.approx(40e9)


def test_runs_that_others_disturb_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 4, 4 and 3 runs: the first two are shaky, their quartiles 3 and 2; the last is steady at 2.4."""
    windows = iter([[9.0, 3.0, 8.0, 2.5], [2.0, 4.0, 5.0, 1.0], [2.5, 2.6, 2.4]])
    monkeypatch.setattr(kernel_speeds, "_samples", lambda work, seconds: next(windows))
    assert kernel_speeds._seconds(lambda: None, 1.0) == 2.0
    windows = iter([[2.0, 2.1, 2.2], [1.0]])
    assert kernel_speeds._seconds(lambda: None, 1.0) == 2.0


def test_noise_leaves_no_negative_times() -> None:
    shape = replace(speed_model.WIDE, layers=2)
    found = kernel_speeds.separated(5e-3, 4e-3, 1e-2, shape=shape)
    assert found["layer_seconds"] == 0.0 and found["weights_per_second_decode"] > 0
    found = kernel_speeds.separated(5e-3, 5e-1, 1e-3, shape=shape)
    assert found["weights_per_second_decode"] == pytest.approx(2 * shape.layer_weights / 1e-3)


def test_a_model_is_as_large_as_no_cache_and_as_small_as_memory_wants() -> None:
    """15.2e6 weights a layer: 4 of 1024 x 1024 (k and v a quarter of it each), 3 of 4096 x 1024."""
    assert speed_model.WIDE.layer_weights == 2 * 1024 * 1024 + 2 * 256 * 1024 + 3 * 4096 * 1024
    assert speed_model.of_size(64 << 20, 4.5).layers == 8  # 8.5 MB each
    zero = speed_model.of_size(23 << 20, 32)  # Pi Zero 2 W: 3.8e6 weights a layer, 15 MB in float32
    assert (zero.hidden, zero.layers) == (512, 2)
    assert kernel_speeds.model_bytes(free_bytes=24 << 30, cache_bytes=32 << 20) == 64 << 20
    assert kernel_speeds.model_bytes(free_bytes=180 << 20, cache_bytes=512 << 10) == (180 << 20) // 8


SMALL = replace(speed_model.NARROW, layers=3)


def test_the_file_has_the_layers_that_it_says(tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    speed_model.write("gguf", "Q8_0", SMALL, file)
    tensors = {tensor.name: tensor for tensor in GGUFReader(file).tensors}
    matrices = {name: t for name, t in tensors.items() if t.tensor_type == GGMLQuantizationType.Q8_0}
    assert len(matrices) == 3 * 7
    assert sum(int(t.n_elements) for t in matrices.values()) == 3 * SMALL.layer_weights


@pytest.mark.slow
@pytest.mark.parametrize(("container", "type_"), kernel_speeds.TYPES)
def test_every_type_runs_in_its_engine(container: str, type_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = kernel_speeds.speeds([1, 2], n_bytes=1 << 20, progress=lambda said: None, types=[(container, type_)])
    assert [(row["type"], row["threads"]) for row in found.rows] == [(type_, 1), (type_, 2)], found.notes
    for row in found.rows:
        KernelSpeed(**row)
        assert 1e6 < row["weights_per_second_decode"] < 1e14
        assert 1e6 < row["weights_per_second_prefill"] < 1e15


def test_a_type_that_dies_is_a_note_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(self: Any, entry: str, job: Any, *, settings: Any, deadline_seconds: float) -> tuple[child.Outcome, Any]:
        if job["type"] == "Q8_0":
            return child.Outcome(status="crash", note="SIGILL", signal="SIGILL"), settings
        row = {"container": job["container"], "type": job["type"], "threads": 1}
        return child.Outcome(status="ok", value=[row]), replace(settings, repack=job["container"] != "gguf")

    monkeypatch.setattr("edgequant.runtimes.fence.Fence.run", run)
    types = [("gguf", "Q8_0"), ("gguf", "Q4_0"), ("onnx", "onnx-w8a8")]
    found = kernel_speeds.speeds([1], n_bytes=1, progress=lambda said: None, types=types)
    assert [row["type"] for row in found.rows] == ["Q4_0", "onnx-w8a8"]
    assert found.notes[0] == "Q8_0: not measured: SIGILL" and "repacked kernels die here" in found.notes[1]


def test_after_the_budget_no_type_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_speeds, "_BUDGET_SECONDS", -1.0)
    found = kernel_speeds.speeds([1], n_bytes=1, progress=lambda said: None, types=[("gguf", "Q8_0")])
    assert found.rows == () and "took long enough" in found.notes[0]


# the command


def test_the_command_measures_shows_and_keeps(kept: Path) -> None:
    words = ["-q", "devices", "probe", "--quick", "--save", "--anyway", "--json"]  # others may use this machine
    result = CliRunner().invoke(cli.main, words)
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert values["saved"] == str(kept) and kept.is_file()
    assert values["bandwidth_method"] == "read" and values["kernels"] == []
    assert values["probe"]["available_bytes"] > 0 and "cpu_quota" in values["probe"]
    assert device.load("host").measured_bandwidth_bytes_per_second == pytest.approx(
        values["measured_bandwidth_bytes_per_second"], rel=1e-5
    )
    shown = CliRunner().invoke(cli.main, ["devices", "show", "host"])
    assert "read by all decode threads" in " ".join(shown.stdout.split())
    assert "edgequant devices probe, " in shown.stdout


def test_what_others_disturbed_is_shown_and_not_kept(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = "shared cores: other processes took 0.40 of a core"
    found = replace(probed(), facts=probe._facts(host.machine(), 2.0), marks=(mark,))
    monkeypatch.setattr(probe, "probe", lambda **options: found)

    def call(*more: str) -> Result:
        return CliRunner().invoke(cli.main, ["-q", "devices", "probe", *more])

    refused = call("--save", "--json")
    assert refused.exit_code == 1 and not kept.exists()
    assert refused.stderr.startswith(f"edgequant: not kept: {mark}") and "--anyway" in refused.stderr
    values = json.loads(refused.stdout)
    assert (values["saved"], values["not_told"], len(values["kernels"])) == ("", [mark], 1)
    assert "Not kept" not in call("--save").stdout
    asked_nothing = call()
    assert asked_nothing.exit_code == 0 and "--save keeps it" in asked_nothing.stdout
    assert call("--save", "--anyway").exit_code == 0 and kept.exists()


def test_where_nothing_can_be_kept_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EDGEQUANT_CONFIG_DIR", str(tmp_path / "file"))
    with pytest.raises(Error, match="cannot write"):
        probe.save(probed())
