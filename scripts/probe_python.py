"""Prints what setup_env.bash wants to know about the Python that runs it, one `name=value` a line.

Runs under any Python 3, before anything is installed, so it uses the standard library only.
"""

import importlib.util
import os
import sys
import sysconfig


def importable(*names):
    return all(importlib.util.find_spec(name) is not None for name in names)


def yes(condition):
    return "yes" if condition else "no"


print("executable=" + sys.executable)
print(f"version={sys.version_info[0]}.{sys.version_info[1]}")
print("venv=" + yes(importable("venv", "ensurepip")))
print("headers=" + yes(os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h"))))
print("launch=" + yes(importable("launch", "launch_ros", "ros2cli")))
