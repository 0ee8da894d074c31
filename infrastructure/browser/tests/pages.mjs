// The fleet, what the agents know, how they are, and what they could not read.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { publish, topicName } from "../lib/broker.mjs";
import { text, withPage } from "../lib/browser.mjs";
import { scoresAndReasons } from "../lib/charts.mjs";
import { eventually, stack } from "../lib/stack.mjs";
import { LONG, MARKUP, VICTIM, victim, world } from "./world.mjs";

const FLEET = ["api-gateway", "inventory-service", "notification-service", "order-service", "payment-service", "user-service"];
const AGENTS = ["detection", "correlation", "investigation", "remediation", "communication", "postmortem"];

const onPage = (path, look) => withPage(world.browser, stack.dashboard + path, {}, look);

test("the fleet shows each service with its metrics and their range", () =>
  onPage("/fleet", async (page) => {
    const cards = await page.$$eval(".fleet > .service", (all) =>
      all.map((card) => ({
        service: card.querySelector("h2").textContent.trim(),
        href: card.querySelector("h2 a").getAttribute("href"),
        metrics: [...card.querySelectorAll(".metrics li")].map((metric) => ({
          name: metric.title,
          value: metric.querySelector(".value b").textContent,
          drawn: metric.querySelector("svg.spark path.line")?.getAttribute("d").length > 10,
          normal: metric.querySelector(".value small").textContent,
        })),
      })),
    );
    for (const service of FLEET) {
      const card = cards.find((one) => one.service === service);
      assert.ok(card, `${service} is not among ${cards.map((one) => one.service)}`);
      assert.equal(card.href, `/fleet/${service}`);
      const cpu = card.metrics.find(({ name }) => name === "service_cpu_percent");
      assert.ok(cpu, `${service} shows ${JSON.stringify(card.metrics)}`);
      assert.match(cpu.value, /^[\d.]+ ?%$/);
      assert.ok(cpu.drawn, `the last readings of ${service} are not drawn`);
      assert.match(cpu.normal, /^(normally )?[\d.]+ (to|–) [\d.]+( ?%)?$/);
    }
  }));

test("a service's page shows its record, its metrics drawn and its incidents", async () => {
  const found = await victim();
  await onPage("/fleet", async (page) => {
    const [link] = await page.$$(`.fleet h2 a[href="/fleet/${VICTIM}"]`);
    await Promise.all([page.waitForNavigation(), link.click()]);
    assert.equal(await text(page, "h1"), VICTIM);
    const facts = await page.$$eval("dl.facts dt", (all) => all.map((term) => term.textContent));
    for (const fact of ["Team", "Called by", "Calls"]) assert.ok(facts.includes(fact), `facts: ${facts}`);
    const drawn = await page.$$eval("figure", (all) =>
      all.filter((one) => one.querySelector("svg.chart path.line")).map((one) => one.querySelector("figcaption .soft").textContent),
    );
    for (const metric of ["service_db_connections", "service_latency_p99_ms"]) {
      assert.ok(drawn.includes(metric), `drawn are ${drawn}`);
    }
    const place = await page.$$eval(".drawings:first-of-type > figure", (all) =>
      all.findIndex((one) => one.querySelector("figcaption .soft").textContent === "service_db_connections"),
    );
    await scoresAndReasons(page, `.drawings:first-of-type > figure:nth-child(${place + 1})`);
    const incidents = await page.$$eval('[data-part="incidents"] li a', (all) => all.map((one) => one.getAttribute("href")));
    assert.ok(incidents.includes(`/incidents/${found.id}`), `incidents: ${incidents}`);
  });
});

test("the knowledge page counts its collections, and a search finds the runbook", () =>
  onPage("/knowledge", async (page) => {
    const collections = await page.$$eval(".tiles .tile", (all) =>
      all.map((tile) => [tile.querySelector("span").textContent, Number(tile.querySelector("b").textContent.replace(/\D/g, ""))]),
    );
    assert.deepEqual(collections.map(([name]) => name).sort(), ["architecture", "incidents", "runbooks"]);
    for (const [name, count] of collections) assert.ok(count > 0, `${name} holds ${count}`);

    await page.type("input[name=q]", "the pool of database connections is exhausted");
    await page.select("select[name=collection]", "runbooks");
    await page.focus("input[name=q]");
    await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
    const [best, ...others] = await page.$$eval(".hits .hit", (all) =>
      all.map((hit) => ({ title: hit.textContent.replace(/\s+/g, " "), score: Number(hit.querySelector("meter").value) })),
    );
    assert.match(best?.title ?? "", /database[- ]connection[- ]exhaustion/i);
    assert.ok(best.score > 0.4, `score ${best.score}`);
    for (const other of others) assert.ok(other.score <= best.score, "the nearest does not come first");
  }));

test("the agents page shows health, lag and throughput of all six", () =>
  onPage("/agents", async (page) => {
    const rows = await page.$$eval("table.agents tbody tr", (all) =>
      all.map((row) => ({
        name: row.querySelector("td b").textContent,
        health: row.querySelector('[data-label="Health"] .state').textContent,
        lag: row.querySelector('[data-label="Lag"]').innerText,
        throughput: row.querySelector('[data-label="Throughput"]').innerText,
        decided: row.querySelector('[data-label="Decided"]').innerText,
      })),
    );
    for (const agent of AGENTS) {
      const row = rows.find(({ name }) => name === agent);
      assert.ok(row, `${agent} is not among ${rows.map(({ name }) => name)}`);
      assert.match(row.health, /^(\d+ )?ready$/, agent);
      assert.match(row.lag, /\d|unknown|up to date|behind/, agent);
      assert.match(row.lag, /member/, `${agent}: ${row.lag}`);
      // What detection gets done is told by the rate alone, below.
      if (agent !== "detection") assert.match(row.throughput, /[\d.]+ inputs\/min/, agent);
    }
    assert.match(rows.find(({ name }) => name === "correlation").decided, /ago/);
    // Rates come from the processes' counters, between two looks.
    const rate = () => page.$eval('table.agents tbody tr:first-child [data-label="Throughput"]', (cell) => cell.innerText);
    await eventually(
      "the messages per second of detection",
      20_000,
      async () => {
        await page.reload();
        return /[\d.]+ messages\/s/.test(await rate());
      },
      rate,
    );
  }));

/** The letters shown: id, payload, reason and what was done about each. */
const letters = (page) =>
  page.$$eval("ul.letters > li", (all) =>
    all.map((letter) => ({
      id: letter.id,
      payload: letter.querySelector(".payload").textContent,
      why: letter.querySelector(".why").textContent,
      meta: letter.querySelector(".meta").textContent.replace(/\s+/g, " "),
      act: letter.querySelector(".act").textContent.replace(/\s+/g, " ").trim(),
    })),
  );

test("a dead letter is shown with its reason, sent again, and that is recorded", async () => {
  const poison = `no JSON ${randomUUID()} <script>alert(3)</script>${MARKUP}`;
  const [place] = await publish("raw.metrics", [{ key: MARKUP + LONG, value: poison }]);
  await withPage(world.browser, `${stack.dashboard}/agents?topic=raw.metrics#dead-letters`, {}, async (page) => {
    const mine = (all) => all.filter(({ payload }) => payload.startsWith(poison));
    const [letter] = await eventually(
      "the poison message is among the dead letters",
      20_000,
      async () => {
        const found = mine(await letters(page));
        if (found.length === 0) await page.reload();
        return found.length > 0 && found;
      },
      () => letters(page),
    );
    assert.match(letter.why, /not JSON/);
    assert.match(letter.meta, /raw\.metrics.*set aside by (midwatch\.)?detection/);
    const origin = new RegExp(`partition ${place.partition}, offset ${place.baseOffset}\\b`);
    assert.match(letter.meta, origin);
    assert.equal(letter.act, "Send again");

    const button = await page.$(`[id="${letter.id}"] button`);
    await Promise.all([page.waitForNavigation(), button.click()]);
    const sent = await eventually(
      "the page says that it was sent again",
      15_000,
      async () => mine(await letters(page)).find(({ id, act }) => id === letter.id && act.startsWith("sent again")),
      () => letters(page),
    );
    const [, partition, offset] = /now at partition (\d+), offset (\d+)/.exec(sent.act) ?? [];
    assert.equal(Number(partition), place.partition, sent.act);
    assert.ok(Number(offset) > Number(place.baseOffset), sent.act);
    assert.equal(await page.$(`[id="${letter.id}"] button`), null, "it can be sent a second time");

    // It lies there again, the same bytes, and is as unreadable as before.
    const at = `${stack.topics}/topics/${topicName("raw.metrics")}?partition=${partition}&offset=${offset}`;
    await withPage(world.browser, at, {}, async (topic) => {
      const shown = await text(topic, ".message.target pre");
      assert.equal(shown, poison);
    });
    await eventually(
      "the resent message is set aside a second time",
      20_000,
      async () => {
        await page.reload();
        return mine(await letters(page)).some(({ meta }) => meta.includes(`partition ${partition}, offset ${offset}`));
      },
      () => letters(page),
    );
    assert.equal((await page.$$(".letters :is(img, script)")).length, 0, "markup of the payload became an element");
  });
});
