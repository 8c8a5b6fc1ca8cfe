"""A run folder of the pocket model: converted, and neither checked nor measured."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from edgequant.cli import main


def converted(model: Path, out: Path, *formats: str) -> Path:
    """The run in `out` with these formats."""
    words = ["-q", "convert", model, "--no-verify", "--formats", ",".join(formats), "--out", out]
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return out
