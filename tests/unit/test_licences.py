"""What the default install may bring."""

from __future__ import annotations

import pytest

from tests.licences import Package, default_install


def test_nothing_in_the_default_install_is_gpl_or_non_commercial():
    packages = default_install()
    assert {"torch", "sam2", "groundingdino-py", "numpy"} <= {package.name for package in packages}
    assert [(p.name, p.refused) for p in packages if p.refused] == []


@pytest.mark.parametrize(
    ("licence", "libraries"),
    [
        ("GPL-3.0-or-later", ()),
        ("CC-BY-NC-4.0", ()),
        ("S-Lab License, non-commercial", ()),
        ("BSD-3-Clause", ("libx264", "libavcodec")),
    ],
)
def test_what_would_be_refused(licence, libraries):
    assert Package("x", "1", licence, libraries).refused


def test_lgpl_and_the_compiler_runtime_are_fine():
    assert not Package("x", "1", "LGPL-2.1-or-later", ("libavcodec", "libgfortran")).refused
