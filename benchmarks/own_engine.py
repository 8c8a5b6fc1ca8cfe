"""A worker for the engines of this project: llama.cpp and ONNX Runtime behind `edgequant.runtimes`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgequant.runtimes.session import Settings, open_session

sys.path.append(str(Path(__file__).parent))  # behind all else: onnx.py here must not stand in for the package

from engine import serve


class OwnEngine:
    """A session under the settings that the job names."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._session = open_session(job["container"], job["path"], Settings(**job["settings"]))

    def reset(self) -> None:
        """See `Engine.reset`."""
        self._session.rewind(0)

    def extend(self, ids: Sequence[int]) -> None:
        """See `Engine.extend`."""
        self._session.evaluate(ids, logits="last")

    def follow(self, ids: Sequence[int]) -> None:
        """See `Engine.follow`."""
        for token in ids:
            self._session.evaluate([token], logits="last").argmax()

    def logits(self, ids: Sequence[int]) -> Any:
        """See `Engine.logits`."""
        self._session.rewind(0)
        return self._session.evaluate(ids, logits="all")


if __name__ == "__main__":
    serve(OwnEngine)
