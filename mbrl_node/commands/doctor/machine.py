"""What computes, the disk, and the operating system's part in keeping time."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from mbrl_node.commands.doctor.checks import Check, Level, checkout, install, trial
from mbrl_node.commands.folders import folders

_IMPORT_LIMIT = 90.0  # s for torch on a slow disk
_GIB = 2**30
_LITTLE, _TOO_LITTLE = 2 * _GIB, _GIB // 10  # free on the disk; a run is about 0.5 MB a minute
_PRIORITY = 50  # that the control process asks for, `thread_priority`
_SHARED = 16 * 2**20  # of shared memory that DDS takes for a few processes
_PROGRAM = b"#include <cmath>\nint main(int n, char**) { return int(std::sqrt(n - 1.0)); }\n"


def computing() -> Iterator[Check]:
    """torch, the compiled rollouts and the GPU."""
    done = trial("-m", "mbrl_node.commands.doctor.trial_torch", limit=_IMPORT_LIMIT)
    facts = done.facts
    again = install("mbrl-node")
    if "torch" not in facts:
        yield Check("torch", "problem", f"cannot be used: {done.failure}", again)
        return
    torch = facts["torch"]
    text = f"{torch['version']}, {torch['threads']} threads, {torch['gflops']:.0f} GFLOP/s in fp32"
    yield Check("torch", "ok", text)
    yield from _gpu(facts.get("gpu"), done.failure)
    if "rollouts" not in facts:
        text = f"could not be tried: {done.failure}"
        yield Check("rollouts in C++", "problem", text, _rebuild())
        return
    yield from _rollouts(facts["rollouts"], facts.get("speed", {}), done.failure)


def _gpu(gpu: Mapping[str, Any] | None, failure: str) -> Iterator[Check]:
    if gpu is None:
        yield Check("GPU", "warning", f"could not be tried: {failure}", "see nvidia-smi")
    elif gpu.get("name"):
        bf16 = "with bf16" if gpu["bf16"] else "without bf16"
        yield Check("GPU", "ok", f"{gpu['name']}, {gpu['memory'] / _GIB:.0f} GiB, {bf16}")
    elif gpu.get("error"):
        mend = "see nvidia-smi; the driver must be as new as torch's CUDA"
        yield Check("GPU", "warning", f"cannot be used: {gpu['error']}", mend)
    else:
        yield Check("GPU", "info", "none that torch can use; everything works on the CPU, too")


def _rollouts(
    libraries: Mapping[str, str], speed: Mapping[str, Any], failure: str
) -> Iterator[Check]:
    damaged = {name: state for name, state in libraries.items() if state.startswith("damaged")}
    for name, damage in sorted(damaged.items()):
        yield Check("rollouts in C++", "problem", f"library {name} is {damage}", _rebuild())
    if damaged:
        return  # it is done without them, but not as fast as it could be
    best = speed.get("best", {})
    if not best:
        built = any(state != "not built" for state in libraries.values())
        if failure:
            yield Check("rollouts in C++", "problem", f"failed: {failure}", _rebuild())
        elif built:
            text = "none is for this processor, which lacks AVX2 or FMA: torch plans instead"
            yield Check("rollouts in C++", "warning", text, "plan with fewer samples, or a GPU")
        else:
            text = "not built: torch plans instead, several times slower"
            yield Check("rollouts in C++", "warning", text, _rebuild())
        return
    how = ", ".join(f"{best[p]} in {p}, {speed[p]:.1f} times torch" for p in best if p in speed)
    if failure or not how:
        yield Check("rollouts in C++", "problem", f"failed: {failure}", _rebuild())
        return
    yield Check("rollouts in C++", "ok", how)
    if "bf16" in best:
        unit = "AMX" if best["bf16"] == "amx" else "AVX-512"
        text = f"by {unit}, {speed['bf16'] / speed['fp32']:.1f} times as fast as fp32"
        yield Check("bf16", "ok", text)
    else:
        text = "this processor does not multiply it fast: plans are made in fp32"
        yield Check("bf16", "info", text)


def _rebuild() -> str:
    here = checkout()
    return (
        "pip install --force-reinstall --no-deps mbrl-node"
        if here is None
        else f"pip install -v --no-deps --no-build-isolation -e {here} (says why it fails)"
    )


def simulator() -> Iterator[Check]:
    """PyBullet."""
    program = "import pybullet; pybullet.connect(pybullet.DIRECT); print(pybullet.getAPIVersion())"
    done = trial("-c", program, limit=_IMPORT_LIMIT)
    if not done.failure:
        yield Check("simulator", "ok", "PyBullet runs")
        return
    text = f"PyBullet cannot be used: {done.failure}; a real robot (sim:=false) does without"
    yield Check("simulator", "warning", text, install("mbrl-node[sim]"))


def compiler() -> Iterator[Check]:
    """The C++ compiler."""
    named = os.environ.get("CXX", "").split()[:1]
    found = next(
        (path for name in (*named, "c++", "g++", "clang++") if (path := shutil.which(name))), ""
    )
    mend = "apt-get install g++ (Debian, Ubuntu); it is needed to set up, not to run"
    if not found:
        yield Check("C++ compiler", "warning", "none of c++, g++, clang++ is here", mend)
        return
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [found, "-x", "c++", "-std=c++17", "-", "-o", f"{folder}/a.out"],
            input=_PROGRAM,
            capture_output=True,
            timeout=60,
            check=False,
        )
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        yield Check("C++ compiler", "warning", f"{found} compiles nothing: {why[0]}", mend)
        return
    said = subprocess.run([found, "--version"], capture_output=True, timeout=60, check=False)
    yield Check("C++ compiler", "ok", said.stdout.decode(errors="replace").partition("\n")[0])


def run_folder() -> Iterator[Check]:
    """Where runs are kept: room, rights, and SQLite's write-ahead log."""
    wanted = folders()[0].absolute()
    there = next(folder for folder in (wanted, *wanted.parents) if folder.exists())
    elsewhere = "make it writable, or choose another place: run_dir:=FOLDER, or XDG_DATA_HOME"
    if not there.is_dir():
        text = f"{wanted}: {there} is a file, not a folder"
        yield Check("run folder", "problem", text, elsewhere)
        return
    free = shutil.disk_usage(there).free
    text = f"{wanted}, {free / _GIB:.1f} GiB free"
    if free < _LITTLE:
        level: Level = "problem" if free < _TOO_LITTLE else "warning"
        yield Check("run folder", level, text, "make room: `mbrl runs` lists what there is")
    try:
        with tempfile.TemporaryDirectory(prefix=".mbrl-doctor-", dir=there) as folder:
            mode = _journal_mode(Path(folder) / "transitions.db")
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        yield Check("run folder", "problem", f"{wanted}: cannot be written: {reason}", elsewhere)
        return
    if free >= _LITTLE:
        yield Check("run folder", "ok", text)
    if mode == "wal":
        yield Check("SQLite", "ok", f"{sqlite3.sqlite_version}, with a write-ahead log")
    else:
        text = (
            f"{wanted}: a database there has no write-ahead log (but {mode}), as on a network disk"
        )
        yield Check("SQLite", "problem", text, "choose a folder on a disk of this machine")


def _journal_mode(path: Path) -> str:
    """What a database at a path gets when it is to have a write-ahead log."""
    with closing(sqlite3.connect(path)) as database:
        (mode,) = database.execute("PRAGMA journal_mode=WAL").fetchone()
        with database:
            database.execute("CREATE TABLE trial (number INTEGER)")
        return str(mode)


def real_time() -> Iterator[Check]:
    """Real-time priority."""
    program = f"import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param({_PRIORITY}))"
    done = trial("-c", program, limit=30)
    if not done.failure:
        yield Check("real-time priority", "ok", f"allowed, {_PRIORITY} for the control process")
        return
    text = "not allowed: other programs may delay a command by milliseconds"
    mend = "docs/safety.md says how to allow it; as root it is, in a container: --ulimit rtprio=98"
    yield Check("real-time priority", "warning", text, mend)


def shared_memory() -> Iterator[Check]:
    """The shared memory that DDS sends through."""
    folder = Path("/dev/shm")
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        text = f"{folder} cannot be written: DDS goes through the network's loopback, slower"
        yield Check(
            "shared memory", "warning", text, "mount a tmpfs there; in a container --ipc=host"
        )
        return
    free = shutil.disk_usage(folder).free
    if free < _SHARED:
        text = f"{free / 2**20:.0f} MiB free in {folder}, for DDS and torch"
        mend = "rm what programs that were killed have left there; in a container --shm-size=256m"
        yield Check("shared memory", "warning", text, mend)
    else:
        yield Check("shared memory", "ok", f"{free / 2**20:.0f} MiB free in {folder}")
