// How connections end, as a person sees it, in both languages: a ticket used twice, a machine that
// restarts, an operator, a desktop that goes, a sign-in that ended elsewhere.

import { readFile } from "node:fs/promises";
import { base, create, lookUntil, must, ready, signIn, story } from "./browser.mjs";

const WORDS = {
  en: {
    ticket: "The permission to connect had run out",
    screen: "The screen went away",
    operator: "An operator ended the connection",
    gone: "This desktop has ended",
    signedOut: "You have been signed out",
    missing: "This is not there",
  },
  fr: {
    ticket: "La permission de se connecter avait expiré",
    screen: "L’écran a disparu",
    operator: "Un opérateur a mis fin à la connexion",
    gone: "Ce bureau n’existe plus",
    signedOut: "Vous avez été déconnecté",
    missing: "Cela n’existe pas",
  },
};

// What an operator's program asks of the server.
async function ask(method, path) {
  const key = (await readFile(process.env.DAAS_KEY_FILE, "utf8")).trim();
  const answer = await fetch(base + path, { method, headers: { Authorization: `Bearer ${key}` } });
  must(answer.ok, `${method} ${path}: ${answer.status}`);
  return answer.status === 204 ? null : answer.json();
}

async function says(page, text) {
  await page.waitForFunction(
    (text) => document.getElementById("said").textContent.includes(text), text,
  );
}

async function shown(page) {
  await page.waitForSelector("#said[data-state=connected]");
  await lookUntil(page, (seen) => seen.colours > 8, "no desktop is drawn");
}

for (const language of ["en", "fr"]) {
  const words = WORDS[language];
  await story(async ({ page, context, complaints }) => {
    await signIn(page);
    const id = await create(page, `ends-${language}`);
    await ready(page);

    // A ticket that was used: the page gets the same one twice.
    let kept = null;
    const tickets = `**/api/v1/sessions/${id}/tickets`;
    await page.route(tickets, async (route) => {
      kept ??= await (await route.fetch()).text();
      await route.fulfill({ status: 201, contentType: "application/json", body: kept });
    });
    await page.goto(`${base}/desktops/${id}/console`);
    await shown(page);
    await page.reload();
    await says(page, words.ticket);
    await page.unroute(tickets);
    await page.click("#reconnect");
    await shown(page);

    // The machine restarts: the page says so, and shows the screen again by itself.
    await ask("POST", `/api/v1/sessions/${id}/restart`);
    await says(page, words.screen);
    await shown(page);

    const { connections } = await ask("GET", "/api/v1/connections");
    for (const { id } of connections) await ask("DELETE", `/api/v1/connections/${id}`);
    await says(page, words.operator);
    await page.click("#reconnect");
    await shown(page);

    // Signed out in another window: nothing is shown any more.
    const other = await context.newPage();
    await other.goto(`${base}/desktops`);
    await other.click("header form button");
    await other.waitForURL("**/sign-in");
    await says(page, words.signedOut);
    await signIn(page);

    await page.goto(`${base}/desktops/${id}/console`);
    await shown(page);
    await ask("DELETE", `/api/v1/sessions/${id}`);
    await says(page, words.gone);

    const missing = await page.goto(`${base}/desktops/desktop-aaaaaaa/console`);
    must(missing.status() === 404, "a desktop that is not there is");
    must((await page.textContent("h1")).includes(words.missing), "it is not said in its words");
    // What the browser and the viewer say of refusals and ends is no complaint of ours.
    const theirs = /^(Failed to load resource|Failed when|Connection closed)/;
    const ours = complaints.filter((text) => !theirs.test(text));
    complaints.splice(0, complaints.length, ...ours);
  }, { locale: language === "en" ? "en-GB" : "fr-FR" });
}
