"""Builds the compiled rooms; everything else about the package is in pyproject.toml."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "freethreading_compatible": False,
}
# -O3 but never -march=native: a wheel must run on every machine of its kind. -g0 takes back the -g that distributions
# build Python with: it makes the wheel four times as large.
COMPILE = ["-O3", "-g0", "-fno-strict-aliasing", "-Wall", "-Wno-unused-function"]

CORES = min(4, len(os.sched_getaffinity(0)))

modules = [
    Extension(".".join(path.with_suffix("").parts), [str(path)], extra_compile_args=COMPILE)
    for path in sorted(Path().glob("netvirt/**/*.pyx")) + sorted(Path().glob("storvirt/**/*.pyx"))
]
setup(
    ext_modules=cythonize(
        modules,
        compiler_directives=DIRECTIVES,
        annotate=bool(os.environ.get("VFAB_ANNOTATE")),
        nthreads=CORES,
    ),
    options={"build_ext": {"parallel": CORES}},
)
