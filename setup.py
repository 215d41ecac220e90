"""Build the native kernel and name the wheel, which setup.cfg cannot declare. All else is in setup.cfg.

The environment variable SPACY_ELMO_KERNEL controls the kernel: "auto" (the default) builds it if there is a
compiler and continues without it otherwise; "required" fails without it, for published wheels; "none" does
not build it, to test the package without a kernel.
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
    """Build a shared library whose name has no Python version, because the kernel does not use Python."""

    def get_ext_filename(self, fullname: str) -> str:
        """Return the path of the library, without a Python version."""
        return os.path.join(*fullname.split(".")) + ".so"


class PlatformWheel(bdist_wheel):
    """Tag the wheel py3-none-PLATFORM: it fits every Python, but only one kind of machine."""

    def finalize_options(self) -> None:
        """Mark the wheel as dependent on the platform."""
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tag of the wheel."""
        return "py3", "none", super().get_tag()[2]


kernel = Extension(
    "spacy_elmo.kernels._native",
    sources=sorted(glob(f"{NATIVE}/*.cc")),
    depends=glob(f"{NATIVE}/*.h"),
    # -ffp-contract: fused operations must not depend on the number of rows in a tile.
    extra_compile_args=[
        "-O3",
        "-std=c++17",
        "-ffp-contract=off",
        "-fno-wrapv",  # Python's -fwrapv makes int16 a tenth slower; indices do not overflow
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
    # The flags and the assembly need GCC or clang, so there is no kernel on Windows.
    ext_modules=[] if KERNEL == "none" or sys.platform == "win32" else [kernel],
    cmdclass={"build_ext": BuildKernel, "bdist_wheel": PlatformWheel},
)
