// A desktop by Remote Desktop, in the page: its user's name and password go to the desktop, in a
// connection that this server opens and secures; nothing here keeps them.

import { leaveByKeys, tellOfTheEnd, ticket } from "/assets/screen.js";

const place = document.getElementById("screen");
const said = document.getElementById("said");
const form = document.getElementById("log-in");
const words = JSON.parse(place.dataset.words);
const session = place.dataset.session;
// What a desktop's answer means, by the viewer's kinds of errors.
const WRONG_PASSWORD = [1, 2, 3];

let ui = null;

function tell(text, state) {
  said.textContent = text;
  said.dataset.state = state;
}

async function load() {
  const { Backend, init, displayControl } = await import(place.dataset.backend);
  await init("WARN");
  await import(place.dataset.viewer);
  const screen = document.createElement("iron-remote-desktop");
  screen.setAttribute("scale", "fit");
  screen.setAttribute("flexcenter", "true");
  screen.module = Backend;
  const ready = new Promise((resolve) => {
    screen.addEventListener("ready", (event) => resolve(event.detail.irgUserInteraction));
  });
  place.replaceChildren(screen);
  ui = await ready;
  // Else the viewer looks into the clipboard by itself, which browsers ask their users about.
  ui.setEnableAutoClipboard(false);
  return displayControl;
}

async function connect() {
  tell(words.connecting, "connecting");
  form.hidden = true;
  place.hidden = false;
  let given;
  try {
    const displayControl = await load();
    given = await ticket(session, "rdp");
    const url = new URL(given.path, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const box = place.getBoundingClientRect();
    const config = ui.configBuilder()
      .withUsername(document.getElementById("user").value)
      .withPassword(document.getElementById("word").value)
      .withServerDomain(document.getElementById("domain").value)
      // Not looked at: the ticket says where it leads.
      .withDestination(session)
      .withProxyAddress(url.href)
      .withAuthToken(given.ticket)
      .withDesktopSize({
        width: Math.max(640, Math.floor(box.width / 4) * 4),
        height: Math.max(480, Math.floor(box.height / 4) * 4),
      })
      .withExtension(displayControl(true))
      .build();
    document.getElementById("word").value = "";
    const shown = await ui.connect(config);
    tell(words.connected, "connected");
    ui.setVisibility(true);
    await shown.run();
    await gone();
  } catch (error) {
    failed(error);
  }
}

// It ended in order: the desktop logged its user out, or is no more.
async function gone() {
  const answer = await fetch(`/api/v1/sessions/${session}`).catch(() => null);
  const text = { 401: words["4011"], 404: words.gone }[answer?.status] ?? words["rdp-ended"];
  again(text);
}

function failed(error) {
  const kind = typeof error?.kind === "function" ? error.kind() : null;
  const status = error?.rdcleanpathDetails?.()?.httpStatusCode;
  const code = error?.code ?? { 401: 4001, 403: 4003, 404: 4004, 409: 4009, 429: 4029, 503: 4010 }[status];
  if (WRONG_PASSWORD.includes(kind)) return again(words["rdp-wrong"]);
  again(words[code] ?? words["rdp-lost"]);
}

function again(text) {
  tell(text, "ended");
  place.hidden = true;
  form.hidden = false;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  connect();
});
document.getElementById("keys").addEventListener("click", () => ui?.ctrlAltDel());
document.getElementById("full").addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else place.requestFullscreen().catch(() => {});
});
leaveByKeys();
tellOfTheEnd(session, words["idle-warning"]);
