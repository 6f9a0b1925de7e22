"""Makes the CMake files of the ROS wheels name this Python instead of the one they were built with.

The wheels' `share/*/cmake/*.cmake` carry the include folders of their builder's Python and numpy.
Run with the environment's own Python; running it again changes nothing.
"""

import re
import sys
import sysconfig
from pathlib import Path

import numpy

BUILDER = r"/opt/python/cp\d+-cp\d+"
PYTHON_INCLUDE = re.compile(BUILDER + r"/include/python3\.\d+")
NUMPY_INCLUDE = re.compile(BUILDER + r"/lib/python3\.\d+/site-packages/numpy/_?core/include")


def relocated(text: str) -> str:
    text = NUMPY_INCLUDE.sub(lambda _: numpy.get_include(), text)
    return PYTHON_INCLUDE.sub(lambda _: sysconfig.get_paths()["include"], text)


def main() -> None:
    for path in sorted(Path(sys.prefix).glob("share/*/cmake/*.cmake")):
        old = path.read_text()
        new = relocated(old)
        if new != old:
            path.write_text(new)
        if "/opt/python/" in new:
            sys.exit(f"{path}: names a folder under /opt/python that is not known here")


if __name__ == "__main__":
    main()
