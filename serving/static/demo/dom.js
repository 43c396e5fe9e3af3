// Small tools for the document. Text only ever goes in as text: nothing here takes HTML.

export const byId = (id) => document.getElementById(id);

/** A new element with properties, data and children (strings become text). */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  const { data, ...plain } = properties;
  Object.assign(element, plain);
  Object.assign(element.dataset, data ?? {});
  element.append(...children);
  return element;
}

export const fromTemplate = (id) => byId(id).content.firstElementChild.cloneNode(true);

/** Show or hide an element by whether there is something to say in it. */
export function say(element, text) {
  element.textContent = text ?? "";
  element.hidden = !text;
}

/** Tell a screen reader; the same words twice are said twice. */
export function announce(text) {
  const live = byId("live");
  live.textContent = "";
  requestAnimationFrame(() => { live.textContent = text; });
}

/** A stable number of a text, for colours. */
export function hash(text) {
  let value = 2166136261;
  for (const letter of text) value = Math.imul(value ^ letter.codePointAt(0), 16777619) >>> 0;
  return value;
}

/** Give an element the colours of a category and a pattern of its own; parts.css paints with them. */
export function paint(element, item) {
  const own = hash(item.video_id);
  const hue = item.category ? (hash(item.category) * 137.508) % 360 : 210;
  element.style.setProperty("--hue", hue.toFixed(0));
  element.style.setProperty("--strength", item.category ? "38%" : "8%");
  element.style.setProperty("--x", `${own % 100}%`);
  element.style.setProperty("--y", `${(own >>> 8) % 100}%`);
  element.style.setProperty("--size", `${35 + ((own >>> 16) % 40)}%`);
}

export const stillness = matchMedia("(prefers-reduced-motion: reduce)");
