// A service whose name is markup stays text wherever it is shown.
import assert from "node:assert/strict";
import { test } from "node:test";
import { publish } from "../lib/broker.mjs";
import { inPage, text, withPage } from "../lib/browser.mjs";
import { eventually, inboxMails, stack } from "../lib/stack.mjs";
import { FOREIGN, MARKUP, WORDS, world } from "./world.mjs";

/**
 * The page shows the name as text and holds no element made of it. A dialog, a
 * request for the image and a complaint of the policy fail `withPage`; the
 * pause for the network gives them time to happen.
 */
async function showsText(page, at) {
  await page.waitForNetworkIdle({ idleTime: 300, timeout: 10_000 });
  assert.equal(await page.$$eval(FOREIGN, (all) => all.map((one) => one.outerHTML).join("\n")), "", `markup got into ${at}`);
  const words = await text(page);
  assert.ok(words.includes(MARKUP), `${at} does not show ${MARKUP}: ${words.slice(0, 400)}`);
}

const shown = (at, more = async () => {}) =>
  withPage(world.browser, at, {}, async (page) => {
    await showsText(page, at);
    await more(page);
  });

test("a service named like an image is text in the feed", async () => {
  const found = await world.markup;
  await shown(`${stack.dashboard}/`, async (page) => {
    const title = await text(page, `[data-key="${found.id}"] strong`);
    assert.ok(title.includes(MARKUP), title);
    const offered = await page.$$eval(".filters select[name=service] option", (all) => all.map((one) => one.value));
    assert.ok(offered.includes(MARKUP), `the filter offers ${offered}`);
  });
  await shown(`${stack.dashboard}/?${new URLSearchParams({ service: MARKUP })}`);
});

test("it is text in every part of its incident's page", async () => {
  const found = await world.markup;
  await shown(`${stack.dashboard}/incidents/${found.id}`, async (page) => {
    assert.ok((await text(page, "h1")).includes(MARKUP));
    // The parts whose words come from what the producer wrote.
    for (const part of ["known", "timeline", "metric", "services", "cause", "plan", "mails", "evidence", "postmortem"]) {
      const words = await text(page, `#${part}`);
      assert.ok(words.includes("<img src=x"), `#${part} does not name the service: ${words.slice(0, 300)}`);
    }
    assert.ok((await text(page, "#evidence")).includes("<script>alert(2)</script>"), "a log line is shown as it came");
  });
});

test("it is text in the fleet overview and on its own page", async () => {
  await world.markup;
  await shown(`${stack.dashboard}/fleet`);
  await shown(`${stack.dashboard}/fleet/${encodeURIComponent(MARKUP)}`);
});

test("it is text as key and payload of a dead letter", async () => {
  await publish("raw.logs", [{ key: MARKUP, value: `{${WORDS}` }]);
  const at = `${stack.dashboard}/agents?topic=raw.logs`;
  await withPage(world.browser, at, {}, async (page) => {
    await eventually("the dead letter is shown", 20_000, async () => {
      const found = (await text(page)).includes(`{${WORDS}`);
      if (!found) await page.reload();
      return found;
    });
    await showsText(page, at);
  });
});

test("it is text among the messages of a topic, also when they come live", async () => {
  const found = await world.markup;
  for (const topic of ["incidents.opened", "postmortems.generated"]) {
    const at = `${stack.topics}/topics/${topic}`;
    await withPage(world.browser, at, {}, async (page) => {
      await inPage(page, `a message names ${found.short_id}`, 10_000, (name) => document.body.textContent.includes(name), found.id);
      await showsText(page, at);
    });
  }
});

test("it is text in the mails as the inbox shows them", async () => {
  const found = await world.markup;
  const mails = await eventually("five mails of the incident lie in the inbox", 20_000, async () => {
    const mails = await inboxMails(found.short_id);
    return mails.length >= 5 && mails;
  });
  assert.ok(mails.some(({ subject }) => subject.includes(MARKUP)), mails.map(({ subject }) => subject).join("\n"));
  for (const { id, subject } of mails) {
    const at = `${stack.inbox}/email/${id}/html`;
    await withPage(world.browser, at, {}, async (page) => {
      await page.waitForNetworkIdle({ idleTime: 300, timeout: 10_000 });
      assert.equal(await page.$$eval("img, script, [onerror]", (all) => all.length), 0, `markup got into "${subject}"`);
      assert.ok((await text(page)).includes("<img src=x"), `"${subject}" does not name the service`);
    });
  }
});
