"""Small files of /proc and /sys, as other systems' files are: there, odd, or not readable."""

from pathlib import Path

import pytest

from edgequant.profiles.machine import text_files


@pytest.mark.parametrize(
    ("text", "value"),
    [("1800000\n", 1_800_000), ("-12\n", -12), ("max\n", None), ("", None), ("<unknown>\n", None), ("1 2\n", None)],
)
def test_a_number(text: str, value: int | None, tmp_path: Path) -> None:
    (tmp_path / "n").write_text(text)
    assert text_files.number(tmp_path / "n") == value


def test_what_cannot_be_read_is_empty(tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(b"cpu\xff-thermal\n")
    assert text_files.read_text(tmp_path / "odd").startswith("cpu")
    for path in (tmp_path, tmp_path / "none"):
        assert (text_files.read_text(path), text_files.number(path), text_files.counts(path)) == ("", None, {})


def test_counts_with_and_without_colons_and_units(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("SwapTotal:  102396 kB\npswpin 7\nname only\nlast\n\nmax max\n")
    assert text_files.counts(tmp_path / "c") == {"SwapTotal": 102_396, "pswpin": 7}
