"""`edgequant pick`: its options reach the rule, and its answer is a sentence or JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import bundles
import recorded
from edgequant.cli import main
from edgequant.profiles.device import load
from edgequant.profiles.records.run_folder import RunFolder

SIZES = {"F16": 2709, "Q8_0": 1448, "Q4_0": 917}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of three formats as recorded, whose checkpoint is gone."""
    folder = RunFolder(tmp_path / "run")
    described = bundles.described(tmp_path)
    described["checkpoint"]["quantised_source"] = None
    described["checkpoint"]["grid"] = ""
    files = {name: bundles.artifact(folder.artifacts, name, name.encode() * (n // 4)) for name, n in SIZES.items()}
    kinds = {"kinds": ["words", "numbers"] * (recorded.N_ITEMS // 2)}
    for row in recorded.measurements():
        if row.format in files:
            parameters = {**row.parameters, **(kinds if row.metric == "accuracy" else {})}
            folder.store().append([replace(row, artifact_sha256=files[row.format].sha256, parameters=parameters)])
    folder.description.write_text(json.dumps(described), encoding="utf-8")
    return folder.path


def call(*words: object) -> Result:
    return CliRunner().invoke(main, ["-q", "pick", *map(str, words)])


def asked(*words: object) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(call(*words, "--json").stdout)
    return values


def test_it_says_how_sure_it_is_and_what_would_change_it(run: Path) -> None:
    result = call(run, "--min-decode", 150)
    assert result.exit_code == 0
    said = " ".join(result.stdout.split())
    assert said.startswith("Ship Q4_0.")
    assert "Confidence: high." in said
    assert "If decoding at 139 tokens/s were enough: Q8_0." in said


def test_a_program_gets_the_same(run: Path) -> None:
    values = asked(run, "--min-decode", 150)
    assert (values["pick"], values["runner_up"], values["level"]) == ("Q4_0", None, "high")
    assert "If decoding at 139 tokens/s were enough: Q8_0." in values["changes"]


@pytest.mark.parametrize(
    ("words", "limit", "value"),
    [
        (("--max-loss", "1%"), "max_loss", 1.0),
        (("--max-loss", "1"), "max_loss", 1.0),
        (("--max-divergence", "0.05"), "max_divergence", 0.05),
        (("--max-memory", "3GB"), "max_memory_bytes", 3e9),
        (("--max-size", "2GB"), "max_size_bytes", 2e9),
        (("--min-prefill", "50"), "min_prefill", 50),
        (("--prefer", "speed"), "prefer", "speed"),
        (("--task", "words"), "task", "words"),
        (("--native",), "native", True),
    ],
)
def test_each_option_is_a_limit(run: Path, words: tuple[str, ...], limit: str, value: object) -> None:
    assert asked(run, *words)["limits"][limit] == value


def test_a_device_brings_its_memory_unless_less_is_asked(run: Path) -> None:
    usable = load("rpi4-2gb").usable_ram_bytes
    assert asked(run, "--device", "rpi4-2gb")["limits"]["max_memory_bytes"] == usable
    assert asked(run, "--device", "rpi4-2gb", "--max-memory", "8GB")["limits"]["max_memory_bytes"] == usable
    assert asked(run, "--device", "rpi4-2gb", "--max-memory", "1GB")["limits"]["max_memory_bytes"] == 1e9


def test_of_another_device_nothing_is_known_without_the_checkpoint(run: Path) -> None:
    """What is left is what does not depend on the machine; a speed is not among it."""
    assert asked(run, "--device", "rpi4-2gb")["pick"] == "Q8_0"
    slow = call(run, "--device", "rpi4-2gb", "--min-decode", 1)
    assert slow.exit_code == 1
    assert "nothing is predicted" in " ".join(slow.stdout.split())


def test_nothing_that_fits_is_a_failure_to_a_script(run: Path) -> None:
    result = call(run, "--max-memory", "1MB")
    assert result.exit_code == 1
    assert result.stdout.startswith("Nothing fits. Nearest is")


def test_a_task_that_was_not_asked(run: Path) -> None:
    result = call(run, "--task", "chess")
    assert result.exit_code == 1
    assert "no item that was asked is of 'chess'" in result.stderr and "numbers, words" in result.stderr
