// Backups of databases and session objects: the states in the target, checks, runs, and the command lines that restore.
import { call, current, mayWrite } from "./api.js";
import { address, announce, attempt, crumbs, facts, h, note, notify, show, title } from "./dom.js";
import { bytes, number, plural, time } from "./format.js";
import { list } from "./grid.js";

const POLL = 1000;
const KINDS = { database: ["databases", "Database"], sessions: ["sessions", "Session objects"] };

const path = (...parts) => `/explorer/v1/backups${parts.map((part) => `/${encodeURIComponent(part)}`).join("")}`;
const pause = () => new Promise((done) => setTimeout(done, POLL));

export async function view({ parts, signal }) {
  const [kind, id] = parts;
  return id === undefined ? overview(signal) : backup(kind, id, signal);
}

async function overview(signal) {
  const { result } = await call(path(), { signal });
  const rows = result.map(({ kind, id, name, status }) => [
    h("a", { href: address(["backups", KINDS[kind][0], id]) }, name), KINDS[kind][1],
    ended(status.run, "Done", "Incomplete"), ended(status.verify, "Good", "Damaged"), status.in_flight && h("span", { class: "badge warn" }, "In flight")]);
  return [
    title("Backups"),
    h("p", { class: "muted" }, "In the target that the server was started with. Runs and checks are those of this page, since the server's start."),
    rows.length > 0 ? list("Backups", [["Name", "name"], "Kind", ["Last run", "nowrap"], ["Last check", "nowrap"], "State"], rows).box : note("There is nothing to back up yet."),
  ];
}

// The end of an operation in a word, with its time.
function ended(outcome, good, bad) {
  if (!outcome) return "";
  const isGood = outcome.report?.problems.length === 0;
  return [h("span", { class: isGood ? "badge good" : "badge bad" }, isGood ? good : outcome.report ? bad : "Failed"), ` ${time(outcome.ended)}`];
}

async function backup(kind, id, signal) {
  const place = h("div", {});
  const load = async () => {
    const { result } = await call(path(kind, id), { signal });
    place.replaceChildren(...[described(result)].flat(Infinity).filter(Boolean));
    return result;
  };
  const { id: own, name, status } = await load(); // a database may be named in the address by its name
  const problem = h("div", {});
  const state = h("span", { class: "muted" });
  // Waits for the end of what is in flight, without asking the target, and shows it.
  const settle = async (action) => {
    state.textContent = action === "run" ? "Backing up…" : "Verifying…";
    announce(state.textContent);
    try {
      const isInFlight = async () => (await call(path(), { signal })).result.some((one) => one.id === own && KINDS[one.kind][0] === kind && one.status.in_flight);
      while (await isInFlight()) await pause();
      await load();
      notify(action === "run" ? "The run has ended" : "The check has ended");
    } finally {
      state.textContent = "";
    }
  };
  const button = (action, text, isMain) => {
    const start = async () => {
      await call(path(kind, id, action), { method: "POST", signal });
      await settle(action);
    };
    const made = h("button", { type: "button", id: action, class: isMain ? undefined : "quiet", onclick: () => attempt(made, problem, start) }, text);
    return made;
  };
  const mayRun = kind === "databases" ? mayWrite("d1:write") : mayWrite("sessions:read");
  const runner = mayRun && button("run", "Back up now", true);
  const verifier = button("verify", "Verify");
  if (status.in_flight) attempt(verifier, problem, () => settle(status.in_flight));
  return [
    title(name), crumbs(["Backups", address(["backups"])], [name]),
    h("div", { class: "row middle" }, runner, verifier, state),
    !current().is_writable && h("p", { class: "hint" }, "This explorer only reads: a check reads the newest state, and a run is begun by the command line."),
    problem, place,
  ];
}

function described({ kind, id, target, states, status: { run, verify } }) {
  const [newest] = states;
  const rows = states.map((state) => [
    state.time ? time(state.time) : "Not known", state.since ? time(state.since) : "", number(state.objects), bytes(state.bytes),
    h("code", {}, state.id), state.problem ?? "", restorer(state)]);
  return [
    outcome("Run", run), outcome("Check", verify),
    facts(["Target", h("code", {}, target)], ["Newest state", newest ? time(newest.time) || newest.id : "none"], ["Newest verified state", verified(verify, newest)]),
    h("h2", {}, "States"),
    rows.length > 0
      ? list("States", [["Newest state", "nowrap"], ["Back to", "nowrap"], ["Objects", "number"], ["Size", "number"], ["Id", "name"], "Problem", "Command"], rows).box
      : note("Nothing is backed up yet."),
    h("p", { class: "hint" }, "A backup is restored by a command line, into a folder of its own: no running data is replaced. ",
      kind === "database" && ["The running database goes back by its ", h("a", { href: address(["databases", id, "history"]) }, "history"), "."]),
  ];
}

function restorer(state) {
  const open = () => show("Command that restores this state", state.restore);
  return h("button", { type: "button", class: "quiet", "aria-label": `Restore the state of ${time(state.time) || state.id}`, onclick: open }, "Restore");
}

function verified(verify, newest) {
  if (!verify) return "none since the server's start";
  const { report } = verify;
  if (!report?.state || report.problems.length > 0) return "none by the last check";
  const age = newest && newest.id !== report.state ? ", which is not the newest any more" : "";
  return `${time(report.time) || report.state}, checked ${time(verify.ended)}${age}`;
}

// The end of an operation in a sentence.
function outcome(what, done) {
  if (!done) return null;
  const { ended: at, report, error } = done;
  if (error) return h("p", { class: "message error", role: "alert" }, `${what} of ${time(at)}: ${error}`);
  const { problems, objects, bytes: size } = report;
  if (problems.length > 0) return h("p", { class: "message error", role: "alert" }, `${what} of ${time(at)}: ${plural(problems.length, "problem")}\n${problems.join("\n")}`);
  return note(`${what} of ${time(at)}: ${plural(objects, "object")}, ${bytes(size)} ${what === "Run" ? "put" : "read, and all is well"}.`);
}
