import pytest

from medkern.extras import optional_import


def test_a_package_that_is_there():
    assert optional_import("json.decoder", "io").JSONDecoder


def test_a_missing_package_names_the_extra():
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'medkern\[io\]'"):
        optional_import("not_a_package.part", "io")
