"""Pages: the text between markers is rendered, everything else is written by hand.

<!-- begin: depth.table -->
whatever stands here is replaced
<!-- end: depth.table -->
"""

import re
from collections.abc import Mapping
from pathlib import Path

from utils.errors import UserError
from utils.records.files import write_text

MARKER = re.compile(r"^<!-- (begin|end): (\S+) -->[ \t]*$", re.MULTILINE)


def find_blocks(text: str, source: str) -> dict[str, tuple[int, int]]:
    """Name -> where the text between its two markers starts and ends.

    Raises: UserError naming ``source`` and the marker that is doubled or has no partner.
    """
    found: dict[str, tuple[int, int]] = {}
    open_name, start = None, 0
    for marker in MARKER.finditer(text):
        kind, name = marker.groups()
        if kind == "begin" and open_name:
            raise UserError(
                f"{source}: '<!-- begin: {name} -->' inside block {open_name}; put "
                f"'<!-- end: {open_name} -->' before it"
            )
        if kind == "begin" and name in found:
            raise UserError(f"{source}: '<!-- begin: {name} -->' stands there twice; remove one")
        if kind == "end" and name != open_name:
            raise UserError(
                f"{source}: '<!-- end: {name} -->' without '<!-- begin: {name} -->' before it; "
                "add or remove the line"
            )
        if kind == "begin":
            open_name, start = name, marker.end()
        else:
            found[name], open_name = (start, marker.start()), None
    if open_name:
        raise UserError(
            f"{source}: '<!-- begin: {open_name} -->' without '<!-- end: {open_name} -->'; "
            "add the line"
        )
    return found


def replace_blocks(text: str, blocks: Mapping[str, str], source: str = "README.md") -> str:
    """The text with the content of each block that it has markers for in place.

    Raises: whatever ``find_blocks`` raises.
    """
    found = find_blocks(text, source)
    for name, (start, end) in sorted(found.items(), key=lambda item: -item[1][0]):
        if name in blocks:  # from the last to the first: earlier positions stay true
            content = f"\n\n{blocks[name].strip()}\n\n" if blocks[name] else "\n"
            text = f"{text[:start]}{content}{text[end:]}"
    return text


def render_pages(folder: Path, blocks: Mapping[str, str]) -> None:
    """Puts each block between its markers, in a README or a page of docs/ below ``folder``.

    Raises: UserError, before anything is written, as ``filled_pages`` does.
    """
    for path, (text, filled) in filled_pages(folder, blocks).items():
        if filled != text:
            write_text(path, filled)


def filled_pages(folder: Path, blocks: Mapping[str, str]) -> dict[Path, tuple[str, str]]:
    """Page -> its text, and that with each block between its markers.

    Links to figures are given from the folder; a page of docs/ has them from its own place.

    Raises: UserError for a page that cannot be read, for what is wrong with its markers, and for a
    block that no page has markers for.
    """
    paths = [folder / "README.md", *sorted(folder.glob("README.*.md"))]
    paths += sorted((folder / "docs").glob("*.md"))
    pages = {path: read_page(path) for path in paths}
    known = {name for path, text in pages.items() for name in find_blocks(text, str(path))}
    if missing := [name for name, text in blocks.items() if text and name not in known]:
        more = f"; likewise for {', '.join(missing[1:])}" if missing[1:] else ""
        raise UserError(
            f"{folder}: no page has a marker '<!-- begin: {missing[0]} -->'; add it, and "
            f"'<!-- end: {missing[0]} -->', to README.md or a page of docs/, where that text "
            f"belongs{more}"
        )
    filled = {}
    for path, text in pages.items():
        new = replace_blocks(text, blocks, str(path))
        filled[path] = (
            text,
            new if path.parent == folder else new.replace("](plots/", "](../plots/"),
        )
    return filled


def read_page(path: Path) -> str:
    """The text of a page.

    Raises: UserError where it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); restore it from the repository"
        ) from error
