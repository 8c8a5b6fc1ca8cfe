"""Unpacking what somebody else packed: only plain files, only below the folder, only what was bundled."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgequant import Error
from edgequant.export import unpack
from edgequant.export.unpack import is_bundle, unpacked

FILES = {"bundle.json": b"{}", "artifacts/a.gguf": b"weights"}


def sums(files: dict[str, bytes]) -> bytes:
    """SHA256SUMS of files."""
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()).encode()


def tar(path: Path, *entries: tuple[tarfile.TarInfo, bytes], mode: str = "w", files: dict[str, bytes] = FILES) -> Path:
    """A bundle of `files`, and further entries after them."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for entry, data in (*plain({"SHA256SUMS": sums(files), **files}), *entries):
            archive.addfile(entry, io.BytesIO(data))
    return path


def plain(files: dict[str, bytes], root: str = "b/") -> list[tuple[tarfile.TarInfo, bytes]]:
    """Entries of plain files."""
    return [(info(f"{root}{name}", size=len(data)), data) for name, data in files.items()]


def info(name: str, **values: object) -> tarfile.TarInfo:
    """One entry's header."""
    entry = tarfile.TarInfo(name)
    for key, value in values.items():
        setattr(entry, key, value)
    return entry


def test_it_is_unpacked_beside_the_tar(tmp_path: Path) -> None:
    folder = unpacked(tar(tmp_path / "some.tar"))
    assert folder == tmp_path / "some"
    assert (folder / "artifacts" / "a.gguf").read_bytes() == b"weights"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["some", "some.tar"]


def test_it_is_unpacked_where_one_says(tmp_path: Path) -> None:
    assert unpacked(tar(tmp_path / "some.tar"), out=tmp_path / "deep" / "there") == tmp_path / "deep" / "there"
    assert (tmp_path / "deep" / "there" / "bundle.json").read_bytes() == b"{}"


def test_it_is_unpacked_and_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tar(tmp_path / "some.tar")
    unpacked(path)

    def again(*given: object) -> None:
        raise AssertionError("done twice")

    monkeypatch.setattr(unpack, "_extract", again)
    monkeypatch.setattr(unpack, "_digest", again)
    assert unpacked(path) == unpacked(tmp_path / "some") == tmp_path / "some"


def test_what_tar_itself_unpacked_is_taken(tmp_path: Path) -> None:
    path = tar(tmp_path / "b.tar")
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    assert unpacked(path) == tmp_path / "b" == unpacked(tmp_path / "b")


@pytest.mark.parametrize("change", [b"weightz", b"weight", b""], ids=["changed", "shorter", "empty"])
def test_a_file_that_changed_since_is_named(change: bytes, tmp_path: Path) -> None:
    path = tar(tmp_path / "some.tar")
    file = unpacked(path) / "artifacts" / "a.gguf"
    file.write_bytes(change)
    with pytest.raises(Error, match=r"a\.gguf is not what was bundled"):
        unpacked(path)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    path = tar(tmp_path / "some.tar")
    (unpacked(path) / "artifacts" / "a.gguf").unlink()
    with pytest.raises(Error, match=r"a\.gguf is missing"):
        unpacked(path)


def test_sums_that_do_not_fit_are_found(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        for entry, data in plain({"SHA256SUMS": sums({**FILES, "bundle.json": b"other"}), **FILES}):
            archive.addfile(entry, io.BytesIO(data))
    with pytest.raises(Error, match=r"bundle\.json is not what was bundled"):
        unpacked(tmp_path / "b.tar")


@pytest.mark.parametrize(
    "line", ["no sum", f"{'0' * 64}  /etc/passwd", f"{'0' * 64}  ../x", f"{'0' * 63}  bundle.json"]
)
def test_a_line_that_is_no_sum(line: str, tmp_path: Path) -> None:
    folder = unpacked(tar(tmp_path / "b.tar"))
    (folder / "SHA256SUMS").write_text(line + "\n")
    with pytest.raises(Error, match="holds a line that is no sum"):
        unpacked(folder)


def test_another_bundle_does_not_replace_one(tmp_path: Path) -> None:
    unpacked(tar(tmp_path / "b.tar"))
    tar(tmp_path / "b.tar", files={**FILES, "artifacts/b.gguf": b"more"})
    with pytest.raises(Error, match="holds something else than") as raised:
        unpacked(tmp_path / "b.tar")
    assert "--out" in raised.value.hint


def test_a_folder_of_ones_own_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("mine")
    with pytest.raises(Error, match="holds something else than"):
        unpacked(tar(tmp_path / "b.tar"))
    assert (tmp_path / "b" / "thesis.txt").read_text() == "mine"


def link(kind: bytes, name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    """An entry that is a link."""
    return info(name, type=kind, linkname=target), b""


HOSTILE: dict[str, tuple[tuple[tarfile.TarInfo, bytes], str]] = {
    "link out": (link(tarfile.SYMTYPE, "b/x", "/etc/passwd"), "is no plain file"),
    "link in": (link(tarfile.SYMTYPE, "b/x", "bundle.json"), "is no plain file"),
    "hard link": (link(tarfile.LNKTYPE, "b/x", "b/bundle.json"), "is no plain file"),
    "device": ((info("b/x", type=tarfile.CHRTYPE), b""), "is no plain file"),
    "pipe": ((info("b/x", type=tarfile.FIFOTYPE), b""), "is no plain file"),
    "folder": ((info("b/x", type=tarfile.DIRTYPE), b""), "is no plain file"),
    "absolute": ((info("/tmp/x", size=1), b"x"), "lies outside its folder"),
    "above": ((info("b/../../x", size=1), b"x"), "lies outside its folder"),
    "another folder": ((info("c/x", size=1), b"x"), "lies outside its folder"),
    "no folder": ((info("x", size=1), b"x"), "lies outside its folder"),
    "twice": ((info("b/bundle.json", size=1), b"x"), "holds a file twice"),
}


@pytest.mark.parametrize("filtered", [True, False], ids=["filter", "without"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_entries_are_refused(
    kind: str, filtered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not filtered:
        monkeypatch.delattr(tarfile, "data_filter")
    entry, said = HOSTILE[kind]
    with pytest.raises(Error, match=said):
        unpacked(tar(tmp_path / "b.tar", entry))
    assert list(tmp_path.iterdir()) == [tmp_path / "b.tar"]


def test_a_tar_that_states_more_than_it_holds(tmp_path: Path) -> None:
    """A terabyte in a header costs nothing; what is read must lie in the file."""
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        for entry, data in plain({"SHA256SUMS": sums(FILES), **FILES}):
            archive.addfile(entry, io.BytesIO(data))
    bytes_ = bytearray((tmp_path / "b.tar").read_bytes().rstrip(b"\0"))
    header = info("b/huge", size=2**40).tobuf(tarfile.GNU_FORMAT)
    size = -len(bytes_) % 512
    (tmp_path / "b.tar").write_bytes(bytes(bytes_) + bytes(size) + header)
    with pytest.raises(Error, match=r"cut off|cannot be unpacked"):
        unpacked(tmp_path / "b.tar")
    assert not (tmp_path / "b").exists()


def test_sizes_add_up_to_no_more_than_the_tar(tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_bytes(bytes(1000))
    unpack.check([info("b/x", size=400), info("b/y", size=600)], tmp_path / "b.tar")
    with pytest.raises(Error, match="states sizes that it does not hold"):
        unpack.check([info("b/x", size=400), info("b/y", size=601)], tmp_path / "b.tar")


def sparse(path: Path) -> Path:
    """A tar in which a file of a few bytes claims to be a gigabyte of holes (GNU's old sparse format)."""
    entry = info("b/holes", size=0, type=tarfile.GNUTYPE_SPARSE)
    block = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    block[483:495] = b"%011o\0" % 2**30  # the real size (tar's header, struct oldgnu_header)
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    tar(path)
    data = path.read_bytes().rstrip(b"\0")
    path.write_bytes(data + bytes(-len(data) % 512) + bytes(block) + bytes(1024))
    return path


def compressed(path: Path) -> Path:
    return tar(path, mode="w:gz")


def without_sums(path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for entry, data in plain(FILES):
            archive.addfile(entry, io.BytesIO(data))
    return path


def cut_in_sums(path: Path) -> Path:
    """Within SHA256SUMS, which comes first."""
    data = tar(path).read_bytes()
    path.write_bytes(data[: 512 + 50])
    return path


def cut(path: Path) -> Path:
    """Between two files, where the tar itself does not show that more was to come."""
    data = tar(path).read_bytes()
    path.write_bytes(data[: 4 * 512])
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (compressed, "no tar file that can be read"),
        (without_sums, "is no bundle"),
        (sparse, "is no plain file"),
        (cut, r"a\.gguf is missing"),
        (cut_in_sums, "cannot be unpacked"),
    ],
)
def test_what_is_no_bundle(make: Callable[[Path], Path], said: str, tmp_path: Path) -> None:
    with pytest.raises(Error, match=said):
        unpacked(make(tmp_path / "b.tar"))
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("filtered", [True, False], ids=["filter", "without"])
def test_rights_are_tamed(filtered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11.2 has no filter: neither then does a file come out that runs as its owner, or that all may write."""
    if not filtered:
        monkeypatch.delattr(tarfile, "data_filter")
    script = b"#!/bin/sh\n"
    files = {**FILES, "install.sh": script}
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        for entry, data in plain({"SHA256SUMS": sums(files), **files}):
            entry.mode, entry.uid, entry.uname = 0o6777, 4242, "somebody"
            archive.addfile(entry, io.BytesIO(data))
    found = (unpacked(tmp_path / "b.tar") / "install.sh").stat()
    assert stat.S_IMODE(found.st_mode) == 0o755
    assert found.st_uid == os.getuid()


def test_what_is_a_bundle(tmp_path: Path) -> None:
    path = tar(tmp_path / "b.tar")
    assert is_bundle(path) and is_bundle(unpacked(path))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    assert not is_bundle(tmp_path / "run")
    assert not is_bundle(tmp_path / "run" / "run.json")
    assert not is_bundle(tmp_path / "nowhere")
