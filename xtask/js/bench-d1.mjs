// The Worker beside the REST door: runs the statement of a request on its database, as D1's `query` does.
export default {
  async fetch(request, env) {
    const { sql, params = [] } = await request.json();
    return Response.json(await env.DB.prepare(sql).bind(...params).all());
  },
};
