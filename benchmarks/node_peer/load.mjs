// Sends each prepared request once, over a few kept connections; prints figures as JSON.
//   node load.mjs URL requests.jsonl CONNECTIONS
import { readFileSync } from "node:fs";
import autocannon from "autocannon";

const [, , url, file, connections] = process.argv;
const requests = readFileSync(file, "utf8").trim().split("\n").map((line) => JSON.parse(line));
const share = Math.floor(requests.length / Number(connections));
// Our own figures: autocannon rounds latencies to milliseconds, and ends on whole seconds.
const latencies = [];
let next = 0;
let started = 0;
let last = 0;
const result = await autocannon({
  url,
  connections: Number(connections),
  amount: share * Number(connections),
  setupClient(client) {
    started ||= performance.now();
    const mine = requests.slice(next, next + share);
    next += share;
    client.setRequests(mine);
    client.on("response", (status, bytes, milliseconds) => {
      latencies.push(milliseconds);
      last = performance.now();
    });
  },
});
latencies.sort((a, b) => a - b);
const seconds = (last - started) / 1000;
const percentile = (share) => latencies[Math.ceil(latencies.length * share) - 1];
console.log(
  JSON.stringify({
    sent: result.requests.sent,
    ok: result["2xx"],
    other: result.non2xx + result.errors + result.timeouts,
    seconds,
    rate: result["2xx"] / seconds,
    p50_ms: percentile(0.5),
    p99_ms: percentile(0.99),
  }),
);
