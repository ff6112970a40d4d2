// Composes the graphs of Saleor and of the app into one, and prints it.
//
//   node compose.mjs saleor=https://shop.example.com/graphql/ personalize=https://personalize.example.com/graphql/
//
// Each graph is asked for its schema; `saleor.sdl=FILE` takes it from a file instead.
import { readFile } from "node:fs/promises";
import { composeServices } from "@apollo/composition";
import { parse } from "graphql";

const given = Object.fromEntries(
  process.argv.slice(2).map((each) => [each.slice(0, each.indexOf("=")), each.slice(each.indexOf("=") + 1)]),
);

async function schemaOf(name, url) {
  if (given[`${name}.sdl`]) return readFile(given[`${name}.sdl`], "utf8");
  try {
    const answer = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ query: "{ _service { sdl } }" }),
    });
    const { data, errors } = await answer.json();
    if (data) return data._service.sdl;
    console.error(`${name}: ${url} gives no schema: ${errors?.map(({ message }) => message).join(" ")}`);
  } catch (error) {
    console.error(`${name}: ${url} gives no schema: ${error.cause?.message ?? error.message}`);
  }
  console.error(`See that it is a GraphQL address that federates, or name a file: ${name}.sdl=FILE beside ${name}=URL.`);
  process.exit(1);
}

const names = Object.keys(given).filter((name) => !name.endsWith(".sdl"));
const services = await Promise.all(
  names.map(async (name) => ({ name, url: given[name], typeDefs: parse(await schemaOf(name, given[name])) })),
);
const { errors, supergraphSdl } = composeServices(services);
if (errors) {
  for (const error of errors) console.error(`${error.extensions?.code ?? ""} ${error.message}`);
  process.exit(1);
}
console.log(supergraphSdl);
