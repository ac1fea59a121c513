// --- data: what encode.py wrote, as objects ---------------------------------------------------------------------------

const data = JSON.parse(document.getElementById("data").textContent);
const textAt = (at) => (at < 0 ? null : data.strings[at]);
const findings = new Map(); // position -> finding
const views = new Map(); // folder -> its overloads

/** A finding, which several overloads and folders may share: it does not know whose it is. */
function findingAt(at) {
  if (!findings.has(at)) {
    const [crossref, form, what, kind, calls, total, extent, args, rest, script, noScript, ...sides] = data.findings[at];
    const author = textAt(form) ? `${textAt(crossref)}[${textAt(form)}]` : textAt(crossref);
    const pairs = [];
    for (let i = 0; i < sides.length; i += 2) pairs.push([textAt(sides[i]), textAt(sides[i + 1])]);
    findings.set(at, {
      author,
      title: `${author}: ${textAt(what)}`,
      kind: data.kinds[kind],
      calls,
      total,
      extent: textAt(extent),
      args: textAt(args),
      rest: textAt(rest),
      script,
      noScript: textAt(noScript),
      sides: pairs,
    });
  }
  return findings.get(at);
}

/** The call that shows a finding of an overload, as Python, without and with what an expect file adds behind it. */
function callOf(overload, finding) {
  return finding.args === null ? finding.rest : `torch.ops.${overload}(${finding.args})`;
}

function exampleOf(overload, finding) {
  return finding.args === null ? finding.rest : `${callOf(overload, finding)}${finding.rest}`;
}

/** The script of a finding: the parts that scripts.py stored, with its markers replaced. */
function scriptOf(overload, finding, folder) {
  const fields = [finding.args ?? "", overload, finding.title, folder.head, ...finding.sides.map(([label, text]) => `${label}: ${text}`)];
  const last = data.firstMarker + fields.length - 1;
  const markers = new RegExp(`[${String.fromCharCode(data.firstMarker)}-${String.fromCharCode(last)}]`, "g");
  const fill = (part) => part.replace(markers, (marker) => fields[marker.charCodeAt(0) - data.firstMarker]);
  return data.scripts[finding.script].map((at) => fill(textAt(at))).join(data.separator) + "\n";
}

/** The notes on an overload: those on it as a whole, and those on its findings. */
const notesOf = (() => {
  const byOverload = new Map();
  for (const [overload, finding, reason, issue, owner, expires] of data.notes) {
    if (!byOverload.has(overload)) byOverload.set(overload, []);
    byOverload.get(overload).push({ finding, reason, issue, owner, expires });
  }
  return (overload) => byOverload.get(overload) ?? [];
})();

/** The status of an overload in a folder; null if it is not there. */
function statusIn(folder, at) {
  return folder.statuses[at] < 0 ? null : data.statuses[folder.statuses[at]];
}

/** The overloads of a folder, each with all that filters look at. */
function viewOf(folder) {
  if (!views.has(folder)) {
    const view = [];
    data.overloads.forEach((name, at) => {
      const status = statusIn(folder, at);
      if (status === null) return;
      const own = (folder.findings[at] ?? []).map(findingAt);
      const reason = textAt(folder.reasons[at] ?? -1) ?? "";
      const notes = notesOf(name);
      const causes = (folder.causesOf[at] ?? []).map((position) => (position < 0 ? null : folder.causes[position]));
      const words = [name, reason, ...own.flatMap((f) => [f.title, f.kind, f.extent]), ...causes, ...notes.flatMap((n) => [n.reason, n.owner, n.issue])];
      view.push({
        at,
        name,
        lower: name.toLowerCase(),
        namespace: name.slice(0, name.indexOf(".")),
        status,
        reason,
        findings: own,
        causes,
        authors: new Set(own.map((f) => f.author)),
        words: words.join("\n").toLowerCase(),
      });
    });
    views.set(folder, view);
  }
  return views.get(folder);
}
