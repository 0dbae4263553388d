// The object beside `crates/http-serve/examples/session_counter.rs`: counts each POST, and answers everything with the count.
import { DurableObject } from "cloudflare:workers";

export class Counter extends DurableObject {
  fetch(request) {
    const { kv } = this.ctx.storage;
    let count = kv.get("count") ?? 0;
    if (request.method === "POST") kv.put("count", ++count);
    return new Response(String(count));
  }
}

export default {
  fetch(request, env) {
    const id = env.COUNTER.idFromName(new URL(request.url).pathname);
    return env.COUNTER.get(id).fetch(request);
  },
};
