"""What quantities, verdicts and flags of a dose-response mean, each written once."""

QUANTITIES = {
    "peak_dose": ("dose", "Dose of the highest mean benefit."),
    "peak_response": ("response", "Mean response at the peak dose."),
    "peak_stimulation": ("1", "Benefit at the peak dose, relative to the control response."),
    "zero_equivalent_dose": ("dose", "Dose beyond the peak at which the mean response is back at the control."),
    "half_effect_dose": ("dose", "Dose at which half of the span to the asymptote is gone (a rise: is reached)."),
    "window_lower": ("dose", "Lowest dose with the benefit asked for."),
    "window_upper": ("dose", "Highest dose with the benefit asked for; infinite where it never falls back."),
}

VERDICTS = {
    "WINDOW": "There is a window: at least one dose reaches the level.",
    "UNLOCATED": "A window probably exists, but no single dose reaches the level: its place is uncertain.",
    "UNLIKELY": "A window is unlikely.",
    "UNDETERMINED": "The data do not decide whether there is a window.",
    "SICK": "The computation stayed unhealthy: no statement is made.",
}

FLAGS = {
    "LEFT_OPEN": (
        "More than one draw in ten puts the lower edge of the window below the lowest positive dose that was tested: "
        "on that side the window is extrapolated."
    ),
    "RIGHT_OPEN": (
        "More than one draw in ten puts the upper edge of the window above the highest dose that was tested, or has no "
        "upper edge at all: on that side the window is extrapolated."
    ),
    "BETWEEN_DOSES": "No tested dose lies inside the window: it rests on the shape of the curves between doses.",
    "PEAK_IN_GAP": "The central 80 % of the peak dose contain no tested dose: a dose there would tell most.",
    "NO_CONTROL": (
        "There is no control group: the response without the drug is extrapolated, and with it every benefit."
    ),
    "SPLIT": "The doses that reach the level form several separate intervals.",
    "NOT_MICRO": "The best dose is above a fifth of the standard dose: it is not a micro-dose.",
    "BLINDING_UNCHECKED": (
        "The design has a placebo but no record of which treatment was guessed: expectation may explain part of the "
        "benefit."
    ),
}
