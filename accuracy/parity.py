"""Parity of an artifact with the checkpoint it came from: the same tokens, and logits as transformers computes them."""

import json
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .. import Error, child
from ..convert import llama_vocabulary
from ..convert.artifact import Artifact
from ..convert.checkpoint import Checkpoint
from ..convert.vocabulary.tokenizer import Tokenizer
from ..runtimes.fence import Fence
from ..runtimes.session import Settings, open_session
from . import items
from .divergence import log_softmax

#: mean KL divergence in nats that rounding to a float type may cost; a wrong rotary base or swapped rows cost 0.1 up
ALLOWED_DIVERGENCE = {"F32": 1e-5, "onnx-fp32": 1e-5, "F16": 1e-3, "BF16": 1e-2}
N_TOKENS = 256
#: what tokenizers get wrong: spaces, digits, marks that combine, scripts, code, special tokens inside a text
STRINGS = (
    "",
    " ",
    "  two  spaces  ",
    "\t tab\tand \r\n line ends\n\n\n three",
    "Hello, world! It's we're they'll I'd don't DON'T",
    "2024-05-17, 3.14159, 1,000,000, 0x7fff, 12345678901234567890, 1/2",
    "def f(x):\n    return x ** 2  # comment\n\n\tif (a != b) { c += d; }",
    "https://example.org/a?b=c&d=%20e#f user@example.org",
    "Größe, façade, niño, Łódź, İstanbul, naïve, cafe\u0301",
    "Съешь ещё этих мягких булок. Ελληνικά. עברית. العربية هنا",
    "今日は良い天気です。 你好，世界！ 한국어 문장입니다.",
    "हिन्दी में लिखा हुआ वाक्य ไทยภาษา",
    "😀 👨\u200d👩\u200d👧 🇩🇪 ✓ → ½ ² № ™ \u00a0nbsp \u200bzero",
    "<|im_start|>user\nhi<|im_end|> <s>x</s> <|endoftext|>",
    "ALLCAPS lower CamelCase snake_case kebab-case 'quoted' \"double\" (paren) [x] {y} …",
    "a" * 200 + " " * 50 + "!" * 20,
)


def checkpoint_logits(job: Mapping[str, Any], progress: Callable[[str], None]) -> None:
    """Write transformers' float32 logits [n, vocabulary] for `job["tokens"]` to the .npy file `job["target"]`.

    Needs the extra `convert`, and four bytes of memory a weight.
    """
    try:
        import torch
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise Error(f"not checked: {error}", hint='pip install "edgequant[convert]"') from None
    import numpy as np

    progress("transformers computes the checkpoint's logits")
    torch.set_num_threads(job["threads"])
    model = AutoModelForCausalLM.from_pretrained(
        job["folder"], dtype=torch.float32, attn_implementation="eager", local_files_only=True, trust_remote_code=False
    )
    with torch.inference_mode():
        logits = model(torch.tensor([job["tokens"]])).logits[0]
    np.save(job["target"], logits.numpy())


def compare_logits(job: Mapping[str, Any]) -> dict[str, float]:
    """Compare an artifact's logits with the checkpoint's (`job["logits"]`) on the same tokens, at full precision.

    Returns the mean KL divergence (nats), the share of equal top tokens, and the largest difference of two logits
    relative to the range of the checkpoint's.
    """
    import numpy as np

    theirs = np.load(job["logits"])
    session = open_session(job["container"], job["path"], Settings(**job["settings"]))
    ours = session.evaluate(job["tokens"], logits="all")
    log_p, log_q = log_softmax(theirs), log_softmax(ours)
    divergence = np.einsum("ij,ij->i", np.exp(log_p), log_p - log_q)
    return {
        "kl_divergence": float(np.maximum(0.0, divergence.mean())),  # unlike max(), keeps a NaN: no parity
        "same_top_token": float((theirs.argmax(axis=-1) == ours.argmax(axis=-1)).mean()),
        "largest_difference": float(np.abs(theirs - ours).max() / (theirs.max() - theirs.min())),
    }


def compare_tokens(job: Mapping[str, Any]) -> str:
    """The first string that a GGUF's own tokenizer cuts otherwise than the checkpoint's; "" where they agree.

    llama.cpp aborts the process on a vocabulary that it cannot work with: behind the fence.
    """
    tokenizer = Tokenizer(Path(job["folder"]))
    texts = [unicodedata.normalize("NFC", text) for text in STRINGS] if _normalises(tokenizer) else STRINGS
    for text, ours in zip(texts, llama_vocabulary.tokenize(job["path"], texts), strict=True):
        theirs = tokenizer.encode(text)
        if ours != theirs:
            return f"{text!r}: {ours} instead of {theirs}"
    return ""


def _normalises(tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer composes marks and letters first, as Qwen's do: llama.cpp leaves that to the caller."""
    return '"NFC"' in json.dumps(tokenizer.files.tokenizer.get("normalizer"))


class Gate:
    """Checks artifacts of one checkpoint; the checkpoint's own logits are computed once, when first needed."""

    def __init__(self, checkpoint: Checkpoint, *, scratch: Path, threads: int) -> None:
        self._checkpoint = checkpoint
        self._scratch = scratch
        self._threads = threads
        self._reference: child.Outcome | None = None

    @staticmethod
    def applies(artifact: Artifact) -> bool:
        """Whether anything of the artifact can be checked: a GGUF's tokens, an unquantised one's logits."""
        return artifact.container == "gguf" or artifact.format in ALLOWED_DIVERGENCE

    def check(self, artifact: Artifact, *, progress: child.Progress | None = None) -> dict[str, str]:
        """What was checked -> "passed: ...", "failed: ..." or "not checked: ..."."""
        checks = {"tokenizer": self._tokens(artifact)} if artifact.container == "gguf" else {}
        if artifact.format in ALLOWED_DIVERGENCE:
            checks["logits"] = self._logits(artifact, progress)
        return checks

    def _tokens(self, artifact: Artifact) -> str:
        job = {"path": artifact.path, "folder": str(self._checkpoint.path)}
        outcome = child.run(f"{__name__}:compare_tokens", job)
        if outcome.status != "ok":
            return f"failed: {outcome.note}"
        return f"failed: {outcome.value}" if outcome.value else f"passed: {len(STRINGS)} strings"

    def _logits(self, artifact: Artifact, progress: child.Progress | None) -> str:
        reference = self._reference = self._reference or self._compute(progress)
        if reference.status != "ok":
            return f"not checked: {reference.note}"
        job = {
            "container": artifact.container,
            "path": artifact.path,
            "logits": str(self._file),
            "tokens": self._sample(),
        }
        settings = Settings(threads=self._threads, context=N_TOKENS, exact=True)
        outcome, _ = Fence().run(f"{__name__}:compare_logits", job, settings=settings, progress=progress)
        if outcome.status != "ok":
            return f"failed: {outcome.note}"
        divergence = outcome.value["kl_divergence"]
        said = f"mean divergence {divergence:.1e} nats to the checkpoint in transformers, {len(job['tokens'])} tokens"
        allowed = ALLOWED_DIVERGENCE[artifact.format]
        return f"passed: {said}" if divergence <= allowed else f"failed: {said}; {allowed:.0e} is allowed"

    def _compute(self, progress: child.Progress | None) -> child.Outcome:
        self._scratch.mkdir(parents=True, exist_ok=True)
        job = {
            "folder": str(self._checkpoint.path),
            "tokens": self._sample(),
            "target": str(self._file),
            "threads": self._threads,
        }
        return child.run(f"{__name__}:checkpoint_logits", job, progress=progress)

    @property
    def _file(self) -> Path:
        return self._scratch / "checkpoint-logits.npy"

    def _sample(self) -> list[int]:
        tokenizer = Tokenizer(self._checkpoint.path)
        text = items.TEXT_FILE.read_text(encoding="utf-8")
        return [*tokenizer.begin(), *tokenizer.encode(text[: 8 * N_TOKENS])][:N_TOKENS]
