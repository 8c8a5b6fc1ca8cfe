"""`edgequant profile`: what its options ask of the run."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

import recorded
import small_checkpoint
from edgequant.cli import main
from edgequant.commands import profile as command
from edgequant.convert import gguf_write
from edgequant.profiles.measuring.profiling import Profiling
from edgequant.profiles.measuring.variant import PLAIN


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Profiling]:
    """What the run was asked."""
    seen: list[Profiling] = []

    def resumed(progress: Any, path: Path, **options: Any) -> Any:
        return SimpleNamespace(profile=seen.append, report=recorded.report, folder=SimpleNamespace(path=path))

    monkeypatch.setattr(command, "resumed", resumed)
    return seen


def run(*options: str) -> Result:
    return CliRunner().invoke(main, ["profile", "runs/demo", *options])


def variants(asked: list[Profiling]) -> list[dict[str, Any]]:
    return [variant.to_json() for variant in asked[0].variants]


def test_nothing_asked_is_the_plain_measurement(asked: list[Profiling]) -> None:
    assert run().exit_code == 0
    assert asked == [Profiling(variants=(PLAIN,))]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--depth", "0,1024,4096"], [{}, {"depth": 1024}, {"depth": 4096}]),
        (["--sequences", "1,2,4,8"], [{}, {"sequences": 2}, {"sequences": 4}, {"sequences": 8}]),
        (["--batch", "64", "--no-mmap"], [{"batch": 64, "mmap": False}]),
        (["--no-repack"], [{"repack": False}]),
        (["--threads", "2"], [{"threads": 2}]),
        (["--threads", "1", "--prefill-threads", "4"], [{"threads": 1, "prefill_threads": 4}]),
        (["--cache-type", "f16,q8_0"], [{}, {"cache_type": "q8_0"}]),
        (["--flash-attention", "off"], [{"flash_attention": False}]),
        (["--limit-memory", "1GB"], [{"limit_memory_bytes": 10**9}]),
        (["--sustained", "10m"], [{"sustained_seconds": 600.0}]),
        (
            ["--depth", "0,512", "--cache-type", "q8_0,q4_0"],
            [
                {"depth": depth, "cache_type": kind} if depth else {"cache_type": kind}
                for depth in (0, 512)
                for kind in ("q8_0", "q4_0")
            ],
        ),
    ],
)
def test_options_make_variants(asked: list[Profiling], options: list[str], wanted: list[dict[str, Any]]) -> None:
    done = run(*options)
    assert done.exit_code == 0, done.output
    assert variants(asked) == wanted and not asked[0].sweep


def test_a_sweep_formats_and_repetitions(asked: list[Profiling]) -> None:
    assert run("--threads", "sweep", "--formats", "Q4_K_M,Q8_0", "--repetitions", "9").exit_code == 0
    assert asked == [Profiling(variants=(PLAIN,), sweep=True, formats=("Q4_K_M", "Q8_0"), repetitions=9)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--depth", "deep"], "no list of numbers from 0"),
        (["--sequences", "0"], "no list of numbers from 1"),
        (["--threads", "many"], "no list of numbers from 1"),
        (["--cache-type", "q5_0"], "none of f16, q8_0, q4_0"),
        (["--sustained", "10"], "no time; write 90s, 10m or 1h"),
        (["--sustained", "0s"], "no time"),
        (["--limit-memory", "0"], "leaves no room"),
    ],
)
def test_what_is_no_value(asked: list[Profiling], options: list[str], said: str) -> None:
    done = run(*options)
    assert done.exit_code == 2 and said in done.output and asked == []


def test_a_file_of_its_own_is_measured_and_nothing_is_left(tmp_path: Path) -> None:
    """A tiny GGUF, once plain and once deeper; the second run's JSON has its rows."""
    folder = small_checkpoint.write(tmp_path / "m")
    job = {"folder": str(folder), "target": str(tmp_path / "mine.gguf"), "format": "F32", "source": "", "name": "m"}
    gguf_write.write({**job, "revision": "r"}, lambda text: None)
    before = sorted(tmp_path.iterdir())
    command_line = ["-q", "profile", str(tmp_path / "mine.gguf"), "--context", "128", "--repetitions", "1", "--json"]
    done = CliRunner().invoke(main, [*command_line, "--depth", "0,8", "--no-repack"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    decode = [row for row in rows if row["metric"] == "decode_tokens_per_second"]
    assert [row["parameters"].get("variant", {}) for row in decode] == [
        {}, {"repack": False}, {"depth": 8, "repack": False},
    ]  # fmt: skip
    assert all(
        row["status"] == "ok" and row["format"] == "mine" and len(row["artifact_sha256"]) == 64 for row in decode
    )
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_of_its_own_goes_no_further_than_its_model_was_trained_for(tmp_path: Path) -> None:
    """The small model reads 256 tokens; a depth of 300 and a prompt are more, and so is a context of 1,024."""
    folder = small_checkpoint.write(tmp_path / "m")
    job = {"folder": str(folder), "target": str(tmp_path / "mine.gguf"), "format": "F32", "source": "", "name": "m"}
    gguf_write.write({**job, "revision": "r"}, lambda text: None)
    command_line = ["-q", "profile", str(tmp_path / "mine.gguf"), "--context", "1024", "--repetitions", "1", "--json"]
    done = CliRunner().invoke(main, [*command_line, "--depth", "300", "--no-repack"])
    assert done.exit_code == 0, done.output
    rows = [row for row in json.loads(done.stdout) if row["metric"] == "decode_tokens_per_second"]
    plain, deep = rows
    assert plain["status"] == "ok" and plain["parameters"]["settings"]["context"] == 256
    assert (deep["status"], deep["note"]) == ("unsupported", "the model's context is 256 tokens")


def test_a_file_of_its_own_is_unpacked_nowhere(tmp_path: Path) -> None:
    (tmp_path / "mine.gguf").write_bytes(b"GGUF")
    done = CliRunner().invoke(main, ["profile", str(tmp_path / "mine.gguf"), "--out", str(tmp_path / "there")])
    assert done.exit_code == 2 and "--out says where a bundle is unpacked, and this is none" in done.output


def test_what_is_no_artifact(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["profile", str(tmp_path / "none.gguf")])
    assert done.exit_code == 1 and "none.gguf does not exist" in done.output
