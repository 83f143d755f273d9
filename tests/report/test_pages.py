"""Markers in the README: only what stands between them changes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import error_of
from utils.report.pages import render_pages, replace_blocks

TEXT = """# Title

<!-- begin: a.table -->
old
<!-- end: a.table -->

by hand

<!-- begin: b.table -->
never rendered
<!-- end: b.table -->
"""
ANY_LINES = st.text("aσ1|*-> \t\n\x0b\x85\u2028", max_size=60)  # of what may count as a line's end


def test_a_block_is_replaced_and_everything_else_stays() -> None:
    assert replace_blocks(TEXT, {"a.table": "| new |"}) == TEXT.replace("old", "\n| new |\n")


@given(first=ANY_LINES, second=ANY_LINES)
def test_rendering_twice_changes_nothing_more(first: str, second: str) -> None:
    blocks = {"b.table": second, "a.table": first}
    once = replace_blocks(TEXT, blocks)
    assert replace_blocks(once, blocks) == once
    assert "by hand" in once


def test_an_empty_block_takes_what_stood_there_away() -> None:
    text = "# Title\n\n<!-- begin: a -->\n\n8 %\n\n<!-- end: a -->\n"
    empty = "# Title\n\n<!-- begin: a -->\n<!-- end: a -->\n"
    assert replace_blocks(text, {"a": ""}) == replace_blocks(empty, {"a": ""}) == empty
    assert replace_blocks(empty, {"a": "8 %"}) == text


def test_later_text_replaces_earlier_text_of_any_length() -> None:
    once = replace_blocks(TEXT, {"a.table": "long\n" * 50, "b.table": "x"})
    again = replace_blocks(once, {"a.table": "y", "b.table": "z"})
    assert again == TEXT.replace("old", "\ny\n").replace("never rendered", "\nz\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            TEXT.replace("<!-- end: a.table -->\n", ""),
            "README.md: '<!-- begin: b.table -->' inside block a.table; put "
            "'<!-- end: a.table -->' before it",
        ),
        (
            TEXT.replace("<!-- end: b.table -->\n", ""),
            "README.md: '<!-- begin: b.table -->' without '<!-- end: b.table -->'; add the line",
        ),
        (
            TEXT.replace("<!-- begin: b.table -->\n", ""),
            "README.md: '<!-- end: b.table -->' without '<!-- begin: b.table -->' before it; "
            "add or remove the line",
        ),
        (TEXT + TEXT, "README.md: '<!-- begin: a.table -->' stands there twice; remove one"),
    ],
    ids=["not closed", "not closed at the end", "not opened", "twice"],
)
def test_wrong_markers_are_named(text: str, message: str) -> None:
    assert error_of(lambda: replace_blocks(text, {"a.table": "new"})) == message


def test_each_block_goes_to_the_page_that_has_its_markers(tmp_path: Path) -> None:
    readme, page = tmp_path / "README.md", tmp_path / "docs" / "c.md"
    page.parent.mkdir()
    readme.write_text(TEXT, encoding="utf-8")
    page.write_text(TEXT.replace("a.table", "c.table").replace("b.table", "d.table"))
    render_pages(tmp_path, {"a.table": "78.4 ± 0.2", "c.table": "new"})
    assert readme.read_text(encoding="utf-8") == TEXT.replace("old", "\n78.4 ± 0.2\n")
    assert "\n\nnew\n\n<!-- end: c.table" in page.read_text(encoding="utf-8")
    assert sorted(tmp_path.rglob("*.*")) == [readme, page]  # no temporary file


def test_a_block_without_a_page_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(TEXT, encoding="utf-8")
    message = error_of(lambda: render_pages(tmp_path, {"a.table": "new", "c.table": "new"}))
    assert "no page has a marker '<!-- begin: c.table -->'; add it" in message
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == TEXT


def test_a_missing_page_is_an_error(tmp_path: Path) -> None:
    assert "README.md: cannot be read" in error_of(lambda: render_pages(tmp_path, {}))
