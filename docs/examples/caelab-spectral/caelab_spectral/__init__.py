"""The largest singular value of the encoder's Jacobian, as a penalty, two analyses, a claim, and a recipe.

What they are made of is imported when it is first used.
"""

from caelab import Look, Recipe, hookimpl


@hookimpl
def register_regularizers(register):
    """The penalty: ``--set spectral.weight=5``."""
    register("spectral", "caelab_spectral.penalty:Spectral")


@hookimpl
def register_analyses(register):
    """Two measurements: ``--analyses spectral_norm,spectral_agreement``."""
    register("spectral_norm", "caelab_spectral.analysis")
    register("spectral_agreement", "caelab_spectral.agreement")


@hookimpl
def register_claims(register):
    """What the penalty is for, to be supported or contradicted by every comparison with the two models."""
    register("spectral-lowers-the-top", "caelab_spectral.claims:lowers_the_top")


@hookimpl
def register_recipes(register):
    """An auto-encoder with the penalty, to be compared with others: ``caelab compare spectral-ae cae``."""
    recipe = Recipe(
        "auto-encoder contracted along its most sensitive direction",
        {"regularizers": {"spectral": {"weight": 10.0}}},
        tune={"spectral.weight": [3.0, 10.0, 30.0]},
        name="Spectral AE",
        look=Look("#117733", "h", "--"),
    )
    register("spectral-ae", recipe)
