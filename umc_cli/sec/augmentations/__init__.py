"""The rival methods of SEC robustness, by name. To add one, see docs/extending.md."""

from umc_cli.sec.augmentations import (
    dir,
    filter_augment,
    freq_mixstyle,
    gaussian_noise,
    mixup,
    pitch_shift,
    residual_norm,
    rfn,
    room_reverb,
    spec_augment,
)
from umc_cli.sec.augmentations.contract import AugmentationSpec

AUGMENTATIONS: dict[str, AugmentationSpec] = {
    "gaussian-noise": gaussian_noise.SPEC,
    "room-reverb": room_reverb.SPEC,
    "pitch-shift": pitch_shift.SPEC,
    "dir": dir.SPEC,
    "spec-augment": spec_augment.SPEC,
    "mixup": mixup.SPEC,
    "filter-augment": filter_augment.SPEC,
    "freq-mixstyle": freq_mixstyle.SPEC,
    "residual-norm": residual_norm.SPEC,
    "rfn": rfn.SPEC,
}
