"""The model card of a shipment: README.md with the Hub's front matter, and the table that was measured.

Whatever comes from the checkpoint is data: quoted by the YAML library above, escaped as Markdown below.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ... import __version__
from ...convert.front_matter import read_front_matter, texts
from ...profiles.device import THIS_MACHINE
from ...report import columns
from ...report.columns import Column, Text
from ...report.markdown import escaped as escaped_markdown
from ...report.method import measured
from ...report.numbers import size
from ...report.rows import Row
from ...report.terminal import printable
from ...verify.gate import is_quantised
from .licensing import Licence, licence_of
from .shipment import Shipment

#: the Hub's own names in its filter of libraries (huggingface.co/docs/hub/gguf, /docs/hub/models-libraries)
_LIBRARIES = {"gguf": "gguf", "onnx": "onnx"}
_SHOWN = ("size", "bits", "memory", "prefill", "decode", "predicted_prefill", "predicted_decode", "divergence",
          "perplexity", "accuracy", "loss")  # fmt: skip
#: what of `measured` says something elsewhere; all else may name paths of this machine
_TOLD = ("model", "revision", "device", "machine", "settings", "emulation", "energy", "runtimes", "versions",
         "reference", "text", "items", "intervals")  # fmt: skip
_MOST_TAGS = 30
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*|multilingual|code")
_TASK = re.compile(r"[a-z]+(?:-[a-z0-9]+)*")


def escaped(text: object) -> str:
    """Text from outside as Markdown that shows it as it is, control characters replaced."""
    return escaped_markdown(printable(str(text)))


def licence_in(shipment: Shipment) -> Licence:
    """The licence of the checkpoint that the shipment came from."""
    papers = shipment.origin.papers
    return licence_of(read_front_matter(papers / "README.md"), papers)


def card(shipment: Shipment, files: Mapping[str, int]) -> str:
    """README.md of a folder with these files (name -> bytes)."""
    blocks = [_title(shipment), *_measured(shipment), _files(shipment, files), *_use(shipment), _licence(shipment)]
    return _front(front_matter(shipment)) + "\n" + "\n\n".join(block for block in blocks if block) + "\n"


def front_matter(shipment: Shipment) -> dict[str, Any]:
    """The fields of the Hub's model cards, as far as they are known."""
    given = read_front_matter(shipment.origin.papers / "README.md")
    licence = licence_in(shipment)
    own = licence.hub_id == "other"
    relation = "quantized" if is_quantised(shipment.artifact) or shipment.row.is_source else ""
    fields = {
        "base_model": shipment.base_model,
        "base_model_relation": relation if shipment.base_model else "",
        "license": licence.hub_id,
        "license_name": _identifier(licence.name) if own else "",
        "license_link": licence.link or (licence.files[0].name if own and licence.files else ""),
        "language": [each for each in texts(given.get("language")) if _LANGUAGE.fullmatch(each)],
        "pipeline_tag": next(filter(_TASK.fullmatch, texts(given.get("pipeline_tag"))), "text-generation"),
        "library_name": _LIBRARIES[shipment.artifact.container],
        "tags": _tags(shipment, texts(given.get("tags"))),
    }
    return {key: value for key, value in fields.items() if value}


def _identifier(name: str) -> str:
    """A licence's own name as the Hub takes it: small letters, digits, dots and dashes."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")


def _tags(shipment: Shipment, given: Sequence[str]) -> list[str]:
    own = [shipment.artifact.container, *(["quantized"] if is_quantised(shipment.artifact) else []), "edgequant"]
    kept = [tag for tag in given if tag.lower() not in ("transformers", "safetensors", "pytorch")]
    return list(dict.fromkeys([*own, shipment.format, *kept]))[:_MOST_TAGS]


def _front(fields: Mapping[str, Any]) -> str:
    import yaml

    written = yaml.safe_dump(dict(fields), allow_unicode=True, sort_keys=False, width=2**20)
    return f"---\n{written}---\n"


def _title(shipment: Shipment) -> str:
    kind = "GGUF" if shipment.artifact.container == "gguf" else "ONNX"
    name, answer = escaped(shipment.artifact.checkpoint), shipment.report.answer
    base = f" of [{escaped(shipment.base_model)}](https://huggingface.co/{shipment.base_model})"
    origin = base if _is_hub_id(shipment.base_model) else ""
    made = "as it came: a quantised file" if shipment.row.is_source else f"made by edgequant {__version__}"
    said = f"# {name}, {escaped(shipment.format)} ({kind})\n\n{escaped(shipment.format)}{origin}, {made}."
    picked = f" {escaped(answer.detail)}" if shipment.artifact.format == answer.pick else ""
    return said + picked


def _is_hub_id(text: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", text))


def _measured(shipment: Shipment) -> Iterator[str]:
    report = shipment.report
    shown = [column for column in columns.told(report.rows) if column.key in _SHOWN]
    on = escaped(report.device.title.removeprefix(THIS_MACHINE))
    yield f"## What was measured\n\nOn {on}; intervals are 95 %."
    yield _table(shipment, shown)
    yield "\n".join(f"- {escaped(mark.code)}: {escaped(mark.sentence)}" for mark in shipment.row.marks)
    yield "\n".join(f"- {column.title}: {escaped(column.meaning)}" for column in shown)
    yield "\n".join(f"- {escaped(note)}" for note in report.context.notes)
    facts = dict(measured(report)) | {"device": measured(report)["device"].removeprefix(THIS_MACHINE)}
    told = {name: text for name, text in facts.items() if name in _TOLD}
    yield "What every number depends on:\n\n" + "\n".join(
        f"- {escaped(name)}: {escaped(text)}" for name, text in told.items()
    )
    checks = shipment.artifact.checks
    if checks:
        yield "How this file was checked against the checkpoint:\n\n" + "\n".join(
            f"- {escaped(name)}: {escaped(said)}" for name, said in checks.items()
        )


def _table(shipment: Shipment, shown: Sequence[Column]) -> str:
    lines = [["Format", *(column.title for column in shown)]]
    for row in shipment.report.rows:
        cells = [_cell(column.text(row)) for column in shown]
        lines.append([_name(shipment, row), *cells])
    head, *body = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([head, "|---|" + "---:|" * len(shown), *body])


def _name(shipment: Shipment, row: Row) -> str:
    is_source = row.is_source and row.format == shipment.artifact.format
    name = escaped(shipment.format if is_source else row.format)
    return f"**{name}** (this one)" if row.format == shipment.artifact.format else name


def _cell(text: Text) -> str:
    detail = "" if text.missing or not text.detail else f" ({escaped(text.detail)})"
    return f"{escaped(text.main)}{detail}"


def _files(shipment: Shipment, files: Mapping[str, int]) -> str:
    rows = [f"| {escaped(name)} | {size(n_bytes)} |" for name, n_bytes in files.items()]
    return "\n".join(["## Files", "", "| File | Size |", "|---|---:|", *rows])


def _use(shipment: Shipment) -> Iterator[str]:
    yield "## How to use it"
    if shipment.artifact.container == "gguf":
        lines = [f"llama-cli --model {shipment.main_file}", f"edgequant chat {shipment.main_file}"]
    else:
        lines = ["edgequant chat ."]
    yield "\n".join(["```sh", *lines, "```"])


def _licence(shipment: Shipment) -> str:
    licence = licence_in(shipment)
    if not licence.title and not licence.files:
        return "## Licence\n\nNothing in the checkpoint says under which licence it may be used."
    named = f": {escaped(licence.title)}" if licence.title else ""
    texts_in = ", ".join(escaped(file.name) for file in licence.files)
    where = f"; its text is in {texts_in}" if texts_in else ""
    return f"## Licence\n\nThat of the checkpoint{named}{where}."
