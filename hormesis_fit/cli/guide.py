"""What `--help` says: options that commands share, their sections in the order of an analysis, and examples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Option
from typer.core import TyperCommand

DoseColumn = Annotated[str, Option(metavar="COL", help="Column of the doses; 0 is the control.")]
ResponseColumn = Annotated[str, Option(metavar="COL", help="Column of the responses.")]
Direction = Annotated[str, Option(metavar="up|down", help="Which responses are better, higher or lower ones.")]
ScaleOrNote = Annotated[
    str | None,
    Option(
        metavar="ratio|interval",
        help="Whether 0 means nothing (weights, counts) or is a point like others (scores).  [default: by the look of "
        "the responses, with a note]",
    ),
]
Missing = Annotated[str, Option(metavar="error|drop", help="What to do with rows without a response.")]
Curves = Annotated[
    list[str] | None,
    Option(
        metavar="NAME",
        help="Curve, or a set: average, hormetic, null, all (see hormesis-fit curves); again for more.  "
        "[default: average]",
    ),
]
Priors = Annotated[
    Path | None,
    Option(metavar="FILE", help="TOML file with a table for each parameter, such as [peak_stimulation]."),
]
PriorHormesis = Annotated[float, Option(help="Prior probability of the hormetic curves.")]
BENEFIT_SCALES = "relative|difference|sd|level"
BenefitOrNote = Annotated[
    float | None, Option(help="Smallest benefit that counts; 0.1 is 10 % of the control.  [default: 0.10, with a note]")
]
BenefitScale = Annotated[
    str,
    Option(
        metavar=BENEFIT_SCALES,
        help="What the benefit is: a share of the control, a difference, a number of SDs, or a mean to reach.",
    ),
]
Level = Annotated[float, Option(help="Probability of the benefit that a dose of the window needs.")]
Interval = Annotated[float | None, Option(help="Time between doses for which the window is wanted, at steady state.")]
History = Annotated[
    Path | None,
    Option(metavar="FILE", help="Doses that one person had before time 0, as for --regimen, at negative times."),
]
TimeGrid = Annotated[
    str | None, Option(metavar="T,T,...", help="Times at which to give the window.  [default: the visits]")
]
Seed = Annotated[int | None, Option(help="Same seed, same numbers; drawn when not given.")]

START = """\b
To begin with:
  hormesis-fit demo                     two published trials, from the table to the report
  hormesis-fit fit trial.csv --dose dose --response weight --benefit 0.1
  hormesis-fit next trial-hormesis      which doses to measure next

Every command explains itself: hormesis-fit fit --help. A window is a statement about a trial, no medical advice.
"""
EXAMPLES = {
    "fit": """\b
The shortest call names two columns and the smallest benefit that counts:
  hormesis-fit fit trial.csv --dose dose --response weight --benefit 0.1

\b
Counts, shares and scores have families of their own:
  hormesis-fit fit trial.csv --successes dead --n total --direction down --family binomial

\b
Where people differ, name them, what differs, and whose window it shall be:
  hormesis-fit fit trial.csv --subject id --vary half_effect_dose=id --estimand new

\b
A dose may have to keep limits, on its own endpoint and on another one:
  hormesis-fit fit trial.csv --harm "loss<=0.05" --side-effect nausea --side-effect-limit 0.2

\b
Where sensitivity drifts, the window is one of a time:
  hormesis-fit fit trial.csv --time day --time-unit d --drift OrnsteinUhlenbeck --time-grid 0,14,28

The folder --out then holds report.html (for people), window.json (the answer, for programs), summary.csv, figures/ and
fit.nc (everything, for Python and for hormesis-fit next). Exit code: 0 with a result, also where no dose helps; 2 for
bad input; 3 for a fit that stayed sick; 130 when interrupted.
""",
    "screen": """\b
The shortest call names the column of the curves:
  hormesis-fit screen plates.csv --curve-id compound --response viability

\b
Responses in per cent of controls that are not in the table, on eight processors:
  hormesis-fit screen plates.parquet --curve-id compound --control 100 --workers 8

\b
A killed screen goes on where it was, and ends with the same numbers:
  hormesis-fit screen plates.csv --curve-id compound --out results --resume

The folder --out then holds ranking.html, ranking.csv and ranking.parquet (a row for every curve) and screen.zarr.
""",
    "next": """\b
Six more rows, wherever they tell most about the edges of the window:
  hormesis-fit next trial-hormesis --n 6

\b
One good dose soon, out of those in stock, and none that does harm:
  hormesis-fit next trial-hormesis --goal regret --doses 0,0.3,1,3 --harm "loss<=0.05"
""",
    "paper": """\b
Methods, tables and references, for LaTeX and for Word:
  hormesis-fit paper trial-hormesis
  hormesis-fit paper trial-hormesis --format docx --out manuscript
""",
    "design": """\b
24 rows between the lowest and the highest dose that can be given:
  hormesis-fit design --dose-min 0.1 --dose-max 100 --n 24 --dose-unit mg/L

\b
The same, with 200 simulated trials to say how often the window would be found:
  hormesis-fit design --dose-min 0.1 --dose-max 100 --n 24 --cv 0.15 --simulations 200
""",
    "curves": """\b
One curve, or those that are averaged by default:
  hormesis-fit curves BrainCousens
  hormesis-fit curves average
""",
    "data": """\b
A table to try things with:
  hormesis-fit data lettuce --out lettuce.csv
  hormesis-fit fit lettuce.csv --dose conc --response weight --dose-unit mg/L
""",
}
_READING = "dose response dose_unit response_unit direction scale"
_COUNTS = "benefit benefit_scale level"
SECTIONS: dict[str, dict[str, str]] = {
    "fit": {
        "The table": f"{_READING} standard_dose control missing sheet",
        "Rows that are more than one number": "sd se n successes lower upper weight",
        "What counts": f"{_COUNTS} harm side_effect side_effect_family side_effect_limit",
        "The model": "curve family priors prior_hormesis",
        "People, batches and covariates": "subject batch vary covariates column guess estimand",
        "Time, and doses in time": "time time_unit drift time_grid regimen kinetics concentrations interval history",
        "Computation": "engine draws tune chains seed leave_one_dose_out",
        "Results": "out overwrite show_subjects",
    },
    "screen": {
        "The table": f"curve_id {_READING} control missing",
        "What counts": f"{_COUNTS} fdr",
        "The model": "curve family prior_hormesis",
        "Computation": "workers scheduler piece seed",
        "Results": "out resume",
    },
    "next": {
        "What can be had": "n controls doses",
        "What it is for": "goal benefit benefit_scale estimand subject time",
        "Limits": "harm harm_probability",
        "Results": "out overwrite",
    },
    "design": {
        "What can be had": "dose_min dose_max n controls doses dose_unit",
        "What it is for": "criterion quantity benefit benefit_scale direction scale",
        "What is believed beforehand": "curve priors family control cv",
        "Computation": "draws simulations seed",
        "Results": "out overwrite",
    },
}


class Guide(TyperCommand):
    """A command whose options are shown in sections."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, the options by section, and whatever has no section."""
        known = {one.name: one for one in self.get_params(ctx)}
        arguments = " ".join(name for name, one in known.items() if one.param_type_name == "argument")
        sections = {"Arguments": arguments, **SECTIONS.get(self.name or "", {})}
        placed = {name for names in sections.values() for name in names.split()}
        sections["Options"] = " ".join(name for name in known if name not in placed)
        for title, names in sections.items():
            records = [known[name].get_help_record(ctx) for name in names.split()]
            if rows := [one for one in records if one is not None]:
                with formatter.section(title):
                    formatter.write_dl(rows)
