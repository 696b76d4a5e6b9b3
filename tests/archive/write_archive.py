"""Write the files that a release leaves for the tests of all later ones: a shard, and checkpoints of both networks.

    python tests/archive/write_archive.py tests/archive/umc-<version>

Run once a release, with that release; `tests/test_archive.py` reads them ever after.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch

from umc_cli.conversion.generator import Generator
from umc_cli.conversion.generator_checkpoint import save_generator
from umc_cli.conversion.generator_settings import GENERATOR_PRESETS
from umc_cli.conversion.normalisation import Normalisation
from umc_cli.conversion.refiner_checkpoint import save_refiner
from umc_cli.conversion.refiner_network import Refiner
from umc_cli.conversion.refiner_settings import RefinerSettings

RATE_HZ = 22_050
TONE_HZ = 1_000
SMALL = {"ngf": 2, "n_blocks": 1, "film_widths": (2, 2, 2), "film_hidden": 4}


def tone() -> np.ndarray:
    """Return one segment of a 1-kHz tone, peak 0.1. Shape: [20480] float32."""
    return (0.1 * np.sin(2 * np.pi * TONE_HZ * np.arange(20_480) / RATE_HZ)).astype(np.float32)


def generator_input() -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the archived generator was asked: a normalised segment [1, 80, 80] and a difference [1, 128], dB."""
    return torch.linspace(-1, 1, 6_400).reshape(1, 80, 80), torch.linspace(-3, 3, 128).unsqueeze(0)


def refiner_input() -> torch.Tensor:
    """Return the maps that the archived refiner was asked. Shape: [1, 8, 80, 80]."""
    return torch.linspace(-1, 1, 51_200).reshape(1, 8, 80, 80)


def write_refiner(folder: Path) -> None:
    """Write a small refiner in half precision, as the package's, and what it answered."""
    torch.manual_seed(1)
    refiner = Refiner(RefinerSettings(widths=(4, 4, 4, 4))).eval()
    torch.nn.init.normal_(refiner.last.weight)
    save_refiner(folder / "refiner.safetensors", refiner, {"name": "archived"}, torch.float16)
    with torch.no_grad():
        answer = refiner(refiner_input()).flatten()[::640].tolist()
    (folder / "refiner_output.json").write_text(json.dumps(answer) + "\n")


def main(folder: Path) -> None:
    """Write shard and checkpoints, and what the networks answered."""
    folder.mkdir(parents=True)
    write_refiner(folder)
    torch.manual_seed(0)
    generator = Generator(GENERATOR_PRESETS["level_aware"].model_copy(update=SMALL)).eval()
    save_generator(folder / "generator.safetensors", generator, Normalisation(mean_db=-45.0, std_db=18.0))
    with torch.no_grad():
        answer = generator(*generator_input()).flatten()[::640].tolist()
    (folder / "generator_output.json").write_text(json.dumps(answer) + "\n")
    with tempfile.TemporaryDirectory() as name:
        clip = Path(name) / "data/xperia1v/tone/a.wav"
        clip.parent.mkdir(parents=True)
        soundfile.write(clip, tone(), RATE_HZ, subtype="FLOAT")
        command = ["convert", "--source", "xperia1v", "--targets", "pixel3", "--converter", "eq", "--quiet"]
        subprocess.run([sys.executable, "-m", "umc_cli", "--workspace", name, *command], check=True)
        shard = Path(name) / "converted/pixel3/shard-00000.h5"
        (folder / shard.name).write_bytes(shard.read_bytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
