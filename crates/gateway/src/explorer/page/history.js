// The history of a database, and the way back to an earlier state.
import { account, call, mayWrite } from "./api.js";
import { attempt, facts, h, note, notify, sure } from "./dom.js";
import { bytes, number, time } from "./format.js";
import { list } from "./grid.js";

export async function history({ uuid, name }, signal) {
  const place = h("div", {});
  const load = async () => {
    const { result } = await call(`/explorer/v1/databases/${encodeURIComponent(uuid)}/history`, { signal });
    place.replaceChildren(...[result ? described(result) : []].flat().filter(Boolean));
    return result;
  };
  const found = await load();
  if (found === null) return [note("This database keeps no history. ", h("code", {}, `isobar d1 time-travel enable ${name}`), " begins one.")];
  if (mayWrite("d1:write")) return [place, traveller(uuid, name, load, signal)];
  return [place, h("p", { class: "hint" }, "This explorer, or the key, only reads. The command line that goes back: ", h("code", {}, `isobar d1 time-travel restore ${name} --timestamp TIME`))];
}

function described(extent) {
  const { oldest, newest, gaps, snapshots, bytes: size, failure: reason } = extent;
  if (gaps === undefined) return [note("This database goes back in time. How far, its server does not report.")];
  const rows = gaps.map(({ after, before }) => [time(after.time), time(before.time)]);
  return [
    reason && h("p", { class: "message error", role: "alert" }, reason),
    facts(["Oldest state", time(oldest?.time)], ["Newest state", time(newest?.time)], ["Bookmark", newest && h("code", {}, newest.bookmark)],
      ["Snapshots", number(snapshots)], ["Size", bytes(size)]),
    rows.length > 0 && [h("h2", {}, "Gaps"), h("p", {}, "Between these states nothing can be restored."), list("Gaps", [["After", "nowrap"], ["Until", "nowrap"]], rows).box],
  ].flat();
}

// A form for a time. What it has done can be undone, as the history keeps what was written since.
function traveller(uuid, name, load, signal) {
  const problem = h("div", {});
  const done = h("div", {});
  const field = h("input", { name: "time", type: "datetime-local", step: "1", required: true });
  const button = h("button", { class: "danger" }, "Go back");
  const path = (part) => account(`/d1/database/${encodeURIComponent(uuid)}/time_travel/${part}`);
  const restore = async (bookmark, state) => {
    const explanation = `${name} goes to ${state}. What was written since is gone from the database and stays in its history, so that this can be undone.`;
    if (!(await sure("Go back to this state?", explanation, "Go back"))) return;
    const { result } = await call(path(`restore?bookmark=${encodeURIComponent(bookmark)}`), { method: "POST" });
    const undo = h("button", { type: "button", class: "quiet", id: "undo", onclick: () => attempt(undo, problem, () => restore(result.previous_bookmark, "the state before it went back")) }, "Undo");
    done.replaceChildren(note(`${name} has gone back. `, undo));
    await load();
    notify(`${name} has gone back`);
  };
  const submit = (event) => {
    event.preventDefault();
    attempt(button, problem, async () => {
      const at = new Date(field.value).toISOString();
      const { result } = await call(path(`bookmark?timestamp=${encodeURIComponent(at)}`), { signal });
      await restore(result.bookmark, `the state of ${time(at)}`);
    });
  };
  return h("section", { "aria-labelledby": "back" },
    h("h2", { id: "back" }, "Go back in time"),
    h("form", { class: "row", id: "travel", onsubmit: submit }, h("label", {}, "The state at this time, in your time zone", field), button),
    problem, done);
}
