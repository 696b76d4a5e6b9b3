"""What the layers of a generator hold while it converts: the statistics of Figure 3 of the paper.

Of each activation [B, channels, H, W] (H: frequency, W: time) the means over two of its three dimensions are taken, so
that what remains runs over the channels, over frequency, or over time. Layers are looked at behind their ReLU, as the
means over each channel are zero behind an InstanceNorm, by its definition. For the same reason the sum at the end of a
residual block has the means over channels that the block was given, whatever the block does.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from umc_cli.conversion.generator import Generator, ResidualBlock

DIMENSIONS = ("channel", "frequency", "time")
_AVERAGED = {"channel": (2, 3), "frequency": (1, 3), "time": (1, 2)}

Statistics = dict[str, NDArray[np.float32]]
"""By dimension, [N, size of the dimension]."""


def layer_names(n_blocks: int) -> list[str]:
    """Return the layers in the order in which a segment passes them.

    `encoder 1` to `encoder 3`; `block 1`: behind the FiLM and the ReLU in the first residual block (behind the ReLU in
    the others); `block 1 sum`: what the block returns; `decoder 1`, `decoder 2`; `output`: what the generator returns.
    """
    blocks = [name for number in range(1, n_blocks + 1) for name in (f"block {number}", f"block {number} sum")]
    return ["encoder 1", "encoder 2", "encoder 3", *blocks, "decoder 1", "decoder 2", "output"]


@torch.inference_mode()
def layer_statistics(
    generator: Generator,
    normalised: Tensor,
    fr_differences_db: Mapping[str, Tensor],
    batch_size: int = 16,
    say: Callable[[int], None] = lambda n_converted: None,
) -> dict[str, dict[str, Statistics]]:
    """Convert every segment to every target, and return the statistics by layer, target and dimension.

    Shape: [N, 80, 80] without unit (`normalise`); by target [128] dB, target minus source. All on the device of the
    generator, in its precision. `say` is told, after every batch, how many segments have been converted to all targets.
    """
    names = layer_names(len(generator.blocks))
    kept: dict[str, dict[str, dict[str, list[Tensor]]]] = {
        layer: {target: {dimension: [] for dimension in DIMENSIONS} for target in fr_differences_db} for layer in names
    }
    films = {
        target: generator.film_encoder(difference.unsqueeze(0)) for target, difference in fr_differences_db.items()
    }
    n_converted = 0
    with _watched(generator) as seen:
        for batch in torch.split(normalised, batch_size):
            stem = generator.stem(batch)
            for target, (gamma, beta) in films.items():
                generator.trunk(stem, gamma, beta)
                # What the stem passed is still there: the same for all targets.
                for layer in names:
                    for dimension in DIMENSIONS:
                        kept[layer][target][dimension].append(seen[layer][dimension])
            n_converted += len(batch)
            say(n_converted)
    return {
        layer: {
            target: {dimension: torch.cat(parts).cpu().numpy() for dimension, parts in dimensions.items()}
            for target, dimensions in targets.items()
        }
        for layer, targets in kept.items()
    }


@contextmanager
def _watched(generator: Generator) -> Iterator[dict[str, dict[str, Tensor]]]:
    """Yield a dict that holds the statistics of each layer's last activation, by dimension."""
    seen: dict[str, dict[str, Tensor]] = {}

    def behind(layer: str) -> Callable[..., None]:
        return lambda module, inputs, output: seen.update({layer: _means(output)})

    def before(layer: str) -> Callable[..., None]:
        return lambda module, inputs: seen.update({layer: _means(inputs[0])})

    handles = []
    for part, sequence in (("encoder", generator.encoder), ("decoder", generator.decoder)):
        relus = [module for module in sequence if isinstance(module, nn.ReLU)]
        handles += [relu.register_forward_hook(behind(f"{part} {number}")) for number, relu in enumerate(relus, 1)]
    handles.append(generator.decoder[-1].register_forward_hook(behind("output")))
    # Blocks are not called as modules (`Generator.trunk`), but the convolutions in and behind them are.
    blocks = [block for block in generator.blocks if isinstance(block, ResidualBlock)]
    followers = [*(block.first for block in blocks[1:]), generator.decoder[0]]
    for number, (block, follower) in enumerate(zip(blocks, followers, strict=True), 1):
        handles.append(block.second.register_forward_pre_hook(before(f"block {number}")))
        handles.append(follower.register_forward_pre_hook(before(f"block {number} sum")))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _means(activation: Tensor) -> dict[str, Tensor]:
    return {dimension: activation.mean(dim=averaged) for dimension, averaged in _AVERAGED.items()}
