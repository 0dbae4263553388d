// A call: the room relays signals, video and sound go from browser to browser. Of two peers, the one with the smaller id is
// polite: the other one makes the first offer, and when both make one later, the polite one accepts the other's.
import { attempt, element } from "/js/api.js";
import { connect } from "/js/room.js";
import { track } from "/js/track.js";

const [people, status, log, form] = ["people", "status", "log", "say"].map((id) => document.getElementById(id));
const [join, leave, camera, microphone] = ["join", "leave", "camera", "microphone"].map((id) => document.getElementById(id));
const room = new URLSearchParams(location.search).get("room") ?? "lobby";
const peers = new Map();
let socket, me, resume, servers = [], own = null, present = false, unsent = [];
document.getElementById("room").textContent = room;

function note(name, text) {
  log.append(element("p", {}, element("strong", { textContent: `${name}: ` }), text));
  log.scrollTop = log.scrollHeight;
}

function tile(id, name) {
  const film = element("video", { autoplay: true, playsInline: true, muted: id === me });
  film.setAttribute("aria-label", name);
  const state = element("span", { textContent: id === me ? "you" : "connecting" });
  const made = element("figure", { id: `peer-${id}` }, film, element("figcaption", {}, element("span", { textContent: name }), state));
  people.append(made);
  return { film, state, figure: made };
}

// Signals made while disconnected are sent after the reconnection.
function tell(to, data) {
  const message = { type: "signal", to, data };
  if (present) socket.send(message);
  else unsent.push(message);
}

function isOn(kind) {
  return Boolean(own?.getTracks().find((it) => it.kind === kind)?.enabled);
}

function tellState() {
  if (present) socket.send({ type: "state", audio: isOn("audio"), video: isOn("video") });
}

// The other side of one connection. Only one of both begins: an offer that is taken back before its candidates are gathered
// may leave chromium without any.
function meet({ id, name }) {
  if (id === me || peers.has(id)) return;
  const connection = new RTCPeerConnection({ iceServers: servers });
  const peer = { name, connection, polite: me < id, offering: false, ...tile(id, name) };
  peers.set(id, peer);
  const begin = (channel) => {
    peer.notes = channel;
    channel.onopen = () => { peer.state.textContent = "connected"; };
    channel.onmessage = ({ data }) => note(name, data);
    own?.getTracks().forEach((it) => connection.addTrack(it, own));
  };
  connection.onicecandidate = ({ candidate }) => candidate && tell(id, { candidate });
  connection.ontrack = ({ streams: [stream] }) => { peer.film.srcObject = stream; };
  connection.onconnectionstatechange = () => {
    if (connection.connectionState === "failed") connection.restartIce();
    if (["disconnected", "failed"].includes(connection.connectionState)) peer.state.textContent = "connecting";
    if (connection.connectionState === "connected") peer.state.textContent = "connected";
  };
  connection.onnegotiationneeded = async () => {
    try {
      peer.offering = true;
      await connection.setLocalDescription();
      tell(id, { description: connection.localDescription });
    } finally { peer.offering = false; }
  };
  if (peer.polite) connection.ondatachannel = ({ channel }) => begin(channel);
  else begin(connection.createDataChannel("notes"));
}

async function signalled({ from, data: { description, candidate } }) {
  const peer = peers.get(from);
  if (!peer) return;
  const { connection } = peer;
  if (description) {
    const collides = description.type === "offer" && (peer.offering || connection.signalingState !== "stable");
    peer.ignores = !peer.polite && collides;
    if (peer.ignores) return;
    await connection.setRemoteDescription(description);
    if (description.type === "offer") {
      await connection.setLocalDescription();
      tell(from, { description: connection.localDescription });
    }
  } else {
    await connection.addIceCandidate(candidate).catch((error) => { if (!peer.ignores) throw error; });
  }
}

// Updates a participant.
function see(participant) {
  meet(participant);
  const peer = peers.get(participant.id);
  if (!peer) return; // this browser
  const connected = peer.connection.connectionState === "connected" ? "connected" : "connecting";
  peer.state.textContent = participant.away ? "away" : connected;
  show(participant.id, participant.state);
}

function show(id, state) {
  const peer = peers.get(id);
  if (peer) peer.film.hidden = !state.video && !state.screen;
}

function part(id) {
  peers.get(id)?.connection.close();
  peers.get(id)?.figure.remove();
  peers.delete(id);
}

const hear = {
  welcome({ id, resume: token, participants, ice_servers, resumed }) {
    // Events while disconnected were missed, so compare the participants.
    const here = new Set(resumed ? participants.map((it) => it.id) : []);
    [...peers.keys()].filter((it) => !here.has(it)).forEach(part);
    const late = resumed ? unsent : [];
    [me, resume, servers, present, unsent] = [id, token, ice_servers, true, []];
    status.textContent = "You are in the call.";
    if (!document.getElementById(`peer-${me}`)) { people.replaceChildren(); tile(me, participants.find((it) => it.id === me).name); }
    late.forEach((it) => socket.send(it));
    if (own) tellState();
    participants.forEach(see);
  },
  joined({ participant }) { see(participant); },
  back({ participant }) { see(participant); },
  away({ id }) { const peer = peers.get(id); if (peer) peer.state.textContent = "away"; },
  left({ id }) { part(id); },
  state({ id, state }) { show(id, state); },
  signal(event) { attempt(() => signalled(event)); },
  error({ detail }) { status.textContent = detail; },
};

function within(is) {
  join.hidden = is;
  for (const it of [leave, camera, microphone]) it.hidden = !is;
}

join.onclick = () => {
  within(true);
  track("call_joined");
  socket = connect(() => `call/${encodeURIComponent(room)}/socket${resume ? `?resume=${resume}` : ""}`, {
    event: (event) => hear[event.type]?.(event),
    closed(code) {
      present = false;
      if (code !== 1000) status.textContent = "Connection lost. Reconnecting…";
    },
    refused() {
      gone("Cannot join the call: it is full, you have no access, or the server is unavailable. Join to try again.");
    },
  });
};
leave.onclick = () => {
  socket.send({ type: "leave" });
  socket.end();
  gone("You are not in the call.");
};

function gone(why) {
  [...peers.keys()].forEach(part);
  own?.getTracks().forEach((it) => it.stop());
  [own, resume, present, unsent] = [null, undefined, false, []];
  people.replaceChildren();
  within(false);
  status.textContent = why;
}

// Turns the camera or the microphone on and off; the browser asks for permission the first time.
function turns(button, kind) {
  button.onclick = () => attempt(async () => {
    const has = own?.getTracks().find((it) => it.kind === kind);
    if (has) {
      has.enabled = !has.enabled;
    } else {
      const got = await navigator.mediaDevices.getUserMedia({ [kind]: true });
      own ??= new MediaStream();
      got.getTracks().forEach((it) => {
        own.addTrack(it);
        peers.forEach(({ notes, connection }) => notes && connection.addTrack(it, own)); // the others get it when they begin
      });
      document.querySelector(`#peer-${CSS.escape(me)} video`).srcObject = own;
    }
    button.setAttribute("aria-pressed", isOn(kind));
    tellState();
  });
}
turns(camera, "video");
turns(microphone, "audio");

form.onsubmit = (event) => {
  event.preventDefault();
  const text = form.elements.text.value.trim();
  if (!text) return;
  let heard = 0;
  peers.forEach(({ notes }) => { if (notes?.readyState === "open") { notes.send(text); heard += 1; } });
  note(heard ? "You" : "No one is connected", text);
  form.reset();
};
