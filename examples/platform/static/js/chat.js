import { element } from "/js/api.js";

const log = document.getElementById("log");
const status = document.getElementById("status");
const form = document.getElementById("say");
const room = new URLSearchParams(location.search).get("room") ?? "lobby";
const name = localStorage.getItem("name") ?? `guest-${Math.random().toString(36).slice(2, 6)}`;
localStorage.setItem("name", name);
document.getElementById("room").textContent = room;
let socket, last = 0, wait = 500;

function add({ id, author, text, at }) {
  if (id <= last) return; // seen before the connection was lost
  last = id;
  const time = element("time", { dateTime: at, textContent: new Date(at).toLocaleTimeString() });
  log.append(element("p", {}, element("strong", { textContent: `${author}: ` }), text, time));
  log.scrollTop = log.scrollHeight;
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/api/sessions/chat/${encodeURIComponent(room)}/socket?name=${encodeURIComponent(name)}`);
  socket.onopen = () => { wait = 500; form.elements.send.disabled = false; };
  socket.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    if (event.type === "history") event.messages.forEach(add);
    if (event.type === "message") add(event.message);
    if (event.type === "presence") status.textContent = `Here now: ${event.names.join(", ")}`;
    if (event.type === "error") status.textContent = event.detail;
  };
  socket.onclose = () => {
    status.textContent = "The connection was lost; trying again.";
    form.elements.send.disabled = true;
    setTimeout(connect, wait = Math.min(wait * 2, 10_000));
  };
}

form.onsubmit = (event) => {
  event.preventDefault();
  const text = form.elements.text.value.trim();
  if (!text) return;
  socket.send(JSON.stringify({ text }));
  form.reset();
};
connect();
