"""How often drift is recovered: simulated trials with an Ornstein-Uhlenbeck potency, resumable.

    python tests/calibration/drifts.py                  # 100 trials

Every trial draws its truth from fixed priors: one path of log-potency over ten visits, at each of them a control and
four doses, two rows a dose. The result says how often 95 % intervals hold the parameters, the potency at the last visit
and the window edges there, and how many fits had no divergence; only missing trials are run, one structure is compiled.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import pandas as pd

import hormesis_fit as hf
from hormesis_fit.curves import BrainCousens
from hormesis_fit.drift import OrnsteinUhlenbeck

RESULTS = Path(__file__).parent / "results" / "drifts.csv"
TIMES = np.arange(0.0, 70.0, 7.0)
DOSES = (0.0, 1.0, 4.0, 12.0, 40.0)


def log_normal(median: float, sigma: float) -> hf.Prior:
    return hf.Prior("LogNormal", mu=float(np.log(median)), sigma=sigma)


PRIORS = {
    "control": log_normal(100, 0.1),
    "peak_stimulation": log_normal(0.4, 0.3),
    "half_effect_dose": log_normal(30, 0.4),
    "slope_excess": log_normal(1.5, 0.3),
    "sigma": log_normal(5, 0.2),
    "potency_sd": log_normal(0.4, 0.3),
    "potency_time_scale": log_normal(20, 0.5),
}


def one_trial(seed: int) -> dict[str, float]:
    """Simulate and fit one trial; return the rank of every truth among the draws, as a share."""
    started, rng = time.process_time(), np.random.default_rng([seed, 31])
    truth = {
        name: float(np.exp(rng.normal(prior.arguments["mu"], prior.arguments["sigma"])))
        for name, prior in PRIORS.items()
    }
    curve = BrainCousens(**{name: truth[name] for name in BrainCousens().parameters()})
    drift = OrnsteinUhlenbeck(sd=truth["potency_sd"], time_scale=truth["potency_time_scale"])
    path = drift.path(TIMES, rng.standard_normal(len(TIMES)))
    rows = [
        (day, dose, float(curve.drifted(dose, potency=shift)) + truth["sigma"] * rng.normal())
        for day, shift in zip(TIMES, path, strict=True)
        for dose in DOSES
        for _ in range(2)
    ]
    table = dict(zip(("time", "dose", "response"), zip(*rows, strict=True), strict=True))
    trial = hf.read_trial(table, time="time", scale="ratio")
    asked = {"engine": "nuts", "draws": 500, "tune": 500, "chains": 2, "random_seed": seed}
    fit = hf.fit(trial, curve="BrainCousens", drift="OrnsteinUhlenbeck", priors=PRIORS, **asked)
    posterior = fit["posterior"].to_dataset()
    row = {name: float((posterior[name] < value).mean()) for name, value in truth.items()}
    last = hf.sensitivity_over_time(fit)["potency"].isel(time=-1)
    row["potency"] = float((last < path[-1]).mean())
    window = hf.window(fit, benefit=0.10)
    grid = np.geomspace(1e-4, 1e3, 40001)
    inside = grid[curve.drifted(grid, potency=path[-1]) >= curve.control * 1.10]
    for name, edge in (("window_lower", 0), ("window_upper", -1)):
        draws = window[name].values[window["exists"].values]
        row[name] = float((draws < inside[edge]).mean()) if inside.size and draws.size else np.nan
    evidence = fit["evidence"].to_dataset().isel(model=0)
    row |= {"divergences": int(evidence["divergences"]), "ess": round(float(evidence["ess"]))}
    return {"seed": seed} | row | {"seconds": round(time.process_time() - started, 1)}


def run(trials: int) -> pd.DataFrame:
    """Run the trials that are not yet in the CSV."""
    done = set(pd.read_csv(RESULTS)["seed"]) if RESULTS.exists() else set()
    columns = ["seed", *PRIORS, "potency", "window_lower", "window_upper", "divergences", "ess", "seconds"]
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns)
        if not done:
            writer.writeheader()
        for seed in range(trials):
            if seed not in done:
                row = one_trial(seed)
                writer.writerow(
                    {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in row.items()}
                )
                file.flush()
    return pd.read_csv(RESULTS)


def main() -> None:
    """Run what is missing and print how often each interval holds the truth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    rows = run(parser.parse_args().trials)
    for name in (*PRIORS, "potency", "window_lower", "window_upper"):
        ranks = rows[name].dropna()
        print(f"{name:<20} {ranks.between(0.025, 0.975).mean():.2f} of {len(ranks)}")
    print(f"without divergences  {(rows['divergences'] == 0).mean():.2f}")


if __name__ == "__main__":
    main()
