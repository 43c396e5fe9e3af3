// Who is watching: sample viewers of the bundle in service, or any id.

import { byId, make } from "./dom.js";
import { plural } from "./words.js";

const LABELS = { heavy: "watches a lot", regular: "watches now and then", light: "has watched little", new: "someone new" };

/** Draw the samples; `choose(user)` is called with the id that is picked. */
export function draw(users, choose) {
  byId("samples").replaceChildren(...users.map((user) => {
    const fresh = user.kind === "new";
    const about = fresh ? "no history" : [plural(user.videos_met, "video", "videos"), user.mostly].filter(Boolean).join(" · ");
    const chip = make(
      "button",
      { type: "button", className: "chip", title: LABELS[user.kind] ?? "", data: { kind: user.kind, user: user.user_id } },
      make("b", {}, fresh ? "Someone new" : user.user_id),
      make("span", {}, about),
    );
    // A new one each time: what the last one did is remembered for a while.
    chip.addEventListener("click", () => {
      if (fresh) chip.dataset.user = `${user.user_id}-${Math.random().toString(36).slice(2, 7)}`;
      choose(chip.dataset.user);
    });
    return chip;
  }));
}

/** Show who is picked. */
export function mark(user) {
  for (const chip of byId("samples").children) chip.setAttribute("aria-pressed", String(chip.dataset.user === user));
  byId("user").value = user;
}
