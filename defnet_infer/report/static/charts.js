// The overview: distributions by Observable Plot, classes as bars that filter when pressed.

const MOST_DOTS = 2000;
const chartBox = document.getElementById("charts");
const chartStyle = { background: "transparent", color: "currentColor", fontSize: "13px" };
const chartSize = { width: 420, height: 240, marginLeft: 44, marginBottom: 36 };
const ACCENT = "var(--accent)";

function drawCharts() {
  const made = [scoreChart()];
  if (has("before")) made.push(changeChart());
  else if (has("deviation")) made.push(deviationChart());
  for (const task of ["distortion", "scene"]) if (has(task)) made.push(classBars(task));
  if (payload.failures.length) made.push(failureList());
  const focused = document.activeElement?.dataset?.bar;
  chartBox.replaceChildren(...made);
  if (focused) chartBox.querySelector(`[data-bar="${focused}"]`)?.focus();
}

function chart(title, note, ...content) {
  return element("figure", { class: "chart", "aria-label": title }, element("h2", {}, title), ...content, note ? element("p", {}, note) : null);
}

function scoreChart() {
  const scored = photos.filter((photo) => !photo.failed);
  const found = state.found.filter((photo) => !photo.failed);
  const thresholds = d3.range(LOWEST, HIGHEST + 0.001, 0.2);
  const bin = { x: { value: "score", thresholds, domain: [LOWEST, HIGHEST] } };
  const marks = [
    Plot.rectY(scored, Plot.binX({ y: "count" }, { ...bin.x, x: bin.x, fill: "currentColor", fillOpacity: 0.15, inset: 0.5 })),
    Plot.rectY(found, Plot.binX({ y: "count" }, { x: bin.x, fill: ACCENT, inset: 0.5 })),
    Plot.ruleY([0]),
  ];
  const reference = referenceCurve(scored.length, thresholds);
  if (reference.length) marks.push(Plot.lineY(reference, { x: "score", y: "count", curve: "basis", strokeDasharray: "4 3", strokeWidth: 2 }));
  if (has("before")) {
    marks.push(Plot.rectY(photos.filter((p) => p.before !== null), Plot.binX({ y: "count" }, { x: { ...bin.x, value: "before" }, stroke: "currentColor", fill: "none" })));
  }
  const plot = Plot.plot({ ...chartSize, style: chartStyle, x: { label: "score", domain: [LOWEST, HIGHEST] }, y: { label: "photos", grid: true }, marks });
  let note = `${found.length} photos that fit the filters in colour, all ${scored.length} behind them.`;
  if (reference.length) note += ` Dashed: ${payload.reference.what}, as many photos.`;
  if (has("before")) note += " Outlined: scores before.";
  return chart("Scores", note, plot);
}

/** Photos in each bin if they were spread like the model's reference photos: quantiles to counts. */
function referenceCurve(count, thresholds) {
  const quantiles = payload.reference?.quantiles;
  if (!Array.isArray(quantiles) || quantiles.length < 2) return [];
  const below = (score) => {
    const k = d3.bisectRight(quantiles, score);
    if (k === 0) return 0;
    if (k === quantiles.length) return 1;
    return (k - 1 + (score - quantiles[k - 1]) / (quantiles[k] - quantiles[k - 1] || 1)) / (quantiles.length - 1);
  };
  return d3.pairs(thresholds).map(([from, to]) => ({ score: (from + to) / 2, count: count * (below(to) - below(from)) }));
}

function deviationChart() {
  const all = state.found.filter((photo) => photo.deviation !== null && !photo.failed);
  const many = all.length > MOST_DOTS;
  const mark = many
    ? Plot.rect(all, Plot.bin({ fill: "count" }, { x: { value: "score", thresholds: 40 }, y: { value: "deviation", thresholds: 30 } }))
    : Plot.dot(all, { x: "score", y: "deviation", r: 2.5, fill: ACCENT, fillOpacity: 0.5, title: describe });
  const plot = Plot.plot({
    ...chartSize,
    style: chartStyle,
    x: { label: "score", domain: [LOWEST, HIGHEST] },
    y: { label: "predicted deviation", grid: true, zero: true },
    color: many ? { scheme: "viridis", legend: true, label: "photos" } : undefined,
    marks: [mark],
  });
  if (!many) plot.addEventListener("click", (event) => openDot(event, plot, all));
  return chart("Uncertainty against score", many ? "Photos counted in cells." : "Each dot is a photo; press one to open it.", plot);
}

function openDot(event, plot, shown) {
  const dot = event.target.closest("circle");
  if (!dot) return;
  const photo = shown[[...plot.querySelectorAll("circle")].indexOf(dot)];
  if (photo) openDetail(state.found.indexOf(photo));
}

function changeChart() {
  const all = state.found.filter((photo) => photo.moved !== null);
  const plot = Plot.plot({
    ...chartSize,
    style: chartStyle,
    aspectRatio: 1,
    x: { label: "before", domain: [LOWEST, HIGHEST] },
    y: { label: "now", domain: [LOWEST, HIGHEST], grid: true },
    marks: [
      Plot.line([[LOWEST, LOWEST], [HIGHEST, HIGHEST]], { strokeOpacity: 0.4 }),
      all.length > MOST_DOTS
        ? Plot.rect(all, Plot.bin({ fill: "count" }, { x: { value: "before", thresholds: 40 }, y: { value: "score", thresholds: 40 } }))
        : Plot.dot(all, { x: "before", y: "score", r: 2.5, fill: ACCENT, fillOpacity: 0.5, title: describe }),
    ],
  });
  if (all.length <= MOST_DOTS) plot.addEventListener("click", (event) => openDot(event, plot, all));
  return chart("Now against before", "On the line nothing has changed.", plot);
}

function classBars(task) {
  const counts = new Map();
  for (const photo of photos) if (!photo.failed && photo[task] >= 0) counts.set(photo[task], (counts.get(photo[task]) || 0) + 1);
  const most = d3.max(counts.values()) || 1;
  const bars = [...counts].sort((a, b) => b[1] - a[1]).map(([number, count]) => {
    const pressed = () => state.filter[task] === String(number); // a press may come before the bars are drawn again
    return element(
      "li",
      {},
      element(
        "button",
        { type: "button", "data-bar": `${task}-${number}`, "aria-pressed": String(pressed()), onclick: () => setFilter({ [task]: pressed() ? "" : String(number) }) },
        element("span", { class: "name" }, className(task, number)),
        element("span", { class: "bar", "aria-hidden": "true" }, element("i", { style: { width: `${(100 * count) / most}%` } })),
        element("span", { class: "count" }, String(count)),
      ),
    );
  });
  const title = task === "scene" ? "Scenes" : "Likeliest distortions";
  return chart(title, "Press a bar to show only those photos.", element("ul", { class: "bars" }, ...bars));
}

function failureList() {
  const lines = payload.failures.map(([reason, count]) => element("li", {}, `${count} × ${reason}`));
  const button = element("button", { type: "button", onclick: () => setFilter({ status: "failed" }) }, "Show them");
  return chart("Not scored", null, element("ul", {}, ...lines), button);
}

let chartsPending = false;
onChange(() => {
  // After the photos, which people wait for.
  if (chartsPending) return;
  chartsPending = true;
  requestAnimationFrame(() => {
    chartsPending = false;
    drawCharts();
  });
});
