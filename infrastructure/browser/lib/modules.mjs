// The npm modules live in the download cache, not beside this file: setup.sh
// installs them there from the committed lock file.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");
const cache = process.env.MIDWATCH_CACHE || join(root, ".midwatch/cache");
const home = join(cache, "browser");

if (!existsSync(join(home, "node_modules"))) {
  console.error(`no modules in ${home}; run infrastructure/local/setup.sh test`);
  process.exit(2);
}

const load = createRequire(join(home, "package.json"));

export const projectRoot = root;
export const puppeteer = load("puppeteer-core");
export const { Kafka, Partitioners, logLevel } = load("kafkajs");
