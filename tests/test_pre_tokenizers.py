"""Every row of the table: a tokenizer.json that says so is recognised, and llama.cpp gives the same ids by the name."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

import oracles
import small_checkpoint
from edgequant import Error
from edgequant.convert.vocabulary import probes, proof
from edgequant.convert.vocabulary.departures import DEPARTURES, KEY, asked, departs, stated
from edgequant.convert.vocabulary.pre_tokenizers import PRE_TOKENIZERS, PreTokenizer, candidates, definition
from edgequant.convert.vocabulary.tokenizer import TokenizerFiles, read_files
from edgequant.convert.vocabulary.variants import variants
from edgequant.convert.vocabulary.vocabulary import entries

N_TOKENS = 1500
LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
#: rows that agree for merges learnt with their own steps alone, as their models' are: llama.cpp leaves a step out
OWN_MERGES = {"falcon", "deepseek-llm"}


def distinct() -> list[str]:
    """One name of each cut."""
    return list({(row.steps, row.ignore_merges): name for name, row in reversed(PRE_TOKENIZERS.items())}.values())


def steps_of(row: PreTokenizer) -> list[Any]:
    made: list[Any] = []
    for kind, expression in row.steps:
        if kind == "split":
            made.append(pre_tokenizers.Split(Regex(expression), behavior="isolated"))
        elif kind == "gpt2":
            made.append(pre_tokenizers.ByteLevel(add_prefix_space=False))
        elif kind == "punctuation":
            made.append(pre_tokenizers.Punctuation("contiguous"))
        else:
            made.append(pre_tokenizers.Digits(individual_digits=kind == "digits"))
    if "gpt2" not in dict(row.steps):
        made.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    return made


@cache
def trained(steps: PreTokenizer | None) -> dict[str, Any]:
    """A tokenizer.json with merges learnt from the probes; from whole strings where no steps are given."""
    tokenizer = Tokenizer(models.BPE())
    whole = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps_of(steps) if steps else whole)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=N_TOKENS, initial_alphabet=alphabet, show_progress=False, max_token_length=16
    )
    tokenizer.train_from_iterator(
        [text for text in probes.texts() if "</s>" not in text and len(text) < 300] * 2, trainer
    )
    made: dict[str, Any] = json.loads(tokenizer.to_str())
    return made


def tokenizer_json(name: str) -> dict[str, Any]:
    """The definition of a row, over merges that show where text is cut."""
    row = PRE_TOKENIZERS[name]
    source = trained(row if name in OWN_MERGES else None)
    steps = json.loads(_with_steps(row).to_str())["pre_tokenizer"]
    normalizer = {"type": "NFC"} if row.nfc else None
    model = {**source["model"], "ignore_merges": row.ignore_merges}
    return {**source, "pre_tokenizer": steps, "normalizer": normalizer, "model": model}


def _with_steps(row: PreTokenizer) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps_of(row))
    return tokenizer


def files_of(folder: Path, tokenizer: dict[str, Any]) -> TokenizerFiles:
    folder.mkdir(exist_ok=True)
    small_checkpoint.write_json(folder / "tokenizer.json", tokenizer)
    small_checkpoint.write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
    return read_files(folder)


@pytest.mark.slow
def test_llama_cpp_cuts_as_every_row_says(tmp_path: Path) -> None:
    names, files, texts = distinct(), [], list(probes.texts())
    for name in names:
        variant = next(variants(files_of(tmp_path / name, tokenizer_json(name))))
        assert PRE_TOKENIZERS[variant.pre].steps == PRE_TOKENIZERS[name].steps
        files.append(tmp_path / f"{name}.gguf")
        files[-1].write_bytes(proof.pack({"general.architecture": "llama", **dict(entries(variant, N_TOKENS))}))
    answers = oracles.ask("tokenise", files=[str(file) for file in files], texts=texts)
    assert len(names) >= 20 and len({json.dumps(ids) for ids in answers}) >= 18  # the probes tell the rows apart
    for name, ours in zip(names, answers, strict=True):
        encoder = Tokenizer.from_file(str(tmp_path / name / "tokenizer.json"))
        encoder.normalizer = None  # llama.cpp leaves NFC to its caller
        theirs = [encoder.encode(text, add_special_tokens=False).ids for text in texts]
        differ = [text for text, a, b in zip(texts, ours, theirs, strict=True) if a != b]
        assert all(departs(PRE_TOKENIZERS[name].departure, text) for text in differ), (name, differ)
        assert bool(differ) <= bool(PRE_TOKENIZERS[name].departure)


def test_names_of_one_behaviour_are_tried_in_the_order_of_likeness() -> None:
    qwen = definition({"pre_tokenizer": None, "model": {}})
    row = PRE_TOKENIZERS["qwen2"]
    assert next(candidates(row)) == "qwen2"
    assert next(candidates(PreTokenizer(steps=row.steps))) == "stablelm2"
    assert next(candidates(PRE_TOKENIZERS["llama-bpe"])) == "llama-bpe"
    assert next(candidates(PRE_TOKENIZERS["dbrx"])) == "dbrx"
    assert list(candidates(PRE_TOKENIZERS["llama-bpe"])) == ["llama-bpe", "dbrx"]
    assert len(list(candidates(qwen))) == len(list(candidates(None))) == len(distinct())


@pytest.mark.parametrize(("said", "proven"), [("smollm", "gpt-2"), ("qwen2", "smollm"), ("gpt-2", "qwen2")])
def test_a_wrong_name_is_not_written(tmp_path: Path, said: str, proven: str) -> None:
    files = files_of(tmp_path, tokenizer_json(said))
    tried = [variant for variant in variants(files_of(tmp_path / "other", tokenizer_json(proven)))][:1]
    wrong = [type(variant)(**{**vars(variant), "files": files}) for variant in tried]
    with pytest.raises(
        Error, match=r"otherwise than the checkpoint's tokenizer: ['\"].*: \[.*\] instead of \["
    ) as caught:
        proof.prove(wrong, n_tokens=N_TOKENS, name="")
    assert f"the likeliest is '{wrong[0].pre}'" in caught.value.hint


def split(expression: str, **changes: Any) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False, **changes}


def sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(steps)}


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        # in other words than the table has
        (sequence(split(r"\p{N}"), {**LEVEL, "use_regex": True}), "smollm"),
        (sequence(split(r"[^\n]*\n*", behavior="MergedWithNext"), LEVEL), None),
        (sequence(split(r"e"), LEVEL), None),
    ],
)
def test_a_definition_outside_the_table_is_tried_against_all(tmp_path: Path, steps: Any, found: str | None) -> None:
    files = files_of(tmp_path, {**trained(None), "pre_tokenizer": steps})
    if found:
        assert proof.prove(variants(files), n_tokens=N_TOKENS, name="").pre == found
        return
    with pytest.raises(Error, match="instead of"):
        proof.prove(variants(files), n_tokens=N_TOKENS, name="")


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (split("\\d+", behavior="Removed"), "step .*Removed.* is not supported"),
        (split("\\d+", invert=True), "step .* is not supported"),
        ({**LEVEL, "add_prefix_space": True}, "step .* is not supported"),
        ({"type": "Whitespace"}, "step .*Whitespace.* is not supported"),
    ],
)
def test_steps_that_the_table_has_no_word_for(step: dict[str, Any], said: str) -> None:
    with pytest.raises(Error, match=said):
        definition({"pre_tokenizer": step, "model": {}})


def test_a_normalizer_that_the_table_has_no_word_for() -> None:
    with pytest.raises(Error, match=r"normalizers .*Lowercase.* are not supported"):
        definition({"pre_tokenizer": LEVEL, "normalizer": {"type": "Lowercase"}, "model": {}})


@pytest.mark.parametrize(
    ("departure", "there", "elsewhere"),
    [
        ("letters", ["ÉCOLE", "नमस्ते", "it'ſ"], ["école ABC", "漢字 😀", ""]),
        ("digits", ["१२३", "½"], ["123", "É"]),
        ("spaces", ["a\u2003b"], ["a b\n"]),
        ("spaced", [" a", "▁a", "x<s> a"], ["a b", "<s>a", "x<s>", ""]),
        ("spaced after special tokens", [" a", "<s>a", "x<s> a", "<s><s>"], ["a b", "x<s>", ""]),
        ("bare", ["a", "a<s>"], [" a", "▁a", "<s>a", ""]),
        ("", [], ["É", " a"]),
    ],
)
def test_where_llama_cpp_is_known_to_depart(departure: str, there: list[str], elsewhere: list[str]) -> None:
    assert all(departs(departure, text, ["<s>"]) for text in there)
    assert not any(departs(departure, text, ["<s>"]) for text in elsewhere)
    assert {row.departure for row in PRE_TOKENIZERS.values()} <= {*DEPARTURES, ""}


def test_a_file_states_its_departure() -> None:
    assert [stated({KEY: words}) for words in DEPARTURES.values()] == list(DEPARTURES) and stated({}) == ""
    assert (asked("letters", "É"), asked("letters", "E"), asked("bare", "a"), asked("", "É")) == (None, "E", " a", "É")


# -- the probes


def test_there_are_enough_probes_of_every_kind() -> None:
    texts = probes.texts()
    assert len(texts) == len(set(texts)) >= 300 and texts[0] == "" and max(map(len, texts)) >= 4000
    scripts = ["é", "ß", "ж", "Ω", "ש", "ش", "ह", "த", "ไ", "漢", "か", "한", "አ"]
    assert all(any(letter in text for text in texts) for letter in scripts)


def test_special_tokens_stand_inside_text() -> None:
    texts = probes.texts(["<x>", *(f"<r{n}>" for n in range(99))])
    assert {"<x>", "a<x>b", " <x> ", "<x><x>"} <= set(texts)
    assert all(any(f" <r{n}> " in text for text in texts) for n in range(99))
