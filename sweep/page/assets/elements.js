// --- elements: making them, and copying text --------------------------------------------------------------------------

const byId = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en");
const count = (value, noun) => `${number(value)} ${noun}${value === 1 ? "" : "s"}`;
const cssOf = (status) => status.replaceAll(" ", "-");

/** An element. Text children are text, whatever they contain; nothing here ever parses HTML. */
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** A name that may be broken behind its dots and underscores. */
const breakable = (name) => (name.match(/[^._]+[._]*|[._]+/g) ?? []).flatMap((part) => [part, make("wbr")]);

const mark = (status, title = null) => make("i", { class: `mark ${status === null ? "absent" : cssOf(status)}`, title });

/** Lets a text be read aloud. */
function announce(text) {
  byId("announcement").textContent = text;
}

/** Puts a text on the clipboard, also where a page from disk may not use the new interface. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea", { class: "unseen" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("the browser does not let this page use the clipboard");
  }
}

/** A button that copies what a function returns, and says so. */
function copyButton(label, text) {
  const button = make("button", { type: "button", class: "copy" }, label);
  button.addEventListener("click", async () => {
    let said = "Copied";
    try {
      await copy(text());
    } catch (error) {
      said = `Not copied: ${error.message}`;
    }
    button.focus();
    button.textContent = said;
    announce(said);
    setTimeout(() => (button.textContent = label), 1500);
  });
  return button;
}

/** Fills a select with options; the first one keeps everything. */
function fillSelect(select, values, all) {
  const options = values.map(([value, label]) => make("option", { value }, label));
  select.replaceChildren(...(all ? [make("option", { value: "" }, all)] : []), ...options);
}

/** Fills a fieldset with radio buttons that look like pills. */
function fillPills(fieldset, name, values) {
  const pills = values.map(([value, label, picture]) => {
    const input = make("input", { type: "radio", name, value, checked: value === "" ? "" : null });
    return make("label", {}, input, make("span", {}, picture ?? "", label, make("small", {})));
  });
  fieldset.append(...pills);
}
