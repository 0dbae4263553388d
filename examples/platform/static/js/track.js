// Records an event: a name and plain values, without personal data.
export function track(name, properties = {}) {
  const body = JSON.stringify({ name, properties });
  fetch("/api/analytics/track", { method: "POST", headers: { "content-type": "application/json" }, body, keepalive: true }).catch(() => {});
}
