// Consecutive failed connections after which access counts as refused: a browser does not report the reason.
const TRIES = 8;
// The room requires a new authorization: reconnect at once.
const ASK_AGAIN = 4003;

// A WebSocket to a session that reconnects when the connection is lost.
export function connect(path, { open, event, closed, refused }) {
  let socket, wait = 500, tries = 0, over = false, beat;
  const start = () => {
    if (over) return;
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    socket = new WebSocket(`${scheme}://${location.host}/api/sessions/${typeof path === "function" ? path() : path}`);
    tries += 1;
    socket.onopen = () => { [wait, tries] = [500, 0]; beat = setInterval(() => send({ type: "ping" }), 15_000); open?.(); };
    socket.onmessage = ({ data }) => event(JSON.parse(data));
    socket.onclose = ({ code, reason }) => {
      clearInterval(beat);
      closed?.(code, reason);
      if (over) return;
      if (tries >= TRIES) { over = true; refused(); return; }
      setTimeout(start, code === ASK_AGAIN ? 0 : wait = Math.min(wait * 2, 10_000));
    };
  };
  // Exactly this text is answered without waking the room.
  const send = (value) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(value));
  start();
  return { send, end() { over = true; socket.close(1000); } };
}
