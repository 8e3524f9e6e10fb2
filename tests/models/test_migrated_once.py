"""No run of the suite meets what an earlier one has left."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.db import connection


@pytest.mark.skipif(connection.vendor != "sqlite", reason="its files are the subject")
@pytest.mark.django_db
def test_the_database_is_in_a_directory_of_this_run(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A log that lay beside a database of the same name would become part of it."""
    name = Path(connection.settings_dict["NAME"])
    assert name.is_relative_to(tmp_path_factory.getbasetemp())
