"""What the command line's options are: the kinds of their values, and those that several commands share."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from . import completing

F = TypeVar("F", bound=Callable[..., Any])
_UNITS = {"": 1, "B": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


class Bytes(click.ParamType[float]):
    """A size such as 2GB, 700MB, 1.5GiB or plain bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Bytes as a number."""
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]?I?)B?\s*", str(value).upper())
        if not match or match[2] not in _UNITS:
            self.fail(f"{value!r} is no size; write 2GB, 700MB or 1.5GiB", param, ctx)
        return float(match[1]) * _UNITS[match[2]]


class Limit(Bytes):
    """As `Bytes`, in whole bytes and more than none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Whole bytes."""
        n_bytes = int(super().convert(value, param, ctx))
        if not n_bytes and value:
            self.fail(f"{value!r} leaves no room for anything", param, ctx)
        return n_bytes


class Percent(click.ParamType[float]):
    """Percentage points such as 1% or 0.5."""

    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Percentage points as a number."""
        try:
            return float(str(value).strip().removesuffix("%"))
        except ValueError:
            self.fail(f"{value!r} is no percentage; write 1% or 0.5", param, ctx)


class Counts(click.ParamType[list[int]]):
    """Whole numbers separated by commas, such as 0,1024,4096."""

    name = "numbers"

    def __init__(self, *, least: int = 1) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        """The numbers, each once."""
        words = [word.strip() for word in str(value).split(",")]
        if not all(word.isdecimal() and int(word) >= self.least for word in words):
            self.fail(f"{value!r} is no list of numbers from {self.least}; write 1 or 1,2,4", param, ctx)
        return list(dict.fromkeys(map(int, words)))


class Duration(click.ParamType[float]):
    """A time such as 90s, 10m or 1h."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds as a number."""
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh])\s*", str(value))
        if not match or not float(match[1]):
            self.fail(f"{value!r} is no time; write 90s, 10m or 1h", param, ctx)
        return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, in this order."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


json_option = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON, for programs.")
model_argument = click.argument("model", shell_complete=completing.models)
run_argument = click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
formats_option = click.option(
    "--formats", metavar="LIST", shell_complete=completing.formats, help="Formats to make, separated by commas."
)
device_option = click.option(
    "--device",
    shell_complete=completing.devices,
    help="Device profile or a .toml file; see `devices` [this machine].",
)
context_option = click.option("--context", type=click.IntRange(min=128), help="Context in tokens [the device's].")
out_option = click.option("--out", type=click.Path(path_type=Path), help="Folder of the run [runs/NAME].")
unpack_option = click.option(
    "--out", type=click.Path(path_type=Path), help="Of a bundle: the folder to unpack it into [beside it]."
)
tasks_option = together(
    click.option(
        "--task",
        "--tasks",
        "tasks",
        multiple=True,
        shell_complete=completing.tasks,
        help="A built-in task, a .jsonl file, or a public set, as NAME or NAME=FILE; may be repeated [a suite].",
    ),
    click.option(
        "--suite",
        type=click.Choice(["quick", "compact", "paper"]),
        help="Of the built-in tasks 20 items of each kind, or all; or thirteen public sets [quick].",
    ),
    click.option("--limit", metavar="N", type=click.IntRange(min=1), help="At most N items of each task."),
    click.option(
        "--judge", metavar="URL", default="", help="OpenAI-compatible endpoint that rates dialogues [agreement alone]."
    ),
    click.option("--judge-model", metavar="NAME", default="", help="The judge's name there [the endpoint's own]."),
)
no_verify_option = click.option(
    "--no-verify", is_flag=True, help="Do not check artifacts against the checkpoint; the report says so."
)
converter_option = click.option(
    "--converter",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="A checkout of llama.cpp, whose own converter then takes what ours refuses.",
)
making_options = together(
    converter_option,
    no_verify_option,
    click.option("--keep-intermediate", is_flag=True, help="Keep formats that were only made to make others."),
    click.option(
        "--split-max-size",
        "split_max_bytes",
        metavar="SIZE",
        type=Limit(),
        default=0,
        help="Cut GGUF files into shards of at most this, such as 2GB.",
    ),
    click.option("--allow-nan", is_flag=True, help="Convert weights that are no finite numbers, too."),
)
onnx_options = together(
    click.option("--block-size", type=int, default=32, show_default=True, help="ONNX: weights that share a scale."),
    click.option(
        "--per-channel/--per-tensor",
        default=True,
        show_default=True,
        help="ONNX: a scale for each output channel of an int8 matrix, or one for all.",
    ),
    click.option(
        "--calibration",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="ONNX: a text to observe activations on [a built-in one].",
    ),
    click.option(
        "--smooth", is_flag=True, help="ONNX: also make formats that round activations from a smoothed checkpoint."
    ),
)
limit_options = together(
    click.option("--max-memory", type=Bytes(), help="Largest peak RSS, such as 2GB [the device's usable memory]."),
    click.option("--max-size", type=Bytes(), help="Largest file, such as 700MB."),
    click.option("--min-decode", type=click.FloatRange(min=0), help="Slowest decode, in tokens/s."),
    click.option("--min-prefill", type=click.FloatRange(min=0), help="Slowest prefill, in tokens/s."),
    click.option("--max-loss", type=Percent(), help="Largest loss of accuracy, in percentage points."),
    click.option(
        "--prefer",
        type=click.Choice(["quality", "speed", "size"]),
        default="quality",
        show_default=True,
        help="What decides among the formats within the limits.",
    ),
)
