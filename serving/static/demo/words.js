// How things of the API are called on the page.

const SOURCES = {
  "two-tower": "your taste (two-tower)",
  svd: "your taste (SVD)",
  als: "your taste (ALS)",
  "item-item": "like what you watched",
  hybrid: "your taste (hybrid)",
  content: "like what you watched (content)",
  popularity: "trending",
  trending: "trending",
  new: "new, being tried",
  session: "what you do now",
  personal: "your taste",
  mixed: "your taste, then trending",
};

const PARTS = {
  model: "long-term taste",
  svd: "SVD",
  content: "content",
  trending: "trending",
  session: "what you do now",
  intent: "a category you just liked",
  repeat: "a creator you just saw",
};

const KINDS = { "two-tower": "two-tower", svd: "SVD", als: "ALS", popularity: "popularity" };

export const sourceWords = (source) => SOURCES[source] ?? source;
export const partWords = (part) => PARTS[part] ?? part.replaceAll("_", " ");

export const modelWords = (model) =>
  model ? `${KINDS[model.kind] ?? model.kind}${model.version == null ? "" : ` v${model.version}`}` : "unknown";

/** m:ss, or nothing for a video of unknown length. */
export function length(ms) {
  if (ms == null) return "";
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

export const number = (value) =>
  Number.isInteger(value) ? String(value) : value.toFixed(Math.abs(value) < 10 ? 3 : 1);

export const title = (item) => item.title || `Video ${item.video_id}`;

export const byline = (item) =>
  [item.category ?? "no category", item.creator_id && `by ${item.creator_id}`].filter(Boolean).join(" · ");

export const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;

// What each button sends. `share`: of the video that is played; a glance is three seconds at most.
const GLANCE_MS = 3000;
export const ACTS = {
  watch: { done: "Watched", events: ["view_start", "view_end"], played: (ms) => ms },
  glance: { done: "Glanced at", events: ["view_start", "scroll_pass"], played: (ms) => Math.min(ms / 4, GLANCE_MS) },
  like: { done: "Liked", events: ["like"], played: () => null },
  save: { done: "Saved", events: ["save"], played: () => null },
  skip: { done: "Skipped", events: ["scroll_pass"], played: () => 0 },
  report: { done: "Reported", events: ["report"], played: () => null },
};
