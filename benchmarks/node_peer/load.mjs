// Sends each prepared request once, over a few kept connections; prints figures as JSON.
//   node load.mjs URL requests.jsonl CONNECTIONS
import { readFileSync } from "node:fs";
import autocannon from "autocannon";

const [, , url, file, connections] = process.argv;
const requests = readFileSync(file, "utf8").trim().split("\n").map((line) => JSON.parse(line));
const share = Math.floor(requests.length / Number(connections));
let next = 0;
const result = await autocannon({
  url,
  connections: Number(connections),
  amount: share * Number(connections),
  setupClient(client) {
    const mine = requests.slice(next, next + share);
    next += share;
    client.setRequests(mine);
  },
});
console.log(
  JSON.stringify({
    sent: result.requests.sent,
    ok: result["2xx"],
    other: result.non2xx + result.errors + result.timeouts,
    seconds: result.duration,
    rate: result["2xx"] / result.duration,
    p50_ms: result.latency.p50,
    p99_ms: result.latency.p99,
  }),
);
