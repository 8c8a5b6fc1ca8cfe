"""The values of a graph's tensors, read from where they lie, a large one as a view that is not read as a whole."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import Error
from .onnx_header import OnnxHeader, OnnxTensor, Place

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HINT = "make or copy it again"


class OnnxValues:
    """Tensors of the graph `file` by their names."""

    def __init__(self, file: Path, header: OnnxHeader) -> None:
        self._file = file
        self.tensors = {tensor.name: tensor for tensor in header.tensors}

    def __contains__(self, name: str) -> bool:
        """Whether a tensor of this name is there."""
        return name in self.tensors

    def __getitem__(self, name: str) -> "NDArray[Any]":
        """A tensor in its own type and shape, which must not be written to; `Error` where its data is not all there."""
        import numpy as np

        tensor = self.tensors[name]
        place, dtype = self._place(tensor), np.dtype(tensor.type)
        file = self._beside(tensor, place.beside) if place.beside else self._file
        if place.offset < 0 or place.offset + place.n_bytes > file.stat().st_size:
            raise Error(f"{file.name} ends before the data of {name}, or it begins nowhere", hint=_HINT)
        if place.varints:
            return _whole_numbers(file, place).astype(dtype).reshape(tensor.shape)
        if place.n_bytes != tensor.n_bytes:
            raise Error(f"{name} has {place.n_bytes} bytes of data, its shape takes {tensor.n_bytes}", hint=_HINT)
        mapped = np.memmap(file, dtype, "r", offset=place.offset, shape=(tensor.n_elements,))
        return np.asarray(mapped).reshape(tensor.shape)

    def _place(self, tensor: OnnxTensor) -> Place:
        place = tensor.place
        if place is None or tensor.bits % 8:
            raise Error(f"the data of {tensor.name} is stored in a way that is not known here", hint=_HINT)
        return place if place.n_bytes >= 0 else Place(**{**vars(place), "n_bytes": tensor.n_bytes})

    def _beside(self, tensor: OnnxTensor, name: str) -> Path:
        file = self._file.parent / name
        if Path(name).name != name or not file.is_file():
            raise Error(f"{name}, which is to hold the data of {tensor.name}, is no file beside the graph", hint=_HINT)
        return file


def _whole_numbers(file: Path, place: Place) -> "NDArray[Any]":
    """Numbers of seven bits a byte, the last byte of each below 128 (protobuf's varints, negative ones in ten)."""
    import numpy as np

    with file.open("rb") as stream:
        stream.seek(place.offset)
        data = stream.read(place.n_bytes)
    values, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            values.append(value - 2**64 if value >= 2**63 else value)
            value = shift = 0
    return np.array(values, np.int64)
