"""Markers in the README: only what stands between them changes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.errors import UserError
from utils.report.readme import replace_blocks
from utils.report.render import render_readme

TEXT = """# Title

<!-- begin: a.table -->
old
<!-- end: a.table -->

by hand

<!-- begin: b.table -->
never rendered
<!-- end: b.table -->
"""
ANY_LINES = st.text(st.characters(codec="utf-8", exclude_characters="\r<"), max_size=60)


def test_a_block_is_replaced_and_everything_else_stays() -> None:
    assert replace_blocks(TEXT, {"a.table": "| new |"}) == TEXT.replace("old", "\n| new |\n")


@given(first=ANY_LINES, second=ANY_LINES)
def test_rendering_twice_changes_nothing_more(first: str, second: str) -> None:
    blocks = {"b.table": second, "a.table": first}
    once = replace_blocks(TEXT, blocks)
    assert replace_blocks(once, blocks) == once
    assert "by hand" in once


def test_later_text_replaces_earlier_text_of_any_length() -> None:
    once = replace_blocks(TEXT, {"a.table": "long\n" * 50, "b.table": "x"})
    again = replace_blocks(once, {"a.table": "y", "b.table": "z"})
    assert again == TEXT.replace("old", "\ny\n").replace("never rendered", "\nz\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            TEXT.replace("a.table", "c.table"),
            "README.md: no marker '<!-- begin: a.table -->'; add it, and '<!-- end: a.table -->', "
            "where that text belongs (there are: c.table, b.table)",
        ),
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
        (
            TEXT + TEXT,
            "README.md: '<!-- begin: a.table -->' stands there twice; remove one",
        ),
    ],
    ids=["unknown", "not closed", "not closed at the end", "not opened", "twice"],
)
def test_wrong_markers_are_named(text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        replace_blocks(text, {"a.table": "new"})
    assert str(error.value) == message


def test_the_file_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(TEXT, encoding="utf-8")
    render_readme(path, {"a.table": "78.4 ± 0.2"})
    assert path.read_text(encoding="utf-8") == TEXT.replace("old", "\n78.4 ± 0.2\n")
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_readme_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"README\.md: cannot be read"):
        render_readme(tmp_path / "README.md", {})
