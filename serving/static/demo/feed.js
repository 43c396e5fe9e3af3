// One viewer's feed: load, page, act, and what an act changed.

import * as api from "./api.js";
import { draw, focusAt, moves } from "./cards.js";
import { announce, byId, make, say } from "./dom.js";
import { ACTS, modelWords, plural, sourceWords, title } from "./words.js";

const PAGE = 12;
const LONGEST = 100; // what one answer may hold
const REMEMBERED = 12;

/** The feed on the page. `failed(error)` is told of every refusal; `answered(answer)` of every list. */
export class Feed {
  constructor({ failed, answered }) {
    this.failed = failed;
    this.answered = answered;
    this.user = null;
    this.items = [];
    this.answer = null;
    this.asking = null;
    byId("more").addEventListener("click", () => this.more());
    byId("feed").addEventListener("click", (event) => this.pressed(event.target.closest("[data-act]")));
  }

  async show(user) {
    this.user = user;
    this.items = [];
    byId("activity").replaceChildren();
    byId("quiet").hidden = false;
    const answer = await this.ask({ limit: PAGE });
    if (answer) {
      this.take(answer, answer.items);
      announce(`Feed of ${user}: ${plural(answer.items.length, "video", "videos")}.`);
    }
  }

  async more() {
    const known = this.items.length;
    const answer = await this.ask({ limit: PAGE, offset: known });
    if (!answer) return;
    // A new bundle has another order: its pages do not continue the old ones.
    if (answer.bundle !== this.answer.bundle) return this.refresh();
    const shown = new Set(this.items.map((item) => item.video_id));
    const fresh = answer.items.filter((item) => !shown.has(item.video_id));
    this.take(answer, [...this.items, ...fresh]);
    announce(`${plural(fresh.length, "more video", "more videos")}.`);
    byId("feed").children[known]?.querySelector("button")?.focus({ preventScroll: true });
  }

  /** The list again, as long as it is on the page, with what moved; returns what moved. */
  async refresh(gone) {
    const answer = await this.ask({ limit: Math.min(Math.max(this.items.length, PAGE), LONGEST) });
    if (!answer) return null;
    const moved = moves(this.items, answer.items, gone);
    this.take(answer, answer.items, moved);
    return moved;
  }

  /** One question at a time: a newer one makes the older void. Null when it failed or is void. */
  async ask(options) {
    this.asking?.abort();
    const mine = (this.asking = new AbortController());
    byId("feed").setAttribute("aria-busy", "true");
    try {
      const answer = await api.feed(this.user, { ...options, signal: mine.signal });
      say(byId("problem"), null);
      return answer;
    } catch (error) {
      if (error.name !== "AbortError") this.failed(error);
      return null;
    } finally {
      if (this.asking === mine) byId("feed").removeAttribute("aria-busy");
    }
  }

  take(answer, items, moved) {
    this.answer = answer;
    this.items = items;
    draw(items, moved);
    byId("feed-title").textContent = `Feed of ${this.user}`;
    byId("empty").hidden = items.length > 0;
    byId("more").hidden = answer.items.length < answer.limit;
    this.answered(answer);
  }

  async pressed(button) {
    const card = button?.closest(".card");
    if (!card || card.hasAttribute("aria-busy")) return;
    const index = this.items.findIndex((one) => one.video_id === card.dataset.video);
    const item = this.items[index];
    const { act } = button.dataset;
    const [user, focused] = [this.user, document.activeElement === button];
    card.setAttribute("aria-busy", "true");
    try {
      await api.track(user, item, this.answer.request_id, ACTS[act]);
      if (user !== this.user) return; // another viewer was picked meanwhile
      const moved = await this.refresh(item.video_id);
      this.tell(act, item, moved);
      if (focused && !card.isConnected) focusAt(index, act);
    } catch (error) {
      this.failed(error);
    } finally {
      card.removeAttribute("aria-busy");
    }
  }

  /** Say what was done and what came of it, in the strip and to screen readers. */
  tell(act, item, moved) {
    const outcome = outcomeOf(moved);
    const strip = byId("activity");
    strip.prepend(make("li", { data: { act } }, make("b", {}, ACTS[act].done), ` ${title(item)} `, make("span", {}, outcome)));
    while (strip.children.length > REMEMBERED) strip.lastElementChild.remove();
    byId("quiet").hidden = true;
    announce(`${ACTS[act].done} ${title(item)}: ${outcome}. First is now ${this.items[0] ? title(this.items[0]) : "nothing"}.`);
  }
}

/** In words; null is what a later act's feed tells. */
function outcomeOf(moved) {
  if (!moved) return "noted";
  const fresh = [...moved.values()].filter((value) => value === "new").length;
  const others = moved.size - fresh;
  return [others && `${others} moved`, fresh && `${fresh} new`].filter(Boolean).join(", ") || "the order stays";
}

/** What answered, in a line. `champion`: as /health/ready names it. */
export function showStatus(answer, champion) {
  const variants = Object.entries(answer.variants ?? {}).map(([id, variant]) => `${id}: ${variant}`);
  const facts = [
    ["Bundle", answer.bundle.slice(0, 8)],
    ["Champion", champion ?? "unknown"],
    ["Answered by", modelWords(answer.model)],
    ["List", sourceWords(answer.source)],
    ["Experiment", variants.join(", ") || "none"],
    ["Took", `${answer.tookMs.toFixed(0)} ms, ${answer.cached ? "cached" : "fresh"}`],
    ["State", answer.degraded ? "degraded" : "whole"],
  ];
  byId("status").replaceChildren(...facts.map(([name, value]) =>
    make("div", { data: { fact: name.toLowerCase() } }, make("dt", {}, name), make("dd", {}, value))));
  say(byId("degraded"), answer.degraded ? `Degraded: ${answer.degraded_because.join("; ")}.` : null);
}
