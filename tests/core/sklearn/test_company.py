"""Estimators in scikit-learn's company: pipelines, searches, tables, processes; and caelab's analyses on their runs."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import caelab
from caelab.sklearn import Autoencoder, ContractiveAutoencoder, DenoisingAutoencoder

X, y = (each[:200] for each in load_digits(return_X_y=True))
FEW = {"hidden": 8, "epochs": 3, "batch_size": 20, "random_state": 0}


def test_in_a_pipeline_its_codes_are_classified():
    steps = make_pipeline(
        MinMaxScaler(), ContractiveAutoencoder(hidden=30, epochs=30, batch_size=10), LogisticRegression(max_iter=500)
    )
    assert steps.fit(X, y).score(X, y) > 0.8


def test_a_search_over_the_weight_in_other_processes_finds_what_this_one_trains():
    search = GridSearchCV(ContractiveAutoencoder(**FEW), {"weight": [0.01, 100.0]}, cv=2, n_jobs=2)
    search.fit(StandardScaler().fit_transform(X))
    alone = clone(search.best_estimator_).fit(StandardScaler().fit_transform(X))
    assert search.best_params_ == {"weight": 0.01}  # the least penalty reconstructs best
    assert np.array_equal(alone.components_, search.best_estimator_.components_)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_tables_keep_their_index_and_get_names():
    table = pd.DataFrame(X / 16, columns=[f"pixel {k}" for k in range(64)], index=range(1000, 1200))
    estimator = DenoisingAutoencoder(**FEW).set_output(transform="pandas")
    codes = estimator.fit_transform(table)
    assert [*codes.columns] == [f"denoisingautoencoder{k}" for k in range(8)] == [*estimator.get_feature_names_out()]
    assert codes.index.equals(table.index)
    assert [*estimator.feature_names_in_] == [*table.columns]
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.transform(table.iloc[:, ::-1])
    assert estimator.inverse_transform(codes).shape == table.shape


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_codes_have_the_type_of_the_inputs(dtype):
    estimator = Autoencoder(**FEW).fit(X.astype(dtype))
    codes = estimator.transform(X.astype(dtype))
    assert codes.dtype == estimator.inverse_transform(codes).dtype == dtype


def test_analyses_work_on_the_run_and_labels_are_kept():
    estimator = Autoencoder(**FEW, image_shape=(8, 8)).fit(X / 16, np.array([f"digit {each}" for each in y]))
    assert estimator.run_.dataset.label_names == tuple(f"digit {each}" for each in range(10))
    assert estimator.run_.dataset.image_shape == (8, 8)
    for name in ("jacobian_norm", "filters"):
        assert len(estimator.run_.analyse(name))
    assert Autoencoder(**FEW).fit(X, y / 2).run_.dataset.labels is None


def test_the_names_are_found_late_and_misspelt_ones_are_corrected():
    assert caelab.sklearn.ContractiveAutoencoder is ContractiveAutoencoder
    with pytest.raises(AttributeError, match="did you mean 'ContractiveAutoencoder'"):
        caelab.sklearn.ContractveAutoencoder  # noqa: B018
    quick = "import sys, caelab; dir(caelab); print({'torch', 'sklearn', 'caelab.sklearn'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", quick], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
