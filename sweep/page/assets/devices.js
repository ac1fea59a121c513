// --- devices: a row per operator, a column per torch and device, a mark per overload ----------------------------------

const devices = (() => {
  const search = byId("operator-search");
  const differing = byId("differing");
  const list = new List(byId("operator-list"), row);
  let operators = null;

  function setUp() {
    byId("marks").append(...[...data.statuses, null].map((status) => make("span", {}, mark(status), status ?? "absent")));
    byId("operator-head").append(make("span", { role: "columnheader" }, "operator"), ...data.folders.map(({ name }) => make("span", { role: "columnheader" }, name)));
    const matrix = byId("operator-list").closest(".matrix");
    matrix.style.setProperty("--columns", data.folders.length);
    matrix.parentElement.after(list.more); // a table consists of rows alone
    byId("differing-label").hidden = data.folders.length < 2;
    byId("operator-filters").addEventListener("input", update);
    byId("operator-filters").addEventListener("submit", (event) => event.preventDefault());
    arrows(search, list, "a");
    // Thousands of rows, which only whoever comes here needs.
    const observer = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      update();
    }, { rootMargin: "1200px" });
    observer.observe(byId("devices"));
  }

  function grouped() {
    const groups = new Map();
    data.overloads.forEach((name, at) => {
      const operator = name.slice(0, name.lastIndexOf("."));
      if (!groups.has(operator)) groups.set(operator, []);
      groups.get(operator).push(at);
    });
    return [...groups].map(([operator, positions]) => {
      const columns = data.folders.map((folder) => positions.map((at) => statusIn(folder, at)));
      return { operator, lower: operator.toLowerCase(), positions, columns, differs: new Set(columns.map(String)).size > 1 };
    });
  }

  function update() {
    operators ??= grouped();
    const words = wordsOf(search.value);
    const shown = operators.filter((o) => (!differing.checked || o.differs) && words.every((word) => o.lower.includes(word)));
    list.show(shown);
    byId("operator-matches").textContent = `${number(shown.length)} of ${count(operators.length, "operator")}`;
  }

  function row({ operator, positions, columns }) {
    const link = make("a", { href: `#${new URLSearchParams({ q: `${operator}.` })}` }, ...breakable(operator));
    const cells = columns.map((statuses) => {
      const label = [...new Set(statuses)].map((each) => `${statuses.filter((s) => s === each).length} ${each ?? "absent"}`).join(", ");
      const marks = statuses.map((status, at) => mark(status, `${data.overloads[positions[at]]}: ${status ?? "absent"}`));
      return make("span", { role: "cell" }, make("span", { class: "marks", role: "img", "aria-label": label }, ...marks));
    });
    return make("div", { class: "row", role: "row" }, make("span", { role: "rowheader" }, link), ...cells);
  }

  return { setUp, search };
})();
