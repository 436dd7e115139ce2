"""The largest singular value of the encoder's Jacobian: penalised, measured, and claimed. Imported only when used."""

from caelab import hookimpl
from caelab.runs.recipes import Recipe


@hookimpl
def register_regularizers(register):
    """The penalty: ``--set spectral.weight=5``."""
    register("spectral", "caelab_spectral.penalty:Spectral")


@hookimpl
def register_analyses(register):
    """The measurement: ``--analyses spectral_norm``."""
    register("spectral_norm", "caelab_spectral.analysis")


@hookimpl
def register_claims(register):
    """What the penalty is for, to be supported or contradicted by every comparison with the two models."""
    register("spectral-lowers-the-top", "caelab_spectral.claims:lowers_the_top")


@hookimpl
def register_recipes(register):
    """An auto-encoder with the penalty, to be compared with others: ``caelab compare spectral-ae cae``."""
    about = "auto-encoder contracted along its most sensitive direction"
    tune = {"spectral.weight": [3.0, 10.0, 30.0]}
    register("spectral-ae", Recipe(about, {"regularizers": {"spectral": {"weight": 10.0}}}, tune))
