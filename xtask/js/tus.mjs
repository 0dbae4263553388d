// Uploads a file with tus-js-client: `node tus.mjs ENDPOINT FILE AUTHORIZATION CUT CHUNK WITH_DATA`.
//
// The connection is cut after CUT bytes (0: never), and a new upload resumes at the offset that the server reports. Prints the
// URL of the upload and the offset at which it resumed.
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { Readable } from "node:stream";
import * as tus from "tus-js-client";

const [endpoint, file, authorization, cut, chunk, withData] = process.argv.slice(2);
const bytes = readFileSync(file);

// Announces a whole chunk, writes only a part of it, and then closes the connection, as a network failure does.
class Cut extends tus.DefaultHttpStack {
  constructor(left, onCut) { super(); Object.assign(this, { left, onCut }); }
  createRequest(method, url) {
    const request = super.createRequest(method, url);
    const send = request.send.bind(request);
    request.send = (body) => {
      if (!(body instanceof Uint8Array) || body.length <= this.left) {
        if (body instanceof Uint8Array) this.left -= body.length;
        return send(body);
      }
      const part = body.subarray(0, this.left);
      let pushed = false;
      const source = new Readable({ read() { if (!pushed) { pushed = true; this.push(part); } } });
      source.size = body.length;
      const answer = send(source);
      const out = request.getUnderlyingObject();
      const written = setInterval(() => {
        if (out.socket && out.socket.bytesWritten > part.length && out.socket.writableLength === 0) {
          clearInterval(written);
          setTimeout(this.onCut, 200);
        }
      }, 10);
      return answer;
    };
    return request;
  }
}

function run(options, cutAfter) {
  return new Promise((resolve, reject) => {
    let resumedAt = 0;
    const upload = new tus.Upload(bytes, {
      endpoint, headers: { authorization }, metadata: { filename: basename(file) }, retryDelays: null,
      chunkSize: Number(chunk) || Infinity, uploadDataDuringCreation: withData === "true", storeFingerprintForResuming: false,
      onAfterResponse: (request, response) => { if (request.getMethod() === "HEAD") resumedAt = Number(response.getHeader("Upload-Offset")); },
      onError: reject, onSuccess: () => resolve({ url: upload.url, resumedAt }),
      ...(cutAfter && { httpStack: new Cut(cutAfter, () => upload.abort(false).then(() => resolve({ url: upload.url, isCut: true }))) }),
      ...options,
    });
    upload.start();
  });
}

let done = await run({}, Number(cut));
if (done.isCut) {
  await new Promise((later) => setTimeout(later, 500)); // what was sent is taken in
  done = await run({ uploadUrl: done.url, endpoint: null });
}
console.log(JSON.stringify(done));
