// The API: JSON in and out, with problems as errors to show.
export async function api(path, options = {}) {
  const response = await fetch(`/api${path}`, options);
  const open = ["/dashboard/login", "/dashboard/setup", "/dashboard/join"].includes(location.pathname.replace(/\.html$/, ""));
  // The navigation of public pages goes by this mark. The API's document is public, so it says nothing about a session.
  const isOwn = "needsSession" in document.documentElement.dataset && path !== "/openapi.json";
  if (response.ok && isOwn) localStorage.setItem("signed-in", "yes");
  if (response.ok) return response.status === 204 ? null : response.json();
  if (response.status === 401 && !open) {
    localStorage.removeItem("signed-in");
    location.assign(`/dashboard/login?next=${encodeURIComponent(location.pathname + location.search)}`);
    await new Promise(() => {}); // the page is being left
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

// Runs an action and shows its error in the page.
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

// Creates an element with text and children, never markup from data.
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}
