"""What `umc train-sec` is asked to convert with: what that means, and what contradicts it."""

from umc_cli.config import Workspace
from umc_cli.conversion.chosen.choice import AUTO
from umc_cli.conversion.chosen.conversion_settings import ConversionSettings
from umc_cli.conversion.chosen.targets import names_invented
from umc_cli.conversion.generator_checkpoint import check_is_conditioned
from umc_cli.errors import SettingsError
from umc_cli.sec.methods import MethodPlan
from umc_cli.settings.train_sec import TrainSecSettings
from umc_cli.workflows.sec_conversion import UNIFIED_METHODS
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
    if is_papers(settings, plan):
        _check_papers(workspace, settings, plan)
    _check_shards(settings, plan)


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
                "that needs no training of yours: --unified best, or --preset cpu",
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
