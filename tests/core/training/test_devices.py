"""Recipes on every device there is: the same losses as on the processor where nothing is drawn, and all else trains."""

import math

import pytest
from torch.testing import assert_close

from caelab import load_run, train
from tests.devices import DEVICES

DRAWN = {"dae-b", "dae-g", "cae-h"}
TOLERANCE = {"sae-pair": 1e-2, "jsae": 1e-2}  # another unit among the largest, by a last digit, is another code
RECIPES = ["ae", "cae", "ae-wd", "rcae", "sae-pair", "jsae", *sorted(DRAWN)]


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


@pytest.mark.parametrize("recipe", RECIPES)
def test_it_trains(small, tmp_path, recipe, device):
    run = train(small(recipe, f"training.device={device}"), out=tmp_path)
    assert all(math.isfinite(value) for metrics in run.metrics for value in metrics.values())
    assert run.metrics[-1]["valid_reconstruction"] < run.metrics[0]["valid_reconstruction"]
    codes = load_run(run.path).encode(run.dataset.valid_inputs)
    assert codes.device.type == "cpu"  # wherever it was trained, it can be read anywhere
    if recipe not in DRAWN:
        expected = train(small(recipe)).metrics[-1]["valid_reconstruction"]
        assert_close(run.metrics[-1]["valid_reconstruction"], expected, rtol=TOLERANCE.get(recipe, 1e-3), atol=1e-5)
