"""A checkpoint without its weights: what a plan reads of a folder, a GGUF, pickles and the Hub, and what it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import fake_hub
import small_checkpoint
from edgequant import Error
from edgequant.convert import conversion, formats
from edgequant.convert.checkpoint import Checkpoint, open_folder
from edgequant.convert.outline import NOT_HASHED, open_outline
from edgequant.convert.source import open_source


def shapes(checkpoint: Checkpoint) -> dict[str, tuple[tuple[int, ...], str, int]]:
    return {name: (tensor.shape, tensor.dtype, tensor.n_bytes) for name, tensor in checkpoint.tensors.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small_checkpoint.write(tmp_path / "model", dtype="BF16", n_shards=2)


def test_a_folder_is_not_hashed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = open_folder(folder)
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("a plan hashed the weights"))
    found = open_outline(str(folder), workspace=tmp_path / "work")
    assert found.revision == NOT_HASHED and len(NOT_HASHED) == len(whole.revision)
    assert (shapes(found), found.config, found.remote) == (shapes(whole), whole.config, False)


def test_a_gguf_gives_what_dequantising_it_would_give(folder: Path, tmp_path: Path) -> None:
    workshop = conversion.Workshop(folder=tmp_path / "out", threads=1)
    for name in ("F16", "Q8_0"):
        made = conversion.convert(open_folder(folder), formats.find(name), workshop)
    outlined = open_outline(made.path, workspace=tmp_path / "outline")
    real = open_source(made.path, workspace=tmp_path / "dequantised")
    assert shapes(outlined) == shapes(real) and outlined.config == real.config
    assert (outlined.name, outlined.dtype, outlined.quantised_source) == (real.name, "F32", real.quantised_source)
    written = {file.name for file in outlined.path.iterdir()}
    assert written == {file.name for file in real.path.iterdir()} - {"model.safetensors", "edgequant.json"}
    assert all((outlined.path / name).read_bytes() == (real.path / name).read_bytes() for name in written)


def on_the_hub(hub: fake_hub.Hub, patch: pytest.MonkeyPatch, cache: Path) -> None:
    for name, value in {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(cache)}.items():
        patch.setenv(name, value)


def test_of_a_model_on_the_hub_come_the_configuration_and_the_headers_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = open_folder(folder)
    with fake_hub.serve(folder, "owner/model") as hub:
        on_the_hub(hub, monkeypatch, tmp_path / "cache")
        found = open_outline("owner/model", workspace=tmp_path / "work")
        with pytest.raises(Error, match="nobody/none is no local path, and the Hub did not give its headers"):
            open_outline("nobody/none", workspace=tmp_path / "work")
    assert shapes(found) == shapes(whole) and found.config == whole.config
    assert (found.name, found.source, found.revision) == ("model", "owner/model", fake_hub.COMMIT)
    assert found.remote and [file.name for file in found.path.iterdir()] == ["config.json"]
    assert set(hub.whole) == {"config.json", "model.safetensors.index.json"}
    assert sorted(hub.in_part) == [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]


@pytest.mark.slow
def test_what_the_hub_has_no_headers_of_is_said(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    with fake_hub.serve(folder, "owner/model") as hub:
        on_the_hub(hub, monkeypatch, tmp_path / "cache")
        with pytest.raises(Error, match="holds no safetensors file") as caught:
            open_outline("owner/model", workspace=tmp_path / "work")
        (folder / "config.json").unlink()
        with pytest.raises(Error, match=r"has no config\.json"):
            open_outline("owner/model", workspace=tmp_path / "work")
    assert "name its folder" in caught.value.hint


@pytest.mark.slow
def test_pickles_are_mapped(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    folder = tmp_path / "pickled"
    folder.mkdir()
    weights = {f"w{i}": torch.zeros(3, 5, dtype=kind) for i, kind in enumerate((torch.bfloat16, torch.float32))}
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(small_checkpoint.CONFIG))
    found = open_outline(str(folder), workspace=tmp_path / "work")
    assert shapes(found) == {"w0": ((3, 5), "BF16", 30), "w1": ((3, 5), "F32", 60)}
    assert not list(found.path.glob("*.safetensors"))


def test_what_is_no_model_is_refused_as_ever(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(Error, match="a file of no kind"):
        open_outline(str(tmp_path / "file.txt"), workspace=tmp_path)
    with pytest.raises(Error, match="does not exist"):
        open_outline(str(tmp_path / "a" / "b" / "c"), workspace=tmp_path)
