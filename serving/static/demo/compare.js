// Two lists for one viewer side by side: variants of experiments, or kinds of model.

import * as api from "./api.js";
import { byId, make, say } from "./dom.js";
import { row } from "./details.js";
import { modelWords } from "./words.js";

const LISTED = 10;
const SIDES = ["left", "right"];

/** What can be compared: the feed itself, each kind of model, each variant of a running experiment. */
async function choices() {
  const found = [
    { value: "feed", label: "What they get" },
    { value: "kind:svd", label: "SVD" },
    { value: "kind:two-tower", label: "Two-tower" },
  ];
  try {
    const { experiments } = await api.experiments();
    for (const experiment of experiments.filter((one) => one.running)) {
      for (const variant of experiment.variants) {
        found.push({ value: `variant:${experiment.id}:${variant.name}`, label: variant.name, group: experiment.id });
      }
    }
  } catch (error) {
    if (!(error instanceof api.Problem)) throw error;
    say(byId("compare-summary"), `Experiments cannot be listed: ${error.message}`);
  }
  return found;
}

function list(user, choice) {
  const [what, ...rest] = choice.split(":");
  if (what === "kind") return api.byKind(user, rest[0], LISTED);
  return api.feed(user, { limit: LISTED, variant: what === "variant" ? rest.join(":") : null });
}

/** The comparison on the page. */
export class Compare {
  constructor(failed) {
    this.failed = failed;
    this.user = null;
    this.asked = 0;
    this.filled = false;
    SIDES.forEach((side) => byId(side).addEventListener("change", () => this.draw()));
  }

  async show(user) {
    this.user = user;
    byId("compare-user").textContent = user;
    if (!this.filled) {
      this.filled = true;
      const offered = await choices();
      SIDES.forEach((side) => fill(byId(side), offered));
      const variants = offered.filter((one) => one.group);
      byId("left").value = variants[0]?.value ?? "kind:svd";
      byId("right").value = variants[1]?.value ?? "kind:two-tower";
    }
    await this.draw();
  }

  async draw() {
    const mine = ++this.asked;
    try {
      const answers = await Promise.all(SIDES.map((side) => list(this.user, byId(side).value)));
      if (mine !== this.asked) return;
      SIDES.forEach((side, index) => fillList(side, answers[index], answers[1 - index]));
      say(byId("compare-summary"), summary(...answers));
      say(byId("problem"), null);
    } catch (error) {
      this.failed(error);
    }
  }
}

function fill(select, offered) {
  const groups = new Map([["Lists", []]]);
  for (const { value, label, group } of offered) {
    const name = group ? `Experiment ${group}` : "Lists";
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(make("option", { value }, label));
  }
  select.replaceChildren(...[...groups].map(([label, options]) => make("optgroup", { label }, ...options)));
}

function fillList(side, answer, other) {
  const places = new Map(other.items.map((item) => [item.video_id, item.rank]));
  byId(`${side}-list`).replaceChildren(...answer.items.map((item) => {
    const there = places.get(item.video_id);
    const note = there === undefined ? "only here" : there === item.rank ? "same place" : `place ${there} there`;
    const line = row(item, note);
    line.classList.toggle("alone", there === undefined);
    return line;
  }));
  const degraded = answer.degraded ? `, degraded: ${answer.degraded_because.join("; ")}` : "";
  byId(`${side}-about`).textContent = `${modelWords(answer.model)}, ${answer.tookMs.toFixed(0)} ms${degraded}`;
}

function summary(left, right) {
  const here = new Set(left.items.map((item) => item.video_id));
  const both = right.items.filter((item) => here.has(item.video_id)).length;
  const first = left.items.findIndex((item, index) => item.video_id !== right.items[index]?.video_id);
  const order = first < 0 && left.items.length === right.items.length ? "in the same order" : `they part at place ${first < 0 ? left.items.length + 1 : first + 1}`;
  return `${both} of ${Math.max(left.items.length, right.items.length)} videos are in both lists; ${order}.`;
}
