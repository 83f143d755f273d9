"""The machine that a record was made on, in words."""

from utils.records.schema import Environment


def machine_name(environment: Environment) -> str:
    """Processor or accelerator and threads, as in "AMD EPYC (AVX512 with bfloat16, 2 threads)"."""
    on_cpu = environment.device == "cpu"
    details = [f"{environment.threads} thread{'' if environment.threads == 1 else 's'}"]
    if on_cpu and environment.instructions:
        has_bfloat16 = " with bfloat16" if environment.native_bfloat16 else ""
        details.insert(0, f"{environment.instructions}{has_bfloat16}")
    name = environment.processor if on_cpu else environment.device
    return f"{name} ({', '.join(details)})"
