"""The machine: its devices, precisions, threads and memory, and how a record names it."""

import contextlib
import ctypes
import logging
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy
import torch

from utils.errors import UserError
from utils.experiment import Compute
from utils.records.schema import Environment

if TYPE_CHECKING:
    from torch.utils.benchmark import Timer

MAX_THREADS = 1024
SLOWER = 0.9  # times the speed of float32: from here on down it is not chance that is seen
# parameters of mallopt in glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
LARGEST_INT = 2**31 - 1


def environment(device: torch.device) -> Environment:
    """Versions, processor, device and thread count, for a record."""
    import torchvision  # here: it takes two seconds, and not every process asks for this

    return Environment(
        python=sys.version.split()[0],
        torch=str(torch.__version__),  # a string of its own kind otherwise
        torchvision=torchvision.__version__,
        numpy=numpy.__version__,
        system=platform.system(),
        processor=processor(),
        # a cloud calls processors of three generations alike, which are not equally fast
        instructions=torch.backends.cpu.get_cpu_capability(),
        native_bfloat16=has_native_bfloat16(device),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        threads=torch.get_num_threads(),
    )


def processor() -> str:
    """The processor's name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def processors() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_threads(number: int) -> int:
    """The number of threads.

    Raises: UserError for one that cannot be meant, and for more than the environment allows.
    """
    if not 1 <= number <= MAX_THREADS:
        raise UserError(f"--threads {number}: must be between 1 and {MAX_THREADS}")
    if number > (allowed := allowed_threads()):
        raise UserError(
            f"--threads {number}: OMP_THREAD_LIMIT={allowed} in the environment allows fewer; "
            "unset it"
        )
    return number


def allowed_threads() -> int:
    """What the environment lets OpenMP have; torch waits for ever for those beyond it."""
    limit = os.environ.get("OMP_THREAD_LIMIT", "").strip()
    return int(limit) if limit.isdecimal() and int(limit) else MAX_THREADS


def limit_threads() -> None:
    """Has torch begin with no more threads than are allowed: what a process of ours does first."""
    torch.set_num_threads(min(torch.get_num_threads(), allowed_threads()))


def warn_if_crowded(threads: int) -> str | None:
    """A sentence where there are more threads than this process may use processors."""
    if threads <= processors():
        return None
    return f"{threads} threads on {processors()} processors: they wait for each other"


def automatic_device() -> torch.device:
    """CUDA where there is one, else the CPU. MPS is never chosen by itself: its gradients have
    been silently wrong (pytorch#107214).
    """
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def parse_device(name: str) -> torch.device:
    """The device of that name, wherever it is.

    Raises: UserError for one that is not meant.
    """
    allowed = "must be auto, cpu, cuda, cuda:N or mps"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"--device {name!r}: {allowed}") from error
    if device.type not in ("cpu", "cuda", "mps") or name.startswith("cpu:"):
        raise UserError(f"--device {name!r}: {allowed}")
    return device


def check_device(name: str | None) -> torch.device | None:
    """The device of that name, which is there."""
    if name in (None, "auto"):
        return automatic_device() if name else None
    device = parse_device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"--device {name}: torch sees {torch.cuda.device_count()} CUDA devices here; use cpu"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("--device mps: torch sees no MPS device here; use cpu")
    return device


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself; elsewhere it is emulated and slow.

    It may be slow all the same: see ``bfloat16_speed``.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        found = torch.cpu.get_capabilities()
        return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return False


def torchs_timer() -> "type[Timer]":
    """What torch times with; its import would warn where there is CUDA's compiler and no GPU."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from torch.utils.benchmark import Timer

    return Timer


def bfloat16_speed(device: torch.device, rounds: int = 7) -> float:
    """How many times as fast as in float32 a convolution is in bfloat16, timed here and now.

    Instructions for bfloat16 do not tell: a virtual machine that hid the matrix units of its Xeon
    had all the others, and took twice as long as in float32. Both have their turn in each of the
    ``rounds``, and the fastest of either counts: other work can only make one slower.
    """
    x, weight = (
        torch.ones(size, 64, side, side, device=device).to(memory_format=torch.channels_last)
        for size, side in ((16, 32), (64, 3))
    )
    wide, narrow = (
        torchs_timer()(
            "conv2d(x, weight)",
            globals={"conv2d": torch.conv2d, "x": x.to(dtype), "weight": weight.to(dtype)},
            num_threads=torch.get_num_threads(),
        )
        for dtype in (torch.float32, torch.bfloat16)
    )
    seconds = [(wide.timeit(1).median, narrow.timeit(1).median) for _ in range(rounds)]
    fastest_wide, fastest_narrow = (min(each) for each in zip(*seconds, strict=True))
    return fastest_wide / fastest_narrow


def autocast(compute: Compute) -> contextlib.AbstractContextManager:
    """The context in which a training step's forward pass runs."""
    kind, enabled = compute.kind, compute.precision == "bfloat16"
    return torch.autocast(kind, torch.bfloat16, enabled=enabled)


def product_type(compute: Compute) -> torch.dtype:
    """That of the large products."""
    return torch.bfloat16 if compute.precision == "bfloat16" else torch.float32


def warn_if_slower(device: torch.device, precision: str) -> str | None:
    """A sentence where the precision is slower than float32 on this device."""
    if precision == "float32":
        return None
    if not has_native_bfloat16(device):
        return (
            f"{device.type} has no native bfloat16: it is emulated, many times slower than "
            "--precision float32"
        )
    speed = bfloat16_speed(device)
    if speed > SLOWER:
        return None
    return (
        f"{device.type} has bfloat16, but a convolution takes {1 / speed:.1f} times as long as "
        "with --precision float32"
    )


def keep_freed_memory() -> None:
    """Has glibc keep what is freed, for the whole process; does nothing where there is no glibc.

    Every training step frees its activations and asks for the same again. Left to itself glibc
    returns large pieces to the system each time, and the next step pays for every page anew, which
    can be as long as the arithmetic of a small network.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, LARGEST_INT)  # never shrink the heap
        mallopt(M_MMAP_MAX, 0)  # nothing outside the heap, where freeing is unmapping
