// --- main: what the address says, and keys ----------------------------------------------------------------------------

let pending = 0;
/** Puts a state into the address, so that it can be shared. Browsers refuse to do that at every key. */
function remember(wanted) {
  clearTimeout(pending);
  pending = setTimeout(() => {
    const parameters = new URLSearchParams(Object.entries(wanted).filter(([, value]) => value));
    const hash = String(parameters) ? `#${parameters}` : "";
    if (hash !== location.hash && (hash || location.hash.includes("="))) {
      history.replaceState(null, "", hash || location.pathname + location.search);
    }
  }, 300);
}

/** Does what the address says: `#open=aten.abs.default`, `#crossref=fake&kind=dtype`, ... */
function follow() {
  const wanted = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  if (!location.hash.includes("=")) return;
  clearTimeout(pending);
  if (wanted.open) {
    overloads.open(wanted.open, wanted.results);
  } else {
    overloads.apply(wanted);
    byId("overloads").scrollIntoView();
  }
}

overloads.setUp();
devices.setUp();
changes.setUp();
overloads.apply({});
follow();
window.addEventListener("hashchange", follow);
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input[type=search], textarea")) return;
  event.preventDefault();
  overloads.search.focus();
  overloads.search.select();
});
