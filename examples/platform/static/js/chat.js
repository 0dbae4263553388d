import { api, attempt, element } from "/js/api.js";
import { connect } from "/js/room.js";
import { track } from "/js/track.js";

const log = document.getElementById("log");
const status = document.getElementById("status");
const typing = document.getElementById("typing");
const earlier = document.getElementById("earlier");
const form = document.getElementById("say");
const room = new URLSearchParams(location.search).get("room") ?? "lobby";
const waiting = new Map(); // sent and not confirmed yet
let me = {}, last = 0, first = Infinity, typed = 0, fades;
document.getElementById("room").textContent = room;
document.getElementById("go").elements.room.value = room;

function line(message) {
  const { id, author, author_id, text, at, edited_at, deleted_at } = message;
  const said = deleted_at ? element("em", { textContent: "deleted" }) : element("span", { textContent: text });
  const time = element("time", { dateTime: at, textContent: new Date(at).toLocaleTimeString() });
  const made = element("p", { id: `message-${id}` }, element("strong", { textContent: `${author}: `, className: author_id === me.user ? "mine" : "" }), said, time);
  if (edited_at && !deleted_at) made.append(element("em", { textContent: " edited" }));
  if (author_id === me.user && !deleted_at) {
    const act = (name, work) => {
      const button = element("button", { type: "button", className: "quiet", textContent: name, onclick: work });
      button.setAttribute("aria-label", `${name}: ${text}`);
      return button;
    };
    made.append(
      act("Edit", () => { const changed = prompt("Edit message", text)?.trim(); if (changed) socket.send({ type: "edit", id, text: changed }); }),
      act("Delete", () => socket.send({ type: "delete", id })));
  }
  return made;
}

function add(message) {
  const known = document.getElementById(`message-${message.id}`);
  if (known) { known.replaceWith(line(message)); return; }
  if (message.id <= last) return;
  [last, first] = [message.id, Math.min(first, message.id)];
  log.append(line(message));
  log.scrollTop = log.scrollHeight;
}

const hear = {
  history({ messages, me: own }) {
    me = own;
    messages.forEach(add);
    earlier.hidden = first <= 1 || first === Infinity;
    for (const [nonce, text] of waiting) socket.send({ type: "send", text, nonce }); // sent while the connection was lost
    if (last) socket.send({ type: "read", id: last });
  },
  message({ message }) { add(message); typing.textContent = ""; if (document.hasFocus()) socket.send({ type: "read", id: last }); },
  edited({ message }) { add(message); },
  deleted({ message }) { add(message); },
  presence({ members }) { status.textContent = `Here now: ${members.map(({ name }) => name).join(", ")}`; },
  typing({ name }) {
    typing.textContent = `${name} is typing…`;
    clearTimeout(fades);
    fades = setTimeout(() => { typing.textContent = ""; }, 4000);
  },
  read({ user, id }) { if (user !== me.user && id === last) typing.textContent = "Read."; },
  error({ detail }) { status.textContent = detail; },
};

const socket = connect(`chat/${encodeURIComponent(room)}/socket`, {
  open() { form.elements.send.disabled = false; },
  event(event) {
    if (event.type === "message") for (const [nonce, text] of waiting) if (event.message.author_id === me.user && event.message.text === text) { waiting.delete(nonce); break; }
    hear[event.type]?.(event);
  },
  closed() {
    status.textContent = "Connection lost. Reconnecting…";
    form.elements.send.disabled = true;
  },
  refused() { status.textContent = "Cannot open the room: you have no access, or the server is unavailable. Reload the page to try again."; },
});

earlier.onclick = () => attempt(async () => {
  const { messages } = await api(`/sessions/chat/${encodeURIComponent(room)}/history?before=${first}`);
  log.prepend(...messages.map(line));
  first = messages[0]?.id ?? 1;
  earlier.hidden = first <= 1;
});
form.elements.text.oninput = () => {
  if (Date.now() - typed < 3000) return;
  typed = Date.now();
  socket.send({ type: "typing" });
};
form.onsubmit = (event) => {
  event.preventDefault();
  const text = form.elements.text.value.trim();
  if (!text) return;
  const nonce = crypto.randomUUID?.() ?? String(Math.random());
  waiting.set(nonce, text);
  socket.send({ type: "send", text, nonce });
  track("chat_said", { length: text.length });
  form.reset();
};
document.getElementById("go").onsubmit = (event) => {
  event.preventDefault();
  location.assign(`?room=${encodeURIComponent(event.target.elements.room.value)}`);
};
