"""The rows of `device_robustness.py`, what each may know, and how large the experiment is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NOTHING, RESPONSES, RECORDINGS, LABELS = "nothing", "responses", "recordings", "labeled recordings"
PAIRS = "a minute of pairs"
PAIRED = "paired"
"""In a draw's folder: the workspace of rows that know a minute of pairs, from which `umc pair` learned."""
INVENTED = "known-devices/invented.safetensors"
"""In a draw's folder: the devices of `unified-synth`, learned from the responses of the source and the seen devices."""
SHARES = (0.5, 0.8)
"""Of samples that are converted: every method that converts has a row for each, as the share alone is worth points."""


@dataclass(frozen=True)
class Row:
    """A row of the table: what its method may know of the seen devices, and the settings of `umc train-sec`."""

    knows: str
    settings: Mapping[str, Any]
    is_for_each_target: bool = False
    """A classifier for every seen device, scored on it alone: `adapt`."""

    @property
    def needs_pairs(self) -> bool:
        """Tell whether it converts with a generator for every target."""
        return self.settings["method"] == "mc"

    @property
    def needs_generator(self) -> bool:
        """Tell whether it converts with the paper's generator."""
        return self.settings.get("unified") == "paper"

    @property
    def needs_side_by_side(self) -> bool:
        """Tell whether it converts with a refiner that was adapted to a minute of pairs."""
        return self.knows == PAIRS

    @property
    def invents(self) -> bool:
        """Tell whether it converts to a set of invented devices."""
        return str(self.settings["method"]).startswith("unified-synth") and not self.needs_generator


def _row(knows: str, method: str, is_for_each_target: bool = False, **settings: Any) -> Row:
    return Row(knows, {"method": method} | settings, is_for_each_target)


_BEST: dict[str, Any] = {"unified": "best"}
_CONVERTING = {
    "unified-synth": _row(RESPONSES, "unified-synth", **_BEST),
    "eq": _row(RESPONSES, "eq"),
    "eq-noise": _row(RESPONSES, "eq-noise"),
    "unified-real (refiner)": _row(RESPONSES, "unified-real", converter="refiner", **_BEST),
    "quantile": _row(RECORDINGS, "quantile"),
    "transport": _row(RECORDINGS, "transport"),
    "mc": _row(RECORDINGS, "mc"),
    "Unified-MC-Real": _row(RECORDINGS, "unified-real", unified="paper"),
    "Unified-MC-Synth": _row(RECORDINGS, "unified-synth", unified="paper"),
    "unified-real (refiner_quantile)": _row(RECORDINGS, "unified-real", converter="refiner_quantile", **_BEST),
    "unified-real (refiner_transport)": _row(RECORDINGS, "unified-real", converter="refiner_transport", **_BEST),
    "adapt": _row(RECORDINGS, "adapt", True, converter="refiner_quantile", **_BEST),
}
_COMBINED = {
    f"unified-real+{name}": _row(RECORDINGS, f"unified-real+{name}", converter="refiner_quantile", **_BEST)
    for name in ("freq-mixstyle", "gaussian-noise", "filter-augment", "residual-norm", "rfn")
} | {"unified-synth+freq-mixstyle": _row(RESPONSES, "unified-synth+freq-mixstyle", **_BEST)}

_SELF_TRAINED = {
    "self-training": _row(RECORDINGS, "self-training"),
    "quantile+self-training": _row(RECORDINGS, "quantile+self-training"),
    "unified-real (refiner_transport)+self-training": _row(
        RECORDINGS, "unified-real+self-training", converter="refiner_transport", **_BEST
    ),
}
_PAIRED = {
    "unified-real (adapted)": _row(PAIRS, "unified-real", converter="refiner_transport", **_BEST),
    "unified-real (adapted)+self-training": _row(
        PAIRS, "unified-real+self-training", converter="refiner_transport", **_BEST
    ),
}


def named(name: str, share: float) -> str:
    """Return the name of a row that converts a share of the samples."""
    return name if share == SHARES[0] else f"{name}, {share:g} converted"


ROWS: dict[str, Row] = {
    "none": _row(NOTHING, "none"),
    "gaussian-noise": _row(NOTHING, "gaussian-noise"),
    "room-reverb": _row(NOTHING, "room-reverb"),
    "pitch-shift": _row(NOTHING, "pitch-shift"),
    "spec-augment": _row(NOTHING, "spec-augment"),
    "mixup": _row(NOTHING, "mixup"),
    "filter-augment": _row(NOTHING, "filter-augment"),
    "freq-mixstyle": _row(NOTHING, "freq-mixstyle"),
    "residual-norm": _row(NOTHING, "residual-norm"),
    "rfn": _row(NOTHING, "rfn"),
    "dir": _row(RESPONSES, "dir"),
    **{
        named(name, share): Row(
            row.knows, dict(row.settings) | {"converted_share": share}, row.is_for_each_target
        )
        for name, row in _CONVERTING.items()
        for share in SHARES
    },
    **_COMBINED,
    **_SELF_TRAINED,
    **_PAIRED,
    "ideal": _row(LABELS, "ideal"),
}  # fmt: skip
TABLE_2 = ("none", "mc", "Unified-MC-Real", "Unified-MC-Synth", "ideal")
"""The paper's."""
WITHOUT_PAIRS = tuple(name for name, row in ROWS.items() if not row.needs_side_by_side)
"""Of simulated devices, where pairs are as many as one likes."""
TABLE_1 = ("Unified-MC-Real", "Unified-MC-Synth")


@dataclass(frozen=True)
class Preset:
    """How large the experiment is."""

    settings: Mapping[str, Any]
    """Of `umc train-sec`."""
    rows: Sequence[str]
    draws: int
    seen: int
    unseen: int
    clips_per_class: int = 20
    """Where sounds are synthesised; of real microphones the most of a class."""
    ideal_settings: Mapping[str, Any] = field(default_factory=dict)
    """Of `ideal`, whose epochs are longer: every device's recordings are trained on."""
    converter_settings: Mapping[str, Any] = field(default_factory=dict)
    """Of `umc train`, for the generators of `mc` and of the paper's methods."""
    pair_settings: Mapping[str, Any] = field(default_factory=dict)
    """Of `umc pair`, for the refiner of the rows that know a minute of pairs."""


_TINY = {"preset": "smoke", "max_steps": 2, "ngf": 2, "ndf": 2, "n_blocks": 1, "batch_size": 4}
_STRIDED = {
    "preset": "cpu", "backbone": "strided", "batch_size": 32, "learning_rate": 3e-3, "epochs": 25,
    "learning_rate_epochs": 10, "held_out_share": 0.0, "keep": "last",
}  # fmt: skip
_SMALL_GENERATORS = {"preset": "cpu", "ngf": 16, "n_blocks": 3, "ndf": 16, "epochs": 5}
PRESETS = {
    "tiny": Preset(
        {"preset": "smoke", "max_steps": 2, "batch_size": 8},
        ("none", "mc", "Unified-MC-Real", "Unified-MC-Synth", "eq-noise", "eq-noise, 0.8 converted", "adapt", "ideal"),
        draws=2, seen=2, unseen=1, clips_per_class=6, converter_settings=_TINY,
        pair_settings={"steps": 2},
    ),
    "smoke": Preset(
        {"preset": "smoke", "max_steps": 40, "validate_every": 20},
        ("none", "freq-mixstyle", "unified-synth", "eq-noise", "quantile", "ideal"),
        draws=1, seen=2, unseen=1, clips_per_class=10,
    ),
    "cpu": Preset(
        _STRIDED,
        WITHOUT_PAIRS, draws=3, seen=6, unseen=3, ideal_settings={"epochs": 4, "learning_rate_epochs": 2},
        converter_settings=_SMALL_GENERATORS,
    ),
    "microphones": Preset(
        _STRIDED,
        list(ROWS), draws=6, seen=2, unseen=0, clips_per_class=100,
        ideal_settings={"epochs": 9, "learning_rate_epochs": 4},
        converter_settings=_SMALL_GENERATORS,
    ),
    "paper": Preset(
        {"preset": "paper"}, WITHOUT_PAIRS, draws=3, seen=6, unseen=3, converter_settings={"preset": "paper"},
    ),
}  # fmt: skip
"""`tiny` only shows that all parts work. The generators of `cpu` are small (16 channels, three blocks) and short (five
epochs), and so are those of `microphones`: their rows of `mc` and of the paper's methods say nothing about these at the
paper's size. `microphones` is for `--real`: the strided network, every source twice."""
