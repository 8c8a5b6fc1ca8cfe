#!/usr/bin/env bash
# edgequant on 64-bit ARM, under user-mode emulation: bundles of the pocket model are installed with their install.sh and
# measured on three boards' processors. Answers and crashes are those of the real aarch64 kernels; speeds are not.
#
# For root on Debian 12 or later, x86, in a clone where `make install` was run. Everything made here stays in .arm/, so
# that a second run is quick: the root (4 minutes), two builds of llama-cpp-python (6 minutes each), the other wheels.
# $EDGEQUANT_DEBIAN_MIRROR: a mirror of Debian [the system's own]. With EDGEQUANT_ARM_PREPARED=1 the boards take the
# bundles that are there.
set -euo pipefail
cd "$(dirname "$0")/../.."

# In a mount namespace of its own, so that nothing stays mounted whatever happens.
if [ -z "${EDGEQUANT_ARM_INSIDE:-}" ]; then
    [ "$(id -u)" = 0 ] || { echo "make test-arm needs root: it mounts, and registers qemu with the kernel" >&2; exit 1; }
    exec env EDGEQUANT_ARM_INSIDE=1 unshare --mount --propagation private "$0" "$@"
fi

suite=bookworm
cache=$PWD/.arm
root=$cache/root
work=$cache/work
emulator=/usr/bin/qemu-aarch64-static
handler=edgequant-aarch64
# board, its processor, and what its llama-cpp-python is compiled for
boards="rpi3b-plus:cortex-a53:armv8-a rpi4-4gb:cortex-a72:armv8-a rpi5-4gb:cortex-a76:armv8.2-a+dotprod+fp16"

say() { printf '\n== %s (%s)\n' "$*" "$(date -u +%H:%M:%S)"; }

say "tools"
missing=
for package in qemu-user-static debootstrap g++-aarch64-linux-gnu; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    apt-get update -q
    # shellcheck disable=SC2086  # one word a package
    DEBIAN_FRONTEND=noninteractive apt-get install -q --yes --no-install-recommends $missing
fi

# F: the kernel opens the emulator now, so that it is found inside the root; O: it opens the programs itself.
magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
formats=/proc/sys/fs/binfmt_misc
[ -e $formats/register ] || mount -t binfmt_misc binfmt_misc $formats
if [ ! -e $formats/$handler ]; then
    printf '%s' ":$handler:M::$magic:$mask:$emulator:OF" > $formats/register
    trap 'echo -1 > $formats/$handler' EXIT
fi

if [ ! -e "$root/.ready" ]; then
    say "an arm64 root of $suite"
    mirror=${EDGEQUANT_DEBIAN_MIRROR:-$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -1)}
    mirror=${mirror:-$(sed -n 's/^deb \(\[.*\] \)\?\(http[^ ]*\).*/\2/p' /etc/apt/sources.list | head -1)}
    rm -rf "$root"
    mkdir -p "$root"
    include=python3,python3-venv,libgomp1
    debootstrap --arch=arm64 --foreign --variant=minbase --include=$include $suite "$root" "$mirror" > "$cache/root.log"
    chroot "$root" /debootstrap/debootstrap --second-stage >> "$cache/root.log"
    touch "$root/.ready"
fi
# Without x86's /sys: onnxruntime believes what it reads of processors there, and dies.
mount --bind /proc "$root/proc"
mkdir -p "$work" "$root$work" "$root$PWD/tests/pocket/model" "$root/arm"
mount --bind "$work" "$root$work"
mount --bind -o ro "$PWD/tests/pocket/model" "$root$PWD/tests/pocket/model"
mount --bind -o ro "$PWD/tests/arm" "$root/arm"

export EDGEQUANT_CACHE_DIR=$cache/cache
say "runs of the pocket model here, and a bundle for each board"
# shellcheck disable=SC2086
[ -n "${EDGEQUANT_ARM_PREPARED:-}" ] || .venv/bin/python tests/arm/prepare.py "$work" $boards

# Each board has one of this machine's processors to itself: emulated threads that wait for each other by spinning take
# minutes where they have to share. What a board said is shown when all are done.
say "the boards"
number=0
for board in $boards; do
    IFS=: read -r name processor _ <<< "$board"
    # shellcheck disable=SC2016  # the inner shell's own words
    unshare --mount --propagation private sh -ec '
        mount --bind "$1" "$2/proc/cpuinfo"
        exec taskset -c "$3" chroot "$2" /usr/bin/env -i PATH=/usr/bin:/bin HOME="/root/$5" LANG=C.UTF-8 COLUMNS=80 \
            QEMU_CPU="$4" python3 /arm/on_board.py "$6" "$5"
    ' board "tests/arm/$processor.cpuinfo" "$root" $((number % $(nproc))) "$processor" "$name" "$work" \
        > "$work/$name.log" 2>&1 &
    number=$((number + 1))
done
wait
for board in $boards; do
    IFS=: read -r name processor _ <<< "$board"
    say "$name: $processor"
    cat "$work/$name.log"
done

say "summary"
# shellcheck disable=SC2086
.venv/bin/python tests/arm/judge.py "$work" $boards
