// The contact sheet. Cards have one size, so that only those in view need to exist.

const CARD = { narrowest: 190, height: 250, gap: 12 };
const sheet = document.getElementById("sheet");
const cards = new Map();
let columns = 1;
let cardWidth = CARD.narrowest;

function layOut() {
  columns = Math.max(1, Math.floor((sheet.clientWidth + CARD.gap) / (CARD.narrowest + CARD.gap)));
  cardWidth = (sheet.clientWidth + CARD.gap) / columns - CARD.gap;
  const lines = Math.ceil(state.found.length / columns);
  sheet.style.height = `${lines * (CARD.height + CARD.gap)}px`;
}

/** Make the cards that came into view, remove those that left it. */
function drawSheet() {
  if (state.view !== "sheet") return;
  const [first, last] = inView(sheet, CARD.height + CARD.gap, columns, state.found.length);
  const wanted = new Set([state.current]);
  for (let place = first; place < last; place += 1) wanted.add(place);
  for (const [place, card] of cards) {
    if (!wanted.has(place)) {
      card.remove();
      cards.delete(place);
    }
  }
  for (const place of [...wanted].sort((a, b) => a - b)) {
    if (place < state.found.length && !cards.has(place)) cards.set(place, addCard(place));
  }
}

function addCard(place) {
  const photo = state.found[place];
  const card = element(
    "li",
    {
      class: "card",
      "aria-setsize": state.found.length,
      "aria-posinset": place + 1,
      style: {
        left: `${(place % columns) * (cardWidth + CARD.gap)}px`,
        top: `${Math.floor(place / columns) * (CARD.height + CARD.gap)}px`,
        width: `${cardWidth}px`,
        height: `${CARD.height}px`,
      },
    },
    element(
      "button",
      {
        type: "button",
        class: "open",
        "data-place": place,
        "aria-label": describe(photo),
        tabindex: place === state.current ? "0" : "-1",
        onclick: () => openDetail(place),
        onfocus: () => setCurrent(place),
      },
      element("div", { class: "picture" }, picture(photo)),
      element("div", { class: "facts" }, ...facts(photo)),
    ),
    starButton(photo),
  );
  sheet.append(card);
  return card;
}

function picture(photo) {
  if (photo.thumbnail) return element("img", { src: photo.thumbnail, alt: "", loading: "lazy", decoding: "async" });
  if (photo.failed) return "not scored";
  return photo.link ? "no thumbnail" : "not found";
}

function facts(photo) {
  const name = element("div", { class: "name", title: photo.path }, element("bdi", {}, photo.name));
  if (photo.failed) return [name, element("div", { class: "error" }, photo.error || "no reason given")];
  const distortion = `${className("distortion", photo.distortion)} ${percent(photo.distortionProb)}`;
  const second = photo.moved === null ? distortion : `${signed(photo.moved)} from ${fixed(photo.before)}`;
  return [
    element("div", { class: "line" }, element("span", { class: "score" }, fixed(photo.score)), element("span", { class: "soft" }, second)),
    intervalBar(photo),
    element("div", { class: "line soft" }, element("span", {}, className("scene", photo.scene))),
    name,
  ];
}

/** The card that the keyboard is on. */
function setCurrent(place) {
  if (place === state.current) return;
  cards.get(state.current)?.querySelector(".open").setAttribute("tabindex", "-1");
  state.current = place;
  drawSheet();
  cards.get(place)?.querySelector(".open").setAttribute("tabindex", "0");
}

/** Move the keyboard to a card, scrolling it into view. */
function focusCard(place) {
  if (!state.found.length) return;
  setCurrent(clamp(place, 0, state.found.length - 1));
  const button = cards.get(state.current)?.querySelector(".open");
  if (!button) return;
  button.focus({ preventScroll: true });
  button.scrollIntoView({ block: "nearest" });
}

function redrawSheet() {
  const focused = sheet.contains(document.activeElement) && document.activeElement.classList.contains("open");
  for (const card of cards.values()) card.remove();
  cards.clear();
  sheet.hidden = state.view !== "sheet";
  if (sheet.hidden) return;
  layOut();
  drawSheet();
  if (focused) cards.get(state.current)?.querySelector(".open").focus({ preventScroll: true });
}

onChange(redrawSheet);
