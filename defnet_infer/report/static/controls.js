// Filters, sorting, shortcuts and the keyboard; then everything is drawn.

const field = (id) => document.getElementById(id);
const QUICK = { worst: "Worst", best: "Best", uncertain: "Least certain", moved: "Moved most" };

function options(select, entries) {
  select.append(...entries.map(([value, label]) => element("option", { value }, label)));
}

function setUp() {
  const counts = [
    ["photos", photos.length],
    ["scored", photos.filter((p) => !p.failed).length],
    ["failed", photos.filter((p) => p.failed).length],
    ["mean score", fixed(d3.mean(photos, (p) => p.score) ?? null)],
    ...(payload.facts || []),
  ];
  for (const [name, value] of counts) field("counts").append(element("div", {}, element("dt", {}, name), element("dd", {}, String(value))));
  for (const [name, value] of payload.about) field("about").append(element("dt", {}, name), element("dd", {}, value));

  const sorts = Object.entries(SORTS).filter(([, sort]) => !sort.needs || has(sort.needs));
  options(field("sort"), sorts.map(([name, sort]) => [name, sort.label]));
  for (const [name] of sorts) {
    if (!(name in QUICK)) continue;
    const press = () => {
      state.current = 0;
      window.scrollTo({ top: field("photos").offsetTop - 20 });
      change({ sort: name });
    };
    field("quick").append(element("button", { type: "button", "data-sort": name, onclick: press }, QUICK[name]));
  }
  for (const task of ["distortion", "scene"]) {
    options(field(task), [["", "any"], ...classNames[task].map((name, number) => [number, name])]);
    field(task).closest("label").hidden = !has(task);
  }
  const folders = [...new Set(photos.map((photo) => photo.folder))].filter(Boolean).sort();
  options(field("folder"), [["", "any"], ...folders.map((folder) => [folder, folder])]);
  field("folder").closest("label").hidden = folders.length < 2;
  options(field("status"), [["", "all"], ["scored", "scored"], ["failed", "not scored"], ["noted", "with notes"], ["starred", "starred"]]);
  field("deviation").closest("label").hidden = !has("deviation");

  for (const id of ["search", "distortion", "scene", "folder", "status", "low", "high", "deviation"]) {
    field(id).addEventListener("input", () => setFilter({ [id]: field(id).value }));
  }
  field("sort").addEventListener("input", () => change({ sort: field("sort").value, current: 0 }));
  field("clear").addEventListener("click", () => setFilter({ ...NO_FILTER }));
  field("view").addEventListener("click", () => change({ view: state.view === "sheet" ? "table" : "sheet" }));
  field("copy-starred").addEventListener("click", () => {
    const starred = photos.filter((photo) => state.starred.has(photo.path));
    copy(starred.map((photo) => photo.path).join("\n"), `${starred.length} starred paths`);
  });
  window.addEventListener("scroll", () => (drawSheet(), drawTable()), { passive: true });
  window.addEventListener("resize", () => (redrawSheet(), drawTable()));
  document.addEventListener("keydown", onKey);
  onChange(showControls);
}

/** Controls say what the state is, however it came about. */
function showControls() {
  field("sort").value = state.sort;
  for (const [id, value] of Object.entries(state.filter)) if (field(id).value !== value) field(id).value = value;
  for (const button of field("quick").children) button.setAttribute("aria-pressed", String(button.dataset.sort === state.sort));
  field("view").setAttribute("aria-pressed", String(state.view === "table"));
  field("copy-starred").disabled = !state.starred.size;
  field("copy-starred").textContent = state.starred.size ? `Copy ${state.starred.size} starred paths` : "Copy starred paths";
  field("found").textContent = `${state.found.length} of ${photos.length} photos`;
  field("nothing").hidden = state.found.length > 0;
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input, select, textarea");
  if (typing) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "/" && !dialog.open) {
    event.preventDefault();
    field("search").focus();
  } else if (event.key === "s" && state.found.length) {
    toggleStar(state.found[dialog.open ? shownPlace : state.current]);
  } else if (dialog.open) {
    if (event.key === "ArrowRight" || event.key === "ArrowDown") step(1);
    else if (event.key === "ArrowLeft" || event.key === "ArrowUp") step(-1);
    else return;
    event.preventDefault();
  } else if (state.view === "sheet" && (event.target === document.body || sheet.contains(event.target) || event.target === field("photos"))) {
    moveByKey(event);
  }
}

function moveByKey(event) {
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
  const onCard = sheet.contains(document.activeElement);
  if (event.key in steps) focusCard(onCard ? state.current + steps[event.key] : state.current);
  else if (onCard && event.key === "Home") focusCard(0);
  else if (onCard && event.key === "End") focusCard(state.found.length - 1);
  else return;
  event.preventDefault();
}

setUp();
refresh();
