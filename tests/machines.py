"""Recorded /proc and /sys of several machines, and what their programs print: the parts that are read, kept small.

Each function writes a machine's tree below `root`; `printed` answers for the programs that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

GET_THROTTLED = ("vcgencmd", "get_throttled")
READ_ADC = ("vcgencmd", "pmic_read_adc")
MAC_PRESSURE = ("notifyutil", "-g", "com.apple.system.thermalpressurelevel")


def put(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def printed(answers: Mapping[tuple[str, ...], str]) -> Callable[[Sequence[str]], str]:
    """A runner that knows these commands, and no others."""
    return lambda words: answers.get(tuple(words), "")


def cpufreq(
    root: Path, cpus: Sequence[int], *, now: int, highest: int, limit: int, governor: str, stats: str = ""
) -> None:
    """One policy's files, in kHz."""
    related = " ".join(map(str, cpus))
    for cpu in cpus:
        folder = f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
        for name, value in (
            ("scaling_cur_freq", now), ("cpuinfo_max_freq", highest), ("scaling_max_freq", limit),
            ("scaling_governor", governor), ("related_cpus", related),
        ):  # fmt: skip
            put(root, f"{folder}/{name}", f"{value}\n")
        if stats:
            put(root, f"{folder}/stats/time_in_state", stats)


def stat(root: Path, lines: Sequence[str]) -> None:
    """/proc/stat: one line a processor, in hundredths of a second."""
    put(root, "proc/stat", "\n".join(["cpu  0 0 0 0 0 0 0 0 0 0", *lines, "intr 1", "ctxt 2", "softirq 3", ""]))


def memory(root: Path, *, total: int, swap_total: int, swap_free: int, swapped_in: int, swapped_out: int) -> None:
    """/proc/meminfo in KiB and /proc/vmstat in pages."""
    sizes = {"MemTotal": total, "MemFree": 100, "SwapTotal": swap_total, "SwapFree": swap_free}
    put(root, "proc/meminfo", "".join(f"{name}:  {value} kB\n" for name, value in sizes.items()))
    put(
        root, "proc/vmstat", f"nr_free_pages 25\npgmajfault 12\npswpin {swapped_in}\npswpout {swapped_out}\npgfault 9\n"
    )


def pi_4(root: Path, *, hot: bool = False) -> Callable[[Sequence[str]], str]:
    """A Raspberry Pi 4 with 2 GB and a swap file, at its full 1.8 GHz or slowed down to 1.0 by heat."""
    khz = 1_000_000 if hot else 1_800_000
    stats = "600000 5000\n1000000 4000\n1800000 5100\n" if hot else "600000 5000\n1000000 200\n1800000 4900\n"
    cpufreq(root, range(4), now=khz, highest=1_800_000, limit=1_800_000, governor="ondemand", stats=stats)
    put(root, "sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
    put(root, "sys/class/thermal/thermal_zone0/temp", "83731\n" if hot else "61342\n")
    put(root, "sys/class/hwmon/hwmon0/name", "cpu_thermal\n")
    put(root, "sys/class/hwmon/hwmon0/temp1_input", "83731\n" if hot else "61342\n")
    put(root, "sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    busy = 4000 if hot else 100
    stat(root, [f"cpu{n} {busy} 0 20 90000 50 0 10 0 0 0" for n in range(4)])
    memory(root, total=1_894_000, swap_total=102_396, swap_free=30_396 if hot else 101_372,
           swapped_in=9000 if hot else 1000, swapped_out=40_000 if hot else 2500)  # fmt: skip
    put(root, "proc/self/cgroup", "0::/user.slice/user-1000.slice/session-1.scope\n")
    return printed({GET_THROTTLED: "throttled=0xe000e\n" if hot else "throttled=0x0\n"})


def pi_5(root: Path, *, flags: str = "0x0") -> Callable[[Sequence[str]], str]:
    """A Raspberry Pi 5 with 8 GB at 2.4 GHz; its fan and its 5 V analogue converter have sensors, too."""
    cpufreq(root, range(4), now=2_400_000, highest=2_400_000, limit=2_400_000, governor="ondemand")
    put(root, "sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
    put(root, "sys/class/thermal/thermal_zone0/temp", "54350\n")
    put(root, "sys/class/hwmon/hwmon1/name", "rp1_adc\n")
    put(root, "sys/class/hwmon/hwmon1/temp1_input", "59875\n")
    put(root, "sys/class/hwmon/hwmon2/name", "pwmfan\n")
    stat(root, [f"cpu{n} 1000 0 100 50000 10 0 0 0 0 0" for n in range(4)])
    memory(root, total=8_245_000, swap_total=524_272, swap_free=524_272, swapped_in=0, swapped_out=0)
    put(root, "proc/self/cgroup", "0::/user.slice/user-1000.slice/session-1.scope\n")
    return printed({GET_THROTTLED: f"throttled={flags}\n", READ_ADC: PI_5_RAILS})


#: `vcgencmd pmic_read_adc` of a Pi 5 at rest: twelve rails with both figures, two voltages alone
PI_5_RAILS = """\
   3V7_WL_SW_A current(0)=0.09271335A
     3V3_SYS_A current(1)=0.06148359A
     1V8_SYS_A current(2)=0.18348920A
    DDR_VDD2_A current(3)=0.02928032A
    DDR_VDDQ_A current(4)=0.00000000A
     1V1_SYS_A current(5)=0.19030080A
      0V8_SW_A current(6)=0.36206370A
    VDD_CORE_A current(7)=0.75540000A
     3V3_DAC_A current(17)=0.00006105A
     3V3_ADC_A current(18)=0.00030525A
     0V8_AON_A current(16)=0.00460275A
        HDMI_A current(22)=0.01342770A
   3V7_WL_SW_V volt(8)=3.71425800V
     3V3_SYS_V volt(9)=3.31237100V
     1V8_SYS_V volt(10)=1.80097500V
    DDR_VDD2_V volt(11)=1.10620200V
    DDR_VDDQ_V volt(12)=0.60488390V
     1V1_SYS_V volt(13)=1.10840100V
      0V8_SW_V volt(14)=0.80402940V
    VDD_CORE_V volt(15)=0.72085480V
     3V3_DAC_V volt(20)=3.31043700V
     3V3_ADC_V volt(21)=3.30891100V
     0V8_AON_V volt(19)=0.79771930V
        HDMI_V volt(23)=5.14624000V
       EXT5V_V volt(24)=5.15014000V
        BATT_V volt(25)=0.01269840V
"""


def laptop(root: Path, *, mains: bool = True, throttled: int = 12) -> None:
    """An Intel laptop with two fast cores (four threads) and four slow ones, a battery, a mouse, and a warm radio."""
    cpufreq(root, range(4), now=3_900_000, highest=4_500_000, limit=4_500_000, governor="powersave")
    cpufreq(root, range(4, 8), now=800_000, highest=3_300_000, limit=3_300_000, governor="powersave")
    put(root, "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "4200000\n")
    for cpu in range(8):
        folder = f"sys/devices/system/cpu/cpu{cpu}/thermal_throttle"
        put(root, f"{folder}/core_throttle_count", f"{throttled if cpu < 4 else 0}\n")
        put(root, f"{folder}/package_throttle_count", f"{throttled * 2}\n")
    for n, (kind, degrees) in enumerate((("acpitz", 27800), ("x86_pkg_temp", 91000), ("iwlwifi_1", 99000))):
        put(root, f"sys/class/thermal/thermal_zone{n}/type", f"{kind}\n")
        put(root, f"sys/class/thermal/thermal_zone{n}/temp", f"{degrees}\n")
    put(root, "sys/class/hwmon/hwmon5/name", "coretemp\n")
    put(root, "sys/class/hwmon/hwmon5/temp1_input", "91000\n")
    put(root, "sys/class/hwmon/hwmon5/temp2_input", "93000\n")
    put(root, "sys/class/hwmon/hwmon6/name", "nvme\n")
    put(root, "sys/class/hwmon/hwmon6/temp1_input", "96000\n")
    supplies = "sys/class/power_supply"
    put(root, f"{supplies}/AC/type", "Mains\n")
    put(root, f"{supplies}/AC/online", f"{int(mains)}\n")
    put(root, f"{supplies}/BAT0/type", "Battery\n")
    put(root, f"{supplies}/BAT0/status", "Full\n" if mains else "Discharging\n")
    put(root, f"{supplies}/hidpp_battery_0/type", "Battery\n")
    put(root, f"{supplies}/hidpp_battery_0/scope", "Device\n")
    put(root, f"{supplies}/hidpp_battery_0/status", "Discharging\n")
    stat(root, [f"cpu{n} 5000 10 500 90000 100 20 30 0 0 0" for n in range(8)])
    memory(root, total=16_000_000, swap_total=2_097_148, swap_free=2_097_148, swapped_in=0, swapped_out=0)


def cloud(root: Path, *, stolen: int = 100, throttled_usec: int = 0) -> None:
    """A small virtual machine: no clock, no sensors, a container with a quota on control groups of version 2."""
    stat(root, [f"cpu{n} 1000 0 100 50000 10 0 0 {stolen} 0 0" for n in range(2)])
    memory(root, total=4_000_000, swap_total=0, swap_free=0, swapped_in=0, swapped_out=0)
    put(root, "proc/self/cgroup", "0::/\n")
    put(root, "sys/fs/cgroup/cpu.max", "150000 100000\n")
    put(root, "sys/fs/cgroup/memory.max", "1073741824\n")
    held = f"nr_throttled {throttled_usec // 1000}\nthrottled_usec {throttled_usec}\n"
    put(root, "sys/fs/cgroup/cpu.stat", f"usage_usec 9\nnr_periods 500\n{held}")


def rapl(root: Path, *, microjoules: int, dram: int = 10**9) -> None:
    """Counters of a laptop: its package with the cores within, the memory, the platform once more, and a copy."""
    top = "sys/class/powercap"
    for folder, name, value, wraps in (
        ("intel-rapl:0", "package-0", microjoules, 262_143_328_850), ("intel-rapl:0:0", "core", 77, 262_143_328_850),
        ("intel-rapl:0:1", "dram", dram, 65_712_999_613), ("intel-rapl:1", "psys", microjoules * 3, 262_143_328_850),
        ("intel-rapl-mmio:0", "package-0", microjoules, 262_143_328_850),
    ):  # fmt: skip
        put(root, f"{top}/{folder}/name", f"{name}\n")
        put(root, f"{top}/{folder}/energy_uj", f"{value}\n")
        put(root, f"{top}/{folder}/max_energy_range_uj", f"{wraps}\n")


def rk3588(root: Path, *, hot: bool = False) -> None:
    """An Orange Pi 5: four small cores, two clusters of big ones, of which heat holds one down to 1.4 GHz."""
    cpufreq(root, range(4), now=1_800_000, highest=1_800_000, limit=1_800_000, governor="ondemand")
    cpufreq(root, range(4, 6), now=2_304_000, highest=2_304_000, limit=2_304_000, governor="ondemand")
    limit = 1_416_000 if hot else 2_304_000
    cpufreq(root, range(6, 8), now=limit, highest=2_304_000, limit=limit, governor="ondemand")
    zones = ("soc", "bigcore0", "bigcore1", "littlecore", "center", "gpu", "npu")
    for n, name in enumerate(zones):
        put(root, f"sys/class/thermal/thermal_zone{n}/type", f"{name}-thermal\n")
        put(root, f"sys/class/thermal/thermal_zone{n}/temp", "86076\n" if hot and name == "bigcore1" else "61923\n")
    stat(root, [f"cpu{n} 1000 0 100 50000 10 0 0 0 0 0" for n in range(8)])
    memory(root, total=8_141_000, swap_total=0, swap_free=0, swapped_in=0, swapped_out=0)
