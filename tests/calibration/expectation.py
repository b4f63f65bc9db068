"""Whether an effect that runs through the guess of the treatment alone is called one: simulated blinded trials.

    python tests/calibration/expectation.py                  # 50 trials

In every trial 240 people get a placebo or one of three doses, guess what they got, mostly rightly, and feel better by
one residual SD if they guess the drug; the drug itself does nothing. The benefit asked for is half a residual SD. Each
trial is fitted with the guess as a covariate of the control response and without it; results are kept in
tests/calibration/results/expectation.csv, and only missing trials are run.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import pandas as pd

import hormesis_fit as hf

RESULTS = Path(__file__).parent / "results" / "expectation.csv"
DOSES = (0.0, 5.0, 10.0, 20.0)
PEOPLE, SD, RIGHT = 240, 4.0, 0.85
STATES = ("WINDOW", "UNLOCATED", "UNDETERMINED", "UNLIKELY")


def blinded_trial(seed: int):
    """Return a trial whose whole effect runs through the guess."""
    rng = np.random.default_rng([seed, 21])
    dose = np.repeat(DOSES, PEOPLE // len(DOSES))
    guess = np.where(rng.random(PEOPLE) < RIGHT, dose > 0, dose == 0).astype(float)
    response = 14 + SD * guess + rng.normal(0, SD, PEOPLE)
    table = {"dose": dose, "response": response, "guess": guess}
    return hf.read_trial(table, guess="guess", scale="interval", dose_unit="ug", response_unit="points")


def verdict(trial, seed: int, covariates: dict[str, str]) -> str:
    """Return the status of the window."""
    fit = hf.fit(trial, covariates=covariates, random_seed=seed)
    return hf.window(fit, benefit=0.5, benefit_scale="sd").attrs["status"]


def run(trials: int) -> pd.DataFrame:
    """Run the trials that are not yet in the CSV."""
    done = set(pd.read_csv(RESULTS)["seed"]) if RESULTS.exists() else set()
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, ["seed", "adjusted", "unadjusted"])
        if not done:
            writer.writeheader()
        for seed in range(trials):
            if seed not in done:
                trial = blinded_trial(seed)
                adjusted, unadjusted = verdict(trial, seed, {"control": "guess"}), verdict(trial, seed, {})
                writer.writerow({"seed": seed, "adjusted": adjusted, "unadjusted": unadjusted})
                file.flush()
    return pd.read_csv(RESULTS)


def main() -> None:
    """Run what is missing and print how often each status came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50)
    rows = run(parser.parse_args().trials)
    for column in ("adjusted", "unadjusted"):
        shares = ", ".join(f"{state} {(rows[column] == state).mean():.0%}" for state in STATES)
        print(f"{column} ({len(rows)} trials): {shares}")


if __name__ == "__main__":
    main()
