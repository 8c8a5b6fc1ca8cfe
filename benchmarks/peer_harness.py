"""lm-evaluation-harness's side: its own tasks on local rows, by its model `hf` on the CPU in float32.

Runs in the environment that harness_environment.py makes: reads one job of JSON, answers once.
"""

import json
import os
import sys
import time
from typing import Any


def main() -> None:
    """Read, evaluate, answer."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print stays off the answer
    answers.write(json.dumps(_evaluate(json.load(sys.stdin))))
    answers.flush()


def _evaluate(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds of the model's part, the items tokenised before, and each item's log-likelihoods and outcomes."""
    import torch
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    seconds = []

    class Timed(HFLM):  # type: ignore[misc]
        def _loglikelihood_tokens(self, *arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            found = super()._loglikelihood_tokens(*arguments, **options)
            seconds.append(time.perf_counter() - started)
            return found

    torch.set_num_threads(job["threads"])
    model = Timed(pretrained=job["checkpoint"], device="cpu", dtype="float32", batch_size=job["batch"])
    # Without its own tasks, whose thousands of files it would look through first.
    manager = TaskManager(include_defaults=False)
    found = simple_evaluate(model=model, tasks=job["tasks"], task_manager=manager)
    samples = [found["samples"][name] for name in job["names"]]
    return {"seconds": sum(seconds), "items": [_item(each) for rows in samples for each in sorted(rows, key=_place)]}


def _place(sample: dict[str, Any]) -> int:
    return int(sample["doc_id"])


def _item(sample: dict[str, Any]) -> dict[str, Any]:
    outcomes = {name: float(sample[name]) for name in sample["metrics"]}
    return {"log_likelihoods": [value for value, _ in sample["filtered_resps"]], "outcomes": outcomes}


if __name__ == "__main__":
    main()
