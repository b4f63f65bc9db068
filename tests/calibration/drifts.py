"""How often a drift is recovered: simulated trials with known truth, resumable.

    python tests/calibration/drifts.py                     # both designs, 100 trials each
    python tests/calibration/drifts.py --design receptors

Every trial draws its truth from fixed priors. ``potency``: eight subjects at ten visits, a control and four doses at
each, with an Ornstein-Uhlenbeck path of log-potency for each subject. ``receptors``: six groups of daily doses for a
week, then a wash-out with four single doses that probe the recovery of the receptors, twelve times, two rows each, with
receptor turnover and one compartment. The results say how often 95 % intervals hold every parameter, the sensitivity in
the end and the edges of the window, and how many fits had no divergence. They are kept in tests/calibration/results,
one CSV per design, and only missing trials are run; a design is compiled once.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

import hormesis_fit as hf
from hormesis_fit.curves import BrainCousens
from hormesis_fit.drift import OrnsteinUhlenbeck, ReceptorTurnover
from hormesis_fit.drift.administration import repeated_for_ever
from hormesis_fit.drift.histories import histories_of

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parents[2] / "README.md"
VISITS = np.arange(0.0, 70.0, 7.0)
DOSES = (0.0, 1.0, 4.0, 12.0, 40.0)
SUBJECTS = tuple(f"S{number}" for number in range(8))
LEVELS = (0.0, 1.0, 3.0, 8.0, 20.0, 50.0)
GIVEN = (0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 18)  # a week of doses every day, then single ones
SEEN = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 6.0, 7.5, 8.0, 10.0, 13.0, 18.0)
KINETICS = hf.OneCompartment(elimination_rate=1.0)
BENEFIT, GRID = 0.10, np.geomspace(1e-4, 1e4, 40001)
ENDS = ("sensitivity", "window_lower", "window_upper")
LIMITS = {0.95: (0.025, 0.975), 0.80: (0.1, 0.9)}


def log_normal(median: float, sigma: float) -> hf.Prior:
    return hf.Prior("LogNormal", mu=float(np.log(median)), sigma=sigma)


CURVE = {"control": log_normal(100, 0.1), "slope_excess": log_normal(1.5, 0.3)}
PRIORS = {
    "potency": CURVE
    | {
        "peak_stimulation": log_normal(0.4, 0.3),
        "half_effect_dose": log_normal(30, 0.4),
        "sigma": log_normal(5, 0.2),
        "potency_sd": log_normal(0.4, 0.3),
        "potency_time_scale": log_normal(20, 0.5),
    },
    "receptors": CURVE
    | {
        "peak_stimulation": log_normal(0.5, 0.3),
        "half_effect_dose": log_normal(60, 0.4),
        "sigma": log_normal(3, 0.2),
        "gain_turnover_rate": log_normal(0.4, 0.4),
        "gain_loss_ratio": log_normal(2, 0.4),
        "gain_occupancy_dose": log_normal(8, 0.4),
        "gain_occupancy_slope": log_normal(1, 0.2),
    },
}


def potency_trial(truth: dict[str, float], curve: BrainCousens, rng: np.random.Generator):
    """Return a trial, what `fit` is asked, the path of the first subject, and its window in the end."""
    drift = OrnsteinUhlenbeck(sd=truth["potency_sd"], time_scale=truth["potency_time_scale"])
    paths = drift.path(VISITS, rng.standard_normal((len(SUBJECTS), len(VISITS))))
    rows = [
        (name, day, dose, float(curve.drifted(dose, potency=shift)) + truth["sigma"] * rng.normal())
        for name, path in zip(SUBJECTS, paths, strict=True)
        for day, shift in zip(VISITS, path, strict=True)
        for dose in DOSES
    ]
    columns = dict(zip(("subject", "time", "dose", "response"), zip(*rows, strict=True), strict=True))
    trial = hf.read_trial(columns, time="time", subject="subject", scale="ratio")
    asked = {"drift": "OrnsteinUhlenbeck", "vary": {"potency": "subject"}}
    return trial, asked, paths[0, -1], curve.drifted(GRID, potency=paths[0, -1])


def receptors_trial(truth: dict[str, float], curve: BrainCousens, rng: np.random.Generator):
    """Return the same for receptors that the drug takes away: what is left after a week, the window of daily doses."""
    term = ReceptorTurnover(**{name: truth[f"gain_{name}"] for name in ReceptorTurnover().parameters()})
    rows = [(f"dose {level:g}", day, level) for level in LEVELS for day in SEEN for _ in range(2)]
    columns = dict(zip(("subject", "time", "dose"), map(list, zip(*rows, strict=True)), strict=True))
    events = pd.DataFrame({"ID": name, "TIME": GIVEN, "AMT": level, "EVID": 1} for name, level in _groups())
    events = events.explode("TIME").astype({"TIME": float})
    named = {"time": "time", "subject": "subject", "scale": "ratio"}
    places = hf.read_trial(columns | {"response": np.arange(len(rows))}, **named)
    histories = histories_of(places, events, KINETICS)
    path = term(histories.over_steps(), histories.lengths)
    known = np.concatenate([np.ones((len(LEVELS), 1)), path], axis=1)[histories.row_history, histories.row_edge]
    mean = curve.drifted(histories.at_rows(), gain=np.log(known))
    columns["response"] = mean + truth["sigma"] * rng.normal(size=len(rows))
    asked = {"drift": "ReceptorTurnover", "regimen": events, "kinetics": KINETICS, "vary": {}}
    end = known[(np.array(columns["subject"]) == "dose 20") & (np.array(columns["time"]) == SEEN[6])][0]
    daily = repeated_for_ever(1.0, KINETICS, None, None)
    states = term.periodic(GRID[:, None] * daily.unit, daily.lengths)
    after = term(GRID[:, None] * daily.unit, daily.lengths, start=states)
    middles = (np.concatenate([states, after[:, :-1]], axis=1) + after) / 2
    means = curve.drifted(GRID[:, None] * daily.unit, gain=np.log(middles)) @ daily.lengths
    return hf.read_trial(columns, **named), asked, end, means


def _groups() -> list[tuple[str, float]]:
    return [(f"dose {level:g}", level) for level in LEVELS]


def in_the_end(design: str, fit) -> tuple[np.ndarray, object]:
    """Return the draws of the sensitivity in the end, and the window there."""
    if design == "potency":
        own = {"subject": SUBJECTS[0]}
        last = hf.sensitivity_over_time(fit, **own)["potency"].isel(time=-1)
        return last.values, hf.window(fit, benefit=BENEFIT, **own)
    seen = hf.sensitivity_over_time(fit, time=[SEEN[6]])["sensitivity"].sel(history="dose 20").isel(time=0)
    return seen.values, hf.window(fit, benefit=BENEFIT, interval=1.0)


def one_trial(design: str, seed: int) -> dict[str, object]:
    """Simulate and fit one trial; return the rank of every truth among the draws, as a share."""
    started, rng = time.process_time(), np.random.default_rng([seed, len(design)])
    truth = {
        name: float(np.exp(rng.normal(prior.arguments["mu"], prior.arguments["sigma"])))
        for name, prior in PRIORS[design].items()
    }
    curve = BrainCousens(**{name: truth[name] for name in BrainCousens().parameters()})
    make = {"potency": potency_trial, "receptors": receptors_trial}[design]
    trial, asked, end, means = make(truth, curve, rng)
    settings = {"engine": "nuts", "draws": 300, "tune": 500, "chains": 2, "random_seed": seed}
    fit = hf.fit(trial, curve="BrainCousens", priors=PRIORS[design], **settings, **asked)
    posterior = fit["posterior"].to_dataset()
    row = {name: float((posterior[name] < value).mean()) for name, value in truth.items()}
    draws, window = in_the_end(design, fit)
    row["sensitivity"] = float((draws < end).mean())
    inside = GRID[means >= curve.control * (1 + BENEFIT)]
    for name, edge in (("window_lower", 0), ("window_upper", -1)):
        found = window[name].values[window["exists"].values]
        row[name] = float((found < inside[edge]).mean()) if inside.size and found.size else np.nan
    evidence = fit["evidence"].to_dataset().isel(model=0)
    row |= {"divergences": int(evidence["divergences"]), "ess": round(float(evidence["ess"]))}
    row |= {"sick": int(evidence["sick"]), "seconds": round(time.process_time() - started, 1)}
    return {"seed": seed} | {name: f"{one:.4g}" if isinstance(one, float) else one for name, one in row.items()}


def run(design: str, trials: int) -> None:
    """Run the trials of a design that are not yet in its CSV."""
    path = RESULTS / f"drifts_{design}.csv"
    columns = ["seed", *PRIORS[design], *ENDS, "divergences", "ess", "sick", "seconds"]
    done = set(pd.read_csv(path)["seed"]) if path.exists() else set()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns)
        if not done:
            writer.writeheader()
        for seed in range(trials):
            if seed not in done:
                writer.writerow(one_trial(design, seed))
                file.flush()


def coverage(rows: pd.DataFrame, names: list[str], mass: float) -> pd.DataFrame:
    """Return how often intervals held each truth, and the p-value of that number under its nominal rate."""
    found = {}
    for name in names:
        ranks = rows[name].dropna()
        hits, size = int(ranks.between(*LIMITS[mass]).sum()), len(ranks)
        found[name] = {"share": hits / size, "p": float(stats.binomtest(hits, size, mass).pvalue), "trials": size}
    return pd.DataFrame(found).T


def table() -> str:
    """Return the results of both designs, as Markdown."""
    lines = [
        "| design | trials | parameters, 95 % | parameters, 80 % | smallest p, corrected "
        "| sensitivity in the end, 95 % | lower edge, 95 % | upper edge, 95 % | no divergence |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for design, priors in PRIORS.items():
        path = RESULTS / f"drifts_{design}.csv"
        if not path.exists():
            continue
        rows, names = pd.read_csv(path), list(priors)
        wide, narrow = (coverage(rows, names, mass) for mass in LIMITS)
        ends = coverage(rows, list(ENDS), 0.95)["share"]
        smallest = min(wide["p"].min(), narrow["p"].min()) * 2 * len(names)
        cells = [design, str(len(rows))]
        cells += [f"{one['share'].min():.2f} to {one['share'].max():.2f}" for one in (wide, narrow)]
        cells += [f"{min(1.0, smallest):.2f}", *(f"{share:.2f}" for share in ends)]
        lines.append(f"| {' | '.join([*cells, f'{(rows["divergences"] == 0).mean():.0%}'])} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, print the table and write it into the README."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--design", choices=list(PRIORS), action="append")
    parser.add_argument("--trials", type=int, default=100)
    asked = parser.parse_args()
    for design in asked.design or PRIORS:
        run(design, asked.trials)
    text, result = README.read_text(encoding="utf-8"), table()
    before, rest = text.split("<!-- drifts -->\n")
    after = rest.split("<!-- /drifts -->")[1]
    README.write_text(f"{before}<!-- drifts -->\n{result}\n<!-- /drifts -->{after}", encoding="utf-8")
    print(result)


if __name__ == "__main__":
    main()
