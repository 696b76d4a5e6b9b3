"""What `umc train-sec` is asked to convert with: what that means, and what contradicts it."""

from collections.abc import Sequence
from contextlib import suppress

from umc_cli.audio.feature_settings import FeatureSegmentSettings
from umc_cli.audio.files import read_header
from umc_cli.audio.manifest import Clip
from umc_cli.config import Workspace
from umc_cli.conversion.chosen.choice import AUTO
from umc_cli.conversion.chosen.conversion_settings import ConversionSettings
from umc_cli.conversion.chosen.targets import names_invented
from umc_cli.conversion.generator_checkpoint import check_is_conditioned
from umc_cli.conversion.generator_settings import SHIPPED_GENERATOR
from umc_cli.errors import InputError, SettingsError
from umc_cli.sec.methods import UNIFIED_METHODS, MethodPlan
from umc_cli.settings.train_sec import TrainSecSettings
from umc_cli.workflows.train import GENERATOR_NAME

PAPERS_CONVERTER = "film_gan"


def is_papers(settings: TrainSecSettings, plan: MethodPlan) -> bool:
    """Tell whether samples are converted as the paper does: with its generator, where others could be taken."""
    return settings.unified == "paper" and plan.conversion in UNIFIED_METHODS


def draws_differences(settings: TrainSecSettings, plan: MethodPlan) -> bool:
    """Tell whether every sample gets a difference of its own: Unified-MC-Synth."""
    return is_papers(settings, plan) and plan.conversion == "unified-synth"


def conversion_request(settings: TrainSecSettings, plan: MethodPlan) -> ConversionSettings:
    """Return the conversion that is asked for."""
    return ConversionSettings(
        source=settings.source,
        targets=settings.targets,
        converter=PAPERS_CONVERTER if is_papers(settings, plan) else settings.converter,
        checkpoint=settings.checkpoint,
        compute_device=settings.compute_device,
    )


def check_request(workspace: Workspace, settings: TrainSecSettings, plan: MethodPlan) -> None:
    """Refuse options that contradict each other, before anything is looked for.

    Raises:
        SettingsError: naming both, and what to leave out.
    """
    if settings.features:
        _check_features(settings, plan)
    if is_papers(settings, plan):
        _check_papers(workspace, settings, plan)
    _check_shards(settings, plan)


def _check_features(settings: TrainSecSettings, plan: MethodPlan) -> None:
    if settings.preset == "paper":
        raise SettingsError(
            "features of your own are not the paper's: --preset paper contradicts them",
            "give --preset cpu; --backbone resnet50 --epochs 200 --batch-size 100 train as long as the paper does",
        )
    if draws_differences(settings, plan):
        raise SettingsError(
            "unified-synth as in the paper draws differences for its own spectrograms: features of your own contradict "
            "it",
            "use --unified best, which converts to invented devices",
        )


def _check_papers(workspace: Workspace, settings: TrainSecSettings, plan: MethodPlan) -> None:
    if settings.converter not in (AUTO, PAPERS_CONVERTER):
        raise SettingsError(
            f"{plan.conversion} as in the paper converts with {PAPERS_CONVERTER}, not with {settings.converter}",
            f"leave --converter out, or use --unified best --converter {settings.converter}",
        )
    if settings.shards is None:
        path = settings.checkpoint or workspace.checkpoints / GENERATOR_NAME
        if not path.is_file():
            raise SettingsError(
                f"{plan.conversion} as in the paper converts with a trained generator, and there is none at {path}",
                "train one with `umc train --preset paper`, name one with --checkpoint, or take the best converter "
                "that needs no training of yours: --unified best, or --preset cpu. The generator that ships with umc "
                f"knows none of your devices: {SHIPPED_GENERATOR}",
            )
        check_is_conditioned(path)
    if plan.conversion != "unified-synth":
        return
    for option, is_given in (
        ("--invented", settings.invented is not None),
        (f"--targets {','.join(settings.targets)}", names_invented(settings.targets)),
        ("--shards", settings.shards is not None),
    ):
        if is_given:
            raise SettingsError(
                f"unified-synth as in the paper draws a difference anew for every sample: {option} contradicts it",
                f"leave {option.split()[0]} out, or convert to a set of devices with --unified best",
            )


def _check_shards(settings: TrainSecSettings, plan: MethodPlan) -> None:
    """Refuse to read conversions from shards where something else is asked for that they cannot give."""
    if settings.shards is None:
        return
    if not plan.conversion:
        raise SettingsError(
            f"method {settings.method} converts nothing", "leave --shards out, or name a method that does"
        )
    if plan.of_waveforms:
        raise SettingsError(
            f"{' and '.join(plan.of_waveforms)} cannot alter samples that are converted already, in {settings.shards}",
            "leave --shards out, to convert what was altered, or take it out of --method",
        )
    if settings.checkpoint:
        raise SettingsError(
            f"the shards in {settings.shards} are converted already: --checkpoint has no effect",
            "leave --checkpoint or --shards out",
        )
    if settings.invented is not None and plan.conversion == "unified-synth":
        raise SettingsError(
            f"the shards in {settings.shards} are converted already: no device is invented",
            "leave --invented or --shards out",
        )


def check_lengths(clips: Sequence[Clip], cut: FeatureSegmentSettings, warnings: list[str]) -> None:
    """Say that no recording fills a segment of features of one's own.

    Raises:
        SettingsError: short recordings are dropped, so that nothing would be left.
    """
    if not cut.features:
        return
    for clip in clips:
        with suppress(InputError):  # said when it is read
            if read_header(clip.path).n_samples_at(cut.read_rate_hz) >= cut.segment_samples:
                return
    problem = f"no recording to train on is as long as a segment of {cut.features.seconds:g} s"
    if cut.short_clips == "drop":
        raise SettingsError(problem, "lower --feature-seconds, or pad short ones with --short-clips pad")
    warnings.append(f"{problem}: zeros fill every one up (lower --feature-seconds to avoid that)")
