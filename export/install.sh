#!/bin/sh
# Installs edgequant from the wheels beside this script into a virtual environment: no compiler, no network, no root.
#     ./install.sh [FOLDER OF THE ENVIRONMENT]      [venv, beside this script]
set -eu

machine='@machine@'  # what the wheels were made for
pythons='@pythons@'
glibc='@glibc@'
needs='@needs@'

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
venv=${1:-$here/venv}

[ "$(uname -s)" = Linux ] || fail "these wheels are for Linux, this is $(uname -s)"
[ "$(getconf LONG_BIT)" = 64 ] || fail "this is a 32-bit system; install the 64-bit one (on a Raspberry Pi: Raspberry Pi OS, 64-bit)"
[ "$(uname -m)" = "$machine" ] || fail "these wheels are for $machine, this is $(uname -m): bundle again with --device for this machine"

# Does a version reach another? Both as MAJOR.MINOR.
reaches() {
    [ "${1%%.*}" -gt "${2%%.*}" ] || { [ "${1%%.*}" -eq "${2%%.*}" ] && [ "${1#*.}" -ge "${2#*.}" ]; }
}
have=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/^glibc \([0-9]*\.[0-9]*\).*/\1/') || have=
[ -n "$have" ] || fail "these wheels need glibc $glibc or later, and this system has another C library"
reaches "$have" "$glibc" || fail "these wheels need glibc $glibc or later, this is $have: bundle on a system that is no newer than this one"

for flag in $needs; do
    grep -qw -- "$flag" /proc/cpuinfo || fail "this processor lacks $flag, which these wheels use: bundle again with --device for this machine"
done

python=
for wanted in $pythons; do
    for name in "python$wanted" python3; do
        is=$("$name" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
        [ "$is" = "$wanted" ] && "$name" -c 'import venv' 2>/dev/null && python=$name && break 2
    done
done
[ -n "$python" ] || fail "these wheels are for Python $pythons, and none of them is here (python3 is $(python3 --version 2>&1 || echo missing))"
[ "$("$python" -c 'import struct; print(struct.calcsize("P"))')" = 8 ] || fail "$python is a 32-bit program; install the 64-bit system"

[ ! -e "$venv" ] || [ -f "$venv/pyvenv.cfg" ] || fail "$venv is there and no virtual environment: name another folder"
# Without pip of its own: Debian keeps that in python3-venv, which may be missing. Bytecode is written when it is used.
"$python" -m venv --without-pip "$venv"
set -- "$here"/wheels/pip-*.whl  # the pattern first: a shell does not look for names inside a file
"$venv/bin/python" "$1/pip" --isolated --disable-pip-version-check install --quiet --no-index \
    --no-cache-dir --no-compile --force-reinstall --find-links "$here/wheels" edgequant
echo "edgequant $("$venv/bin/edgequant" --version | sed 's/.* //') is installed; next:"
echo "    $venv/bin/edgequant profile $here"
