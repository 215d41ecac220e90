"""The targets of 64-bit Arm against plain C++, on an emulated processor."""

import shutil
import subprocess
from pathlib import Path

import pytest

from .sanitize import KERNEL

DRIVER = Path(__file__).with_name("target_driver.cc")
CXX, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
FLAGS = ["-static", "-std=c++17", "-O1", "-ffp-contract=off", "-fno-wrapv", "-pthread", "-w"]


@pytest.fixture(scope="module")
def driver(tmp_path_factory) -> Path:
    missing = [name for name in (CXX, EMULATOR) if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not found: apt-get install g++-aarch64-linux-gnu qemu-user")
    program = tmp_path_factory.mktemp("targets") / "target_driver"
    sources = [DRIVER, *KERNEL.glob("*.cc")]
    subprocess.run([CXX, *FLAGS, f"-I{KERNEL}", *sources, "-o", program], check=True)
    return program


@pytest.mark.parametrize(("processor", "found"), [("max", {"neonbf16", "neon"}), ("cortex-a72", {"neon"})])
def test_what_the_kernel_computes_on_arm(driver, processor, found):
    done = subprocess.run([EMULATOR, "-cpu", processor, driver], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert {line.split(":")[0] for line in lines if "fastest" in line} == found | {"plain"}
