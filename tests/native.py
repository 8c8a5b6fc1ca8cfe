"""What tests let native libraries do, each in a child: a library that aborts must not take the tests along."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from edgequant.convert import llama_vocabulary
from edgequant.runtimes import session
from edgequant.runtimes.session import Session, Settings


def _open(job: dict[str, Any]) -> Session:
    settings = Settings(threads=1, context=job.get("context", 256), repack=False, exact=job.get("exact", False))
    return session.open_session(job["container"], job["path"], settings)


def tokenise(job: dict[str, Any]) -> list[list[int]]:
    return llama_vocabulary.tokenize(job["path"], job["texts"])


def greedy(job: dict[str, Any]) -> list[int]:
    """The most likely continuation of `job["tokens"]`, `job["n"]` tokens long."""
    opened = _open(job)
    logits = opened.evaluate(job["tokens"], logits="last")
    ids: list[int] = []
    for _ in range(job["n"]):
        ids.append(int(logits.argmax()))
        logits = opened.evaluate(ids[-1:], logits="last")
    return ids


def greedy_by_transformers(job: dict[str, Any]) -> list[int]:
    """The same from transformers in float32, whatever would end an answer."""
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(job["folder"], dtype=torch.float32)
    ids: list[int] = []
    with torch.inference_mode():
        found = model(torch.tensor([job["tokens"]]), use_cache=True)
        while len(ids) < job["n"]:
            ids.append(int(found.logits[0, -1].argmax()))
            found = model(torch.tensor([ids[-1:]]), past_key_values=found.past_key_values, use_cache=True)
    return ids


def compare_ways(job: dict[str, Any]) -> dict[str, Any]:
    """The same logits in different ways; largest differences, relative to the largest logit."""
    import numpy as np

    tokens, opened = job["tokens"], _open(job)
    every = opened.evaluate(tokens, logits="all").copy()
    scale = float(np.abs(every).max())

    def off(a: Any, b: Any) -> float:
        return float(np.abs(a - b).max()) / scale

    opened.rewind(0)
    one_by_one = np.stack([opened.evaluate([token], logits="last").copy() for token in tokens])
    opened.rewind(0)
    at_once = opened.evaluate(tokens, logits="last").copy()
    half = len(tokens) // 2
    opened.rewind(half)
    kept = list(opened.tokens)
    rewound = opened.evaluate(tokens[half:], logits="all").copy()
    other = [*tokens[: half + 3], *reversed(tokens[half + 3 :])]
    before = len(opened.tokens)
    extended = session.extend_to(opened, other).copy()
    sequence = list(opened.tokens)
    same_again = session.extend_to(opened, other).copy()
    prefix = session.extend_to(opened, tokens[:5]).copy()
    opened.rewind(0)
    fresh = opened.evaluate(other, logits="last").copy()
    opened.close()
    return {
        "shape": every.shape,
        "dtype": str(every.dtype),
        "scale": scale,
        "n_vocab": opened.n_vocab,
        "spread": float(every.std()),
        "last row": off(at_once, every[-1]),
        "one by one": off(one_by_one, every),
        "rewound": off(rewound, every[half:]),
        "kept": kept == tokens[:half],
        "extended": off(extended, fresh),
        "same again": off(same_again, fresh),
        "prefix": off(prefix, every[4]),
        "differs": off(fresh, every[-1]),
        "sequence": before == len(tokens) and sequence == other,
    }


def evaluate(job: dict[str, Any]) -> list[float]:
    """Logits of `job["tokens"]`, in parts, after the last one."""
    opened = _open(job)
    return [float(opened.evaluate(part, logits=job.get("logits", "last")).max()) for part in job["parts"]]


def pieces(job: dict[str, Any]) -> list[float]:
    """Where "all" is asked for more tokens than one batch holds: the largest difference to smaller pieces."""
    import numpy as np

    opened, tokens = _open(job), job["tokens"]
    whole = opened.evaluate(tokens, logits="all").copy()
    last = whole[-1]
    opened.rewind(0)
    parts = np.concatenate(
        [opened.evaluate(tokens[i : i + 100], logits="all").copy() for i in range(0, len(tokens), 100)]
    )
    opened.rewind(0)
    at_once = opened.evaluate(tokens, logits="last")
    return [float(len(whole)), float(np.abs(whole - parts).max()), float(np.abs(at_once - last).max())]


def export_onnx(job: dict[str, Any]) -> None:
    from edgequant.convert import onnx_export

    onnx_export.export(job, lambda text: None)


def quantise_onnx(job: dict[str, Any]) -> None:
    from edgequant.convert import onnx_quantise

    onnx_quantise.quantise_dynamic(job, lambda text: None)


def files(job: dict[str, Any]) -> list[str]:
    return sorted(file.name for file in Path(job["path"]).iterdir())


def render(job: dict[str, Any]) -> str:
    from edgequant.convert.vocabulary.tokenizer import Tokenizer

    return Tokenizer(Path(job["folder"])).render([{"role": "user", "content": "Hi"}])


def together(job: dict[str, Any]) -> dict[str, Any]:
    """Trees and greedy answers computed side by side, in how many calls, and how far from those computed in turn."""
    settings = session.Settings(threads=1, context=1024, exact=True, sequences=job["sequences"])
    opened: Any = session.open_session(job["container"], job["path"], settings)
    calls: list[int] = []
    compute = opened._compute
    opened._compute = lambda batch, n: (calls.append(n), compute(batch, n))
    trees = [session.Tree(stem=stem, branches=branches) for stem, branches in job["trees"]]
    found = [_copied(grown) for grown in opened.grow(trees)]
    of_trees = len(calls)
    opened.rewind(0)
    expected = list(session.grow_in_turn(opened, trees))
    prompts = [session.Prompt(token_ids=ids, max_tokens=n, end_ids=job["end_ids"]) for ids, n in job["prompts"]]
    opened.rewind(0)
    calls.clear()
    answers = opened.generate(prompts)
    of_prompts = len(calls)
    opened.rewind(0)
    return {
        "calls": [of_trees, of_prompts],
        "shapes": [[list(rows.shape) for rows in tree.branches] for tree in found],
        "stem": max(float(abs(a.stem - b.stem).max()) for a, b in zip(found, expected, strict=True)),
        "branches": max(
            float(abs(a - b).max())
            for one, other in zip(found, expected, strict=True)
            for a, b in zip(one.branches, other.branches, strict=True)
            if a.size
        ),
        "answers": answers,
        "in_turn": session.generate_in_turn(opened, prompts),
    }


def _copied(grown: session.Grown) -> session.Grown:
    return session.Grown(stem=grown.stem.copy(), branches=[branch.copy() for branch in grown.branches])


def compare_logits(job: dict[str, Any]) -> list[Any]:
    """For each of `job["files"]` the largest difference to stored logits, relative to their range, or what failed.

    One child for many files: starting one takes longer than comparing.
    """
    import numpy as np

    from edgequant import Error

    found: list[Any] = []
    for file in job["files"]:
        theirs = np.load(file["logits"])[: len(file["tokens"])]
        settings = Settings(threads=1, context=file["context"], repack=False, exact=True)
        try:
            opened = session.open_session("gguf", file["path"], settings)
            ours = opened.evaluate(file["tokens"], logits="all")
            found.append(float(np.abs(theirs - ours).max() / (theirs.max() - theirs.min())))
            opened.close()
        except Error as error:
            found.append(str(error))
    return found


def compare_onnx(job: dict[str, Any]) -> list[Any]:
    """For each graph the largest differences to stored logits, relative to their range, or what failed."""
    return [_onnx_differences(graph) for graph in job["graphs"]]


def _onnx_differences(graph: dict[str, Any]) -> dict[str, float] | str:
    import numpy as np

    theirs, tokens = np.load(graph["logits"]), list(graph["tokens"])
    theirs = theirs.reshape(-1, theirs.shape[-1])
    tokens = tokens[: graph["context"]]
    theirs = theirs[: len(tokens)]
    try:
        opened = _open({"container": "onnx", "path": graph["path"], "context": graph["context"]})
        ways = {"whole": opened.evaluate(tokens, logits="all")}
        opened.rewind(0)
        ways["parts"] = np.concatenate(
            [opened.evaluate(tokens[n : n + 37], logits="all") for n in range(0, len(tokens), 37)]
        )
        opened.rewind(len(tokens) // 3)
        rest = tokens[len(tokens) // 3 :]
        ways["steps"] = np.concatenate(
            [ways["whole"][: len(tokens) // 3], [opened.evaluate([token], logits="last").copy() for token in rest]]
        )
        opened.rewind(5)
        opened.evaluate(tokens[5:], logits="last")
        opened.rewind(len(tokens) - 1)
        ways["rewound"] = np.concatenate([ways["whole"][:-1], [opened.evaluate(tokens[-1:], logits="last")]])
    except Exception as error:
        return str(error)
    scale = float(theirs.max() - theirs.min())
    return {way: float(np.abs(values - theirs).max()) / scale for way, values in ways.items()}


def heavy_imports_of_writing(job: dict[str, Any]) -> list[str]:
    """What writing a fused graph loads of what is slow to load."""
    import sys

    from edgequant.convert.fused.write import write

    write(job, lambda text: None)
    return sorted({"onnx", "optimum", "torch", "transformers"} & sys.modules.keys())


def writes_in_little_memory(job: dict[str, Any]) -> None:
    """Write a fused graph where hardly more memory can be had than is in use."""
    import resource

    import numpy as np
    import onnx

    from edgequant.convert.fused.write import write

    assert np and onnx
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    in_use = 1024 * int(status.partition("VmData:")[2].split()[0])
    resource.setrlimit(resource.RLIMIT_DATA, (in_use + 2**20, in_use + 2**20))
    write(job, lambda text: None)


def run_graph(job: dict[str, Any]) -> dict[str, Any]:
    """All outputs of an ONNX graph for float32 inputs."""
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(job["path"], providers=["CPUExecutionProvider"])
    given = {name: np.array(values, np.float32) for name, values in job["inputs"].items()}
    names = [value.name for value in session.get_outputs()]
    return {name: values.tolist() for name, values in zip(names, session.run(names, given), strict=True)}


def under_options(job: dict[str, Any]) -> dict[str, Any]:
    """Logits under each of `job["options"]` (name -> what differs), as largest distance to the plain ones.

    Relative to the largest logit; "mean KL divergence" likewise, and an `Error`'s text where the engine refuses.
    """
    import numpy as np

    from edgequant import Error
    from edgequant.accuracy.divergence import log_softmax

    tokens, plain = job["tokens"], Settings(threads=2, context=256, repack=False)
    opened = session.open_session(job["container"], job["path"], plain)
    expected = opened.evaluate(tokens, logits="all").copy()
    log_p = log_softmax(expected)
    found: dict[str, Any] = {}
    for name, changes in job["options"].items():
        try:
            opened = session.open_session(job["container"], job["path"], replace(plain, **changes))
            logits = opened.evaluate(tokens, logits="all")
        except Error as error:
            found[name] = [type(error).__name__, str(error), error.hint]
            continue
        divergence = float((np.exp(log_p) * (log_p - log_softmax(logits))).sum(axis=-1).mean())
        found[name] = [float(np.abs(logits - expected).max() / np.abs(expected).max()), divergence]
    return found


def several_users(job: dict[str, Any]) -> dict[str, Any]:
    """Logits of sequences taken further together, as largest distance to each taken alone, step by step."""
    import numpy as np

    settings = Settings(threads=2, context=128, repack=False, exact=True, batch=job.get("batch"))
    alone = session.open_session("gguf", job["path"], settings)
    steps = job["steps"]
    expected = []
    for user in range(len(steps[0])):
        alone.rewind(0)
        expected.append([alone.evaluate(step[user], logits="last").copy() for step in steps])
    opened = session.open_session("gguf", job["path"], replace(settings, users=len(steps[0])))
    together = [opened.extend_each(step).copy() for step in steps]
    opened.rewind_each(len(steps[0][0]))
    again = opened.extend_each(steps[1]).copy()
    scale = float(np.abs(np.array(expected)).max())
    return {
        "shape": list(together[0].shape),
        "together": float(np.abs(np.array(together).swapaxes(0, 1) - np.array(expected)).max() / scale),
        "rewound": float(np.abs(again - together[1]).max() / scale),
        "users differ": float(np.abs(together[0][0] - together[0][1]).max() / scale),
    }
