"""MT-Bench's judged score: a strong model grades each answer from 1 to 10, over an OpenAI-compatible endpoint.

The protocol is single-answer grading (Zheng et al., arXiv 2306.05685, section 3.1): the judge sees the conversation up
to the turn, explains, and ends with its rating in double brackets; a question's score is the mean over its turns. The
wording of the request is this project's own, so scores compare within a run and not with published ones.
"""

import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from ... import Error

TIMEOUT_SECONDS = 120.0
KEY_VARIABLE = "OPENAI_API_KEY"
_RATING = re.compile(r"\[\[(\d+(?:\.\d+)?)\]\]")
_TASK = (
    "You grade the last answer of an assistant in the conversation below. Look at whether it is helpful, relevant, "
    "correct, deep and detailed enough, and do not let its length alone decide. Explain your view in a few sentences. "
    "Then give one whole number from 1, useless, to 10, perfect, in exactly this form: [[rating]], for example [[5]]."
)


def score(url: str, conversation: Sequence[Mapping[str, str]], *, model: str = "") -> float:
    """The judge's rating, 1..10, of the last answer of a conversation; `url` is the endpoint's, with its version.

    `model` is what the endpoint is to run; "" leaves it to an endpoint that has one alone. A key is taken from the
    variable OPENAI_API_KEY. Raises `Error` where the judge does not answer, or gives no rating.
    """
    said = "\n\n".join(f"{message['role'].upper()}:\n{message['content']}" for message in conversation)
    asked = {
        "model": model or "default",
        "temperature": 0,
        "messages": [{"role": "system", "content": _TASK}, {"role": "user", "content": said}],
    }
    answer = _posted(f"{url.rstrip('/')}/chat/completions", asked)
    try:
        text = answer["choices"][0]["message"]["content"]
        ratings = _RATING.findall(text)
    except (KeyError, IndexError, TypeError):
        raise Error(f"the judge at {url} answers in another form than chat completions") from None
    if not ratings or not 1 <= float(ratings[-1]) <= 10:
        raise Error(f"the judge at {url} gave no rating from 1 to 10: {text[:80]!r}")
    return float(ratings[-1])


def _posted(url: str, body: Mapping[str, Any]) -> Any:
    if not url.startswith(("http://", "https://")):
        raise Error(f"{url} is no address of a judge", hint="write it as http://HOST:PORT/v1")
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get(KEY_VARIABLE):
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            return json.loads(response.read())
    except urllib.error.HTTPError as error:
        raise Error(f"the judge at {url} answers with {error.code} {error.reason}") from None
    except (OSError, ValueError) as error:
        raise Error(f"the judge at {url} does not answer: {error}") from None


def rating(url: str, messages: Sequence[Mapping[str, str]], *, model: str) -> float:
    """Mean rating over the turns of a dialogue."""
    ends = [end for end, message in enumerate(messages, 1) if message["role"] == "assistant"]
    return sum(score(url, messages[:end], model=model) for end in ends) / len(ends)
