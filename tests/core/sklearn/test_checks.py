"""All four estimators, as they are made without arguments, pass every check of scikit-learn's."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import caelab.sklearn

ESTIMATORS = [getattr(caelab.sklearn, name) for name in dir(caelab.sklearn)]


def test_there_are_four():
    assert [kind.__name__ for kind in ESTIMATORS] == [
        "Autoencoder",
        "ContractiveAutoencoder",
        "DenoisingAutoencoder",
        "SparseAutoencoder",
    ]


@parametrize_with_checks([kind() for kind in ESTIMATORS])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_every_check_of_scikit_learn_passes(estimator, check):
    check(estimator)
