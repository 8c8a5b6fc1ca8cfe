"""Shards: llama.cpp loads them by the first, and computes what it computes with the whole file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import pytest

import small_checkpoint
from edgequant import Error, child
from edgequant.convert import conversion, gguf_split, makers
from edgequant.convert.artifact import Artifact, digest_of, files_of, is_whole, read_manifest
from edgequant.convert.checkpoint import Checkpoint, open_folder
from edgequant.convert.conversion import Workshop
from edgequant.convert.formats import FORMATS
from edgequant.convert.gguf_header import read_header
from edgequant.convert.inspection import inspect_gguf

pytestmark = pytest.mark.usefixtures("test_modules")
LIMIT = 24_000  # bytes: the vocabulary alone takes 7,000, the embedding 20,480


@pytest.fixture
def test_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children may import from this folder."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return open_folder(small_checkpoint.write(tmp_path / "model"))


def make(checkpoint: Checkpoint, name: str, folder: Path, limit: int = 0) -> Artifact:
    return conversion.convert(checkpoint, FORMATS[name], Workshop(folder=folder, threads=1, split_max_bytes=limit))


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def greedy(path: str | Path) -> list[float]:
    job = {"container": "gguf", "path": str(path), "parts": [[5, 9], [30, 2, 7]]}
    found: list[float] = child.run("native:evaluate", job).unwrap()
    return found


@pytest.mark.slow
def test_a_float_file_and_what_is_quantised_from_its_shards(checkpoint: Checkpoint, tmp_path: Path) -> None:
    for name in ("F16", "Q8_0"):
        whole, cut = make(checkpoint, name, tmp_path / "whole"), make(checkpoint, name, tmp_path / "cut", LIMIT)
        files = files_of(Path(cut.path))
        n = len(files)
        assert n > 1 and Path(cut.path).name == f"model-{name}-00001-of-{n:05}.gguf"
        assert all(file.stat().st_size <= LIMIT for file in files)
        assert cut.size_bytes == sum(file.stat().st_size for file in files) > whole.size_bytes
        assert (cut.tensor_types, cut.true_bits_per_weight) == (whole.tensor_types, whole.true_bits_per_weight)
        assert greedy(cut.path) == greedy(whole.path)
        assert read_manifest(Path(cut.path)) == cut and cut.split_max_bytes == LIMIT
    assert not [name for name in names(tmp_path / "cut") if "-of-" not in name]


def test_what_llama_cpp_checks(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Numbers and counts in every shard, the vocabulary in the first alone, and every tensor once with its bytes."""
    whole = gguf.GGUFReader(make(checkpoint, "F16", tmp_path / "whole").path)
    files = files_of(Path(make(checkpoint, "F16", tmp_path / "cut", LIMIT).path))
    readers = [gguf.GGUFReader(file) for file in files]
    said = [[r.fields[f"split.{key}"].contents() for key in ("no", "count", "tensors.count")] for r in readers]
    assert said == [[n, len(files), len(whole.tensors)] for n in range(len(files))]
    assert ["tokenizer.ggml.tokens" in r.fields for r in readers] == [True] + [False] * (len(files) - 1)
    kept = {key: field.contents() for key, field in whole.fields.items() if not key.startswith("GGUF.")}
    first = {k: f.contents() for k, f in readers[0].fields.items() if not k.startswith(("GGUF.", "split."))}
    assert first == kept
    found = [tensor for reader in readers for tensor in reader.tensors]
    assert [t.name for t in found] == [t.name for t in whole.tensors]
    for ours, theirs in zip(found, whole.tensors, strict=True):
        assert (ours.tensor_type, ours.shape.tolist()) == (theirs.tensor_type, theirs.shape.tolist())
        assert ours.data.tobytes() == theirs.data.tobytes()


@pytest.mark.parametrize(
    "limit",
    [
        pytest.param(1, marks=pytest.mark.slow),
        9_000,
        *(pytest.param(n, marks=pytest.mark.slow) for n in (40_000, 10**9)),
    ],
)
def test_any_limit_gives_files_that_load(checkpoint: Checkpoint, tmp_path: Path, limit: int) -> None:
    """A first shard of metadata alone, a tensor that is larger than the limit, and a model that needs no cutting."""
    whole, cut = make(checkpoint, "F16", tmp_path / "whole"), make(checkpoint, "F16", tmp_path / "cut", limit)
    files = files_of(Path(cut.path))
    assert len(files) == {1: 21, 9_000: 7, 40_000: 2, 10**9: 1}[limit]
    for file in files:
        assert file.stat().st_size <= limit or len(read_header(file).tensors) < 2
    largest = max(file.stat().st_size for file in files)
    assert any(f"{largest:,} bytes instead of {limit:,}" in note for note in cut.notes) == (largest > limit)
    assert greedy(cut.path) == greedy(whole.path)
    assert inspect_gguf(Path(cut.path)) == inspect_gguf(Path(whole.path))


@pytest.mark.slow
def test_another_limit_is_cut_anew_and_the_same_is_not(checkpoint: Checkpoint, tmp_path: Path) -> None:
    cut = make(checkpoint, "F16", tmp_path / "out", LIMIT)
    assert make(checkpoint, "F16", tmp_path / "out", LIMIT) == cut
    assert make(checkpoint, "F16", tmp_path / "out", 40_000) == cut  # no file of it is larger
    whole = make(checkpoint, "F16", tmp_path / "out")
    assert names(tmp_path / "out") == ["model-F16.gguf", "model-F16.gguf.manifest.json"]
    assert make(checkpoint, "F16", tmp_path / "out", 10**9) == whole
    again = make(checkpoint, "F16", tmp_path / "out", LIMIT)
    manifest = f"{Path(again.path).name}.manifest.json"
    assert names(tmp_path / "out") == sorted([manifest, *(file.name for file in files_of(Path(again.path)))])
    assert again == replace(cut, seconds=again.seconds)


@pytest.mark.slow
def test_a_shard_that_is_missing_or_short_and_removal(checkpoint: Checkpoint, tmp_path: Path) -> None:
    cut = make(checkpoint, "F16", tmp_path / "out", LIMIT)
    workshop = Workshop(folder=tmp_path / "out", threads=1, split_max_bytes=LIMIT)
    files = files_of(Path(cut.path))
    digest = digest_of(files[0])
    data = files[-1].read_bytes()
    for damage in (lambda: files[-1].unlink(), lambda: files[-1].write_bytes(data[:-1])):
        damage()
        assert not is_whole(cut)
        assert conversion.existing(checkpoint, FORMATS["F16"], workshop) is None
    files[-1].write_bytes(data[:-1] + b"x")
    assert digest_of(files[0]) != digest  # all shards count, not the first alone
    conversion.remove_files(cut)
    assert names(tmp_path / "out") == [f"{files[0].name}.manifest.json"]
    assert conversion.recorded(checkpoint, FORMATS["F16"], tmp_path / "out") == cut


@pytest.mark.slow
def test_a_name_that_is_a_pattern(tmp_path: Path) -> None:
    checkpoint = open_folder(small_checkpoint.write(tmp_path / "m[1]*"))
    cut = make(checkpoint, "F16", tmp_path / "out", LIMIT)
    assert make(checkpoint, "F16", tmp_path / "out", LIMIT) == cut
    assert len(gguf_split.shards_of(tmp_path / "out" / "m[1]*-F16.gguf")) == len(files_of(Path(cut.path)))
    assert gguf_split.shards_of(tmp_path / "out" / "m1x-F16.gguf") == []


def stop(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.slow
@pytest.mark.parametrize("where", ["_copy", "_sync"])
@pytest.mark.parametrize("after", [0, 2])
def test_nothing_is_left_of_a_full_disk(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, after: int
) -> None:
    source = Path(make(checkpoint, "F16", tmp_path / "whole").path)
    real: Callable[..., None] = getattr(gguf_split, where)
    calls: list[int] = []

    def sometimes(*values: Any) -> None:
        calls.append(1)
        stop() if len(calls) > after else real(*values)

    monkeypatch.setattr(gguf_split, where, sometimes)
    with pytest.raises(Error, match=r"cannot write .*: No space left on device"):
        gguf_split.written(tmp_path / "out" / "x.gguf", partial(shutil.copyfile, source), limit_bytes=LIMIT)
    assert names(tmp_path / "out") == []


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["between_shards", "putting_them_in_place"])
def test_nothing_is_left_of_a_child_that_dies(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    monkeypatch.setattr(makers, "WRITE_GGUF", makers.Maker(entry=f"dying_writers:{entry}", packages=()))
    with pytest.raises(Error, match="killed by the system"):
        make(checkpoint, "F16", tmp_path / "out", LIMIT)
    assert names(tmp_path / "out") == []
