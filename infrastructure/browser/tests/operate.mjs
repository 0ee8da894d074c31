// What an operator asks for on the page of an incident, and the evidence graph.
import assert from "node:assert/strict";
import { test } from "node:test";
import { PHONE, inPage, sideways, signIn, signOut, text, withPage } from "../lib/browser.mjs";
import { stack } from "../lib/stack.mjs";
import { FOREIGN, VICTIM, victim, world } from "./world.mjs";

const TOKEN = process.env.OPERATOR_TOKEN;
/** Of a server that lets nobody in, or not in this way. */
const REFUSED = { expect: [/status of 401/] };

const address = async (found) => `${stack.dashboard}/incidents/${(await found).id}`;

test("a candidate's evidence is drawn, and each box leads to its source", async () => {
  const at = await address(victim());
  await withPage(world.browser, at, {}, async (page) => {
    const drawn = await page.$$eval("#cause svg.proof.wide a.item", (all) =>
      all.map((one) => ({ href: one.getAttribute("href"), label: one.getAttribute("aria-label") })),
    );
    assert.ok(drawn.length > 0, "no record is drawn");
    const bonds = await page.$$eval("#cause svg.proof.wide path.bond", (all) => all.length);
    assert.ok(bonds >= drawn.length, `${bonds} bonds for ${drawn.length} records`);
    for (const { href, label } of drawn) {
      assert.match(label, /^(supports|refutes) cause \d/);
      if (!href.startsWith("#")) continue;
      assert.ok(await page.$(`[id="${href.slice(1)}"]`), `${href} leads nowhere`);
    }
    const record = drawn.find(({ href }) => href.startsWith("#record-"));
    assert.ok(record, "no record of the incident is drawn");
    // The keyboard reaches it, and Enter follows it.
    // The driver's own focus takes HTML elements only; this is a link of a drawing.
    const focused = await page.evaluate((href) => {
      const link = document.querySelector(`#cause svg.proof.wide a.item[href="${href}"]`);
      link.focus();
      return document.activeElement === link;
    }, record.href);
    assert.ok(focused, "the keyboard does not reach it");
    await page.keyboard.press("Enter");
    await inPage(page, "its record is in view", 5_000, () => {
      const box = document.querySelector(":target")?.getBoundingClientRect();
      return box && box.height > 0 && box.top >= 0 && box.top < innerHeight;
    });
    const opened = await page.$eval(":target details summary", (summary) => {
      summary.click();
      return summary.parentElement.querySelector("pre").textContent;
    });
    assert.ok(opened.includes("{"), `the record says: ${opened.slice(0, 100)}`);
  });
});

test("a cited reading leads to a chart at its moment", async () => {
  const at = await address(victim());
  await withPage(world.browser, at, {}, async (page) => {
    const chart = await page.$eval("#evidence a.source[href^='?chart=']", (link) => link.href);
    await page.goto(chart);
    const marked = await page.$eval("#chart-evidence svg.chart.wide text.cursor", (label) => label.textContent);
    assert.match(marked, /^cited \d\d:\d\d:\d\d at /);
  });
});

test("the evidence graph of hostile names is text, and fits a phone", async () => {
  const at = await address(world.markup);
  await withPage(world.browser, at, { viewport: PHONE }, async (page) => {
    const words = await page.$$eval("#cause svg.proof.narrow text", (all) => all.map((one) => one.textContent).join("\n"));
    assert.ok(words.includes("<img src"), words.slice(0, 300));
    assert.equal(await page.$$eval(FOREIGN, (all) => all.length), 0);
    const box = await page.$eval("#cause svg.proof.narrow", (svg) => svg.getBoundingClientRect().toJSON());
    assert.ok(box.left >= 0 && box.right <= PHONE.width, JSON.stringify(box));
    assert.deepEqual(await sideways(page, PHONE.width), []);
  });
});

test("nobody gives commands without an operator's token", async () => {
  assert.ok(TOKEN, "OPERATOR_TOKEN is not set; the stack sets it for its command");
  const found = await victim();
  const asked = await fetch(`${stack.dashboard}/api/incidents/${found.id}/commands`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ command: "reopen" }),
  });
  assert.equal(asked.status, 401);
  assert.match((await asked.json()).error.hint, /OPERATOR_TOKENS_FILE/);
  const at = await address(found);
  await withPage(world.browser, at, REFUSED, async (page) => {
    assert.equal(await page.$("#operate button[name=command]"), null);
    await signIn(page, "no-token-of-this-server");
    assert.match(await text(page), /this token is not among the operators' tokens/);
  });
});

test("an operator signs in, asks, and sees what came of it", async () => {
  const found = await victim();
  const at = await address(found);
  await withPage(world.browser, at, {}, async (page) => {
    await signIn(page, TOKEN);
    const offered = await page.$$eval("#operate button[name=command]", (all) => all.map((one) => one.value));
    assert.deepEqual(offered, ["reopen", "review", "publish", "maintain"], "only what fits a resolved incident is offered");
    const cookies = await page.browserContext().cookies();
    const session = cookies.find(({ name }) => name === "midwatch_operator");
    assert.ok(session.httpOnly && session.sameSite === "Strict" && session.value !== TOKEN, JSON.stringify(session));
    await page.$eval("#more-commands", (more) => (more.open = true));
    await page.select("#operate select[name=service]", VICTIM);
    await page.type("#operate input[name=reason]", "a test of the pages");
    await Promise.all([page.waitForNavigation(), page.click("#operate button[value=maintain]")]);
    assert.match(await text(page, "#operate [role=status]"), /^Maintain is on operator\.commands, partition \d+, offset \d+\./);
    await signOut(page);
    assert.ok(await page.$("#operate input[name=token]"), "signed out");
  });
});
