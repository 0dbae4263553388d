// cache-tests.mjs PACKAGE BASE: runs http-cache-tests (the package's folder) against a cache, and writes what came of each test as
// JSON. The package's own way to show results wants a browser; what a result means is told here as it tells it.
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder, base] = process.argv.slice(2)
const file = name => pathToFileURL(resolve(folder, name))
const { runTests, getResults } = await import(file('client/runner.mjs'))
const { default: suites } = await import(file('tests/index.mjs'))
const fetch = createRequire(file('cli.mjs'))('node-fetch')

await runTests(suites, (url, init) => fetch(url, { ...init, timeout: 10000 }), false, base, 25)
const results = getResults()
const tests = new Map(suites.flatMap(suite => suite.tests.map(test => [test.id, { ...test, suite: suite.id }])))

const outcomes = { required: ['pass', 'fail'], optimal: ['pass', 'not optimal'], check: ['yes', 'no'] }
function verdict (id) {
  const [test, result] = [tests.get(id), results[id]]
  if (result === undefined) return 'not run'
  // What it builds upon does not hold, so it says nothing.
  if ((test.depends_on ?? []).some(other => !['pass', 'yes'].includes(verdict(other)))) return 'depends'
  if (result !== true && result[0] === 'Setup') return 'setup'
  return outcomes[test.kind ?? 'required'][result === true ? 0 : 1]
}
const told = Object.keys(results).map(id => {
  const { suite, name, kind = 'required' } = tests.get(id)
  return { id, suite, name, kind, verdict: verdict(id), why: results[id] === true ? null : String(results[id][1]) }
})
console.log(JSON.stringify(told))
process.exit(0)
