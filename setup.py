"""The native kernel, which setup.cfg cannot declare. Everything else about the package stands there."""

from glob import glob

from setuptools import Extension, setup

NATIVE = "spacy_elmo/bilm/inference/native"

setup(
    ext_modules=[
        Extension(
            "spacy_elmo.bilm.inference._native",
            sources=[f"{NATIVE}/bilm.cpp"],
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
            optional=True,  # without a compiler, bilm/inference/torch_route.py does the same
        )
    ]
)
