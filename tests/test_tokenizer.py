"""The checkpoint's own tokenizer and chat template: which tokens begin and end, and a template kept in its sandbox."""

from pathlib import Path
from typing import Any

import pytest

import small_checkpoint
import tokenizer_oracle
from edgequant import Error, child
from edgequant.convert.vocabulary.tokenizer import Tokenizer, TokenizerFiles, read_files

BOS, EOS, TOOL = 295, 296, 297
USER = [{"role": "user", "content": "Hi there"}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small_checkpoint.write_tokenizer(tmp_path)
    return tmp_path


def configured(folder: Path, **changes: Any) -> TokenizerFiles:
    small_checkpoint.change_json(folder / "tokenizer_config.json", **changes)
    return read_files(folder)


def begins_with(*first: dict[str, Any]) -> dict[str, Any]:
    """A post-processor that puts something before every text, as Llama's tokenizers do."""
    start = {"id": "<|start|>", "ids": [BOS], "tokens": ["<|start|>"]}
    single = [*first, {"Sequence": {"id": "A", "type_id": 0}}]
    return {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": {"<|start|>": start}}


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
START = {"SpecialToken": {"id": "<|start|>", "type_id": 0}}


# -- what begins a text


END = {"SpecialToken": {"id": "<|end|>", "type_id": 0}}
LLAMA, NEOX, PLAIN = "LlamaTokenizerFast", "GPTNeoXTokenizerFast", "PreTrainedTokenizerFast"
#: post-processor, tokenizer_config.json's changes, what comes before and after a text
RULES: list[tuple[Any, dict[str, Any], list[int], list[int]]] = [
    (None, {}, [], []),
    (begins_with(START), {}, [BOS], []),
    (begins_with(), {}, [], []),
    ({"type": "Sequence", "processors": [BYTE_LEVEL, begins_with(START)]}, {}, [BOS], []),
    (BYTE_LEVEL, {}, [], []),
    # these classes do not look at the flags
    (None, {"add_bos_token": True}, [], []),
    (begins_with(START), {"add_bos_token": False}, [BOS], []),
    (begins_with(START), {"bos_token": None}, [BOS], []),
    (begins_with(START), {"bos_token": "<|end|>"}, [BOS], []),
    (None, {"add_bos_token": True, "tokenizer_class": "GPT2TokenizerFast"}, [], []),
    (None, {"add_bos_token": True, "tokenizer_class": "Qwen2Tokenizer"}, [], []),
    # these write the rule anew
    (None, {"tokenizer_class": LLAMA}, [BOS], []),
    (begins_with(START), {"tokenizer_class": LLAMA, "add_bos_token": False}, [], []),
    (begins_with(START), {"tokenizer_class": "LlamaTokenizer", "add_eos_token": True}, [BOS], [EOS]),
    (None, {"tokenizer_class": "GemmaTokenizerFast"}, [BOS], []),
    (begins_with(START), {"tokenizer_class": NEOX}, [], []),
    (None, {"tokenizer_class": NEOX, "add_bos_token": True}, [BOS], []),
    # the token as an object
    (None, {"tokenizer_class": LLAMA, "bos_token": {"content": "<|start|>", "lstrip": False}}, [BOS], []),
]


@pytest.mark.parametrize(("processor", "changes", "before", "after"), RULES)
def test_what_begins_and_ends_a_text(
    folder: Path, processor: Any, changes: dict[str, Any], before: list[int], after: list[int]
) -> None:
    small_checkpoint.change_json(folder / "tokenizer.json", post_processor=processor)
    files = configured(folder, **changes)
    assert (list(files.before), list(files.after)) == (before, after)
    assert files.adds_bos is bool(before) and Tokenizer(folder).begin() == before


@pytest.mark.slow
def test_it_is_as_auto_tokenizer_has_it(tmp_path: Path) -> None:
    folders = [tmp_path / str(n) for n in range(len(RULES))]
    for folder, (processor, changes, _, _) in zip(folders, RULES, strict=True):
        small_checkpoint.write_tokenizer(folder)
        small_checkpoint.change_json(folder / "tokenizer.json", post_processor=processor)
        values = {key: value for key, value in changes.items() if not isinstance(value, dict)}
        small_checkpoint.change_json(folder / "tokenizer_config.json", **values)
    answers = tokenizer_oracle.ask(folders, "the cat")
    text = Tokenizer(folders[0]).encode("the cat")
    assert answers == [[*before, *text, *after] for _, _, before, after in RULES]


@pytest.mark.parametrize(
    ("model", "expected"),
    [("llama", [BOS]), ("mistral", [BOS]), ("gemma2", [BOS]), ("gpt_neox", []), ("gpt2", []), ("qwen2", [])],
)
def test_without_a_class_the_model_type_decides(folder: Path, model: str, expected: list[int]) -> None:
    """As transformers' table of tokenizers says: `TOKENIZER_MAPPING_NAMES`."""
    small_checkpoint.write_json(folder / "config.json", {"model_type": model})
    assert list(configured(folder, tokenizer_class=None).before) == expected


@pytest.mark.parametrize(
    ("processor", "changes", "expected"),
    [
        (None, {}, []),
        (begins_with(START), {}, [BOS]),
        (None, {"add_bos_token": True}, [BOS]),
        (begins_with(START), {"add_bos_token": False}, []),
        (None, {"add_bos_token": True, "bos_token": "<nowhere>"}, []),
    ],
)
def test_the_dialect_of_transformers_5(folder: Path, processor: Any, changes: Any, expected: list[int]) -> None:
    """`TokenizersBackend` with tokenizer.json alone: flags, where given, are written over the post-processor."""
    small_checkpoint.change_json(folder / "tokenizer.json", post_processor=processor)
    files = configured(folder, tokenizer_class="TokenizersBackend", **changes)
    assert list(files.before) == expected and files.special_ids["eos"] == EOS


def test_text_is_encoded_without_bos(folder: Path) -> None:
    small_checkpoint.change_json(folder / "tokenizer.json", post_processor=begins_with(START))
    tokenizer = Tokenizer(folder)
    ids = tokenizer.encode("<|start|>the cat<|end|>")
    assert ids[0] == BOS and ids.count(BOS) == 1 and ids[-1] == EOS
    assert BOS not in tokenizer.encode("the cat")
    assert tokenizer.decode(ids) == "the cat"
    assert tokenizer.decode(ids, with_special=True) == "<|start|>the cat<|end|>"


def test_truncation_left_by_a_trainer_is_ignored(folder: Path) -> None:
    text = "the cat sat on the mat, and the dog ran to the house"
    expected = Tokenizer(folder).encode(text)
    padding = {
        "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "!",
    }  # fmt: skip
    truncation = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    small_checkpoint.change_json(folder / "tokenizer.json", truncation=truncation, padding=padding)
    assert len(expected) > 4 and Tokenizer(folder).encode(text) == expected


# -- what ends an answer


@pytest.mark.parametrize(
    ("generation", "expected"),
    [
        (None, (EOS,)),
        ({}, (EOS,)),
        ({"eos_token_id": None}, (EOS,)),
        ({"eos_token_id": EOS}, (EOS,)),
        ({"eos_token_id": 0}, (0, EOS)),
        ({"eos_token_id": [TOOL, EOS, 7]}, (7, EOS, TOOL)),
    ],
)
def test_end_ids(folder: Path, generation: Any, expected: tuple[int, ...]) -> None:
    if generation is not None:
        small_checkpoint.write_json(folder / "generation_config.json", generation)
    assert read_files(folder).end_ids == expected


def test_without_an_end_token_the_generation_configuration_counts(folder: Path) -> None:
    small_checkpoint.write_json(folder / "generation_config.json", {"eos_token_id": 9})
    assert configured(folder, eos_token=None).end_ids == (9,)
    (folder / "generation_config.json").unlink()
    assert read_files(folder).end_ids == ()


@pytest.mark.parametrize(
    ("tokens", "generation", "template", "expected"),
    [
        (["<|im_end|>", "<|endoftext|>"], [299, 298], "", 298),  # generation ends with it
        (["<|im_end|>", "<|eot_id|>"], [298], "", 298),
        (["<|im_end|>", "<|eot_id|>"], None, "{{ m }}<|eot_id|>", 299),  # the template writes it
        (["<end_of_turn>"], None, "", None),
        (["<other>"], [298], "<other>", None),
    ],
)
def test_what_ends_a_turn(folder: Path, tokens: list[str], generation: Any, template: str, expected: Any) -> None:
    file = small_checkpoint.read_json(folder / "tokenizer.json")
    rows = [{**file["added_tokens"][0], "id": 298 + n, "content": token} for n, token in enumerate(tokens)]
    small_checkpoint.change_json(folder / "tokenizer.json", added_tokens=[*file["added_tokens"], *rows])
    if generation:
        small_checkpoint.write_json(folder / "generation_config.json", {"eos_token_id": generation})
    assert configured(folder, chat_template=template).special_ids.get("eot") == expected


def test_the_end_stands_in_the_model_configuration(folder: Path) -> None:
    """Without an EOS llama.cpp takes token 11 for it, whatever that is."""
    small_checkpoint.write_json(folder / "config.json", {"eos_token_id": [EOS, 7]})
    files = configured(folder, eos_token=None)
    assert files.special_ids["eos"] == EOS and files.end_ids == (7, EOS)


def test_special_ids(folder: Path) -> None:
    files = configured(folder, unk_token={"content": "<tool>"}, pad_token="<|end|>")
    assert files.special_ids == {"bos": BOS, "eos": EOS, "unk": TOOL, "pad": EOS, "eot": EOS}


def test_sentencepiece(folder: Path) -> None:
    small_checkpoint.write_json(folder / "tokenizer.json", small_checkpoint.sentencepiece())
    files = configured(folder, tokenizer_class="LlamaTokenizer", bos_token=None, eos_token=None)
    assert files.special_ids == {"bos": 1, "eos": 2, "unk": 0} and files.adds_bos
    tokenizer = Tokenizer(folder)
    assert tokenizer.encode("ab") == [tokenizer.files.tokenizer["model"]["vocab"]["▁ab"]]
    assert tokenizer.encode("é") == [3 + 256, 3 + 0xC3, 3 + 0xA9]


def test_a_unigram_tokenizer_has_ids_too(folder: Path) -> None:
    vocabulary = [["<unk>", 0.0], ["<s>", 0.0], ["▁a", -1.0]]
    small_checkpoint.write_json(folder / "tokenizer.json", {"model": {"type": "Unigram", "vocab": vocabulary}})
    assert configured(folder, bos_token="<s>", eos_token=None).special_ids == {"bos": 1}


def test_json_that_does_not_read(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("{")
    with pytest.raises(Error, match=r"tokenizer_config\.json is no valid JSON"):
        read_files(folder)


# -- the chat template


def rendered(folder: Path, template: Any, messages: Any = USER) -> str:
    configured(folder, chat_template=template)
    return Tokenizer(folder).render(messages)


def test_a_conversation_with_the_opening_of_the_answer(folder: Path) -> None:
    messages = [{"role": "system", "content": "Be brief."}, *USER]
    expected = "<|start|>system\nBe brief.<|end|>\n<|start|>user\nHi there<|end|>\n<|start|>assistant\n"
    assert Tokenizer(folder).render(messages) == expected


def test_of_several_named_templates_the_default_counts(folder: Path) -> None:
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "the default"}]
    assert rendered(folder, named) == "the default"
    assert configured(folder).chat_templates == {"tool_use": "tools"}
    assert configured(folder, chat_template=named[:1]).chat_template is None


def test_the_file_of_its_own_counts_first(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("from the file: {{ messages[0].content }}", encoding="utf-8")
    assert rendered(folder, "from the configuration") == "from the file: Hi there"


def test_no_template_is_an_error(folder: Path) -> None:
    assert configured(folder, chat_template=None).chat_template is None
    with pytest.raises(Error, match="no chat template"):
        Tokenizer(folder).render(USER)


def test_special_tokens_and_white_space_as_transformers_has_them(folder: Path) -> None:
    template = (
        "{{ bos_token }}\n{% for m in messages %}\n  {% if m.role == 'user' %}\n[{{ m.content }}]\n  {% endif %}\n"
    )
    template += "{% endfor %}\n{{ eos_token }}"
    assert rendered(folder, template) == "<|start|>\n[Hi there]\n<|end|>"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{% if tools is not none %}tools{% endif %}{% if not documents %}none{% endif %}", "none"),
        ("{% if not tools is defined %}undefined{% endif %}{{ add_generation_prompt }}", "True"),
        ("{{ messages[0] | tojson }}", '{"role": "user", "content": "Hi there"}'),
        ("{{ ['ü<'] | tojson(indent=1) }}", '[\n "ü<"\n]'),
        ("{% generation %}said{% endgeneration %}", "said"),
        ("{{ [1] | tojson(separators=(',', ':'), sort_keys=true) }}", "[1]"),
        ("{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% endif %}", "26 Jul 2024"),
        ("{% for m in [1, 2, 3] %}{% if m == 2 %}{% break %}{% endif %}{{ m }}{% endfor %}", "1"),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "1"),
    ],
)
def test_what_templates_ask_for(folder: Path, template: str, expected: str) -> None:
    assert rendered(folder, template) == expected


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages.__class__ }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append({'role': 'user', 'content': 'more'}) }}",
        "{{ raise_exception.__globals__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ '{0.__class__}'.format(messages) }}",
        "{% for n in range(10000000) %}{% endfor %}",
        "{{ messages | nothing }}",
        "{% if %}",
        "{{ strange_function() }}",
        "{{ messages[0].content + 1 }}",
        "{{ 1 / 0 }}",
    ],
)
def test_a_template_stays_in_its_sandbox(folder: Path, template: str) -> None:
    with pytest.raises(Error, match="the chat template fails"):
        text = rendered(folder, template)
        assert not text, f"the template reached {text}"
        raise Error("the chat template fails: it renders nothing")


def test_a_template_may_refuse(folder: Path) -> None:
    template = "{% if messages[0].role != 'system' %}{{ raise_exception('a system message first') }}{% endif %}ok"
    assert rendered(folder, template, [{"role": "system", "content": ""}]) == "ok"
    with pytest.raises(Error, match="refuses the conversation: a system message first"):
        Tokenizer(folder).render(USER)


def test_a_template_that_does_not_end_meets_the_deadline(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    configured(folder, chat_template=loop)
    assert child.run("native:render", {"folder": str(folder)}, deadline_seconds=1.0).status == "timeout"
