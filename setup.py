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
# VFAB_OPTIMISE=-O0 builds in half the time, for tests of what a wheel holds.
COMPILE = [os.environ.get("VFAB_OPTIMISE", "-O3"), "-g0", "-fno-strict-aliasing", "-Wall", "-Wno-unused-function"]

# tools/sanitize: netvirt alone, and every wrong access or undefined operation ends the process that does it.
SANITIZE = bool(os.environ.get("VFAB_SANITIZE"))
CHECKED = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
if SANITIZE:
    COMPILE = ["-O1", "-g1", "-fno-strict-aliasing", "-Wno-unused-function", *CHECKED]

CORES = min(4, len(os.sched_getaffinity(0)))

modules = [
    Extension(
        ".".join(path.with_suffix("").parts),
        [str(path)],
        extra_compile_args=COMPILE,
        extra_link_args=CHECKED if SANITIZE else [],
    )
    for room in (("netvirt",) if SANITIZE else ("netvirt", "storvirt"))
    for path in sorted(Path(room).glob("**/*.pyx"))
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
