// Takes the names of functions out of a WebAssembly file: a fifth of what is uploaded and nothing that runs.
//     node strip-names.mjs build/index_bg.wasm
import { readFileSync, writeFileSync } from "node:fs";

const [path] = process.argv.slice(2);
const bytes = readFileSync(path);
if (bytes.readUInt32LE(0) !== 0x6d736100) throw new Error(`${path} is not WebAssembly`);
const kept = [bytes.subarray(0, 8)];
for (let at = 8; at < bytes.length; ) {
  const start = at;
  const id = bytes[at++];
  const size = number();
  const end = at + size;
  // Custom sections have the id 0 and begin with their name.
  const isNames = id === 0 && bytes.toString("utf8", at + 1, at + 1 + bytes[at]) === "name";
  if (!isNames) kept.push(bytes.subarray(start, end));
  at = end;

  function number() {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  }
}
writeFileSync(path, Buffer.concat(kept));
