// A minimal MCP client for both protocol revisions: lists and calls tools.
import { attempt, element, problem } from "/js/api.js";

const [server, answer, call, revision] = ["server", "answer", "call", "revision"].map((id) => document.getElementById(id));
const endpoint = new URL("/api/mcp", location);
document.getElementById("endpoint").textContent = endpoint;
let session, version, next = 1;

// The last message of an answer: JSON, or the events of a stream.
async function message(response, id) {
  if (!response.headers.get("content-type")?.startsWith("text/event-stream")) return response.json();
  const events = (await response.text()).split("\n\n").flatMap((event) => event.split("\n")).filter((line) => line.startsWith("data: {"));
  return events.map((line) => JSON.parse(line.slice(6))).find((it) => it.id === id && (it.result || it.error));
}

async function ask(method, params = {}, named) {
  const id = next++;
  const headers = { "content-type": "application/json", accept: "application/json, text/event-stream" };
  if (version === "2026-07-28") {
    params._meta = { "io.modelcontextprotocol/protocolVersion": version, "io.modelcontextprotocol/clientCapabilities": {},
      "io.modelcontextprotocol/clientInfo": { name: "inspector", version: "1" } };
    Object.assign(headers, { "mcp-protocol-version": version, "mcp-method": method, ...(named && { "mcp-name": named }) });
  } else if (session) {
    Object.assign(headers, { "mcp-session-id": session, "mcp-protocol-version": version });
  }
  const response = await fetch(endpoint, { method: "POST", headers, body: JSON.stringify({ jsonrpc: "2.0", id, method, params }) });
  if (response.status === 401) location.assign("/dashboard/login?next=/dashboard/mcp");
  session = response.headers.get("mcp-session-id") ?? session;
  const { result, error } = await message(response, id);
  if (error) throw new Error(`${error.message} (${error.code})`);
  return result;
}

function listed(place, items, choose) {
  document.getElementById(place).replaceChildren(...items.map((item) => {
    const button = element("button", { type: "button", className: "quiet", textContent: item.title ?? item.name, onclick: () => choose(item) });
    return element("li", {}, button, element("div", { className: "hint", textContent: item.description ?? "" }));
  }));
  if (!items.length) document.getElementById(place).append(element("li", { className: "empty", textContent: "None." }));
}

async function show(work) {
  answer.textContent = "…";
  try { answer.textContent = JSON.stringify(await work(), null, 2); } catch (error) { problem(answer, error); answer.className = "log"; }
}

async function start() {
  [version, session] = [revision.elements.revision.value, undefined];
  if (version === "2026-07-28") {
    const { _meta, supportedVersions } = await ask("server/discover");
    const { name, version: of } = _meta["io.modelcontextprotocol/serverInfo"];
    server.textContent = `${name} ${of}; supports ${supportedVersions.join(", ")}`;
  } else {
    const { serverInfo } = await ask("initialize", { protocolVersion: version, capabilities: {}, clientInfo: { name: "inspector", version: "1" } });
    server.textContent = `${serverInfo.name} ${serverInfo.version}; session ${session.slice(0, 8)}…`;
  }
  const [{ tools }, { resources }, { prompts }] = [await ask("tools/list"), await ask("resources/list"), await ask("prompts/list")];
  listed("tools", tools, (tool) => {
    call.elements.tool.value = tool.name;
    const wanted = (tool.inputSchema.required ?? []).map((name) => [name, tool.inputSchema.properties[name].enum?.[0] ?? (tool.inputSchema.properties[name].type === "object" ? {} : "")]);
    call.elements.arguments.value = JSON.stringify(Object.fromEntries(wanted), null, 2);
    call.elements.send.disabled = false;
    call.elements.arguments.focus();
  });
  listed("resources", resources, ({ uri }) => show(() => ask("resources/read", { uri }, uri)));
  listed("prompts", prompts, ({ name }) => show(() => ask("prompts/get", { name }, name)));
}

call.onsubmit = (event) => {
  event.preventDefault();
  const { tool, arguments: given } = call.elements;
  show(() => ask("tools/call", { name: tool.value, arguments: JSON.parse(given.value || "{}") }, tool.value));
};
revision.onsubmit = (event) => { event.preventDefault(); attempt(start); };
await attempt(start);
