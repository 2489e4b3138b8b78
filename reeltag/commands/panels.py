"""Commands with many options: each panel of the help is a dataclass, and the command takes one object of it."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Protocol, get_type_hints

from typer.models import OptionInfo


class Panel(Protocol):
    """A dataclass whose fields are options, annotated as typer wants them, each with a default."""

    PANEL: ClassVar[str]
    """Title in the help."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


def with_panels(command: Callable[..., None]) -> Callable[..., None]:
    """A command for typer, whose parameters that are panels are spread into options.

    Args:
        command: Takes a panel's object as a keyword.

    Returns:
        The same command as typer sees it: with an option for each field of each panel.
    """
    hints = get_type_hints(command, include_extras=True)
    panels: dict[str, type[Panel]] = {name: hint for name, hint in hints.items() if hasattr(hint, "PANEL")}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        own = parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        parameters += _options(panels[name]) if name in panels else [own]

    @functools.wraps(command)
    def spread(**given: Any) -> None:
        objects = {
            name: panel(**{field.name: given.pop(field.name) for field in dataclasses.fields(panel)})
            for name, panel in panels.items()
        }
        command(**objects, **given)

    spread.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what `inspect` and typer read
    spread.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return spread


def _options(panel: type[Panel]) -> list[inspect.Parameter]:
    hints = get_type_hints(panel, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=_in_panel(hints[field.name], panel.PANEL),
        )
        for field in dataclasses.fields(panel)
    ]


def _in_panel(annotation: Any, title: str) -> Any:
    kind, option = annotation.__origin__, annotation.__metadata__[0]
    assert isinstance(option, OptionInfo)
    titled = copy.copy(option)
    titled.rich_help_panel = title
    return Annotated[kind, titled]
