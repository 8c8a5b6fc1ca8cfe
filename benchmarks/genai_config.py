"""genai_config.json as `edgequant export --to onnxruntime-genai` writes it, tried with the package itself.

Every ONNX format of the pocket model (or of the runs that are named) is exported and run by onnxruntime-genai with
nothing but the folder; its greedy tokens are compared with those of this project's own session.

    .venv/bin/python benchmarks/genai_config.py [--run RUN]... [--venv FOLDER]
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import genai_environment
import made
import turns

from edgequant.convert.vocabulary.tokenizer import Tokenizer
from edgequant.export.shipping.genai import write_genai
from edgequant.export.shipping.shipment import Shipment, gather
from edgequant.profiles.records.run_folder import RunFolder
from edgequant.runtimes.session import Prompt, Settings, open_session

POCKET = Path(__file__).parent.parent / "tests" / "pocket" / "model"
FORMATS = ("onnx-fp32", "onnx-int8", "onnx-int4", "onnx-w8a8")
QUESTIONS = ("What is 3 plus 4?", "What colour is the sky?", "Count to three.", "Hello!")
N_TOKENS = 32


def main() -> None:
    """Print a line a format: how many of the tokens are the same, and whether the package reads the conversation so."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, action="append", default=[])
    parser.add_argument("--venv", type=Path)
    given = parser.parse_args()
    interpreter = genai_environment.python(genai_environment.find(given.venv))
    with tempfile.TemporaryDirectory() as work:
        runs = given.run or [_pocket(Path(work))]
        wrong = [line for run in runs for line in _tried(run, interpreter, Path(work))]
    if any(wrong):
        sys.exit("the tokens part")


def _pocket(work: Path) -> Path:
    for name in FORMATS:
        done = made.make(POCKET, name, work / "pocket")
        if isinstance(done, str):
            sys.exit(f"{name} was not made: {done}")
    return work / "pocket"


def _tried(run: Path, interpreter: str, work: Path) -> Iterator[bool]:
    """For each ONNX format of the run whether tokens part, printed."""
    revision = RunFolder(run).open()["checkpoint"]["revision"]
    for artifact in RunFolder(run).made(revision=revision):
        if artifact.container == "onnx":
            shipment = gather(run, artifact.format)
            folder = work / f"{run.name}-{artifact.format}"
            write_genai(shipment, folder)
            yield _compared(shipment, folder, interpreter)


def _compared(shipment: Shipment, folder: Path, interpreter: str) -> bool:
    tokenizer = Tokenizer(folder)
    messages = [[{"role": "user", "content": question}] for question in QUESTIONS]
    prompts = [tokenizer.encode(tokenizer.render(each)) for each in messages]
    job = {"path": str(folder), "prompts": prompts, "n": N_TOKENS, "messages": messages[0]}
    theirs = turns.ask([interpreter, "-P", str(Path(__file__).with_name("genai_answers.py"))], job)
    ends = tokenizer.files.end_ids
    session = open_session("onnx", shipment.artifact.path, Settings(threads=1, context=512))
    ours = session.generate([Prompt(token_ids=ids, max_tokens=N_TOKENS, end_ids=ends) for ids in prompts])
    session.close()
    same = [[token for token in b if token not in ends] == a for a, b in zip(ours, theirs["tokens"], strict=True)]
    read = theirs["conversation"]
    said = "the same tokens of a conversation" if read == prompts[0] else f"a conversation otherwise: {str(read)[:60]}"
    n_tokens = sum(map(len, ours))
    print(f"{shipment.artifact.checkpoint} {shipment.format}: {sum(same)} of {len(same)} answers the same, "
          f"{n_tokens} tokens; {said}")  # fmt: skip
    return not all(same)


if __name__ == "__main__":
    main()
