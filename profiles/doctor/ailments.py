"""What is not as it should be on a machine, and for each the line that mends it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from .. import kernels
from ..machine import surroundings, throttling
from ..machine.surroundings import Surroundings
from .kernel_trials import DIED, PLAIN, REPACKED, RIGHT, WRONG, Trial

STOPS, SLOWS, NOTES = "stops", "slows", "note"
_LLAMACPP, _LLAMA_PACKAGE = "llama.cpp", "llama-cpp-python"
_ENOUGH_DISK, _ENOUGH_TEMPORARY, _LITTLE_MEMORY = 2 * 10**9, 5 * 10**8, 10**9
_USUAL_PAGE = 4096
_COMPILE = "pip install --force-reinstall --no-cache-dir --no-deps --no-binary llama-cpp-python llama-cpp-python"
_NO_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
_WITHOUT_AMX = f'CFLAGS="{_NO_AMX}" CXXFLAGS="{_NO_AMX}" {_COMPILE}'
_OLDEST_INSTRUCTIONS = f'CMAKE_ARGS="-DGGML_NATIVE=OFF" {_COMPILE}'
_CROSS_COMPILED = "or on another machine: edgequant bundle RUN --device NAME -o bundle.tar (here: sh bundle/install.sh)"
_64_BITS = "write the 64-bit image to the card or disk (Raspberry Pi Imager: Raspberry Pi OS, 64-bit)"
_PERFORMANCE = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
_4K_KERNEL = "echo kernel=kernel8.img | sudo tee -a /boot/firmware/config.txt && sudo reboot"
_SUPPLY = "a supply of 5 V and 5 A (Pi 5) or 3 A (older) on a short cable; then: vcgencmd get_throttled"
_COOLING = "a heat sink or a fan; then: vcgencmd measure_temp"
#: our name of an instruction set -> ggml's, for those that its kernels are much faster with; AMX is left out on purpose
_SPEEDS_UP = {
    "avx2": "avx2",
    "fma": "fma",
    "f16c": "f16c",
    "avx_vnni": "avx_vnni",
    "avx512f": "avx512",
    "avx512_vnni": "avx512_vnni",
    "dotprod": "dotprod",
    "i8mm": "matmul_int8",
}


@dataclass(frozen=True, kw_only=True)
class Ailment:
    """Something that stops or slows the work, or that one should know; `mend` is the line that mends it."""

    weight: str  # STOPS | SLOWS | NOTES
    what: str
    mend: str


def of_engines(notes: Mapping[str, str], around: Surroundings) -> list[Ailment]:
    """Engines that did not load: name -> why, "" where one did."""
    found = [_unloaded(name, note) for name, note in notes.items() if note]
    if found and around.page_bytes != _USUAL_PAGE and around.machine == "aarch64":
        what = f"the kernel's pages have {around.page_bytes // 1024} KB, which not every build of an engine takes"
        found.append(Ailment(weight=STOPS, what=what, mend=_4K_KERNEL))
    return found


def _unloaded(name: str, note: str) -> Ailment:
    package = _LLAMA_PACKAGE if name == _LLAMACPP else name
    mend = f"pip install --force-reinstall {package}"
    if name == _LLAMACPP and "SIGILL" in note:
        mend = _OLDEST_INSTRUCTIONS
    return Ailment(weight=STOPS, what=f"{name} cannot be loaded: {note}", mend=mend)


def of_kernels(trials: Sequence[Trial], *, isa: Collection[str]) -> list[Ailment]:
    """Families that died or computed wrong values."""
    found = _of_repack(trials)
    repacked_alone = {family for family, ways in _ways(trials).items() if _is_cured_by_plain(ways)}
    for trial in trials:
        if trial.verdict == RIGHT or (trial.way == REPACKED and trial.family in repacked_alone):
            continue
        if trial.way == REPACKED and _ways(trials)[trial.family][PLAIN].verdict == trial.verdict:
            continue  # said once, of the plain one
        found.append(_of_trial(trial, isa))
    return found


def _of_repack(trials: Sequence[Trial]) -> list[Ailment]:
    """What is right as soon as llama.cpp leaves out its repacked kernels; edgequant then does so by itself."""
    bad = [ways[REPACKED] for ways in _ways(trials).values() if _is_cured_by_plain(ways)]
    if not bad:
        return []
    how = ", ".join(dict.fromkeys(trial.signal or trial.verdict for trial in bad))
    what = f"llama.cpp's repacked kernels fail here ({how}: {', '.join(trial.family for trial in bad)})"
    what += "; edgequant runs it without them (repack off), as llama-server --no-repack does"
    return [Ailment(weight=SLOWS, what=what, mend=_WITHOUT_AMX)]


def _ways(trials: Iterable[Trial]) -> dict[str, dict[str, Trial]]:
    """Family of llama.cpp -> way -> trial."""
    ways: dict[str, dict[str, Trial]] = {}
    for trial in trials:
        if trial.way:
            ways.setdefault(trial.family, {})[trial.way] = trial
    return ways


def _is_cured_by_plain(ways: Mapping[str, Trial]) -> bool:
    return ways[PLAIN].verdict == RIGHT != ways[REPACKED].verdict


def _of_trial(trial: Trial, isa: Collection[str]) -> Ailment:
    name = f"{trial.engine}: {trial.family}"
    if trial.family.startswith("MatMulInteger,") and trial.verdict == WRONG and kernels.reduces_range(isa):
        what = f"{name}: sums of two products are cut off at 16 bits on this processor"
        return Ailment(weight=NOTES, what=what, mend="none needed: edgequant keeps int8 weights within 7 bits here")
    if trial.verdict == WRONG:
        what = f"{name} computes wrong values ({trial.said})"
    elif trial.verdict == DIED:
        what = f"{name} dies of {trial.signal}"
    else:
        what = f"{name} could not be tried: {trial.said}"
    mend = _OLDEST_INSTRUCTIONS if trial.engine == _LLAMACPP else "pip install --force-reinstall onnxruntime"
    return Ailment(weight=STOPS, what=what, mend=mend)


def of_build(built: Collection[str] | None, isa: Collection[str]) -> list[Ailment]:
    """Instruction sets that the processor has and llama.cpp's build leaves out; `built` in ggml's words."""
    if built is None:
        return []
    unused = [ours for ours, theirs in _SPEEDS_UP.items() if ours in isa and theirs not in built]
    if not unused:
        return []
    what = f"llama.cpp was built without {', '.join(unused)}, which this processor has"
    return [Ailment(weight=SLOWS, what=what, mend=_COMPILE)]


def of_compiling(found: Iterable[Ailment], around: Surroundings) -> list[Ailment]:
    """What it takes to install llama-cpp-python, where that is to mend something: nobody offers a ready wheel of it."""
    if not any(_LLAMA_PACKAGE in each.mend for each in found):
        return []
    what = f"there is no ready wheel of {_LLAMA_PACKAGE}, so that pip compiles it"
    if around.machine == "aarch64":
        what += ", which takes a Raspberry Pi tens of minutes"
        return [Ailment(weight=NOTES, what=what, mend=_CROSS_COMPILED)]
    if around.system.startswith("Linux") and "g++" not in around.compilers:
        return [Ailment(weight=SLOWS, what=f"{what}, and there is no compiler here", mend="sudo apt install g++")]
    return []


def of_surroundings(around: Surroundings, *, isa: Collection[str]) -> list[Ailment]:
    """Everything beside the engines, what weighs most first."""
    found = [*_of_bits(around), *_of_memory(around), *_of_processors(around), *_of_heat(around), *_of_disk(around)]
    for fact in kernels.FACTS:
        formats = [name for name in fact.formats if fact.holds(name, isa)]
        if formats and fact.word == kernels.SLOW:
            what = f"slow on this processor: {', '.join(formats)} ({fact.reason})"
            found.append(Ailment(weight=NOTES, what=what, mend="edgequant run MODEL --formats Q4_K_M,Q8_0,onnx-w8a8"))
    return sorted([*found, *_of_packages(around)], key=lambda each: (STOPS, SLOWS, NOTES).index(each.weight))


def _of_bits(around: Surroundings) -> list[Ailment]:
    if around.python_bits == 64:
        return []
    kernel = "a 64-bit kernel" if surroundings.is_64_bit_kernel(around.machine) else "a 32-bit kernel"
    what = f"this is a 32-bit system on {kernel}: the engines have no kernels for it"
    return [Ailment(weight=STOPS, what=what, mend=_64_BITS)]


def _of_memory(around: Surroundings) -> list[Ailment]:
    found = []
    if around.memory_limit_bytes is not None:
        what = f"a control group holds this process to {_gb(around.memory_limit_bytes)} of memory"
        found.append(Ailment(weight=NOTES, what=what, mend="docker run --memory 8g ... (or MemoryMax= of the unit)"))
    if around.swap.used_bytes > 10**8:
        what = f"{_gb(around.swap.used_bytes)} of swap is in use: what is measured now may wait for it"
        found.append(Ailment(weight=SLOWS, what=what, mend="sudo swapoff -a && sudo swapon -a"))
    if around.memory_bytes <= 2 * _LITTLE_MEMORY and not around.swap.total_bytes:
        what = f"{_gb(around.memory_bytes)} of memory and no swap: what does not fit is killed"
        found.append(Ailment(weight=NOTES, what=what, mend="sudo apt install zram-tools"))
    elif around.usable_bytes < _LITTLE_MEMORY / 2:
        what = f"only {_gb(around.usable_bytes)} of memory is free"
        found.append(Ailment(weight=SLOWS, what=what, mend="ps aux --sort=-rss | head (and close what is not needed)"))
    return found


def _of_processors(around: Surroundings) -> list[Ailment]:
    found = []
    if around.allowed_cpus < around.online_cpus:
        what = f"this process may use {around.allowed_cpus} of {around.online_cpus} processors"
        found.append(Ailment(weight=SLOWS, what=what, mend=f"taskset -cp 0-{around.online_cpus - 1} $$"))
    if around.cpu_quota is not None and around.cpu_quota < around.allowed_cpus:
        what = f"a control group pays for {around.cpu_quota:g} of {around.allowed_cpus} processors"
        found.append(Ailment(weight=SLOWS, what=what, mend=f"docker run --cpus {around.allowed_cpus} ..."))
    if "powersave" in around.governors and around.machine == "aarch64":
        what = "the governor powersave holds the processors at their lowest clock"
        found.append(Ailment(weight=SLOWS, what=what, mend=_PERFORMANCE))
    return found


def _of_heat(around: Surroundings) -> list[Ailment]:
    """Throttling now, on a Raspberry Pi also since it started, and the battery."""
    found, flags = [], around.throttling.pi_flags or 0
    for words in throttling.decode_pi(flags):
        mend = _SUPPLY if "voltage" in words or "requency" in words else _COOLING
        found.append(Ailment(weight=SLOWS, what=f"the board says: {words}", mend=mend))
    level = around.throttling.mac_level
    if level:
        what = f"thermal pressure is {throttling.MAC_LEVELS[min(level, len(throttling.MAC_LEVELS) - 1)]}"
        found.append(Ailment(weight=SLOWS, what=what, mend="let it cool: pmset -g therm says when"))
    if around.on_battery:
        what = "the machine runs on its battery, where many slow down"
        found.append(Ailment(weight=SLOWS, what=what, mend="plug it in before measuring"))
    return found


def _of_disk(around: Surroundings) -> list[Ailment]:
    found = []
    if around.disk_free_bytes < _ENOUGH_DISK:
        what = f"{_gb(around.disk_free_bytes)} is free in {around.disk_folder}"
        found.append(Ailment(weight=SLOWS, what=what, mend="edgequant run MODEL --out /path/on/a/larger/disk"))
    if around.temporary_free_bytes < _ENOUGH_TEMPORARY or (
        around.temporary_in_memory and around.temporary_free_bytes < _ENOUGH_DISK
    ):
        where = "in memory" if around.temporary_in_memory else "nearly full"
        what = f"temporary files go to {around.temporary_folder}, {where}: {_gb(around.temporary_free_bytes)} free"
        found.append(Ailment(weight=SLOWS, what=what, mend="export TMPDIR=/var/tmp"))
    return found


def _of_packages(around: Surroundings) -> list[Ailment]:
    """What converting and bundling need; a device that only measures needs none of it."""
    found = []
    if not around.extras["convert"]:
        what = "converting and verifying need torch and transformers, which are not here"
        found.append(Ailment(weight=NOTES, what=what, mend='pip install "edgequant[convert]"'))
    elif _compiles_for_boards(around) and "aarch64-linux-gnu-g++" not in around.compilers:
        what = "a bundle for an ARM board needs a cross-compiler, which is not here"
        found.append(Ailment(weight=NOTES, what=what, mend="sudo apt install g++-aarch64-linux-gnu"))
    return found


def _compiles_for_boards(around: Surroundings) -> bool:
    """Whether wheels for ARM boards are cross-compiled here: macOS and Windows make none, an ARM Linux its own."""
    return around.machine == "x86_64" and around.system.startswith("Linux")


def _gb(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2g} GB"
