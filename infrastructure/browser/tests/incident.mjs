// The page of one incident whose life is over.
import assert from "node:assert/strict";
import { test } from "node:test";
import { PHONE, inPage, text, withPage } from "../lib/browser.mjs";
import { scoresAndReasons } from "../lib/charts.mjs";
import { inboxMails, incident, stack } from "../lib/stack.mjs";
import { VICTIM, victim, world } from "./world.mjs";

const STAGES = ["🚨", "🔍", "🛠️", "✅", "📋"];

/** Opens the page of the fault's incident. */
async function onPage(look) {
  const found = await victim();
  await withPage(world.browser, `${stack.dashboard}/incidents/${found.id}`, {}, (page) => look(page, found));
}

const count = (page, selector) => page.$$eval(selector, (all) => all.length);
const texts = (page, selector) => page.$$eval(selector, (all) => all.map((one) => one.textContent.trim()));

test("the timeline tells every step of the incident's life in order", () =>
  onPage(async (page) => {
    const types = await page.$$eval("#timeline li", (all) => all.map((one) => one.className));
    const steps = ["anomaly-detected", "incident-opened", "rca-complete", "plan-ready", "incident-resolved", "postmortem-generated"];
    const places = steps.map((step) => types.findIndex((type) => type.split(" ").includes(`ev-${step}`)));
    for (const [index, place] of places.entries()) assert.ok(place >= 0, `the timeline tells no ${steps[index]}: ${types}`);
    assert.deepEqual(places.slice(1), [...places.slice(1)].sort((a, b) => a - b), `out of order: ${types}`);
    assert.deepEqual(await texts(page, ".steps li.done"), ["Detecting", "Correlating", "Investigating", "RCA complete", "Remediating", "Resolved"]);
  }));

test("the affected services are drawn as a graph", () =>
  onPage(async (page) => {
    const nodes = await page.$$eval("#services svg.graph.wide g.node", (all) =>
      all.map((node) => ({ name: node.querySelector("title").textContent, kind: node.classList[1] })),
    );
    const struck = nodes.find((node) => node.name === VICTIM);
    assert.ok(struck, `${VICTIM} is not drawn among ${JSON.stringify(nodes)}`);
    assert.ok(["root", "impaired"].includes(struck.kind), `${VICTIM} is drawn as ${struck.kind}`);
    assert.ok(nodes.length > 1, "its neighbours are not drawn");
    assert.ok((await count(page, "#services svg.graph.wide path.edge")) > 0, "no call is drawn");
    const box = await page.$eval("#services svg.graph.wide", (svg) => svg.getBoundingClientRect().toJSON());
    assert.ok(box.width > 100 && box.height > 60, `the graph takes ${box.width} × ${box.height} px`);
  }));

test("the triggering metric is drawn with its baseline and the anomaly", () =>
  onPage(async (page) => {
    const caption = (await texts(page, "#metric figcaption"))[0];
    assert.match(caption, new RegExp(`of ${VICTIM}$`));
    const chart = "#metric figure:first-of-type svg.chart.wide";
    for (const [what, selector] of [
      ["the readings", "path.line"],
      ["the normal range", "path.band"],
      ["the expected value", ".expected"],
      ["the anomaly's time", "rect.region"],
      ["the readings in the anomaly", "path.line.hot"],
      ["the mark of the detection", "circle.mark"],
    ]) {
      assert.ok((await count(page, `${chart} ${selector}`)) > 0, `the chart lacks ${what}`);
    }
    const points = await page.$eval(`${chart} path.line`, (path) => path.getAttribute("d").split(/[ML]/).length - 1);
    assert.ok(points >= 10, `the chart has ${points} readings`);
    const height = await page.$eval(`${chart} path.line.hot`, (path) => path.getBoundingClientRect().height);
    assert.ok(height > 20, `the anomaly is ${height} px high`);
  }));

test("below it stand the scores, and each reading that stood out says why", () =>
  onPage(async (page) => {
    const figure = "#metric figure:first-of-type";
    await scoresAndReasons(page, figure);
    // What stood out reaches where the anomaly is: its first reading is news,
    // those after it belong to what was said, so both may share an edge only.
    const [strip, region] = await page.$eval(`${figure} svg.chart.wide`, (svg) =>
      [".scores.decided", ".region"].map((part) => svg.querySelector(part).getBoundingClientRect().toJSON()),
    );
    assert.ok(strip.left <= region.right + 1 && strip.right >= region.left - 1, `${JSON.stringify(strip)} beside ${JSON.stringify(region)}`);
    await page.setViewport(PHONE);
    await scoresAndReasons(page, figure, "narrow");
  }));

test("each cited piece of evidence leads to its record", () =>
  onPage(async (page) => {
    const refs = await page.$$eval("a.ref", (all) => all.map((link) => link.getAttribute("href")));
    assert.ok(refs.length > 0, "nothing is cited");
    for (const ref of new Set(refs)) {
      const row = await page.evaluate((id) => document.getElementById(id)?.closest("#evidence") && document.getElementById(id).innerText, ref.slice(1));
      assert.ok(row?.trim(), `${ref} leads nowhere in the evidence`);
      assert.doesNotMatch(row, /not among the records that were kept/);
    }
    await page.click("#cause .cites a.ref");
    const target = refs.includes(new URL(page.url()).hash);
    assert.ok(target, `a click on a citation led to ${page.url()}`);
    await inPage(page, "the cited record is in view", 5_000, () => {
      const box = document.querySelector(":target")?.getBoundingClientRect();
      return box && box.height > 0 && box.top >= 0 && box.top < innerHeight;
    });
    const kinds = await page.$$eval("#evidence a.chip", (all) => all.map((link) => link.href));
    assert.ok(kinds.length > 0, "no kind of record is offered");
  }));

test("the plan names its steps with command, reason and rollback", () =>
  onPage(async (page) => {
    const steps = await page.$$eval("#plan ol.plan > li", (all) =>
      all.map((step) => ({
        title: step.querySelector("h3").textContent,
        command: step.querySelector(".command code").textContent,
        facts: [...step.querySelectorAll("dt")].map((term) => term.textContent),
        copy: step.querySelector(".command button")?.textContent,
      })),
    );
    assert.ok(steps.length >= 2, `${steps.length} steps`);
    for (const step of steps) {
      assert.ok(step.title.length > 3 && step.command.length > 3, JSON.stringify(step));
      // What could be executed says more about itself than what a person does by hand.
      const facts = step.facts.includes("Action")
        ? ["Why", "Action", "Risk", "Touches", "Checked before", "Expected", "Undo"]
        : ["Why", "Expected", "Rollback"];
      assert.deepEqual(step.facts.slice(0, facts.length), facts);
      assert.equal(step.copy, "Copy");
    }
  }));

test("the five mails are shown as they lie in the inbox", () =>
  onPage(async (page, found) => {
    const mails = await page.$$eval("#mails li", (all) =>
      all.map((mail) => ({
        subject: mail.querySelector("a").textContent,
        href: mail.querySelector("a").href,
        state: mail.querySelector(".state").textContent,
      })),
    );
    const inbox = await inboxMails(found.short_id);
    for (const stage of STAGES) {
      const mail = mails.find(({ subject }) => subject.startsWith(stage));
      assert.ok(mail, `no mail of stage ${stage} among ${JSON.stringify(mails)}`);
      assert.equal(mail.state, "Sent", mail.subject);
      // Each addressee has a mail of their own, with a link of their own.
      const arrived = inbox.filter(({ subject }) => subject === mail.subject);
      assert.ok(arrived.length > 0, `the inbox has no "${mail.subject}"`);
      await withPage(world.browser, mail.href, {}, async (shown) => {
        const words = await text(shown);
        assert.ok(words.includes(found.short_id) && words.includes(VICTIM), `the mail says: ${words.slice(0, 300)}`);
        const same = await shown.evaluate(
          (all) => all.map((html) => new DOMParser().parseFromString(html, "text/html").body.textContent.replace(/\s+/g, " ").trim()),
          arrived.map(({ html }) => html),
        );
        assert.ok(same.includes(words), `"${mail.subject}" differs from what the inbox received: ${words}`);
      });
    }
  }));

test("the postmortem is on the page, rendered", () =>
  onPage(async (page, found) => {
    const headings = await texts(page, "#postmortem :is(h2, h3, h4)");
    assert.ok(headings.length >= 4, `headings: ${headings}`);
    const words = await text(page, "#postmortem");
    assert.ok(words.includes(found.short_id) || words.includes(VICTIM), words.slice(0, 300));
    assert.match(words, /timeline/i);
    assert.doesNotMatch(words, /(^|\s)#{1,4}\s|\*\*/, "Markdown marks are shown as they are");
    assert.doesNotMatch(words, /Written after the incident is resolved/);
  }));

test("the model calls are shown with their cost, or that there were none", () =>
  onPage(async (page, found) => {
    const words = await text(page, "#calls");
    if (found.llm_calls.length === 0) {
      assert.match(words, /None: every answer on this page was computed without a model/);
    } else {
      assert.match(words, new RegExp(`^Model calls ${found.llm_calls.length} calls?, [\\d ,]+ tokens, `));
      assert.equal(await count(page, "#calls details.round"), found.llm_calls.length);
    }
  }));

test("every link within the incident page has a target", () =>
  onPage(async (page) => {
    const lost = await page.$$eval('a[href^="#"]', (all) =>
      all.map((link) => link.getAttribute("href")).filter((href) => !document.getElementById(href.slice(1))),
    );
    assert.deepEqual(lost, []);
  }));

test("what it cost is told stage by stage, and adds up", () =>
  onPage(async (page, found) => {
    const { costs } = await incident(found.id);
    const stages = costs.map(({ stage }) => stage);
    for (const stage of ["communication", "correlation", "investigation", "postmortem", "records", "remediation"]) {
      assert.ok(stages.includes(stage), `nothing of ${stage} among ${stages}`);
    }
    const named = stages.map((stage) => (stage === "records" ? "copied records" : stage));
    assert.deepEqual(await texts(page, "#costs tbody td:first-child"), [...named, "All"]);
    const sum = (field) => costs.reduce((all, cost) => all + cost[field], 0);
    const tokens = sum("prompt_tokens") + sum("completion_tokens");
    const shown = await texts(page, "#costs tr.sum td[data-label=Tokens]");
    assert.deepEqual(shown, [tokens.toLocaleString("en-US")]);
    assert.ok(sum("event_bytes") > 0 && sum("stored_bytes") > 0, JSON.stringify(costs));
    const words = await text(page, "#costs > p");
    const expected = sum("model_calls") === 0 ? /^0 tokens and \$0: no model was asked\./ : /^[\d,]+ tokens and \$/;
    assert.match(words, expected);
  }));
