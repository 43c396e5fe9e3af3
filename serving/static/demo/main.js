// The page: who is watching, which view, and what the endpoint said last.

import * as api from "./api.js";
import { Compare } from "./compare.js";
import * as details from "./details.js";
import { byId, say } from "./dom.js";
import { Feed, showStatus } from "./feed.js";
import * as people from "./people.js";
import { modelWords } from "./words.js";

const AGAIN_MS = 2000;
const about = { champion: null, bundle: null, links: null };

const feed = new Feed({ failed, answered });
const compare = new Compare(failed);
let view = "feed";
let again; // the next try, while the endpoint only starts

/** Say what went wrong; ask for a token where that is it; try again where the endpoint only starts. */
function failed(error) {
  say(byId("problem"), error.message);
  if (error.status === 401 || error.status === 403) askForToken();
  if (error.status === 503 && !feed.items.length) {
    clearTimeout(again);
    again = setTimeout(begin, (error.retryAfter ?? 0) * 1000 || AGAIN_MS);
  }
  if (!(error instanceof api.Problem)) throw error;
}

function askForToken() {
  byId("token-form").hidden = false;
  if (byId("token").value === "") byId("token").focus();
}

function answered(answer) {
  if (byId("token-form").contains(document.activeElement)) byId("views").focus({ preventScroll: true });
  byId("token-form").hidden = true;
  showStatus(answer, about.champion);
  if (answer.bundle !== about.bundle) learn(answer);
}

/** Who is champion of the bundle that answers now. */
async function learn(answer) {
  about.bundle = answer.bundle;
  try {
    const { champion, models } = await api.ready();
    about.champion = modelWords({ kind: champion, version: models[champion] });
    showStatus(feed.answer ?? answer, about.champion);
  } catch (error) {
    about.bundle = null; // asked again with the next list
    if (!(error instanceof api.Problem)) throw error;
  }
}

async function choose(user) {
  people.mark(user);
  history.replaceState(null, "", `#user=${encodeURIComponent(user)}`);
  await (view === "feed" ? feed.show(user) : Promise.all([feed.show(user), compare.show(user)]));
}

function look(at) {
  view = at;
  for (const name of ["feed", "compare"]) {
    byId(`view-${name}`).hidden = name !== at;
    byId(`tab-${name}`).setAttribute("aria-pressed", String(name === at));
  }
  if (at === "compare" && feed.user) compare.show(feed.user);
}

/** The first look: the viewer of the address or of the token, else the first sample. Both questions are asked at once. */
async function begin() {
  say(byId("problem"), null);
  const named = new URLSearchParams(location.hash.slice(1)).get("user") ?? api.subject();
  const first = named && choose(named);
  try {
    const { users, links } = await api.samples();
    about.links = links;
    people.draw(users, choose);
    if (named) people.mark(named);
    else if (users.length) await choose(users[0].user_id);
  } catch (error) {
    // Only a named viewer's own feed may be open to this token: the samples are a help, not a need.
    if (named && error.status === 403) return;
    failed(error);
  }
  await first;
}

byId("who-form").addEventListener("submit", (event) => {
  event.preventDefault();
  choose(byId("user").value);
});
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  api.setToken(byId("token").value.trim());
  begin();
});
byId("tab-feed").addEventListener("click", () => look("feed"));
byId("tab-compare").addEventListener("click", () => look("compare"));
byId("feed").addEventListener("click", (event) => {
  const ask = event.target.closest("[data-ask]");
  const item = ask && feed.items.find((one) => one.video_id === ask.closest(".card").dataset.video);
  if (item) details.open(ask.dataset.ask, item, { user: feed.user, answer: feed.answer, links: about.links });
});
details.install();
begin();
