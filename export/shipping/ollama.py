"""`ollama`: a Modelfile beside the GGUF, for `ollama create`."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from ... import Error
from ...convert.gguf_header import read_header
from ...report.terminal import printable
from .comments import comment
from .folder import licence_files
from .generation import PENALISED, PENALTY, generation_config, stated, stop_texts
from .go_templates import Recognised, recognise
from .shipment import Shipment
from .written import Files, Written, write

MODELFILE = "Modelfile"
#: generation_config.json's names -> Ollama's (docs/modelfile.md, "Valid Parameters and Values")
_PARAMETERS = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    PENALTY: "repeat_penalty",
    PENALISED: "repeat_last_n",
}
_LEFT_TO_OLLAMA = "Ollama goes by the template in the GGUF, or by one of its own that it takes for the same"


def write_ollama(shipment: Shipment, folder: Path) -> Written:
    """A Modelfile with FROM, PARAMETERs, a TEMPLATE where one is proven, and the licence. `Error` for ONNX."""
    if shipment.artifact.container != "gguf":
        raise Error(f"Ollama runs GGUF files, and {shipment.format} is ONNX", hint="name a GGUF format")
    if len(shipment.files()) > 1:
        raise Error("Ollama takes no GGUF in shards", hint="convert it in one file: without --split-max-size")
    found = recognise(shipment.origin.checkpoint.path)
    text, notes = modelfile(shipment, found)
    files: Files = {MODELFILE: text.encode(errors="backslashreplace"), **shipment.files(), **licence_files(shipment)}
    sizes = write(shipment, folder, files, target="ollama")
    name = shipment.name.lower()
    steps = (f"cd {shlex.quote(str(folder))}", f"ollama create {name}", f"ollama run {name}")
    return Written(
        target="ollama", format=shipment.format, folder=str(folder), files=sizes, notes=notes, next_steps=steps
    )


def modelfile(shipment: Shipment, found: Recognised) -> tuple[str, tuple[str, ...]]:
    """The Modelfile, and what is to be known of it."""
    adds_bos = _adds_bos(Path(shipment.artifact.path))
    template, said = _template(found, adds_bos=adds_bos)
    parameters, left_out = _parameters(shipment)
    lines = [
        *comment(f"{shipment.artifact.checkpoint}, {shipment.format}, exported by edgequant"),
        f"FROM ./{shipment.main_file}",
        "",
        *parameters,
        "",
        *(line for sentence in said for line in comment(sentence)),
        *([f'TEMPLATE """{template}"""'] if template else []),
        *_licence(shipment),
    ]
    return "\n".join(lines) + "\n", (*said, *left_out)


def _template(found: Recognised, *, adds_bos: bool) -> tuple[str, list[str]]:
    """The Go template, "" for none, and the sentences about it."""
    if found.family is None:
        return "", [f"No TEMPLATE: {found.why}. {_LEFT_TO_OLLAMA}."]
    if found.family.writes_bos and not adds_bos:
        why = "the checkpoint's chat template begins with BOS, which the GGUF does not let Ollama add"
        return "", [f"No TEMPLATE: {why}. {_LEFT_TO_OLLAMA}."]
    said = [f"TEMPLATE: {found.family.name}, which writes what the checkpoint's own does."]
    if found.refuses:
        said.append("The checkpoint's template refuses system messages; this one leaves them out.")
    if adds_bos and not found.family.writes_bos:
        said.append("Ollama puts BOS before it, for the GGUF says so; the checkpoint's template does not.")
    return found.family.go, said


def _adds_bos(path: Path) -> bool:
    """Whether llama.cpp, and so Ollama, puts BOS before a text: as the file says, else as SentencePiece has it.

    Source of the default: llama_vocab::impl::load in src/llama-vocab.cpp.
    """
    metadata = read_header(path).metadata
    return bool(metadata.get("tokenizer.ggml.add_bos_token", metadata.get("tokenizer.ggml.model") == "llama"))


def _parameters(shipment: Shipment) -> tuple[list[str], list[str]]:
    """PARAMETER lines, and sentences about stop tokens that a Modelfile cannot hold."""
    ends = stop_texts(shipment.origin.checkpoint.path)
    stops = [text for text in ends if _quotable(text)]
    said = [f"a stop token cannot be written in a Modelfile: {printable(text)}" for text in ends if text not in stops]
    lines = [f"PARAMETER num_ctx {shipment.described['context']}"]
    generation = generation_config(shipment.origin.checkpoint.path)
    lines += [f"PARAMETER {name} {value}" for name, value in stated(generation, _PARAMETERS)]
    lines += [f"PARAMETER stop {_quoted(text)}" for text in stops]
    return lines, said


def _quotable(text: str) -> bool:
    """Whether a Modelfile can hold it: its reader drops what is not printable, and knows no escapes."""
    return text.isprintable() and '"""' not in text and not text.endswith('"')


def _quoted(text: str) -> str:
    return f'"""{text}"""' if '"' in text else f'"{text}"'


def _licence(shipment: Shipment) -> Iterator[str]:
    """The licence's text; one that would end its own quotes lies in the folder alone."""
    for file in licence_files(shipment).values():
        text = file.read_text(encoding="utf-8", errors="replace").strip()
        if '"""' not in text and not text.endswith('"') and text:
            yield f'LICENSE """{text}"""'
