"""Which converter is nearest to what targets really recorded, by recordings that they made together with the source.

`umc eval conversion --save-verdict` keeps what it measured in `checkpoints/nearest_converters.json`, pair by pair; the
converter `auto` takes the nearest one as long as nothing that it was measured with has changed.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from umc_cli import atomic_write
from umc_cli.checkpoint import file_sha256
from umc_cli.config import Workspace
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.converters.contract import Ingredients
from umc_cli.conversion.side_by_side_results import adapted_weights
from umc_cli.errors import SettingsError
from umc_cli.json_text import JsonFormat
from umc_cli.shards.plan import hash_of

VERDICTS_NAME = "nearest_converters.json"
FORMAT = JsonFormat(
    "umc-nearest-converters",
    1,
    "file of verdicts",
    "remove it",
    "remove it, or make it again with umc eval conversion --save-verdict",
)
DEFAULT_ORDER = ("refiner_transport", "refiner_quantile", "quantile", "refiner", "eq_noise", "eq")
"""What `auto` prefers where nothing was measured, best first (docs/decisions/converters.md). No other converter is
taken by itself."""
JUDGED = (*DEFAULT_ORDER, "transport")
"""What a verdict may choose."""
SIGNIFICANT, WORTH_IT = 0.05, 0.01
"""p-value below which, and share of the distance by which, another converter has to be nearer than the default."""
LEAST_RECORDINGS = 5
"""Of fewer, no test can tell two converters apart."""


@dataclass(frozen=True)
class PairEvidence:
    """What converters were measured to do from one device to another."""

    source: str
    target: str
    known_sha256: str
    """Of what they knew of the two devices, and of their weights."""
    split: str
    date: str
    recordings: list[str]
    """That both devices made; none of them was learned from."""
    distances_db: dict[str, list[float]]
    """By converter: log-spectral distance to what the target recorded, over all frames, of every recording."""

    def __post_init__(self) -> None:
        if any(len(values) != len(self.recordings) for values in self.distances_db.values()):
            raise ValueError("not every recording has a distance")


@dataclass(frozen=True)
class Verdict:
    """Which converter is nearest to several targets."""

    converter: str
    """`default`, unless another one is significantly nearer, and by 1 % at least."""
    distance_db: float
    """Mean over recordings."""
    default: str
    """What `auto` takes where nothing was measured."""
    default_db: float
    p_value: float | None
    """Of a paired t-test over recordings between the nearest converter and `default`; None where they are the same."""
    n_recordings: int
    targets: list[str]


def judge(evidence: Sequence[PairEvidence], among: Sequence[str], default: str) -> Verdict | None:
    """Say which converter of `among` is nearest to all these targets; None where too little was measured to say so."""
    from scipy.stats import ttest_rel  # a second to load, which conversions do without

    names = [name for name in among if all(name in one.distances_db for one in evidence)]
    if not evidence or default not in names:
        return None
    by_recording: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in names}
    for one in evidence:
        for name in names:
            for recording, value in zip(one.recordings, one.distances_db[name], strict=True):
                by_recording[name][recording].append(value)
    recordings = list(by_recording[default])
    if len(recordings) < LEAST_RECORDINGS:
        return None
    distances = {name: np.array([np.mean(by_recording[name][one]) for one in recordings]) for name in names}
    nearest = min(names, key=lambda name: float(distances[name].mean()))
    p_value = None
    if nearest != default:
        p_value = float(ttest_rel(distances[nearest], distances[default]).pvalue)
    is_nearer = p_value is not None and p_value < SIGNIFICANT
    is_worth_it = distances[nearest].mean() < (1 - WORTH_IT) * distances[default].mean()
    chosen = nearest if is_nearer and is_worth_it else default
    return Verdict(
        converter=chosen,
        distance_db=round(float(distances[chosen].mean()), 3),
        default=default,
        default_db=round(float(distances[default].mean()), 3),
        p_value=p_value,
        n_recordings=len(recordings),
        targets=[one.target for one in evidence],
    )


def known_sha256(ingredients: Ingredients, target: str) -> str:
    """Return the hash of what is known of source and target, and of the refiner's weights between them.

    `ingredients`: with the records as they are. What is learned from the workspace's recordings (level tables, noise
    floors that records lack) is left out: it is not there yet when a converter is chosen.

    Raises:
        SettingsError: the weights cannot be read.
    """
    records = [ingredients.devices.get(name) for name in (ingredients.source, target)]
    path = ingredients.adapted.get(target, ingredients.refiner)
    weights = file_sha256(path) if path and path.is_file() else None
    return hash_of([[record.model_dump(mode="json") if record else None for record in records], weights])


def save_evidence(workspace: Workspace, evidence: Sequence[PairEvidence]) -> Path:
    """Add what was measured to the workspace's file, in the place of what it said of the same pairs.

    Raises:
        SettingsError: the file is there and is damaged.
        EnvironmentFault: it cannot be written.
    """
    path = workspace.checkpoints / VERDICTS_NAME
    kept = {(one.source, one.target): one for one in read_evidence(workspace)}
    kept |= {(one.source, one.target): one for one in evidence}
    pairs = [json.dumps(asdict(kept[pair]), ensure_ascii=False) for pair in sorted(kept)]
    head = json.dumps(FORMAT.header, indent=2).removesuffix("\n}")
    text = head + ',\n  "pairs": [' + ",".join(f"\n    {pair}" for pair in pairs) + "\n  ]\n}\n"
    atomic_write.write_text(path, text)
    return path


def read_evidence(workspace: Workspace) -> list[PairEvidence]:
    """Return what was kept of all pairs; nothing where there is no file.

    Raises:
        SettingsError: the file is damaged, or of another version.
    """
    path = workspace.checkpoints / VERDICTS_NAME
    if not path.exists():
        return []
    content = FORMAT.read(path)
    try:
        return _PAIRS.validate_python(content.get("pairs"))
    except ValidationError as error:
        raise SettingsError(f"{path} is damaged: {error.errors()[0]['msg']}", FORMAT.again) from error


_PAIRS = TypeAdapter(list[PairEvidence])


@dataclass(frozen=True)
class SavedVerdict:
    """What a workspace's file says of a conversion."""

    verdict: Verdict | None
    """None where it says nothing of these targets."""
    about: dict[str, Any] = field(default_factory=dict)
    """The verdict as a run notes it."""
    caution: str | None = None
    """Why a verdict that is there does not count, or is to be measured again."""


def saved_verdict(workspace: Workspace, ingredients: Ingredients, among: Sequence[str], default: str) -> SavedVerdict:
    """Return the workspace's verdict on all targets.

    It covers a target as long as the records of both devices and the refiner's weights are what they were. Where an
    earlier version did not measure `default`, which moves what another converter makes, that one takes its place.

    Raises:
        SettingsError: see `read_evidence`.
    """
    kept = {one.target: one for one in read_evidence(workspace) if one.source == ingredients.source}
    if not any(target in kept for target in ingredients.targets):
        return SavedVerdict(None)
    again = f"umc eval conversion --source {ingredients.source} --save-verdict"
    if unknown := [target for target in ingredients.targets if target not in kept]:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        return SavedVerdict(
            None,
            caution=f"what `{again}` found is not used, because it does not cover {', '.join(unknown[:3])}{more}: "
            f"name only targets that it covers ({', '.join(sorted(kept))})",
        )
    evidence = [kept[target] for target in ingredients.targets]
    adapted = adapted_weights(workspace, ingredients.source, ingredients.targets)
    ingredients = replace(ingredients, adapted=adapted)
    if changed := [one.target for one in evidence if one.known_sha256 != known_sha256(ingredients, one.target)]:
        return SavedVerdict(
            None,
            caution=f"what `{again}` found is not used, because records or weights for {', '.join(changed[:3])} "
            "changed since: run it again",
        )
    caution = None
    if (moved := CONVERTERS[default].moves) and any(default not in one.distances_db for one in evidence):
        caution = f"`{again}` did not measure {default}, which this version of umc takes: run it again"
        default = moved
    verdict = judge(evidence, among, default)
    if verdict is None:
        return SavedVerdict(None, caution=caution)
    split, date = ("+".join(sorted({getattr(one, name) for one in evidence})) for name in ("split", "date"))
    return SavedVerdict(verdict, asdict(verdict) | {"split": split, "date": date}, caution)
