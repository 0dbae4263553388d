// The API: JSON in and out, problems as errors that can be shown.
export async function api(path, options = {}) {
  const response = await fetch(`/api${path}`, options);
  if (response.ok) return response.status === 204 ? null : response.json();
  const open = ["/dashboard/login", "/dashboard/setup", "/dashboard/join"].includes(location.pathname.replace(/\.html$/, ""));
  if (response.status === 401 && !open) {
    location.assign(`/dashboard/login?next=${encodeURIComponent(location.pathname + location.search)}`);
    await new Promise(() => {}); // the page goes away
  }
  const told = await response.json().catch(() => ({}));
  const fields = (told.errors ?? []).map(({ field, detail }) => `${field} ${detail}`);
  const text = [told.detail ?? told.title ?? `the server answered ${response.status}`, ...fields].join("; ");
  throw Object.assign(new Error(text), { status: response.status, type: told.type });
}

export const send = (path, value) =>
  api(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(value) });

// Shows an error.
export function problem(place, error) {
  place.className = "message error";
  place.textContent = error.message;
}

// Runs what a page does, and shows what goes wrong where the page says.
export async function attempt(work) {
  const place = document.getElementById("message");
  place.textContent = "";
  place.className = "message";
  try {
    return await work();
  } catch (error) {
    problem(place, error);
  }
}

// An element with text and children: never markup out of data.
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}
