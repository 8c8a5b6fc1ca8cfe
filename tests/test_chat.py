"""Talking to an artifact: what transformers would say, turn after turn, whatever becomes of the engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import pocket_runs
import shipments
from edgequant import Error, child
from edgequant.cli import main
from edgequant.commands.chat import _harmless, _say_how_it_ended
from edgequant.export.shipping.talked_to import talked_to
from edgequant.runtimes.session import Settings
from edgequant.runtimes.talking import conversation as talking
from edgequant.runtimes.talking.conversation import Answer, Conversation, Died, Manner, Model
from edgequant.runtimes.talking.sampling import Sampling, asked, choose, probabilities
from edgequant.runtimes.talking.talk import Talk
from edgequant.runtimes.talking.voice import _Bytes

FORMATS = {"gguf": "F16", "onnx": "onnx-fp32"}
QUESTION, SECOND = "What is 3 plus 4?", "And what colour is the sky?"


@pytest.fixture(scope="module")
def run(pocket_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pocket model in one unquantised format for each engine."""
    return pocket_runs.converted(pocket_folder, tmp_path_factory.mktemp("chat") / "run", *FORMATS.values())


@pytest.fixture(scope="module", params=sorted(FORMATS))
def artifact(request: pytest.FixtureRequest, run: Path) -> Path:
    """The pocket model's artifact for one engine."""
    name = FORMATS[request.param]
    return next(path for path in (run / "artifacts").iterdir() if name in path.name and "manifest" not in path.name)


@pytest.fixture(scope="module")
def theirs(pocket_folder: Path) -> Any:
    """transformers' greedy answer to a conversation, in at most so many tokens."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(pocket_folder)
    model = AutoModelForCausalLM.from_pretrained(pocket_folder, dtype=torch.float32)

    def answer(messages: list[dict[str, str]], n: int) -> str:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        given = tokenizer(text, return_tensors="pt", add_special_tokens=False)
        made = model.generate(**given, max_new_tokens=n, do_sample=False)
        return str(tokenizer.decode(made[0, given["input_ids"].shape[1] :], skip_special_tokens=True))

    return answer


def call(*words: object, say: str | None = None) -> Result:
    """Run the command line in this process; `say` is standard input."""
    return CliRunner().invoke(main, [str(word) for word in words], input=say)


def settings(**changes: Any) -> Settings:
    return Settings(**{"threads": 1, "context": 512, **changes})


def conversation(artifact: Path, *, manner: dict[str, Any] | None = None, **changes: Any) -> Conversation:
    container = "onnx" if artifact.is_dir() else "gguf"
    model = Model(container=container, path=str(artifact), settings=settings(**changes))
    return Conversation(model, Manner(**{"sampling": Sampling(), **(manner or {})}), warn=lambda text: None)


# -- the same text as transformers


@pytest.mark.slow
def test_one_answer_is_transformers_greedy_one(artifact: Path, theirs: Any) -> None:
    done = call("-q", "chat", artifact, "--prompt", QUESTION, "--max-tokens", 40, "--threads", 1)
    assert done.exit_code == 0, done.output
    expected = theirs([{"role": "user", "content": QUESTION}], 40)
    assert len(expected) > 3 and done.stdout == expected + "\n"


@pytest.mark.slow
def test_a_second_turn_is_the_conversation_written_anew(artifact: Path, theirs: Any) -> None:
    held = conversation(artifact, manner={"max_tokens": 30, "system": "Answer briefly."})
    try:
        first = held.ask(QUESTION, hear=lambda text: None)
        second = held.ask(SECOND, hear=lambda text: None)
    finally:
        held.close()
    messages = [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": QUESTION}]
    assert first.text == theirs(messages, 30)
    messages += [{"role": "assistant", "content": first.text}, {"role": "user", "content": SECOND}]
    assert second.text == theirs(messages, 30)
    assert held.messages == [*messages, {"role": "assistant", "content": second.text}]
    assert second.n_prompt > first.n_prompt + first.n_answer


@pytest.mark.slow
def test_what_is_streamed_is_the_answer(artifact: Path) -> None:
    pieces: list[str] = []
    held = conversation(artifact, manner={"max_tokens": 20})
    try:
        answer = held.ask(QUESTION, hear=pieces.append)
    finally:
        held.close()
    assert "".join(pieces) == answer.text and len(pieces) > 3 and all(pieces)


# -- the command


@pytest.mark.slow
def test_lines_of_standard_input_are_turns(artifact: Path, theirs: Any) -> None:
    done = call(
        "-q", "chat", artifact, "--max-tokens", 20, "--threads", 1, say=f"{QUESTION}\n\n{SECOND}\n/new\n{QUESTION}\n"
    )
    assert done.exit_code == 0, done.output
    one = theirs([{"role": "user", "content": QUESTION}], 20)
    messages = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": one}]
    two = theirs([*messages, {"role": "user", "content": SECOND}], 20)
    assert done.stdout == f"{one}\n{two}\n{one}\n"
    assert "/new begins again" in done.stderr


@pytest.mark.slow
def test_the_answer_as_json(artifact: Path) -> None:
    done = call("-q", "chat", artifact, "--prompt", QUESTION, "--max-tokens", 2, "--json")
    values = json.loads(done.stdout)
    assert values["n_answer"] == 2 and values["ended"] == "length" and values["text"]


@pytest.mark.slow
def test_a_temperature_draws_and_a_seed_draws_the_same(artifact: Path) -> None:
    def said(seed: int) -> str:
        words = ("--temperature", 1.5, "--seed", seed, "--max-tokens", 25)
        return call("-q", "chat", artifact, "--prompt", QUESTION, *words).stdout

    assert said(1) == said(1) != said(2)


@pytest.mark.slow
def test_a_full_context_is_said(artifact: Path) -> None:
    long = "tell me of the sky " * 12
    done = call("-q", "chat", artifact, "--context", 64, say=f"{long}\nHi\n")
    assert "the context is full: the conversation takes" in done.stderr and "of 64" in done.stderr
    assert "--context" in done.stderr and done.stdout.strip() and done.exit_code == 0
    alone = call("-q", "chat", artifact, "--context", 64, "--prompt", long)
    assert (alone.exit_code, alone.stdout) == (1, "")


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        ("context", "[the context is full; /new begins again, --context gives more]\n"),
        ("length", "[--max-tokens is reached]\n"),
        ("stop", "[stopped]\n"),
        ("end", ""),
    ],
)
def test_why_an_answer_ended_is_said(ended: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    _say_how_it_ended(Answer(text="x", n_prompt=1, n_answer=1, ended=ended))
    assert capsys.readouterr() == ("", said)


def test_without_a_prompt_json_is_refused(tmp_path: Path) -> None:
    done = call("chat", tmp_path, "--json")
    assert done.exit_code == 2 and "--prompt" in done.stderr


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "holds no model"),
        (lambda path: (path.mkdir(), (path / "a.gguf").touch(), (path / "b.gguf").touch()), "holds 2 GGUF files"),
    ],
)
def test_what_is_nothing_to_talk_to(make: Any, said: str, tmp_path: Path) -> None:
    make(tmp_path / "x")
    done = call("-q", "chat", tmp_path / "x", "--prompt", "Hi")
    assert done.exit_code == 1 and said in done.stderr and done.stdout == ""


def test_a_run_stands_for_its_pick(tmp_path: Path) -> None:
    run = shipments.run(tmp_path)
    (tmp_path / "checkpoint" / "generation_config.json").write_text('{"do_sample": true, "temperature": 0.7}')
    found = talked_to(run.path)
    assert found.container == "gguf" and found.path.name == "model-Q8_0.gguf"
    assert asked(found.generation).temperature == 0.7


# -- a model without a template


@pytest.mark.slow
def test_a_model_without_a_template_continues_text(pocket_folder: Path, tmp_path: Path) -> None:
    import shutil

    bare = Path(shutil.copytree(pocket_folder, tmp_path / "bare"))
    config = json.loads((bare / "tokenizer_config.json").read_text())
    del config["chat_template"]
    (bare / "tokenizer_config.json").write_text(json.dumps(config))
    run = pocket_runs.converted(bare, tmp_path / "run", *FORMATS.values())
    texts = []
    for path in sorted((run / "artifacts").iterdir()):
        if "manifest" not in path.name:
            done = call("-q", "chat", path, "--prompt", "The sky is", "--max-tokens", 10)
            assert "no chat template" in done.stderr and done.exit_code == 0
            texts.append(done.stdout)
    assert len(texts) == 2 and texts[0] == texts[1] and texts[0].strip()


# -- Ctrl-C


@pytest.mark.slow
def test_ctrl_c_stops_an_answer_and_the_conversation_goes_on(artifact: Path) -> None:
    """As at a terminal: SIGINT to the whole group of processes while the answer is written."""
    words = ["-q", "chat", str(artifact), "--temperature", "50", "--threads", "1"]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "edgequant.cli", *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdin and process.stdout and process.stderr
    process.stdin.write("Hi\n")
    process.stdin.flush()
    first = process.stdout.read(1)  # it writes
    os.killpg(process.pid, signal.SIGINT)
    heard = ""
    while "stopped" not in heard:
        heard += process.stderr.readline()
    process.stdin.write("/new\nHi\n")
    process.stdin.close()
    rest = process.stdout.read()
    heard += process.stderr.read()
    assert process.wait(60) == 0
    assert first + rest and len(rest.splitlines()) >= 2
    assert "Traceback" not in heard
    process.stdout.close(), process.stderr.close()


@pytest.mark.slow
def test_a_second_ctrl_c_ends(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = conversation(artifact, manner={"sampling": Sampling(temperature=50.0)})

    def strike_twice(text: str) -> None:
        monkeypatch.setattr(held._child, "interrupt", lambda: None)  # a child that does not listen
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    try:
        with pytest.raises(KeyboardInterrupt):
            held.ask("Hi", hear=strike_twice)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        held.close()


# -- an engine that dies


@pytest.fixture
def victims_importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr(talking, "_ENTRY", "talk_victims:open_talk")
    yield


def victim(*, repack: bool = True, container: str = "gguf", warned: list[str] | None = None) -> Conversation:
    model = Model(container=container, path="nowhere", settings=settings(repack=repack))
    return Conversation(model, Manner(sampling=Sampling()), warn=(warned if warned is not None else []).append)


@pytest.mark.usefixtures("victims_importable")
def test_a_death_is_one_line_and_the_next_question_starts_another() -> None:
    held = victim(container="onnx")
    assert held.ask("one", hear=lambda text: None).text == "one of 1"
    with pytest.raises(Died, match=r"^onnxruntime died of SIGSEGV$"):
        held.ask("die SIGSEGV", hear=lambda text: None)
    assert held.ask("two", hear=lambda text: None).text == "two of 2"
    assert [message["content"] for message in held.messages] == ["one", "one of 1", "two", "two of 2"]
    held.close()


@pytest.mark.usefixtures("victims_importable")
def test_a_death_in_repacked_kernels_is_tried_without_them() -> None:
    warned: list[str] = []
    held = victim(warned=warned)
    assert held.ask("repack", hear=lambda text: None).text == "repack of 1"
    assert len(warned) == 1 and "repacked kernels" in warned[0]
    with pytest.raises(Died, match=r"llama\.cpp died of SIGILL"):  # without them it is something else
        held.ask("die SIGILL", hear=lambda text: None)
    held.close()


@pytest.mark.usefixtures("victims_importable")
def test_lack_of_memory_and_a_hanging_template_are_named() -> None:
    held = victim(container="onnx")
    with pytest.raises(Died, match="onnxruntime killed by the system, most likely for lack of memory"):
        held.ask("die SIGKILL", hear=lambda text: None)
    with pytest.raises(Died, match="the chat template did not come to an end"):
        held.ask("die SIGALRM", hear=lambda text: None)
    held.close()


@pytest.mark.usefixtures("victims_importable")
def test_an_error_leaves_the_conversation_as_it_was() -> None:
    held = victim()
    with pytest.raises(Error, match="too long"):
        held.ask("fail", hear=lambda text: None)
    assert held.messages == [] and held.ask("one", hear=lambda text: None).text == "one of 1"
    held.close()


def test_a_file_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + b"\xff" * 100)
    done = call("-q", "chat", tmp_path / "x.gguf", "--prompt", "Hi")
    assert done.exit_code == 1 and done.stderr.startswith("edgequant: ") and len(done.stderr.splitlines()) == 1


# -- pieces of text


def test_characters_split_over_tokens_come_whole() -> None:
    data = "é漢🙂x".encode()
    stream = _Bytes(lambda token, n: bytes([token]), strips=False)
    pieces = [stream.add(byte) for byte in data]
    assert [piece for piece in pieces if piece] == ["é", "漢", "🙂", "x"] and stream.end() == ""


def test_half_a_character_at_the_end_is_shown_as_such() -> None:
    stream = _Bytes(lambda token, n: bytes([token]), strips=False)
    assert [stream.add(byte) for byte in "🙂".encode()[:2]] == ["", ""] and stream.end() == "\ufffd"


def test_the_space_before_the_first_word_is_none_of_the_text() -> None:
    stream = _Bytes(lambda token, n: b" word"[n:], strips=True)
    assert stream.add(0) + stream.add(0) == "word word"


@pytest.mark.slow
@pytest.mark.usefixtures("natives_importable")
def test_every_token_streams_as_transformers_decodes_it(run: Path, pocket_folder: Path) -> None:
    """Random tokens of both voices, whole characters only, special ones left out."""
    outcome = child.Lasting("voices:open_voices")
    try:
        paths = {
            c: str(next((run / "artifacts").glob(f"*{n}*"))).removesuffix(".manifest.json") for c, n in FORMATS.items()
        }
        outcome.ask({"paths": paths}).unwrap()
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(pocket_folder)
        draw = np.random.default_rng(1)
        for _ in range(20):
            ids = [int(i) for i in draw.integers(0, len(tokenizer), 30)]
            pieces = outcome.ask({"ids": ids}).unwrap()
            expected = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            for container in FORMATS:
                assert "".join(pieces[container]) == expected, container
                assert not any("\ufffd" in piece for piece in pieces[container][:-1]) or "\ufffd" in expected
    finally:
        outcome.close()


def test_a_terminal_gets_no_orders() -> None:
    assert _harmless("a\x1b[31mb\x07\r\n\tc\x9b1m é 👩‍🚀 漢") == "a[31mb\n\tc1m é 👩‍🚀 漢"


# -- which token comes next


def test_greedy_takes_the_likeliest() -> None:
    logits = np.array([0.1, 3.0, 2.9], np.float32)
    assert [choose(logits, [], Sampling(), draw) for draw in (0.0, 0.5, 0.999)] == [1, 1, 1]
    assert choose(logits, [1], Sampling(repetition_penalty=1.5), 0.0) == 2


def test_draws_follow_the_probabilities() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.2])).astype(np.float32)
    drawn = [choose(logits, [], Sampling(temperature=1.0), (n + 0.5) / 1000) for n in range(1000)]
    assert [drawn.count(token) for token in range(3)] == [500, 300, 200]


CHOICES = (
    {"temperature": 0.7},
    {"temperature": 1.3, "top_k": 5},
    {"temperature": 0.9, "top_p": 0.8},
    {"temperature": 0.9, "top_p": 0.05},
    {"temperature": 1.1, "min_p": 0.1},
    {"temperature": 0.6, "top_k": 20, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.2},
)


@pytest.mark.slow
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_probabilities_are_transformers(choice: dict[str, Any]) -> None:
    import torch
    from transformers import LogitsProcessorList
    from transformers.generation import logits_process as made

    logits = np.random.default_rng(5).standard_normal(50).astype(np.float32) * 3
    seen = [1, 7, 7, 40]
    kinds = {
        "repetition_penalty": made.RepetitionPenaltyLogitsProcessor,
        "temperature": made.TemperatureLogitsWarper,
        "top_k": made.TopKLogitsWarper,
        "top_p": made.TopPLogitsWarper,
        "min_p": made.MinPLogitsWarper,
    }
    each = LogitsProcessorList([kind(choice[name]) for name, kind in kinds.items() if name in choice])
    expected = torch.softmax(each(torch.tensor([seen]), torch.tensor(logits)[None].double()), -1)[0].numpy()
    np.testing.assert_allclose(probabilities(logits, seen, Sampling(**choice)), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("generation", "temperature", "expected"),
    [
        ({}, None, Sampling()),
        ({"temperature": 0.6, "top_p": 0.9}, None, Sampling()),  # transformers draws only where do_sample says so
        ({"do_sample": True}, None, Sampling(temperature=1.0, top_k=50)),
        ({"do_sample": True, "temperature": 0.6, "top_k": 20}, None, Sampling(temperature=0.6, top_k=20)),
        ({"do_sample": True, "temperature": 0.6}, 0.0, Sampling()),
        ({"top_p": 0.9}, 0.8, Sampling(temperature=0.8, top_k=50, top_p=0.9)),
        ({"repetition_penalty": 1.1}, None, Sampling(repetition_penalty=1.1)),
        (
            {"do_sample": True, "temperature": "hot", "top_k": None, "top_p": []},
            None,
            Sampling(temperature=1.0, top_k=50),
        ),
    ],
)
def test_what_generation_config_asks(generation: dict[str, Any], temperature: float | None, expected: Sampling) -> None:
    assert asked(generation, temperature=temperature) == expected


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_p": 0.0}, {"min_p": 2.0}, {"top_k": -1}])
def test_what_cannot_be_asked(wrong: dict[str, Any]) -> None:
    with pytest.raises(Error, match="cannot be"):
        Sampling(**wrong)


# -- what the cache keeps


class Counting:
    """A session over a language that counts: after n comes n + 1. It remembers what it was asked to compute."""

    n_vocab = 100

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.computed: list[int] = []

    def evaluate(self, token_ids: Any, *, logits: str) -> Any:
        self.tokens.extend(token_ids)
        self.computed.extend(token_ids)
        return np.eye(100, dtype=np.float32)[self.tokens[-1] + 1]

    def rewind(self, n_tokens: int) -> None:
        del self.tokens[n_tokens:]


class Plain:
    """A voice whose tokens are numbers in a row."""

    template = "{% for m in messages %}{{ m.content }} {% endfor %}"
    tokens: dict[str, str] = {}  # noqa: RUF012

    def encode(self, text: str) -> list[int]:
        return [int(word) for word in text.split()]

    def begin(self) -> list[int]:
        return []

    def ends(self, token: int) -> bool:
        return token == 60

    def stream(self) -> Any:
        class Words:
            def add(self, token: int) -> str:
                return f" {token}"

            def end(self) -> str:
                return ""

        return Words()


def ask(talk: Talk, *said: str, most: int | None = 3) -> dict[str, Any]:
    messages = [{"role": "user", "content": text} for text in said]
    question = {"messages": messages, "sampling": Sampling().to_json(), "max_tokens": most, "seed": 0}
    return talk.answer(question, lambda text: None)


def test_what_two_turns_share_is_computed_once() -> None:
    session = Counting()
    talk = Talk(session, Plain(), n_context=50)  # type: ignore[arg-type]
    assert ask(talk, "1 2 3")["text"] == " 4 5 6"
    session.computed.clear()
    assert ask(talk, "1 2 3", " 4 5 6", "7 8")["text"] == " 9 10 11"
    assert session.computed == [6, 7, 8, 9, 10]  # the last of the answer was never fed


def test_an_answer_ends_where_it_should() -> None:
    session = Counting()
    talk = Talk(session, Plain(), n_context=10)  # type: ignore[arg-type]
    assert ask(talk, "1 2 3", most=2) == {"text": " 4 5", "n_prompt": 3, "n_answer": 2, "ended": "length"}
    assert ask(talk, "57 58", most=None) == {"text": " 59", "n_prompt": 2, "n_answer": 1, "ended": "end"}
    full = ask(talk, "1 2 3", most=None)
    assert (full["ended"], full["n_prompt"] + full["n_answer"]) == ("context", 11)
    with pytest.raises(Error, match="takes 10 tokens of 10"):
        ask(talk, "1 2 3 4 5 6 7 8 9 10")


def test_a_long_prompt_is_read_in_parts_that_can_be_stopped() -> None:
    session = Counting()
    talk = Talk(session, Plain(), n_context=2000)  # type: ignore[arg-type]
    evaluate = session.evaluate

    def stop_after_one(token_ids: Any, *, logits: str) -> Any:
        talk.stop()
        return evaluate(token_ids, logits=logits)

    session.evaluate = stop_after_one  # type: ignore[method-assign]
    stopped = ask(talk, " ".join(["1"] * 1000))
    assert (stopped["ended"], stopped["text"]) == ("stop", "") and len(session.tokens) == 256
    session.evaluate = evaluate  # type: ignore[method-assign]
    assert ask(talk, " ".join(["1"] * 1000))["text"] == " 2 3 4"
    assert len(session.computed) == 1002


@pytest.mark.slow
def test_no_test_leaves_a_child_behind() -> None:
    time.sleep(0.1)
    import psutil

    left = [each for each in psutil.Process().children() if "edgequant.child" in " ".join(each.cmdline())]
    assert left == []
