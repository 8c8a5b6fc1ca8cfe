"""What llama.cpp's programs, Ollama and onnxruntime-genai are given: their words, and nothing of a stranger's."""

from __future__ import annotations

import itertools
import json
import os
import re
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pocket_runs
import recorded
import shipments
import small_checkpoint
from edgequant import Error
from edgequant.export.shipping import llama_settings
from edgequant.export.shipping.genai import write_genai
from edgequant.export.shipping.go_templates import FAMILIES, Recognised
from edgequant.export.shipping.llama_script import write_script
from edgequant.export.shipping.llama_settings import fitted
from edgequant.export.shipping.ollama import modelfile, write_ollama
from edgequant.export.shipping.shipment import Shipment, gather
from edgequant.profiles.device import Device, load
from edgequant.profiles.planning.plan import PlannedFormat
from edgequant.report.rows import Mark

KNOWN = json.loads((Path(__file__).parent / "llama_options.json").read_text(encoding="utf-8"))
SAMPLES = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 20, "repetition_penalty": 1.05}


@pytest.fixture
def shipment(tmp_path: Path) -> Shipment:
    return gather(shipments.run(tmp_path).path, "Q8_0")


def says(shipment: Shipment, **generation: Any) -> None:
    """Give the checkpoint a generation_config.json, as if it had had it all along."""
    small_checkpoint.write_json(shipment.origin.checkpoint.path / "generation_config.json", generation)


# -- llama-server and llama-cli


def called(folder: Path, program: str, *more: str, **environment: str) -> list[str]:
    """The words that the script calls the program with: a program that prints them stands in for it."""
    fake = folder.parent / "bin" / program
    fake.parent.mkdir(exist_ok=True)
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    path = f"{fake.parent}{os.pathsep}{os.environ['PATH']}"
    command = [str(folder / f"{program}.sh"), *more]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd="/", env={**os.environ, "PATH": path, **environment}
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("program", ["llama-server", "llama-cli"])
def test_the_script_calls_the_program_with_words_that_it_knows(
    program: str, shipment: Shipment, tmp_path: Path
) -> None:
    says(shipment, **SAMPLES)
    folder = tmp_path / "a folder's $(name)"
    write_script(shipment, folder, program=program, device=shipment.report.device)
    words = called(folder, program)
    assert words[:2] == ["--model", str(folder / "small-Q8_0.gguf")]
    flags = [word for word in words if word.startswith("--")]
    assert not set(flags) - set(KNOWN[program])
    assert len(flags) == len(set(flags))
    given = dict(itertools.pairwise(words))
    assert given["--threads"] == given["--threads-batch"] == "2"
    assert given["--ctx-size"] == "256"  # the model takes no more, though the run was asked for 512
    assert (given["--cache-type-k"], given["--flash-attn"], given["--load-mode"]) == ("f16", "auto", "mmap")
    assert (given["--temp"], given["--top-p"], given["--top-k"]) == ("0.6", "0.9", "20")
    assert (given["--repeat-penalty"], given["--repeat-last-n"]) == ("1.05", "-1")
    assert "--repack" in words and ("--parallel" in words) == (program == "llama-server")


def test_the_users_own_words_come_last_and_so_count(shipment: Shipment, tmp_path: Path) -> None:
    write_script(shipment, tmp_path / "out", program="llama-server", device=shipment.report.device)
    words = called(tmp_path / "out", "llama-server", "--ctx-size", "128", "a b")
    assert words[-3:] == ["--ctx-size", "128", "a b"]


def test_the_program_may_lie_anywhere(shipment: Shipment, tmp_path: Path) -> None:
    write_script(shipment, tmp_path / "out", program="llama-cli", device=shipment.report.device)
    called(tmp_path / "out", "llama-cli")  # makes the program that prints
    other = tmp_path / "my llama"
    (tmp_path / "bin" / "llama-cli").rename(other)
    environment = {**os.environ, "LLAMA_CLI": str(other)}
    done = subprocess.run(
        [tmp_path / "out" / "llama-cli.sh"], env=environment, capture_output=True, text=True, check=True
    )
    assert "--model" in done.stdout


def test_the_script_is_executable_and_explains_every_word(shipment: Shipment, tmp_path: Path) -> None:
    write_script(shipment, tmp_path / "out", program="llama-server", device=load("rpi4-2gb"))
    script = tmp_path / "out" / "llama-server.sh"
    assert script.stat().st_mode & stat.S_IXUSR
    subprocess.run(["sh", "-n", script], check=True)
    lines = script.read_text().splitlines()
    assert all(len(line) <= 80 for line in lines)
    for above, line in itertools.pairwise(lines):
        assert not line.startswith("set -- ") or above.startswith("# ")
    assert "Raspberry Pi 4" in script.read_text()


def test_a_hostile_name_stays_in_its_comment(tmp_path: Path) -> None:
    hostile = f"x\n rm -rf / ; $(touch {tmp_path}/owned) `touch {tmp_path}/owned`\r{recorded.HOSTILE}"
    shipment = gather(shipments.run(tmp_path, name=hostile).path, "Q8_0")
    write_script(shipment, tmp_path / "out", program="llama-cli", device=shipment.report.device)
    words = called(tmp_path / "out", "llama-cli")
    assert Path(words[1]).is_file() and not (tmp_path / "owned").exists()
    script = (tmp_path / "out" / "llama-cli.sh").read_text()
    assert not [line for line in script.splitlines() if "rm -rf" in line and not line.startswith("# ")]


def test_onnx_is_refused(tmp_path: Path) -> None:
    shipment = gather(shipments.run(tmp_path).path, "onnx-int8-dynamic")
    with pytest.raises(Error, match="llama-cli runs GGUF files, and onnx-int8-dynamic is ONNX"):
        write_script(shipment, tmp_path / "out", program="llama-cli", device=shipment.report.device)
    with pytest.raises(Error, match="Ollama runs GGUF files, and onnx-int8-dynamic is ONNX"):
        write_ollama(shipment, tmp_path / "out")


def planned(n_tokens: int) -> PlannedFormat:
    """100 MB of weights, a repacked copy of as many, and 0.1 MB of cache a token."""
    memory = {"weights": 100_000_000, "repacked copy": 100_000_000, "key/value cache": 100_000 * n_tokens}
    return PlannedFormat(
        format="Q8_0", container="gguf", size_bytes=1, tensor_bytes=1, bits_per_weight=8.0, n_fallbacks=0,
        peak_memory_bytes=sum(memory.values()), memory=memory, fits=None, why="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("usable_mb", "expected"),
    [
        (500, (2048, True, "f16")),  # 404.8 MB
        (310, (2048, False, "f16")),  # 304.8 without the copy
        (215, (2048, False, "q8_0")),  # 208.8 with keys and values in 34 bytes where there were 64
        (202, (1024, False, "q8_0")),  # 154.4; in 16 bits it would be 202.4
        (120, (256, False, "q8_0")),  # 113.6; of 512 tokens it would be 127.2
    ],
)
def test_what_fits_is_chosen_in_the_order_of_what_it_costs(
    usable_mb: int, expected: Any, shipment: Shipment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_settings, "_planned", lambda shipment, device, context: planned(context))
    monkeypatch.setattr(llama_settings, "_wanted", lambda shipment, device: 2048)
    fit = fitted(shipment, _device(usable_mb * 1_000_000))
    assert (fit.context, fit.repack, fit.cache_type) == expected
    assert fit.fits and fit.peak_bytes and fit.peak_bytes <= usable_mb * 1_000_000
    assert fit.why == f"405 MB are predicted at 2,048 tokens, {usable_mb} MB are there"


def test_a_device_that_is_too_small_is_told_so(
    shipment: Shipment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(llama_settings, "_planned", lambda shipment, device, context: planned(context))
    made = write_script(shipment, tmp_path / "out", program="llama-cli", device=_device(1_000_000))
    assert "predicted not to fit" in made.notes[0]
    given = called(tmp_path / "out", "llama-cli")
    assert "--no-repack" in given and given[given.index("--cache-type-v") + 1] == "q8_0"
    assert given[given.index("--flash-attn") + 1] == "on"


def _device(usable_bytes: int) -> Device:
    return recorded.device(name="tiny", title="Tiny", usable_ram_bytes=usable_bytes, is_host=False)


def test_what_was_measured_counts(shipment: Shipment, tmp_path: Path) -> None:
    """A retry without repacked kernels, and the report's advice on mapping."""
    died = Mark(code="retried without repacked kernels", sentence="")
    rows = tuple(replace(row, marks=(died,)) if row.format == "Q8_0" else row for row in shipment.report.rows)
    advice = (
        "Q8_0: mapping the file: leave it out (decode faster without).",
        "F16: repacking the weights: leave it out.",
    )
    shipment = replace(shipment, report=replace(shipment.report, rows=rows, advice=advice))
    write_script(shipment, tmp_path / "out", program="llama-cli", device=shipment.report.device)
    words = called(tmp_path / "out", "llama-cli")
    assert "--no-repack" in words and words[words.index("--load-mode") + 1] == "none"
    assert "decode faster without" in (tmp_path / "out" / "llama-cli.sh").read_text()


def test_advice_is_the_reports_own_words() -> None:
    """The scripts look for the beginning of a sentence that `switches` writes."""
    source = Path(llama_settings.__file__).parents[2] / "report" / "switches.py"
    text = source.read_text(encoding="utf-8")
    assert '"mapping the file"' in text and '"repacking the weights"' in text and "leave it out (" in text


# -- Ollama


def commands(text: str) -> list[tuple[str, str]]:
    """A Modelfile's commands and values, as Ollama's parser reads them (parser.go, `ParseFile`)."""
    found = []
    rest = text
    while rest:
        rest = re.sub(r"\A(?:\s+|#[^\n]*)+", "", rest)
        if not rest:
            break
        word = re.match(r"[A-Za-z]+[ \t]", rest)
        assert word, rest[:40]
        rest = rest[word.end() :]
        value = re.match(r'"""(.*?)"""|([^\n]*)', rest, re.DOTALL)
        assert value
        found.append((word[0].strip(), value[1] if value[1] is not None else value[2]))
        rest = rest[value.end() :]
    return found


def test_a_modelfile(shipment: Shipment, tmp_path: Path) -> None:
    says(shipment, **SAMPLES, eos_token_id=[1])
    made = write_ollama(shipment, tmp_path / "out")
    said = commands((tmp_path / "out" / "Modelfile").read_text())
    assert said[0] == ("FROM", "./small-Q8_0.gguf") and (tmp_path / "out" / "small-Q8_0.gguf").is_file()
    values = [value for name, value in said if name == "PARAMETER"]
    assert values[0] == "num_ctx 512"
    assert {"temperature 0.6", "top_p 0.9", "top_k 20", "repeat_penalty 1.05", "repeat_last_n -1"} <= set(values)
    assert 'stop "<|end|>"' in values
    assert ("LICENSE", "Apache License\nVersion 2.0, January 2004") in said
    assert "TEMPLATE" not in dict(said)  # the small checkpoint's is nobody's
    assert "No TEMPLATE" in made.notes[0] and "Ollama goes by the template in the GGUF" in made.notes[0]
    assert made.next_steps == (f"cd {tmp_path / 'out'}", "ollama create small-q8_0", "ollama run small-q8_0")


def test_nothing_is_said_that_generation_config_does_not_say(shipment: Shipment) -> None:
    text, _ = modelfile(shipment, Recognised(family=None, why="x"))
    names = [value.split()[0] for name, value in commands(text) if name == "PARAMETER"]
    assert set(names) == {"num_ctx", "stop"}
    says(shipment, do_sample=False, temperature=0.9)
    text, _ = modelfile(shipment, Recognised(family=None, why="x"))
    assert ("PARAMETER", "temperature 0") in commands(text)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("adds_bos", [False, True])
def test_a_template_goes_along_where_bos_comes_out_right(
    family: Any, adds_bos: bool, shipment: Shipment, tmp_path: Path
) -> None:
    Path(shipment.artifact.path).write_bytes(shipments.gguf_bytes(adds_bos=adds_bos))
    text, said = modelfile(shipment, Recognised(family=family, refuses=family.writes_bos))
    template = dict(commands(text)).get("TEMPLATE")
    assert template == (None if family.writes_bos and not adds_bos else family.go)
    told = " ".join(said)
    assert ("Ollama puts BOS before it" in told) == (adds_bos and not family.writes_bos)
    assert all(len(line) <= 80 for line in text.splitlines() if line.startswith("#"))


def test_stop_tokens_that_a_modelfile_cannot_hold(shipment: Shipment, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["<|end|>", 'a"b', 'ends"', 'x"""y', "line\nend", "\x1b[31m"]
    monkeypatch.setattr("edgequant.export.shipping.ollama.stop_texts", lambda folder: texts)
    text, said = modelfile(shipment, Recognised(family=None, why="x"))
    values = [value for name, value in commands(text) if name == "PARAMETER" and value.startswith("stop")]
    assert values == ['stop "<|end|>"', 'stop """a"b"""']
    assert len([each for each in said if "stop token" in each]) == 4 and "\x1b" not in "".join(said)


def test_a_hostile_licence_and_name_end_no_quotes(tmp_path: Path) -> None:
    run = shipments.run(tmp_path, name="x\nFROM /etc/passwd\n")
    (tmp_path / "checkpoint" / "LICENSE").write_text('mine """\nSYSTEM """evil', encoding="utf-8")
    text, _ = modelfile(gather(run.path, "Q8_0"), Recognised(family=None, why="x"))
    names = [name for name, _ in commands(text)]
    assert names.count("FROM") == 1 and "SYSTEM" not in names and "LICENSE" not in names


# -- onnxruntime-genai


def test_a_gguf_is_refused(shipment: Shipment, tmp_path: Path) -> None:
    with pytest.raises(Error, match="onnxruntime-genai runs ONNX, and Q8_0 is a GGUF"):
        write_genai(shipment, tmp_path / "out")


@pytest.mark.slow
def test_genai_config_of_the_pocket_model(pocket_folder: Path, tmp_path: Path, pocket_run: Path) -> None:
    shipment = gather(pocket_run, "onnx-int8")
    says_nothing = json.loads((pocket_folder / "generation_config.json").read_text())
    write_genai(shipment, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "genai_config.json").read_text())
    model, decoder = config["model"], config["model"]["decoder"]
    assert (model["type"], model["context_length"], model["vocab_size"]) == ("llama", 512, 1024)
    assert sorted(model["eos_token_id"]) == sorted(says_nothing["eos_token_id"])
    sizes = [decoder[key] for key in ("head_size", "hidden_size", "num_attention_heads", "num_key_value_heads")]
    assert sizes == [64, 256, 4, 2] and decoder["num_hidden_layers"] == 4
    names = graph_names(tmp_path / "out" / "model.onnx")
    used = [*decoder["inputs"].values(), *decoder["outputs"].values()]
    assert {name.replace("%d", str(n)) for name in used for n in range(4)} <= names
    assert "position_ids" not in decoder["inputs"]
    search = config["search"]
    assert (search["do_sample"], search["past_present_share_buffer"], search["max_length"]) == (False, True, 512)


def graph_names(file: Path) -> set[str]:
    """Names of the graph's inputs and outputs, as the onnx package reads them."""
    import onnx

    graph = onnx.load(str(file), load_external_data=False).graph
    return {value.name for value in (*graph.input, *graph.output)}


@pytest.fixture(scope="module")
def pocket_run(pocket_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the pocket model with the ONNX format that is exported."""
    return pocket_runs.converted(pocket_folder, tmp_path_factory.mktemp("pocket") / "run", "onnx-int8")
