"""Making artifacts: whole or not at all, explained by a manifest, and not made twice."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import ml_dtypes
import numpy as np
import pytest

import small_checkpoint
from edgequant import Error, __version__, child
from edgequant.convert import conversion, ladder, makers
from edgequant.convert.artifact import (
    Artifact,
    digest_of,
    files_of,
    manifest_path,
    read_manifest,
    size_of,
    write_manifest,
)
from edgequant.convert.atomic import discard, partial_of, replacing, write_text
from edgequant.convert.checkpoint import Checkpoint, open_folder
from edgequant.convert.conversion import Workshop
from edgequant.convert.formats import FORMATS, find
from edgequant.convert.gguf_header import read_header
from edgequant.convert.makers import Maker
from edgequant.convert.source import open_source

F16, Q8_0, Q4_K_M = FORMATS["F16"], FORMATS["Q8_0"], FORMATS["Q4_K_M"]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return open_folder(small_checkpoint.write(tmp_path / "model"))


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was run in children."""
    seen: list[str] = []
    real = child.run

    def note(entry: str, job: Any, **options: Any) -> child.Outcome:
        seen.append(entry.rpartition(":")[2])
        return real(entry, job, **options)

    monkeypatch.setattr(child, "run", note)
    return seen


def make(checkpoint: Checkpoint, name: str, folder: Path) -> Artifact:
    return conversion.convert(checkpoint, find(name), Workshop(folder=folder, threads=1))


def test_sources_come_first(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [Q4_K_M, FORMATS["onnx-int8-dynamic"], Q8_0]
    names = [fmt.name for fmt in makers.with_sources(checkpoint, wanted)]
    assert names == ["F16", "onnx-int8-dynamic", "Q4_K_M", "Q8_0"]  # our own graph is written from the checkpoint
    monkeypatch.setattr(makers, "obstacle", lambda _: "Optimum exports it")
    names = [fmt.name for fmt in makers.with_sources(checkpoint, wanted)]
    assert names == ["F16", "onnx-fp32", "Q4_K_M", "onnx-int8-dynamic", "Q8_0"]
    assert [fmt.name for fmt in makers.with_sources(checkpoint, [F16, Q8_0])] == ["F16", "Q8_0"]


def test_an_artifact_and_its_manifest(checkpoint: Checkpoint, tmp_path: Path) -> None:
    artifact = make(checkpoint, "F16", tmp_path / "out")
    file = tmp_path / "out" / "model-F16.gguf"
    assert sorted(p.name for p in file.parent.iterdir()) == ["model-F16.gguf", "model-F16.gguf.manifest.json"]
    assert (artifact.path, artifact.container, artifact.format) == (str(file), "gguf", "F16")
    assert artifact.size_bytes == file.stat().st_size
    assert artifact.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert artifact.checkpoint_revision == checkpoint.revision
    assert artifact.made_by["edgequant"] == __version__ and artifact.made_by["gguf"]
    norms = 5 * 32 / checkpoint.n_parameters
    assert artifact.tensor_types == pytest.approx({"F16": 1 - norms, "F32": norms})
    assert artifact.true_bits_per_weight == pytest.approx(16 + 16 * norms)
    assert read_manifest(file) == artifact


def test_quantised_formats_and_what_fell_back(checkpoint: Checkpoint, tmp_path: Path) -> None:
    make(checkpoint, "F16", tmp_path)
    eight, four = make(checkpoint, "Q8_0", tmp_path), make(checkpoint, "Q4_K_M", tmp_path)
    assert eight.tensor_types["Q8_0"] > 0.6
    # rows of 32 and 48 weights fit no block of 256, and those of 48 none of 32; for the embedding, which is the output
    # matrix too, llama.cpp asks for Q8_0 from the start
    assert "Q4_K" not in four.tensor_types and len(four.notes) == 1
    assert four.notes[0].startswith("fell back: 14 of 20 tensors have rows (32 and 48)")
    types = {t.type for t in read_header(Path(four.path)).tensors}
    assert types == set(four.tensor_types) and "F16" in types


def test_nothing_is_made_twice(checkpoint: Checkpoint, tmp_path: Path, entries: list[str]) -> None:
    first = make(checkpoint, "F16", tmp_path / "out")
    assert make(checkpoint, "F16", tmp_path / "out") == first and entries == ["write"]
    assert conversion.existing(checkpoint, F16, Workshop(folder=tmp_path / "out", threads=1)) == first


def test_another_checkpoint_a_cut_file_or_other_versions_are_made_again(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, out = make(checkpoint, "F16", tmp_path / "out"), tmp_path / "out"
    assert conversion.existing(replace(checkpoint, revision="other"), F16, Workshop(folder=out, threads=1)) is None
    with monkeypatch.context() as patch:
        patch.setattr(makers, "__version__", "99")
        assert conversion.existing(checkpoint, F16, Workshop(folder=out, threads=1)) is None
    file = Path(artifact.path)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    assert conversion.existing(checkpoint, F16, Workshop(folder=out, threads=1)) is None
    assert make(checkpoint, "F16", out).sha256 == artifact.sha256 and file.read_bytes() == whole
    manifest_path(file).unlink()
    assert conversion.existing(checkpoint, F16, Workshop(folder=out, threads=1)) is None


def test_an_artifact_whose_maker_is_not_installed(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run folder was moved to a machine without the exporter."""
    artifact = make(checkpoint, "F16", tmp_path)
    assert conversion.existing(checkpoint, F16, Workshop(folder=tmp_path, threads=1)) == artifact
    monkeypatch.setattr(makers, "WRITE_GGUF", replace(makers.WRITE_GGUF, packages=("a-package-that-nobody-has",)))
    assert conversion.existing(checkpoint, F16, Workshop(folder=tmp_path, threads=1)) is None


def test_nothing_is_left_of_a_failure(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(Error, match="cannot quantise"):
        make(checkpoint, "Q8_0", tmp_path / "out")  # there is no F16 to make it from
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_nothing_is_left_of_a_maker_that_was_killed(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr(makers, "WRITE_GGUF", Maker(entry="victims:checks_disk", packages=()))
    with pytest.raises(Error, match="killed by the system"):
        make(checkpoint, "F16", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_removing_files_keeps_the_manifest(checkpoint: Checkpoint, tmp_path: Path) -> None:
    artifact = make(checkpoint, "F16", tmp_path)
    conversion.remove_files(artifact)
    assert not Path(artifact.path).exists() and read_manifest(Path(artifact.path)) == artifact


# -- what a user may name besides a folder


@pytest.mark.parametrize("name", [pytest.param("F16", marks=pytest.mark.slow), "Q8_0"])
def test_a_gguf_is_dequantised_once(checkpoint: Checkpoint, tmp_path: Path, entries: list[str], name: str) -> None:
    for fmt in dict.fromkeys(("F16", name)):
        make(checkpoint, fmt, tmp_path)
    file = Path(conversion.artifact_path(checkpoint, FORMATS[name], tmp_path))
    entries.clear()
    opened = [open_source(str(file), workspace=tmp_path / "workspace") for _ in range(2)]
    assert entries == ["dequantise"]
    assert (
        opened[0] == opened[1] and opened[0].source == str(file) and opened[0].n_parameters == checkpoint.n_parameters
    )
    origin = opened[0].quantised_source
    assert (origin.type if origin else "") == ("" if name == "F16" else name)
    file.write_bytes(file.read_bytes()[:-32] + bytes(32))
    again = open_source(str(file), workspace=tmp_path / "workspace")
    assert entries == ["dequantise", "dequantise"] and again.revision != opened[0].revision


def test_a_provenance_that_does_not_read_is_written_anew(checkpoint: Checkpoint, tmp_path: Path) -> None:
    file = Path(make(checkpoint, "F16", tmp_path).path)
    opened = open_source(str(file), workspace=tmp_path / "workspace")
    (opened.path / "edgequant.json").write_text("{")
    assert open_source(str(file), workspace=tmp_path / "workspace") == opened


def test_a_hub_id_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(Error, match="nobody/no-model is no local path, and the Hub did not give it") as caught:
        open_source("nobody/no-model", workspace=tmp_path)
    assert "network" in caught.value.hint and "\n" not in str(caught.value)


# -- manifests and digests


def artifact_at(path: Path) -> Artifact:
    return Artifact(
        checkpoint="m", checkpoint_revision="r", format="F16", container="gguf", path=str(path), size_bytes=1,
        sha256="s", true_bits_per_weight=16.0, tensor_types={"F16": 1.0}, seconds=0.5, made_by={"gguf": "1"},
        notes=("a", "b"), checks={"logits": "passed"},
    )  # fmt: skip


def test_a_folder_with_its_manifests_can_be_moved(tmp_path: Path) -> None:
    write_manifest(artifact_at(tmp_path / "here" / "x.gguf"))
    assert str(tmp_path) not in manifest_path(tmp_path / "here" / "x.gguf").read_text()
    (tmp_path / "here").rename(tmp_path / "there")
    assert read_manifest(tmp_path / "there" / "x.gguf") == artifact_at(tmp_path / "there" / "x.gguf")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '"text"', '{"format": "F16"}'])
def test_a_manifest_that_does_not_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.gguf.manifest.json").write_text(text)
    with pytest.raises(Error, match="is no manifest"):
        read_manifest(tmp_path / "x.gguf")
    with pytest.raises(Error, match="has no manifest"):
        read_manifest(tmp_path / "y.gguf")


def test_a_folder_has_a_size_and_a_digest(tmp_path: Path) -> None:
    folder = tmp_path / "onnx"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"abc")
    (folder / "sub" / "x").write_bytes(b"de")
    before = digest_of(folder)
    assert size_of(folder) == 5
    folder.rename(tmp_path / "moved")
    assert digest_of(tmp_path / "moved") == before
    (tmp_path / "moved" / "sub" / "x").rename(tmp_path / "moved" / "sub" / "y")
    assert digest_of(tmp_path / "moved") != before


# -- whole or not at all


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    for n in (1, 2):
        with replacing(target) as partial:
            partial.mkdir()
            (partial / f"{n}").write_text("x")
            assert not (target / f"{n}").exists()
    assert [p.name for p in target.iterdir()] == ["2"] and [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    target = tmp_path / "x"
    partial_of(target).mkdir()
    (partial_of(target) / "half").write_text("")
    write_text(target, "whole")
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    partial_of(target).write_text("half")
    discard(target)
    discard(target)
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for target in (tmp_path / "file" / "x", tmp_path / "file" / "folder" / "x"):
        with pytest.raises(Error, match=f"cannot write {target}: Not a directory"):
            write_text(target, "text")
    (tmp_path / "folder").mkdir()
    with pytest.raises(Error, match=r"cannot write .*folder: Is a directory"):
        write_text(tmp_path / "folder", "text")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_manifests_are_json(checkpoint: Checkpoint, tmp_path: Path) -> None:
    artifact = make(checkpoint, "F16", tmp_path)
    values = json.loads(manifest_path(Path(artifact.path)).read_text())
    assert values["path"] == "model-F16.gguf" and values["seconds"] > 0 and values["notes"] == []


# -- weights that F16 cannot hold


@pytest.fixture
def large(tmp_path: Path) -> Checkpoint:
    """A checkpoint with 1e5 in a matrix whose rows of 48 fit no block, which llama.cpp would put into F16."""
    weights = small_checkpoint.tensors()
    weights["model.layers.1.mlp.down_proj.weight"][3, 5] = 1e5
    return open_folder(small_checkpoint.write(tmp_path / "large", tensors=weights, dtype="BF16"))


REASON = "model.layers.1.mlp.down_proj.weight holds values beyond the range of F16: it reaches 9.994e+04"


def test_bf16_stands_in_for_f16(large: Checkpoint, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(conversion.Failed, match="beyond the range of F16") as caught:
        make(large, "F16", out)
    assert caught.value.is_beyond_range and list(out.iterdir()) == []
    assert conversion.stand_in(large, out) == "" and conversion.source_in(large, Q8_0, out) == F16
    made = conversion.convert_instead(large, Workshop(folder=out, threads=1), reason=REASON)
    assert made.format == "BF16" and made.notes == (f"stands in for F16: {REASON}",)
    assert conversion.stand_in(large, out) == REASON
    assert [conversion.source_in(large, fmt, out) for fmt in (Q8_0, FORMATS["BF16"])] == [FORMATS["BF16"], None]
    Path(made.path).unlink()
    assert make(large, "BF16", out).notes == made.notes  # made again later, it still knows why


@pytest.mark.slow
@pytest.mark.parametrize("split", [0, 24_000])
def test_what_is_quantised_from_bf16_is_never_clipped(large: Checkpoint, tmp_path: Path, split: int) -> None:
    workshop = Workshop(folder=tmp_path, threads=1, split_max_bytes=split)
    conversion.convert_instead(large, workshop, reason=REASON)
    for name in ("Q8_0", "Q4_K_M", "Q2_K"):
        made = conversion.convert(large, find(name), workshop)
        assert made.notes[0] == f"made from BF16: {REASON}" and "F16" not in made.tensor_types
        tensors = {t.name: t for file in files_of(Path(made.path)) for t in gguf.GGUFReader(file).tensors}
        down = tensors["blk.1.ffn_down.weight"]
        assert down.tensor_type.name == "BF16"
        expected = small_checkpoint.tensors()["model.layers.1.mlp.down_proj.weight"]
        expected[3, 5] = 1e5
        np.testing.assert_array_equal(down.data.view(ml_dtypes.bfloat16), expected.astype(ml_dtypes.bfloat16))
        types = ladder.tensor_types(
            find(name), conversion.gguf_shapes(large), decoder=conversion.decoder(large), source="BF16"
        )
        assert types == {name: tensor.tensor_type.name for name, tensor in tensors.items()}


def test_small_weights_are_rounded_as_numpy_and_so_llama_cpp_s_converter_rounds_them(tmp_path: Path) -> None:
    """Below 2**-14 float16 has fewer digits, below 2**-25 none: no better and no worse than the usual converter."""
    weights = small_checkpoint.tensors()
    down = weights["model.layers.1.mlp.down_proj.weight"]
    down[:] = 2.0 ** np.linspace(-30, -12, down.size, dtype=np.float32).reshape(down.shape)
    checkpoint = open_folder(small_checkpoint.write(tmp_path / "m", tensors=weights, dtype="BF16"))
    file = make(checkpoint, "F16", tmp_path / "out").path
    ours = next(t for t in gguf.GGUFReader(file).tensors if t.name == "blk.1.ffn_down.weight")
    theirs = down.astype(ml_dtypes.bfloat16).astype(np.float32).astype(np.float16)
    assert (theirs == 0).any() and ((theirs > 0) & (theirs < 2.0**-14)).any()
    np.testing.assert_array_equal(ours.data, theirs)


# -- how a conversion ends


@pytest.mark.parametrize(
    ("entry", "status", "said"),
    [
        ("victims:checks_disk", "oom", "killed by the system"),
        ("victims:fails", "error", "cannot quantise"),
        ("victims:hangs", "timeout", "did not finish in its time"),
    ],
)
def test_a_failure_keeps_its_status(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str, status: str, said: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    if status != "error":
        monkeypatch.setattr(makers, "QUANTISE_GGUF", Maker(entry=entry, packages=()))
    if status == "timeout":
        monkeypatch.setattr(conversion, "_DEADLINE_SECONDS", 0.2)
    with pytest.raises(conversion.Failed, match=said) as caught:
        make(checkpoint, "Q8_0", tmp_path / "out")
    assert caught.value.status == status and not caught.value.is_beyond_range


def test_the_deadline_grows_with_the_checkpoint(checkpoint: Checkpoint, tmp_path: Path, entries: list[str]) -> None:
    given: list[float] = []

    def note(entry: str, job: Any, *, deadline_seconds: float, progress: Any) -> child.Outcome:
        given.append(deadline_seconds)
        return child.Outcome(status="crash", note="died")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child, "run", note)
        for factor in (1, 10**6):
            big = replace(
                checkpoint,
                tensors={name: replace(t, n_bytes=factor * t.n_bytes) for name, t in checkpoint.tensors.items()},
            )
            with pytest.raises(conversion.Failed, match="died"):
                make(big, "F16", tmp_path / "out")
    assert 3600 <= given[0] < 3601 and given[1] - 3600 == pytest.approx(1e6 * (given[0] - 3600))


def test_a_window_that_llama_cpp_does_not_slide_is_noted(tmp_path: Path) -> None:
    mistral = {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 100}
    folder = small_checkpoint.write(tmp_path / "m", config=small_checkpoint.config(**mistral))
    workshop = Workshop(folder=tmp_path, threads=1)
    made = conversion.convert(open_folder(folder), FORMATS["F16"], workshop)
    said = "shorter context: 100 of 256 tokens, for llama.cpp does not slide this model's window"
    assert made.notes == (said,)
    header = read_header(Path(made.path)).metadata
    assert header["llama.context_length"] == 100
