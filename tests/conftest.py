"""Fixtures of all tests."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("calm", deadline=None)  # a busy machine is no failure
settings.load_profile("calm")


def pytest_configure() -> None:
    """Tests run side by side, and processes with a thread a core each would wait for one another.

    Not at import: benches take `shared_folder` from here and use all cores.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # a process of hundreds of tests gives memory back
    os.environ.setdefault("MALLOC_MMAP_MAX_", "65536")
    cpu = Path("/proc/cpuinfo")
    if cpu.is_file() and "avx512f" not in cpu.read_text():
        # oneDNN's AVX2 kernels corrupt memory in the backward pass of convolutions of four channels
        os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX")


def pytest_terminal_summary(terminalreporter) -> None:
    if shared_folder() is None:
        terminalreporter.write_line(
            "no ../shared and no CAPTION_SHARED: the tests of golden numbers were not run"
        )


def shared_folder() -> Path | None:
    """Where the golden numbers and the real data are: $CAPTION_SHARED, else ../shared, or None."""
    named = os.environ.get("CAPTION_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden numbers and real data; the test is skipped where there is none."""
    folder = shared_folder()
    if folder is None:
        pytest.skip("no ../shared and no CAPTION_SHARED: golden data is not here")
    return folder
