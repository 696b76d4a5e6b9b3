"""Speed and memory of a training step with the paper's networks, over a plain PyTorch loop, side by side in one run.

    python examples/benchmarks/train.py [--json] [--batch 16] [--repeats 3] [--preset paper] [--compile]

Prints a table on standard error; with --json one JSON object on standard output. Absolute figures depend on the
machine; the ratio is what to compare. The plain loop is what one writes first: fp32, one generator call per direction,
one discriminator call per device for real and for converted segments.
"""

import argparse
import json
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from umc_cli.conversion.converter_training.adversarial_settings import ADVERSARIAL_PRESETS
from umc_cli.conversion.converter_training.adversarial_training import AdversarialTraining
from umc_cli.conversion.converter_training.discriminator import Discriminator
from umc_cli.conversion.converter_training.image_buffer import ImageBuffer
from umc_cli.conversion.converter_training.training_segments import TrainingSegments
from umc_cli.conversion.generator import Generator
from umc_cli.conversion.normalisation import Normalisation
from umc_cli.precision import Precision
from umc_cli.response.device import DeviceRegistry
from umc_cli.runtime import cpu_count, training_precision

DEVICES = ("pixel3", "pixel3-back", "xperia1", "xperia1ii", "xperia1iii", "xperia1iv", "xperia1v")
WANTED = 3.0


def segments() -> TrainingSegments:
    """Return random segments: speed does not depend on what they hold."""
    random = np.random.default_rng(0)
    drawn = [random.normal(-50, 12, (16, 80, 80)).astype(np.float16) for _ in DEVICES]
    normalisation = Normalisation(mean_db=-50.0, std_db=12.0)
    return TrainingSegments(DEVICES, tuple(drawn), tuple(part[:2] for part in drawn), normalisation, (), "")


def our_step(
    preset: str, batch: int, device: torch.device, precision: Precision, is_compiled: bool
) -> Callable[[], object]:
    """Return the step of `umc train`, with another batch than the preset's."""
    settings = ADVERSARIAL_PRESETS[preset].model_copy(update={"batch_size": batch, "precision": precision})
    registry = DeviceRegistry()
    records = [registry.get(name) for name in DEVICES]
    training = AdversarialTraining(
        settings, segments(), records, is_pair=False, torch_device=device, is_compiled=is_compiled
    )
    return lambda: training.step(0)


def plain_step(preset: str, batch: int, device: torch.device) -> Callable[[], object]:
    """Return a plain step of the same networks."""
    torch.manual_seed(0)
    settings = ADVERSARIAL_PRESETS[preset]
    generator = Generator(settings.generator).to(device)
    discriminators = [Discriminator(settings.ndf).to(device) for _ in DEVICES]
    weights = [weight for network in discriminators for weight in network.parameters()]
    optimisers = (
        torch.optim.Adam(generator.parameters(), 5e-4, (0.5, 0.999)),
        torch.optim.Adam(weights, 5e-4, (0.5, 0.999)),
    )
    buffers = [ImageBuffer(50) for _ in DEVICES]
    random = torch.Generator().manual_seed(0)
    source = torch.randn(len(DEVICES), 16, 80, 80, device=device)
    responses = 5 * torch.randn(len(DEVICES), 128, device=device)

    def step() -> None:
        a = torch.randint(len(DEVICES), (batch // 2,), generator=random)
        b = (a + torch.randint(1, len(DEVICES), (batch // 2,), generator=random)) % len(DEVICES)
        x_a, x_b = source[a, torch.arange(len(a)) % 16], source[b, torch.arange(len(b)) % 16]
        there, back = responses[b] - responses[a], responses[a] - responses[b]
        fake_b, fake_a = generator(x_a, there), generator(x_b, back)
        loss = 10 * (F.l1_loss(generator(fake_b, back), x_a) + F.l1_loss(generator(fake_a, there), x_b))
        for index, network in enumerate(discriminators):
            fakes = torch.cat([fake_b[b == index], fake_a[a == index]])
            if len(fakes):
                loss = loss + (network(fakes) - 1).square().mean()
        optimisers[0].zero_grad()
        loss.backward()
        optimisers[0].step()
        loss_d = torch.zeros((), device=device)
        for index, network in enumerate(discriminators):
            real = torch.cat([x_a[a == index], x_b[b == index]])
            fakes = torch.cat([fake_b[b == index], fake_a[a == index]]).detach()
            if len(real):
                shown = buffers[index].swap(fakes, random)
                loss_d = loss_d + 0.5 * ((network(real) - 1).square().mean() + network(shown).square().mean())
        optimisers[1].zero_grad()
        loss_d.backward()
        optimisers[1].step()

    return step


def in_turn(steps: list[Callable[[], object]], repeats: int, device: torch.device) -> list[float]:
    """Return the median seconds of each step, measured in turn so that all meet the same machine."""
    times: list[list[float]] = [[] for _ in steps]
    for turn in range(repeats + 1):
        for step, taken in zip(steps, times, strict=True):
            started = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                taken.append(time.perf_counter() - started)
    return [statistics.median(taken) for taken in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--batch", type=int, default=16, help="segments a step")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--preset", default="paper", choices=[*ADVERSARIAL_PRESETS], help="whose networks")
    parser.add_argument("--compile", action="store_true", help="ours as `umc train --compile` computes it")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(cpu_count())
    precision = training_precision(Precision.AUTO, device)
    preset, batch = arguments.preset, arguments.batch
    steps = [our_step(preset, batch, device, precision, arguments.compile), plain_step(preset, batch, device)]
    ours, plain = in_turn(steps, arguments.repeats, device)
    figures = {
        "training_over_plain_torch": plain / ours,
        "wanted": WANTED,
        "training_segments_per_s": arguments.batch / ours,
        "plain_segments_per_s": arguments.batch / plain,
        "batch": arguments.batch,
        "precision": precision.value,
        "peak_rss_mib_of_both": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "machine": f"{platform.machine()}, {cpu_count()} processors, {device.type}",
        "torch": torch.__version__,
    }
    for name, value in figures.items():
        print(f"{name:28} {value:.3g}" if isinstance(value, float) else f"{name:28} {value}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
