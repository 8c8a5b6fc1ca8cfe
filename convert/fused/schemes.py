"""Which products a format has, and what a calibration text has to say for some of them."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..calibration.observed import Observed, gram, span
from ..checkpoint import Checkpoint
from ..formats import Format, find
from ..onnx_options import OnnxOptions, from_job
from .blocked import Blocked
from .blocks import Packed, k_quant, nearest
from .feedback import Feedback, feedback, gptq
from .products import FLOAT, Scheme
from .rounded import ByTensor, ByToken, Static

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

Observe = Callable[[Callable[..., Any]], Any]  # how to gather -> what is observed: `of(product)`


def scheme(job: Mapping[str, Any], checkpoint: Checkpoint, progress: Callable[[str], None]) -> Scheme:
    """The scheme of `job["format"]` under `job["options"]`; a calibrated one reads the text as layers ask for it."""

    def observe(gather: Callable[..., Any]) -> Observed[Any]:
        return Observed(checkpoint, job, gather, progress)

    return products(find(job["format"]), from_job(job["options"]), observe)


def products(fmt: Format, options: OnnxOptions, observe: "Observe") -> Scheme:
    """The scheme of a format; `observe` is asked where a text has to say something."""
    if fmt.name == "onnx-fp32":
        return FLOAT
    shared = _eight_bits(options, observe)  # embedding and head of every quantised format
    layers = _LAYERS[fmt.smoothed or fmt.name](options, observe)
    plain = options.plain_head and fmt.rounds_activations
    head = ByToken(options=options) if plain else shared
    return Scheme(layers=layers.product, head=head.product, embedding=shared.embedding)


def _eight_bits(options: OnnxOptions, _: Observe) -> Blocked:
    size = options.block_size
    return Blocked(bits=8, size=size, pack=lambda _, rows: nearest(rows, size=size, bits=8))


def _four_bits(options: OnnxOptions, _: Observe) -> Blocked:
    size = options.block_size
    return Blocked(bits=4, size=size, pack=lambda _, rows: k_quant(rows, size=size))


def _four_bits_nearest(options: OnnxOptions, _: Observe) -> Blocked:
    size = options.block_size
    return Blocked(bits=4, size=size, pack=lambda _, rows: nearest(rows, size=size, bits=4))


def _four_bits_gptq(options: OnnxOptions, observe: Observe) -> Blocked:
    observed, known = observe(gram), dict[str, Feedback]()

    def pack(name: str, rows: "Floats") -> Packed:
        if name not in known:
            known.clear()  # a matrix comes in several blocks of rows, and once
            known[name] = feedback(observed.of(name))
        return gptq(rows, known[name], size=options.block_size)

    return Blocked(bits=4, size=options.block_size, pack=pack)


def _by_token(options: OnnxOptions, _: Observe) -> ByToken:
    return ByToken(options=options)


def _by_tensor(options: OnnxOptions, _: Observe) -> ByTensor:
    return ByTensor(options=options)


def _static(options: OnnxOptions, observe: Observe) -> Static:
    return Static(options=options, range_of=observe(span).of)


_LAYERS: Mapping[str, Callable[[OnnxOptions, Observe], Blocked | ByToken | ByTensor | Static]] = {
    "onnx-int8": _eight_bits,
    "onnx-int4": _four_bits,
    "onnx-int4-rtn": _four_bits_nearest,
    "onnx-int4-gptq": _four_bits_gptq,
    "onnx-w8a8": _by_token,
    "onnx-int8-dynamic": _by_tensor,
    "onnx-int8-static": _static,
}
