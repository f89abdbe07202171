"""Seconds of what `make fuzz` does for ten minutes: dirty files, the same ones each time."""

from __future__ import annotations

from pathlib import Path

import pytest
from dirty_files import SORTS, look_through
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = {
    "lines, documents, tables, text": 500,
    "other encodings": 200,
    "packed": 200,
    "parquet and arrow": 200,
    "anything under any name": 200,
}


@pytest.mark.parametrize("sort", SORTS)
def test_no_dirty_file_breaks_a_reader(sort: str, tmp_path: Path) -> None:
    @given(data=st.data())
    @settings(
        max_examples=EXAMPLES[sort], deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def thrown(data: st.DataObject) -> None:
        name, content = data.draw(SORTS[sort])
        path = tmp_path / name
        path.write_bytes(content)
        look_through(path)

    thrown()
