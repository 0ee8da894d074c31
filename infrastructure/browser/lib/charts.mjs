// What every drawing of a metric that was unusual has, wherever it stands.
import assert from "node:assert/strict";

/** Reasons listed below one drawing. */
const LISTED = 5;

/**
 * `figure` shows the band, the scores, and the readings that stood out; each
 * says why when pointed at, and the latest reasons are a list that needs no
 * pointer. `shown` is the size that this window has.
 */
export async function scoresAndReasons(page, figure, shown = "wide") {
  const chart = `${figure} svg.chart.${shown}`;
  const box = (selector) =>
    page.$eval(`${chart} ${selector}`, (one) => one.getBoundingClientRect().toJSON()).catch(() => assert.fail(`no ${chart} ${selector}`));
  for (const part of [".band", ".expected", ".threshold"]) assert.ok((await box(part)).width > 0, `${part} is not shown`);
  const line = await box(".line");
  const decided = await box(".scores.decided");
  assert.ok(decided.top > line.bottom, "the scores do not stand below the line");
  const threshold = await box(".threshold");
  assert.ok(decided.top <= threshold.top + 1 && decided.bottom > threshold.bottom, "what stood out does not reach the threshold");

  // A pointer on a mark finds the mark, on the line and on the strip.
  await page.$eval(chart, (svg) => svg.scrollIntoView({ block: "center" }));
  const told = await page.$eval(chart, (svg) => {
    const spot = svg.querySelector(".spot");
    return [...spot.querySelectorAll("circle, rect")].map((part) => {
      const { left, top, width, height } = part.getBoundingClientRect();
      const found = document.elementFromPoint(left + width / 2, top + height / 2);
      return found?.closest(".spot")?.querySelector("title").textContent;
    });
  });
  assert.equal(told.length, 2);
  for (const words of told) assert.match(words ?? "", /^\d\d:\d\d:\d\d: .+, score (0\.[5-9]\d?|1\.00): .+/);

  const reasons = await page.$$eval(`${figure} .reasons > li`, (all) =>
    all.map((one) => ({
      from: one.querySelector("time").getAttribute("datetime"),
      score: Number(/score (\d\.\d\d)/.exec(one.querySelector(".meta").textContent)?.[1]),
      why: one.querySelector("p:last-child").textContent.trim(),
      visible: one.checkVisibility() && one.getBoundingClientRect().right <= innerWidth,
    })),
  );
  assert.ok(reasons.length >= 1 && reasons.length <= LISTED, `${reasons.length} reasons are listed`);
  for (const { score, why, visible, from } of reasons) {
    assert.ok(score >= 0.5 && score <= 1 && why.length > 3 && visible, JSON.stringify(reasons));
    assert.ok(!Number.isNaN(Date.parse(from)), from);
  }
  const times = reasons.map(({ from }) => Date.parse(from));
  assert.deepEqual(times, [...times].sort((one, other) => other - one), "the newest does not come first");
}
