// Deploys of the site, and the way back to an earlier one.
import { call, current, mayWrite } from "./api.js";
import { attempt, h, note, notify, sure, title } from "./dom.js";
import { bytes, number, time } from "./format.js";
import { list } from "./grid.js";

export async function view({ signal }) {
  const { bucket, prefix } = current().deploys;
  const { result } = await call("/explorer/v1/deploys", { signal });
  const problem = h("div", {});
  const rows = result.map((deploy) => [
    h("code", {}, deploy.id), time(deploy.created), number(deploy.files), bytes(deploy.bytes), deploy.message ?? "",
    deploy.is_current ? h("span", { class: "badge good" }, "Served") : mayWrite("r2:write") && button(deploy, problem)]);
  return [
    title("Deploys"),
    h("p", { class: "muted" }, `The site in ${bucket}, below ${prefix || "its root"}`),
    problem,
    rows.length > 0
      ? list("Deploys", [["Deploy", "name"], ["Created", "nowrap"], ["Files", "number"], ["Size", "number"], "Message", "State"], rows).box
      : note("Nothing has been deployed yet. ", h("code", {}, `isobar deploy FOLDER ${bucket}/${prefix}`), " does it."),
  ];
}

function button({ id, created }, problem) {
  const back = async () => {
    if (!(await sure("Serve this deploy?", `Visitors get the site of ${time(created)} from now on. The other deploys stay.`, "Serve it", "sure"))) return;
    await call(`/explorer/v1/deploys/${encodeURIComponent(id)}/rollback`, { method: "POST" });
    dispatchEvent(new Event("hashchange"));
    notify(`${id} is served`);
  };
  const made = h("button", { type: "button", class: "quiet", "aria-label": `Serve ${id}`, onclick: () => attempt(made, problem, back) }, "Serve");
  return made;
}
