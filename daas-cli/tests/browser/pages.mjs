// Every page, in both languages: no violation of axe's rules, nothing wider than a telephone.

import { base, create, examine, must, ready, signIn, story } from "./browser.mjs";

const PAGES = {
  desktops: "/desktops",
  "all-desktops": "/desktops?all=true",
  catalogue: "/desktops/new",
  account: "/account",
  admin: "/admin",
  "admin-sessions": "/admin/sessions",
  "admin-templates": "/admin/templates",
  "admin-people": "/admin/people",
  "admin-places": "/admin/places",
  "admin-quarantine": "/admin/quarantine",
  "admin-audit": "/admin/audit",
};

for (const locale of ["en-GB", "fr-FR"]) {
  await story(async ({ page }) => {
    const language = locale.slice(0, 2);
    await page.goto(`${base}/sign-in`);
    await examine(page, `${language}-sign-in`);
    await signIn(page);
    const id = await create(page, `pages-${language}`);
    await ready(page);
    for (const [name, path] of Object.entries({ ...PAGES, history: `/desktops/${id}/history` })) {
      const answer = await page.goto(base + path);
      must(answer.status() === 200, `${path}: ${answer.status()}`);
      must(await page.getAttribute("html", "lang") === language, `${path} is not in ${language}`);
      await examine(page, `${language}-${name}`);
    }
  }, { locale });
}
