"""A small network as a probe: it sees what no linear probe does, such as classes that differ in their spread alone.

One hidden layer, whose output is added to the logits of the linear probe and is zero at first. So the training begins
at the linear probe, and ends where the cross-entropy is least on recordings that it does not learn from. The networks
of all folds are trained at once, as one batch of matrices.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from umc_cli.evaluation.linear_probe import TEMPERATURES, Values, choose_linear, deal_folds

_HIDDEN = 64
_LEARNING_RATE, _WEIGHT_DECAY = 0.02, 0.01
"""The first layer's rate is divided by the root of the number of features, all of which move its sums."""
_MOST_STEPS, _PATIENCE, _LOOK_EVERY = 400, 60, 5
"""A training ends after so many steps, or as many without a better validation; looked at every few steps."""
_SEED = 0


def network_log_probabilities(
    features: NDArray[np.float32] | Values, labels: Sequence[int], groups: Sequence[str], n_folds: int = 5
) -> Values:
    """Return the log probability of each class for each sample, from a network that saw nothing of the sample's group.

    Of the folds that a network is not asked about, one decides where its training ends and how sure it may be of
    itself, and the others train it. The same on every run on one machine.

    Shape: [N, D], [N] with values 0 to K - 1, [N] -> [N, K], natural logarithm.

    Raises:
        ValueError: see `linear_probe.deal_folds`.
    """
    fold_of = torch.from_numpy(deal_folds(groups, n_folds))
    truth = torch.as_tensor(np.asarray(labels, dtype=np.int64))
    n_classes = int(truth.max()) + 1
    own = torch.arange(n_folds)[:, None]
    asked, validated = fold_of == own, fold_of == (own + 1) % n_folds  # [F, N]
    learned = ~(asked | validated)
    exact = np.asarray(features, dtype=np.float64)
    linear = torch.stack([_linear_logits(exact, truth.numpy(), fold_of.numpy(), rows.numpy()) for rows in learned])
    inputs = _standardised(torch.as_tensor(exact, dtype=torch.float32), learned)
    logits = _best_logits(inputs, linear, truth, learned, validated)
    priors = torch.stack([torch.bincount(truth[rows], minlength=n_classes) for rows in learned]).double()
    priors /= priors.sum(dim=1, keepdim=True)
    share = 1 / (learned.sum(dim=1).double() + 1)
    result = np.empty((len(truth), n_classes))
    for fold in range(n_folds):
        hot = min(TEMPERATURES, key=lambda each: _loss(logits[fold] / each, truth, validated[fold]))
        chances = torch.softmax(logits[fold, asked[fold]].double() / hot, dim=1)
        # As in the linear probe: one surprise cannot outweigh everything.
        result[asked[fold].numpy()] = torch.log((1 - share[fold]) * chances + share[fold] * priors[fold]).numpy()
    return result


def _standardised(features: Tensor, learned: Tensor) -> Tensor:
    """Return the features as each fold's network sees them. Shape: [N, D], [F, N] -> [F, N, D]."""
    means = torch.stack([features[rows].mean(dim=0) for rows in learned])
    spreads = torch.stack([features[rows].std(dim=0) for rows in learned])
    is_constant = spreads <= 1e-6 * means.abs()
    scales = torch.where(is_constant, torch.inf, spreads)
    return ((features - means[:, None]) / scales[:, None]).clamp(-10, 10)


def _linear_logits(
    features: Values, labels: NDArray[np.int64], folds: NDArray[np.intp], rows: NDArray[np.bool_]
) -> Tensor:
    """Return what the linear probe of some rows says of all. Shape: [N, D], [N], [N], [N] -> [N, K]."""
    probe = choose_linear(features[rows], labels[rows], folds[rows], int(labels.max()) + 1)
    return torch.as_tensor(probe(features), dtype=torch.float32)


def _best_logits(inputs: Tensor, linear: Tensor, truth: Tensor, learned: Tensor, validated: Tensor) -> Tensor:
    """Train a network for each fold and return its logits where it validated best. Shape: [F, N, K]."""
    n_folds, n_samples, n_features = inputs.shape
    n_classes = linear.shape[2]
    random = torch.Generator().manual_seed(_SEED)

    def drawn(*shape: int, size: float) -> Tensor:
        return (size * torch.randn(shape, generator=random)).expand(n_folds, *shape).clone().requires_grad_()

    first = drawn(n_features, _HIDDEN, size=n_features**-0.5)
    weights = [first, drawn(1, _HIDDEN, size=1.0)]
    weights += [torch.zeros(n_folds, _HIDDEN, n_classes, requires_grad=True)]
    weights += [torch.zeros(n_folds, 1, n_classes, requires_grad=True)]
    rates = [{"params": [first], "lr": _LEARNING_RATE / n_features**0.5}, {"params": weights[1:]}]
    optimiser = torch.optim.AdamW(rates, _LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    truths, counts = truth.expand(n_folds, n_samples), learned.sum(dim=1)
    best, best_loss, best_step = linear, torch.full((n_folds,), torch.inf), 0
    for step in range(_MOST_STEPS + 1):
        hidden = torch.relu(torch.baddbmm(weights[1], inputs, weights[0]))
        logits = linear + torch.baddbmm(weights[3], hidden, weights[2])
        losses = F.cross_entropy(logits.transpose(1, 2), truths, reduction="none")  # [F, N]
        if step % _LOOK_EVERY == 0:
            of_validated = (losses.detach() * validated).sum(dim=1) / validated.sum(dim=1)
            is_better = of_validated < best_loss - 1e-4
            if is_better.any():
                best_step = step
                best_loss = torch.where(is_better, of_validated, best_loss)
                best = torch.where(is_better[:, None, None], logits.detach(), best)
            elif step - best_step >= _PATIENCE:
                break
        optimiser.zero_grad()
        ((losses * learned).sum(dim=1) / counts).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return best


def _loss(logits: Tensor, truth: Tensor, rows: Tensor) -> float:
    return float(F.cross_entropy(logits[rows], truth[rows]))
