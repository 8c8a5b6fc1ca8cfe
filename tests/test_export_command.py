"""`edgequant export`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import shipments


def call(*words: object) -> Result:
    """Run the command line in this process, 80 columns wide."""
    from edgequant.cli import main

    return CliRunner(env={"COLUMNS": "80"}).invoke(main, [str(word) for word in words])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return shipments.run(tmp_path).path


def test_the_pick_goes_to_a_folder_beside_the_run(run: Path) -> None:
    done = call("-q", "export", run)
    assert done.exit_code == 0, done.output
    place = run.parent / "run-Q8_0-folder"
    assert (place / "small-Q8_0.gguf").is_file() and (place / "README.md").is_file()
    assert "small-Q8_0.gguf" in done.stdout and "edgequant chat" in done.stdout
    assert "base_model" in done.stdout  # nobody knows it, and it says so
    assert done.stderr == ""


@pytest.mark.parametrize("target", ["folder", "ollama", "llama-server", "llama-cli"])
def test_every_target_of_a_gguf_keeps_to_the_width(target: str, run: Path, tmp_path: Path) -> None:
    done = call("-q", "export", run, "Q8_0", "--to", target, "-o", tmp_path / "o")
    assert done.exit_code == 0, done.output
    own = [line for line in done.stdout.splitlines() if str(tmp_path) not in line]
    assert own and all(len(line) <= 80 for line in own)


def test_an_export_as_json(run: Path, tmp_path: Path) -> None:
    done = call("-q", "export", run, "--to", "ollama", "-o", tmp_path / "out", "--json")
    values = json.loads(done.stdout)
    assert (values["target"], values["format"], values["folder"]) == ("ollama", "Q8_0", str(tmp_path / "out"))
    assert values["files"]["Modelfile"] == (tmp_path / "out" / "Modelfile").stat().st_size


def test_a_folder_that_is_there(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear diary")
    done = call("-q", "export", run, "-o", tmp_path / "mine", "--force")
    assert done.exit_code == 1 and len(done.stderr.splitlines()) == 1 and "is left alone" in done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["diary.txt"]
    assert call("-q", "export", run, "-o", tmp_path / "out").exit_code == 0
    assert "--force" in call("-q", "export", run, "-o", tmp_path / "out").stderr
    assert call("-q", "export", run, "F16", "-o", tmp_path / "out", "--force").exit_code == 0
    assert {path.name for path in (tmp_path / "out").glob("*.gguf")} == {"small-F16.gguf"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["onnx-int8-dynamic", "--to", "ollama"], "Ollama runs GGUF files, and onnx-int8-dynamic is ONNX"),
        (["Q8_0", "--to", "onnxruntime-genai"], "onnxruntime-genai runs ONNX, and Q8_0 is a GGUF"),
        (["Q9_K"], "holds no Q9_K"),
        (["--to", "llama-cli", "--device", "abacus"], "abacus"),
        (["--checkpoint", "nowhere"], "nowhere does not exist"),
    ],
)
def test_one_line_for_what_cannot_be(words: list[str], said: str, run: Path, tmp_path: Path) -> None:
    done = call("-q", "export", run, *words, "-o", tmp_path / "out")
    assert done.exit_code == 1 and said in done.stderr and len(done.stderr.splitlines()) == 1
    assert done.stdout == "" and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--upload"],
        ["--repo", "a/b"],
        ["--to", "hub", "--upload"],
        ["--to", "hub", "-o", "x"],
        ["--device", "rpi5-8gb"],
        ["--to", "nowhere"],
    ],
)
def test_options_of_another_target_are_refused(words: list[str], run: Path) -> None:
    assert call("export", run, *words).exit_code == 2


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    done = call("-q", "export", tmp_path)
    assert done.exit_code == 1 and "holds no run" in done.stderr


def test_a_look_at_what_the_hub_would_get(run: Path) -> None:
    done = call("-q", "export", run, "--to", "hub", "--base-model", "Owner/Small")
    assert done.exit_code == 0, done.output
    assert "Would be sent to OWNER/small-Q8_0" in done.stdout and "small-Q8_0.gguf" in done.stdout
    assert "base_model: Owner/Small" in done.stdout and "Nothing was sent" in done.stdout
    assert not (run.parent / "run-Q8_0-hub").exists()
    values = json.loads(call("-q", "export", run, "--to", "hub", "--json").stdout)
    assert values["sent"] is False and values["card"].startswith("---\n")


def test_no_licence_no_upload(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*given: Any, **named: Any) -> None:
        raise AssertionError("it reached for the Hub")

    monkeypatch.setattr("edgequant.child.run", never)
    for name in ("README.md", "LICENSE"):
        (run.parent / "checkpoint" / name).unlink()
    done = call("-q", "export", run, "--to", "hub", "--upload", "--repo", "a/b")
    assert done.exit_code == 1 and "--accept-licence" in done.stderr
