// The feed as cards: drawn once by video, then moved, so that focus stays and the eye can follow.

import { byId, fromTemplate, make, paint, stillness } from "./dom.js";
import { byline, length, number, sourceWords, title } from "./words.js";

const MOVE_MS = 420;
let drawn = 0; // ids of the document are numbers: a video id may hold anything

/** What moved between two lists, beyond what the leaving of `gone` explains: id -> places gained, or "new". */
export function moves(before, after, gone) {
  const expected = before.filter((item) => item.video_id !== gone).map((item) => item.video_id);
  const place = new Map(expected.map((id, index) => [id, index]));
  const found = new Map();
  after.forEach((item, index) => {
    const was = place.get(item.video_id);
    if (was === undefined) {
      if (index < expected.length) found.set(item.video_id, "new");
    } else if (was !== index) found.set(item.video_id, was - index);
  });
  return found;
}

/** Draw `items` into the feed, reusing the cards that stay. `moved` as of `moves`. */
export function draw(items, moved = new Map()) {
  const list = byId("feed");
  const before = new Map([...list.children].map((card) => [card.dataset.video, card]));
  const places = new Map([...before].map(([id, card]) => [id, card.getBoundingClientRect()]));
  const cards = items.map((item) => {
    const card = before.get(item.video_id) ?? create(item);
    update(card, item, moved.get(item.video_id));
    return card;
  });
  keep(list, cards);
  if (moved.size && !stillness.matches) cards.forEach((card) => glide(card, places.get(card.dataset.video)));
}

/** Put the cards into the list without taking out those that stay: a removed element loses the focus. */
function keep(list, cards) {
  const wanted = new Set(cards);
  [...list.children].forEach((card) => wanted.has(card) || card.remove());
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  cards.forEach((card, index) => {
    if (list.children[index] !== card) list.insertBefore(card, list.children[index] ?? null);
  });
  if (focused && document.activeElement !== focused) focused.focus({ preventScroll: true });
}

function create(item) {
  const card = fromTemplate("card");
  card.dataset.video = item.video_id;
  const poster = card.querySelector(".poster");
  paint(poster, item);
  poster.dataset.letter = (item.category ?? "?").slice(0, 1).toUpperCase();
  if (item.thumbnail_url) poster.prepend(thumbnail(item.thumbnail_url));
  card.querySelector(".length").textContent = length(item.duration_ms);
  const heading = card.querySelector(".title");
  heading.textContent = title(item);
  heading.title = title(item);
  heading.id = `title-${++drawn}`;
  card.querySelector("article").setAttribute("aria-labelledby", heading.id);
  card.querySelector(".by").textContent = byline(item);
  card.querySelector(".tags").append(...item.tags.slice(0, 4).map((tag) => make("span", {}, `#${tag}`)));
  for (const button of card.querySelectorAll("button")) {
    button.setAttribute("aria-label", `${button.textContent.trim()}: ${title(item)}`);
  }
  return card;
}

/** The picture, if it can be had: the coloured placeholder stays below it, and remains if it does not load. */
function thumbnail(url) {
  const image = make("img", { alt: "", loading: "lazy", decoding: "async", referrerPolicy: "no-referrer" });
  image.addEventListener("load", () => image.classList.add("loaded"));
  image.addEventListener("error", () => image.remove());
  if (/^(https?:\/\/|\/(?!\/))/.test(url)) image.src = url;
  return image;
}

function update(card, item, moved) {
  card.querySelector(".place").textContent = item.rank;
  card.querySelector(".source").textContent = item.explain ? sourceWords(item.explain.source) : "";
  card.querySelector(".score").textContent = `score ${number(item.score)}`;
  const badge = card.querySelector(".moved");
  badge.hidden = moved === undefined;
  card.classList.toggle("fresh", moved !== undefined);
  badge.classList.toggle("down", moved < 0);
  badge.textContent = moved === undefined ? "" : moved === "new" ? "new" : `${moved > 0 ? "▲" : "▼"} ${Math.abs(moved)}`;
}

function glide(card, from) {
  if (!from) {
    card.animate([{ opacity: 0, transform: "scale(.96)" }, { opacity: 1, transform: "none" }], MOVE_MS);
    return;
  }
  const to = card.getBoundingClientRect();
  const [x, y] = [from.left - to.left, from.top - to.top];
  if (x || y) {
    card.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], { duration: MOVE_MS, easing: "ease-out" });
  }
}

/** Keep the keyboard where it was when the card under it leaves: the same button of the card now in its place. */
export function focusAt(index, act) {
  const cards = byId("feed").children;
  const card = cards[Math.min(index, cards.length - 1)];
  (card?.querySelector(`[data-act="${act}"]`) ?? byId("views")).focus({ preventScroll: true });
}
