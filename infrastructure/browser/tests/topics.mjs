// The topic page: what the broker holds, who reads it, and the messages as
// they come.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { publish, topicName } from "../lib/broker.mjs";
import { inPage, text, withPage } from "../lib/browser.mjs";
import { stack } from "../lib/stack.mjs";
import { MARKUP, world } from "./world.mjs";

const onPage = (path, look) => withPage(world.browser, stack.topics + path, {}, look);

test("the overview shows topics with their counts and groups with members and lag", () =>
  onPage("/", async (page) => {
    const topics = await page.$$eval("table.topics tbody tr", (all) =>
      all.map((row) => ({
        name: row.querySelector("a.name").textContent,
        partitions: row.querySelector('[data-label="Partitions"]').textContent.trim(),
        messages: row.querySelector('[data-label="Messages"]').textContent.trim(),
      })),
    );
    for (const name of ["raw.metrics", "anomalies.detected", "incidents.opened", "postmortems.generated"].map(topicName)) {
      const row = topics.find((one) => one.name === name);
      assert.ok(row, `${name} is not among ${topics.map((one) => one.name)}`);
      assert.match(row.partitions, /^[1-9]/, name);
      assert.match(row.messages, /[1-9]|unknown/, name);
    }
    for (const agent of ["detection", "correlation", "communication"]) {
      const group = `article.group[data-key="midwatch.${agent}"]`;
      assert.equal((await page.$$(group)).length, 1, `the group of ${agent} is not shown`);
      assert.match(await text(page, `${group} .lag`), /^([\d,. ]+|unknown) ?lag/);
      const members = await page.$$eval(`${group} .members li`, (all) => all.map((one) => one.textContent));
      assert.ok(members.length > 0, `${agent} has no member`);
    }
    // Which partitions a member reads; a broker may not say.
    const reads = await text(page, 'article.group[data-key="midwatch.detection"] .members');
    assert.match(reads, /raw\.metrics \d|the broker does not say/);
  }));

/** A reading that only this test can have sent. */
function reading() {
  const service = `followed-${randomUUID()} ${MARKUP}`;
  const value = { timestamp_ms: Date.now(), service, environment: "browser-follow", metric_name: "answers", metric_value: 42, labels: {} };
  return { key: service, value };
}

/** The row that shows `words`, as text. */
const row = (page, words) =>
  page.$$eval("#messages .message", (all, words) => all.find((one) => one.textContent.includes(words))?.textContent, words);

test("a followed topic shows a new message while the page stays", () =>
  onPage(`/topics/${topicName("raw.metrics")}`, async (page, watch) => {
    assert.ok((await page.$$("#messages .message")).length > 0, "the topic shows no message that is there already");
    await page.evaluate(() => (window.stayed = true));
    const unseen = reading();
    await page.click("#follow");
    await inPage(page, "it follows", 10_000, () => /^Following/.test(document.querySelector("#follow span").textContent));
    assert.equal(await page.$eval("#follow", (button) => button.getAttribute("aria-pressed")), "true");

    const frames = watch.frames;
    await publish("raw.metrics", [unseen]);
    await inPage(page, "the message that was just published is shown", 15_000, (words) => document.querySelector("#messages").textContent.includes(words), unseen.key);
    assert.ok(watch.frames > frames, "it came without the WebSocket");
    const shown = await row(page, unseen.key);
    assert.ok(shown.includes('"metric_value": 42'), shown);
    assert.equal((await page.$$("#messages img")).length, 0, "markup of a live message became an element");

    await page.click("#follow");
    await inPage(page, "it no longer follows", 5_000, () => document.querySelector("#follow").getAttribute("aria-pressed") === "false");
    const later = reading();
    await publish("raw.metrics", [later]);
    await page.waitForNetworkIdle({ idleTime: 1_000, timeout: 10_000 });
    assert.equal(await row(page, later.key), undefined, "it goes on following");
    assert.equal(await page.evaluate(() => window.stayed), true, "the page was loaded again");
  }));

test("a message has an address of its own, and older ones can be reached", async () => {
  const sent = reading();
  const [{ partition, baseOffset }] = await publish("raw.metrics", [sent]);
  await onPage(`/topics/${topicName("raw.metrics")}?partition=${partition}&offset=${baseOffset}`, async (page) => {
    const shown = await page.$eval(".message.target", (one) => ({ open: one.querySelector("details").open, text: one.textContent }));
    assert.ok(shown.open && shown.text.includes(sent.key), shown.text);
    const offsets = () => page.$$eval("#messages .where", (all) => all.map((one) => Number(one.textContent.split("·")[1])));
    const newest = await offsets();
    assert.equal(newest[0], Number(baseOffset));
    const [older] = await page.$$(".pager a");
    await Promise.all([page.waitForNavigation(), older.click()]);
    const before = await offsets();
    assert.equal(before[0], newest.at(-1) - 1, `${newest} then ${before}`);
  });
});
