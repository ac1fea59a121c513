"""The page as one file: its template, style sheet, scripts and data put together."""

from __future__ import annotations

from pathlib import Path
from string import Template

from sweep.page import sections
from sweep.page.encode import encode
from sweep.page.markup import element, html
from sweep.page.model import Page

_ASSETS = Path(__file__).parent / "assets"

#: The scripts in the order in which each uses those before it.
_SCRIPTS = ("data", "elements", "list", "overloads", "devices", "changes", "main")

#: The sections that scripts fill, and their headings.
_INTERACTIVE = {"overloads": "Overloads", "devices": "Support by operator", "changes": "Changes"}


def render(page: Page) -> str:
    """The HTML of a page."""
    before = [*sections.overview(page), sections.namespaces(page), sections.findings(page), *sections.causes(page)]
    headings = {name: title for name, title in _INTERACTIVE.items() if name != "changes" or page.changes}
    after = list(sections.runs(page))
    links = [*before, *(element("section", element("h2", title), id=name) for name, title in headings.items()), *after]
    return Template(_asset("page.html")).substitute(
        title=html(element("title", f"Operator sweep: {', '.join(folder.name for folder in page.folders)}")),
        style=_asset("page.css"),
        navigation=html(sections.navigation(links)),
        header=html(sections.header(page)),
        before=html(*before),
        interactive="".join(
            f'<section id="{name}"><h2>{title}</h2>\n{_asset(f"{name}.html")}</section>\n' for name, title in headings.items()
        ),
        after=html(*after),
        data=encode(page),
        script="\n".join(_asset(f"{name}.js") for name in _SCRIPTS),
    )


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text()
