// Sends requests for Cloudflare's API to another server: for clients in whose code the host is fixed.
const http = require("node:http");
const https = require("node:https");

const HOST = "api.cloudflare.com";
const base = new URL(process.env.CLOUDFLARE_API_BASE_URL);

const request = https.request;
https.request = (target, ...rest) => {
  const url = target instanceof URL || typeof target === "string" ? new URL(target) : null;
  const host = url ? url.host : target.hostname ?? target.host;
  if (host !== HOST) return request(target, ...rest);
  const place = { protocol: base.protocol, host: base.host, hostname: base.hostname, port: base.port, agent: undefined };
  if (url) {
    const [options, callback] = typeof rest[0] === "function" ? [{}, rest[0]] : rest;
    return http.request({ ...options, ...place, path: url.pathname + url.search }, callback);
  }
  return http.request({ ...target, ...place }, ...rest);
};

const fetch = globalThis.fetch;
globalThis.fetch = async (input, init) => {
  const url = new URL(input instanceof Request ? input.url : input);
  if (url.host !== HOST) return fetch(input, init);
  const target = new URL(url.pathname + url.search, base);
  if (!(input instanceof Request)) return fetch(target, init);
  // A request's body is a stream: it is read, as these clients' are short.
  const body = input.body ? await input.arrayBuffer() : undefined;
  return fetch(target, { method: input.method, headers: input.headers, body, ...init });
};
