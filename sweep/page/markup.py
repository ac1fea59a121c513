"""Elements of HTML, escaped by the standard library's serializer, and the small pictures that sections have in common."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlencode
from xml.etree.ElementTree import Element, tostring

from sweep.page.model import Status


def element(tag: str, *children: Element | str, **attributes: str) -> Element:
    """An element with children, which are elements or text.

    Args:
        tag: its name.
        children: in order.
        attributes: ``class_`` is ``class``, and other underscores are hyphens.
    """
    made = Element(tag, {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()})
    last: Element | None = None
    for child in children:
        if isinstance(child, Element):
            made.append(child)
            last = child
        elif last is None:
            made.text = (made.text or "") + child
        else:
            last.tail = (last.tail or "") + child
    return made


def html(*elements: Element) -> str:
    """Elements as text."""
    return "".join(tostring(each, encoding="unicode", method="html") for each in elements)


def number(value: int) -> str:
    """A number as people read it: ``3,708``."""
    return f"{value:,}"


def count(value: int, noun: str) -> str:
    """A number with its noun: ``1 overload``, ``3,708 overloads``."""
    return f"{number(value)} {noun}{'' if value == 1 else 's'}"


def status_bar(counts: Mapping[Status, int], class_: str = "bar") -> Element:
    """The shares of each status as one bar, with the numbers for whoever does not see it."""
    label = ", ".join(f"{number(counts[status])} {status}" for status in Status if counts.get(status))
    parts = [
        element("i", class_=status.css, style=f"flex-grow:{counts[status]}", title=f"{number(counts[status])} {status}")
        for status in Status
        if counts.get(status)
    ]
    return element("span", *parts, class_=class_, role="img", aria_label=label or "nothing")


def length_bar(parts: Sequence[tuple[str, int]], longest: int) -> Element:
    """A bar whose length is a number.

    Args:
        parts: class and number of each part.
        longest: the number that takes the whole width.
    """
    pieces = [element("i", class_=name, style=f"width:{100 * value / max(longest, 1):.2f}%") for name, value in parts if value]
    return element("span", *pieces, class_="length", aria_hidden="true")


class Column(enum.Enum):
    """What a column of a table holds; the value is the class by which the style sheet knows it."""

    TEXT = "text"
    NUMBER = "number"
    PICTURE = "picture"


def table(head: Sequence[tuple[str, Column]], rows: Iterable[Sequence[Element | str]], caption: str) -> Element:
    """A table whose first column names its rows, inside of a box that scrolls where the table is too wide.

    Args:
        head: the title and the content of each column.
        rows: the cells of each row.
        caption: what the table shows; it is read aloud and not seen.
    """
    classes = [column.value for _, column in head]
    heads = [element("th", title, scope="col", class_=column.value) for title, column in head]
    body = [
        element(
            "tr",
            element("th", first, scope="row"),
            *(element("td", cell, class_=class_) for cell, class_ in zip(rest, classes[1:], strict=True)),
        )
        for first, *rest in rows
    ]
    made = element(
        "table",
        element("caption", caption, class_="unseen"),
        element("thead", element("tr", *heads)),
        element("tbody", *body),
        style=f"--pictures:{classes.count(Column.PICTURE.value)}",
    )
    return element("div", made, class_="scroll", tabindex="0", role="region", aria_label=caption)


def filter_link(text: str, **wanted: str) -> Element:
    """A link that shows the overloads which a filter keeps."""
    return element("a", text, href=f"#{urlencode(wanted)}")
