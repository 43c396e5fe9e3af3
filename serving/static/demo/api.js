// The endpoint's API: one function a question, and errors that carry what the endpoint said.

const KEY = "reelgraph-token";
const UNKNOWN_DURATION_MS = 60000; // R1.2: a video of unknown length counts as a minute

/** What the endpoint refused, in its own words; `status` 0: it could not be reached. */
export class Problem extends Error {
  constructor(status, detail, retryAfter = null) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

export const setToken = (token) => (token ? sessionStorage.setItem(KEY, token) : sessionStorage.removeItem(KEY));

/** Whom the token is for, so far as it says: nobody is proved by this, the endpoint checks. Null if it does not. */
export function subject() {
  const [, claims, signature] = (sessionStorage.getItem(KEY) ?? "").split(".");
  if (!signature) return null;
  try {
    const bytes = Uint8Array.from(atob(claims.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)).sub ?? null;
  } catch {
    return null; // not a token of ours: the endpoint will say so
  }
}

/** A JWT has three parts with dots between; anything else is an API key. */
function credentials() {
  const token = sessionStorage.getItem(KEY);
  if (!token) return {};
  return token.split(".").length === 3 ? { Authorization: `Bearer ${token}` } : { "X-API-Key": token };
}

async function call(path, { query, body, signal } = {}) {
  const given = Object.entries(query ?? {}).filter(([, value]) => value != null);
  const url = given.length ? `${path}?${new URLSearchParams(given)}` : path;
  const headers = credentials();
  if (body) headers["Content-Type"] = "application/json";
  const started = performance.now();
  let response;
  try {
    response = await fetch(url, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The endpoint cannot be reached.");
  }
  const content = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new Problem(response.status, content.detail ?? response.statusText, Number(response.headers.get("Retry-After")) || null);
  }
  return { ...content, tookMs: performance.now() - started };
}

const API = "/api/v1";
const part = encodeURIComponent;

export const samples = () => call(`${API}/demo/users`, { query: { limit: 7 } });
export const ready = () => call("/health/ready");
export const experiments = () => call(`${API}/recs/experiments`);

export const feed = (user, { limit, offset = 0, variant, signal }) =>
  call(`${API}/recommendations/feed`, {
    query: { user_id: user, limit, offset, explain: true, experiment_id: variant },
    signal,
  });

export const byKind = (user, kind, limit) =>
  call(`${API}/inference/${kind === "svd" ? "recommend" : "recommend-dl"}`, { body: { user_id: user, limit } });

export const similar = (video, limit) => call(`${API}/recommendations/similar/${part(video)}`, { query: { limit } });
export const next = (user, video, limit) => call(`${API}/recs/${part(user)}/${part(video)}`, { query: { limit } });

const session = crypto.randomUUID?.() ?? `page-${Date.now()}-${Math.random().toString(36).slice(2)}`;

/** Tell the endpoint what the viewer did with an item of the list `requestId`, event after event. */
export async function track(user, item, requestId, act) {
  const played = act.played(item.duration_ms ?? UNKNOWN_DURATION_MS);
  for (const type of act.events) {
    await call(`${API}/events/track`, {
      body: {
        user_id: user,
        video_id: item.video_id,
        event_type: type,
        session_id: session,
        request_id: requestId,
        position_index: item.rank,
        ...(played == null ? {} : { playback_position_ms: type === "view_start" ? 0 : Math.round(played) }),
      },
    });
  }
}
