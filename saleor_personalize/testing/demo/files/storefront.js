// A storefront in one file: Saleor's own API for the shop, our module for recommendations and events.
const config = await (await fetch("/config.json")).json();
const { createPersonalize } = await import(
  `${config.personalizeUrl}/static/saleor_personalize/personalize.js`
);
const personalize = createPersonalize({
  endpoint: config.personalizeUrl,
  saleorApiUrl: config.saleorApiUrl,
  channel: config.channel,
  token: () => state.token,
});
const state = { lines: [], checkout: new URLSearchParams(location.hash.slice(1)).get("checkout") };

async function saleor(query, variables) {
  const answer = await fetch(config.saleorApiUrl, {
    method: "POST",
    headers: { "content-type": "application/json", ...(state.token && { authorization: `Bearer ${state.token}` }) },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await answer.json();
  if (errors) throw new Error(errors[0].message);
  return data;
}

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
  const rows = await personalize.recommendations({ placement, productId, checkoutId: state.checkout, first: 4 });
  // The ids go straight into Saleor's own query.
  const { products } = await saleor(
    `query($ids: [ID!], $c: String!) { products(first: 4, channel: $c, filter: { ids: $ids }) { edges { node { ${PRODUCT} } } } }`,
    { ids: rows.map((row) => row.productId), c: config.channel },
  );
  const byId = new Map(products.edges.map(({ node }) => [node.id, node]));
  const list = document.getElementById("recommended");
  // With these three attributes the module tells by itself what was seen and clicked.
  list.dataset.personalizePlacement = placement;
  list.replaceChildren(
    ...rows.filter((row) => byId.has(row.productId)).map((row) => {
      const item = card(byId.get(row.productId), row.reason.text);
      item.dataset.personalizeProduct = row.productId;
      item.dataset.personalizeSlot = row.slot;
      item.dataset.personalizeAttribution = row.attributionId;
      return item;
    }),
  );
}

// Content pages of Saleor: about a product, or else for whoever looks.
async function read(productId) {
  const answer = await fetch(`${config.personalizeUrl}/graphql/`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "saleor-api-url": config.saleorApiUrl,
      ...(personalize.anonymousId && { "x-anonymous-id": personalize.anonymousId }),
      ...(state.token && { authorization: `Bearer ${state.token}` }),
    },
    body: JSON.stringify({
      query: "query($c: String!, $p: ID) { recommendedPages(channel: $c, productId: $p, first: 3) { title reason { text } } }",
      variables: { c: config.channel, p: productId },
    }),
  });
  const { recommendedPages } = (await answer.json()).data;
  const list = document.getElementById("reading");
  list.parentElement.hidden = !recommendedPages.length;
  list.replaceChildren(
    ...recommendedPages.map(({ title, reason }) =>
      Object.assign(document.createElement("li"), { textContent: `${title} · ${reason.text}` })),
  );
}

async function open(product) {
  const section = document.getElementById("product");
  section.hidden = false;
  section.replaceChildren(Object.assign(document.createElement("h2"), { textContent: product.name }));
  document.getElementById("title").textContent = "Goes well with it";
  scrollTo(0, 0);
  personalize.view(product.id);
  await recommend("product_page_related", product.id);
  await read(product.id);
}

function add(product) {
  personalize.addToCart(product.id, { variantId: product.variants[0].id });
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
  await showCart();
  if (data.get("consent"))
    await saleor(
      `mutation($id: ID!, $i: [MetadataInput!]!) { updateMetadata(id: $id, input: $i) { errors { message } } }`,
      { id: state.checkout, i: [{ key: "marketing_opt_in", value: "true" }] },
    );
}

// Says whose the cart is: the account's, or for now this browser's.
async function showCart() {
  if (!state.checkout) return;
  if (state.token)
    await saleor(`mutation($id: ID!) { checkoutCustomerAttach(id: $id) { errors { message } } }`, { id: state.checkout });
  await personalize.identify({ checkoutId: state.checkout });
  const elsewhere = document.getElementById("elsewhere");
  elsewhere.hidden = false;
  elsewhere.querySelector("a").href = `/checkout?checkout=${encodeURIComponent(state.checkout)}`;
}

const sign = document.getElementById("sign");
const { email, firstName } = config.customer;
async function signIn() {
  const { tokenCreate } = await saleor(
    `mutation($e: String!) { tokenCreate(email: $e, password: "password") { token } }`,
    { e: email },
  );
  state.token = tokenCreate.token;
  if (!state.token) return;
  sessionStorage.setItem("signed-in", "yes");
  // Tokens live five minutes.
  state.renewal ??= setInterval(signIn, 240_000);
  form.elements.email.value = email;
  await personalize.identify({ token: () => state.token });
  await showCart();
  document.getElementById("who").textContent = `Signed in as ${firstName}`;
  sign.textContent = "Sign out";
}
function signOut() {
  personalize.reset();
  sessionStorage.removeItem("signed-in");
  clearInterval(state.renewal);
  Object.assign(state, { token: undefined, renewal: undefined, lines: [], checkout: null });
  document.getElementById("who").textContent = "";
  document.getElementById("elsewhere").hidden = true;
  cart.textContent = "Empty.";
  sign.textContent = `Sign in as ${firstName}`;
}
document.getElementById("person").href = `/dashboard?customerId=${encodeURIComponent(config.customer.id)}`;
sign.textContent = `Sign in as ${firstName}`;
sign.onclick = () => (state.token ? signOut() : signIn());

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

const banner = document.getElementById("consent");
banner.hidden = Boolean(personalize.anonymousId);
banner.onclick = ({ target }) => {
  if (!target.value) return;
  personalize.setConsent(target.value);
  banner.hidden = true;
};

if (sessionStorage.getItem("signed-in")) await signIn();
if (state.checkout) {
  cart.textContent = "Your cart is open again.";
  await showCart();
}
const { products } = await saleor(
  `query($c: String!) { products(first: 100, channel: $c, filter: { isAvailable: true }) { edges { node { ${PRODUCT} } } } }`,
  { c: config.channel },
);
document.getElementById("products").replaceChildren(...products.edges.map(({ node }) => card(node)));
await recommend("home", null);
await read(null);
document.body.dataset.ready = "yes";
