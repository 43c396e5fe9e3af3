// Checks of accessibility for a page as it stands; returns a line for each fault.
const faults = [];
const shown = (e) => e.checkVisibility({ visibilityProperty: true }) && e.getClientRects().length > 0;
const tell = (what, e) => faults.push(`${what}: <${e.tagName.toLowerCase()} id="${e.id}" class="${e.className}"> ${e.textContent.trim().slice(0, 40)}`);
const modal = document.querySelector("dialog[open]");
const scope = modal ?? document.body;
const every = (selector) => [...scope.querySelectorAll(selector)].filter(shown);

// Names.
const name = (e) =>
  (e.getAttribute("aria-label") ?? "") ||
  (e.getAttribute("aria-labelledby") ?? "").split(/\s+/).map((id) => document.getElementById(id)?.textContent ?? "").join("").trim() ||
  [...(e.labels ?? [])].map((l) => l.textContent).join("").trim() ||
  (e.matches("input, select, textarea") ? "" : e.textContent.trim());
for (const e of every("a, button, input, select, textarea, dialog, nav, [role=group], main section")) if (!name(e)) tell("no name", e);
if (modal && !name(modal)) tell("no name", modal);
for (const e of every("[aria-label]")) {
  const words = e.matches("button, a") ? e.textContent.trim() : "";
  if (words && !e.getAttribute("aria-label").toLowerCase().includes(words.toLowerCase())) tell("its name lacks its words", e);
}
for (const e of every("img:not([alt]), svg:not([aria-hidden])")) tell("a picture without a text", e);
for (const e of every("[tabindex]")) if (e.tabIndex > 0) tell("its place in the tab order is forced", e);
for (const e of every("button, input, select")) {
  const box = e.getBoundingClientRect();
  if (box.width < 24 || box.height < 24) tell("too small to touch", e);
}

// Structure.
if (!document.documentElement.lang) faults.push("no language");
if (!document.title) faults.push("no title");
for (const landmark of ["header", "nav", "main", "aside"]) if (!document.querySelector(landmark)) faults.push(`no ${landmark}`);
const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
for (const id of new Set(ids.filter((one, i) => ids.indexOf(one) !== i))) faults.push(`the id ${id} is there twice`);
for (const list of every("ol, ul")) for (const e of list.children) if (e.tagName !== "LI") tell("no item of a list", e);
let level = modal ? 1 : 0;
for (const e of every("h1, h2, h3, h4")) {
  const mine = Number(e.tagName[1]);
  if (mine > level + 1) tell("its level of heading is skipped to", e);
  level = mine;
}

// Contrast, WCAG 2: 4.5 to 1, 3 to 1 for large text.
const parse = (color) => {
  const [r, g, b, a = 1] = color.match(/[\d.]+/g).map(Number);
  return [r, g, b, a];
};
const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
const light = (rgb) => {
  const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (one, two) => {
  const [low, high] = [light(one), light(two)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
};
/** Colours that may lie behind an element: both ends where there is a picture. */
function grounds(e) {
  const layers = [];
  for (let at = e; at; at = at.parentElement) {
    const style = getComputedStyle(at);
    const color = parse(style.backgroundColor);
    if (style.backgroundImage !== "none") return [[255, 255, 255], [0, 0, 0]].map((end) => layers.reduceRight((below, top) => over(top, below), end));
    layers.push(color);
    if (color[3] === 1) break;
  }
  return [layers.reduceRight((below, top) => over(top, below), [255, 255, 255])];
}
for (const e of every("*")) {
  if (![...e.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim())) continue;
  if (e.closest("[aria-busy]") || e.matches("option, optgroup, .unseen, .skip-link")) continue;
  const style = getComputedStyle(e);
  const size = parseFloat(style.fontSize);
  const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
  for (const ground of grounds(e)) {
    const found = contrast(over(parse(style.color), ground), ground);
    if (found < needed) tell(`contrast ${found.toFixed(2)}`, e);
  }
}
return faults;
