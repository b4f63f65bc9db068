"""Bayesian hormetic dose-response curves and the posterior of the optimal micro-dose window."""

from importlib import import_module
from typing import Any

_WHERE = {
    "AVERAGE": "curves",
    "CURVES": "curves",
    "CURVE_SETS": "curves",
    "Curve": "curves",
    "DRIFTS": "drift",
    "Endpoint": "inference.fitting",
    "FAMILIES": "families",
    "Harm": "windows.harms",
    "OneCompartment": "dosing.exposure",
    "Prior": "parameter",
    "Regimen": "dosing.regimen",
    "TwoCompartment": "dosing.exposure",
    "add_subject": "windows.personal",
    "assurance": "planning.adequacy",
    "bayes_factors": "checks.hypotheses",
    "benchmark_table": "windows.derived",
    "bibliography": "report.methods",
    "build_model": "model.building",
    "curve_windows": "checks.sensitivity",
    "derived_quantities": "windows.derived",
    "design_adequacy": "planning.adequacy",
    "dose_interval": "windows.schedules",
    "drift_identifiability": "checks.identifiability",
    "elicit": "checks.elicitation",
    "figure_data": "figures.palette",
    "fit": "inference.fitting",
    "leave_one_dose_out": "checks.predictive",
    "list_datasets": "trials.datasets",
    "load_dataset": "trials.datasets",
    "methods_text": "report.methods",
    "next_doses": "planning.next_rows",
    "next_times": "planning.next_times",
    "optimal_design": "planning.designs",
    "paper_tables": "report.papers",
    "personal_gain": "windows.personal",
    "plot_analysis": "figures.analysis",
    "plot_assurance": "figures.designs",
    "plot_curves": "figures.curves",
    "plot_design": "figures.designs",
    "plot_dose_interval": "figures.schedules",
    "plot_dose_time": "figures.trajectories",
    "plot_exceedance": "figures.dose",
    "plot_harm": "figures.people",
    "plot_next": "figures.plans",
    "plot_predictive": "figures.fits",
    "plot_prior": "figures.priors",
    "plot_prior_sensitivity": "figures.priors",
    "plot_quantities": "figures.fits",
    "plot_small_multiples": "figures.screens",
    "plot_subject_sensitivity": "figures.trajectories",
    "plot_subjects": "figures.people",
    "plot_sensitivity": "figures.time",
    "plot_volcano": "figures.screens",
    "plot_weights": "figures.fits",
    "plot_window": "figures.dose",
    "plot_window_ladder": "figures.screens",
    "plot_window_over_time": "figures.time",
    "posterior_fdr": "checks.hypotheses",
    "power_scaling": "checks.scaling",
    "predict": "windows.prediction",
    "predictive_weights": "checks.predictive",
    "prior_gate": "figures.priors",
    "prior_sensitivity": "checks.sensitivity",
    "read_concentrations": "dosing.concentrations",
    "read_regimen": "dosing.regimen",
    "read_trial": "trials.reading",
    "save_figures": "figures.fits",
    "screen": "screening.screens",
    "sensitivity_over_time": "windows.timecourse",
    "sentence": "windows.summary",
    "simulate_trial": "trials.simulation",
    "stimulation_evidence": "checks.hypotheses",
    "summary_table": "windows.summary",
    "window": "windows.windowing",
    "window_over_time": "windows.persistence",
    "window_record": "windows.summary",
    "write_paper": "report.typesetting",
    "write_report": "report.writing",
}
__all__ = [*_WHERE]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import hormesis_fit` alone costs next to nothing."""
    if name not in _WHERE:
        raise AttributeError(f"module 'hormesis_fit' has no attribute {name!r}")
    value = getattr(import_module(f"hormesis_fit.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
