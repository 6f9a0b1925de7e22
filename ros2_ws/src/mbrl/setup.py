"""The ament package: the repository's `mbrl_node`, `sim`, `launch` and `config` (links beside this
file)."""

from glob import glob

from setuptools import find_packages, setup

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
        ("share/mbrl/config/robots", glob("config/robots/*")),
        ("lib/mbrl", glob("scripts/*")),
    ],
    zip_safe=False,
)
