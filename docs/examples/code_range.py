"""Share of the activation's range that each unit of the code uses on validation examples."""

import pandas as pd
from caelab.figures import panels

from caelab import Column, hookimpl


class CodeRange:
    title = "Range of the code"
    caption = "How far each unit moves over the validation examples. A unit near 0 carries no information."
    columns = (Column(name="mean code range", heading="mean range\nof a unit (%)", factor=100, better="larger"),)

    def measure(self, run, streams, *, quantile: float = 0.05):
        code = run.encode(run.dataset.valid_inputs)  # (example, unit)
        spread = code.quantile(1 - quantile, dim=0) - code.quantile(quantile, dim=0)
        return pd.DataFrame({"unit": range(len(spread)), "range": spread.numpy()})

    def draw(self, table, axes=None):
        found = panels(axes, 1, 1, of="code_range", size=(3.25, 2.4))
        (axes,) = found
        for model, part in table.groupby("model", sort=False):
            axes.plot(part["range"].sort_values(ascending=False).to_numpy(), label=model)
        axes.set(xlabel="unit, sorted", ylabel="range of the code")
        axes.legend()
        return found.finished()

    def summarise(self, table):
        return {"mean code range": table["range"].mean()}


@hookimpl
def register_analyses(register):
    register("code_range", CodeRange())
