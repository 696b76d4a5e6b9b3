"""The methods of `umc train-sec`, side by side: by name, and combined with `+`."""

from dataclasses import dataclass

from umc_cli.errors import SettingsError, did_you_mean
from umc_cli.sec.augmentations import AUGMENTATIONS

CONVERSIONS = {
    "unified-real": "the unified converter, to the known devices",
    "unified-synth": "the unified converter, to invented devices",
    "mc": "a converter of its own for every target (umc train --pair)",
    "adapt": "the unified converter, to one target",
    "eq": "the difference of the responses added",
    "eq-noise": "the signal equalized and the target's noise floor added",
    "quantile": "level distributions mapped",
    "transport": "level distributions mapped, then components of whole segments moved",
    "refiner-transport": "the unified converter, then components of whole segments moved",
}
"""Methods that convert a share of the samples to other devices."""

UNIFIED_METHODS = ("unified-real", "unified-synth", "adapt")
"""Those of `CONVERSIONS` that any of several converters can serve."""

SELF_TRAINING = "self-training"

METHODS: dict[str, str] = {
    "none": "the source's recordings alone (the paper's Baseline)",
    "ideal": "all devices' recordings",
    **CONVERSIONS,
    SELF_TRAINING: "the targets' recordings, with labels that the classifier gives them",
    **{name: spec.summary for name, spec in AUGMENTATIONS.items()},
}


@dataclass(frozen=True)
class MethodPlan:
    """What a method, or a combination of methods, consists of."""

    conversion: str | None
    """One of `CONVERSIONS`."""
    is_ideal: bool
    self_trains: bool
    augmentations: tuple[str, ...]
    """Keys of `AUGMENTATIONS`, in the order given."""

    @property
    def of_waveforms(self) -> tuple[str, ...]:
        """Those of `augmentations` that alter segments before their spectrogram is made."""
        return tuple(name for name in self.augmentations if AUGMENTATIONS[name].build_waveform)


def parse_method(method: str) -> MethodPlan:
    """Return what `unified-real+freq-mixstyle` and the like mean.

    Raises:
        SettingsError: a name is unknown or there twice, or two of them exclude each other.
    """
    names = [name.strip() for name in method.split("+")]
    for name in names:
        if name not in METHODS:
            raise SettingsError(
                f"unknown method {name!r}", f"{did_you_mean(name, METHODS, 'methods')}; combine them with +"
            )
        if names.count(name) > 1:
            raise SettingsError(f"method {name!r} is named twice", "name it once")
    conversions = [name for name in names if name in CONVERSIONS]
    if len(conversions) > 1:
        raise SettingsError(f"{' and '.join(conversions)} both convert samples", "name one of them")
    if "none" in names and len(names) > 1:
        raise SettingsError("none cannot be combined", "leave it out")
    if "ideal" in names and conversions:
        raise SettingsError(f"ideal has all devices' recordings: {conversions[0]} has nothing to add", "name one")
    if {"ideal", SELF_TRAINING} <= {*names}:
        raise SettingsError(
            f"ideal has the labels of all devices' recordings: {SELF_TRAINING} has nothing to add", "name one"
        )
    return MethodPlan(
        conversion=conversions[0] if conversions else None,
        is_ideal="ideal" in names,
        self_trains=SELF_TRAINING in names,
        augmentations=tuple(name for name in names if name in AUGMENTATIONS),
    )
