"""Builds the native kernel and names the wheel, which setup.cfg cannot declare. All else is in setup.cfg.

SPACY_ELMO_KERNEL in the environment says how much the kernel matters: "auto" (the default) builds it where a
compiler is found and goes on without it elsewhere; "required" fails without it, for wheels that are
published; "none" leaves it out, to test what the package does on such a machine.
"""

import os
import sys
from glob import glob

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

NATIVE = "spacy_elmo/kernels/native"
KERNEL = os.environ.get("SPACY_ELMO_KERNEL", "auto")
if KERNEL not in ("auto", "required", "none"):
    raise SystemExit(f'SPACY_ELMO_KERNEL = "{KERNEL}" is not known: use "auto", "required" or "none".')


class BuildKernel(build_ext):
    """Builds a shared library whose name holds no version of Python: the kernel calls nothing of Python."""

    def get_ext_filename(self, fullname: str) -> str:
        return os.path.join(*fullname.split(".")) + ".so"


class PlatformWheel(bdist_wheel):
    """Tags the wheel py3-none-PLATFORM: one serves every Python, but no other kind of machine."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


kernel = Extension(
    "spacy_elmo.kernels._native",
    sources=sorted(glob(f"{NATIVE}/*.cc")),
    depends=glob(f"{NATIVE}/*.h"),
    # -ffp-contract: what is fused must not depend on the number of rows in a tile.
    extra_compile_args=[
        "-O3",
        "-std=c++17",
        "-ffp-contract=off",
        "-fno-wrapv",  # Python's own -fwrapv costs int16 a tenth: indices do not overflow
        "-fvisibility=hidden",
        "-pthread",
        "-g0",
        "-Wno-psabi",
        "-Wno-uninitialized",  # GCC 12 warns of its own intrinsics
        "-Wno-maybe-uninitialized",
    ],
    extra_link_args=["-pthread"],
    language="c++",
    optional=KERNEL == "auto",  # without it, inference/backends/torch_cpu.py does the same
)

setup(
    # Its flags and assembly are those of GCC and clang: Windows always runs without it.
    ext_modules=[] if KERNEL == "none" or sys.platform == "win32" else [kernel],
    cmdclass={"build_ext": BuildKernel, "bdist_wheel": PlatformWheel},
)
