"""Training a classifier on one device's segments (paper, section 4.2 and Figure 2)."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from umc_cli.errors import SettingsError
from umc_cli.evaluation.macro_f1 import score_device
from umc_cli.runtime import autocast, autocast_dtype
from umc_cli.sec.augmentations.contract import set_random
from umc_cli.sec.batch_norm import normalise_over_ranks
from umc_cli.sec.batches_ahead import BatchesAhead
from umc_cli.sec.classifier_settings import SecSettings
from umc_cli.sec.dataset import SecSegments, TrainingBatch, TrainingBatches, class_weights, step_random
from umc_cli.sec.network import SecNetwork, predict_logits
from umc_cli.sec.sec_checkpoint import SecNetworkSettings, save_sec
from umc_cli.sec.self_training import ROUND_SHARES, GivenLabels, surest
from umc_cli.training.gradient_norm import gradient_norm
from umc_cli.training.optimiser_state import below, load_optimiser_tensors, optimiser_tensors, under
from umc_cli.training.ranks import ONE_PROCESS, Ranks
from umc_cli.training.run import VALIDATION_SCORE, check_finite, total_steps
from umc_cli.training.schedule import WeightsName

LOSS_NAMES = ("classification_loss", "gradient_norm", "converted_share", "learning_rate")
VALIDATION_NAMES = ("validation_macro_f1", "validation_accuracy", "validation_loss", VALIDATION_SCORE)
_BATCH = 256


def sec_step(
    network: SecNetwork,
    optimiser: torch.optim.Optimizer,
    batch: TrainingBatch,
    weights: Tensor | None,
    autocast_dtype: torch.dtype | None,
    index: int,
    ranks: Ranks = ONE_PROCESS,
) -> dict[str, float]:
    """Do step `index` (from 0) and return its losses by name. `weights`: [n_classes] of the classes.

    Several `ranks` each compute their share of the batch, and all of them do the same step.

    Raises:
        NonFiniteLossError: the loss or a gradient is not finite; no weight has changed then.
    """
    with autocast(batch.log_mel.device, autocast_dtype):
        logits = network(batch.log_mel)
    loss = batch.share * F.cross_entropy(logits.float(), batch.targets, weight=weights)
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    ranks.sum_gradients(network.parameters())
    converted_share = batch.share * batch.n_converted / len(batch.targets)
    # All at once: a GPU is waited for.
    loss_here, norm = torch.stack([loss.detach(), gradient_norm(network)]).tolist()
    sums = ranks.sum(torch.tensor([loss_here, converted_share], dtype=torch.float64))
    losses = {
        "classification_loss": sums[0].item(),
        "gradient_norm": norm,
        "converted_share": sums[1].item(),
    }
    check_finite(losses, index)
    optimiser.step()
    return losses


class SecTraining:
    """Network, optimiser and batches of a run (see `training.run`); `sec_step` is what it repeats.

    What is best is decided on `held_out`, segments of the source device (or none), whatever the method converts to.
    With unlabeled segments, `settings` are those of every round of the self-training.
    """

    def __init__(
        self,
        settings: SecSettings,
        network_settings: SecNetworkSettings,
        batches: TrainingBatches,
        held_out: SecSegments,
        torch_device: torch.device,
        ranks: Ranks = ONE_PROCESS,
    ) -> None:
        self._ranks = ranks
        self._settings = settings
        self._network_settings = network_settings
        self._batches = batches
        self._held_out = held_out
        self._torch_device = torch_device
        self.network = self._fresh_network().to(torch_device).to(memory_format=torch.channels_last)
        normalise_over_ranks(self.network, ranks)
        self._optimiser = self._fresh_optimiser()
        self._round = 0
        weights = class_weights(batches.segments.label, batches.n_classes) if settings.balance_classes else None
        self._class_weights = weights.to(torch_device) if weights is not None else None
        self._autocast_dtype = autocast_dtype(settings.precision, torch_device)
        self._ahead = BatchesAhead(torch_device)

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps in which every segment is seen once."""
        return self._batches.per_epoch

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the losses and measures."""
        return (*LOSS_NAMES, *VALIDATION_NAMES)

    def step(self, index: int) -> dict[str, float]:
        """Do step `index` and return its losses.

        Raises:
            NonFiniteLossError: see `sec_step`.
        """
        number = min(index // self._steps_per_round, len(ROUND_SHARES))
        if self._batches.unlabeled and number != self._round:
            self._begin_round(number)
        rate = self._settings.learning_rate_at(index % self._steps_per_round // self.steps_per_epoch)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        batch = self._ahead.get(self._batches, index)
        # Every step has random numbers of its own, so that a run that goes on needs no state of them.
        random = step_random(self._settings.seed, index, of_network=True, rank=self._ranks.rank)
        set_random(self.network, random)
        devices = [self._torch_device] if self._torch_device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(random.initial_seed())
            self.network.train()
            losses = sec_step(
                self.network, self._optimiser, batch, self._class_weights, self._autocast_dtype, index, self._ranks
            )
        return losses | {"learning_rate": rate}

    def validate(self) -> dict[str, float]:
        """Score the present weights on the held-out segments, all of the source device; {} where there are none."""
        if not len(self._held_out):
            return {}
        logits = predict_logits(self.network, self._held_out.log_mel, self._torch_device, _BATCH)
        truth = torch.from_numpy(self._held_out.label)
        predicted = logits.argmax(dim=1)
        n_classes = self._batches.n_classes
        loss = F.cross_entropy(logits, truth).item()
        scores = score_device(truth.numpy(), predicted.numpy(), n_classes)
        # Of equal scores the smaller loss is better: small sets have few different scores.
        score = (1 - scores.macro_f1) + 1e-3 * math.tanh(loss)
        if self._batches.unlabeled:  # the source alone cannot tell what later rounds gain: any of these is better
            score += 2 * (len(ROUND_SHARES) - self._round)
        return dict(zip(VALIDATION_NAMES, (scores.macro_f1, scores.accuracy, loss, score), strict=True))

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return network and optimiser; batches and random numbers follow from the step's number."""
        network, optimiser = self.network.state_dict(), optimiser_tensors(self._optimiser)
        tensors, values = under("network", network) | under("optimiser", optimiser), {}
        if self._batches.unlabeled:
            values = {"round": self._round, "steps_per_round": self._steps_per_round}
        if given := self._batches.given:
            tensors |= {"given.row": torch.from_numpy(given.row), "given.label": torch.from_numpy(given.label)}
        return tensors, values

    def load_state(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Become what `state` was taken of."""
        self.network.load_state_dict(below("network", tensors))
        load_optimiser_tensors(self._optimiser, below("optimiser", tensors))
        if self._batches.unlabeled:
            if values["steps_per_round"] != self._steps_per_round:
                raise SettingsError(
                    f"the run trains itself in rounds of {values['steps_per_round']} steps, not of "
                    f"{self._steps_per_round}",
                    "resume it with the --epochs and --max-steps that it began with",
                )
            self._round = int(values["round"])
        if "given.row" in tensors:
            given = GivenLabels(tensors["given.row"].numpy(), tensors["given.label"].numpy())
            self._batches = replace(self._batches, given=given)

    def save_weights(self, folder: Path, name: WeightsName, about: Mapping[str, Any]) -> list[Path]:
        """Write the classifier."""
        path = folder / f"{name}.safetensors"
        save_sec(path, self.network, self._network_settings, about)
        return [path]

    def draw(self, path: Path) -> None:
        """Nothing: a classifier has no picture."""

    @property
    def _steps_per_round(self) -> int:
        return total_steps(self._settings, self.steps_per_epoch)

    def _begin_round(self, number: int) -> None:
        """Label the unlabeled segments with the present weights, and begin with fresh ones."""
        unlabeled = self._batches.unlabeled
        assert unlabeled is not None
        n = len(unlabeled.log_mel)
        own = unlabeled.log_mel[self._ranks.share(n)]
        logits = torch.empty(0, self._batches.n_classes)
        if len(own):
            logits = predict_logits(self.network, own, self._torch_device, _BATCH)
        given = surest(self._ranks.whole(logits, n), unlabeled.device, ROUND_SHARES[number - 1])
        self._ahead.forget()  # they have the labels before
        self._batches = replace(self._batches, given=given)
        self.network.load_state_dict(self._fresh_network().state_dict())
        self._optimiser = self._fresh_optimiser()
        self._round = number

    def _fresh_network(self) -> SecNetwork:
        with torch.random.fork_rng(devices=[]):  # the weights are made on the CPU
            torch.default_generator.manual_seed(self._settings.seed)
            return self._network_settings.build()

    def _fresh_optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            self.network.parameters(), self._settings.learning_rate, weight_decay=self._settings.weight_decay
        )
