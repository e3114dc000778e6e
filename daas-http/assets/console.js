// Shows a desktop's screen: asks for a ticket, connects, and connects again when the connection was
// lost and another try is worth it. Why a connection ended is its WebSocket's close code.

import { leaveByKeys, tellOfTheEnd, ticket } from "/assets/screen.js";

const place = document.getElementById("screen");
const said = document.getElementById("said");
const again = document.getElementById("reconnect");
const words = JSON.parse(place.dataset.words);
const session = place.dataset.session;

// Ends after which connecting by itself may help: the server or the machine restarts, the network
// was away, the screen is not there yet.
const PASSING = new Set([1001, 1006, 4005, 4008, 4009, 4010, 4012]);
const PAUSE_FIRST_MS = 500;
const PAUSE_MAX_MS = 10_000;
const GIVEN_UP_AFTER_MS = 10 * 60_000;

let viewer = null;
let pause = PAUSE_FIRST_MS;
let lostAt = null;

const { default: RFB } = await import(place.dataset.viewer);

function tell(text, state) {
  said.textContent = text;
  said.dataset.state = state;
}

async function connect() {
  again.hidden = true;
  tell(words.connecting, "connecting");
  let given;
  try {
    given = await ticket(session, "vnc");
  } catch (error) {
    return ended(error.code ?? 1006);
  }
  const url = new URL(given.path, location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(url, given.protocols);
  socket.binaryType = "arraybuffer";
  socket.addEventListener("close", (event) => ended(event.code));
  const room = document.createElement("div");
  room.className = "room";
  place.replaceChildren(room);
  viewer = new RFB(room, socket, { shared: true });
  viewer.scaleViewport = document.getElementById("scale").ariaPressed === "true";
  viewer.addEventListener("connect", () => {
    pause = PAUSE_FIRST_MS;
    lostAt = null;
    tell(words.connected, "connected");
    viewer.focus();
  });
  viewer.addEventListener("clipboard", (event) => {
    document.getElementById("text").value = event.detail.text;
  });
}

function ended(code) {
  viewer = null;
  const text = words[code] ?? words.again;
  lostAt ??= Date.now();
  if (!PASSING.has(code) || Date.now() - lostAt > GIVEN_UP_AFTER_MS) {
    tell(PASSING.has(code) ? words["given-up"] : text, "ended");
    again.hidden = code === 4004;
    return;
  }
  tell(text, "lost");
  setTimeout(connect, pause);
  pause = Math.min(pause * 2, PAUSE_MAX_MS);
}

again.addEventListener("click", () => {
  lostAt = null;
  connect();
});
document.getElementById("keys").addEventListener("click", () => viewer?.sendCtrlAltDel());
document.getElementById("full").addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else place.requestFullscreen().then(() => viewer?.focus()).catch(() => {});
});
document.getElementById("scale").addEventListener("click", (event) => {
  const fits = event.currentTarget.ariaPressed !== "true";
  event.currentTarget.ariaPressed = String(fits);
  if (viewer) viewer.scaleViewport = fits;
});
document.getElementById("clipboard-button").addEventListener("click", (event) => {
  const box = document.getElementById("clipboard");
  box.hidden = !box.hidden;
  event.currentTarget.ariaExpanded = String(!box.hidden);
  if (!box.hidden) document.getElementById("text").focus();
});
document.getElementById("text").addEventListener("input", (event) => {
  viewer?.clipboardPasteFrom(event.currentTarget.value);
});

leaveByKeys();
tellOfTheEnd(session, words["idle-warning"]);
connect();
