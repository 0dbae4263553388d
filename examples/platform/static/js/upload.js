// Resumable uploads by tus 1.0.0: an interrupted upload continues at the offset that the server reports.
const VERSION = { "tus-resumable": "1.0.0" };
// Size of a request in bytes: a Worker accepts 100 MB at most.
const SLICE = 32 * 1024 * 1024;
const key = (file) => `upload:${file.name}:${file.size}:${file.lastModified}`;

function ask(method, url, headers, body, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch reports no progress
    request.open(method, url);
    for (const [name, value] of Object.entries({ ...VERSION, ...headers })) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded }) => progress?.(loaded);
    request.onload = () => resolve(request);
    request.onerror = () => reject(new Error("connection lost"));
    request.send(body);
  });
}

function refused(request) {
  let told = {};
  try { told = JSON.parse(request.responseText); } catch { /* no problem+json */ }
  return Object.assign(new Error(told.detail ?? `the server answered ${request.status}`), { status: request.status });
}

// Returns the offset of an earlier upload of this file, or begins a new one.
async function begin(file) {
  const known = localStorage.getItem(key(file));
  if (known) {
    const head = await ask("HEAD", known, {});
    if (head.status === 200) return { url: known, offset: Number(head.getResponseHeader("upload-offset")) };
    localStorage.removeItem(key(file));
  }
  const name = btoa(String.fromCharCode(...new TextEncoder().encode(file.name)));
  const made = await ask("POST", "/api/uploads", { "upload-length": file.size, "upload-metadata": `filename ${name}` });
  if (made.status !== 201) throw refused(made);
  const url = made.getResponseHeader("location");
  localStorage.setItem(key(file), url);
  return { url, offset: Number(made.getResponseHeader("upload-offset")) };
}

export async function upload(file, progress) {
  for (let wait = 500; ; wait *= 2) {
    try {
      const { url, offset } = await begin(file);
      progress(offset);
      if (offset < file.size) {
        const headers = { "content-type": "application/offset+octet-stream", "upload-offset": offset };
        const sent = await ask("PATCH", url, headers, file.slice(offset, offset + SLICE), (loaded) => progress(offset + loaded));
        if (sent.status !== 204) throw refused(sent);
        if (Number(sent.getResponseHeader("upload-offset")) < file.size) { wait = 250; continue; } // only a part was stored: continue
      }
      localStorage.removeItem(key(file));
      return;
    } catch (error) {
      const isLost = error.status === undefined || [409, 423, 429].includes(error.status) || error.status >= 500;
      if (!isLost || wait > 10_000) { if (!isLost) localStorage.removeItem(key(file)); throw error; }
      await new Promise((done) => setTimeout(done, wait));
    }
  }
}
