"""A claim: contraction has a price, which is paid in reconstruction."""

from caelab import Contest, finding, hookimpl


def price_of_contraction(numbers):
    """The contractive auto-encoder reconstructs worse than the one without a penalty."""
    errors = {recipe: numbers.of(recipe, "reconstruction error") for recipe in ("ae", "cae")}
    contests = [Contest(larger=errors["cae"], smaller=errors["ae"])]
    statement = "Contraction has a price: the CAE reconstructs worse than AE."
    return finding(statement, "My notebook, page 7", "Reconstruction error", contests)


@hookimpl
def register_claims(register):
    register("price-of-contraction", price_of_contraction)
