"""ROS 2, the workspace, DDS on this machine, and how far its traffic goes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib import util
from pathlib import Path

from mbrl_node.commands.doctor.checks import Check, checkout, trial

_LIMIT = 90.0  # s for imports and a round trip on a busy machine
_LAST_DOMAIN = 101  # whose ports are below those that Linux gives to programs
_PORTS = 7400, 250  # of the first domain, and from one to the next
_OURS = ("mbrl", "mbrl_msgs")


def installation() -> Iterator[Check]:
    """ROS 2, our packages and DDS."""
    again = _again()
    if util.find_spec("rclpy") is None:
        text = "no rclpy in this Python: the nodes cannot run, `mbrl train` can"
        mend = f"{again}, or source ROS 2 Jazzy with its own Python first on PATH"
        yield Check("ROS 2", "problem", text, mend)
        yield from _packages(again)
        return
    domain = _unused_domain()
    alone = {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    alone |= {"ROS_LOCALHOST_ONLY": "", "ROS_STATIC_PEERS": ""}
    done = trial("-m", "mbrl_node.ros.self_test", limit=_LIMIT, environment=alone)
    facts = done.facts
    distro = os.environ.get("ROS_DISTRO") or "of no named distribution"
    if "rmw" in facts:
        where = "as Python packages" if "site-packages" in facts["rclpy"] else "sourced"
        yield Check("ROS 2", "ok", f"{distro}, {where}, {facts['rmw']}")
        if distro != "jazzy":
            text = f"ROS 2 is {distro}; this is tested with jazzy"
            yield Check("ROS 2", "warning", text, "source ROS 2 Jazzy, if something fails")
    else:
        rmw = os.environ.get("RMW_IMPLEMENTATION")
        named = f"; RMW_IMPLEMENTATION is {rmw}" if rmw else ""
        mend = (
            f"unset RMW_IMPLEMENTATION, or install {rmw}"
            if rmw and rmw in done.failure
            else f"{again} in a new shell"
        )
        yield Check("ROS 2", "problem", f"rclpy fails{named}: {_plain(done.failure)}", mend)
    yield from _packages(again)
    if missing := facts.get("messages"):
        yield Check("messages", "problem", f"cannot be imported: {missing}", again)
    elif "messages" in facts:
        yield Check("messages", "ok", "of mbrl_msgs and all others can be imported")
    yield _round_trip(facts.get("round_trip"), domain, "rmw" in facts, done.failure)


def _round_trip(ms: float | None, domain: int, has_rmw: bool, failure: str) -> Check:
    name = "DDS on loopback"
    if ms is not None:
        text = f"{ms:.2f} ms to another process and back, on domain {domain}"
        return Check(name, "ok", text)
    if not has_rmw:
        return Check(name, "problem", "could not be tried, for want of ROS 2", "mend ROS 2 first")
    mend = (
        "the loopback interface must be up (ip link set lo up), no firewall between processes "
        "here (UDP from 7400 on), and no FASTRTPS_DEFAULT_PROFILES_FILE that forbids it"
    )
    return Check(name, "problem", f"two processes do not hear each other: {_plain(failure)}", mend)


def _packages(again: str) -> Iterator[Check]:
    """Whether `ros2 launch mbrl …` finds what was built."""
    path = os.environ.get("AMENT_PREFIX_PATH", "")
    prefixes = [Path(entry) for entry in path.split(os.pathsep) if entry]
    index = Path("share") / "ament_index" / "resource_index" / "packages"
    found = {
        name: str(next(iter(p for p in prefixes if (p / index / name).exists()), ""))
        for name in _OURS
    }
    missing = [name for name, prefix in found.items() if not prefix]
    if not missing:
        yield Check("workspace", "ok", f"package mbrl in {found['mbrl']}")
        return
    here = checkout()
    built = here is not None and (here / "ros2_ws" / "install" / ".setup-built").exists()
    state = "built, but not sourced in this shell" if built else "not built"
    text = f"AMENT_PREFIX_PATH has no package {' and '.join(missing)}: ros2_ws is {state}"
    yield Check("workspace", "problem", text, again)


def discovery() -> Iterator[Check]:
    """How far ROS 2's traffic goes."""
    domain = os.environ.get("ROS_DOMAIN_ID") or "0"
    if not domain.isdecimal() or int(domain) > 232:
        text = f"ROS_DOMAIN_ID is {domain}, which no domain has"
        yield Check("domain", "problem", text, "export ROS_DOMAIN_ID=0, or up to 101")
    elif _LAST_DOMAIN < int(domain) < 215:
        text = f"ROS_DOMAIN_ID is {domain}, whose ports Linux may give to other programs"
        yield Check("domain", "warning", text, "choose one from 0 to 101")
    else:
        said = "" if os.environ.get("ROS_DOMAIN_ID") else " (ROS_DOMAIN_ID is not set)"
        yield Check("domain", "ok", f"{domain}{said}")
    only = os.environ.get("ROS_LOCALHOST_ONLY", "")
    reach = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "")
    mend = "export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST, unless the robot is on the network"
    peers = os.environ.get("ROS_STATIC_PEERS", "")
    if only == "1":  # which stands above the other
        yield Check("discovery", "ok", "on this machine only (ROS_LOCALHOST_ONLY)")
    elif reach == "OFF":
        text = "off: nodes do not find each other, not even on this machine"
        yield Check("discovery", "problem", text, "export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST")
    elif reach == "LOCALHOST" and not peers:
        yield Check("discovery", "ok", "on this machine only (ROS_AUTOMATIC_DISCOVERY_RANGE)")
    elif reach == "LOCALHOST":
        text = f"on this machine, and to {peers} (ROS_STATIC_PEERS)"
        yield Check("discovery", "warning", text, "unset ROS_STATIC_PEERS, unless it is the robot")
    elif reach in ("", "SUBNET", "SYSTEM_DEFAULT"):
        why = f"ROS_AUTOMATIC_DISCOVERY_RANGE is {reach}" if reach else "nothing keeps it here"
        text = f"the whole network hears, and commands, this robot: {why}"
        yield Check("discovery", "warning", text, mend)
    else:
        text = f"ROS_AUTOMATIC_DISCOVERY_RANGE is {reach}, which ROS 2 does not know"
        yield Check("discovery", "problem", text, mend)


def _again() -> str:
    here = checkout()
    return f". {here}/setup.bash" if here else "source the workspace that has package mbrl"


def _unused_domain() -> int:
    """The highest domain on whose first port nobody on this machine listens."""
    used = set()
    for table in (Path("/proc/net/udp"), Path("/proc/net/udp6")):
        if table.exists():
            used |= {int(p, 16) for p in re.findall(r":\s*\d+: \w+:(\w{4}) ", table.read_text())}
    own = os.environ.get("ROS_DOMAIN_ID", "0")
    first, step = _PORTS
    free = (d for d in range(_LAST_DOMAIN, 0, -1) if first + step * d not in used and str(d) != own)
    return next(free, _LAST_DOMAIN)


def _plain(text: str) -> str:
    """A line of a log of ROS without what stands before and after the message."""
    text = re.sub(r"\x1b\[[\d;]*m", "", text)
    return re.sub(r"^\[\w+\] \[[\d.]+\] \[[\w.]+\]: |, at /\S+:\d+$", "", text)
