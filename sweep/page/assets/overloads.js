// --- overloads: the table, its filters, and what a row opens to -------------------------------------------------------

const overloads = (() => {
  const form = byId("filters");
  const search = byId("search");
  const list = new List(byId("overload-list"), row);
  const FIELDS = ["q", "status", "crossref", "kind", "namespace", "results", "cause"];
  const folder = () => data.folders.find((each) => each.name === form.elements.results.value) ?? data.folders[0];

  function setUp() {
    const pills = data.statuses.map((status) => [status, status, mark(status)]);
    fillPills(byId("statuses"), "status", [["", "all", null], ...pills]);
    fillSelect(form.elements.results, data.folders.map(({ name }) => [name, name]));
    const all = data.folders.flatMap(viewOf);
    const sorted = (values) => [...new Set(values)].sort().map((value) => [value, value]);
    fillSelect(form.elements.crossref, sorted(all.flatMap((o) => [...o.authors])), "any");
    fillSelect(form.elements.kind, sorted(all.flatMap((o) => o.findings.map((f) => f.kind))), "any");
    fillSelect(form.elements.namespace, sorted(all.map((o) => o.namespace)), "any");
    const causes = new Set(data.folders.flatMap((each) => each.causes));
    fillSelect(form.elements.cause, [...causes].map((name) => [name, name]), "any");
    byId("cause-filter").hidden = causes.size === 0;
    form.addEventListener("input", () => update());
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(() => (update(), search.focus())));
    arrows(search, list, "button[aria-expanded]");
    byId("overloads").addEventListener("keydown", (event) => {
      const opened = event.target.closest(".row")?.querySelector("button[aria-expanded=true]");
      if (event.key === "Escape" && opened) {
        opened.click();
        opened.focus();
      }
    });
  }

  // --- filters ---

  function state() {
    return Object.fromEntries(FIELDS.map((name) => [name, form.elements[name].value.trim()]).filter(([, value]) => value));
  }

  /** Filters as a state says; what it does not name is as at first. */
  function apply(wanted) {
    for (const name of FIELDS) form.elements[name].value = wanted[name] ?? "";
    if (!form.elements.results.value) form.elements.results.value = data.folders[0].name;
    update();
  }

  function keeps(overload, { crossref, kind, namespace, cause }, words) {
    if (namespace && overload.namespace !== namespace) return false;
    const isWanted = (finding, at) =>
      (!crossref || finding.author === crossref) && (!kind || finding.kind === kind) && (!cause || overload.causes[at] === cause);
    if ((crossref || kind || cause) && !overload.findings.some(isWanted)) return false;
    return words.every((word) => overload.words.includes(word));
  }

  let last = null;
  function update() {
    const wanted = state();
    const words = wordsOf(wanted.q ?? "");
    if (last !== folder()) list.forget();
    last = folder();
    const view = viewOf(last);
    const kept = view.filter((overload) => keeps(overload, wanted, words));
    const shown = wanted.status ? kept.filter((overload) => overload.status === wanted.status) : kept;
    // Those whose name has the words come before those that only mention them.
    const named = words.length ? shown.filter((o) => words.every((word) => o.lower.includes(word))) : shown;
    const rest = words.length ? shown.filter((o) => !words.every((word) => o.lower.includes(word))) : [];
    list.show([...named, ...rest]);
    byId("matches").textContent = `${number(shown.length)} of ${count(view.length, "overload")}`;
    for (const input of form.querySelectorAll("[name=status]")) {
      const matching = input.value ? kept.filter((overload) => overload.status === input.value).length : kept.length;
      input.nextElementSibling.lastElementChild.textContent = number(matching);
    }
    remember({ ...wanted, results: last === data.folders[0] ? "" : last.name });
  }

  /** Shows one overload, open: in a folder if it has it, else in the chosen one or the first that does. */
  function open(name, results) {
    const known = (each) => viewOf(each).find((overload) => overload.name === name);
    const where = [...data.folders.filter((each) => each.name === results), folder(), ...data.folders].find(known);
    if (!where) {
      apply({ q: name });
      return;
    }
    apply({ results: where.name });
    const made = list.reach(known(where));
    const button = made.querySelector("button[aria-expanded]");
    if (button.getAttribute("aria-expanded") === "false") button.click();
    button.focus({ preventScroll: true });
    // Twice, since rows above get their real heights only when they come into sight.
    const scroll = () => made.scrollIntoView();
    scroll();
    requestAnimationFrame(scroll);
    remember({ results: where === data.folders[0] ? "" : where.name, open: name });
  }

  // --- rows ---

  function row(overload) {
    const [namespace, operator, ...rest] = overload.name.split(".");
    const id = `detail-${overload.at}`;
    const button = make(
      "button",
      { type: "button", "aria-expanded": "false", "aria-controls": id },
      make("span", { class: "name" }, `${namespace}.`, make("wbr"), make("b", {}, ...breakable(operator)), make("wbr"), `.${rest.join(".")}`),
      make("span", { class: "status" }, mark(overload.status), overload.status),
      make("span", { class: "what" }, [...overload.authors].join(", ") || overload.reason),
      make("span", { class: "count" }, overload.findings.length ? count(overload.findings.length, "finding") : ""),
    );
    const made = make("li", { class: "row" }, button);
    button.addEventListener("click", () => {
      const opens = button.getAttribute("aria-expanded") === "false";
      button.setAttribute("aria-expanded", String(opens));
      if (opens) made.append(detail(overload, id));
      else made.querySelector(".detail").remove();
    });
    return made;
  }

  function detail(overload, id) {
    const here = folder();
    const others = data.folders.filter((each) => each !== here);
    const notes = notesOf(overload.name);
    return make(
      "div",
      { class: "detail", id },
      ...notes.filter((note) => !note.finding).map(note),
      overload.reason ? make("p", {}, `Not called: ${overload.reason}.`) : null,
      overload.status === "agrees" ? make("p", {}, "Every crossref agrees.") : null,
      ...overload.findings.map((finding, at) => section(overload, finding, at, here, notes)),
      others.length ? make("p", { class: "elsewhere" }, ...others.map((each) => elsewhere(each, overload.at))) : null,
    );
  }

  function elsewhere(each, at) {
    const status = statusIn(each, at);
    return make("span", {}, mark(status), `${each.name}: ${status ?? "absent"}`);
  }

  function note({ reason, issue, owner, expires }) {
    const details = [owner && `owner ${owner}`, expires && `until torch ${expires}`].filter(Boolean).join(", ");
    const link = /^https?:/.test(issue) ? make("a", { href: issue, rel: "noreferrer" }, issue) : null;
    return make("p", { class: "note" }, make("b", {}, "Note "), reason, link ? " " : null, link, details ? ` (${details})` : "");
  }

  function section({ name, causes }, finding, at, here, notes) {
    const command = `python -m sweep repro ${name} --finding ${at} --torch ${here.name}`;
    const cause = causes[at] ? make("a", { href: `#${new URLSearchParams({ results: here.name, cause: causes[at] })}` }, causes[at]) : null;
    const extent = finding.extent ? `, ${finding.extent}` : "";
    return make(
      "section",
      { class: "finding" },
      make("h4", {}, finding.title),
      make("p", { class: "extent" }, `${number(finding.calls)} of ${count(finding.total, "call")}${extent}`),
      cause ? make("p", { class: "extent" }, "Cause: ", cause) : null,
      ...notes.filter((each) => each.finding === finding.title).map(note),
      make("pre", { tabindex: "0", "aria-label": "The smallest call" }, make("code", {}, exampleOf(name, finding))),
      make("dl", {}, ...finding.sides.flatMap(([label, text]) => [make("dt", {}, label), make("dd", {}, text)])),
      make(
        "p",
        { class: "actions" },
        copyButton("Copy call", () => callOf(name, finding)),
        finding.script < 0 ? null : copyButton("Copy script", () => scriptOf(name, finding, here)),
        copyButton("Copy command", () => command),
      ),
      finding.script < 0 ? make("p", { class: "extent" }, finding.noScript) : scriptDetails(name, finding, here),
    );
  }

  function scriptDetails(name, finding, here) {
    const details = make("details", {}, make("summary", {}, "Script"));
    const fill = () => details.append(make("pre", { tabindex: "0", "aria-label": "Script" }, make("code", {}, scriptOf(name, finding, here))));
    details.addEventListener("toggle", fill, { once: true });
    return details;
  }

  return { setUp, apply, open, search };
})();
