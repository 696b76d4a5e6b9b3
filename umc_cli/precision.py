"""Names of number formats."""

from enum import StrEnum


class Precision(StrEnum):
    """Number format of the generator's arithmetic."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
