// What every way of showing a screen shares: its ticket, the way out by keys, and the word that the
// desktop is going to end.

const ENDS = { 401: 4011, 403: 4003, 404: 4004, 409: 4009, 429: 4029 };

// A ticket for one connection; refused, an error with the code that an ended connection would have.
export async function ticket(session, kind) {
  const answer = await fetch(`/api/v1/sessions/${session}/tickets`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ kind }),
  });
  if (answer.ok) return answer.json();
  throw Object.assign(new Error(), { code: ENDS[answer.status] ?? 4010 });
}

// The screen takes every key, so one combination leads out of it again.
export function leaveByKeys() {
  document.addEventListener("keydown", (event) => {
    if (!event.ctrlKey || !event.altKey || !event.shiftKey) return;
    document.querySelector("#toolbar button").focus();
  }, true);
}

// The desktop is going to end for want of use: said above its screen, with a way to go on.
export function tellOfTheEnd(session, text) {
  const warning = document.getElementById("warning");
  const events = new EventSource(`/api/v1/sessions/${session}/events`);
  events.addEventListener("warning", (event) => {
    const at = Date.parse(JSON.parse(event.data).what?.at ?? "");
    if (!(at > Date.now())) return;
    const time = new Date(at).toLocaleTimeString(document.documentElement.lang);
    warning.querySelector("span").textContent = text.replace("{time}", time);
    warning.hidden = false;
    setTimeout(() => { warning.hidden = true; }, at - Date.now());
  });
  warning.querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const answer = await fetch(event.currentTarget.action, { method: "POST", redirect: "manual" });
    if (answer.type === "opaqueredirect" || answer.ok) warning.hidden = true;
  });
}
