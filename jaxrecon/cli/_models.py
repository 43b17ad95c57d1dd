"""The networks that ship with jaxrecon: ``jaxrecon models``, and which suits a method."""

from typing import Any

from rich.console import Console
from rich.table import Table

from jaxrecon.cli import _terminal
from jaxrecon.cli.methods import METHODS, Method
from jaxrecon.nets import pretrained


def show_models() -> None:
    """All of them, a line each."""
    table = Table("model", "for", "parameters", "size", "figure", box=None, padding=(0, 2, 0, 0))
    for name in pretrained.names():
        card = pretrained.card(name)
        table.add_row(name, _scope(card), *_size(card), card.headline)
    # A line each where a program reads, not a person.
    out = _terminal.OUT
    (out if out.is_terminal else Console(highlight=False, width=300)).print(table)


def show_card(name: str) -> None:
    """Everything that is known of one.

    Raises:
        ValueError: there is none of that name.
    """
    card = _card("NAME", name)
    training, stored = card.training, card.stored
    _terminal.say(name, card.title)
    _terminal.say("for", _scope(card))
    _terminal.say("what it is", card.description)
    _terminal.say("units", card.units)
    _terminal.say("use", card.use)
    _terminal.say("limits", card.limits)
    _terminal.say("figures", [line for figure in card.figures for line in _lines(figure)])
    _terminal.say("data", [_origin(data) for data in card.data])
    _terminal.say("training", [training.command, training.recipe])
    _terminal.say("", f"seeds {_listed(training.seeds)}; {training.date}; {training.hardware}")
    _terminal.say("", _listed(f"{k} {v}" for k, v in training.versions.items()))
    _terminal.say("built as", str(card.architecture))
    if stored is not None:
        n_parameters, size = _size(card)
        rounding = f"rounding {stored.rounding:g}"
        _terminal.say("weights", f"{n_parameters} parameters, {size}, {stored.dtype} ({rounding})")
        _terminal.say("sha256", stored.sha256)
    _terminal.say("licence", card.licence)


def is_there(method: Method) -> bool:
    """Whether the network that a method takes by default is installed, if it needs one."""
    return method.network is None or method.defaults.model in pretrained.names()


def suited(method: Method, name: str | None) -> pretrained.Card:
    """The card of the network of that name, or of the method's default, for a method.

    Raises:
        ValueError: there is none of that name, or it is for another task or modality; says which
            there are.
    """
    card = _card("--model", name or str(method.defaults.model))
    if not _suits(card, method):
        cards = map(pretrained.card, pretrained.names())
        fit = _listed(c.name for c in cards if _suits(c, method)) or "none"
        raise ValueError(
            f"`--model` {card.name!r} is for {_scope(card)}, which does not suit `--method` "
            f"{method.name} of {method.modality.upper()}: it takes {fit}"
        )
    return card


def facts(card: pretrained.Card) -> list[str]:
    """What a user of a network should read before believing its image."""
    return [
        f"{card.name}: {card.title}",
        card.headline,
        *(f"limit: {line}" for line in card.limits),
    ]


def identity(card: pretrained.Card) -> dict[str, Any]:
    """What a record says of a network."""
    return {"name": card.name, "sha256": card.stored and card.stored.sha256}


def _card(option: str, name: str) -> pretrained.Card:
    if name not in pretrained.names():
        known = _listed(pretrained.names()) or "none"
        raise ValueError(f"`{option}` {name!r} is no model: there are {known}")
    return pretrained.card(name)


def _suits(card: pretrained.Card, method: Method) -> bool:
    return card.task == method.network and card.modality in ("any", method.modality)


def _scope(card: pretrained.Card) -> str:
    modality = "" if card.modality == "any" else f", {card.modality.upper()}"
    names = {m.name for m in METHODS.values() if _suits(card, m)}
    return f"{card.task}{modality} (--method {_listed(sorted(names))})"


def _size(card: pretrained.Card) -> tuple[str, str]:
    if card.stored is None:
        return "?", "?"
    return f"{card.stored.n_parameters:,}", f"{card.stored.n_bytes / 1000:.0f} kB"


def _lines(figure: pretrained.Figure) -> list[str]:
    beside = _listed(f"{name} {value:.4g}" for name, value in figure.beside.items())
    return [str(figure), *([f"  beside: {beside}"] if beside else [])]


def _origin(data: pretrained.Data) -> str:
    return f"{data.use}: {data.name}, {data.amount}; {data.source}; {data.licence}"


def _listed(parts: Any) -> str:
    return ", ".join(map(str, parts))
