// --- list: thousands of rows that are shown as one types --------------------------------------------------------------

/**
 * Shows some of many items, each in a row that is made once: the first ones at once, and all behind a button, so that what follows a
 * long list can be reached. The style sheet lets the browser skip rows that are out of sight.
 *
 * Removing thousands of rows takes the browser a tenth of a second, and hiding them nothing. All but the first rows therefore are in an
 * element of their own, which is hidden before it is emptied.
 */
class List {
  static FIRST = 100;
  static NEXT = 200;

  constructor(container, row) {
    this.container = container;
    this.row = row;
    this.rows = new Map();
    this.items = [];
    this.shown = 0;
    this.timer = 0;
    this.rest = container.cloneNode(false);
    this.rest.removeAttribute("id");
    this.rest.hidden = true;
    this.more = make("button", { type: "button", class: "plain more", click: () => this.showAll() });
    container.after(this.rest, this.more);
  }

  show(items) {
    clearTimeout(this.timer);
    this.rest.hidden = true;
    this.items = items;
    const first = items.slice(0, List.FIRST);
    this.container.replaceChildren(...first.map((item) => this.rowOf(item)));
    this.setShown(first.length);
    this.empty();
  }

  /** Shows every item. The rows come a few at a time, so that the page answers meanwhile. */
  showAll() {
    const first = this.shown;
    const hadFocus = document.activeElement === this.more;
    this.add(List.NEXT);
    if (hadFocus) this.rowOf(this.items[first]).querySelector("button, a").focus();
    if (this.shown < this.items.length) this.timer = setTimeout(() => this.showAll(), 16);
  }

  /** The row of an item, which is in the document then. */
  reach(item) {
    this.add(this.items.indexOf(item) + 1 - this.shown);
    return this.rowOf(item);
  }

  /** The row before or behind one; null at the ends. */
  neighbor(row, step) {
    if (step > 0) return row.nextElementSibling ?? (row.parentElement === this.container && !this.rest.hidden ? this.rest.firstElementChild : null);
    return row.previousElementSibling ?? (row.parentElement === this.rest ? this.container.lastElementChild : null);
  }

  /** Forgets the rows, where what they say has changed. */
  forget() {
    this.rows.clear();
  }

  rowOf(item) {
    if (!this.rows.has(item)) this.rows.set(item, this.row(item));
    return this.rows.get(item);
  }

  add(howMany) {
    if (howMany <= 0) return;
    if (this.rest.hidden) {
      clearTimeout(this.timer);
      this.rest.replaceChildren();
      this.rest.hidden = false;
    }
    const next = this.items.slice(this.shown, this.shown + howMany);
    this.rest.append(...next.map((item) => this.rowOf(item)));
    this.setShown(this.shown + next.length);
  }

  setShown(howMany) {
    this.shown = howMany;
    this.more.hidden = howMany >= this.items.length;
    this.more.textContent = `Show all ${number(this.items.length)}`;
  }

  /** Removes hidden rows, a few at a time. */
  empty() {
    for (let i = 0; i < List.NEXT && this.rest.lastElementChild; i++) this.rest.lastElementChild.remove();
    if (this.rest.lastElementChild) this.timer = setTimeout(() => this.empty(), 16);
  }
}

/** The words of a search. */
const wordsOf = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);

/** Lets the arrow keys move among the buttons or links of a list, into it from its search field, and on to what shows more. */
function arrows(search, list, target) {
  const inRow = (row) => row?.querySelector(target);
  const move = (event) => {
    const row = event.target.closest(".row");
    if (!row || !event.target.matches(target)) return;
    const to = {
      ArrowDown: () => inRow(list.neighbor(row, 1)) ?? list.more,
      ArrowUp: () => inRow(list.neighbor(row, -1)) ?? search,
      Home: () => inRow(list.container.firstElementChild),
      End: () => inRow((list.rest.hidden ? list.container : list.rest).lastElementChild),
    }[event.key];
    if (!to) return;
    event.preventDefault();
    to().focus();
  };
  list.container.addEventListener("keydown", move);
  list.rest.addEventListener("keydown", move);
  search.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") {
      event.preventDefault();
      inRow(list.container)?.focus();
    } else if (event.key === "Escape" && search.value) {
      event.preventDefault();
      search.value = "";
      search.dispatchEvent(new Event("input", { bubbles: true }));
    }
  });
}
