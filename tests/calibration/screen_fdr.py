"""The false discovery rate of a screen: 5,000 curves without hormesis, and 5,000 of which a tenth is hormetic.

python tests/calibration/screen_fdr.py [--curves 5000]

Every curve has 24 rows at eight doses and errors of 6 % of the control. The null curves decline log-logistically or
not at all; the hormetic ones are Brain-Cousens curves with a stimulation of 20 %. Slopes and half-effect doses differ.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

import hormesis_fit as hf
from hormesis_fit.curves import BrainCousens, Constant, LogLogistic
from hormesis_fit.screening.multiplicity import share_of
from hormesis_fit.screening.piecework import Asked, fit_piece

HERE = Path(__file__).parent
README = HERE.parents[1] / "README.md"
DOSES = (0.0, *np.geomspace(0.3, 100, 7))
STIMULATION, CV, LEVEL = 0.2, 0.06, 0.05
STUDIES = {"null": 0.0, "tenth": 0.1}
ASKED = Asked(hf.AVERAGE, seed=20)
PIECE = 100


def truth(study: str, number: int) -> tuple[object, bool]:
    """Return the curve behind one table, and whether it is hormetic."""
    rng = np.random.default_rng([1, number])
    half, slope = 30 * np.exp(0.7 * rng.normal()), 1 + np.exp(0.4 + 0.4 * rng.normal())
    if number % 10 < 10 * STUDIES[study]:
        return BrainCousens(
            control=100.0, peak_stimulation=STIMULATION, half_effect_dose=half, slope_excess=slope - 1
        ), True
    if number % 10 == 9:
        return Constant(control=100.0), False
    return LogLogistic(control=100.0, half_effect_dose=half, slope=slope), False


def trial(study: str, number: int):
    """Return one simulated table."""
    return hf.simulate_trial(
        truth(study, number)[0], doses=DOSES, replicates=3, cv=CV, random_seed=number, scale="ratio"
    )


def run(study: str, numbers: range) -> pd.DataFrame:
    """Fit some tables of a study."""
    records = fit_piece({f"{study} {number}": trial(study, number) for number in numbers}, ASKED)
    rows = [
        {
            "number": number,
            "hormetic": int(truth(study, number)[1]),
            "prob_hormesis": float(f"{record['prob_hormesis']:.9g}"),
            "prob_exists": round(record["prob_exists"], 4),
            "status": record["status"],
        }
        for number, record in zip(numbers, records.values(), strict=True)
    ]
    return pd.DataFrame(rows)


def results(study: str) -> pd.DataFrame:
    """Return the committed rows of a study."""
    return pd.read_csv(HERE / "results" / f"screen_{study}.csv")


def discoveries(rows: pd.DataFrame) -> dict[str, float]:
    """Count what a screen finds at the declared rate, and how much of it is false."""
    share = share_of(rows["prob_hormesis"].to_numpy(), ASKED.prior_hormesis)
    chosen = hf.posterior_fdr(share.probabilities, level=LEVEL)["selected"].values
    hormetic = rows["hormetic"].to_numpy(dtype=bool)
    return {
        "curves": len(rows),
        "hormetic": int(hormetic.sum()),
        "share": share.mean,
        "safe": share.safe,
        "selected": int(chosen.sum()),
        "false": int((chosen & ~hormetic).sum()),
        "false_share": float((chosen & ~hormetic).sum() / max(chosen.sum(), 1)),
        "power": float(chosen[hormetic].mean()) if hormetic.any() else np.nan,
    }


def table() -> str:
    """Return the table of the README."""
    lines = [
        "| curves | hormetic | share, posterior mean | safe share | selected at 5 % | false | power |",
        "|---|---|---|---|---|---|---|",
    ]
    for study in STUDIES:
        found = discoveries(results(study))
        false = f"{found['false']} ({found['false_share']:.1%})" if found["selected"] else "0"
        power = f"{found['power']:.0%}" if found["hormetic"] else ""
        shares = f"{found['share']:.1%} | {found['safe']:.2%}"
        lines.append(
            f"| {found['curves']:,} | {found['hormetic']} | {shares} | {found['selected']} | {false} | {power} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, piece by piece."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", type=int, default=5000)
    asked = parser.parse_args()
    for study in STUDIES:
        path = HERE / "results" / f"screen_{study}.csv"
        done = len(results(study)) if path.exists() else 0
        for start in range(done, asked.curves, PIECE):
            part = run(study, range(start, min(start + PIECE, asked.curves)))
            part.to_csv(path, mode="a", header=not path.exists(), index=False)
            print(study, start + len(part), flush=True)
        print(discoveries(results(study)))
    print(table())


if __name__ == "__main__":
    main()
