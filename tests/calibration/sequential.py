"""How many rows planning saves: trials that grow batch by batch, guided or equally spaced, resumable.

    python tests/calibration/sequential.py                  # 100 trials
    python tests/calibration/sequential.py --trials 20

Every trial draws its truth from one of the three hormetic curves of the average, and begins with a control and seven
doses, log-spaced from 0.3 to 100, two rows each, Gaussian error of 6 % of the control. It then grows by eight rows at a
time on two arms: `guided` asks `next_doses`, `equal` repeats the first design. Each arm ends when the widths of the
80 % intervals of the two log edges of the window are half of what they were after the first rows, in their geometric
mean. Results are kept in tests/calibration/results/sequential.csv, one line per fit, and only missing trials are run.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import pandas as pd

import hormesis_fit as hf
from hormesis_fit.curves import BellTail, BrainCousens, ProductHill

RESULTS = Path(__file__).parent / "results" / "sequential.csv"
DOSES = np.array([0.0, *np.geomspace(0.3, 100, 7)])
CONTROL, CV, BATCH, MOST = 100.0, 0.06, 8, 144
ARMS = ("guided", "equal")
COLUMNS = ["seed", "truth", "arm", "rows", "lower_width", "upper_width", "prob_exists", "seconds"]


def drawn_truth(rng: np.random.Generator):
    """Return a curve whose window lies somewhere inside the doses."""

    def positive(median: float, sigma: float) -> float:
        return float(median * np.exp(sigma * rng.standard_normal()))

    kind = (BrainCousens, ProductHill, BellTail)[int(rng.integers(3))]
    if kind is BrainCousens:
        known = {"peak_stimulation": positive(0.35, 0.25), "half_effect_dose": positive(30, 0.5)}
        known["slope_excess"] = positive(1.5, 0.3)
    elif kind is ProductHill:
        known = {"amplitude": positive(0.5, 0.25), "inhibition_dose": positive(35, 0.5)}
        known |= {
            "dose_ratio": positive(0.07, 0.4),
            "stimulation_slope": positive(1.5, 0.2),
            "slope": positive(2.5, 0.2),
        }
    else:
        known = {"amplitude": positive(0.4, 0.25), "half_effect_dose": positive(40, 0.5)}
        known |= {"dose_ratio": positive(0.12, 0.4), "width": positive(0.9, 0.2), "slope": positive(2.5, 0.2)}
    return kind(control=CONTROL, **known)


def measured(truth, doses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return truth(doses) + CV * CONTROL * rng.standard_normal(len(doses))


def looked_at(doses: np.ndarray, responses: np.ndarray, seed: int):
    """Fit the rows so far; return the fit and the widths of both edges."""
    trial = hf.read_trial({"dose": doses, "response": responses}, scale="ratio")
    fit = hf.fit(trial, draws=500, random_seed=seed)
    window = hf.window(fit)
    there = window["exists"].values
    low, high = window.attrs["domain"]
    widths = []
    for name in ("window_lower", "window_upper"):
        logs = np.log(np.clip(window[name].values[there], low, high))
        widths.append(float(np.subtract(*np.quantile(logs, [0.9, 0.1]))) if logs.size > 10 else np.nan)
    return fit, widths, float(window["prob_exists"])


def one_trial(seed: int) -> list[dict]:
    """Let one trial grow on both arms; return a line for each fit."""
    rng = np.random.default_rng([seed, 31])
    truth = drawn_truth(rng)
    first = np.repeat(DOSES, 2)
    responses = measured(truth, first, rng)
    lines = []
    for number, arm in enumerate(ARMS):
        own = np.random.default_rng([seed, 32, number])
        doses, values, start = first, responses, None
        while len(doses) <= MOST:
            began = time.process_time()
            fit, widths, prob_exists = looked_at(doses, values, seed)
            start = widths if start is None else start
            line = {"seed": seed, "truth": type(truth).__name__, "arm": arm, "rows": len(doses)}
            line |= {"lower_width": f"{widths[0]:.4f}", "upper_width": f"{widths[1]:.4f}"}
            lines.append(line | {"prob_exists": f"{prob_exists:.4f}"})
            if np.prod(widths) <= np.prod(start) / 4:
                lines[-1]["seconds"] = f"{time.process_time() - began:.2f}"
                break
            more = further(fit) if arm == "guided" else DOSES
            lines[-1]["seconds"] = f"{time.process_time() - began:.2f}"
            doses, values = np.append(doses, more), np.append(values, measured(truth, more, own))
    return lines


def further(fit) -> np.ndarray:
    planned = hf.next_doses(fit, n=BATCH)
    return np.repeat(planned["dose"].values, planned["replicates"].values)


def run(trials: int, first: int = 0, results: Path = RESULTS) -> None:
    """Run the trials that are not yet in the CSV."""
    done = set(pd.read_csv(results)["seed"]) if results.exists() else set()
    with results.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not done:
            writer.writeheader()
        for seed in range(first, trials):
            if seed not in done:
                writer.writerows(one_trial(seed))
                file.flush()


def rows_needed(lines: pd.DataFrame) -> pd.DataFrame:
    """Return the rows at which each trial's width was halved, on each arm; infinite where it never was."""
    width = np.sqrt(lines["lower_width"] * lines["upper_width"])
    start = width.groupby([lines["seed"], lines["arm"]]).transform("first")
    halved = lines[width <= start / 2 * (1 + 1e-3)]
    table = halved.groupby(["seed", "arm"])["rows"].min().unstack("arm")
    return table.reindex(index=np.unique(lines["seed"]), columns=list(ARMS)).fillna(np.inf)


def savings(lines: pd.DataFrame) -> tuple[float, float]:
    """Return the median shares of rows saved, of all rows and of those after the first ones."""
    needed = rows_needed(lines)
    first = 2 * len(DOSES)
    # Where the equal arm never got there, the rows it had are the fewest that it could have needed.
    equal = needed["equal"].clip(upper=MOST + BATCH)
    guided = needed["guided"].clip(upper=10 * MOST)
    return float(1 - (guided / equal).median()), float(1 - ((guided - first) / (equal - first)).median())


def main() -> None:
    """Run what is missing and print what was saved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    run(asked.trials, asked.first, asked.results)
    lines = pd.read_csv(asked.results)
    of_all, of_further = savings(lines)
    print(rows_needed(lines).quantile([0.25, 0.5, 0.75], interpolation="lower"))
    print(f"{lines['seed'].nunique()} trials: {of_all:.0%} of all rows saved, {of_further:.0%} of the further rows")


if __name__ == "__main__":
    main()
