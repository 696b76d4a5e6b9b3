"""What a training step calls to convert segments between devices: one generator for all, or two for one pair."""

from collections.abc import Sequence
from itertools import permutations

import torch
from torch import Tensor, nn

from umc_cli.conversion.generator import Generator
from umc_cli.conversion.generator_settings import GeneratorSettings
from umc_cli.training.row_numbers import places_of, row_numbers


class UnifiedTranslator(nn.Module):
    """One generator, told the difference of the two devices (paper, section 3.1)."""

    responses_db: Tensor

    def __init__(self, settings: GeneratorSettings, responses_db: Tensor) -> None:
        """`responses_db`: [n devices, 128], dB; differences of two are the condition."""
        super().__init__()
        self.generator = Generator(settings)
        self.register_buffer("responses_db", responses_db, persistent=False)

    def forward(self, normalised: Tensor, own: Sequence[int], other: Sequence[int]) -> Tensor:
        """Convert every segment from its own device to the other. Shape: [B, H, W] without unit -> the same."""
        to, of = (row_numbers(devices, self.responses_db.device) for devices in (other, own))
        difference_db = self.responses_db[to] - self.responses_db[of]
        return _converted(self.generator, normalised, difference_db)

    def generators(self) -> dict[tuple[int, int] | None, Generator]:
        """Return the generator; the key None stands for all pairs."""
        return {None: self.generator}


class PairTranslator(nn.Module):
    """Two generators without condition, one to each of two devices: the predecessor's CycleGAN [11]."""

    def __init__(self, settings: GeneratorSettings) -> None:
        super().__init__()
        unconditioned = settings.model_copy(update={"film_encoder": "none"})
        self.to_device = nn.ModuleList(Generator(unconditioned) for _ in range(2))

    def forward(self, normalised: Tensor, own: Sequence[int], other: Sequence[int]) -> Tensor:
        """Convert every segment to the other device. Shape: [B, H, W] without unit -> the same."""
        order = sorted(range(len(other)), key=other.__getitem__)
        n_first = other.count(0)
        unused = normalised.new_zeros(1, 1)
        parts = [
            _converted(self._to(device), normalised[row_numbers(rows, normalised.device)], unused.expand(len(rows), -1))
            for device, rows in enumerate((order[:n_first], order[n_first:]))
            if rows
        ]
        return torch.cat(parts)[row_numbers(places_of(order), normalised.device)]

    def generators(self) -> dict[tuple[int, int] | None, Generator]:
        """Return both generators by (own, other) device index."""
        return {(own, other): self._to(other) for own, other in permutations(range(2))}

    def _to(self, device: int) -> Generator:
        generator = self.to_device[device]
        assert isinstance(generator, Generator)
        return generator


Translator = UnifiedTranslator | PairTranslator


def _converted(generator: Generator, normalised: Tensor, fr_difference_db: Tensor) -> Tensor:
    converted: Tensor = generator(normalised, fr_difference_db)
    return converted
