// The server's routes. The token stays in this tab and goes out as a header, so that no other page can use it.
const TOKEN = "explorer-token";
const INVALID_TOKEN = "The token is not valid, or no longer.";

let token = sessionStorage.getItem(TOKEN);
let session = null;

export class ApiError extends Error {
  constructor(message, status, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export const current = () => session;
export const hasToken = () => token !== null;
export const may = (...permissions) => permissions.some((permission) => session?.scope.permissions.includes(permission));
export const mayRead = () => ({ r2: may("r2:read"), d1: may("d1:read", "d1:write"), analytics: may("analytics:read"), sessions: may("sessions:read") });
export const mayWrite = (permission) => session?.is_writable === true && may(permission);

// Verifies a token, and keeps it for this tab.
export async function signIn(text) {
  token = text;
  session = null;
  try {
    session = (await call("/explorer/v1/session")).result;
    sessionStorage.setItem(TOKEN, token);
    return session;
  } catch (error) {
    token = null;
    if (error.status === 401) throw new ApiError(INVALID_TOKEN, 401);
    throw error;
  }
}

export const resume = () => signIn(token);

export function signOut(reason = "") {
  token = null;
  session = null;
  sessionStorage.removeItem(TOKEN);
  dispatchEvent(new CustomEvent("signed-out", { detail: reason }));
}

// Path of a route of the account.
export const account = (path) => `/client/v4/accounts/${session.account_id}${path}`;

// Path of an object. A browser takes these two keys for steps in the path.
export function objectPath(bucket, key) {
  if (key === "." || key === "..") throw new ApiError(`A browser cannot ask for the key ${key}: use isobar r2 object get.`);
  return account(`/r2/buckets/${encodeURIComponent(bucket)}/objects/${encodeURIComponent(key)}`);
}

// JSON whose large integers stay exact where the browser gives their digits.
export const parse = (text) =>
  JSON.parse(text, (_, value, context) => {
    const isInexact = typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
    return isInexact && /^-?\d+$/.test(context?.source ?? "") ? BigInt(context.source) : value;
  });

async function problem(response) {
  const text = await response.text().catch(() => "");
  let error;
  try {
    error = JSON.parse(text).errors?.[0];
  } catch {
    // Not the API's own answer.
  }
  return new ApiError(error?.message ?? `The server answered ${response.status} ${response.statusText}`, response.status, error?.code);
}

// Sends a request with the token. Other statuses than success are errors.
export async function send(target, options = {}) {
  const headers = { ...options.headers, authorization: `Bearer ${token}` };
  const response = await fetch(target, { ...options, headers, cache: "no-store", credentials: "omit", redirect: "error" }).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server does not answer. Is isobar serve running?");
  });
  if (response.ok) return response;
  const error = await problem(response);
  if (session !== null && (error.status === 401 || error.status === 403)) await checkToken(target);
  throw error;
}

// Ends the session where the token was revoked or has expired meanwhile.
async function checkToken(target) {
  const headers = { authorization: `Bearer ${token}` };
  const own = "/explorer/v1/session";
  const isOver = target === own || (await fetch(own, { headers, cache: "no-store", credentials: "omit" })).status === 401;
  if (isOver) signOut(INVALID_TOKEN);
}

// Sends a request, and returns the envelope of its answer.
export async function call(target, options = {}) {
  const { json, ...rest } = options;
  if (json !== undefined) {
    rest.method ??= "POST";
    rest.body = JSON.stringify(json);
    rest.headers = { ...rest.headers, "content-type": "application/json" };
  }
  return parse(await (await send(target, rest)).text());
}

// Runs SQL on a database. Returns a result for each statement: columns, rows, meta.
export async function query(database, sql, signal, params) {
  return resultsOf(await call(account(`/d1/database/${encodeURIComponent(database)}/raw`), { json: { sql, params }, signal }));
}

// As `query`, for SQL with a part that is in the page's address: whoever made the link wrote it. The server lets it read alone.
export async function read(database, sql, signal) {
  return resultsOf(await call(`/explorer/v1/databases/${encodeURIComponent(database)}/read`, { json: { sql }, signal }));
}

const resultsOf = ({ result }) => result.map(({ results, meta }) => ({ columns: results.columns, rows: results.rows, meta }));

// Asks the datasets. Returns columns, their types, and rows.
export async function ask(sql, signal) {
  const response = await send(account("/analytics_engine/sql"), { method: "POST", body: sql, signal });
  const text = await response.text();
  if (!response.headers.get("content-type")?.includes("json")) return { text };
  const { meta, data } = parse(text);
  if (!meta) return { text };
  return { columns: meta.map(({ name }) => name), types: meta.map(({ type }) => type), rows: data.map((row) => meta.map(({ name }) => row[name])) };
}

// A link to an object, good for this many seconds and for whoever has it.
export async function link(bucket, key, seconds) {
  const { result } = await call("/explorer/v1/links", { json: { bucket, key, seconds } });
  return { url: new URL(result.url, location.origin).href, ends: result.expires_on };
}

// Has the browser save something: an address of this server, or content that is here.
export function save(name, content) {
  const url = typeof content === "string" ? content : URL.createObjectURL(content);
  const anchor = Object.assign(document.createElement("a"), { href: url, download: name });
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
  if (url !== content) setTimeout(() => URL.revokeObjectURL(url), 60000);
}
