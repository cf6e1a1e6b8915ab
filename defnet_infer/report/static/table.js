// The same photos as a table; rows have one height, so that only those in view need to exist.

const ROW_HEIGHT = 34;
const tableBox = document.getElementById("table");
const COLUMNS = [
  ["", (photo) => starButton(photo)],
  ["path", (photo, place) => element("button", { type: "button", class: "open", "data-place": place, title: photo.path, onclick: () => openDetail(place) }, photo.path)],
  ["score", (photo) => fixed(photo.score), "number"],
  ["95 % interval", (photo) => (photo.low === null || photo.high === null ? "" : `${fixed(photo.low)} to ${fixed(photo.high)}`), "number"],
  [has("before") ? "before" : "fused", (photo) => fixed(has("before") ? photo.before : photo.fused), "number"],
  [has("before") ? "change" : "deviation", (photo) => (has("before") ? signed(photo.moved) : fixed(photo.deviation)), "number"],
  ["distortion", (photo) => (photo.distortion < 0 ? "" : `${className("distortion", photo.distortion)} ${percent(photo.distortionProb)}`)],
  ["scene", (photo) => className("scene", photo.scene)],
  ["status", (photo) => (photo.failed ? photo.error || "not scored" : photo.status), "status"],
];
let rowBox = null;

function cells(make) {
  return COLUMNS.map(([title, value, kind]) => element("span", { role: title === null ? null : make.role, class: kind ?? null }, make.content(title, value)));
}

function redrawTable() {
  tableBox.hidden = state.view !== "table";
  tableBox.replaceChildren();
  if (tableBox.hidden) return;
  tableBox.setAttribute("aria-rowcount", state.found.length + 1);
  const head = element("div", { class: "row head", role: "row", "aria-rowindex": 1 });
  head.append(...cells({ role: "columnheader", content: (title) => title || "star" }));
  rowBox = element("div", { class: "rows", role: "rowgroup", style: { height: `${state.found.length * ROW_HEIGHT}px` } });
  tableBox.append(element("div", { role: "rowgroup" }, head), rowBox);
  drawTable();
}

function drawTable() {
  if (state.view !== "table" || !rowBox) return;
  const [first, last] = inView(rowBox, ROW_HEIGHT, 1, state.found.length);
  const focused = rowBox.contains(document.activeElement) ? document.activeElement.dataset.place : null;
  rowBox.replaceChildren();
  for (let place = first; place < last; place += 1) {
    const photo = state.found[place];
    const row = element("div", { class: photo.failed ? "row error" : "row", role: "row", "aria-rowindex": place + 2, style: { top: `${place * ROW_HEIGHT}px` } });
    row.append(...cells({ role: "cell", content: (_, value) => value(photo, place) }));
    rowBox.append(row);
  }
  if (focused !== null) rowBox.querySelector(`[data-place="${focused}"]`)?.focus({ preventScroll: true });
}

onChange(redrawTable);
