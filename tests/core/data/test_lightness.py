import subprocess
import sys

import pytest

import caelab.data


def test_every_name_of_the_package_is_there():
    for name in caelab.data.__all__:
        assert getattr(caelab.data, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = caelab.data.nothing


@pytest.mark.parametrize("statement", ["import caelab.data", "from caelab.data import describe; describe()"])
def test_offering_and_listing_import_nothing_heavy(statement):
    heavy = "{'torch', 'pandas', 'sklearn', 'scipy', 'matplotlib'}"
    script = f"import sys; {statement}; print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
