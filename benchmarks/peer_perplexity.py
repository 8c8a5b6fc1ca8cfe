"""llama.cpp's llama-perplexity over the libllama that is installed: a file's divergence from another in two passes.

The first pass writes the base's log-probabilities of every scored position to a file, in 16 bits each; the second reads
them while it computes. Of a window of 512 tokens the positions from 256 on are scored, all but the last.
"""

import array
import re
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import llama_tools
from llama_tools import Tool

WINDOW_TOKENS, FIRST_SCORED = 512, 256
#: what common/arg.cpp does with these options; that file would bring most of `common` along
_MAIN = r"""
#include "arg.h"
#include "common.h"
#include "fit.h"
#include "log.h"
#include <fstream>
#include <iterator>
#include <string>

int llama_perplexity(int, char **);

static std::string text_of(const std::string & name) {
    std::ifstream file(name, std::ios::binary);
    std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    if (!text.empty() && text.back() == '\n') {
        text.pop_back();
    }
    return text;
}

bool common_params_parse(int n, char ** given, common_params & params, llama_example, void (*)(int, char **)) {
    for (int i = 1; i < n; i++) {
        const std::string name = given[i];
        if (name == "--kl-divergence") { params.kl_divergence = true; continue; }
        if (name == "--no-repack") { params.no_extra_bufts = true; continue; }
        if (++i == n) { return false; }
        const std::string value = given[i];
        if      (name == "-m")       { params.model.path = value; }
        else if (name == "-f")       { params.prompt = text_of(value); }
        else if (name == "-t")       { params.cpuparams.n_threads = std::stoi(value); }
        else if (name == "--chunks") { params.n_chunks = std::stoi(value); }
        else if (name == "--kl-divergence-base") { params.logits_file = value; }
        else { return false; }
    }
    params.cpuparams_batch = params.cpuparams;
    params.fit_params = false; // to the memory of a GPU
    return true;
}

// The table of memory at the end, which would want JSON.
void common_memory_breakdown_print(const llama_context *) {}

int main(int n, char ** given) {
    const int code = llama_perplexity(n, given);
    common_log_flush(common_log_main());
    return code;
}
"""
TOOL = Tool(
    name="llama-perplexity",
    sources=(
        "tools/perplexity/perplexity.cpp",
        "common/common.cpp",
        "common/log.cpp",
        "common/sampling.cpp",
    ),
    main=_MAIN,
)
_MEAN = re.compile(r"^Mean\s+KLD:\s+(\S+)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Perplexity:
    """The program, and how it is run."""

    program: Path
    threads: int
    repack: bool = True

    def base(self, model: Path, text: Path, target: Path, *, n_windows: int) -> float:
        """Write the log-probabilities of a model on the text's first windows; returns the seconds."""
        asked = ["-f", str(text), "--chunks", str(n_windows), "--kl-divergence-base", str(target)]
        return self._run(model, asked)[0]

    def divergence(self, model: Path, base: Path) -> tuple[float, float]:
        """The seconds, and the mean KL divergence of another model from the base, in nats."""
        seconds, said = self._run(model, ["--kl-divergence-base", str(base), "--kl-divergence"])
        found = _MEAN.search(said)
        if not found:
            raise SystemExit(f"llama-perplexity told no divergence:\n{said[-2000:]}")
        return seconds, float(found[1])

    def _run(self, model: Path, asked: list[str]) -> tuple[float, str]:
        command = [str(self.program), "-m", str(model), "-t", str(self.threads), *asked]
        started = time.perf_counter()
        done = subprocess.run(
            [*command, *([] if self.repack else ["--no-repack"])], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"llama-perplexity failed ({done.returncode}):\n{done.stderr[-2000:]}")
        return time.perf_counter() - started, done.stdout


def build(cache: Path, *, threads: int, repack: bool) -> Perplexity:
    """The program in `cache`, built unless it is there."""
    return Perplexity(program=llama_tools.program(TOOL, cache), threads=threads, repack=repack)


def windows(base: Path) -> list[list[int]]:
    """The windows of tokens that a base file was computed on."""
    with base.open("rb") as stream:
        if stream.read(8) != b"_logits_":
            raise SystemExit(f"{base} is no file of log-probabilities")
        size, _, n_windows = struct.unpack("=3i", stream.read(12))
        tokens = array.array("i", stream.read(4 * size * n_windows)).tolist()
    return [tokens[i : i + size] for i in range(0, len(tokens), size)]
