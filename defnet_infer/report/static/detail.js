// One photo, large: crops outlined and coloured by their own score, all numbers, and the path to copy.

const dialog = document.getElementById("detail");
let shownPlace = -1;
let outlines = true;

function openDetail(place) {
  shownPlace = clamp(place, 0, state.found.length - 1);
  state.current = shownPlace;
  fillDetail();
  if (!dialog.open) dialog.showModal();
}

function fillDetail() {
  const photo = state.found[shownPlace];
  dialog.replaceChildren(
    element(
      "div",
      { class: "head" },
      element("button", { type: "button", id: "previous", onclick: () => step(-1), disabled: shownPlace === 0 }, "← Previous"),
      element("button", { type: "button", id: "next", onclick: () => step(1), disabled: shownPlace === state.found.length - 1 }, "Next →"),
      element("span", { class: "legend" }, `${shownPlace + 1} of ${state.found.length}`),
      element("span", { class: "grow" }),
      starButton(photo),
      element("button", { type: "button", id: "copy-path", onclick: () => copy(photo.path, "path") }, "Copy path"),
      element("button", { type: "button", id: "close", onclick: () => dialog.close() }, "Close"),
    ),
    element("div", { class: "detail" }, largePicture(photo), element("div", {}, ...numbers(photo))),
  );
  dialog.querySelector(".star").removeAttribute("tabindex");
}

function step(by) {
  const next = clamp(shownPlace + by, 0, state.found.length - 1);
  if (next === shownPlace) return;
  const focused = document.activeElement?.id;
  openDetail(next);
  const button = focused && document.getElementById(focused);
  if (button && !button.disabled) button.focus();
  say(describe(state.found[next]));
}

function largePicture(photo) {
  const figure = element("figure", {});
  const source = photo.link || photo.thumbnail;
  if (!source) {
    figure.append(element("p", { class: "nothing" }, photo.failed ? "This photo could not be read." : "The photo is not where the results file says."));
    return figure;
  }
  const image = element("img", { src: source, alt: describe(photo) });
  image.addEventListener("error", () => {
    // Moved since, or of a format that this browser does not show.
    if (photo.thumbnail && image.src !== photo.thumbnail) image.src = photo.thumbnail;
    else figure.replaceChildren(element("p", { class: "nothing" }, "This browser cannot show the photo, or it has moved since."));
  });
  if (photo.width) image.style.aspectRatio = `${photo.width} / ${photo.height}`;
  figure.append(image);
  const boxes = payload.crops[`${photo.width}x${photo.height}`];
  // Another count was typed by hand; nothing says then which square a score is of.
  if (boxes && photo.cropScores.length === boxes.length && outlines) figure.append(...cropOutlines(photo, boxes));
  return figure;
}

function cropOutlines(photo, boxes) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 1 1");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const outline = (k, attributes) => {
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    ["x", "y", "width", "height"].forEach((name, n) => rect.setAttribute(name, boxes[k][n]));
    for (const [name, value] of Object.entries(attributes)) rect.setAttribute(name, value);
    svg.append(rect);
    return rect;
  };
  const chips = photo.cropScores.map((score, k) => {
    outline(k, { class: "casing" });
    const color = scoreColor(score);
    const rect = outline(k, { stroke: color });
    rect.style.color = color;
    // Crops overlap, so each shows its whole square while the pointer is on its number.
    return element(
      "span",
      {
        class: "chip",
        "data-crop": k,
        title: `crop ${k + 1}: ${fixed(score)}`,
        style: { left: `${100 * boxes[k][0]}%`, top: `${100 * boxes[k][1]}%`, background: color, color: d3.lab(color).l > 55 ? "#000" : "#fff" },
        onpointerenter: () => rect.classList.add("marked"),
        onpointerleave: () => rect.classList.remove("marked"),
      },
      fixed(score, 1),
    );
  });
  return [svg, ...chips];
}

function numbers(photo) {
  const made = [element("p", { class: "path", id: "detail-path" }, photo.path)];
  if (photo.failed) return [...made, element("p", { class: "error" }, photo.error || "not scored")];
  made.push(intervalBar(photo), element("dl", {}, ...pairs(photo)));
  if (photo.qualityProbs.length) made.push(element("h2", {}, "Quality"), levels(photo));
  if (photo.cropScores.length) made.push(element("h2", {}, "Crops"), ...cropLegend(photo));
  else made.push(element("p", { class: "legend" }, "Score with --details to see the five probabilities and every crop."));
  return made;
}

function pairs(photo) {
  const size = photo.width ? `${photo.width} × ${photo.height}` : "";
  const interval = photo.low === null || photo.high === null ? "" : `${fixed(photo.low)} to ${fixed(photo.high)}`;
  const all = [
    ["score", fixed(photo.score)],
    ["before", fixed(photo.before)],
    ["change", signed(photo.moved)],
    ["95 % interval", interval],
    ["fused score", fixed(photo.fused)],
    ["deviation", fixed(photo.deviation)],
    ["quality", className("quality", photo.quality)],
    ["distortion", `${className("distortion", photo.distortion)} ${percent(photo.distortionProb)}`.trim()],
    ["scene", `${className("scene", photo.scene)} ${percent(photo.sceneProb)}`.trim()],
    ["size", size],
    ["notes", photo.status.startsWith("ok:") ? photo.status.slice(4) : ""],
  ];
  return all.filter(([, text]) => text).flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]);
}

function levels(photo) {
  const lines = classNames.quality.map((name, k) =>
    element(
      "div",
      {},
      element("span", {}, name),
      element("span", { class: "interval" }, element("i", { style: { left: "0", width: `${100 * photo.qualityProbs[k]}%`, opacity: "1" } })),
      element("span", {}, percent(photo.qualityProbs[k])),
    ),
  );
  return element("div", { class: "levels" }, ...lines);
}

function cropLegend(photo) {
  const stops = d3.range(LOWEST, HIGHEST + 0.01, 0.5).map(scoreColor).join(", ");
  const toggle = element(
    "button",
    {
      type: "button",
      id: "outlines",
      "aria-pressed": String(outlines),
      onclick: () => {
        outlines = !outlines;
        fillDetail();
        document.getElementById("outlines").focus();
      },
    },
    "Outline crops",
  );
  return [
    element("p", {}, `${photo.cropScores.length} crops score ${fixed(Math.min(...photo.cropScores))} to ${fixed(Math.max(...photo.cropScores))}.`),
    element("div", { class: "legend" }, String(LOWEST), element("i", { style: { background: `linear-gradient(to right, ${stops})` } }), String(HIGHEST)),
    element("p", {}, toggle),
  ];
}

dialog.addEventListener("close", () => {
  if (state.view === "sheet") focusCard(shownPlace);
  else tableBox.querySelector(`[data-place="${shownPlace}"]`)?.focus();
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
onChange(() => {
  if (!dialog.open) return;
  if (!state.found.length) return dialog.close(); // Its star was what it was listed for.
  shownPlace = clamp(shownPlace, 0, state.found.length - 1);
  const focused = document.activeElement?.classList.contains("star");
  fillDetail();
  if (focused) dialog.querySelector(".star").focus();
});
