// What is filtered, sorted, starred and current. Views read it and are told when it changes.

const NO_FILTER = { search: "", distortion: "", scene: "", folder: "", status: "", low: "", high: "", deviation: "" };
const SORTS = {
  worst: { label: "score, worst first", key: (p) => p.score, last: (p) => p.failed },
  best: { label: "score, best first", key: (p) => -p.score, last: (p) => p.failed },
  uncertain: { label: "deviation, least certain first", key: (p) => -p.deviation, last: (p) => p.deviation === null, needs: "deviation" },
  certain: { label: "deviation, most certain first", key: (p) => p.deviation, last: (p) => p.deviation === null, needs: "deviation" },
  moved: { label: "change, largest first", key: (p) => -Math.abs(p.moved), last: (p) => p.moved === null, needs: "before" },
  fell: { label: "change, downwards first", key: (p) => p.moved, last: (p) => p.moved === null, needs: "before" },
  path: { label: "path", key: (p) => p.index, last: () => false },
};

const state = {
  filter: { ...NO_FILTER },
  sort: has("before") ? "moved" : "worst",
  view: "sheet",
  current: 0,
  found: [],
  starred: new Set(readStars()),
};
const listeners = [];
const onChange = (listener) => listeners.push(listener);

function change(patch) {
  Object.assign(state, patch);
  refresh();
}

function setFilter(patch) {
  Object.assign(state.filter, patch);
  state.current = 0;
  refresh();
}

function refresh() {
  const sort = SORTS[state.sort];
  state.found = photos.filter(fits);
  state.found.sort((a, b) => sort.last(a) - sort.last(b) || sort.key(a) - sort.key(b) || a.index - b.index);
  state.current = clamp(state.current, 0, Math.max(0, state.found.length - 1));
  for (const listener of listeners) listener();
}

function fits(photo) {
  const f = state.filter;
  if (f.search && !photo.lowerPath.includes(f.search.toLowerCase())) return false;
  if (f.distortion !== "" && photo.distortion !== Number(f.distortion)) return false;
  if (f.scene !== "" && photo.scene !== Number(f.scene)) return false;
  if (f.folder !== "" && photo.folder !== f.folder && !photo.folder.startsWith(`${f.folder}/`)) return false;
  if (f.status === "scored" && photo.failed) return false;
  if (f.status === "failed" && !photo.failed) return false;
  if (f.status === "noted" && !photo.status.startsWith("ok:")) return false;
  if (f.status === "starred" && !state.starred.has(photo.path)) return false;
  if (f.low !== "" && !(photo.score !== null && photo.score >= Number(f.low))) return false;
  if (f.high !== "" && !(photo.score !== null && photo.score <= Number(f.high))) return false;
  return f.deviation === "" || (photo.deviation !== null && photo.deviation >= Number(f.deviation));
}

function toggleStar(photo) {
  const had = state.starred.delete(photo.path);
  if (!had) state.starred.add(photo.path);
  try {
    localStorage.setItem(`defnet-stars:${payload.name}`, JSON.stringify([...state.starred]));
  } catch {
    // A page opened from disk may have no storage; stars then last as long as the page.
  }
  say(`${photo.name} ${had ? "is no longer starred" : "starred"}`);
  refresh();
}

function readStars() {
  try {
    const known = new Set(payload.columns.path);
    const stored = JSON.parse(localStorage.getItem(`defnet-stars:${payload.name}`) || "[]");
    return stored.filter((path) => known.has(path));
  } catch {
    return [];
  }
}

/** Tell a screen reader. */
function say(text) {
  document.getElementById("said").textContent = text;
}
