"""Bayesian hormetic dose-response curves and the posterior of the optimal micro-dose window."""

from importlib import import_module
from typing import Any

_WHERE = {
    "AVERAGE": "curves",
    "CURVES": "curves",
    "CURVE_SETS": "curves",
    "Curve": "curves",
    "DRIFTS": "drift",
    "Endpoint": "inference",
    "FAMILIES": "families",
    "Harm": "harms",
    "OneCompartment": "exposure",
    "Prior": "parameter",
    "Regimen": "dosing",
    "TwoCompartment": "exposure",
    "add_subject": "personal",
    "assurance": "adequacy",
    "bayes_factors": "hypotheses",
    "benchmark_table": "derived",
    "build_model": "model",
    "curve_windows": "sensitivity",
    "derived_quantities": "derived",
    "design_adequacy": "adequacy",
    "dose_interval": "schedules",
    "drift_identifiability": "identifiability",
    "elicit": "elicitation",
    "fit": "inference",
    "leave_one_dose_out": "hypotheses",
    "list_datasets": "datasets",
    "load_dataset": "datasets",
    "next_doses": "planning",
    "optimal_design": "designs",
    "personal_gain": "personal",
    "plot_dose_interval": "schedule_figures",
    "plot_exceedance": "dose_figures",
    "plot_harm": "people_figures",
    "plot_next": "plan_figures",
    "plot_predictive": "figures",
    "plot_prior": "prior_figures",
    "plot_quantities": "figures",
    "plot_small_multiples": "screen_figures",
    "plot_subjects": "people_figures",
    "plot_sensitivity": "time_figures",
    "plot_volcano": "screen_figures",
    "plot_weights": "figures",
    "plot_window": "dose_figures",
    "plot_window_ladder": "screen_figures",
    "plot_window_over_time": "time_figures",
    "posterior_fdr": "hypotheses",
    "power_scaling": "scaling",
    "predict": "prediction",
    "predictive_weights": "hypotheses",
    "prior_gate": "prior_figures",
    "prior_sensitivity": "sensitivity",
    "read_regimen": "dosing",
    "read_trial": "trial",
    "save_figures": "figures",
    "screen": "screening",
    "sensitivity_over_time": "timecourse",
    "sentence": "summary",
    "simulate_trial": "simulation",
    "stimulation_evidence": "hypotheses",
    "summary_table": "summary",
    "window": "windows",
    "window_over_time": "persistence",
    "window_record": "summary",
    "write_report": "report",
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
