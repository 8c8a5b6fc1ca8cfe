"""Completion in real shells, and what is completed; colours and width as the environment wants them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from rich.cells import cell_len

from edgequant.cli import COMMANDS, main
from edgequant.convert.formats import FORMATS
from edgequant.profiles import device

#: words of the line, the last of which is being written -> what they are completed to
CASES = [
    (["edgequant", "conv"], ["convert"]),
    (["edgequant", "run", "model", "--formats", "q4_k"], ["Q4_K_M", "Q4_K_S"]),
    (["edgequant", "run", "model", "--formats", "Q8_0,Q4_K_M,Q4_K"], ["Q8_0,Q4_K_M,Q4_K_S"]),
    (["edgequant", "plan", "model", "--device", "rpi5-"], ["rpi5-16gb", "rpi5-2gb", "rpi5-4gb", "rpi5-8gb"]),
    (["edgequant", "evaluate", "run", "--task", "arc_c"], ["arc_challenge"]),
    (["edgequant", "run", "--suite", "p"], ["paper"]),
    (["edgequant", "run", "de"], ["demo"]),
    (["edgequant", "pick", "--pre"], ["--prefer"]),
]


@pytest.fixture(scope="module")
def shell_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PATH on which `edgequant` is this one."""
    folder = tmp_path_factory.mktemp("bin")
    script = folder / "edgequant"
    script.write_text(f"#!{sys.executable} -P\nfrom edgequant.cli import main\nmain(prog_name='edgequant')\n")
    script.chmod(0o755)
    yield f"{folder}{os.pathsep}{os.environ['PATH']}"


def in_shell(command: list[str], script: str, path: str) -> str:
    """What a shell prints."""
    env = {**os.environ, "PATH": path, "EDGEQUANT_CONFIG_DIR": os.devnull}
    return subprocess.run([*command, script], env=env, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("words", "wanted"), CASES, ids=lambda value: value[-1])
def test_words_are_completed_in_bash(words: list[str], wanted: list[str], shell_path: str) -> None:
    assert shutil.which("bash"), "bash is needed to test its completion"
    script = f"""
eval "$(edgequant completion bash)"
COMP_WORDS=({" ".join(words)}) COMP_CWORD={len(words) - 1} COMP_LINE="{" ".join(words)}"
_edgequant_completion edgequant 2>/dev/null
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    assert sorted(in_shell(["bash", "--norc", "-c"], script, shell_path).splitlines()) == wanted


#: shell -> its arguments, and what prints which function completes the command
REGISTERED = {
    "bash": (["--norc", "-c"], 'complete -p edgequant | sed "s/.*-F //; s/ edgequant//"'),
    "zsh": (["-f", "-c"], "print -r -- ${_comps[edgequant]}"),
}


@pytest.mark.parametrize("shell", ["bash", *(["zsh"] if shutil.which("zsh") else [])])
def test_a_shell_takes_its_script(shell: str, shell_path: str) -> None:
    words, ask = REGISTERED[shell]
    begin = "autoload -Uz compinit; compinit -u -D" if shell == "zsh" else ""
    script = f'{begin}\neval "$(edgequant completion {shell})"\n{ask}'
    assert in_shell([shell, *words], script, shell_path).strip() == "_edgequant_completion"


def test_zsh_gets_names_with_what_they_are() -> None:
    env = {"_EDGEQUANT_COMPLETE": "zsh_complete", "COMP_WORDS": "edgequant run model --formats Q2", "COMP_CWORD": "4"}
    result = CliRunner().invoke(main, prog_name="edgequant", env=env)
    assert result.stdout.splitlines() == ["plain", "Q2_K", FORMATS["Q2_K"].summary]
    printed = CliRunner().invoke(main, ["completion", "zsh"]).stdout
    assert printed.startswith("#compdef edgequant") and "_EDGEQUANT_COMPLETE=zsh_complete" in printed


def completed(*words: str) -> list[tuple[str, str]]:
    """(kind, value) of what the last word may become."""
    found = ShellComplete(main, {}, "edgequant", "_EDGEQUANT_COMPLETE").get_completions(list(words[:-1]), words[-1])
    return [(item.type, item.value) for item in found]


def test_a_list_may_be_continued_with_all_that_it_lacks() -> None:
    found = [value for _, value in completed("run", "model", "--formats", "F16,Q8_0,")]
    assert found == [f"F16,Q8_0,{name}" for name in FORMATS if name not in ("F16", "Q8_0")]


def test_devices_and_files_are_completed() -> None:
    assert {value for _, value in completed("run", "model", "--device", "")} == {*device.names()}
    assert completed("run", "model", "--device", "./mine") == [("file", "./mine")]
    assert completed("run", "") == [("file", "")]
    assert completed("pick", "ru") == [("file", "ru")]


def test_every_command_is_completed() -> None:
    assert [value for _, value in completed("")] == [command.name for command in COMMANDS]


def test_completion_is_quick_to_start() -> None:
    """It runs at every press of a key: none of the heavy libraries is loaded for it."""
    code = (
        "import sys; from click.shell_completion import ShellComplete; from edgequant.cli import main\n"
        "made = ShellComplete(main, {}, 'edgequant', 'X')\n"
        "made.get_completions(['run', 'model', '--formats'], ''); made.get_completions(['run', 'm', '--device'], '')\n"
        "made.get_completions(['run', 'model', '--task'], '')\n"
        "print(sorted({'numpy', 'torch', 'transformers', 'onnx', 'onnxruntime', 'llama_cpp'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-P", "-c", code], text=True).strip() == "[]"


def strip(line: str) -> str:
    """A line without what changes how it looks."""
    return re.sub(r"\x1b\[[\d;]*m", "", line)


def printed(folder: Path, **env: str) -> str:
    """The plan of a checkpoint as a terminal would get it."""
    words = ["plan", str(folder), "--device", "rpi4-2gb", "--formats", "Q8_0,Q4_K_M"]
    made = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color", **env}
    command = [sys.executable, "-P", "-c", "from edgequant.cli import main; main()", "-q", *words]
    return subprocess.run(command, env=made, capture_output=True, text=True, check=True).stdout


def test_colours_and_width_follow_the_environment(pocket_folder: Path) -> None:
    plain = printed(pocket_folder, NO_COLOR="1", COLUMNS="60")
    assert not any(30 <= int(code) < 38 or 90 <= int(code) < 98 for code in re.findall(r"\x1b\[(?:\d+;)*(\d+)m", plain))
    assert max(map(cell_len, map(strip, plain.splitlines()))) <= 60
    wide = printed(pocket_folder, COLUMNS="140")
    assert max(map(cell_len, map(strip, wide.splitlines()))) > 80


@pytest.mark.parametrize("command", [[], *([command.name] for command in COMMANDS)], ids=lambda words: "".join(words))
def test_help_fits_80_columns(command: list[str]) -> None:
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(main, [*command, "--help"]).stdout
    assert max(map(len, shown.splitlines())) <= 80
