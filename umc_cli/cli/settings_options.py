"""Options of a command, made from its settings class: name, type, help, default and heading are written there alone."""

import inspect
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from umc_cli.cli.completion import complete_device_ids, complete_words
from umc_cli.config import Option, variable_prefix

_METAVARS: dict[type, str] = {int: "<int>", float: "<float>", tuple: "<list>"}

Given = dict[str, Any]
"""What was typed, by setting; None for settings that were not."""


def with_options(
    schema: type[BaseModel],
    section: str | None,
    presets: Mapping[str, BaseModel] | None = None,
    parameter: str = "given",
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator: a command's parameter becomes one option for each setting marked with `Option`.

    `section`: of umc.toml, for the last line of the help; None adds none. `presets`: settings that any of them gives
    are shown with "(preset)" as their default. `parameter`: the command's parameter that gets what was typed; a
    command with two schemas is decorated twice.
    """
    from_preset = {name for preset in (presets or {}).values() for name in preset.model_fields_set}
    options = {
        name: _parameter(name, field, mark, name in from_preset)
        for name, field in own_first(schema)
        if (mark := Option.of(field))
    }

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        def command(**arguments: Any) -> None:
            given = {name: _typed(schema.model_fields[name], arguments.pop(name)) for name in options}
            function(**arguments | {parameter: given})

        parameters: list[inspect.Parameter] = []
        for one in inspect.signature(function, eval_str=True).parameters.values():
            keyword = one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            parameters += options.values() if one.name == parameter else [keyword]
        vars(command)["__signature__"] = inspect.Signature(parameters)
        command.__annotations__ = {one.name: one.annotation for one in parameters}
        command.__name__ = function.__name__
        command.__doc__ = inspect.cleandoc(function.__doc__ or "")
        if section:
            command.__doc__ += f"\n\n{_other_places(section)}"
        return command

    return decorate


def shown_default(field: FieldInfo, mark: Option, from_preset: bool = False) -> str:
    """Return what help and pages say of a setting's default; empty for a required setting and for flags."""
    if from_preset:
        return "preset"
    if mark.default:
        return f"default: {mark.default}"
    value = field.get_default(call_default_factory=True)
    if field.is_required() or value is False:
        return ""
    if value is True:
        return "default: yes"
    if value is None or value == ():
        raise TypeError(f"an option whose default is {value!r} says in Option(default=...) what that means")
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, float):
        value = f"{value:g}"
    return f"default: {','.join(value) if isinstance(value, tuple) else value}"


def own_first(schema: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    """Return the fields, those that the class itself declares before the inherited ones."""
    own = list(schema.__annotations__)
    return sorted(schema.model_fields.items(), key=lambda item: own.index(item[0]) if item[0] in own else len(own))


def _parameter(name: str, field: FieldInfo, mark: Option, from_preset: bool) -> inspect.Parameter:
    kind = _plain_type(field)
    default = shown_default(field, mark, from_preset)
    text = (field.description or "").replace("\n", " ").replace("`", "")
    flags = [mark.name_of(name), *(flag for flag in mark.flags if not flag.startswith("--"))]
    words = mark.words or _words_of(field)
    completion = complete_device_ids if mark.devices else complete_words(*words) if words else None
    is_switch = kind is bool and field.default is not False
    is_flag = kind is bool and not is_switch
    declaration = typer.Option(
        *([f"{flags[0]}/--no-{flags[0].removeprefix('--')}"] if is_switch else flags),
        help=text + (f" ({default})" if default else ""),
        show_default=False,
        metavar=mark.metavar or _METAVARS.get(kind),
        autocompletion=completion,
        rich_help_panel=mark.panel or None,
    )
    # Numbers are texts here: the settings check them, in their words.
    takes_many = kind is tuple and (mark.is_repeated or mark.is_whole)
    annotation = list[str] if takes_many else str if kind in _METAVARS else kind
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=False if is_flag else None,
        annotation=Annotated[bool if is_flag else annotation | None, declaration],
    )


def _typed(field: FieldInfo, value: Any) -> Any:
    """Return what the settings take: an unused flag is None, repeated lists are one list."""
    if value is False and field.default is False:
        return None
    if isinstance(value, list):
        mark = Option.of(field)
        return None if not value else tuple(value) if mark and mark.is_whole else ",".join(value)
    return value


def _plain_type(field: FieldInfo) -> type:
    """Return bool, int, float, Path, tuple or str."""
    types = [part for part in _parts_of(field.annotation) if part is not NoneType]
    for kind in (bool, int, float, Path):
        if kind in types:
            return kind
    return tuple if any(get_origin(part) is tuple for part in types) else str


def _parts_of(annotation: Any) -> tuple[Any, ...]:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) not in (Union, UnionType):
        return (annotation,)
    return tuple(inner for part in get_args(annotation) for inner in _parts_of(part))


def _words_of(field: FieldInfo) -> tuple[str, ...]:
    for part in _parts_of(field.annotation):
        if get_origin(part) is Literal:
            return get_args(part)
        if isinstance(part, type) and issubclass(part, Enum):
            return tuple(member.value for member in part)
    return ()


def _other_places(section: str) -> str:
    return (
        f'Every option can also be set in the section "{section}" of umc.toml or in a variable '
        f"{variable_prefix(section)}<OPTION>."
    )
