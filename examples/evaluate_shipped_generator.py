"""Measure the shipped weights and their rivals between all pairs of simulated devices that no training has seen.

    python examples/evaluate_shipped_generator.py <folder of the data> [--checkpoint FILE] [--draws 3] [--json]
        [--quick]

<folder of the data> as for `train_shipped_generator.py`. Each draw makes eight devices around the responses that were
left out of training; fold 5 of the clips is converted between all 56 ordered pairs, level tables and the device probe
learn from fold 4. Log-spectral distance in dB to what the target recorded, over frames with signal and over all frames.
About ten minutes a draw on one processor; half a minute with --quick, which takes 20 clips of either fold and every
ninth segment, and no probe.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from train_shipped_generator import TEST_FOLD, VALIDATION_FOLD, read_sounds, split_responses

from umc_cli.conversion.band_interpolation import noise_floor_db
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.converters.contract import EngineSettings, Ingredients
from umc_cli.conversion.generator_settings import SHIPPED_GENERATOR
from umc_cli.conversion.level_quantiles import QUANTILE_SHARES
from umc_cli.conversion.refiner_settings import SHIPPED_REFINER
from umc_cli.evaluation.conversion_metrics import frames_with_signal, log_spectral_distance
from umc_cli.evaluation.spectrogram_classifier import classify, train_classifier
from umc_cli.precision import Precision
from umc_cli.runtime import cpu_count
from umc_cli.simulation.device_family import draw_device
from umc_cli.simulation.world import record_segments

NAMES = ("eq", "eq_noise", "refiner", "quantile", "refiner_quantile", "film_gan")
DEVICES = 8
EVERY, QUICK_EVERY = 3, 9
"""Every third segment is converted."""
QUICK_CLIPS = 20


def measure_draw(data: Path, checkpoint: Path, seed: int, is_quick: bool) -> list[dict[str, float | str]]:
    """Return a row for every converter and pair of devices of one draw."""
    random = np.random.default_rng([1000, seed])
    responses_db = split_responses(data)[1]
    devices = [draw_device(f"sim{number}", responses_db, random) for number in range(DEVICES)]
    test, train = (
        [
            record_segments(device, read_sounds(data / "events", (fold,))[: QUICK_CLIPS if is_quick else None], random)
            for device in devices
        ]
        for fold in (TEST_FOLD, VALIDATION_FOLD)
    )
    test = [one[:: QUICK_EVERY if is_quick else EVERY] for one in test]
    tables = [np.quantile(one.permute(1, 0, 2).flatten(1), QUANTILE_SHARES, axis=1).astype(np.float32) for one in train]
    owners = [f"sim{number}" for number, one in enumerate(train) for _ in range(len(one))]
    probe = None if is_quick else train_classifier(torch.cat(train).numpy(), owners, seed)
    names = [device.record.id for device in devices]
    rows: list[dict[str, float | str]] = []
    for source in range(DEVICES):
        ingredients = Ingredients(
            source=names[source],
            targets=tuple(name for name in names if name != names[source]),
            devices={device.record.id: device.record for device in devices},
            torch_device=torch.device("cpu"),
            level_quantiles=dict(zip(names, tables, strict=True)),
            checkpoint=SHIPPED_GENERATOR,
            refiner=checkpoint,
            engine=EngineSettings(precision=Precision.FP32, threads=cpu_count()),
        )
        built = {name: CONVERTERS[name].build(ingredients) for name in NAMES}
        begun = {name: converter.begin(test[source]) for name, converter in built.items()}
        for target in range(DEVICES):
            if target == source:
                continue
            true = test[target].numpy()
            floor_db = noise_floor_db(devices[target].record, torch.device("cpu"))[:, 0].numpy()
            with_signal = frames_with_signal(true, floor_db, [str(row) for row in range(len(true))])
            converted = {name: one.convert(begun[name], names[target]).numpy() for name, one in built.items()}
            for name, values in {"no_conversion": test[source].numpy(), **converted, "target_recordings": true}.items():
                rows.append(
                    {
                        "converter": name,
                        "pair": f"{seed}: {names[source]} to {names[target]}",
                        "signal_db": float(np.nanmean(log_spectral_distance(values, true, with_signal))),
                        "all_db": float(log_spectral_distance(values, true).mean()),
                        "as_target": float((classify(probe, values).classes == names[target]).mean())
                        if probe
                        else np.nan,
                    }
                )
    return rows


def main() -> None:
    """Measure all draws and print means over pairs, with their standard deviation over draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED_REFINER)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true", help="print every pair as JSON")
    options = parser.parse_args()
    rows = []
    means = defaultdict(list)
    for seed in range(options.draws):
        drawn = measure_draw(options.data, options.checkpoint, seed, options.quick)
        rows += drawn
        for name in dict.fromkeys(row["converter"] for row in drawn):
            own = [row for row in drawn if row["converter"] == name]
            means[name].append([np.mean([row[key] for row in own]) for key in ("signal_db", "all_db", "as_target")])
    if options.json:
        print(json.dumps(rows))
        return
    print(f"{'converter':20}{'distance dB, signal':>22}{'all frames':>16}{'taken for target':>20}")
    for name, values in means.items():
        cells = [f"{mean:.2f} +- {sd:.2f}" for mean, sd in zip(np.mean(values, 0), np.std(values, 0), strict=True)]
        print(f"{name:20}{cells[0]:>22}{cells[1]:>16}{cells[2]:>20}")


if __name__ == "__main__":
    main()
