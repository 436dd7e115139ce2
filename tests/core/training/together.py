"""What one of several processes does in the tests of data-parallel training: it trains the runs of a list, in turn."""

import json
import sys
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed, nn

import caelab
from caelab.runs.recipes import recipe_config

SMALL = ["model.hidden=[12]", "training.epochs=3", "dataset.splits=[100,50,50]"]
DIGITS = {"dataset": {"kind": "digits"}}
FINITE = "regularizers.finite={kind: finite-contraction, weight: 0.1, radius: 0.1, samples: 2}"
RUNS = {  # 100 examples: batches of 33, the last of one, which the second process has none of
    "ae": ("ae", ["training.batch_size=33"]),
    "cae": ("cae", ["training.batch_size=33"]),
    "cae-h": ("cae-h", ["training.batch_size=33"]),
    "finite": ("ae", ["training.batch_size=33", FINITE]),
    "dae-g": ("dae-g", ["training.batch_size=33"]),
    "even": ("cae", ["training.batch_size=50", "training.optimizer=sgd", "training.learning_rate=0.01"]),
    "deep": ("cae", ["training.batch_size=33", "model.hidden=[16,8]"]),
    "greedy": ("cae", ["training.batch_size=33", "model.hidden=[16,8]", "pretraining=greedy"]),
    "projected": ("ae", ["training.batch_size=33", "regularizers.decoder={kind: projected, weight: 0.1}"]),
    "squares": ("ae", ["training.batch_size=33", "training.reconstruction=squared-error"]),
    "resampled": ("ae", ["training.batch_size=33", "resample-dead={every: 1, threshold: 1000, scale: 0.2}"]),
    "early": ("ae", ["training.batch_size=33", "training.patience=1", "training.learning_rate=0.3"]),
}
REFUSED = {
    "over-batch": ("ae", ["regularizers.mine={kind: over-batch, weight: 0.1}"]),
    "drawing": ("ae", ["regularizers.mine={kind: drawing, weight: 0.1}"]),
}
PLUGIN = Path(__file__).with_name("shared_plugins.py")


def config(name):
    recipe, settings = {**RUNS, **REFUSED}[name]
    return recipe_config(recipe, [*SMALL, *settings], label=name, **DIGITS)


class Chain(nn.Module):
    """A model of the user's with a layer in between."""

    def __init__(self, between):
        super().__init__()
        torch.manual_seed(0)
        self.encode = nn.Sequential(nn.Linear(64, 8), between, nn.Sigmoid())
        self.decode = nn.Sequential(nn.Linear(8, 64), nn.Sigmoid())


def answer(train):
    try:
        return train().record["processes"]
    except caelab.CaelabError as error:
        return str(error.__cause__ or error)


def main():
    rank, size, out, store = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=size, timeout=timedelta(seconds=300)
    )
    from caelab.registry.catalogue import catalogue

    catalogue().add_file(PLUGIN)
    said = {name: answer(lambda name=name: caelab.train(config(name), out=out)) for name in (*RUNS, *REFUSED)}
    for name, between in {"dropout": nn.Dropout(0.5), "normalised": nn.BatchNorm1d(8)}.items():
        given = {"model": Chain(between)}
        said[name] = answer(lambda given=given: caelab.train(config("squares"), **given))
    said["alike"] = answer(lambda: caelab.train(config("ae"), seed=rank))
    again = caelab.train(config("cae"), out=out)
    said["again"] = again.path.name
    (out / f"{rank}.json").write_text(json.dumps(said))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
