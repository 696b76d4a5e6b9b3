"""Where the commands run (the workspace) and how settings are loaded and dumped. Knows no schema.

Settings come, in rising order of precedence, from the defaults beside the code they configure, from the
section `[<command>]` of `umc.toml`, from variables `UMC_<COMMAND>_<FIELD>`, and from the command line.
"""

import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from umc_cli.errors import SettingsError, did_you_mean
from umc_cli.splits import SplitRules, parse_shares, parse_split_map
from umc_cli.wrong_settings import COMMAND_LINE, explain

WORKSPACE_FILE = "umc.toml"
SECTIONS = (
    "workspace", "convert", "train", "pretrain", "train-sec", "measure-ir", "make-stimulus", "pair", "synth-fr",
    "eval", "eval-conversion", "eval-layers",
)  # fmt: skip
"""What `umc.toml` may hold: the folders, and a section for each command that has settings."""

_COMMANDS = {
    "pretrain": "train", "make-stimulus": "measure-ir",
    "eval-conversion": "eval conversion", "eval-layers": "eval layers",
}  # fmt: skip
"""Commands whose section has another name."""


class Settings(BaseModel):
    """Base of every settings class: frozen, validated, unknown names refused.

    The text below a field is its description: the help of its option, and its row on the command's page.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, defer_build=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Let a field that only gets another default keep its description and its option."""
        for name, field in cls.model_fields.items():
            for parent in cls.__mro__[1:]:
                inherited = getattr(parent, "model_fields", {}).get(name)
                if inherited is None:
                    continue
                field.description = field.description or inherited.description
                mark = Option.of(inherited)
                if mark is not None and Option.of(field) is None:
                    field.metadata.append(mark)

    def without_effect(self) -> Mapping[str, str]:
        """Return the settings that have no effect beside the others, by name, and why. They are refused if typed."""
        return {}


RUN, LEARNING, RECORDINGS, MACHINE, RESULT = "Run", "Learning", "Recordings", "Machine", "Result"
"""Headings under which the help of several commands lists options."""


@dataclass(frozen=True)
class Option:
    """Makes a setting an option of its command: `Annotated[int, Option(panel="Result")]`.

    A setting without it can be given in umc.toml and in the environment only.
    """

    panel: str = ""
    """Heading of the help under which it stands."""
    flags: tuple[str, ...] = ()
    """A short name (`-o`) beside the field's, or a long one (`--window`) in its place."""
    metavar: str = ""
    words: tuple[str, ...] = ()
    """What the shell completes; a Literal or an Enum needs none."""
    devices: bool = False
    """The shell completes ids of devices."""
    default: str = ""
    """What the help says of a default that the value itself does not say."""
    is_repeated: bool = False
    """Of a list: the option may be given several times. Else the last one counts."""
    is_whole: bool = False
    """Of a list: the option may be given several times, and each is one entry, commas included."""

    def name_of(self, setting: str) -> str:
        """Return the long option of a setting: `--shard-size` of `shard_size`."""
        return next((flag for flag in self.flags if flag.startswith("--")), f"--{setting.replace('_', '-')}")

    @staticmethod
    def of(field: FieldInfo) -> "Option | None":
        """Return the mark of a field, if it has one."""
        return next((mark for mark in field.metadata if isinstance(mark, Option)), None)


_SPLIT_RULES: dict[str, tuple[str, Callable[[Any], Mapping[str, Any]]]] = {
    "shares": ("shares", parse_shares),
    "split_map": ("names", parse_split_map),
}
"""What `[workspace]` may say of splits: the field of `SplitRules`, and who reads it."""

SettingsT = TypeVar("SettingsT", bound=Settings)


@dataclass(frozen=True)
class WordOrPath:
    """Marks (`Annotated[str, WordOrPath()]`) a text, or a list of them, that may name a file or folder.

    In umc.toml such a name starts at the workspace's folder, if something of this name is there.
    """

    prefix: str = ""
    """Stands before the path; texts without it are words."""
    words: tuple[str, ...] = ()
    """Never paths."""


def split_names(value: Any) -> Any:
    """Return the parts of a comma-separated text; anything else as it is."""
    return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value


ALL = ("all",)
"""As a list of devices: every one that can serve."""


def means_all(names: Sequence[str]) -> bool:
    """Tell whether a list of names means every device."""
    return tuple(names) == ALL


Names = Annotated[tuple[str, ...], BeforeValidator(split_names)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(split_names)]


def _rising(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError("write the lower limit first")
    return limits


_Finite = Annotated[float, Field(allow_inf_nan=False)]
Range = Annotated[tuple[_Finite, _Finite], AfterValidator(_rising)]
"""Lowest and highest value; drawn uniformly between them."""


@dataclass(frozen=True)
class Workspace:
    """The folders that the commands read and write."""

    root: Path
    data: Path
    """Recordings: `<data>/<device>/<label>/**/*.wav` or `<data>/manifest.csv`."""
    devices: Path
    """Device records: `<devices>/<id>.json`."""
    checkpoints: Path
    """Trained weights: `<checkpoints>/generator.safetensors`."""
    converted: Path
    """Results: `<converted>/<target>/shard-00000.h5` and `<converted>/run.json`."""
    runs: Path
    """Training runs: `<runs>/<name>/`."""
    sections: Mapping[str, Mapping[str, Any]]
    """The sections of `umc.toml`, by command."""
    splits: SplitRules
    """How recordings get their splits."""


def find_workspace(start: Path) -> Workspace:
    """Return the workspace of the nearest `umc.toml` in `start` or above it, else `start` with the defaults.

    Raises:
        SettingsError: `umc.toml` is not TOML, or names an unknown section or folder.
    """
    start = start.resolve()
    root = next((folder for folder in (start, *start.parents) if (folder / WORKSPACE_FILE).is_file()), start)
    content = _read_toml(root / WORKSPACE_FILE) if (root / WORKSPACE_FILE).is_file() else {}
    for section in content:
        if section not in SECTIONS:
            raise SettingsError(
                f"{root / WORKSPACE_FILE}: unknown section {section!r}", did_you_mean(section, SECTIONS, "sections")
            )
    folders = {name: root / name for name in ("data", "devices", "checkpoints", "converted", "runs")}
    rules: dict[str, Any] = {}
    names = (*folders, *_SPLIT_RULES)
    for origin, given in (
        (f"{root / WORKSPACE_FILE} [workspace]", content.pop("workspace", {})),
        (
            "the environment",
            {name: os.environ[f"UMC_{name.upper()}"] for name in names if f"UMC_{name.upper()}" in os.environ},
        ),
    ):
        if not isinstance(given, Mapping):
            raise SettingsError(f"{origin} is not a section", "write [workspace] above its folders")
        unknown = set(given) - set(names)
        if unknown:
            name = min(unknown)
            raise SettingsError(f"{origin}: unknown name {name!r}", did_you_mean(name, names, "names"))
        for name, value in given.items():
            if name in folders:
                folders[name] = _folder(root, value, f"{origin}: {name}")
            else:
                rules |= _split_rule(name, value, f"{origin}: {name}")
    return Workspace(root=root, sections=content, splits=SplitRules(**rules), **folders)


def _split_rule(name: str, value: Any, origin: str) -> dict[str, Any]:
    field, parse = _SPLIT_RULES[name]
    try:
        return {field: parse(value)}
    except ValueError as error:
        raise SettingsError(f"{origin}: {error}", "see docs/data-flow.md, section Splits") from error


def load_settings(
    schema: type[SettingsT],
    workspace: Workspace,
    section: str,
    overrides: Mapping[str, Any],
    defaults: Mapping[str, Any] | None = None,
    *,
    is_whole: bool = True,
) -> SettingsT:
    """Merge defaults, `umc.toml`, environment and `overrides` (None means: not given) into a `schema`.

    `defaults` go before those of the schema: a preset, for example. `is_whole`: these are the settings that count, so
    that what was typed must have an effect.

    Raises:
        SettingsError: a name is unknown, a value is not allowed, or an override has no effect beside the other
            settings; the message says where it came from.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    from_environment = _of_environment(section)
    section_values = workspace.sections.get(section, {})
    if not isinstance(section_values, Mapping):
        raise SettingsError(f"{WORKSPACE_FILE}: {section!r} is not a section", f"write [{section}] above its settings")
    for origin, layer in (("the defaults", defaults or {}), (f"{WORKSPACE_FILE} [{section}]", section_values)):
        for name, value in layer.items():
            if _holds_zero_byte(value):
                raise SettingsError(f"setting {name!r} from {origin} holds a zero byte", "remove it")
    for origin, layer in (
        ("the defaults", defaults or {}),
        (f"{WORKSPACE_FILE} [{section}]", _paths_from_root(schema, section_values, workspace.root)),
        ("the environment", from_environment),
        (COMMAND_LINE, {name: value for name, value in overrides.items() if value is not None}),
    ):
        values |= layer
        origins |= dict.fromkeys(layer, origin)
    try:
        settings = schema.model_validate(values)
    except ValidationError as error:
        command = _COMMANDS.get(section, section)
        names = {
            name: mark.name_of(name) if (mark := Option.of(field)) else ""
            for name, field in schema.model_fields.items()
        }
        missing = [
            str(item["loc"][0]) for item in error.errors() if item["type"] == "missing" and len(item["loc"]) == 1
        ]
        about = [f"{names[name] or name}: {_in_one_line(schema.model_fields[name].description)}" for name in missing]
        hint = "; ".join([*about, f"see `umc {command} --help`"])
        raise SettingsError(explain(error, origins, names, section), hint) from error
    if is_whole:
        refuse_without_effect(settings, settings.without_effect(), overrides)
    return settings


def refuse_without_effect(settings: Settings, reasons: Mapping[str, str], typed: Mapping[str, Any]) -> None:
    """Refuse what was typed and does nothing. What umc.toml or a variable says is for other calls too.

    `reasons`: by setting. `typed`: by setting; None for those that were not.

    Raises:
        SettingsError: naming the option.
    """
    for name, reason in reasons.items():
        field = type(settings).model_fields[name]
        is_default = getattr(settings, name) == field.get_default(call_default_factory=True)
        if typed.get(name) is not None and not is_default:
            mark = Option.of(field)
            raise SettingsError(f"{mark.name_of(name) if mark else name} has no effect: {reason}", "leave it out")


def _in_one_line(description: str | None) -> str:
    return " ".join((description or "").split()).removesuffix(".")


def variable_prefix(section: str) -> str:
    """Return what the variables of a section begin with: `UMC_TRAIN_SEC_` of `train-sec`."""
    return f"UMC_{section.upper().replace('-', '_')}_"


def given_in_environment(section: str) -> dict[str, str]:
    """Return what variables say of a section's settings; of `[workspace]` for an empty name."""
    if section:
        return _of_environment(section)
    names = ("data", "devices", "checkpoints", "converted", "runs", *_SPLIT_RULES)
    return {name: os.environ[f"UMC_{name.upper()}"] for name in names if f"UMC_{name.upper()}" in os.environ}


def _of_environment(section: str) -> dict[str, str]:
    """Return the values of `UMC_<SECTION>_<FIELD>`; `UMC_EVAL_LAYERS_HOP` belongs to `eval-layers`, not to `eval`."""
    prefixes = {name: variable_prefix(name) for name in (*SECTIONS, section)}
    own = prefixes[section]
    longer = tuple(prefix for prefix in prefixes.values() if prefix.startswith(own) and prefix != own)
    return {
        name.removeprefix(own).lower(): value
        for name, value in os.environ.items()
        if name.startswith(own) and not name.startswith(longer)
    }


def dump_settings(settings: BaseModel) -> dict[str, Any]:
    """Return all settings, defaults included, as plain JSON values."""
    return settings.model_dump(mode="json")


def _folder(root: Path, value: Any, origin: str) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise SettingsError(f"{origin} is {value!r}, not the name of a folder", "write a path between quotes")
    try:
        return root / Path(value).expanduser()
    except RuntimeError as error:
        raise SettingsError(
            f"{origin} is {value!r}, a home folder that does not exist", "write the whole path"
        ) from error


def _holds_zero_byte(value: Any) -> bool:
    """Tell whether a text in a value of TOML or JSON holds what no name of a file can hold."""
    if isinstance(value, str):
        return "\0" in value
    return any(map(_holds_zero_byte, value)) if isinstance(value, list) else False


def _paths_from_root(schema: type[BaseModel], values: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Let relative paths in a workspace file start at its folder, wherever the command runs."""
    return {
        name: _from_root(schema.model_fields[name], value, root) if name in schema.model_fields else value
        for name, value in values.items()
    }


def _from_root(field: FieldInfo, value: Any, root: Path) -> Any:
    mark = next((mark for mark in field.metadata if isinstance(mark, WordOrPath)), None)
    if mark is None and Path not in (field.annotation, *get_args(field.annotation)):
        return value

    def place(text: Any) -> Any:
        if not isinstance(text, str):
            return text
        if mark is None:
            return root / text
        path = root / text.removeprefix(mark.prefix)
        is_path = text.startswith(mark.prefix) and text not in mark.words and _is_there(path)
        return f"{mark.prefix}{path}" if is_path else text

    if get_origin(field.annotation) is not tuple:
        return place(value)
    parts = split_names(value)
    return [place(part) for part in parts] if isinstance(parts, list | tuple) else parts


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # the name is too long, or the folder is closed
        return False


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}", "make it readable") from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}", "fix the line it names") from error
