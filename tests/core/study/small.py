"""A study of four runs of a second each, and the weights that it left."""

from pathlib import Path

from caelab.runs.recipes import recipe_config

SETTINGS = ["model.hidden=[16]", "training.epochs=2", "dataset.splits=[300,100,100]"]
CONFIGS = [recipe_config(name, SETTINGS, dataset={"kind": "digits"}).as_dict() for name in ("ae", "cae")]
STUDY = {"configs": CONFIGS, "seeds": 2, "analyses": ["jacobian_norm"]}


def weights(folder):
    """The bytes of the weights of every run, by the run's name."""
    return {file.parent.name: file.read_bytes() for file in Path(folder).glob("[!.]*/weights.safetensors")}
