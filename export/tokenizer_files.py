"""A checkpoint's tokenizer as files that the tokenizers library alone reads: no sentencepiece, no transformers."""

import json
from pathlib import Path

from ..convert.vocabulary.tokenizer import read_files

_BESIDE = (
    "config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "additional_chat_templates/*.jinja",
)
_OF_A_MACHINE = ("_name_or_path", "name_or_path")  # where the checkpoint lay when somebody saved it


def tokenizer_files(folder: Path) -> dict[str, bytes]:
    """Name -> content; tokenizer.json is made where the checkpoint has an older form of it. `Error` for none."""
    files = read_files(folder)
    whole = files.path.read_bytes() if files.path else json.dumps(files.tokenizer, ensure_ascii=False).encode()
    found = [file for pattern in _BESIDE for file in sorted(folder.glob(pattern)) if file.is_file()]
    return {
        "tokenizer.json": whole,
        **{file.relative_to(folder).as_posix(): _impersonal(file) for file in found},
    }


def _impersonal(file: Path) -> bytes:
    """The file as it is, without the keys that name a place on somebody's disk."""
    content = file.read_bytes()
    values = json.loads(content) if file.suffix == ".json" else {}
    if not any(key in values for key in _OF_A_MACHINE):
        return content
    kept = {key: value for key, value in values.items() if key not in _OF_A_MACHINE}
    return (json.dumps(kept, indent=2, ensure_ascii=False) + "\n").encode()
