// A storefront in one file: Saleor's own API for the shop, ours for recommendations and views.
const config = await (await fetch("/config.json")).json();
const anonymousId = (localStorage.anonymousId ??= crypto.randomUUID());
const state = { lines: [], checkout: new URLSearchParams(location.hash.slice(1)).get("checkout") };

async function gql(url, query, variables, headers = {}) {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await answer.json();
  if (errors) throw new Error(errors[0].message);
  return data;
}
const saleor = (query, variables) => gql(config.saleorApiUrl, query, variables);
const personalize = (query, variables) =>
  gql(`${config.personalizeUrl}/graphql/`, query, variables, {
    "saleor-api-url": config.saleorApiUrl,
    "x-anonymous-id": anonymousId,
  });

const PRODUCT = "id name thumbnail { url } variants { id } pricing { priceRange { start { gross { amount currency } } } }";

function card(product, note) {
  const item = document.createElement("li");
  const { amount, currency } = product.pricing.priceRange.start.gross;
  item.className = "card";
  item.dataset.product = product.id;
  item.innerHTML = `<a href="#"><img alt="" width="120" height="120"><strong></strong></a><p class="price"></p><p class="note"></p><button>Add to cart</button>`;
  item.querySelector("img").src = product.thumbnail.url;
  item.querySelector("strong").textContent = product.name;
  item.querySelector(".price").textContent = `${amount.toFixed(2)} ${currency}`;
  item.querySelector(".note").textContent = note ?? "";
  item.querySelector("a").onclick = (event) => { event.preventDefault(); open(product); };
  item.querySelector("button").onclick = () => add(product);
  return item;
}

async function recommend(placement, productId) {
  const { recommendations } = await personalize(
    `query($p: String!, $c: String!, $id: ID, $k: ID) { recommendations(placement: $p, channel: $c, productId: $id, checkoutId: $k, first: 4) { productId reason { text } } }`,
    { p: placement, c: config.channel, id: productId, k: state.checkout },
  );
  // The ids go straight into Saleor's own query.
  const { products } = await saleor(
    `query($ids: [ID!], $c: String!) { products(first: 4, channel: $c, filter: { ids: $ids }) { edges { node { ${PRODUCT} } } } }`,
    { ids: recommendations.map((row) => row.productId), c: config.channel },
  );
  const byId = new Map(products.edges.map(({ node }) => [node.id, node]));
  document.getElementById("recommended").replaceChildren(
    ...recommendations.filter((row) => byId.has(row.productId)).map((row) => card(byId.get(row.productId), row.reason.text)),
  );
}

async function open(product) {
  const section = document.getElementById("product");
  section.hidden = false;
  section.replaceChildren(Object.assign(document.createElement("h2"), { textContent: product.name }));
  document.getElementById("title").textContent = "Goes well with it";
  scrollTo(0, 0);
  await personalize(
    `mutation($e: [TrackEventInput!]!) { track(events: $e) { results { status } } }`,
    { e: [{ id: crypto.randomUUID(), type: "PRODUCT_VIEWED", productId: product.id, channel: config.channel }] },
  );
  await recommend("product_page_related", product.id);
}

function add(product) {
  state.lines.push({ variantId: product.variants[0].id, quantity: 1 });
  document.getElementById("cart").textContent = `${state.lines.length} in the cart.`;
}

async function checkout(form) {
  const data = new FormData(form);
  const { checkoutCreate } = await saleor(
    `mutation($i: CheckoutCreateInput!) { checkoutCreate(input: $i) { checkout { id } } }`,
    { i: { channel: config.channel, email: data.get("email"), lines: state.lines } },
  );
  state.checkout = checkoutCreate.checkout.id;
  if (data.get("consent"))
    await saleor(
      `mutation($id: ID!, $i: [MetadataInput!]!) { updateMetadata(id: $id, input: $i) { errors { message } } }`,
      { id: state.checkout, i: [{ key: "marketing_opt_in", value: "true" }] },
    );
}

const form = document.getElementById("contact");
const cart = document.getElementById("cart");
form.onsubmit = async (event) => {
  event.preventDefault();
  if (!state.lines.length) return (cart.textContent = "Put something in first.");
  await checkout(form);
  cart.textContent = "At the checkout. Leave now, and look into the mailbox in a few seconds.";
};
document.getElementById("buy").onclick = async () => {
  if (!state.checkout && !state.lines.length) return (cart.textContent = "Put something in first.");
  if (!state.checkout) await checkout(form);
  await saleor(`mutation($id: ID!) { checkoutComplete(id: $id) { order { id } } }`, { id: state.checkout });
  Object.assign(state, { lines: [], checkout: null });
  cart.textContent = "Bought. No reminder will come.";
};

if (state.checkout) cart.textContent = "Your cart from the mail is open again.";
const { products } = await saleor(
  `query($c: String!) { products(first: 100, channel: $c, filter: { isAvailable: true }) { edges { node { ${PRODUCT} } } } }`,
  { c: config.channel },
);
document.getElementById("products").replaceChildren(...products.edges.map(({ node }) => card(node)));
await recommend("home", null);
document.body.dataset.ready = "yes";
