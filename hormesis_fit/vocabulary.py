"""What the quantities of a dose-response mean: unit and definition, each written once."""

QUANTITIES = {
    "peak_dose": ("dose", "Dose of the highest mean benefit."),
    "peak_response": ("response", "Mean response at the peak dose."),
    "peak_stimulation": ("1", "Benefit at the peak dose, relative to the control response."),
    "zero_equivalent_dose": ("dose", "Dose beyond the peak at which the mean response is back at the control."),
    "half_effect_dose": ("dose", "Dose at which half of the span to the asymptote is gone (a rise: is reached)."),
    "window_lower": ("dose", "Lowest dose with the benefit asked for."),
    "window_upper": ("dose", "Highest dose with the benefit asked for; infinite where it never falls back."),
}
