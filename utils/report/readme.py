"""README: the text between markers is rendered, everything else is written by hand.

<!-- begin: depth.table -->
whatever stands here is replaced
<!-- end: depth.table -->
"""

import re
from collections.abc import Mapping

from utils.errors import UserError

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
    """The text with each named block's content in place; other blocks stay as they are.

    Raises: UserError for a block without markers, and whatever ``find_blocks`` raises.
    """
    found = find_blocks(text, source)
    for name in blocks:
        if name not in found:
            raise UserError(
                f"{source}: no marker '<!-- begin: {name} -->'; add it, and "
                f"'<!-- end: {name} -->', where that text belongs (there are: "
                f"{', '.join(found) or 'none'})"
            )
    for name, (start, end) in sorted(found.items(), key=lambda item: -item[1][0]):
        if name in blocks:  # from the last to the first: earlier positions stay true
            text = f"{text[:start]}\n\n{blocks[name].strip()}\n\n{text[end:]}"
    return text
