"""Wrong options end in one sentence, before anything is trained."""

import pytest

from caelab import CaelabError
from caelab.runs.recipes import recipe_config

COUNTER_EXAMPLES = [
    ("contractive", "weight", -1),
    ("reconstruction-contractive", "weight", -0.5),
    ("higher-order-contractive", "weight", -1),
    ("higher-order-contractive", "sigma", 0),
    ("higher-order-contractive", "samples", 0),
    ("gaussian", "sigma", -0.1),
    ("gaussian", "sigma", 0),
    ("masking", "p", 1.5),
    ("masking", "p", -0.1),
    ("salt-and-pepper", "p", 2),
    ("weight-decay", "weight", -0.01),
    ("sparse-kl", "weight", -3),
    ("sparse-kl", "target", 0),
    ("sparse-kl", "target", 1),
    ("sparse-l1", "weight", -1),
    ("code-orthogonality", "weight", -1),
    ("decoder-jacobian", "weight", -1),
    ("finite-contraction", "weight", -1),
    ("finite-contraction", "radius", 0),
    ("finite-contraction", "radius", ".inf"),
    ("finite-contraction", "samples", 0),
    ("group-sparsity", "weight", -1),
    ("group-sparsity", "size", 0),
    ("jacobian-sparsity", "weight", -1),
    ("jacobian-sparsity", "rows", 0),
    ("saturating", "weight", -1),
    ("tangent-propagation", "weight", -1),
    ("tangent-propagation", "tangents", 3),
    ("top-k", "weight", -1),
    ("top-k", "k", 0),
    ("top-k", "k", 1.5),
    ("contractive", "weight", "much"),
    ("contractive", "weight", ".inf"),
    ("contractive", "weight", ".nan"),
]

COMPLETE = {
    "finite-contraction": ["weight=1", "radius=1", "samples=2"],
    "group-sparsity": ["weight=1", "size=2"],
    "higher-order-contractive": ["weight=1", "sigma=0.1", "samples=2"],
    "jacobian-sparsity": ["weight=1", "rows=3"],
    "sparse-kl": ["weight=1", "target=0.1"],
    "tangent-propagation": ["weight=1", "tangents=caelab_regularizers.tangent_propagation:shifts"],
    "top-k": ["weight=1", "k=3"],
}


@pytest.mark.parametrize(("name", "option", "value"), COUNTER_EXAMPLES, ids=str)
def test_an_impossible_value_is_named_with_its_option(name, option, value):
    settings = [f"{name}.{setting}" for setting in COMPLETE.get(name, [])]
    with pytest.raises(CaelabError, match=rf"^{name}\.{option}: .* but .* came$"):
        recipe_config("ae", [*settings, f"{name}.{option}={value}"])


@pytest.mark.parametrize("name", sorted({name for name, _, _ in COUNTER_EXAMPLES}))
def test_a_misspelt_option_is_named_with_the_nearest(name):
    with pytest.raises(CaelabError, match=f"{name}: unknown option"):
        recipe_config("ae", [f"{name}.wieght=1"])


def test_a_wrong_step_of_a_chain_is_refused_with_the_config():
    with pytest.raises(CaelabError, match=r"corruption-chain.steps.1.p: .* but 3 came"):
        recipe_config("ae", ["corruption-chain.steps=[{kind: gaussian, sigma: 0.1}, {kind: masking, p: 3}]"])


def test_the_config_of_a_chain_goes_through_yaml_unchanged(tmp_path):
    from caelab.runs.config import load_config

    config = recipe_config("ae", ["corruption-chain.steps=[{kind: gaussian, sigma: 0.1}, {kind: masking, p: 0.3}]"])
    (tmp_path / "run.yaml").write_text(config.to_yaml())
    assert load_config(tmp_path / "run.yaml") == config
