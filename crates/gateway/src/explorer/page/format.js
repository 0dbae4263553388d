// Values as people read them.
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function bytes(count) {
  if (count === undefined || count === null) return "";
  let [amount, unit] = [Number(count), 0];
  while (amount >= 1024 && unit < UNITS.length - 1) [amount, unit] = [amount / 1024, unit + 1];
  return `${amount >= 100 ? Math.round(amount) : Number(amount.toFixed(1))} ${UNITS[unit]}`;
}

export const number = (value) => Number(value).toLocaleString("en", { maximumFractionDigits: 3 });

export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

// A name as it stands in SQL, that of databases and that of datasets.
export const quoted = (name) => `"${name.replaceAll('"', '""')}"`;

// A moment in the zone of the browser.
export function time(text) {
  if (!text) return "";
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return text;
  const two = (part) => String(part).padStart(2, "0");
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

export function milliseconds(value) {
  const amount = Number(value);
  if (amount >= 1000) return `${(amount / 1000).toFixed(2)} s`;
  return `${amount >= 100 ? Math.round(amount) : amount.toFixed(amount >= 1 ? 1 : 3)} ms`;
}

const hex = (list) => list.map((byte) => byte.toString(16).padStart(2, "0")).join("");

// A time of Analytics Engine's, which is UTC, as a moment.
export const moment = (text) => new Date(`${text.replace(" ", "T")}Z`);

// A value of a row as text. An array is a blob, as D1 writes it.
export function value(cell) {
  if (cell === null || cell === undefined) return "NULL";
  if (Array.isArray(cell)) return cell.every((item) => Number.isInteger(item)) ? `x'${hex(cell)}'` : JSON.stringify(cell);
  if (typeof cell === "number" && Number.isInteger(cell) && !Number.isSafeInteger(cell)) return `≈ ${cell}`;
  return typeof cell === "object" ? JSON.stringify(cell) : String(cell);
}

// RFC 4180. A text that a spreadsheet would take for a formula gets an apostrophe before it, and one with a character that separates
// fields for some spreadsheets gets quotes, as a formula may follow it.
export function csv(columns, rows) {
  const field = (cell) => {
    const text = cell === null || cell === undefined ? "" : value(cell);
    const safe = typeof cell === "string" && /^[=+\-@\t\r\n]/.test(text) ? `'${text}` : text;
    return /[",;\t\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [columns, ...rows].map((row) => row.map(field).join(",")).join("\r\n") + "\r\n";
}

// Sixteen bytes a line: place, digits, characters.
export function dump(view) {
  const lines = [];
  for (let at = 0; at < view.length; at += 16) {
    const part = [...view.subarray(at, at + 16)];
    const digits = part.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const shown = part.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${at.toString(16).padStart(8, "0")}  ${digits.padEnd(47)}  ${shown}`);
  }
  return lines.join("\n");
}
