"""A worker for onnxruntime-genai with nothing but the folder that was exported: tokens, template, search."""

import json
import os
import sys

import numpy as np
import onnxruntime_genai as og


def main() -> None:
    """Read {"path", "prompts", "n", "messages"}; write the tokens that follow, and how it reads the messages."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print stays off the answer
    job = json.load(sys.stdin)
    model = og.Model(job["path"])
    tokens = [_greedy(model, ids, job["n"]) for ids in job["prompts"]]
    json.dump({"tokens": tokens, "conversation": _conversation(model, job["messages"])}, answers)
    answers.flush()
    os._exit(0)  # a library that crashes while the interpreter shuts down would only spoil the log


def _greedy(model: og.Model, ids: list[int], n: int) -> list[int]:
    """What the search of genai_config.json writes, without the token that ends it."""
    parameters = og.GeneratorParams(model)
    parameters.set_search_options(max_length=len(ids) + n)
    generator = og.Generator(model, parameters)
    generator.append_tokens(np.asarray(ids, dtype=np.int32))
    while not generator.is_done():
        generator.generate_next_token()
    return generator.get_sequence(0)[len(ids) :].tolist()


def _conversation(model: og.Model, messages: list[dict[str, str]]) -> str | list[int]:
    """The conversation's tokens by the package's own tokenizer and template; why not, where it takes neither."""
    try:
        tokenizer = og.Tokenizer(model)
        text = tokenizer.apply_chat_template(json.dumps(messages), add_generation_prompt=True)
        return [int(token) for token in tokenizer.encode(text)]
    except Exception as error:  # the package raises RuntimeError for all that it lacks
        return str(error)


if __name__ == "__main__":
    main()
