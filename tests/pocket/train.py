"""Trains the pocket model from nothing and writes tests/pocket/model, or with --small a smaller one beside it.

Run as `python tests/pocket/train.py [--small]`.  The text, the tokeniser, the order of
the batches and the first weights all come from fixed seeds.
"""

from __future__ import annotations

import argparse
import logging
import math
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import torch
from corpus import EOS, TURN_END, Document, documents, drill_documents, polish_documents, text_of
from evaluate import report_accuracy
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from vocabulary import CONTEXT_LENGTH, VOCABULARY_SIZE, learn_tokenizer

HERE = Path(__file__).parent

THREADS = 2
TRAINING_SEED = 31
TOKENIZER_SAMPLE = 30_000  # documents
BATCH_TOKENS = 2048
ROW_LENGTHS = (128, CONTEXT_LENGTH)  # taken in turn: short rows teach openings, long ones reach
LIGHT_WEIGHT = 0.1  # of a question's token in the loss; an answer's token weighs 1
MATRIX_RATE = 4e-3  # peak, for Muon
OTHER_RATE = 2e-3  # peak, for AdamW
FINAL_RATE_SHARE = 0.02
WARM_UP_STEPS = 100
WEIGHT_DECAY = 0.1
BETAS = (0.9, 0.98)
GRADIENT_LIMIT = 1.0
LOG_EVERY = 100  # steps

Encoded = tuple[list[int], list[float]]  # token ids, and each one's weight in the loss
Batch = tuple[Tensor, Tensor]  # the same as int64 and float32, rows x row length

COURSES: tuple[tuple[Callable[[], Iterator[Document]], int, float], ...] = (
    (documents, 2, 1.0),  # text, epochs, and the peak of the learning rates as a share of that above
    (drill_documents, 1, 1.0),
    (polish_documents, 1, 0.5),
)

logger = logging.getLogger("pocket.train")


#: folder of the model -> its shape
SHAPES = {
    "model": {  # every row is a multiple of 256 long
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
    },
    "small": {
        "hidden_size": 160,
        "intermediate_size": 320,
        "num_hidden_layers": 4,
        "num_attention_heads": 5,
        "num_key_value_heads": 1,
        "head_dim": 32,
    },
}


def model_config(tokenizer: PreTrainedTokenizerFast, shape: str) -> LlamaConfig:
    """A Llama of one of the shapes."""
    return LlamaConfig(
        vocab_size=VOCABULARY_SIZE,
        **SHAPES[shape],
        max_position_embeddings=CONTEXT_LENGTH,
        rope_theta=10_000.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def encode_all(corpus: list[Document], tokenizer: PreTrainedTokenizerFast) -> list[Encoded]:
    """Every document as tokens and weights, closed by the end-of-text token."""
    segments = [segment for document in corpus for segment in document]
    encodings = iter(tokenizer([text for text, _ in segments])["input_ids"])
    end = int(tokenizer.pad_token_id)
    encoded: list[Encoded] = []
    for document in corpus:
        tokens: list[int] = []
        weights: list[float] = []
        for (_, in_full), piece in zip(document, encodings, strict=False):
            tokens += piece
            weights += [1.0 if in_full else LIGHT_WEIGHT] * len(piece)
        encoded.append(([*tokens, end], [*weights, LIGHT_WEIGHT]))
    return encoded


def pack_rows(encoded: list[Encoded], length: int, bos: int, pad: int) -> Iterator[Encoded]:
    """Rows of exactly `length` tokens, each opening with a document; every other row has BOS.

    A document that is longer than a row loses its end.
    """
    row: Encoded = ([], [])
    with_bos = False
    for document, document_weights in encoded:
        tokens, weights = document[: length - 1], document_weights[: length - 1]
        if len(row[0]) + len(tokens) > length:
            missing = length - len(row[0])
            yield row[0] + [pad] * missing, row[1] + [0.0] * missing
            with_bos = not with_bos
            row = ([bos], [0.0]) if with_bos else ([], [])
        row = (row[0] + tokens, row[1] + weights)


def batches(encoded: list[Encoded], bos: int, pad: int, rng: random.Random) -> Iterator[Batch]:
    """One epoch: each document once, in shuffled order, in rows of both lengths by turns."""
    shuffled = rng.sample(encoded, len(encoded))
    streams = []
    for index, length in enumerate(ROW_LENGTHS):
        rows = pack_rows(shuffled[index :: len(ROW_LENGTHS)], length, bos, pad)
        streams.append((rows, BATCH_TOKENS // length))
    while True:
        for rows, height in streams:
            taken = list(islice(rows, height))
            if len(taken) < height:
                return
            yield torch.tensor([row[0] for row in taken]), torch.tensor([row[1] for row in taken])


def rate_share(step: int, steps: int) -> float:
    """The learning rate at a step as a share of its peak: warm-up, then half a cosine."""
    if step < WARM_UP_STEPS:
        return (step + 1) / WARM_UP_STEPS
    progress = (step - WARM_UP_STEPS) / max(1, steps - WARM_UP_STEPS)
    fall = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return FINAL_RATE_SHARE + (1.0 - FINAL_RATE_SHARE) * fall


def make_optimizers(model: LlamaForCausalLM, peak: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the embedding and the gains."""
    layered = [p for p in model.model.layers.parameters() if p.dim() == 2]
    taken = {id(p) for p in layered}
    others = [p for p in model.parameters() if id(p) not in taken]
    return [
        torch.optim.Muon(layered, lr=peak * MATRIX_RATE, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=peak * OTHER_RATE, betas=BETAS, weight_decay=0.0),
    ]


def batch_loss(model: LlamaForCausalLM, batch: Batch) -> Tensor:
    """The weighted mean of the next tokens' negative log-likelihood, in nats."""
    tokens, weights = batch
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=tokens).logits
    losses = functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    kept = weights[:, 1:].flatten()
    return (losses * kept).sum() / kept.sum()


def fit(model: LlamaForCausalLM, encoded: list[Encoded], epochs: int, peak: float, bos: int, pad: int) -> None:
    """Train the model in place, with fresh optimisers and a whole schedule of learning rates."""
    rng = random.Random(TRAINING_SEED)
    steps = epochs * sum(1 for _ in batches(encoded, bos, pad, random.Random(TRAINING_SEED)))
    optimizers = make_optimizers(model, peak)
    schedules = [LambdaLR(each, lambda step: rate_share(step, steps)) for each in optimizers]
    stream = (batch for _ in range(epochs) for batch in batches(encoded, bos, pad, rng))
    began = time.monotonic()
    for step, batch in enumerate(stream, start=1):
        loss = batch_loss(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_LIMIT)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        model.zero_grad()
        if step % LOG_EVERY == 0:
            elapsed = time.monotonic() - began
            logger.info("step %d of %d, loss %.4f, %.0f s", step, steps, loss.item(), elapsed)


def write_model(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Store the rounded model and its tokeniser, and put them in place at once."""
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.convert_tokens_to_ids([TURN_END, EOS]),
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
    )
    fresh = Path(tempfile.mkdtemp(dir=HERE, prefix="model-"))
    model.half().save_pretrained(fresh)
    tokenizer.save_pretrained(fresh, save_jinja_files=False)
    fresh.chmod(0o755)
    for path in fresh.iterdir():
        path.chmod(0o644)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def main() -> None:
    """Make the text, learn the tokeniser, train the model, write and measure it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="the smaller model")
    shape = "small" if parser.parse_args().small else "model"
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(TRAINING_SEED)
    sample = islice(documents(), TOKENIZER_SAMPLE)
    tokenizer = learn_tokenizer(text_of(document) for document in sample)
    model = LlamaForCausalLM(model_config(tokenizer, shape))
    logger.info("%d parameters", sum(p.numel() for p in model.parameters()))
    for course, epochs, peak in COURSES:
        encoded = encode_all(list(course()), tokenizer)
        logger.info("%d documents, %d tokens", len(encoded), sum(len(row[0]) for row in encoded))
        fit(model, encoded, epochs, peak, int(tokenizer.bos_token_id), int(tokenizer.pad_token_id))
        model.half().float()  # each course ends with the weights that a stored model would have
    write_model(model, tokenizer, HERE / shape)
    report_accuracy(HERE / shape)


if __name__ == "__main__":
    main()
