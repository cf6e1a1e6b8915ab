// The photos, from the data in the page. Everything in them is text or a number; nothing is ever read as HTML.

const payload = JSON.parse(document.getElementById("payload").textContent);
const thumbnails = JSON.parse(document.getElementById("thumbnails").textContent);
const [LOWEST, HIGHEST] = payload.range;
const has = (column) => column in payload.columns;

const photos = payload.columns.path.map((path, index) => {
  const value = (column, otherwise = null) => (has(column) ? payload.columns[column][index] : otherwise);
  const photo = {
    index,
    path,
    lowerPath: path.toLowerCase(),
    name: path.slice(path.lastIndexOf("/") + 1),
    folder: value("folder", ""),
    score: value("score"),
    low: value("intervalLow"),
    high: value("intervalHigh"),
    fused: value("fusedScore"),
    deviation: value("deviation"),
    quality: value("quality", -1),
    scene: value("scene", -1),
    sceneProb: value("sceneProb"),
    distortion: value("distortion", -1),
    distortionProb: value("distortionProb"),
    width: value("width"),
    height: value("height"),
    status: value("status", ""),
    error: value("error", ""),
    link: value("link", ""),
    qualityProbs: value("qualityProbs", []),
    cropScores: value("cropScores", []),
    before: value("before"),
    thumbnail: thumbnails[index] || "",
  };
  photo.failed = photo.score === null;
  photo.moved = photo.before === null || photo.failed ? null : photo.score - photo.before;
  return photo;
});

const classNames = { quality: payload.classes.quality, scene: payload.classes.scene, distortion: payload.classes.distortion };
const className = (task, number) => (number < 0 ? "" : classNames[task][number]);
const fixed = (value, digits = 2) => (value === null || value === undefined ? "" : value.toFixed(digits));
const percent = (value) => (value === null || value === undefined ? "" : `${Math.round(100 * value)} %`);
const signed = (value) => (value === null ? "" : `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`);
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** Colour of a score: viridis, which people with colour-blindness can read, dark for bad. */
const scoreColor = (score) => d3.interpolateViridis(clamp((score - LOWEST) / (HIGHEST - LOWEST), 0, 1));

/** One sentence about a photo, for screen readers and for the table. */
function describe(photo) {
  if (photo.failed) return `${photo.name}: not scored, ${photo.error || "no reason given"}`;
  const parts = [`${photo.name}: score ${fixed(photo.score)}`];
  if (photo.low !== null && photo.high !== null) parts.push(`95 % interval ${fixed(photo.low)} to ${fixed(photo.high)}`);
  if (photo.distortion >= 0) parts.push(`${className("distortion", photo.distortion)} ${percent(photo.distortionProb)}`);
  if (photo.scene >= 0) parts.push(`scene ${className("scene", photo.scene)}`);
  if (photo.moved !== null) parts.push(`moved by ${signed(photo.moved)}`);
  return parts.join(", ");
}
