"""How far apart two models put the same examples, after the best rotation of one code onto the other."""

from itertools import permutations

import pandas as pd
import seaborn
import torch
from caelab.figures import display_name, panels

from caelab import Column, NotApplicable, hookimpl


class CodeDistance:
    title = "Distance between codes"
    caption = (
        "The share of a code that no rotation and scaling of another's explains; on the diagonal, of another seed's."
    )
    columns = (Column(name="distance to other models", better="smaller", table="Codes"),)

    def compare(self, runs, streams, *, examples: int = 200):
        if len(runs) < 2:
            raise NotApplicable("codes are compared between runs, but there is one run only")
        inputs = runs[0].dataset.valid_inputs[:examples]
        codes = {(run.label, run.seed): unit(run.encode(inputs).double()) for run in runs}
        rows = [(*one, *other, distance(codes[one], codes[other])) for one, other in permutations(codes, 2)]
        return pd.DataFrame(rows, columns=["model", "seed", "other model", "other seed", "distance"])

    def draw(self, table, axes=None):
        found = panels(axes, 1, 1, of="code_distance", size=(3.25, 2.4))
        means = table.groupby(["model", "other model"], sort=False)["distance"].mean().unstack()
        named = means.rename(index=display_name, columns=display_name)
        seaborn.heatmap(named, annot=True, fmt=".3f", cmap="Blues", ax=found[0], cbar_kws={"label": "distance"})
        return found.finished()

    def summarise(self, table):
        others = table[table["other model"] != table["model"]]
        return {"distance to other models": others["distance"].mean()}


def unit(code):
    """The code without its mean, of Frobenius norm 1, shape (examples, units)."""
    centred = code - code.mean(dim=0)
    return centred / centred.norm()


def distance(first, second):
    """1 - ‖Aᵀ B‖_*², the least share of A that s B R leaves over rotations R and scales s (orthogonal Procrustes)."""
    return 1 - float(torch.linalg.svdvals(first.T @ second).sum()) ** 2


@hookimpl
def register_analyses(register):
    register("code_distance", CodeDistance())
