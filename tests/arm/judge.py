"""What the boards answered, beside this machine's figures on the same artifacts: a table, and exit code 1 on a fault.

judge.py WORK BOARD:PROCESSOR:ARCHITECTURE...

Both engines round activations to 8 bits and add in another order than on x86, so that divergences from the reference
are not the same to the last digit, and an answer whose two best options lie close to each other may flip.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from prepare import FORMATS, SERVED

from edgequant.profiles import device, kernels

#: of a format's own mean divergence from the reference, plus nats; 0.2 % of 0.083 and 1e-5 of 0.001 nats were seen
ALLOWED_SHARE, ALLOWED_NATS = 0.02, 1e-4
ALLOWED_FLIPS = 0.03  # of all items
#: of each format, what a profile must have measured
MEASURED = ("load_seconds", "prefill_tokens_per_second", "decode_tokens_per_second", "must_fit_bytes")
#: formats whose head is made as the profile's processor has it
HEADED = ("onnx-w8a8",)
_LINE = "{:<12}{:<5}{:<22}{}"


Row = dict[str, Any] | None


class Board:
    """One board's answers, and what is to be held against them."""

    def __init__(self, work: Path, stated: str) -> None:
        self.name, self.processor, self.architecture = stated.split(":")
        self.profile, self.folder = device.load(self.name), work / self.name
        file = work / f"{self.name}.json"
        told = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"processors": 0, "steps": []}
        self.processors = told["processors"]
        self.steps = {each["step"]: each for each in told["steps"]}
        self.rows = read_rows(self.folder / "results.jsonl")
        self.here = read_rows(work / self.architecture / "here" / "results.jsonl")
        self.wheels = json.loads((work / "prepared.json").read_text(encoding="utf-8"))["wheels"][self.name]

    def verdicts(self) -> list[tuple[str, str, bool]]:
        """(what, what was seen, whether it is right) for everything."""
        found = [self._installs(), *self._refuses(), *self._dies(), *self._doctor(), self._gate()]
        return [*found, *self._profile(), *self._evaluates()]

    def _code(self, step: str) -> int:
        return int(self.steps[step]["code"]) if step in self.steps else -1

    def _installs(self) -> tuple[str, str, bool]:
        wheel = next((name for name in self.wheels if name.startswith("llama_cpp_python")), "none")
        done = self.steps.get("install", {"seconds": 0})
        return "install.sh", f"{done['seconds']:.0f} s, {wheel[17:]}", self._code("install") == 0

    def _refuses(self) -> list[tuple[str, str, bool]]:
        if "refuses" not in self.steps:
            return []
        said = self.steps["refuses"]["stderr"].strip()
        right = self._code("refuses") != 0 and len(said.splitlines()) == 1 and "lacks" in said
        return [("refuses dotprod's", said[:44], right)]

    def _dies(self) -> list[tuple[str, str, bool]]:
        text = json.dumps([[each["stdout"], each["stderr"]] for each in self.steps.values()])
        named = [name for name in ("SIGILL", "SIGSEGV", "SIGABRT") if name in text]
        return [("no death", ", ".join(named) or f"none in {len(self.steps)} steps", not named)]

    def _doctor(self) -> list[tuple[str, str, bool]]:
        if self._code("doctor") != 0:
            return [("doctor", f"exit code {self._code('doctor')}", False)]
        found = json.loads(self.steps["doctor"]["stdout"])
        wrong = [f"{t['family']} {t['way']}: {t['verdict']}" for t in found["trials"] if t["verdict"] != "right"]
        kernels = next(engine["kernels"] for engine in found["engines"] if engine["name"] == "llama.cpp")
        wants = "dotprod" in self.architecture
        repacked = sum(bool(trial["repacked"]) for trial in found["trials"])
        said = f"{len(found['trials'])} trials right, {repacked} repacked" if not wrong else "; ".join(wrong)
        return [
            ("doctor", said, not wrong and found["runs"]),
            ("kernels of llama.cpp", ", ".join(kernels), ("dotprod" in kernels) is wants and "neon" in kernels),
            ("processor's", ", ".join(found["isa"]), ("dotprod" in found["isa"]) is wants),
        ]

    def _gate(self) -> tuple[str, str, bool]:
        parts, failed, n = list[str](), list[str](), 0
        for name, each in self.steps.items():
            if name.startswith("gate "):
                n += 1
                checks = json.loads(each["stdout"])["checks"] if each["stdout"].startswith("{") else {"all": "failed"}
                failed += [f"{name[5:]}: {what}" for what, said in checks.items() if said.startswith("failed")]
                parts += [what for what, said in checks.items() if said.startswith("passed")]
        said = "; ".join(failed) or f"{n} artifacts: {', '.join(dict.fromkeys(parts))}"
        return "gate", said, bool(n) and not failed and bool(parts)

    def _profile(self) -> list[tuple[str, str, bool]]:
        """Every figure is there, and the choices of the board's profile were taken: threads, and the ONNX head."""
        rows = {(name, metric): self.rows.get((name, metric)) for name in FORMATS.split(",") for metric in MEASURED}
        bad = [" ".join(which) for which, row in rows.items() if not row or row["status"] != "ok" or not row["samples"]]
        said = f"no {', '.join(bad)}" if bad else f"{len(rows)} figures of {len(FORMATS.split(','))} formats"
        threads = sorted({row["parameters"]["settings"]["threads"] for row in rows.values() if row})
        wanted = min(self.profile.decode_threads, self.processors)
        return [
            ("profile", said, self._code("profile") == 0 and not bad),
            ("threads", f"{threads}, the profile's on {self.processors} processors {wanted}", threads == [wanted]),
            *(self._head(name) for name in HEADED),
        ]

    def _head(self, name: str) -> tuple[str, str, bool]:
        """A processor without dot products unpacks blocks for each product, so that the head is none of them."""
        manifest = self.folder / "artifacts" / f"model-{name}.manifest.json"
        told = json.loads(manifest.read_text(encoding="utf-8"))["options"] if manifest.is_file() else {}
        wanted = "dotprod" not in self.profile.isa
        return name, f"plain head {told.get('plain_head')}, the profile's {wanted}", told.get("plain_head") is wanted

    def _evaluates(self) -> list[tuple[str, str, bool]]:
        found = []
        for name in FORMATS.split(","):
            here, there = (rows.get((name, "kl_divergence")) for rows in (self.here, self.rows))
            found.append(self._divergence(name, here, there))
            here, there = (rows.get((name, "accuracy")) for rows in (self.here, self.rows))
            found.append(self._answers(name, here, there))
        return found

    def _answers(self, name: str, here: Row, there: Row) -> tuple[str, str, bool]:
        if not here or not there or len(here["samples"]) != len(there["samples"]):
            return name, "answers: no row", False
        n = len(here["samples"])
        flips = sum(a != b for a, b in zip(here["samples"], there["samples"], strict=True))
        return name, f"{flips} of {n} answers are others", flips <= ALLOWED_FLIPS * n

    def _divergence(self, name: str, here: Row, there: Row) -> tuple[str, str, bool]:
        if not here or not there or there["status"] != "ok":
            return name, "divergence: no row", False
        a, b = (sum(row["samples"]) / len(row["samples"]) for row in (here, there))
        said = f"divergence {b:.5f}, here {a:.5f} nats ({b - a:+.1e})"
        allowed, unpacked = ALLOWED_NATS + ALLOWED_SHARE * a, kernels.unpacks_blocks(self.profile.isa)
        if unpacked and name == "onnx-int8":  # products in float32 there: activations are not rounded, so it is nearer
            return name, f"{said}, unpacked to float32", b - a <= allowed
        return name, said, abs(b - a) <= allowed


def read_rows(file: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """(format, metric) -> the last row of it."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []
    return {(row["format"], row["metric"]): row for row in rows}


def main() -> None:
    """Print the table."""
    work, faults = Path(sys.argv[1]), 0
    for stated in sys.argv[2:]:
        board = Board(work, stated)
        for what, seen, right in board.verdicts():
            faults += not right
            print(_LINE.format(board.name, "ok" if right else "NO", what, seen))
    choices = json.loads((work / "prepared.json").read_text(encoding="utf-8"))["choices"]
    for architecture, boards in SERVED.items():
        others = [name for name in boards if choices[name] != architecture]
        faults += bool(others)
        print(f"compiled for {architecture}: {', '.join(boards)}: {'NO: ' + ', '.join(others) if others else 'yes'}")
    print("passed" if not faults else f"{faults} faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
