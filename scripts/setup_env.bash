#!/usr/bin/env bash
# The work behind setup.bash, in a process of its own. Messages go to stderr; stdout carries only
# the `export` lines that setup.bash takes over, and only after everything has succeeded.
#
#   setup_env.bash [--build-only]
#
# What is made, each with a record of what it was made from, so that nothing is made twice:
#   .venv             the virtual environment           .venv/.setup/installed
#   ros2_ws/install   what `colcon build` makes         ros2_ws/install/.setup-built
# A record is written last. While work goes on `.venv/.setup/unfinished` or
# `ros2_ws/build/.setup-unfinished` exists; who finds one left over starts that part anew.

set -uo pipefail
unset CDPATH
export LC_ALL=C

TESTED_DISTRO=jazzy
FREE_GIB=6 # what the dependencies need: torch alone is 0.7 GB, or about 5 GB with its CUDA packages

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P) || exit 1
venv=$root/.venv
ws=$root/ros2_ws
native=$root/mbrl_node/planning/native # its C++ is compiled by pip
pip_log=$venv/.setup/pip.log
colcon_log=$ws/log/setup-colcon.log

exec 3>&1 1>&2 # fd 3: to setup.bash

# ---------------------------------------------------------------------------------------- messages

say() { printf 'setup: %s\n' "$*"; }

fail() { # MESSAGE WHAT-TO-DO
    say "error: $1"
    say "$2"
    exit 1
}

# A line every half minute while something long runs, so that nobody thinks it hangs. It ends when
# fd 4 is closed, be it by stop_heartbeat or by the end of this process, however that comes.
start_heartbeat() { # WHAT LOG
    exec 4> >(
        exec 3>&- 9>&-
        started=$SECONDS
        while read -r -t 30 || [ $? -gt 128 ]; do
            say "  still $1 ($((SECONDS - started)) s), log: $2"
        done
    )
}

stop_heartbeat() { exec 4>&-; }

interrupted() {
    say "interrupted; source setup.bash again and it goes on"
    exit 130
}

trap interrupted INT TERM HUP

# --------------------------------------------------------------------- the environment as it comes

# Entries that an earlier setup put into the PATH-like variables are taken out first, those of other
# clones too: then sourcing twice changes nothing, and a ROS 2 found below is one of the user's own.
PATHS=(PATH PYTHONPATH LD_LIBRARY_PATH AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH
    PKG_CONFIG_PATH)

is_ours() { # ENTRY ROOT...
    local entry=$1 clone
    shift
    for clone; do
        case $entry in "$clone/.venv" | "$clone/.venv/"* | "$clone/ros2_ws/"*) return 0 ;; esac
    done
    return 1
}

forget_earlier_setup() {
    local name entry kept clones=("$root") entries
    IFS=: read -r -a entries <<<"${VIRTUAL_ENV:-}:${AMENT_PREFIX_PATH:-}"
    for entry in "${entries[@]}"; do
        [ -d "$entry/.setup" ] && clones+=("${entry%/.venv}")
    done
    for name in "${PATHS[@]}"; do
        [ -n "${!name:-}" ] || continue
        IFS=: read -r -a entries <<<"${!name}"
        kept=
        for entry in "${entries[@]}"; do
            is_ours "$entry" "${clones[@]}" || kept+=${kept:+:}$entry
        done
        printf -v "$name" %s "$kept"
    done
    unset VIRTUAL_ENV PYTHONHOME
}

# "sourced" when the shell has a ROS 2 of its own, else "wheels": ROS 2 from the package index.
choose_ros() {
    local entries entry
    ros=wheels
    ros_prefix=
    IFS=: read -r -a entries <<<"${AMENT_PREFIX_PATH:-}"
    for entry in ${entries[@]+"${entries[@]}"}; do
        if [ -e "$entry/share/ament_index/resource_index/packages/rclpy" ]; then
            ros=sourced
            ros_prefix=$entry
            ROS_DISTRO=${ROS_DISTRO:-unknown}
            return 0
        fi
    done
}

# ----------------------------------------------------------------------------------------- records

digest() { sha256sum | cut -c1-16; }

venv_record() {
    printf '%s\n' "root $root" "ros $ros ${ros_prefix:+$ROS_DISTRO $ros_prefix $(type -P python3)}" \
        "dependencies $(pyproject_parts | cat - "$root"/{constraints.txt,setup.py} "$native"/*.{h,cpp} | digest)"
}

pyproject_parts() { # what pip reads; not the settings of pytest, ruff and the like
    awk '/^\[/ { pip_reads = !/^\[+tool\./ || /^\[+tool\.setuptools/ } pip_reads' \
        "$root/pyproject.toml"
}

# Contents of what the build reads, and the names of what it only links to (launch/ may be absent).
ws_record() {
    printf '%s\n' "venv $(venv_record | digest)"
    (
        cd "$ws/src" || exit
        {
            find . -type f \( -path './mbrl_msgs/*' -o -name package.xml -o -name 'setup.*' \
                -o -name CMakeLists.txt -o -name COLCON_IGNORE \) -print0 | sort -z |
                xargs -0r sha256sum
            find . ../../launch ../../config \( -name __pycache__ -o -name '*.egg-info' \
                -o -name .pytest_cache \) -prune -o \! -type d -print 2>/dev/null | sort
        } | digest
    )
}

is_recorded() { [ -f "$2" ] && [ "$1" = "$(<"$2")" ]; }

is_installed() {
    [ -x "$venv/bin/python" ] && [ ! -e "$venv/.setup/unfinished" ] &&
        is_recorded "$(venv_record)" "$venv/.setup/installed"
}

is_built() {
    [ -f "$ws/install/local_setup.bash" ] && [ ! -e "$ws/build/.setup-unfinished" ] &&
        is_recorded "$(ws_record)" "$ws/install/.setup-built"
}

# ------------------------------------------------------------------------------------------ checks

# Sets executable, version, venv_module, headers and launch for the Python $1; false when that does
# not run.
probe() {
    local name value
    executable= version= venv_module= headers= launch=
    while IFS='=' read -r name value; do
        case $name in
            executable) executable=$value ;;
            version) version=$value ;;
            venv) venv_module=$value ;;
            headers) headers=$value ;;
            launch) launch=$value ;;
        esac
    done < <(cd / && "$1" "$root/scripts/probe_python.py" 2>/dev/null)
    [ -n "$version" ]
}

find_sourced_python() {
    local reason
    probe python3 || fail "ROS 2 $ROS_DISTRO is sourced, but there is no python3 that runs." \
        "Install python3, or open a shell without ROS 2 sourced, then source setup.bash again."
    reason=$(cd / && python3 -c 'import rclpy' 2>&1) || fail \
        "ROS 2 $ROS_DISTRO is sourced ($ros_prefix), but $(type -P python3) (Python $version) cannot import rclpy: ${reason##*$'\n'}" \
        "Put the Python that this ROS 2 was built for first on PATH (deactivate conda or another venv), or open a shell without ROS 2 sourced."
    case $version in
        3.11 | 3.12) ;;
        *) fail "ROS 2 $ROS_DISTRO uses Python $version; this needs Python 3.11 or 3.12, as ROS 2 Jazzy has." \
            "Source ROS 2 Jazzy instead, or open a shell without ROS 2 sourced: then ROS 2 comes as Python packages." ;;
    esac
    [ "$ROS_DISTRO" = "$TESTED_DISTRO" ] ||
        say "warning: ROS 2 $ROS_DISTRO is sourced; this is tested with $TESTED_DISTRO"
}

find_python_311() {
    local candidate seen= first=
    while read -r candidate; do
        probe "$candidate" || continue
        seen+="${seen:+, }$candidate is $version"
        [ "$version" = 3.11 ] || continue
        [ "$venv_module" = yes ] && [ "$headers" = yes ] && return
        first=${first:-$candidate}
    done < <(type -aP python3.11 python3 | awk '!seen[$0]++')
    [ -n "$first" ] || fail "Python 3.11 is needed (the ROS 2 and pybullet packages are built for it); found: ${seen:-no python3 that runs}." \
        "Install it (Debian 12: apt-get install python3 python3-venv python3-dev; elsewhere: pyenv or conda, Python 3.11 first on PATH), then source setup.bash again."
    probe "$first"
}

find_compiler() { # NAME...
    local name
    for name; do [ -n "$name" ] && type -P "${name%% *}" >/dev/null && return; done
    return 1
}

check_tools() {
    local lacking= packages= of="python3"
    [ "$ros" = wheels ] && of=python3.11
    [ "$executable" = /usr/bin/python3 ] && of=python3
    find_compiler "${CXX:-}" c++ g++ clang++ && find_compiler "${CC:-}" cc gcc clang ||
        { lacking+=", a C++ compiler" packages+=" g++"; }
    [ "$headers" = yes ] || { lacking+=", Python.h for $executable" packages+=" $of-dev"; }
    [ "$venv_module" = yes ] || { lacking+=", the venv module of $executable" packages+=" $of-venv"; }
    [ -z "$lacking" ] || fail "missing: ${lacking#, }." \
        "Install it (Debian, Ubuntu: apt-get install$packages), then source setup.bash again."
}

check_disk() {
    local free_kib
    { read -r _ && read -r _ _ _ free_kib _; } < <(df -Pk "$root") || return 0
    [ "$free_kib" -ge $((FREE_GIB * 1024 * 1024)) ] || fail \
        "only $((free_kib / 1024)) MiB are free on the disk of $root; the dependencies need up to $FREE_GIB GiB." \
        "Make room or clone to another disk, then source setup.bash again."
}

# ------------------------------------------------------------------------------------- the two parts

# What pip prints when the index does not answer; setuptools is the first thing that it asks for.
NO_INDEX='NewConnectionError|Failed to establish|name resolution|Name or service not known'
NO_INDEX+='|Network is unreachable|Connection refused|Connection ?reset|ReadTimeout|ConnectTimeout'
NO_INDEX+='|timed out|ProxyError|SSLError|Could not fetch URL|IncompleteRead'
NO_INDEX+='|(No matching distribution found for|Cannot install) setuptools'

explain_pip_failure() {
    local again="then source setup.bash again. Full log: $pip_log"
    if grep -qE 'No space left on device' "$pip_log"; then
        fail "the disk is full." "Make room in $root and in ${TMPDIR:-/tmp}, $again"
    elif grep -qiE "$NO_INDEX" "$pip_log"; then
        fail "the Python package index cannot be reached." \
            "Check the network, the proxy (HTTPS_PROXY) and pip's settings (pip config list), $again"
    elif grep -qE 'No matching distribution' "$pip_log"; then
        fail "no package for this machine ($(uname -sm), Python $version): $(grep -m1 'No matching distribution' "$pip_log")" \
            "The packages are for Linux on x86_64 with glibc 2.28 or newer; on another machine install ROS 2 $TESTED_DISTRO, source it, $again"
    fi
    tail -n 12 "$pip_log"
    fail "pip could not install the dependencies (its last lines are above)." "Mend that, $again"
}

remove_venv() { # REASON
    say "removing .venv: $1"
    rm -rf -- "$venv" || fail "cannot remove $venv." "Remove it, then source setup.bash again."
}

make_venv() {
    local extras=sim,viz,data,build,dev options=(--system-site-packages) about="about 2 min"
    if [ "$ros" = wheels ]; then
        find_python_311
        extras+=,ros-jazzy
        options=()
    else
        find_sourced_python
        [ "$version" = 3.11 ] || about="about 10 min: pybullet is compiled for Python $version"
    fi
    check_tools

    if [ -e "$venv" ] || [ -L "$venv" ]; then
        if [ ! -d "$venv/.setup" ]; then
            fail "$venv exists, but setup.bash did not make it." "Move it away, then source setup.bash again."
        elif [ -e "$venv/.setup/unfinished" ]; then
            remove_venv "its installation did not finish"
        elif ! "$venv/bin/python" -c '' 2>/dev/null ||
            [ "$(head -n 2 "$venv/.setup/installed")" != "$(venv_record | head -n 2)" ]; then
            remove_venv "it was made for another Python, ROS 2 or folder"
        fi
    fi
    if [ ! -d "$venv" ]; then
        check_disk
        say "creating .venv with $executable (Python $version) …"
        mkdir -p "$venv/.setup" && : >"$venv/.setup/unfinished" &&
            "$executable" -m venv ${options[@]+"${options[@]}"} "$venv" >"$pip_log" 2>&1 ||
            fail "cannot create $venv: $(tail -n 1 "$pip_log" 2>/dev/null)" "Mend that, then source setup.bash again."
    fi
    : >"$venv/.setup/unfinished"

    say "installing dependencies ($about) …"
    start_heartbeat installing "$pip_log"
    (
        cd "$root" || exit
        [ "$ros" = sourced ] || unset PYTHONPATH
        # The constraints as a variable hold for what pip needs to build packages, too.
        PIP_CONSTRAINT=constraints.txt PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 \
            _ROS_WHEELS_BOOTSTRAP_COMPLETE=1 "$venv/bin/python" -m pip install --no-input \
            --disable-pip-version-check --progress-bar off --use-pep517 -e ".[$extras]"
    ) >"$pip_log" 2>&1 3>&- 4>&- || { stop_heartbeat; explain_pip_failure; }
    stop_heartbeat
    compgen -G "$native/_*.so" >/dev/null || say "warning: the rollout in C++ was not built, planning" \
        "will be several times slower; to see why: $venv/bin/python -m pip install -v --no-deps -e $root"
    if [ "$ros" = wheels ]; then
        _ROS_WHEELS_BOOTSTRAP_COMPLETE=1 "$venv/bin/python" "$root/scripts/relocate_ros_wheels.py" ||
            fail "the CMake files of the ROS 2 packages could not be adapted." "Please report this with the line above."
        # colcon wants these in every prefix that it builds on; what they would do, setup.bash does.
        : >"$venv/local_setup.sh" && : >"$venv/local_setup.bash" && : >"$venv/local_setup.zsh"
    fi
    venv_record >"$venv/.setup/installed" && rm -f "$venv/.setup/unfinished"
}

remove_ws_build() {
    rm -rf -- "$ws/build" "$ws/install"
    mkdir -p "$ws/build" "$ws/install"
}

run_colcon() {
    local skip=()
    if [ "$ros" = sourced ] && probe "$venv/bin/python" && [ "$launch" = yes ]; then
        skip=(--packages-skip ros2_pip)
    fi
    rm -f "$ws/install/.setup-built"
    : >"$ws/build/.setup-unfinished"
    venv_record >"$ws/build/.setup-venv"
    start_heartbeat building "$colcon_log"
    (
        cd "$ws" || exit
        COLCON_EXTENSION_BLOCKLIST=colcon_core.argument_parser.defaults \
            "$venv/bin/python" "$venv/bin/colcon" build --symlink-install \
            --event-handlers console_direct- ${skip[@]+"${skip[@]}"} \
            --cmake-args -GNinja -DBUILD_TESTING=OFF
    ) >"$colcon_log" 2>&1 3>&- 4>&-
    local result=$?
    stop_heartbeat
    rm -f "$ws/build/.setup-unfinished"
    return "$result"
}

explain_colcon_failure() {
    local failed log=$colcon_log
    failed=$(sed -n 's/^Failed  *<<< \([^ ]*\).*/\1/p' "$log" | head -n 1)
    if [ -n "$failed" ] && [ -s "$ws/log/latest_build/$failed/stdout_stderr.log" ]; then
        log=$ws/log/latest_build/$failed/stdout_stderr.log
    fi
    # From the first error on, or the end when nothing looks like one.
    grep -m 1 -A 14 -E 'CMake Error|^FAILED|[Ee]rror:' "$log" || tail -n 15 "$log"
    fail "the build of ros2_ws did not finish${failed:+, its package $failed failed} (see above)." \
        "Mend that, then source setup.bash again. Full log: $log"
}

build_ws() {
    local from_scratch=
    mkdir -p "$ws/log"
    if [ -e "$ws/build/.setup-unfinished" ] || [ ! -d "$ws/install" ] ||
        ! is_recorded "$(venv_record)" "$ws/build/.setup-venv"; then
        remove_ws_build
        from_scratch=yes
    fi
    say "building ros2_ws …"
    if ! run_colcon; then
        [ -z "$from_scratch" ] || explain_colcon_failure
        say "that failed on top of the earlier build; building ros2_ws from scratch …"
        remove_ws_build
        run_colcon || explain_colcon_failure
    fi
    find -L "$ws/install" -type l -delete # links to what was removed from the sources
    ws_record >"$ws/install/.setup-built"
}

# --------------------------------------------------------------------------- the environment it makes

prepend() { # NAME ENTRY
    local old=${!1:-}
    export "$1=$2${old:+:$old}"
}

use_venv() {
    local libs
    export VIRTUAL_ENV=$venv
    prepend PATH "$venv/bin"
    if [ "$ros" = wheels ]; then
        for libs in "$venv"/lib/python3.*/site-packages/ros_*.libs; do prepend LD_LIBRARY_PATH "$libs"; done
        prepend LD_LIBRARY_PATH "$venv/lib"
        prepend AMENT_PREFIX_PATH "$venv"
        prepend CMAKE_PREFIX_PATH "$venv"
        export ROS_DISTRO=jazzy ROS_VERSION=2 ROS_PYTHON_VERSION=3
        export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1 # else importing rclpy starts Python a second time
    fi
}

use_ws() {
    set +u
    # shellcheck disable=SC1091
    . "$ws/install/local_setup.bash"
    set -u
    [ -n "${ROS_AUTOMATIC_DISCOVERY_RANGE:-}${ROS_LOCALHOST_ONLY:-}" ] ||
        export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
}

print_environment() {
    local name
    for name in "${PATHS[@]}" VIRTUAL_ENV ROS_DISTRO ROS_VERSION ROS_PYTHON_VERSION \
        _ROS_WHEELS_BOOTSTRAP_COMPLETE ROS_AUTOMATIC_DISCOVERY_RANGE PYTHONHOME; do
        if [ -n "${!name:-}" ]; then
            printf 'export %s=%q\n' "$name" "${!name}"
        else
            printf 'unset %s\n' "$name"
        fi
    done >&3
}

# -------------------------------------------------------------------------------------------- main

case $root in
    *[[:space:]:\;\'\"\\\$\`]*)
        fail "the path of this folder ($root) has a blank, colon, quote or the like in it; colcon cannot build there." \
            "Move or clone it to another folder, then source setup.bash again."
        ;;
esac
forget_earlier_setup
choose_ros

if ! is_installed || ! is_built; then
    [ "$(uname -s)" = Linux ] || fail "this runs on Linux only." "Use a Linux machine, container or WSL 2."
    mkdir -p "$ws/log" 2>/dev/null && exec 9>"$ws/log/setup.lock" ||
        fail "cannot write in $root." "Make it writable, or clone to a folder that is, then source setup.bash again."
    if type -P flock >/dev/null && ! flock -n 9; then
        say "another shell is setting this up; waiting for it …"
        flock 9
    fi
    made=
    is_installed || { make_venv && made=yes; }
    use_venv
    is_built || { build_ws && made=yes; }
    [ -z "$made" ] || say "ready in $SECONDS s"
else
    use_venv
fi
use_ws
if [ "${1:-}" = --build-only ]; then
    say "all is built; to set the environment of your shell as well, source it:  . $root/setup.bash"
else
    print_environment
fi
