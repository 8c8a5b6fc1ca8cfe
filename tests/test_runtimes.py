"""A session gives the same logits whichever way they are asked for, and refuses what it cannot do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import small_checkpoint
from edgequant import Error, child
from edgequant.convert import gguf_write
from edgequant.runtimes import llama_runs, session

pytestmark = pytest.mark.usefixtures("natives_importable")

TOKENS = [(17 * n + n * n) % small_checkpoint.VOCABULARY for n in range(40)]
#: float32 sums in another order; relative to the largest logit
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with random weights and room for 1,500 positions, in float32."""
    folder = tmp_path_factory.mktemp("runtimes")
    small_checkpoint.write(folder / "m", config=small_checkpoint.config(max_position_embeddings=1500))
    job = {"folder": str(folder / "m"), "target": str(folder / "m.gguf"), "format": "F32", "source": "", "name": "m"}
    gguf_write.write({**job, "revision": "r"}, lambda text: None)
    return folder / "m.gguf"


@pytest.fixture(scope="module")
def onnx_folder(checkpoint_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same kind of model as Optimum exports it."""
    target = tmp_path_factory.mktemp("onnx") / "m-onnx-fp32"
    outcome = child.run(
        "edgequant.convert.onnx_export:export", {"folder": str(checkpoint_folder), "target": str(target)}
    )
    outcome.unwrap()
    return target


@pytest.fixture(scope="module")
def checkpoint_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_checkpoint.write(tmp_path_factory.mktemp("source") / "m")


def ask(name: str, container: str, path: Path, **job: Any) -> child.Outcome:
    return child.run(f"native:{name}", {"container": container, "path": str(path), **job}, deadline_seconds=120)


def check_ways(found: dict[str, Any]) -> None:
    assert found["shape"] == [len(TOKENS), small_checkpoint.VOCABULARY] and found["dtype"] == "float32"
    assert found["n_vocab"] == small_checkpoint.VOCABULARY and found["spread"] > 0.1
    ways = ("last row", "one by one", "rewound", "extended", "same again", "prefix")
    assert {way: found[way] for way in ways if found[way] > ROUNDING} == {}
    assert found["kept"] and found["sequence"]
    assert found["differs"] > 0.05  # other tokens, other logits


def test_llama_cpp_gives_the_same_logits_in_every_way(gguf_file: Path) -> None:
    check_ways(ask("compare_ways", "gguf", gguf_file, tokens=TOKENS, exact=True).unwrap())


def test_more_tokens_than_one_batch_holds(gguf_file: Path) -> None:
    tokens = (TOKENS * 30)[:1100]
    n, parts, last = ask("pieces", "gguf", gguf_file, tokens=tokens, context=1200, exact=True).unwrap()
    assert n == 1100 and parts < 1e-3 and last < 1e-3


@pytest.mark.parametrize("logits", ["all", "last"])
@pytest.mark.parametrize("parts", [[TOKENS], [TOKENS[:32], TOKENS[:1]]])
def test_llama_cpp_refuses_what_does_not_fit(gguf_file: Path, logits: str, parts: list[list[int]]) -> None:
    outcome = ask("evaluate", "gguf", gguf_file, parts=parts, context=32, logits=logits)
    n = sum(map(len, parts))
    assert (outcome.status, outcome.note) == ("error", f"{n} tokens do not fit a context of 32")
    assert ask("evaluate", "gguf", gguf_file, parts=[TOKENS[:32]], context=32, logits=logits).status == "ok"


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "half", "no such file"])
def test_a_broken_gguf_is_an_error(gguf_file: Path, tmp_path: Path, damage: str) -> None:
    data, broken = gguf_file.read_bytes(), tmp_path / "broken.gguf"
    contents = {"empty": b"", "text": b"This is no model.\n" * 99, "cut": data[:1000], "half": data[: len(data) // 2]}
    if damage in contents:
        broken.write_bytes(contents[damage])
    outcome = ask("evaluate", "gguf", broken, parts=[[1]])
    assert outcome.status == "error" and outcome.note.startswith(f"llama.cpp cannot load {broken}: ")
    assert len(outcome.note) > len(f"llama.cpp cannot load {broken}: ")
    tokenised = child.run("native:tokenise", {"path": str(broken), "texts": ["a"]})
    assert tokenised.status == "error" or damage == "half"  # the vocabulary alone is whole


def test_an_unknown_container() -> None:
    for ask_for in (session.runtime_name, session.runtime_version):
        with pytest.raises(Error, match="no runtime runs 'pickle'") as caught:
            ask_for("pickle")
        assert "gguf, onnx" in caught.value.hint


def test_names_and_versions() -> None:
    assert [session.runtime_name(container) for container in ("gguf", "onnx")] == ["llama.cpp", "onnxruntime"]
    for container in ("gguf", "onnx"):
        assert session.runtime_version(container)[0].isdigit()


def test_onnx_runtime_refuses_a_folder_without_a_graph(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise" / "model.onnx").write_bytes(b"noise" * 100)
    for folder in (tmp_path / "empty", tmp_path / "noise"):
        outcome = ask("evaluate", "onnx", folder, parts=[[1]])
        assert outcome.status == "error" and outcome.note.startswith("onnxruntime cannot load")


@pytest.mark.slow
def test_onnx_runtime_gives_the_same_logits_in_every_way(onnx_folder: Path) -> None:
    check_ways(ask("compare_ways", "onnx", onnx_folder, tokens=TOKENS).unwrap())


@pytest.mark.slow
def test_onnx_runtime_refuses_what_does_not_fit(onnx_folder: Path) -> None:
    outcome = ask("evaluate", "onnx", onnx_folder, parts=[TOKENS[:32], TOKENS[:1]], context=32)
    assert (outcome.status, outcome.note) == ("error", "33 tokens do not fit a context of 32")


TREES = [
    (TOKENS[:20], [[5], [6, 7, 8], [9, 9], []]),
    (TOKENS[:12], [[4], [3, 2, 1, 5]]),
    ([*TOKENS[:12], 1, 2, 3], [[8], [7, 7, 7]]),
    ([1, 2], [[3]]),
    (TOKENS[:20], []),
    ((TOKENS * 15)[:560], [[1, 2], [3]]),  # longer than one batch
]
PROMPTS = [([1, 2, 3, n, 5 + n], 1 + n % 4) for n in range(7)]


@pytest.mark.parametrize("sequences", [1, 2, 4, 9, 33])
def test_sequences_side_by_side_are_what_they_are_in_turn(gguf_file: Path, sequences: int) -> None:
    job = {"trees": TREES, "prompts": PROMPTS, "end_ids": [], "sequences": sequences}
    found = ask("together", "gguf", gguf_file, **job).unwrap()
    assert found["shapes"] == [[[len(ids), small_checkpoint.VOCABULARY] for ids in branches] for _, branches in TREES]
    assert found["stem"] < 1e-3 and found["branches"] < 1e-3
    assert found["answers"] == found["in_turn"]
    assert [len(answer) for answer in found["answers"]] == [n for _, n in PROMPTS]


def test_what_is_shared_is_computed_once_and_what_fits_together(gguf_file: Path) -> None:
    """600 tokens before each question are more than one batch; so are twelve prompts, and less than the cache."""
    before = (TOKENS * 15)[:600]
    trees = [([*before, *TOKENS[n : n + 20]], [[1], [], [2, 3], []]) for n in range(12)]
    prompts = [([n, *TOKENS, *TOKENS], 8) for n in range(12)]
    job = {"trees": trees, "prompts": prompts, "end_ids": [], "sequences": 33}
    found = ask("together", "gguf", gguf_file, **job).unwrap()
    assert found["stem"] < 1e-3 and found["branches"] < 1e-3
    assert found["answers"] == found["in_turn"]
    # 600 tokens in two batches, twelve questions of 20 and 3 tokens in one; 972 tokens in two, seven steps after them
    assert found["calls"] == [3, 9]


def test_trees_and_prompts_are_cut_into_runs_that_fit() -> None:
    trees = [
        session.Tree(stem=[1, 2, 3, 4], branches=[[5], [6, 7]]),
        session.Tree(stem=[1, 2, 3, 9, 9], branches=[[], []]),
        session.Tree(stem=[1, 2], branches=[[3]]),
        session.Tree(stem=[8] * 30, branches=[]),
        session.Tree(stem=[8] * 31, branches=[[1]]),
    ]
    needs = [llama_runs.of_tree(tree) for tree in trees]
    assert [(each.n_sides, each.n_tokens, len(each.shared)) for each in needs] == [
        (2, 7, 3),
        (1, 5, 4),
        (1, 3, 1),
        (1, 30, 29),
        (1, 32, 30),
    ]
    # the first two share three tokens: 7 + 5 - 2 * 3; with the third one token: 7 + 5 + 3 - 3
    both = needs[0].together(needs[1])
    assert (list(both.shared), both.n_sides, both.n_beyond) == ([1, 2, 3], 3, 6)
    assert both.together(needs[2]).n_beyond == 12

    def cut(fits: Callable[[llama_runs.Need], bool]) -> list[int]:
        return [len(run) for run, _ in llama_runs.runs(trees, need=llama_runs.of_tree, fits=fits)]

    assert cut(lambda need: need.n_beyond <= 12) == [3, 2]  # the last two share 29: 30 + 32 - 58
    assert cut(lambda need: need.n_beyond <= 6) == [2, 1, 2]
    assert cut(lambda need: need.n_sides <= 1) == [1, 1, 1, 1, 1]
    assert cut(lambda need: False) == [1, 1, 1, 1, 1]
    assert list(llama_runs.runs([], need=llama_runs.of_tree, fits=lambda need: True)) == []
    prompt = session.Prompt(token_ids=[1, 2, 3], max_tokens=10, end_ids=[])
    assert llama_runs.of_prompt(prompt) == llama_runs.Need(shared=[1, 2], n_beginnings=1, n_sides=1, n_tokens=13)


def test_answers_end_where_they_should(gguf_file: Path) -> None:
    job = {"trees": TREES, "prompts": PROMPTS, "sequences": 4}
    free = ask("together", "gguf", gguf_file, end_ids=[], **job).unwrap()["answers"]
    end = free[0][0]
    found = ask("together", "gguf", gguf_file, end_ids=[end], **job).unwrap()
    assert found["answers"] == found["in_turn"]
    assert found["answers"][0] == []
    assert all(end not in answer for answer in found["answers"])
