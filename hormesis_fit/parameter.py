"""Declarations: a formula names its parameters once, and everything else is read from there."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from numbers import Real
from types import MappingProxyType
from typing import Any, ClassVar, Self

type Value = Any  # a number, an array, a DataArray of draws, a PyTensor variable, or a Prior still to be drawn

UNITS = ("1", "response", "dose", "response / dose", "1 / dose", "time", "1 / time")


class Prior:
    """A prior as data: the name of a PyMC distribution and its arguments.

    Parameters
    ----------
    distribution : str
        Name of a distribution in `pymc`, such as ``"Normal"`` or ``"HalfNormal"``.
    **arguments : float
        Its arguments, by PyMC's names.

    Notes
    -----
    In the declaration of a curve a prior is written for a unit-free trial and `Prior.scaled` turns it into real units.
    A prior that a user passes to `fit` is in real units already.

    Examples
    --------
    >>> Prior("HalfNormal", sigma=0.25)
    Prior("HalfNormal", sigma=0.25)
    """

    __slots__ = ("arguments", "distribution")

    def __init__(self, distribution: str, **arguments: float) -> None:
        if not isinstance(distribution, str):
            raise TypeError(f"A prior needs the name of a PyMC distribution as text, got {distribution!r}.")
        for name, value in arguments.items():
            if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
                raise ValueError(
                    f"The argument {name} of a {distribution} prior must be a finite number, got {value!r}."
                )
        object.__setattr__(self, "distribution", distribution)
        numbers = {name: float(value) for name, value in arguments.items()}
        object.__setattr__(self, "arguments", MappingProxyType(numbers))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("A Prior cannot be changed; write a new one.")

    def __repr__(self) -> str:
        arguments = "".join(f", {name}={value:g}" for name, value in self.arguments.items())
        return f'Prior("{self.distribution}"{arguments})'

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Prior) and (self.distribution, self.arguments) == (other.distribution, other.arguments)

    def __hash__(self) -> int:
        return hash((self.distribution, frozenset(self.arguments.items())))

    def __reduce__(self) -> tuple:
        return _prior_of, (self.distribution, dict(self.arguments))

    def __str__(self) -> str:
        """As in a methods section: ``LogNormal(1.73, 2.87)``."""
        return f"{self.distribution}({', '.join(f'{value:.4g}' for value in self.arguments.values())})"

    def scaled(self, unit: str, scales: Mapping[str, float]) -> Prior:
        """Return this unit-free prior in the units of one trial.

        Parameters
        ----------
        unit : str
            Unit of the parameter, one of `UNITS`.
        scales : mapping
            Constants of the trial: ``control`` and ``response`` (control mean and overall SD) [response],
            ``log_dose`` and ``log_range`` (log of the middle dose, width of the log-dose range), ``time``.
        """
        given = self.arguments
        if unit == "dose" and self.distribution == "LogNormal":
            # Doses live on the log scale: the middle of the design is 0, the whole design is 1 wide.
            return Prior(
                "LogNormal",
                mu=scales["log_dose"] + given["mu"] * scales["log_range"],
                sigma=given["sigma"] * scales["log_range"],
            )
        if unit == "response" and self.distribution in ("LogNormal", "LogitNormal"):
            control = scales["control"]
            odds = control if self.distribution == "LogNormal" else control / (1 - control)
            return Prior(self.distribution, mu=math.log(odds) + given["mu"], sigma=given["sigma"])
        factor = unit_factor(unit, scales)
        if self.distribution == "LogNormal":
            return Prior("LogNormal", mu=given["mu"] + math.log(factor), sigma=given["sigma"])
        shift = scales["control"] if unit == "response" else 0.0
        return Prior(self.distribution, **{name: _scaled(name, value, factor, shift) for name, value in given.items()})


def _prior_of(distribution: str, arguments: Mapping[str, float]) -> Prior:
    return Prior(distribution, **arguments)


def _scaled(name: str, value: float, factor: float, shift: float) -> float:
    match name:
        case "mu":
            return shift + factor * value
        case "sigma" | "scale":
            return factor * value
        case "lower" | "upper":
            return factor * value
        case _:
            return value


def unit_factor(unit: str, scales: Mapping[str, float]) -> float:
    """Return the size of one unit-free unit in the trial's own units."""
    dose, response, time = math.exp(scales["log_dose"]), scales["response"], scales.get("time", 1.0)
    return {
        "1": 1.0,
        "response": response,
        "dose": dose,
        "response / dose": response / dose,
        "1 / dose": 1 / dose,
        "time": time,
        "1 / time": 1 / time,
    }[unit]


@dataclass(frozen=True)
class Parameter:
    """What is known of one parameter of a formula."""

    symbol: str
    unit: str
    description: str
    when: Mapping[str, tuple[str, ...]]

    def active(self, term: Term) -> bool:
        """Whether `term`, with its options, has this parameter."""
        return all(getattr(term, option) in allowed for option, allowed in self.when.items())


def parameter(
    symbol: str, unit: str, prior: Prior | Callable[[Any], Prior], description: str, **when: str | tuple[str, ...]
) -> Any:
    """Declare a parameter of a formula.

    Parameters
    ----------
    symbol : str
        LaTeX symbol, as in the formula.
    unit : str
        One of `UNITS`; scales the prior and labels every number.
    prior : Prior or callable
        Default prior on a unit-free trial, or a function that gives it for a term with its options.
    description : str
        A few words, as in a table of parameters.
    **when : str or tuple of str
        Options of the term under which the parameter exists, such as ``scale="ratio"``.
    """
    allowed = {option: (value,) if isinstance(value, str) else tuple(value) for option, value in when.items()}
    return field(default=prior, metadata={"parameter": Parameter(symbol, unit, description, allowed)})


def option(*choices: str, description: str) -> Any:
    """Declare an option of a formula: the first choice is the default."""
    return field(default=choices[0], metadata={"choices": choices, "description": description})


class Term:
    """A formula that declares its parameters: a frozen dataclass whose fields are parameters and options.

    A field may hold a number, an array, an `xarray.DataArray` of draws, a PyTensor variable, or a `Prior`;
    a term in which priors are left is a template, from which models are built.
    """

    formula: ClassVar[str]
    source: ClassVar[str]

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(frozen=True, kw_only=True, eq=False)(cls)

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]
            choices = item.metadata.get("choices")
            if choices and getattr(self, item.name) not in choices:
                raise ValueError(
                    f"{item.name} of {type(self).__name__} must be one of {', '.join(choices)}, "
                    f"got {getattr(self, item.name)!r}."
                )

    @classmethod
    @cache
    def options(cls) -> Mapping[str, tuple[str, ...]]:
        """Names and choices of the options."""
        known = {item.name: item.metadata["choices"] for item in fields(cls) if "choices" in item.metadata}  # type: ignore[arg-type]
        return MappingProxyType(known)

    @classmethod
    @cache
    def declared(cls) -> Mapping[str, Parameter]:
        """Every parameter that the class declares, active or not."""
        known = {item.name: item.metadata["parameter"] for item in fields(cls) if "parameter" in item.metadata}  # type: ignore[arg-type]
        return MappingProxyType(known)

    def parameters(self) -> dict[str, Parameter]:
        """The parameters that exist under this term's options."""
        return {name: known for name, known in self.declared().items() if known.active(self)}

    def priors(self) -> dict[str, Prior]:
        """The parameters that are still priors, unit-free."""
        values = {name: getattr(self, name) for name in self.parameters()}
        chosen = {name: value(self) if callable(value) else value for name, value in values.items()}
        return {name: value for name, value in chosen.items() if isinstance(value, Prior)}

    def structure(self) -> dict[str, str]:
        """The values of the options."""
        return {name: getattr(self, name) for name in self.options()}

    def with_values(self, values: Mapping[str, Value]) -> Self:
        """Return the same term with some parameters replaced.

        Parameters
        ----------
        values : mapping
            Parameter values by name: numbers, arrays, draws (a posterior Dataset will do) or PyTensor variables.
        """
        known = {item.name: getattr(self, item.name) for item in fields(self)}  # type: ignore[arg-type]
        return type(self)(
            **{
                name: values[name] if name in values else value  # noqa: SIM401  Datasets have no such get
                for name, value in known.items()
            }
        )

    @classmethod
    def from_draws(cls, draws: Any, **options: str) -> Self:
        """Return the term at the draws of a posterior.

        Parameters
        ----------
        draws : DataTree or Dataset
            Posterior, dims (chain, draw); options not given are read from its attrs.
        **options : str
            Options of the term, such as ``scale="interval"``.
        """
        recorded = {name: draws.attrs[name] for name in cls.options() if name in draws.attrs}
        fixed = json.loads(draws.attrs.get("fixed", "{}"))
        template = cls(**(recorded | fixed | options))
        missing = [name for name in template.priors() if name not in draws]
        if missing:
            raise ValueError(f"{cls.__name__} needs draws of {', '.join(missing)}, the draws given have none.")
        return template.with_values({name: draws[name] for name in template.priors()})


def root(initial: Value, step: Any, *, steps: int) -> Value:
    """Unroll a fixed number of Newton steps.

    Parameters
    ----------
    initial : Value
        Start, on the side from which the iteration is monotone.
    step : callable
        Maps an iterate to the next one, written as one fraction: nested ``p - F / F'`` doubles the time of PyTensor's
        graph rewriter at each step.
    steps : int
        Number of steps; derivatives through the loop are then those of the root.
    """
    for _ in range(steps):
        initial = step(initial)
    return initial
