// Takes the pictures in docs/ from a running stack on which nothing else
// happens:
//
//   target/debug/midwatch-stack run --quiet --speed 12 -- node infrastructure/browser/screenshots.mjs
//
// Two faults are over when a third one is in the middle of its life; between
// them is more quiet than detection takes for one anomaly's pause.
import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { DESK, PHONE, inPage, openBrowser, withPage } from "./lib/browser.mjs";
import { projectRoot } from "./lib/modules.mjs";
import { eventually, inboxMails, incidentWhere, incidentsOf, inject, isComplete, json, simulatorIsLive, stack } from "./lib/stack.mjs";

/** Pictures are part of every clone. */
const LARGEST_BYTES = 300_000;
const LIFE_LIMIT_MS = 240_000;
/** Simulated time between two faults, above detection's DEDUP_TTL_SECONDS. */
const QUIET_MS = 480_000;

const docs = join(projectRoot, "docs");
const browser = await openBrowser();

/** Saves what a page shows, after `prepare`, in a window of `viewport`. */
async function picture(name, url, { viewport = DESK, prepare, expect, scheme = "light" } = {}) {
  const path = join(docs, `${name}.png`);
  await withPage(browser, url, { viewport, expect }, async (page) => {
    await page.emulateMediaFeatures([
      { name: "prefers-color-scheme", value: scheme },
      { name: "prefers-reduced-motion", value: "reduce" },
    ]);
    await page.waitForNetworkIdle({ idleTime: 500, timeout: 15_000 });
    await prepare?.(page);
    await page.screenshot({ path });
  });
  const { size } = statSync(path);
  console.log(`${path}: ${Math.round(size / 1000)} kB`);
  if (size > LARGEST_BYTES) throw new Error(`${path} has ${size} bytes; make its window smaller`);
}

/** The width of a reading pane. */
const MAIL = { width: 680, height: 860, deviceScaleFactor: 1 };
const tall = (height) => ({ ...DESK, height });
const isLive = (page) => inPage(page, "the page is live", 10_000, () => document.querySelector(".live.on") !== null);

/** Starts a fault; what waits for its own incident, whatever else names the service. */
async function strike(scenario, service) {
  const known = new Set((await incidentsOf(service)).map(({ id }) => id));
  await inject(scenario, service);
  return (what, is) => incidentWhere(service, what, LIFE_LIMIT_MS, is, known);
}

const quietAfter = (found) =>
  eventually("quiet before the next fault", LIFE_LIMIT_MS, async () => {
    const { simulated_ms } = await json(`${stack.simulator}/status`);
    return simulated_ms > found.resolved_at_ms + QUIET_MS;
  });
const scrollTo = (selector) => (page) =>
  page.$eval(selector, (part) => window.scrollTo(0, part.getBoundingClientRect().top + scrollY - 60));

/** Rates are known from the second look on. */
const hasRates = (page) =>
  inPage(page, "rates are shown", 20_000, () => /\d/.test(document.querySelector(".tile:nth-of-type(2) b").textContent));
const openFirst = async (page) => {
  await page.click("#follow");
  await inPage(page, "it follows", 10_000, () => document.querySelector("#follow span").textContent.startsWith("Following"));
  await page.click("#messages .message:nth-child(2) summary");
};

try {
  mkdirSync(docs, { recursive: true });
  await simulatorIsLive();
  for (const [scenario, service] of [
    ["MEMORY_LEAK", "notification-service"],
    ["DEPLOYMENT_FAILURE", "user-service"],
  ]) {
    const struck = await strike(scenario, service);
    await quietAfter(await struck("is resolved, with five mails", isComplete));
  }
  const struck = await strike("DB_CONNECTION_EXHAUSTION", "payment-service");
  const hasGrown = (found) => found.status === "REMEDIATING" && found.timeline.some((line) => line.event_type === "INCIDENT_UPDATED");
  await struck("has a plan and has grown", hasGrown);
  await picture("dashboard", `${stack.dashboard}/`, { prepare: isLive });
  await picture("phone", `${stack.dashboard}/`, { viewport: PHONE, prepare: isLive });
  const over = await struck("is resolved, with five mails", isComplete);

  const page = `${stack.dashboard}/incidents/${over.id}`;
  await picture("incident", page);
  await picture("incident-metric", page, { prepare: scrollTo("#metric") });
  await picture("incident-services", page, { prepare: scrollTo("#services") });
  await picture("fleet", `${stack.dashboard}/fleet`, { viewport: tall(1000) });
  await picture("knowledge", `${stack.dashboard}/knowledge?q=${encodeURIComponent("database connections exhausted")}`);
  await picture("agents", `${stack.dashboard}/agents`, { viewport: tall(1000) });
  await picture("topics", `${stack.topics}/`, { prepare: hasRates });
  await picture("topic", `${stack.topics}/topics/anomalies.detected`, { prepare: openFirst });

  // The five mails by themselves, as programs and phones show them.
  mkdirSync(join(docs, "mails"), { recursive: true });
  const mails = await inboxMails(over.short_id);
  // A plan that replaced another, and the mail of somebody who may approve it.
  const canApprove = async ({ id }) => (await (await fetch(`${stack.inbox}/email/${id}/html`)).text()).includes("/approve?");
  const plans = mails.filter(({ subject }) => subject.startsWith("🛠"));
  const offered = await Promise.all(plans.map(canApprove));
  const plan = plans.find((_, index) => offered[index]) ?? plans[0];
  for (const [stage, sign] of [["1-opened", "🚨"], ["2-cause", "🔍"], ["3-plan", "🛠"], ["4-resolved", "✅"], ["5-postmortem", "📋"]]) {
    const { id } = stage === "3-plan" ? plan : mails.find(({ subject }) => subject.startsWith(sign));
    for (const [look, options] of [
      ["light", { viewport: MAIL }],
      ["dark", { viewport: MAIL, scheme: "dark" }],
      ["phone", { viewport: { ...MAIL, width: PHONE.width } }],
    ]) {
      await picture(`mails/${stage}-${look}`, `${stack.inbox}/email/${id}/html`, { ...options, expect: [/^console|^request failed/] });
    }
  }
  // The inbox is another project's page; what it logs is not ours.
  await picture("mail", `${stack.inbox}/#/email/${plan.id}`, { expect: [/^console|^request failed/] });
} finally {
  await browser.close();
}
