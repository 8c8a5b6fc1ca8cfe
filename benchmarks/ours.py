"""This project's side: formats of SmolLM2-135M, each made when it is first asked for, and evaluated in processes."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import turns
from made import Made, make

from edgequant import child
from edgequant.accuracy import items
from edgequant.runtimes.session import Settings

CONTEXT = 2048  # tokens, as `edgequant evaluate` and `profile` take them on a machine without a profile
_SCRIPT = str(Path(__file__).with_name("own_accuracy.py"))


@dataclass(kw_only=True)
class Ours:
    """What the formats are made of, where, and how they are run."""

    checkpoint: Path
    folder: Path
    threads: int
    repack: bool = True
    made: dict[str, Path] = field(default_factory=dict)

    def artifact(self, name: str) -> Path:
        """The artifact of a format."""
        if name not in self.made:
            say(f"makes {name}")
            made = make(self.checkpoint, name, self.folder / "run")
            if not isinstance(made, Made):
                raise SystemExit(f"{name} was not made: {made}")
            self.made[name] = made.path
        return self.made[name]

    def prepare(self, target: Path, tasks: Sequence[str] = (), *, limit: int | None = None) -> None:
        """Tokenise the text, and the items of the tasks or of the suite `quick`."""
        job = {"folder": str(self.checkpoint), "text": str(items.TEXT_FILE), "context": CONTEXT, "target": str(target)}
        job |= {"tasks": list(tasks), "suite": "quick", "limit": limit}
        found = child.run("edgequant.accuracy.preparation:prepare", job).unwrap()
        if found["n_left_out"]:
            raise SystemExit(f"{found['n_left_out']} items are too long for {CONTEXT} tokens")

    def ask(self, do: str, name: str, *, exact: bool = False, **job: Any) -> dict[str, Any]:
        """What own_accuracy.py answers about a format."""
        return turns.ask([sys.executable, "-P", _SCRIPT], {"do": do, **self._opened(name, exact=exact), **job})

    def running_bytes(self, name: str) -> int:
        """Peak resident memory of running a format, as `edgequant profile` measures it."""
        job = {**self._opened(name), "n_prompt": 256, "n_generate": 32, "repetitions": 2, "seed": 0}
        samples = child.run("edgequant.profiles.measuring.speed:measure", job).unwrap()["samples"]
        return int(samples["peak_rss_bytes"][0])

    def _opened(self, name: str, *, exact: bool = False) -> dict[str, Any]:
        path = self.artifact(name)
        is_gguf = not path.is_dir()
        settings = Settings(threads=self.threads, context=CONTEXT, repack=self.repack or not is_gguf, exact=exact)
        return {"container": "gguf" if is_gguf else "onnx", "path": str(path), "settings": settings.to_json()}


def say(text: str) -> None:
    """Progress, beside the table."""
    print(text, file=sys.stderr, flush=True)
