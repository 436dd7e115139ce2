"""Share of the activation's range that each unit of the code uses on validation examples."""

import pandas as pd
from matplotlib.figure import Figure

from caelab import hookimpl


def measure(run, streams, *, quantile: float = 0.05):
    code = run.encode(run.dataset.valid_inputs)  # (example, unit)
    spread = code.quantile(1 - quantile, dim=0) - code.quantile(quantile, dim=0)
    return pd.DataFrame({"unit": range(len(spread)), "range": spread.numpy()})


def draw(table):
    figure = Figure(figsize=(3.25, 2.4), layout="constrained")
    axes = figure.subplots()
    for model, part in table.groupby("model", sort=False):
        axes.plot(part["range"].sort_values(ascending=False).to_numpy(), label=model)
    axes.set(xlabel="unit, sorted", ylabel="range of the code")
    axes.legend()
    return figure


def summarise(table):
    return {"mean code range": table["range"].mean()}


class CodeRange:
    measure = staticmethod(measure)
    draw = staticmethod(draw)
    summarise = staticmethod(summarise)


@hookimpl
def register_analyses(register):
    register("code_range", CodeRange)
