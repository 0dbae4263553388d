// Rates pages: `node lighthouse.mjs CHROMIUM COOKIE URL...`. Prints a line of JSON for each.
import puppeteer from "puppeteer-core";
import lighthouse from "lighthouse";

const [chromium, cookie, ...urls] = process.argv.slice(2);
const browser = await puppeteer.launch({ executablePath: chromium, headless: true, args: ["--no-sandbox"] });
try {
  for (const url of urls) {
    const page = await browser.newPage();
    const tools = await page.createCDPSession();
    const [name, value] = cookie.split(/=(.*)/s);
    await tools.send("Network.setCookie", { url: new URL("/", url).href, name, value, path: "/", secure: true, httpOnly: true, sameSite: "Lax" });
    const options = { logLevel: "error", disableStorageReset: true, onlyCategories: ["accessibility", "best-practices"] };
    const { lhr } = await lighthouse(url, options, undefined, page);
    if (lhr.runtimeError) throw new Error(`${url}: ${lhr.runtimeError.message}`);
    const categories = Object.values(lhr.categories).map(({ id, score, auditRefs }) => {
      const lost = auditRefs.filter(({ id, weight }) => weight && lhr.audits[id].score !== null && lhr.audits[id].score < 1).map(({ id }) => id);
      return [id, { score: Math.round(score * 100), lost }];
    });
    console.log(JSON.stringify({ url, final: lhr.finalDisplayedUrl, ...Object.fromEntries(categories) }));
    await page.close();
  }
} finally {
  await browser.close();
}
