"""Both pocket models, run whole and compared: which of them is the better use of the room, and what the statistics say.

They share a tokenizer, so that both read the same tokens. What is expected comes from what they were trained to be:
the larger one, 2.6 million parameters, knows the world that the smaller one, of a million, has no room for.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import scipy.stats
from click.testing import CliRunner

from edgequant.cli import main

pytestmark = pytest.mark.slow
POCKET = Path(__file__).parent / "pocket"
FORMATS = {"model": "F16,Q4_K_M", "small": "F16"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    made = []
    for model, formats in FORMATS.items():
        made.append(tmp_path_factory.mktemp("two") / model)
        words = [
            "-q",
            "run",
            POCKET / model,
            "--formats",
            formats,
            "--task",
            POCKET / "items.jsonl",
            "--no-verify",
            "--out",
            made[-1],
        ]
        done = CliRunner().invoke(main, [str(word) for word in words])
        assert done.exit_code == 0, done.output
    return made


def compared(runs: list[Path], *options: str) -> dict[str, object]:
    done = CliRunner().invoke(main, ["compare", *map(str, runs), *options, "--json"])
    assert done.exit_code == 0, done.output
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_the_larger_one_quantised_is_the_better_file(runs: list[Path]) -> None:
    found = compared(runs, "--by", "size")
    assert found["n_common"] == 490
    duels = {(duel["larger"]["format"], duel["smaller"]["format"]): duel for duel in found["duels"]}  # type: ignore[attr-defined]
    duel = duels["Q4_K_M", "F16"]
    assert duel["larger"]["size_bytes"] <= duel["smaller"]["size_bytes"]
    paired = duel["paired"]
    ours, theirs = (duel[side]["outcomes"] for side in ("larger", "smaller"))
    lost = sum(ours[item] > theirs[item] for item in ours)
    gained = sum(ours[item] < theirs[item] for item in ours)
    assert (paired["lost"], paired["gained"]) == (lost, gained) and paired["n"] == 490
    assert paired["loss"]["estimate"] == pytest.approx(100 * (lost - gained) / 490)
    assert paired["p_value"] == pytest.approx(scipy.stats.binomtest(gained, lost + gained).pvalue)
    assert lost > gained and duel["corrected"] == pytest.approx(paired["p_value"])
    assert set(duel["by_kind"]) >= {"mathematics", "knowledge", "dialogue"}


def test_it_is_told_on_a_page_of_80_columns(runs: list[Path], tmp_path: Path) -> None:
    page = tmp_path / "models.md"
    done = CliRunner().invoke(main, ["compare", *map(str, runs), "--by", "size", "--out", str(page)])
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "of small F16, model Q4_K_M " in page.read_text(encoding="utf-8")
