"""A bundle: what lies in it, that it is the same every time, and that nothing of this machine does."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

import bundles
import recorded
import small_checkpoint
import tokenizer_oracle
from edgequant import Error
from edgequant.convert.vocabulary.tokenizer import Tokenizer, read_files
from edgequant.export import bundle
from edgequant.export.on_device import OnDevice
from edgequant.export.tokenizer_files import tokenizer_files
from edgequant.export.unpack import unpacked
from edgequant.profiles.machine import host


def nothing(step: str, format_name: str, detail: str) -> None:
    """A listener that does not listen."""


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A bundle of the small run in tmp_path/run."""
    bundle.write(bundles.contents(tmp_path / "run"), tmp_path / "small.tar")
    return tmp_path / "small.tar"


def members(path: Path) -> dict[str, bytes]:
    """Name -> content of a tar."""
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def test_what_lies_in_it(made: Path) -> None:
    names = [name.removeprefix("small/") for name in members(made)]
    assert names[:2] == ["SHA256SUMS", "bundle.json"]
    assert set(names) == {
        "SHA256SUMS", "bundle.json", "plan.json", "prepared.json", "reference.npz", "reference.jsonl",
        "tasks/mine.jsonl", "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json", "tokenizer/config.json",
        "artifacts/model-Q8_0.gguf", "artifacts/model-Q8_0.gguf.manifest.json",
        "artifacts/model-onnx-int8-dynamic/model.onnx", "artifacts/model-onnx-int8-dynamic.manifest.json",
        "artifacts/model-F16.gguf.manifest.json",
    }  # fmt: skip


def test_sha256sum_itself_agrees(made: Path, tmp_path: Path) -> None:
    with tarfile.open(made) as archive:
        archive.extractall(tmp_path / "by-tar", filter="data")
    if not shutil.which("sha256sum"):
        pytest.skip("no sha256sum here")
    checked = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(checked, cwd=tmp_path / "by-tar" / "small", capture_output=True, text=True, check=True)
    assert done.stdout.count(": OK") == len(members(made)) - 1


def test_it_is_the_same_every_time_and_everywhere(made: Path, tmp_path: Path) -> None:
    """From a copy of the run, made later, with other times and another owner's rights."""
    contents = bundles.contents(tmp_path / "other place")
    for file in (tmp_path / "other place").rglob("*"):
        file.chmod(0o700)
    bundle.write(contents, tmp_path / "again" / "small.tar")
    assert (tmp_path / "again" / "small.tar").read_bytes() == made.read_bytes()


def test_nothing_names_a_place_on_this_machine(made: Path, tmp_path: Path) -> None:
    found = {name: content for name, content in members(made).items() if str(tmp_path).encode() in content}
    assert not found
    with tarfile.open(made) as archive:
        assert {(m.uid, m.gid, m.uname, m.gname, m.mtime, m.mode) for m in archive} == {(0, 0, "", "", 0, 0o644)}


def test_only_what_means_something_elsewhere_is_told_of_the_run(made: Path) -> None:
    run = json.loads(members(made)["small/bundle.json"])["run"]
    assert set(run) == {"schema", "context", "verified", "prepared", "reference", "checkpoint"}
    assert run["checkpoint"]["quantised_source"]["path"] == "weights.Q4_1.gguf"


def test_artifacts_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    contents = bundles.contents(tmp_path / "run")
    Path(contents.artifacts[0].path).write_bytes(b"cut")
    with pytest.raises(Error, match="Q8_0 are not those that its manifest describes"):
        bundle.write(contents, tmp_path / "small.tar")
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]


def test_two_tasks_of_one_name_both_go_along(tmp_path: Path) -> None:
    contents = bundles.contents(tmp_path / "run")
    other = tmp_path / "elsewhere" / "mine.jsonl"
    other.parent.mkdir()
    other.write_text("{}\n{}\n")
    bundle.write(bundle.Contents(**{**vars(contents), "tasks": [*contents.tasks, other]}), tmp_path / "x.tar")
    tasks = {name: content for name, content in members(tmp_path / "x.tar").items() if "/tasks/" in name}
    assert sorted(tasks.values()) == [b"{}\n", b"{}\n{}\n"]


@pytest.mark.parametrize(
    ("name", "folder"),
    [("bundle.tar", "bundle"), ("SmolLM2-1.7B-bundle.tar", "SmolLM2-1.7B-bundle"), ("x", "x-unpacked")],
)
def test_the_folder_has_the_tars_name(name: str, folder: str) -> None:
    assert bundle.folder_name(Path(name)) == folder


def test_opened_it_is_a_run_of_that_device(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["edgequant", "profile", "small.tar"])
    job = OnDevice(path=unpacked(made), listen=nothing)
    values = job.folder.open()
    assert values["device"]["is_host"] and values["command"] == "edgequant profile small.tar"
    assert job.context == 256  # the run's 512 is more than the model was trained for
    assert {a.format for a in job.artifacts()} == {"Q8_0", "onnx-int8-dynamic"}
    assert {row.format for row in job.folder.store().rows} == {"F16"}
    report = job.report()
    assert {row.format for row in report.rows if row.format != "source"} == {"F16", "Q8_0", "onnx-int8-dynamic"}
    assert (job.folder.path / "report.md").is_file()


def test_opened_again_it_keeps_what_was_measured(made: Path) -> None:
    job = OnDevice(path=unpacked(made), listen=nothing, context=128)
    job.measuring.store.append(bundles.quality(job.artifacts()[0]))
    again = OnDevice(path=unpacked(made), listen=nothing)
    assert len(again.measuring.store.rows) == 6 and again.context == 128


def test_it_goes_on_standing_for_the_device_that_it_stood_for(made: Path) -> None:
    """`profile --device rpi4-2gb`, then `evaluate` without: the speeds stay in the report until it says "host"."""
    folder = unpacked(made)
    first = OnDevice(path=folder, listen=nothing, device_name="rpi4-2gb")
    q8 = next(artifact for artifact in first.artifacts() if artifact.format == "Q8_0")
    speed = recorded.measurement(
        "Q8_0", "decode_tokens_per_second", [5.0, 5.0], artifact_sha256=q8.sha256, device="rpi4-2gb", emulated=True,
        host=host.facts(),
    )  # fmt: skip
    first.measuring.store.append([speed])
    again = OnDevice(path=folder, listen=nothing)
    assert again.device == first.device
    row = next(row for row in again.report().rows if row.format == "Q8_0")
    assert row.value("decode_tokens_per_second") == 5.0
    assert OnDevice(path=folder, listen=nothing, device_name="host").device.is_host
    assert OnDevice(path=folder, listen=nothing).device.is_host


def test_a_device_is_predicted_by_the_plan_that_came_along_if_it_is_for_it(tmp_path: Path) -> None:
    decode = "decode_tokens_per_second"
    speeds = {decode: 5.2, f"{decode}_low": 4.1, f"{decode}_high": 6.6}
    plan = {"device": "rpi4-2gb", "context": 256, "formats": [{"format": "Q8_0", **speeds}, {"format": "Q4_0"}]}
    contents = bundles.contents(tmp_path / "run")
    bundle.write(bundle.Contents(**{**vars(contents), "plan": plan}), tmp_path / "small.tar")
    folder = unpacked(tmp_path / "small.tar")
    known = {"Q8_0": {"decode_tokens_per_second": [4.1, 5.2, 6.6]}, "Q4_0": {}}
    for name, context, predicted in (
        ("rpi4-2gb", 256, known), ("rpi4-4gb", 256, {}), ("rpi4-2gb", 128, {}), ("host", 256, {}),
    ):  # fmt: skip
        job = OnDevice(path=folder, listen=nothing, device_name=name, context=context)
        assert job.folder.open()["predicted"] == predicted
    job = OnDevice(path=folder, listen=nothing, device_name="rpi4-2gb", context=256)
    row = next(row for row in job.report().rows if row.format == "Q8_0")
    assert row.predicted["decode_tokens_per_second"].estimate == 5.2


def test_a_bundle_without_its_references_manifest_says_so(made: Path) -> None:
    job = OnDevice(path=unpacked(made), listen=nothing)
    (job.path / "artifacts" / "model-F16.gguf.manifest.json").unlink()
    with pytest.raises(Error, match="lacks the manifest of its reference F16"):
        job.evaluate()


def test_a_bundle_of_another_schema_is_refused(made: Path) -> None:
    folder = unpacked(made)
    values = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**values, "schema": 99}))
    with pytest.raises(Error, match=f"schema 99, this version reads {bundle.SCHEMA}"):
        OnDevice(path=folder, listen=nothing)


# -- the tokenizer


def test_tokenizer_json_goes_along_as_it_is(tmp_path: Path) -> None:
    small_checkpoint.write_tokenizer(tmp_path)
    files = tokenizer_files(tmp_path)
    assert files["tokenizer.json"] == (tmp_path / "tokenizer.json").read_bytes()
    assert files["tokenizer_config.json"] == (tmp_path / "tokenizer_config.json").read_bytes()


def test_a_tokenizer_json_is_made_of_a_tokenizer_model(tmp_path: Path) -> None:
    """The ids of the sentencepiece package, from files that need it no more."""
    texts = ["two words", "Hello  there,\n\nfriend", "naïve café 12345", "日本語", " leading", "tabs\tand  spaces "]
    (tmp_path / "texts.json").write_text(json.dumps(texts * 30))
    tokenizer_oracle.sentencepiece(tmp_path)
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    shutil.copy(tmp_path / "bpe.model", old / "tokenizer.model")
    small_checkpoint.write_json(old / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer"})
    new.mkdir()
    for name, content in tokenizer_files(old).items():
        (new / name).write_bytes(content)
    assert sorted(file.name for file in new.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]
    expected = json.loads((tmp_path / "ids.json").read_text())
    ours = Tokenizer(new)
    assert [ours.encode(text) for text in texts * 30] == expected
    told, before = read_files(new), read_files(old)
    assert (told.before, told.end_ids, told.special_ids) == (before.before, before.end_ids, before.special_ids)
    assert ours.decode(expected[0]) == "two words"


def test_sums_are_of_the_bytes(made: Path) -> None:
    content = members(made)
    for line in content["small/SHA256SUMS"].decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(content[f"small/{name}"]).hexdigest() == digest
