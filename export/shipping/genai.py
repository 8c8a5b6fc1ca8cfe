"""`onnxruntime-genai`: genai_config.json beside an ONNX artifact, so that Microsoft's own loop runs it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import Error
from ...convert.architectures.geometry import Geometry, geometry
from ...convert.fused.graph import MODEL_FILE, SHARED_BUFFER
from ...convert.onnx_header import OnnxHeader, read_header
from ...convert.vocabulary.tokenizer import read_files
from ...runtimes.talking.sampling import asked
from .folder import TEMPLATE, licence_files
from .generation import generation_config
from .shipment import Shipment
from .written import Files, Written, write

CONFIG = "genai_config.json"
#: model types that onnxruntime-genai 0.18 knows; all decoders are run in one way, so that others go by the first
_KNOWN = ("llama", "mistral", "granite", "smollm3", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "olmo",
          "phi", "gpt2", "nemotron", "internlm2")  # fmt: skip
_OPTIONAL_INPUTS = ("attention_mask", "position_ids")


def write_genai(shipment: Shipment, folder: Path) -> Written:
    """The artifact's files and genai_config.json. `Error` for GGUF."""
    if shipment.artifact.container != "onnx":
        raise Error(f"onnxruntime-genai runs ONNX, and {shipment.format} is a GGUF", hint="name an ONNX format")
    text = json.dumps(config(shipment), indent=2) + "\n"
    files: Files = {**shipment.files(), **_template(shipment), CONFIG: text.encode(), **licence_files(shipment)}
    sizes = write(shipment, folder, files, target="onnxruntime-genai")
    return Written(
        target="onnxruntime-genai",
        format=shipment.format,
        folder=str(folder),
        files=sizes,
        next_steps=(f"in Python: onnxruntime_genai.Model({str(folder)!r})",),
    )


def config(shipment: Shipment) -> dict[str, Any]:
    """genai_config.json (onnxruntime.ai/docs/genai/reference/config): names, sizes, ends, and how to search."""
    checkpoint = shipment.origin.checkpoint
    header, sizes = read_header(Path(shipment.artifact.path) / MODEL_FILE), geometry(checkpoint)
    files = read_files(Path(shipment.artifact.path))
    special = files.special_ids
    ends = list(files.end_ids)
    model_type = str(checkpoint.config.get("model_type", ""))
    return {
        "model": {
            "type": model_type if model_type in _KNOWN else _KNOWN[0],
            "bos_token_id": special.get("bos", ends[0] if ends else 0),
            "eos_token_id": ends[0] if len(ends) == 1 else ends,
            "pad_token_id": special.get("pad", ends[0] if ends else 0),
            "context_length": sizes.context,
            "vocab_size": sizes.vocabulary,
            "decoder": _decoder(header, sizes),
        },
        "search": _search(header, sizes, generation_config(checkpoint.path)),
    }


def _decoder(header: OnnxHeader, sizes: Geometry) -> dict[str, Any]:
    used = {name for node in header.nodes for name in node.inputs}
    named = ("input_ids", *(name for name in _OPTIONAL_INPUTS if name in used))
    return {
        "filename": MODEL_FILE,
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "head_size": sizes.head_dim,
        "hidden_size": sizes.hidden,
        "num_attention_heads": sizes.n_heads,
        "num_hidden_layers": sizes.n_layers,
        "num_key_value_heads": sizes.n_kv_heads,
        "inputs": {
            **{name: name for name in named},
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
    }


def _search(header: OnnxHeader, sizes: Geometry, generation: Mapping[str, Any]) -> dict[str, Any]:
    """Greedy, unless generation_config.json asks for a draw; as many tokens as the model takes."""
    said = asked(generation)
    return {
        "do_sample": said.temperature > 0,
        "temperature": said.temperature or 1.0,
        "top_k": said.top_k or 1,
        "top_p": said.top_p,
        "repetition_penalty": said.repetition_penalty,
        "min_length": 0,
        "max_length": sizes.context,
        "num_beams": 1,
        "num_return_sequences": 1,
        "past_present_share_buffer": header.metadata.get(SHARED_BUFFER) == "true",
    }


def _template(shipment: Shipment) -> dict[str, bytes]:
    """The chat template as a file of its own, which is what the package looks for first."""
    folder = Path(shipment.artifact.path)
    template = read_files(folder).chat_template
    return {} if template is None or (folder / TEMPLATE).is_file() else {TEMPLATE: template.encode()}
