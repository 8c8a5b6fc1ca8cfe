"""The textbook path: Optimum's export and dynamic int8, run by ORTModelForCausalLM.

python -P peer_optimum.py CHECKPOINT FOLDER   makes FOLDER
python -P peer_optimum.py                     is a worker
"""

import logging
import platform
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))  # behind all else: onnx.py here must not stand in for the package

from engine import serve

_QUANTISED = "model_quantized.onnx"


def make(checkpoint: Path, folder: Path) -> None:
    """Export in float32 and quantise with a scale a channel, for VNNI on x86 and as Optimum has it for ARM."""
    from optimum.exporters.onnx import main_export
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    x86 = platform.machine() in ("x86_64", "AMD64")
    kind = AutoQuantizationConfig.avx512_vnni if x86 else AutoQuantizationConfig.arm64
    with tempfile.TemporaryDirectory(dir=folder.parent) as plain:
        task = "text-generation-with-past"
        main_export(str(checkpoint), plain, task=task, dtype="fp32", local_files_only=True, do_validation=False)
        quantiser = ORTQuantizer.from_pretrained(plain, file_name="model.onnx")
        quantiser.quantize(save_dir=folder, quantization_config=kind(is_static=False, per_channel=True))


class OptimumEngine:
    """The model's forward pass, token by token: less work than its `generate` does."""

    def __init__(self, job: dict[str, Any]) -> None:
        import onnxruntime
        import torch
        from optimum.onnxruntime import ORTModelForCausalLM

        torch.set_num_threads(1)  # it only carries values
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = job["settings"]["threads"]
        options.log_severity_level = 3  # errors only
        self._torch = torch
        self._model = ORTModelForCausalLM.from_pretrained(
            job["path"], file_name=_QUANTISED, session_options=options, local_files_only=True
        )
        self.reset()

    def reset(self) -> None:
        """See `Engine.reset`."""
        self._past, self._n = None, 0

    def extend(self, ids: Sequence[int]) -> None:
        """See `Engine.extend`."""
        self._forward(ids)

    def follow(self, ids: Sequence[int]) -> None:
        """See `Engine.follow`."""
        for token in ids:
            self._forward([token])[0, -1].argmax()

    def logits(self, ids: Sequence[int]) -> Any:
        """See `Engine.logits`."""
        self.reset()
        return self._forward(ids)[0].numpy()

    def _forward(self, ids: Sequence[int]) -> Any:
        self._n += len(ids)
        tokens, mask = self._torch.tensor([ids]), self._torch.ones((1, self._n), dtype=self._torch.int64)
        with self._torch.inference_mode():
            out = self._model(input_ids=tokens, attention_mask=mask, past_key_values=self._past, use_cache=True)
        self._past = out.past_key_values
        return out.logits


if __name__ == "__main__":
    if len(sys.argv) > 1:
        make(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        serve(OptimumEngine)
