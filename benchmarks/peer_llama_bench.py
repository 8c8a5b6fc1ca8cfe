"""llama.cpp's llama-bench over the libllama that is installed."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import llama_tools
from llama_tools import Tool

TOOL = Tool(
    name="llama-bench",
    sources=("tools/llama-bench/llama-bench.cpp", "common/common.cpp", "common/log.cpp", "common/fit.cpp"),
    main="int llama_bench(int, char **);\nint main(int n, char ** given) { return llama_bench(n, given); }\n",
)


def program(cache: Path) -> Path:
    """llama-bench in `cache`, built unless it is there."""
    return llama_tools.program(TOOL, cache)


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """What both sides compute; lengths in tokens. Decode stands behind the prompt."""

    n_prompt: int
    n_generate: int
    repetitions: int
    threads: int


def speeds(bench: Path, model: Path, lengths: Lengths) -> dict[str, list[float]]:
    """Tokens per second: "prefill" of the prompt, and "decode" with the prompt in the cache (`-d`)."""
    common = [str(bench), "-m", str(model), "-t", str(lengths.threads), "-r", str(lengths.repetitions), "-o", "jsonl"]
    asked = {
        "prefill": ["-p", str(lengths.n_prompt), "-n", "0"],
        "decode": ["-p", "0", "-n", str(lengths.n_generate), "-d", str(lengths.n_prompt)],
    }
    found = {}
    for name, what in asked.items():
        done = subprocess.run([*common, *what], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"llama-bench failed ({done.returncode}):\n{done.stderr[-2000:]}")
        found[name] = json.loads(done.stdout.splitlines()[-1])["samples_ts"]
    return found
