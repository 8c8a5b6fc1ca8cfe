"""Logits on the same tokens from transformers and from a runtime, and how far they lie apart."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import Error
from ..accuracy import items
from ..accuracy.divergence import log_softmax
from ..convert.vocabulary.tokenizer import Tokenizer
from ..runtimes.session import Settings, open_session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

Progress = Callable[[str], None]

N_TOKENS = 256
_ROWS_AT_ONCE = 32


def sample(folder: Path, *, context: int = N_TOKENS) -> list[int]:
    """The first tokens of the built-in text, begun as the model expects; `N_TOKENS`, or as many as it can hold."""
    tokenizer = Tokenizer(folder)
    text = items.TEXT_FILE.read_text(encoding="utf-8")
    return [*tokenizer.begin(), *tokenizer.encode(text[: 8 * N_TOKENS])][: min(N_TOKENS, context)]


def checkpoint_logits(job: Mapping[str, Any], progress: Progress) -> None:
    """Write transformers' float32 logits [n, vocabulary] for `job["tokens"]` to the .npy file `job["target"]`.

    Needs the extra `convert`, and four bytes of memory a weight.
    """
    torch, transformers = libraries()
    progress("transformers computes the checkpoint's logits")
    torch.set_num_threads(job["threads"])
    model = transformers.AutoModelForCausalLM.from_pretrained(
        job["folder"], dtype=torch.float32, attn_implementation="eager", local_files_only=True, trust_remote_code=False
    )
    save(model, job, torch)


def libraries() -> tuple[Any, Any]:
    """torch and transformers; `Error` where one is missing."""
    try:
        import torch
        import transformers
    except ImportError as error:
        raise Error(f"{error}", hint='pip install "edgequant[convert]"') from None
    return torch, transformers


def save(model: Any, job: Mapping[str, Any], torch: Any) -> None:
    """Compute `job["tokens"]` and write the logits to `job["target"]`."""
    import numpy as np

    with torch.inference_mode():
        logits = model(torch.tensor([job["tokens"]]), use_cache=False).logits[0]
    np.save(job["target"], logits.float().numpy())


def artifact_logits(job: Mapping[str, Any]) -> None:
    """Write the logits [n, vocabulary] that a runtime computes for `job["tokens"]` to the .npy file `job["target"]`."""
    import numpy as np

    np.save(job["target"], _computed(job))


def _computed(job: Mapping[str, Any]) -> "Floats":
    session = open_session(job["container"], job["path"], Settings(**job["settings"]))
    return session.evaluate(job["tokens"], logits="all")


def compare_logits(job: Mapping[str, Any]) -> dict[str, Any]:
    """Compare an artifact's logits with those in `job["logits"]` on the same tokens, at full precision.

    Returns the KL divergence (nats) of each token and its mean, the share of equal top tokens, and the largest
    difference of two logits relative to the range of those in the file.
    """
    import numpy as np

    theirs, ours = np.load(job["logits"], mmap_mode="r"), _computed(job)
    width = min(theirs.shape[1], ours.shape[1])  # a runtime may have the rows that only pad the embedding
    theirs, ours = theirs[:, :width], ours[:, :width]
    divergences: list[float] = []
    for start in range(0, len(theirs), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        log_p, log_q = log_softmax(theirs[rows]), log_softmax(ours[rows])
        divergences += np.einsum("ij,ij->i", np.exp(log_p), log_p - log_q).tolist()
    return {
        "divergences": divergences,
        "kl_divergence": float(np.maximum(0.0, np.mean(divergences))),  # unlike max(), keeps a NaN: no parity
        "same_top_token": float((theirs.argmax(axis=-1) == ours.argmax(axis=-1)).mean()),
        "largest_difference": float(np.abs(theirs - ours).max() / (theirs.max() - theirs.min())),
    }
