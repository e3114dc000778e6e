// Follows what happens: when the server tells of news, the part of the page that shows them is
// fetched anew and put in place of the old one, if it differs.

const PAUSE_MS = 400;
const EVENTS = ["requested", "phase", "goal", "warning", "failed", "note", "progress", "open"];

for (const part of document.querySelectorAll("[data-live]")) follow(part.id, part.dataset.live);

function follow(id, url) {
  const events = new EventSource(url);
  let asked = false;
  const renew = () => {
    if (asked) return;
    asked = true;
    setTimeout(async () => {
      asked = false;
      await refresh(id).catch(() => {});
    }, PAUSE_MS);
  };
  for (const kind of EVENTS) events.addEventListener(kind, renew);
}

async function refresh(id) {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  // Signed out meanwhile: the page that says so is the next one anyway.
  if (answer.redirected) return location.reload();
  if (!answer.ok) return;
  const text = await answer.text();
  const fresh = new DOMParser().parseFromString(text, "text/html").getElementById(id);
  const old = document.getElementById(id);
  if (!fresh || !old || fresh.isEqualNode(old)) return;
  const focused = old.contains(document.activeElement) ? path(document.activeElement) : null;
  old.replaceChildren(...fresh.childNodes);
  if (focused) find(old, focused)?.focus();
}

// Where an element is, so that what has its place afterwards keeps the focus.
function path(element) {
  return element.getAttribute("href") ?? element.form?.getAttribute("action") ?? null;
}

function find(root, target) {
  for (const link of root.querySelectorAll("a[href]")) {
    if (link.getAttribute("href") === target) return link;
  }
  for (const form of root.querySelectorAll("form[action]")) {
    if (form.getAttribute("action") === target) return form.querySelector("button");
  }
  return null;
}
