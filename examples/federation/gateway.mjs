// One graph of Saleor and the app, at http://localhost:4000/.
//
//   SALEOR_API_URL=https://shop.example.com/graphql/ node gateway.mjs supergraph.graphql
//
// A gateway hands no header on by itself: without the token nobody is signed in, and without the address of the
// shop the app does not know whose products to show.
import { readFile } from "node:fs/promises";
import { ApolloGateway, RemoteGraphQLDataSource } from "@apollo/gateway";
import { ApolloServer } from "@apollo/server";
import { startStandaloneServer } from "@apollo/server/standalone";

const HANDED_ON = ["authorization", "accept-language"];
// Who is asking, what they refused, and where they come from: for recommendations and the events of `track`.
const FOR_THE_APP = ["x-anonymous-id", "sec-gpc", "dnt", "user-agent", "x-forwarded-for"];

class Subgraph extends RemoteGraphQLDataSource {
  willSendRequest({ request, context }) {
    const { headers = {} } = context;
    const isApp = this.name === "personalize";
    for (const name of isApp ? [...HANDED_ON, ...FOR_THE_APP] : HANDED_ON) {
      if (headers[name]) request.http.headers.set(name, headers[name]);
    }
    if (isApp) request.http.headers.set("saleor-api-url", process.env.SALEOR_API_URL);
  }
}

const server = new ApolloServer({
  // Where in this process a service failed is nothing for shoppers.
  includeStacktraceInErrorResponses: false,
  gateway: new ApolloGateway({
    supergraphSdl: await readFile(process.argv[2] ?? "supergraph.graphql", "utf8"),
    buildService: ({ name, url }) => Object.assign(new Subgraph({ url }), { name }),
  }),
});
const { url } = await startStandaloneServer(server, {
  listen: { port: Number(process.env.PORT ?? 4000), host: process.env.HOST },
  context: async ({ req }) => ({
    headers: {
      ...req.headers,
      "x-forwarded-for": [req.headers["x-forwarded-for"], req.socket.remoteAddress].filter(Boolean).join(", "),
    },
  }),
});
console.log(`Ready at ${url}`);
