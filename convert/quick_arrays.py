"""The gguf package's writer with arrays packed at once: it packs one by one, half a second for 150,000 tokens."""

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gguf import GGUFWriter

_SHORT = 64  # elements; shorter arrays are left to the package


def quick_writer(path: Path, architecture: str) -> "GGUFWriter":
    """A writer of a GGUF file that packs long lists of strings, 32-bit integers and floats in one go.

    It replaces a method that the package keeps to itself; where a later version does not call that any more, its own
    does the same, more slowly.
    """
    from gguf import GGUFValueType, GGUFWriter

    letters = {GGUFValueType.INT32: "i", GGUFValueType.UINT32: "I", GGUFValueType.FLOAT32: "f"}

    class QuickWriter(GGUFWriter):
        def _pack_val(self, val: Any, vtype: Any, add_vtype: bool, sub_type: Any = None) -> bytes:
            if vtype is not GGUFValueType.ARRAY or not isinstance(val, list) or len(val) <= _SHORT:
                return super()._pack_val(val, vtype, add_vtype, sub_type)
            kind = sub_type or GGUFValueType.get_type(val[0])
            alike = len({type(each) for each in val}) == 1
            if not alike or (kind not in letters and not isinstance(val[0], str)):
                return super()._pack_val(val, vtype, add_vtype, sub_type)
            head = (struct.pack("<I", vtype) if add_vtype else b"") + struct.pack("<IQ", kind, len(val))
            if kind in letters:
                return head + struct.pack(f"<{len(val)}{letters[kind]}", *val)
            encoded = (text.encode() for text in val)
            return head + b"".join(part for text in encoded for part in (len(text).to_bytes(8, "little"), text))

    return QuickWriter(path, architecture)
