"""The ament package: the repository's `mbrl_node`, `sim`, `launch` and `config` (links beside this
file)."""

from collections import defaultdict
from glob import glob
from os.path import dirname, isfile

from setuptools import find_packages, setup

robots = defaultdict(list)  # the files of each folder, those of their tasks too
for path in glob("config/robots/**", recursive=True):
    if isfile(path):
        robots[dirname(path)].append(path)

setup(
    name="mbrl",
    version="0.1.0",
    packages=find_packages(include=["mbrl_node", "mbrl_node.*", "sim", "sim.*"]),
    package_data={"mbrl_node": ["planning/native/*.so"]},  # built by pip, see pyproject.toml
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/mbrl"]),
        ("share/mbrl", ["package.xml"]),
        ("share/mbrl/launch", glob("launch/*.launch.py")),
        ("share/mbrl/config", glob("config/*.yaml")),
        *((f"share/mbrl/{at}", files) for at, files in sorted(robots.items())),
        ("lib/mbrl", glob("scripts/*")),
    ],
    zip_safe=False,
)
