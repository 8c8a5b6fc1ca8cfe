"""The weights of a checkpoint that is already quantised, each with its scales, as tensors of the shape they stand for.

Layouts: transformers' integrations/finegrained_fp8.py, fbgemm_fp8.py and mxfp4.py (weight * scale, blocks from the
matrix's first row and column on, the last ones cut short), compressed-tensors' compressors naive_quantized, mxfp4 and
mxfp8. What is there for activations and for the key/value cache alone is left out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil, prod

from .. import Error
from .quantisation_config import Scheme
from .safetensors_header import TensorInfo

_FLOAT8 = ("F8_E4M3", "F8_E5M2")
#: (ending of the packed weight, of its scales, of the name that the unquantised weight has)
_FOUR_BIT_NAMES = (("_blocks", "_scales", ""), (".weight_packed", ".weight_scale", ".weight"))
_FLOAT8_SCALES = ("_scale_inv", "_scale")  # both are factors, whatever the first is called
_ACTIVATIONS = (
    ".activation_scale",
    "_activation_scale",
    ".input_scale",
    ".input_scale_ub",
    ".input_zero_point",
    ".k_scale",
    ".output_scale",
    ".q_scale",
    ".v_scale",
    ".weight_zero_point",  # of symmetric weights, all zero; others are refused
)


@dataclass(frozen=True, kw_only=True)
class PackedTensor(TensorInfo):
    """A quantised weight: `shape` counts weights, `dtype` is "F8_E4M3", "F8_E5M2" or "MXFP4", `n_bytes` has the scales.

    Each `block` of rows and columns has a scale; blocks begin anew every `matrix_rows` rows.
    """

    scale: TensorInfo
    block: tuple[int, int]
    matrix_rows: int


def note(tensors: Iterable[TensorInfo], float_type: str) -> str:
    """What writing these weights in "F32", "F16" or "BF16" costs; "" where none of them is packed.

    MXFP4's values are multiples of half their scale, in 2 binary digits; bfloat16 has all of its exponents, float16's
    steps end at 2**-24.
    """
    found = sorted({tensor.dtype for tensor in tensors if isinstance(tensor, PackedTensor)})
    if not found:
        return ""
    if found == ["MXFP4"]:
        exact = "exact but for blocks with a scale below 2^-23" if float_type == "F16" else "exact"
        return f"dequantised from MXFP4 to {float_type}: {exact}"
    return f"dequantised from {' and '.join(found)} to {float_type}: each weight times its scale, rounded"


def with_scales(tensors: Mapping[str, TensorInfo], scheme: Scheme) -> dict[str, TensorInfo]:
    """The tensors with weights and scales put together, under the names that the unquantised checkpoint has.

    Raises `Error` for a weight without scales, and for scales that fit no block that the configuration names.
    """
    found: dict[str, TensorInfo] = {}
    taken: set[str] = set()
    for name, tensor in tensors.items():
        packed = _float8(tensor, tensors, scheme) if tensor.dtype in _FLOAT8 else _four_bits(tensor, tensors, scheme)
        if packed:
            found[packed.name] = packed
            taken |= {name, packed.scale.name}
    rest = {name: t for name, t in tensors.items() if name not in taken and not name.endswith(_ACTIVATIONS)}
    return {**rest, **found}


def _float8(tensor: TensorInfo, tensors: Mapping[str, TensorInfo], scheme: Scheme) -> PackedTensor:
    name = next((tensor.name + ending for ending in _FLOAT8_SCALES if tensor.name + ending in tensors), "")
    if not name:
        raise Error(f"the checkpoint lacks the scales of {tensor.name}", hint="download it again, whole")
    return _packed(tensor, tensors[name], scheme, name=tensor.name, dtype=tensor.dtype, shape=tensor.shape)


def _four_bits(tensor: TensorInfo, tensors: Mapping[str, TensorInfo], scheme: Scheme) -> PackedTensor | None:
    for weight, scales, plain in _FOUR_BIT_NAMES:
        if tensor.name.endswith(weight) and tensor.dtype == "U8":
            base = tensor.name.removesuffix(weight)
            if base + scales not in tensors:
                raise Error(f"the checkpoint lacks the scales of {tensor.name}", hint="download it again, whole")
            *rows, row_bytes = tensor.shape if plain else (*tensor.shape[:-2], prod(tensor.shape[-2:]))
            shape = (*rows, 2 * row_bytes)
            return _packed(tensor, tensors[base + scales], scheme, name=base + plain, dtype="MXFP4", shape=shape)
    return None


def _packed(
    tensor: TensorInfo, scale: TensorInfo, scheme: Scheme, *, name: str, dtype: str, shape: tuple[int, ...]
) -> PackedTensor:
    block, matrix_rows = _block(name, shape, scale.shape, scheme)
    return PackedTensor(
        name=name,
        shape=shape,
        dtype=dtype,
        file=tensor.file,
        offset=tensor.offset,
        n_bytes=tensor.n_bytes + scale.n_bytes,
        scale=scale,
        block=block,
        matrix_rows=matrix_rows,
    )


def _block(name: str, shape: tuple[int, ...], scales: tuple[int, ...], scheme: Scheme) -> tuple[tuple[int, int], int]:
    """Rows and columns to a scale, and rows to a matrix: as the configuration says, else by rows or as a whole."""
    *stacked, n_rows, n_columns = (1, *shape) if len(shape) == 1 else shape
    all_rows = prod((*stacked, n_rows))
    if prod(scales) == 1:
        return (all_rows, n_columns), all_rows
    if scales == (all_rows,):
        return (1, n_columns), all_rows
    for rows, columns in (*scheme.blocks, (1, None), (None, None)):
        block = (rows or n_rows, columns or n_columns)
        if scales == (*stacked, ceil(n_rows / block[0]), ceil(n_columns / block[1])):
            return block, n_rows
    raise Error(
        f"the weight {name} has the shape {list(shape)} and its scales {list(scales)}, which fits no block of "
        f"{scheme.name}",
        hint="config.json's quantization_config does not belong to these weights",
    )
