// cache-tests.mjs PACKAGE BASE: runs http-cache-tests (the package's folder) against a cache, and writes the result of each test as
// JSON. The package shows results only in a browser; results are interpreted here in the same way.
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder, base] = process.argv.slice(2)
const file = name => pathToFileURL(resolve(folder, name))
const { runTests, getResults } = await import(file('client/runner.mjs'))
const { default: suites } = await import(file('tests/index.mjs'))
const fetch = createRequire(file('cli.mjs'))('node-fetch')

// A test of our own: a response with an age is stored for the rest of its lifetime.
const half = {
  id: 'isobar-age-over-half',
  name: 'An answer of which more than half is over is kept for the rest',
  requests: [
    { response_headers: [['Cache-Control', 'max-age=60'], ['Age', '40']], setup: true },
    { expected_type: 'cached', expected_response_headers: [['Age', '>', 39]] }
  ]
}
suites.push({ id: 'isobar', name: 'isobar', tests: [half] })

// The cache stores only public responses, so the tests' origin marks storable ones as public.
for (const request of suites.flatMap(suite => suite.tests).flatMap(test => test.requests)) {
  for (const header of [...request.response_headers ?? [], ...request.expected_response_headers ?? []]) {
    if (header[0].toLowerCase() === 'cache-control' && /max-?age=/i.test(header[1])) header[1] += ', public'
  }
}

// A runner in a browser sends these to bypass its own cache; here they would bypass the cache under test.
const isBrowsers = ([name, value]) => ['nothing-to-see-here', 'foo'].includes(value) && /^(cache-control|pragma)$/i.test(name)
// A response is stored after it was sent.
const patience = () => new Promise(resolve => setTimeout(resolve, 300))
// No compression, which the edge does and which removes the length.
async function ask (url, init = {}) {
  await patience()
  const headers = (init.headers ?? []).filter(header => !isBrowsers(header))
  return fetch(url, { ...init, headers, compress: false, timeout: 10000 })
}

await runTests(suites, ask, false, base, 25)
const results = getResults()
const tests = new Map(suites.flatMap(suite => suite.tests.map(test => [test.id, { ...test, suite: suite.id }])))

const outcomes = { required: ['pass', 'fail'], optimal: ['pass', 'not optimal'], check: ['yes', 'no'] }
function verdict (id) {
  const [test, result] = [tests.get(id), results[id]]
  if (result === undefined) return 'not run'
  // A test on which it depends fails, so it has no result.
  if ((test.depends_on ?? []).some(other => !['pass', 'yes'].includes(verdict(other)))) return 'depends'
  if (result !== true && result[0] === 'Setup') return 'setup'
  return outcomes[test.kind ?? 'required'][result === true ? 0 : 1]
}
const told = Object.keys(results).map(id => {
  const { suite, name, kind = 'required' } = tests.get(id)
  return { id, suite, name, kind, verdict: verdict(id), why: results[id] === true ? null : String(results[id][1]) }
})
process.stdout.write(JSON.stringify(told) + '\n', () => process.exit(0))
