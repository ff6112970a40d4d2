// The peer of the webhook door: Saleor's own SDK verifies the bytes, nothing else happens.
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { verifySignatureWithJwks } from "@saleor/app-sdk/auth";

const [, , jwksFile] = process.argv;
const jwks = readFileSync(jwksFile, "utf8");

const server = createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", async () => {
    try {
      const body = Buffer.concat(chunks).toString("utf8");
      await verifySignatureWithJwks(jwks, request.headers["saleor-signature"], body);
      response.writeHead(200, { "content-type": "application/json" }).end('{"ok":true}');
    } catch {
      response.writeHead(401).end();
    }
  });
});
server.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port })));
