"""float32 is float32: whatever would make it something else is refused, as no record would tell."""

import os
import subprocess
import sys

import pytest
import torch

from tests.fakes import error_of
from utils import REPOSITORY
from utils.machine import has_native_bfloat16
from utils.settings import VARIABLES, check_defaults, product_error


def elsewhere(setting: str, **variables: str) -> str:
    """What a process of its own says: a precision set in torch's newer way cannot be unset."""
    code = f"import torch; from utils.settings import check_defaults; {setting}; check_defaults()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr


def test_float32_has_its_digits() -> None:
    assert product_error() < 2e-6
    check_defaults()


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("torch.set_default_dtype(torch.float64)", "default dtype has been set to torch.float64 b"),
        ("torch.set_autocast_enabled('cpu', True)", "autocast has been set to True before the com"),
        ("torch.set_default_device('meta')", "default device has been set to meta before the comm"),
    ],
)
def test_what_is_set_before_is_named(setting: str, told: str) -> None:
    assert f"UserError: torch's {told}" in elsewhere(setting)


@pytest.mark.parametrize(
    "setting",
    [
        "torch.set_float32_matmul_precision('medium')",
        "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
        "pass",
    ],
)
def test_a_precision_of_products_is_set_back(setting: str) -> None:
    # the variable is one of NVIDIA's containers
    assert not elsewhere(setting, TORCH_ALLOW_TF32_CUBLAS_OVERRIDE="1")


@pytest.mark.parametrize("place", ["cudnn.", ""])
def test_a_precision_of_convolutions_on_a_gpu_is_set_back(place: str) -> None:
    code = (
        f"import torch; torch.backends.{place}fp32_precision = 'tf32'\n"
        "from utils.training.checkpoint import seed_everything; seed_everything(0)\n"
        "cudnn = torch.backends.cudnn\n"
        "assert {cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision} == {'ieee'}\n"
        "assert not cudnn.allow_tf32\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)


def test_products_with_fewer_digits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def rough(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        if one.dtype == torch.double:
            return one @ other
        return (one.bfloat16() @ other.bfloat16()).float()

    monkeypatch.setattr(torch, "matmul", rough)
    assert 1e-3 < product_error() < 1e-2
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    message = error_of(check_defaults)
    assert message.startswith("products in float32 have a relative error of ")
    assert "torch.backends has been set so: leave that out" in message
    monkeypatch.setenv(VARIABLES[0], "BF16")
    monkeypatch.setenv(VARIABLES[1], "STRICT")
    assert f"; {VARIABLES[0]}=BF16 in the environment: unset it" in error_of(check_defaults)


@pytest.mark.skipif(
    not has_native_bfloat16(torch.device("cpu")), reason="what it allows is not done here"
)
@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_that_takes_digits_from_convolutions_is_refused(name: str) -> None:
    assert f"{name}=BF16 in the environment: unset it" in elsewhere("pass", **{name: "BF16"})
