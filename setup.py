"""The rollout in C++, once for each instruction set; everything else stands in pyproject.toml.

Which library is used is seen at run time (mbrl_node/planning/native). There is no Python in them:
they are called through ctypes. Where one cannot be built, planning goes on without it.
"""

from glob import glob

from setuptools import Extension, setup

FOLDER = "mbrl_node/planning/native"
FLAGS = ["-O3", "-std=c++17", "-fopenmp", "-fno-math-errno", "-fno-trapping-math"]
MACHINES = {
    "avx2": ["-march=x86-64-v3"],
    "avx512": ["-march=x86-64-v4"],
    "avx512_bf16": ["-march=x86-64-v4", "-mavx512bf16"],
    "amx": ["-march=x86-64-v4"],
}

setup(
    ext_modules=[
        Extension(
            f"{FOLDER.replace('/', '.')}._{name}",
            [f"{FOLDER}/{name}.cpp"],
            depends=glob(f"{FOLDER}/*.h"),
            extra_compile_args=FLAGS + machine,
            extra_link_args=["-fopenmp"],
            language="c++",
            optional=True,
        )
        for name, machine in MACHINES.items()
    ]
)
