// A headless Chromium whose pages are watched: what they log, where they
// connect, and whether they open a dialog.
import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { puppeteer } from "./modules.mjs";
import { eventually } from "./stack.mjs";

export const DESK = { width: 1280, height: 900, deviceScaleFactor: 1 };
export const PHONE = { width: 390, height: 844, deviceScaleFactor: 1, isMobile: true, hasTouch: true };

const LOOPBACK = new Set(["127.0.0.1", "localhost", "[::1]"]);
const NAVIGATION_LIMIT_MS = 20_000;

function program() {
  const named = process.env.CHROMIUM;
  const folders = process.env.PATH.split(":").filter(Boolean);
  const usual = ["chromium", "google-chrome"].flatMap((name) => folders.map((folder) => join(folder, name)));
  const found = (named ? [named] : usual).find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (found) return found;
  throw new Error(named ? `CHROMIUM=${named} cannot be run` : "no Chromium: apt-get install chromium, or name one in CHROMIUM");
}

/** Starts the browser. It cannot resolve any name but this machine's. */
export function openBrowser() {
  const args = [
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--no-proxy-server",
    "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
    "--font-render-hinting=none",
  ];
  // Chromium refuses its sandbox to root, and containers often have no user
  // namespaces for it. It opens nothing but this stack's own pages.
  if (process.getuid() === 0 || process.env.CI) args.push("--no-sandbox");
  return puppeteer.launch({ executablePath: program(), headless: true, args, timeout: 30_000 });
}

/** What a page did that it must not do, in words. */
class Watch {
  constructor(page, { expect = [] } = {}) {
    this.problems = [];
    this.frames = 0;
    this.navigations = 0;
    const add = (text) => {
      if (!expect.some((pattern) => pattern.test(text))) this.problems.push(text);
    };
    page.on("dialog", (dialog) => {
      add(`dialog opened: ${dialog.message()}`);
      dialog.dismiss().catch(() => {});
    });
    page.on("pageerror", (error) => add(`uncaught: ${error.message}`));
    page.on("console", (message) => {
      if (["error", "warn", "warning"].includes(message.type())) {
        add(`console ${message.type()}: ${message.text()} (${message.location().url ?? ""})`);
      }
    });
    page.on("request", (request) => this.#leaves(request.url(), add));
    page.on("requestfailed", (request) => {
      // Leaving a page ends what it was fetching.
      const why = request.failure()?.errorText;
      if (why !== "net::ERR_ABORTED") add(`request failed: ${request.url()} ${why}`);
    });
    page.on("framenavigated", (frame) => {
      if (frame === page.mainFrame()) this.navigations += 1;
    });
    this.add = add;
  }

  #leaves(url, add) {
    const { protocol, hostname } = new URL(url);
    if (["data:", "blob:", "about:"].includes(protocol)) return;
    if (!LOOPBACK.has(hostname)) add(`request leaves the machine: ${url}`);
  }

  /** Sees WebSockets, which are no requests to the page's own events. */
  async sockets(page) {
    const session = await page.createCDPSession();
    session.on("Network.webSocketCreated", ({ url }) => this.#leaves(url, this.add));
    session.on("Network.webSocketFrameReceived", () => (this.frames += 1));
    await session.send("Network.enable");
  }
}

/**
 * Opens `url`, hands the page and its watch to `look`, closes it, and fails if
 * the page did something it must not do. `expect` names what it may log.
 */
export async function withPage(browser, url, options, look) {
  const page = await browser.newPage();
  const watch = new Watch(page, options);
  try {
    page.setDefaultTimeout(NAVIGATION_LIMIT_MS);
    page.setDefaultNavigationTimeout(NAVIGATION_LIMIT_MS);
    await page.setViewport(options.viewport ?? DESK);
    await page.evaluateOnNewDocument(() => {
      document.addEventListener("securitypolicyviolation", (event) => {
        console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
      });
    });
    await watch.sockets(page);
    const answer = await page.goto(url, { waitUntil: "load" });
    const result = await look(page, watch, answer);
    if (watch.problems.length > 0) {
      throw new Error(`${url} did what no page may do:\n  ${watch.problems.join("\n  ")}`);
    }
    return result;
  } finally {
    await page.close().catch(() => {});
  }
}

/** Waits until `test` (run in the page with `args`) is true there. */
export function inPage(page, what, limitMs, test, ...args) {
  return eventually(
    `${what} at ${page.url()}`,
    limitMs,
    () => page.evaluate(test, ...args),
    () => page.evaluate(() => `the page says: ${document.body.innerText.slice(0, 600)}`),
  );
}

/** All text of a page as a reader sees it, closed details included. */
export const text = (page, selector = "body") =>
  page.$eval(selector, (element) => element.textContent.replace(/\s+/g, " ").trim());

/** Signs in on an incident's page. */
export async function signIn(page, token) {
  await page.waitForSelector("#operate input[name=token]");
  await page.type("#operate input[name=token]", token);
  await Promise.all([page.waitForNavigation(), page.click("#operate form button")]);
}

/** Ends the session on an incident's page. */
export const signOut = (page) =>
  Promise.all([page.waitForNavigation(), page.click("#operate form[action='/operator/sign-out'] button")]);

/** What sticks out of the page's width, in words; empty when nothing does. */
export function sideways(page, width) {
  return page.evaluate((width) => {
    const problems = [];
    // A page that hides what sticks out would pass the measurement.
    for (const element of [document.documentElement, document.body]) {
      const { overflowX } = getComputedStyle(element);
      if (["hidden", "clip"].includes(overflowX)) problems.push(`${element.tagName} hides its overflow`);
    }
    const wide = document.scrollingElement.scrollWidth;
    if (wide <= width && innerWidth <= width) return problems;
    problems.push(`${wide} px wide on a screen of ${width}`);
    const inside = (element) => {
      for (let box = element.parentElement; box && box !== document.body; box = box.parentElement) {
        if (["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(box).overflowX)) return true;
      }
      return false;
    };
    const out = [...document.querySelectorAll("body *")].filter(
      (element) => element.getBoundingClientRect().right > width + 1 && !inside(element),
    );
    for (const element of out.slice(-3)) {
      problems.push(`<${element.tagName.toLowerCase()} class="${element.getAttribute("class") ?? ""}"> ends at ${Math.round(element.getBoundingClientRect().right)}: ${element.textContent.trim().slice(0, 60)}`);
    }
    return problems;
  }, width);
}
