"""The folder that leaves: what lies in it, its card read as the Hub reads it, and nothing half-written."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import recorded
import shipments
import small_checkpoint
from edgequant import Error
from edgequant.export.shipping.card import card, front_matter
from edgequant.export.shipping.folder import write_folder
from edgequant.export.shipping.shipment import check_files, gather, safe
from edgequant.export.shipping.written import check_target
from edgequant.profiles.records.run_folder import RunFolder

HOSTILE = recorded.HOSTILE
#: what would end a front matter, make a number of a word, or run on from one field into the next
HOSTILE_CARD = """---
license: other
license_name: "x: y # z\\n---\\nevil: true"
license_link: "javascript:alert(1)"
language: [no, 'on', "a: b", "<script>"]
tags: ["a: b", "- c", "{{ x }}", "---", "true", "1.10", "|", "'", "# d", "é 漢字"]
pipeline_tag: "text-generation\\nevil: true"
base_model: "evil"
---
"""


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return shipments.run(tmp_path)


def fields(text: str) -> dict[str, Any]:
    """The front matter as any YAML reader has it."""
    start, matter, _ = text.split("---\n", 2)
    assert start == ""
    values = yaml.safe_load(matter)
    assert isinstance(values, dict)
    return values


def test_what_lies_beside_a_gguf(run: RunFolder, tmp_path: Path) -> None:
    made = write_folder(gather(run.path, "Q8_0"), tmp_path / "out")
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {
        "README.md", "LICENSE", "SHA256SUMS", "export.json", "small-Q8_0.gguf", "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json", "tokenizer/config.json", "tokenizer/chat_template.jinja",
    }  # fmt: skip
    assert set(made.files) == found
    assert made.size_bytes == sum((tmp_path / "out" / name).stat().st_size for name in found)
    template = (tmp_path / "out" / "tokenizer" / "chat_template.jinja").read_text()
    assert template == small_checkpoint.TEMPLATE


def test_what_lies_beside_an_onnx_graph(run: RunFolder, tmp_path: Path) -> None:
    write_folder(gather(run.path, "onnx-int8-dynamic"), tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "README.md", "LICENSE", "SHA256SUMS", "export.json", "model.onnx", "tokenizer.json", "tokenizer_config.json",
        "config.json", "chat_template.jinja",
    }  # fmt: skip


def test_sha256sum_itself_agrees(run: RunFolder, tmp_path: Path) -> None:
    write_folder(gather(run.path, "Q8_0"), tmp_path / "out")
    lines = (tmp_path / "out" / "SHA256SUMS").read_text().splitlines()
    for line in lines:
        digest, name = line.split("  ")
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == digest
    if shutil.which("sha256sum"):
        checked = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
        done = subprocess.run(checked, cwd=tmp_path / "out", capture_output=True, text=True, check=True)
        assert done.stdout.count(": OK") == len(lines) == 7


def test_the_front_matter(run: RunFolder) -> None:
    values = fields(card(gather(run.path, "Q8_0", base_model="Owner/Small-Model"), {}))
    assert values == {
        "base_model": "Owner/Small-Model",
        "base_model_relation": "quantized",
        "license": "apache-2.0",
        "language": ["en", "no"],
        "pipeline_tag": "text-generation",
        "library_name": "gguf",
        "tags": ["gguf", "quantized", "edgequant", "Q8_0", "chat"],
    }


def test_a_file_of_floats_is_no_quantised_one(run: RunFolder) -> None:
    values = front_matter(gather(run.path, "F16", base_model="Owner/Small-Model"))
    assert "base_model_relation" not in values and "quantized" not in values["tags"]


def test_what_nobody_knows_is_left_out_and_said(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "checkpoint" / "README.md").unlink()
    (tmp_path / "checkpoint" / "LICENSE").unlink()
    made = write_folder(gather(run.path, "Q8_0"), tmp_path / "out")
    values = fields((tmp_path / "out" / "README.md").read_text())
    assert not {"base_model", "base_model_relation", "license"} & set(values)
    assert ["base_model" in note or "licence" in note for note in made.notes] == [True, True]
    assert "Nothing in the checkpoint says" in (tmp_path / "out" / "README.md").read_text()


def test_the_card_has_the_measured_table(run: RunFolder) -> None:
    text = card(gather(run.path, "Q8_0"), {"x.gguf": 1_000_000})
    (row,) = [line for line in text.splitlines() if line.startswith("| **Q8_0**")]
    assert "140 (139 to 141)" in row and "0.0053 (" in row
    assert "| F16 |" in text and "| onnx-int8-dynamic |" in text
    assert "- device: " in text and "- runtimes: llama.cpp" in text and "- intervals: 95 %" in text
    assert "| x.gguf | 1.00 MB |" in text


def test_the_card_names_no_place_on_this_machine(run: RunFolder, tmp_path: Path) -> None:
    write_folder(gather(run.path, "Q8_0"), tmp_path / "out")
    for file in (tmp_path / "out").rglob("*"):
        assert file.is_dir() or str(tmp_path).encode() not in file.read_bytes(), file.name


def test_hostile_texts_stay_data(tmp_path: Path) -> None:
    run = shipments.run(tmp_path, card=HOSTILE_CARD, name=HOSTILE)
    shipment = gather(run.path, "Q8_0", base_model="Owner/Name")
    text = card(shipment, {"<b>.gguf": 1})
    values = fields(text)
    assert "evil" not in values and values["license"] == "other"
    assert values["license_name"] == "x-y-z-evil-true"
    assert values["pipeline_tag"] == "text-generation" and values["base_model"] == "Owner/Name"
    assert values["language"] == ["no", "on"]
    given = ["a: b", "- c", "{{ x }}", "---", "true", "1.10", "|", "'", "# d", "é 漢字"]
    assert values["tags"][-len(given) :] == given
    body = text.split("---\n", 2)[2]
    assert not re.search(r"(?<!\\)[<>]", body) and not [c for c in body if ord(c) < 32 and c != "\n"]
    assert "](javascript" not in body
    assert not [line for line in body.splitlines() if line.startswith("| ") and line.count(" | ") > 12]


def test_a_base_model_is_a_link_only_where_it_is_an_id(run: RunFolder) -> None:
    text = card(gather(run.path, "Q8_0", base_model="x](http://evil) [y"), {})
    assert "huggingface.co/x" not in text
    assert fields(text)["base_model"] == "x](http://evil) [y"


@pytest.mark.parametrize(
    ("name", "safe_name"),
    [
        ("SmolLM2-135M-Instruct", "SmolLM2-135M-Instruct"),
        ("../../etc/passwd", "etc-passwd"),
        ("a b\n\"c\" $(d) `e`", "a-b-c-d-e"),
        ("漢字", "model"),
        (HOSTILE, None),
    ],
)  # fmt: skip
def test_names_of_files_are_safe(name: str, safe_name: str | None) -> None:
    made = safe(name)
    assert safe_name is None or made == safe_name
    assert made and not set(made) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-")


# -- what is refused


def test_the_pick_is_shipped_where_none_is_named(run: RunFolder) -> None:
    shipment = gather(run.path, "")
    assert shipment.artifact.format == shipment.report.answer.pick == "Q8_0"


def test_names_of_formats_count_whatever_their_case(run: RunFolder) -> None:
    assert gather(run.path, "q8_0").artifact.format == "Q8_0"


def test_a_format_that_is_not_there(run: RunFolder) -> None:
    with pytest.raises(Error, match="holds no Q4_K_M") as caught:
        gather(run.path, "Q4_K_M")
    assert "Q8_0" in (caught.value.hint or "")


def test_nothing_picked(tmp_path: Path) -> None:
    run = shipments.run(tmp_path)
    values = run.open()
    values["device"]["usable_ram_bytes"] = 10
    run.description.write_text(json.dumps(values))
    with pytest.raises(Error, match="has no pick: Nothing fits"):
        gather(run.path, "")


def test_other_bytes_than_those_that_were_measured(run: RunFolder) -> None:
    shipment = gather(run.path, "Q8_0")
    path = Path(shipment.artifact.path)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(Error, match="is not the file that was measured"):
        check_files(shipment)


def test_a_file_that_is_gone(run: RunFolder) -> None:
    Path(gather(run.path, "Q8_0").artifact.path).unlink()
    with pytest.raises(Error, match="files of Q8_0 are not at"):
        gather(run.path, "Q8_0")


def test_a_file_that_failed_its_checks(run: RunFolder) -> None:
    (manifest,) = run.artifacts.glob("*Q8_0*.manifest.json")
    values = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**values, "checks": {"logits": "failed: far off"}}))
    with pytest.raises(Error, match="Q8_0 failed its checks"):
        gather(run.path, "Q8_0")


def test_a_checkpoint_that_has_changed_since(run: RunFolder, tmp_path: Path) -> None:
    small_checkpoint.change_json(tmp_path / "checkpoint" / "config.json", rope_theta=5.0)
    with pytest.raises(Error, match=r"is not what .* was made from"):
        gather(run.path, "Q8_0")


def test_a_checkpoint_that_has_moved(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").rename(tmp_path / "moved")
    with pytest.raises(Error, match="is not where it was") as caught:
        gather(run.path, "Q8_0")
    assert "--checkpoint" in (caught.value.hint or "")
    assert gather(run.path, "Q8_0", checkpoint=tmp_path / "moved").origin.papers == tmp_path / "moved"


def test_a_folder_that_is_called_like_the_source_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`run demo`, exported from a folder that holds a run called demo: its card is not that of the checkpoint."""
    run = shipments.run(tmp_path)
    (run.path / "source").mkdir()
    (tmp_path / "checkpoint").rename(run.path / "source" / "small")
    run.path.rename(tmp_path / "demo")
    values = json.loads((tmp_path / "demo" / "run.json").read_text())
    (tmp_path / "demo" / "run.json").write_text(json.dumps({**values, "source": "demo"}))
    monkeypatch.chdir(tmp_path)
    assert front_matter(gather(Path("demo"), "Q8_0"))["license"] == "apache-2.0"


def test_a_bundle_says_that_its_checkpoint_is_elsewhere(run: RunFolder, tmp_path: Path) -> None:
    values = json.loads(run.description.read_text())
    del values["source"]
    run.description.write_text(json.dumps(values))
    with pytest.raises(Error, match="did not come with the bundle"):
        gather(run.path, "Q8_0")
    assert gather(run.path, "Q8_0", checkpoint=tmp_path / "checkpoint").base_model == ""


def test_a_model_of_the_hub_is_looked_for_in_its_cache(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, cache = "c0ffee" * 6 + "abcd", tmp_path / "home" / "hub" / "models--owner--small"
    (cache / "snapshots").mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    shutil.move(tmp_path / "checkpoint", cache / "snapshots" / commit)
    values = json.loads(run.description.read_text())
    values |= {"source": "owner/small", "checkpoint": {**values["checkpoint"], "revision": commit}}
    run.description.write_text(json.dumps(values))
    for manifest in run.artifacts.glob("*.manifest.json"):
        known = json.loads(manifest.read_text())
        manifest.write_text(json.dumps({**known, "checkpoint_revision": commit}))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    shipment = gather(run.path, "Q8_0")
    assert shipment.base_model == "owner/small" and shipment.origin.checkpoint.revision == commit
    assert front_matter(shipment)["base_model_relation"] == "quantized"
    shutil.rmtree(tmp_path / "home")
    with pytest.raises(Error, match="is not where it was: owner/small"):
        gather(run.path, "Q8_0")


# -- the folder on disk


def test_a_folder_with_something_in_it_is_left_alone(run: RunFolder, tmp_path: Path) -> None:
    place = tmp_path / "taken"
    place.mkdir()
    check_target(place, force=False)  # an empty one is as good as none
    (place / "diary.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(Error, match=r"there already|left alone"):
            check_target(place, force=force)


def test_an_earlier_export_gives_way_with_force_alone(run: RunFolder, tmp_path: Path) -> None:
    place = tmp_path / "out"
    write_folder(gather(run.path, "Q8_0"), place)
    with pytest.raises(Error, match="there already"):
        check_target(place, force=False)
    check_target(place, force=True)
    write_folder(gather(run.path, "F16"), place)
    assert not (place / "small-Q8_0.gguf").exists() and (place / "small-F16.gguf").exists()
    (place / "diary.txt").write_text("mine")
    with pytest.raises(Error, match="holds other things"):
        check_target(place, force=True)


def test_a_file_and_a_link_are_no_folders(run: RunFolder, tmp_path: Path) -> None:
    write_folder(gather(run.path, "Q8_0"), tmp_path / "out")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link", "broken"):
        with pytest.raises(Error):
            check_target(tmp_path / name, force=True)


def test_nothing_half_written(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipment = gather(run.path, "Q8_0")

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgequant.export.shipping.written.shutil.copyfile", full)
    with pytest.raises(Error, match="No space left"):
        write_folder(shipment, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "run"]
