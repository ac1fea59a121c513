// --- changes: what differs between two torches ------------------------------------------------------------------------

const changes = (() => {
  const search = byId("change-search");
  const pair = byId("change-pair");
  const pills = byId("change-kinds");

  function setUp() {
    if (!search) return;
    const list = new List(byId("change-list"), row);
    const all = data.changes.map(({ rows }) => rows.map(([kind, overload, lines]) => item(textAt(kind), overload, lines.map(textAt))));
    fillSelect(pair, data.changes.map((each, at) => [at, `${each.old} and ${each.new}`]));
    const kinds = [...new Set(all.flat().map(({ kind }) => kind))];
    fillPills(pills, "change", [["", "all", null], ...kinds.map((kind) => [kind, kind, null])]);
    const update = () => {
      const words = wordsOf(search.value);
      const kept = all[Number(pair.value)].filter((each) => words.every((word) => each.words.includes(word)));
      const wanted = pills.querySelector(":checked").value;
      const shown = kept.filter((each) => !wanted || each.kind === wanted);
      list.show(shown);
      byId("change-matches").textContent = shown.length || kept.length ? count(shown.length, "overload") : "No overload differs.";
      for (const input of pills.querySelectorAll("input")) {
        const matching = kept.filter((each) => !input.value || each.kind === input.value).length;
        input.nextElementSibling.lastElementChild.textContent = number(matching);
      }
    };
    byId("change-filters").addEventListener("input", update);
    byId("change-filters").addEventListener("submit", (event) => event.preventDefault());
    arrows(search, list, "a");
    update();
  }

  function item(kind, overload, lines) {
    return { kind, overload, lines, words: [kind, overload, ...lines].join("\n").toLowerCase() };
  }

  function row({ kind, overload, lines }) {
    const link = make("a", { class: "name", href: `#${new URLSearchParams({ open: overload })}` }, ...breakable(overload));
    return make("li", { class: "row" }, link, make("span", { class: "status" }, kind), make("ul", {}, ...lines.map((line) => make("li", {}, line))));
  }

  return { setUp };
})();
