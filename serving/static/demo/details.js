// The dialog of a card: why it is here, what is like it, what would come next.

import * as api from "./api.js";
import { byId, fromTemplate, make, paint } from "./dom.js";
import { byline, length, modelWords, number, partWords, sourceWords, title } from "./words.js";

const LISTED = 8;

/** Open the dialog for an item; `ask` is why, similar or next. `links`: where Dagster and MLflow are, if known. */
export async function open(ask, item, { user, answer, links }) {
  const heading = { why: "Why this video?", similar: "Similar videos", next: "What would come next" }[ask];
  byId("details-title").textContent = heading;
  const body = byId("details-body");
  body.replaceChildren(make("p", { className: "subject" }, title(item)), make("p", { className: "note" }, byline(item)));
  const dialog = byId("details");
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  if (ask === "why") {
    body.append(...why(item, answer, links));
    return;
  }
  const waiting = make("p", { className: "note" }, "Asking…");
  body.append(waiting);
  try {
    const found = await (ask === "similar" ? api.similar(item.video_id, LISTED) : api.next(user, item.video_id, LISTED));
    const empty = make("p", { className: "note" }, "Nothing is left to show.");
    waiting.replaceWith(found.items.length ? make("ol", { className: "rows" }, ...found.items.map((one) => row(one))) : empty);
  } catch (error) {
    waiting.textContent = error.message;
    waiting.className = "warning error";
  }
}

/** One video as a line of a list. */
export function row(item, note = `score ${number(item.score)}`) {
  const line = fromTemplate("row");
  paint(line.querySelector(".swatch"), item);
  line.dataset.video = item.video_id;
  line.querySelector(".place").textContent = item.rank;
  line.querySelector(".title").textContent = title(item);
  line.querySelector(".by").textContent = [byline(item), length(item.duration_ms)].filter(Boolean).join(" · ");
  line.querySelector(".other").textContent = note;
  return line;
}

function why(item, answer, links) {
  const explain = item.explain ?? {};
  const parts = Object.entries(explain.parts ?? {}).filter(([, value]) => typeof value === "number" && value !== 0);
  const most = Math.max(...parts.map(([, value]) => Math.abs(value)), Number.MIN_VALUE);
  const found = [];
  if (item.description) found.push(make("p", {}, item.description));
  found.push(facts([
    ["Came from", explain.source && sourceWords(explain.source)],
    ["Place", `${item.rank}, score ${number(item.score)}`],
    ["Chance of this place", explain.propensity == null ? null : percent(explain.propensity)],
  ]));
  if (parts.length) {
    found.push(make("h3", {}, "What the score is made of"), make("dl", { className: "parts" }, ...parts.flatMap(bar(most))));
  }
  found.push(make("h3", {}, "Where it was made"), lineage(answer, links));
  return found;
}

const bar = (most) => ([name, value]) => {
  const filled = make("span", { className: value < 0 ? "bar minus" : "bar" });
  filled.style.setProperty("--share", `${((Math.abs(value) / most) * 100).toFixed(1)}%`);
  return [make("dt", {}, partWords(name)), make("dd", {}, filled, make("span", {}, number(value)))];
};

const percent = (share) => (share >= 1 ? "certain" : `${(share * 100).toFixed(share < 0.1 ? 2 : 0)} %`);

function lineage(answer, links) {
  const from = answer.lineage ?? {};
  return facts([
    ["Bundle", from.bundle ?? answer.bundle],
    ["Model", modelWords(answer.model)],
    ["Training set", from.training_set],
    ["Dagster run", linked(from.dagster_run_id, links?.dagster && `${links.dagster}/runs/${encodeURIComponent(from.dagster_run_id)}`)],
    ["MLflow run", from.mlflow_run_id],
    ["Code", typeof from.code === "object" && from.code ? (from.code.commit ?? from.code.sha256) : from.code],
    ["Request", answer.request_id],
  ]);
}

function linked(text, url) {
  return text && url ? make("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, text) : text;
}

/** A list of names and values; what is not known is left out. */
function facts(pairs) {
  const known = pairs.filter(([, value]) => value != null && value !== "");
  return make("dl", { className: "facts" }, ...known.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

export function install() {
  const dialog = byId("details");
  byId("details-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it
}
