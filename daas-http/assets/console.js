// Shows a desktop's screen: asks for a ticket, connects, and connects again when the connection was
// lost and another try is worth it. Why a connection ended is its WebSocket's close code.

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

async function ticket() {
  const answer = await fetch(`/api/v1/sessions/${session}/tickets`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ kind: "vnc" }),
  });
  if (answer.ok) return answer.json();
  const ends = { 401: 4011, 403: 4003, 404: 4004, 409: 4009, 429: 4029 };
  throw Object.assign(new Error(), { code: ends[answer.status] ?? 4010 });
}

async function connect() {
  again.hidden = true;
  tell(words.connecting, "connecting");
  let given;
  try {
    given = await ticket();
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

// The screen takes every key, so one combination leads out of it again.
document.addEventListener("keydown", (event) => {
  if (!event.ctrlKey || !event.altKey || !event.shiftKey) return;
  document.querySelector("#toolbar button").focus();
}, true);

// The desktop is going to end for want of use: said here, with a way to go on.
const warning = document.getElementById("warning");
const events = new EventSource(`/api/v1/sessions/${session}/events`);
events.addEventListener("warning", (event) => {
  const at = Date.parse(JSON.parse(event.data).what?.at ?? "");
  if (!(at > Date.now())) return;
  const time = new Date(at).toLocaleTimeString(document.documentElement.lang);
  warning.querySelector("span").textContent = words["idle-warning"].replace("{time}", time);
  warning.hidden = false;
  setTimeout(() => { warning.hidden = true; }, at - Date.now());
});
warning.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await fetch(event.currentTarget.action, { method: "POST", redirect: "manual" });
  if (answer.type === "opaqueredirect" || answer.ok) warning.hidden = true;
  viewer?.focus();
});

connect();
