"""The sections of the page that need no script: the overview, namespaces, crossrefs, kinds, causes, and the last runs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from sweep.causes.cause import Cause
from sweep.expect.known import KnownFinding
from sweep.page.markup import Column, count, element, filter_link, length_bar, number, status_bar, table
from sweep.page.model import Folder, Page, Status, status_of
from sweep.report.model import Run

#: Namespaces of fewer overloads than this are listed only on demand.
_LARGE_NAMESPACE = 10

#: How many causes are listed at once; the others are listed on demand.
_CAUSES = 15


def section(name: str, title: str, lead: str, *content: Element) -> Element:
    """A section with its heading and a sentence about it."""
    return element("section", element("h2", title), element("p", lead, class_="lead"), *content, id=name)


def navigation(sections: Iterable[Element]) -> Element:
    """Links to sections that have an ``id``, by their headings."""
    links = [element("a", each.findtext("h2") or "", href=f"#{each.get('id')}") for each in sections if each.get("id")]
    return element("nav", *links, aria_label="Sections")


# --- the overview ------------------------------------------------------------------------------------------------------


def counts_of(folder: Folder, namespace: str | None = None) -> Counter[Status]:
    """Numbers of overloads by status, of all namespaces or one."""
    prefix = f"{namespace}." if namespace is not None else ""
    statuses = (status_of(known) for name, known in folder.overloads.items() if name.startswith(prefix))
    return Counter(status for status in statuses if status is not None)


def coverage_of(counts: Counter[Status]) -> str:
    """The share of overloads that are called, of those with a kernel; empty if none has one."""
    with_kernel = counts.total() - counts[Status.NO_KERNEL]
    return f"{(with_kernel - counts[Status.NOT_CALLED]) / with_kernel:.1%}" if with_kernel else ""


def header(page: Page) -> Element:
    """The title, and the newest results as one bar with its legend."""
    newest = page.folders[0]
    counts = counts_of(newest)
    with_kernel = counts.total() - counts[Status.NO_KERNEL]
    called = with_kernel - counts[Status.NOT_CALLED]
    legend = [
        element("li", element("i", class_=f"mark {status.css}"), element("b", number(counts[status])), f" {status}")
        for status in Status
    ]
    figure = element(
        "figure",
        element(
            "p", element("b", coverage_of(counts)), f" called: {number(called)} of {count(with_kernel, 'overload')} with a kernel"
        ),
        status_bar(counts, "bar large"),
        element("ul", *legend, class_="legend"),
    )
    return element(
        "header",
        element("h1", "Operator sweep"),
        element(
            "p",
            "Every torch.ops overload, called and compared with what other paths through PyTorch predict. Newest results: ",
            element("b", newest.name),
            f" ({newest.head}).",
            class_="lead",
        ),
        figure,
    )


def overview(page: Page) -> Iterator[Element]:
    """A row for each torch and device, if there are several; one alone is in the header."""
    if len(page.folders) == 1:
        return
    rows: list[list[Element | str]] = []
    for folder in page.folders:
        counts = counts_of(folder)
        numbers = [number(counts[status]) for status in Status]
        rows.append([filter_link(folder.name, results=folder.name), status_bar(counts), coverage_of(counts), *numbers])
    head = [("results", Column.TEXT), ("", Column.PICTURE), ("called", Column.NUMBER)]
    head += [(str(status), Column.NUMBER) for status in Status]
    lead = "Each torch and device with checked-in results. “Called” is the share of the overloads with a kernel for the device."
    yield section("overview", "Versions and devices", lead, table(head, rows, "Statuses by torch and device"))


def namespaces(page: Page) -> Element:
    """A row for each namespace, with a picture for each torch and device."""
    sizes = Counter(name.partition(".")[0] for name in page.overloads())
    rows: dict[bool, list[list[Element | str]]] = {True: [], False: []}
    for namespace, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        row: list[Element | str] = [filter_link(namespace, namespace=namespace), number(size)]
        for folder in page.folders:
            counts = counts_of(folder, namespace)
            row += [status_bar(counts), coverage_of(counts)]
        rows[size >= _LARGE_NAMESPACE or len(sizes) <= _LARGE_NAMESPACE].append(row)
    head = [("namespace", Column.TEXT), ("overloads", Column.NUMBER)]
    for folder in page.folders:
        head += [(folder.name, Column.PICTURE), ("called", Column.NUMBER)]
    content = [table(head, rows[True], "Statuses by namespace")]
    if rows[False]:
        smaller = table(head, rows[False], "Statuses by smaller namespace")
        summary = element("summary", f"{len(rows[False])} namespaces of fewer than {_LARGE_NAMESPACE} overloads")
        content.append(element("details", summary, smaller))
    return section("namespaces", "Namespaces", "Statuses of the overloads of each namespace.", *content)


# --- findings ----------------------------------------------------------------------------------------------------------


@dataclass
class _Findings:
    """Numbers of findings in one group, and the overloads that they are of."""

    wrong: int = 0
    refusals: int = 0
    overloads: set[str] = field(default_factory=set)


def _grouped(folder: Folder, group: Callable[[KnownFinding], str]) -> Mapping[str, _Findings]:
    groups: dict[str, _Findings] = defaultdict(_Findings)
    for overload, known in folder.overloads.items():
        for finding in known.findings:
            each = groups[group(finding)]
            each.refusals += finding.is_refusal
            each.wrong += not finding.is_refusal
            each.overloads.add(overload)
    return groups


def findings(page: Page) -> Element:
    """Crossrefs and kinds, each ranked by findings."""
    legend = element(
        "p",
        element("span", element("i", class_=f"mark {Status.KNOWN_BAD.css}"), "disagreements"),
        element("span", element("i", class_=f"mark {Status.UNSUPPORTED.css}"), "refusals by design"),
        class_="legend",
    )
    lead = "A finding is one way in which calls of an overload disagree with a prediction."
    crossrefs = element("div", element("h3", "By crossref"), _ranking(page, "crossref", lambda finding: finding.author))
    kinds = element("div", element("h3", "By kind"), _ranking(page, "kind", lambda finding: str(finding.kind)))
    return section(
        "findings",
        "Findings",
        lead,
        legend,
        element("div", crossrefs, kinds, class_="columns" if len(page.folders) == 1 else "stack"),
    )


def _ranking(page: Page, name: str, group: Callable[[KnownFinding], str]) -> Element:
    """A table of groups of findings, those with most findings in the newest results first."""
    folders = [_grouped(folder, group) for folder in page.folders]
    names = {each for groups in folders for each in groups}
    longest = max((g.wrong + g.refusals for groups in folders for g in groups.values()), default=0)

    def rank(each: str) -> list[int]:
        return [-(groups[each].wrong + groups[each].refusals) if each in groups else 0 for groups in folders]

    rows = []
    for each in sorted(names, key=lambda each: (rank(each), each)):
        row: list[Element | str] = [filter_link(each, **{name: each})]
        for groups in folders:
            of = groups.get(each, _Findings())
            bar = length_bar([(Status.KNOWN_BAD.css, of.wrong), (Status.UNSUPPORTED.css, of.refusals)], longest)
            row += [bar, number(of.wrong + of.refusals), number(len(of.overloads))]
        rows.append(row)
    head = [(name, Column.TEXT)]
    for folder in page.folders:
        title = folder.name if len(page.folders) > 1 else ""
        head += [(title, Column.PICTURE), ("findings", Column.NUMBER), ("overloads", Column.NUMBER)]
    return table(head, rows, f"Findings by {name}")


def causes(page: Page) -> Iterator[Element]:
    """Causes ranked by how many overloads they explain, for each torch and device of which they are known."""
    content = []
    for folder in page.folders:
        ranked = page.causes_of(folder)
        if not ranked:
            continue
        if len(page.folders) > 1:
            content.append(element("h3", folder.name))
        content.append(_causes(folder, ranked[:_CAUSES], ranked, f"Causes in {folder.name}"))
        if ranked[_CAUSES:]:
            rest = _causes(folder, ranked[_CAUSES:], ranked, f"More causes in {folder.name}")
            content.append(element("details", element("summary", f"{number(len(ranked) - _CAUSES)} more"), rest))
    if content:
        lead = "The functions of torch that answer wrongly, those that explain most overloads first."
        yield section("causes", "Causes", lead, *content)


def _causes(folder: Folder, shown: Iterable[Cause], ranked: Sequence[Cause], caption: str) -> Element:
    longest = len(ranked[0].findings)
    rows: list[list[Element | str]] = []
    for cause in shown:
        function = filter_link(str(cause.function), results=folder.name, cause=str(cause.function))
        example = filter_link(cause.example, results=folder.name, open=cause.example)
        bar = length_bar([(Status.KNOWN_BAD.css, len(cause.findings))], longest)
        rows.append([function, cause.kinds_text, bar, number(len(cause.findings)), number(cause.count), example])
    head = [("function", Column.TEXT), ("kinds and their overloads", Column.TEXT), ("", Column.PICTURE)]
    head += [("overloads", Column.NUMBER), ("findings", Column.NUMBER), ("for example", Column.TEXT)]
    return table(head, rows, caption)


# --- runs ---------------------------------------------------------------------------------------------------------------


def runs(page: Page) -> Iterator[Element]:
    """What the last run of each torch and device found that its expect files do not say."""
    content = [part for name, run in page.runs.items() for part in _run(name, run)]
    if content:
        lead = "What the last runs on this machine found that the expect files, as they were then, did not say."
        yield section("runs", "Last runs", lead, *content)


def _run(name: str, run: Run) -> Iterator[Element]:
    yield element("h3", name)
    for info in run.infos:
        extent = "all overloads and crossrefs" if info.whole else f"a part, crossrefs {' '.join(info.crossrefs)}"
        about = (
            f"{info.started}, torch {info.torch} git {info.git}, {info.device}, {info.features}; {extent}; {info.seconds:.0f} s"
        )
        yield element("p", about)
    differing = run.differing()
    rows: list[list[Element | str]] = [
        [filter_link(row.overload, open=row.overload), str(row.change), row.verdict.transition]
        for row in differing
        if row.verdict is not None
    ]
    rows += [[row.overload, "not run", row.not_run] for row in run.rows if row.verdict is None]
    if rows:
        head = [("overload", Column.TEXT), ("", Column.TEXT), ("from what to what", Column.TEXT)]
        yield table(head, rows, f"Unexpected results of {name}")
    else:
        yield element("p", f"Nothing unexpected in {count(len(run.rows), 'overload')}.")
