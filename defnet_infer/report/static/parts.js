// Elements that several views are made of.

/** An element with attributes and children. Strings become text, never HTML. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(made.style, value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** The interval as a bar on the score's range, with a mark at the score; clipped to the range for display. */
function intervalBar(photo) {
  const share = (score) => 100 * clamp((score - LOWEST) / (HIGHEST - LOWEST), 0, 1);
  const bar = element("div", { class: "interval", "aria-hidden": "true" });
  if (photo.low !== null && photo.high !== null) {
    const left = share(photo.low);
    bar.append(element("i", { style: { left: `${left}%`, width: `${Math.max(0, share(photo.high) - left)}%` } }));
    bar.title = `95 % interval ${fixed(photo.low)} to ${fixed(photo.high)}`;
  }
  bar.append(element("b", { style: { left: `${share(photo.score)}%` } }));
  return bar;
}

function starButton(photo) {
  const starred = state.starred.has(photo.path);
  return element(
    "button",
    {
      type: "button",
      class: "star",
      tabindex: "-1",
      "aria-pressed": String(starred),
      "aria-label": `Star ${photo.name}`,
      onclick: () => toggleStar(photo),
    },
    starred ? "★" : "☆",
  );
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Clipboards are closed to pages opened from disk in some browsers; an old way still works there.
    const area = element("textarea", { class: "visually-hidden" });
    area.value = text;
    (document.querySelector("dialog[open]") || document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say(`${what} copied`);
}

/** Indices of the items of a virtual list that are in view, with some beyond. */
function inView(container, itemHeight, perLine, count) {
  const top = container.getBoundingClientRect().top;
  const first = Math.floor(-top / itemHeight) - 2;
  const last = Math.ceil((window.innerHeight - top) / itemHeight) + 2;
  return [clamp(first * perLine, 0, count), clamp(last * perLine, 0, count)];
}
