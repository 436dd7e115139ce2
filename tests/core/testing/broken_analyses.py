"""Analyses that are each broken in one way, with the rows that must say so."""

import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot
from matplotlib.figure import Figure

from caelab import CaelabError, Column


class Sound:
    """Nothing wrong with this one."""

    title = "Activations"
    caption = "How active each unit is."
    columns = (Column(name="mean activation", better="smaller"),)

    def measure(self, run, streams):
        code = run.encode(run.dataset.valid_inputs)
        noise = torch.rand(code.shape[1], generator=streams["mine"])
        return pd.DataFrame({"unit": range(code.shape[1]), "activation": (code.mean(dim=0) + 0 * noise).numpy()})

    def draw(self, table):
        figure = Figure()
        figure.subplots().plot(table["activation"])
        return figure

    def summarise(self, table):
        return {"mean activation": table["activation"].mean()}

    def preview(self, table):
        return np.array([[0.0, min(table["activation"].sum(), 1.0)]])


class NoDraw:
    measure = Sound.measure


class Raises(Sound):
    def measure(self, run, streams):
        raise ValueError("oh")


class Refuses(Sound):
    def measure(self, run, streams):
        raise CaelabError("no")


class Empty(Sound):
    def measure(self, run, streams):
        return pd.DataFrame({"unit": [], "activation": []})


class Numbered(Sound):
    def measure(self, run, streams):
        return super().measure(run, streams).assign(activation=1.0).rename(columns={"unit": 0})


class TakesColumn(Sound):
    def measure(self, run, streams):
        return super().measure(run, streams).assign(seed=7)


class Unstorable(Sound):
    def measure(self, run, streams):
        return super().measure(run, streams).assign(cell=[1 + 1j * place for place in range(6)])


class Mixed(Sound):
    def measure(self, run, streams):
        return super().measure(run, streams).assign(cell=[1, "a", 2, "b", 3, "c"])


class GlobalRandom(Sound):
    def measure(self, run, streams):
        torch.rand(1)
        return super().measure(run, streams)


class Unseeded(Sound):
    def measure(self, run, streams):
        noise = torch.rand(1, generator=torch.Generator().manual_seed(torch.Generator().seed()))
        return super().measure(run, streams).assign(noise=float(noise))


class ChangesMode(Sound):
    def measure(self, run, streams):
        run.model.train()
        return super().measure(run, streams)


class ChangesWeights(Sound):
    def measure(self, run, streams):
        with torch.no_grad():
            next(run.model.parameters()).mul_(1.001)
        return super().measure(run, streams)


class NotAFigure(Sound):
    def draw(self, table):
        return Figure().subplots()


class OneRunOnly(Sound):
    def draw(self, table):
        return super().draw(table) if table["seed"].nunique() == 1 else None


class ForgetsAxes(Sound):
    def draw(self, table, axes=None):
        return super().draw(table)


class ChangesTable(Sound):
    def draw(self, table):
        table["activation"] *= 2
        return super().draw(table)


class UsesPyplot(Sound):
    def draw(self, table):
        figure, axes = pyplot.subplots()
        axes.plot(table["activation"])
        return figure


class ChangesStyle(Sound):
    def draw(self, table):
        pyplot.rcParams["lines.linewidth"] += 0.5
        return super().draw(table)


class LooksAtModel(Sound):
    def measure(self, run, streams):
        self.run = run
        return super().measure(run, streams)

    def draw(self, table):
        figure = Figure()
        figure.subplots().plot(self.run.encode(self.run.dataset.valid_inputs).mean(dim=0))
        return figure


class SummarisesWords(Sound):
    def summarise(self, table):
        return {"mean activation": "high"}


class SummarisesAColumn(Sound):
    def summarise(self, table):
        return table["activation"]


class TitledByANumber(Sound):
    title = 3


class DescribesByName(Sound):
    columns = ("mean activation",)


class DescribesTwice(Sound):
    columns = (Column(name="mean activation"), Column(name="mean activation"))


class DescribesWhatIsNotThere(Sound):
    columns = (Column(name="mean activaton"),)


class PreviewsInBytes(Sound):
    def preview(self, table):
        return 255 * super().preview(table)


class PreviewsWords(Sound):
    def preview(self, table):
        return [["dark", "bright"]]


class PreviewsOnTheTable(Sound):
    def preview(self, table):
        table["activation"] = table["activation"].clip(0, 0.5)
        return super().preview(table)


DRAWING = {"drawing one run leaves all else alone", "drawing many runs leaves all else alone"}

ANALYSES = {
    NoDraw: {"parts"},
    Raises: {"runs"},
    Refuses: {"runs"},
    Empty: {"table"},
    Numbered: {"table", "runs"},
    TakesColumn: {"table", "runs"},
    Unstorable: {"stored and read back", "runs"},
    Mixed: {"stored and read back", "runs"},
    GlobalRandom: {"global random state"},
    Unseeded: {"same streams, same table"},
    ChangesMode: {"run left alone"},
    ChangesWeights: {"run left alone", "same streams, same table"},
    NotAFigure: {"figure of one run", "figure of many runs", "runs"},
    OneRunOnly: {"figure of many runs"},
    ForgetsAxes: {"drawing onto given axes"},
    ChangesTable: DRAWING | {"drawn from the table alone"},
    UsesPyplot: DRAWING,
    ChangesStyle: DRAWING | {"drawn from the table alone"},
    LooksAtModel: {"drawn from the table alone"},
    SummarisesWords: {"summary"},
    SummarisesAColumn: {"summary"},
    TitledByANumber: {"title and caption"},
    DescribesByName: {"columns", "runs"},
    DescribesTwice: {"columns"},
    DescribesWhatIsNotThere: {"columns and numbers"},
    PreviewsInBytes: {"preview"},
    PreviewsWords: {"preview"},
    PreviewsOnTheTable: {"preview"},
}
