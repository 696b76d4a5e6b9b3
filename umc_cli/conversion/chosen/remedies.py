"""What is missing where no conversion is possible, and the commands that get it, the quickest first."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from umc_cli.conversion.chosen.conversion import Conversion
from umc_cli.conversion.chosen.conversion_settings import ConversionSettings
from umc_cli.conversion.chosen.known import HeardTooLittle, first_gap
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.converters.contract import Ingredients, Need
from umc_cli.conversion.generator_settings import SHIPPED_GENERATOR
from umc_cli.conversion.level_quantiles import MIN_SEGMENTS
from umc_cli.errors import SettingsError
from umc_cli.splits import FOR_CONVERTERS

_SHOWN = 3


def what_is_missing(
    names: Sequence[str], wanted: Ingredients, recorded: Collection[str], missing: Mapping[str, Mapping[str, str]]
) -> SettingsError:
    """Return the error for converters `names` (best first) of which none serves what is wanted.

    `recorded`: devices whose levels are known, or can be measured. `missing`: by every converter, and by target that it
    cannot serve, what it lacks.
    """
    gaps = (first_gap(names[-1], wanted, recorded, target) for target in wanted.targets)
    need, device = next(filter(None, gaps))
    if len(names) > 1 and need is Need.RESPONSE:
        message = f"there is no record of {device}: what its microphone does to sound is not known"
    else:
        message = _what_converters_lack(names, missing)
    hints = [_what_would_work(wanted, missing), _remedy(need, device, wanted, recorded)]
    return SettingsError(message, "\nor ".join(filter(None, hints)))


def _remedy(need: Need, device: str, wanted: Ingredients, recorded: Collection[str]) -> str:
    """Return how to get what is missing of `device`, with commands to copy."""
    if need is Need.RESPONSE:
        return _how_to_get_a_record(device, wanted, recorded)
    if need is Need.NOISE_FLOOR:
        return _how_to_get_a_floor(device)
    if need is Need.RECORDINGS and device.startswith("synth-"):
        return ""  # an invented device never records
    if need is Need.RECORDINGS:
        return f"put recordings into data/{device}/<label>/, ten segments of 0.93 s or more in split {FOR_CONVERTERS}"
    if need is Need.CHECKPOINT:
        return "train one from the recordings of several devices (`umc train`), or name one with --checkpoint"
    return "name the file with --checkpoint, or leave it out to take the weights that ship with umc"


def _how_to_get_a_record(device: str, wanted: Ingredients, recorded: Collection[str]) -> str:
    beside = sorted(name for name in wanted.devices if name in recorded and name != device)
    blind = (
        f"from what both recorded:      umc measure-ir --device {device} --blind --reference-device {beside[0]}"
        if beside
        else "from recordings alone:        not yet: it needs those of a second phone that is known, in data/"
    )
    lines = [
        "measure it, the quickest first:",
        f"a curve that others measured: umc measure-ir CURVE.csv --device {device}",
        "a loudspeaker, ten minutes:   umc measure-ir --make-stimulus sweep sweep.wav (or impulse)",
        f"beside a phone, one minute:   umc pair {device}=A.wav OTHER=B.wav --reference-device {device}",
        blind,
    ]
    if device == wanted.source:
        lines.append(
            f"unmeasured, invented targets: umc convert --source {device} --targets synth:20 (train-sec: unified-synth)"
        )
    return "\n  ".join(lines)


def _how_to_get_a_floor(device: str) -> str:
    return (
        f"put 10 s or more of its recordings, with quiet moments, into data/{device}/<label>/, or measure it in a "
        f"quiet room: umc measure-ir TAKE.wav --device {device} --stimulus sweep.json --overwrite"
    )


def caution_about_eq(conversion: Conversion, unknown: Mapping[str, str]) -> str | None:
    """Return a warning where `eq` is all that the records allow; None where it is not.

    `unknown`: by device without a noise floor, why its recordings do not tell one.
    """
    records = conversion.ingredients.devices
    lacking = [name for name in (conversion.source, *conversion.targets) if name in unknown and name in records]
    if CONVERTERS[conversion.converter].needs != {Need.RESPONSE} or not lacking:
        return None
    return (
        f"{conversion.converter} is all that the records allow, as no noise floor is known of {_some(lacking)} "
        f"({unknown[lacking[0]]}). It changes noise as if it were sound: where noise sets the level, the result is "
        f"further from what the target records than no conversion. To do better, {_how_to_get_a_floor(lacking[0])}"
    )


def caution_about_generator(conversion: Conversion) -> str | None:
    """Return a warning where the package's generator converts; None where another converter or generator does."""
    if Need.CHECKPOINT not in CONVERTERS[conversion.converter].needs:
        return None
    if conversion.ingredients.checkpoint != SHIPPED_GENERATOR:
        return None
    return (
        f"{conversion.converter} takes the generator that ships with umc, which is further from what devices really "
        "record than eq_noise, quantile and the refiners are (docs/shipped-film-gan.md). To compare with the paper, "
        "train one on your devices: umc train"
    )


def caution_about_engine(conversion: Conversion, settings: ConversionSettings) -> str | None:
    """Return a warning where a network's engine or precision is asked for, and the converter has no network."""
    reasons = settings.without_network((conversion.converter,))
    said = [f"--{name} {getattr(settings, name)} has no effect: {reason}" for name, reason in reasons.items()]
    return "; ".join(said) or None


def is_left_out_as_few(target: str, conversion: Conversion) -> bool:
    """Tell whether a target whose recordings give too few segments is left out for that."""
    return target in conversion.left_out and Need.RECORDINGS in CONVERTERS[conversion.converter].needs


def caution_about_few(target: str, heard: HeardTooLittle) -> str:
    """Return a warning of a target that is left out because its recordings give too few segments."""
    unread = ""
    if heard.unread:
        first = heard.unread[0]
        unread = (
            f" in {heard.n_recordings} recordings, of which {len(heard.unread)} cannot be read "
            f"(such as {first.path}: {first.reason})"
        )
    return (
        f"{target} is left out: its recordings in split {FOR_CONVERTERS} hold only {heard.n_segments} segments"
        f"{unread}, converters that learn from recordings need at least {MIN_SEGMENTS} per device"
    )


def _what_converters_lack(names: Iterable[str], missing: Mapping[str, Mapping[str, str]]) -> str:
    return "; ".join(f"converter {name} lacks {_some(sorted(set(missing[name].values())))}" for name in names)


def _some(things: Sequence[str]) -> str:
    more = f" and {len(things) - _SHOWN} more" if len(things) > _SHOWN else ""
    return f"{', '.join(things[:_SHOWN])}{more}"


def _what_would_work(wanted: Ingredients, missing: Mapping[str, Mapping[str, str]]) -> str:
    n_targets = len(wanted.targets)
    if wanted.checkpoint == SHIPPED_GENERATOR:  # there to be tried, not to be recommended
        missing = {name: gaps for name, gaps in missing.items() if Need.CHECKPOINT not in CONVERTERS[name].needs}
    working = [name for name, gaps in missing.items() if not gaps]
    if working:
        return f"these would work: {', '.join(working)} (--converter {working[0]})"
    partly = [
        f"{name} for {n_targets - len(gaps)} of {n_targets} targets"
        for name, gaps in missing.items()
        if len(gaps) < n_targets
    ]
    return f"would work: {'; '.join(partly)}" if partly else ""
