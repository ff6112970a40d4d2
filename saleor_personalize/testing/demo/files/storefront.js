// A storefront: Saleor's own API for the shop, our module for events, our graph for what to show.
import { WORDS } from "/words.js";

const language = localStorage.getItem("language") === "de" ? "de" : "en";
const say = WORDS[language];
document.documentElement.lang = language;
// Where the shop's customers live: what delivery costs and what has to be confirmed depend on it.
const COUNTRY = "US";
const config = await (await fetch("/config.json")).json();
const { createPersonalize } = await import(`${config.personalizeUrl}/static/saleor_personalize/personalize.js`);
const personalize = createPersonalize({
  endpoint: config.personalizeUrl,
  saleorApiUrl: config.saleorApiUrl,
  channel: config.channel,
  countryCode: COUNTRY,
  languageCode: language,
  token: () => state.token,
});
const { createHints } = await import(`${config.personalizeUrl}/static/saleor_personalize/hints.js`);
const hints = createHints(personalize, {
  endpoint: config.personalizeUrl,
  saleorApiUrl: config.saleorApiUrl,
  token: () => state.token,
  onHint: showHint,
});
const state = { token: undefined, cart: JSON.parse(sessionStorage.getItem("cart") ?? '{"lines":[]}') };
const main = document.getElementById("main");
// What the shop told the person: behind the bell, and on top of the page.
await import(`${config.personalizeUrl}/static/saleor_personalize/inbox.js`);
const inboxes = [document.getElementById("inbox"), document.getElementById("banner")];
for (const box of inboxes) {
  box.setAttribute("endpoint", config.personalizeUrl);
  box.setAttribute("saleor-api-url", config.saleorApiUrl);
  Object.assign(box, { personalize, token: () => state.token });
  box.refresh();
}
const asked = new URLSearchParams(location.search);

// -- asking -----------------------------------------------------------------------------------------

async function post(url, query, variables, headers) {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...(state.token && { authorization: `Bearer ${state.token}` }), ...headers },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await answer.json();
  if (errors) throw new Error(errors[0].message);
  return data;
}

const saleor = (query, variables) => post(config.saleorApiUrl, query, variables);

const ask = (query, variables) =>
  post(`${config.personalizeUrl}/graphql/`, query, { channel: config.channel, language, ...variables }, {
    "saleor-api-url": config.saleorApiUrl,
    ...(personalize.anonymousId && { "x-anonymous-id": personalize.anonymousId }),
  });

// Name, picture and price come along: nothing else has to be asked to show a card.
const ROW = "productId variantId name slug thumbnailUrl price { amount currency } slot strategy attributionId reason { text }";

// All blocks of a page in one request: no product stands in two of them.
async function blocksOf(placements, about = {}, first = 4) {
  const { page } = await ask(
    `query($p: [String!]!, $channel: String!, $language: String, $first: Int, $productId: ID, $productIds: [ID!], $checkoutId: ID,
       $categoryId: ID, $query: String, $hidden: [ID!]) {
       page: recommendationPage(placements: $p, channel: $channel, languageCode: $language, first: $first, productId: $productId,
         productIds: $productIds, checkoutId: $checkoutId, categoryId: $categoryId, query: $query, hidden: $hidden) { placement items { ${ROW} } } }`,
    { p: placements, first, ...about },
  );
  return new Map(page.map(({ placement, items }) => [placement, items]));
}

const PRODUCT = `id name slug isAvailable translation(languageCode: ${language.toUpperCase()}) { name } thumbnail { url } variants { id }
  category { id name slug translation(languageCode: ${language.toUpperCase()}) { name } }
  pricing { priceRange { start { gross { amount currency } } } } description`;

const named = ({ name, translation }) => translation?.name || name;
const asRow = (product) => ({
  productId: product.id,
  variantId: product.variants[0]?.id,
  name: named(product),
  slug: product.slug,
  thumbnailUrl: product.thumbnail.url,
  price: product.pricing.priceRange.start.gross,
  product,
});

async function productsOf(filter = { isAvailable: true }) {
  const { products } = await saleor(
    `query($f: ProductFilterInput, $c: String!) { products(first: 100, channel: $c, filter: $f) { edges { node { ${PRODUCT} } } } }`,
    { f: filter, c: config.channel },
  );
  return products.edges.map(({ node }) => asRow(node));
}

// -- drawing ----------------------------------------------------------------------------------------

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  const { data, ...rest } = properties;
  Object.assign(element, rest);
  Object.assign(element.dataset, data);
  element.append(...children);
  return element;
}

const money = ({ amount, currency }) => new Intl.NumberFormat(language, { style: "currency", currency }).format(amount);
const pathTo = (row) => `/product/${row.slug}?id=${encodeURIComponent(row.productId)}`;
const picture = (row, size = 240) => make("img", { src: row.thumbnailUrl, alt: "", width: size, height: size });

function card(row) {
  return make(
    "li",
    {
      className: "card",
      // With these the module tells by itself what was seen and clicked.
      data: row.reason
        ? { product: row.productId, personalizeProduct: row.productId, personalizeSlot: row.slot, personalizeAttribution: row.attributionId }
        : { product: row.productId },
    },
    make("a", { href: pathTo(row) }, picture(row), make("strong", { textContent: row.name })),
    make("p", { className: "price", textContent: row.price ? money(row.price) : "" }),
    ...(row.reason ? [make("p", { className: "note", textContent: row.reason.text })] : []),
    make("button", { type: "button", textContent: say.add, ariaLabel: `${say.add}: ${row.name}`, onclick: () => add(row) }),
  );
}

function shelf(placement, rows, title = say[placement]) {
  const list = make("ul", { className: "grid", data: { personalizePlacement: placement } }, ...rows.map(card));
  return make("section", { id: placement, hidden: !rows.length }, make("h2", { textContent: title }), list);
}

function grid(id, title, rows, placement) {
  const list = make("ul", { className: "grid", data: placement && { personalizePlacement: placement } }, ...rows.map(card));
  return make("section", { id }, make("h2", { textContent: title }), list);
}

const heading = (text) => {
  document.title = `${text} · Kettle & Clay`;
  return make("h1", { textContent: text });
};

// -- pages ------------------------------------------------------------------------------------------

// What the shopper did; filled up with anything else it would not be true.
const OWN = { recently_viewed: "viewed", buy_again: "due_again" };

async function home() {
  const own = new Map();
  if (personalize.anonymousId || state.token)
    for (const [placement, rows] of await blocksOf(state.token ? ["recently_viewed", "buy_again"] : ["recently_viewed"]))
      own.set(placement, rows.filter((row) => row.strategy === OWN[placement]));
  const hidden = [...own.values()].flat().map((row) => row.productId);
  const [blocks, { brands, pages }, everything] = await Promise.all([
    blocksOf(["home", "trending", "new_arrivals"], { hidden }),
    ask(
      `query($channel: String!, $language: String) {
         brands: recommendedBrands(channel: $channel, languageCode: $language, first: 3) { name items { ${ROW} } }
         pages: recommendedPages(channel: $channel, languageCode: $language, first: 3) { title reason { text } } }`,
    ),
    productsOf(),
  ]);
  const shelves = ["home", "recently_viewed", "buy_again", "trending", "new_arrivals"].map((placement) =>
    shelf(placement, own.get(placement) ?? blocks.get(placement) ?? []),
  );
  return [
    make("h1", { className: "quiet", textContent: "Kettle & Clay" }),
    ...shelves,
    make(
      "section",
      { id: "brands", hidden: !brands.length },
      make("h2", { textContent: say.brands }),
      make("ul", { className: "brands" }, ...brands.map(({ name, items }) =>
        make("li", { className: "card" }, make("h3", { textContent: name }),
          make("ul", { data: { personalizePlacement: "home" } }, ...items.map((row) =>
            make("li", { data: { personalizeProduct: row.productId, personalizeSlot: row.slot, personalizeAttribution: row.attributionId } },
              make("a", { href: pathTo(row) }, picture(row, 56), make("span", { textContent: row.name })))))))),
    ),
    make("section", { hidden: !pages.length }, make("h2", { textContent: say.reading }), reading(pages)),
    about(),
    grid("products", say.everything, everything.slice(0, 8)),
  ];
}

const reading = (pages) =>
  make("ul", { id: "reading" }, ...pages.map(({ title, reason }) => make("li", { textContent: `${title} · ${reason.text}` })));

function about() {
  const aside = make("aside", { id: "about", ariaLabel: "One person", lang: "en" });
  aside.innerHTML = `<h2>One person</h2><p>Look around as nobody in particular. Sign in, here or in a private window, which is another device.
    Buy in the store: upload a <a href="/receipt.csv" download>receipt of its till</a> in the <a href="/dashboard">Dashboard</a> under Imports.
    The Dashboard then tells all of it as <a id="person">one timeline</a> (People), and has Ana in the segment “Buys in the store, looks
    online” (Segments). Ben buys the same tea every month. What somebody allows is theirs to say: <a href="/preferences">a preference centre</a>.</p>
    <p id="sold-out" hidden>Sold out: <a></a>. Ask to be told, <button type="button">let three pieces come in</button>, and look into the
    <a href="/mailbox">mailbox</a> a few seconds later.</p>`;
  if (config.soldOut) {
    const { id, slug, name } = config.soldOut;
    const line = aside.querySelector("#sold-out");
    line.hidden = false;
    Object.assign(line.querySelector("a"), { href: pathTo({ productId: id, slug }), textContent: name });
    line.querySelector("button").onclick = async ({ target }) => {
      await fetch("/delivery", { method: "POST" });
      target.disabled = true;
    };
  }
  aside.querySelector("#person").href = `/dashboard?customerId=${encodeURIComponent(config.customerId)}`;
  return aside;
}

async function productPage() {
  const id = asked.get("id");
  const [[row], blocks, { pages }] = await Promise.all([
    productsOf({ ids: [id] }),
    blocksOf(["product_page_similar", "product_page_complements"], { productId: id }),
    ask(
      `query($channel: String!, $language: String, $id: ID) {
         pages: recommendedPages(channel: $channel, languageCode: $language, productId: $id, first: 3) { title reason { text } } }`,
      { id },
    ),
  ]);
  if (!row) return [heading(say.gone), ...(await rest())];
  personalize.view(id);
  const text = JSON.parse(row.product.description ?? "{}").blocks?.[0]?.data.text ?? "";
  const { category } = row.product;
  return [
    make(
      "section",
      { id: "product" },
      picture(row, 480),
      make(
        "div",
        {},
        make("p", {}, make("a", { href: categoryPath(category), textContent: named(category) })),
        heading(row.name),
        make("p", { className: "price", textContent: money(row.price) }),
        make("p", { lang: "en", textContent: text }),
        row.product.isAvailable
          ? make("button", { type: "button", className: "primary", textContent: say.add, onclick: () => add(row) })
          : waitForm(row),
      ),
    ),
    ...[...blocks].map(([placement, rows]) => shelf(placement, rows)),
    make("section", { hidden: !pages.length }, make("h2", { textContent: say.reading }), reading(pages)),
  ];
}

// A sold-out product: who is signed in needs no address, everybody else types one.
function waitForm(row) {
  const form = make("form", { id: "wait" }, make("p", {}, make("strong", { textContent: say.soldOut })));
  if (!state.token)
    form.append(make("label", { textContent: `${say.mail} ` },
      make("input", { name: "email", type: "email", autocomplete: "email", required: true })));
  form.append(make("button", { className: "primary", textContent: say.tellMe }));
  form.onsubmit = async (event) => {
    event.preventDefault();
    const { stockAlertRequest } = await ask(
      `mutation($channel: String!, $language: String, $variantId: ID!, $email: String, $country: String) {
         stockAlertRequest(channel: $channel, languageCode: $language, variantId: $variantId, email: $email,
           countryCode: $country, wordingVersion: "demo") { alert { state } token errors { code } } }`,
      { variantId: row.variantId, email: new FormData(form).get("email"), country: COUNTRY },
    );
    const [error] = stockAlertRequest.errors;
    form.replaceChildren(make("p", { role: "status", textContent: error ? (error.code === "IN_STOCK" ? say.isBack : say.notTaken) : say.noted }));
  };
  return form;
}

const rest = async () => [...(await blocksOf(["home"]))].map(([placement, rows]) => shelf(placement, rows));
const categoryPath = (category) => `/category/${category.slug}?id=${encodeURIComponent(category.id)}`;

async function categoryPage() {
  const categoryId = asked.get("id");
  const [blocks, rows] = await Promise.all([blocksOf(["category_page"], { categoryId }), productsOf()]);
  const inside = rows.filter(({ product }) => product.category.id === categoryId);
  if (!inside.length) return [heading(say.gone), ...(await rest())];
  personalize.categoryView(categoryId);
  const name = named(inside[0].product.category);
  return [heading(name), shelf("category_page", blocks.get("category_page")), grid("products", `${say.allIn} ${name}`, inside)];
}

async function searchPage() {
  const query = asked.get("q") ?? "";
  document.getElementById("query").value = query;
  personalize.search(query);
  // The placement goes on with what the person likes: the results are what the words found.
  const found = (await blocksOf(["search"], { query }, 24)).get("search").filter(({ strategy }) => strategy === "search");
  if (found.length) return [heading(`${say.found} “${query}”`), grid("shelf-search", say.results, found, "search")];
  const instead = await blocksOf(["search_empty"], { query }, 8);
  return [heading(`${say.nothing} “${query}”`), shelf("search_empty", instead.get("search_empty"))];
}

async function cartPage() {
  await reopen();
  const { lines } = state.cart;
  if (!lines.length) return [heading(say.cart), make("p", { id: "cart-state", role: "status", textContent: say.empty }), ...(await rest())];
  const currency = lines[0].price.currency;
  const amount = lines.reduce((sum, line) => sum + line.price.amount * line.quantity, 0);
  const blocks = await blocksOf(["cart"], { productIds: lines.map((line) => line.productId) });
  const form = make("form", { id: "contact" });
  form.innerHTML = `<label><span></span> <input name="email" type="email" autocomplete="email" required></label>
    <label><input name="consent" type="checkbox"> <span></span></label> <button class="primary"></button> <button type="button" id="buy"></button>`;
  const [mail, remind] = form.querySelectorAll("span");
  const [leave, buy] = form.querySelectorAll("button");
  [mail.textContent, remind.textContent, leave.textContent, buy.textContent] = [say.mail, say.remind, say.checkout, say.buy];
  form.elements.email.value = state.customer?.email ?? "you@example.com";
  form.onsubmit = async (event) => {
    event.preventDefault();
    await checkout(form);
    document.getElementById("cart-state").textContent = say.left;
  };
  buy.onclick = () => form.reportValidity() && order(form);
  return [
    heading(say.cart),
    make("ul", { id: "lines" }, ...lines.map((line) =>
      make("li", {}, picture(line, 72), make("a", { href: pathTo(line), textContent: `${line.quantity} × ${line.name}` }),
        make("span", { className: "price", textContent: money({ amount: line.price.amount * line.quantity, currency }) }),
        make("button", { type: "button", textContent: say.remove, ariaLabel: `${say.remove}: ${line.name}`, onclick: () => take(line) })))),
    make("p", {}, make("strong", { textContent: `${say.total}: ${money({ amount, currency })}` })),
    make("p", { id: "cart-state", role: "status" }),
    form,
    make("p", { id: "elsewhere", hidden: !state.cart.checkout }, `${say.elsewhere} `,
      make("a", { href: cartLink(), textContent: say.openCart })),
    ...(await offers()),
    shelf("cart", blocks.get("cart"), say.cartRow),
  ];
}

// Codes that were sent to whoever is signed in, and that still work.
async function offers() {
  if (!state.token) return [];
  const { myOffers } = await ask(`query($channel: String, $language: String) { myOffers(channel: $channel, languageCode: $language) { code text expiresAt } }`);
  const until = (moment) => new Intl.DateTimeFormat(language, { dateStyle: "medium" }).format(new Date(moment));
  return [
    make("section", { id: "offers", hidden: !myOffers.length },
      make("h2", { textContent: say.offers }),
      make("ul", {}, ...myOffers.map(({ code, text, expiresAt }) =>
        make("li", {}, `${text}: `, make("strong", { textContent: code }), ` (${say.until} ${until(expiresAt)}) `,
          make("button", { type: "button", textContent: say.use, ariaLabel: `${say.use}: ${code}`, onclick: () => use(code) }))))),
  ];
}

async function use(code) {
  if (!state.cart.checkout) await checkout(document.getElementById("contact"));
  const { checkoutAddPromoCode } = await saleor(
    `mutation($id: ID!, $c: String!) { checkoutAddPromoCode(id: $id, promoCode: $c) { errors { message } } }`,
    { id: state.cart.checkout, c: code },
  );
  const [error] = checkoutAddPromoCode.errors;
  document.getElementById("cart-state").textContent = error ? error.message : `${say.used} ${code}`;
}

async function orderPage() {
  const bought = JSON.parse(sessionStorage.getItem("order") ?? "null");
  if (!bought) return [heading(say.gone), ...(await rest())];
  const blocks = await blocksOf(["order_confirmation"], { productIds: bought.lines.map((line) => line.productId) });
  return [
    heading(`${say.thanks} ${bought.number}`),
    make("ul", { id: "lines" }, ...bought.lines.map((line) =>
      make("li", {}, picture(line, 72), make("a", { href: pathTo(line), textContent: `${line.quantity} × ${line.name}` })))),
    make("p", { id: "cart-state", role: "status", textContent: say.noReminder }),
    shelf("order_confirmation", blocks.get("order_confirmation")),
  ];
}

const PAGES = { product: productPage, category: categoryPage, search: searchPage, cart: cartPage, order: orderPage };

// -- the cart ---------------------------------------------------------------------------------------

function keepCart(cart) {
  state.cart = cart;
  sessionStorage.setItem("cart", JSON.stringify(cart));
  const count = cart.lines.reduce((sum, line) => sum + line.quantity, 0);
  document.getElementById("to-cart").textContent = `${say.cart} (${count})`;
}

async function add(row) {
  personalize.addToCart(row.productId, { variantId: row.variantId, attributionId: row.attributionId });
  const { lines, checkout } = state.cart;
  const line = lines.find((each) => each.productId === row.productId);
  if (line) line.quantity += 1;
  else {
    const { productId, variantId, name, slug, thumbnailUrl, price } = row;
    lines.push({ productId, variantId, name, slug, thumbnailUrl, price, quantity: 1 });
  }
  keepCart(state.cart);
  if (checkout)
    await saleor(`mutation($id: ID!, $l: [CheckoutLineInput!]!) { checkoutLinesAdd(id: $id, lines: $l) { errors { message } } }`, {
      id: checkout,
      l: [{ variantId: row.variantId, quantity: 1 }],
    });
  const blocks = await blocksOf(["added_to_cart"], { productId: row.productId, productIds: lines.map((each) => each.productId) }, 3);
  const dialog = document.getElementById("added");
  dialog.replaceChildren(
    make("h2", { id: "added-title", textContent: `${say.added} ${row.name}` }),
    make("p", {}, make("a", { className: "button", href: "/cart", textContent: say.toCart }), " ",
      make("button", { type: "button", textContent: say.goOn, onclick: () => dialog.close() })),
    shelf("added_to_cart", blocks.get("added_to_cart")),
  );
  if (!dialog.open) dialog.showModal();
  // On the cart's own page it shows at once.
  dialog.onclose = () => location.pathname === "/cart" && draw();
}

async function take(line) {
  personalize.removeFromCart(line.productId, { variantId: line.variantId });
  // A checkout that was begun holds what it was begun with: the next one is begun anew.
  keepCart({ lines: state.cart.lines.filter((each) => each !== line) });
  await draw();
  main.focus();
}

// A cart that was begun on another device.
async function reopen() {
  const id = asked.get("checkout");
  if (!id || state.cart.checkout === id) return showCart();
  const { checkout } = await saleor(`query($id: ID!) { checkout(id: $id) { lines { quantity variant { id product { ${PRODUCT} } } } } }`, { id });
  if (!checkout) return;
  keepCart({ checkout: id, lines: checkout.lines.map(({ quantity, variant }) => ({ ...asRow(variant.product), product: undefined, variantId: variant.id, quantity })) });
  await showCart();
}

const cartLink = () => `/checkout?checkout=${encodeURIComponent(state.cart.checkout)}`;

async function checkout(form) {
  const data = new FormData(form);
  const { checkoutCreate } = await saleor(`mutation($i: CheckoutCreateInput!) { checkoutCreate(input: $i) { checkout { id } } }`, {
    i: {
      channel: config.channel,
      email: data.get("email"),
      languageCode: language.toUpperCase(),
      lines: state.cart.lines.map(({ variantId, quantity }) => ({ variantId, quantity })),
    },
  });
  keepCart({ ...state.cart, checkout: checkoutCreate.checkout.id });
  await showCart();
  // What is missing until delivery is free is known of a cart that Saleor has.
  if (document.getElementById("lines")) await hints.page("CART", { checkoutId: state.cart.checkout });
  if (data.get("consent"))
    await saleor(`mutation($id: ID!, $i: [MetadataInput!]!) { updateMetadata(id: $id, input: $i) { errors { message } } }`, {
      id: state.cart.checkout,
      i: [{ key: "marketing_opt_in", value: "true" }],
    });
}

// Says whose the cart is: the account's, or for now this browser's.
async function showCart() {
  if (!state.cart.checkout) return;
  if (state.token)
    await saleor(`mutation($id: ID!) { checkoutCustomerAttach(id: $id) { errors { message } } }`, { id: state.cart.checkout });
  await personalize.identify({ checkoutId: state.cart.checkout });
  const elsewhere = document.getElementById("elsewhere");
  if (!elsewhere) return;
  elsewhere.hidden = false;
  elsewhere.querySelector("a").href = cartLink();
}

async function order(form) {
  if (!state.cart.checkout) await checkout(form);
  const { checkoutComplete } = await saleor(`mutation($id: ID!) { checkoutComplete(id: $id) { order { id number } } }`, { id: state.cart.checkout });
  sessionStorage.setItem("order", JSON.stringify({ number: checkoutComplete.order.number, lines: state.cart.lines }));
  keepCart({ lines: [] });
  await personalize.flush();
  location.assign("/order");
}

// -- who --------------------------------------------------------------------------------------------

async function signIn(customer) {
  const { tokenCreate } = await saleor(`mutation($e: String!) { tokenCreate(email: $e, password: "password") { token } }`, { e: customer.email });
  state.token = tokenCreate.token;
  if (!state.token) return;
  state.customer = customer;
  sessionStorage.setItem("signed-in", customer.email);
  // Tokens live five minutes.
  state.renewal ??= setInterval(signIn, 240_000, customer);
  await personalize.identify({ token: () => state.token });
  await showCart();
  drawSign();
}

// What the shop's own app does on a phone: Firebase gives it a token, and it registers that as its owner's.
async function getApp({ target }) {
  target.disabled = true;
  const name = `${state.customer.firstName}'s new phone`;
  const made = await fetch("/phones", { method: "POST", body: JSON.stringify({ name, platform: "android" }) });
  const { registerDevice } = await ask(
    `mutation($token: String!, $language: String) {
       registerDevice(token: $token, platform: ANDROID, languageCode: $language, allowsMarketing: true, wordingVersion: "demo") { errors { message } } }`,
    await made.json(),
  );
  const [error] = registerDevice.errors;
  document.getElementById("who").textContent = error ? error.message : say.gotApp;
}

function signOut() {
  personalize.reset();
  sessionStorage.clear();
  clearInterval(state.renewal);
  Object.assign(state, { token: undefined, renewal: undefined, customer: undefined });
  keepCart({ lines: [] });
  drawSign();
}

function drawSign() {
  const { customer } = state;
  document.getElementById("who").textContent = customer ? `${say.signedInAs} ${customer.firstName}` : "";
  const button = (textContent, work) => make("button", { type: "button", textContent, onclick: () => Promise.resolve(work()).then(draw) });
  document.getElementById("sign").replaceChildren(
    ...(customer
      ? [make("button", { type: "button", textContent: say.getApp, onclick: getApp }), button(say.signOut, signOut)]
      : config.customers.map((each) => button(`${say.signInAs} ${each.firstName}`, () => signIn(each)))),
  );
  for (const box of inboxes) box.refresh();
}

// -- the whole --------------------------------------------------------------------------------------

async function draw() {
  const name = location.pathname.split("/")[1];
  document.getElementById("hints").replaceChildren();
  main.replaceChildren(...(await (PAGES[name] ?? home)()));
  // Nothing of the page waits for it.
  hints.page(KINDS[name] ?? "HOME", state.cart.checkout && { checkoutId: state.cart.checkout });
}

const KINDS = { product: "PRODUCT", category: "CATEGORY", search: "SEARCH", cart: "CART", order: "OTHER" };

// Each kind of hint has a place of its own.
function showHint(hint, { dismiss, follow }) {
  const box = make("div", { className: "hint", data: { kind: hint.kind } });
  const toCart = hint.kind === "CART_WAITING" &&
    make("a", { href: `/checkout?checkout=${encodeURIComponent(hint.checkoutId)}`, textContent: say.toCart, onclick: () => void follow() });
  box.append(
    make("p", {}, hint.text, " ", ...(toCart ? [toCart] : [])),
    make("p", { className: "note", textContent: hint.reason.text }),
    make("button", { type: "button", textContent: say.dismiss, onclick: () => { box.remove(); dismiss(); } }),
  );
  const place = document.getElementById("hints");
  place.querySelector(`[data-kind="${hint.kind}"]`)?.remove();
  place.append(box);
}

async function drawCategories() {
  const { categories } = await saleor(
    `{ categories(first: 20) { edges { node { id name slug translation(languageCode: ${language.toUpperCase()}) { name } } } } }`,
  );
  const nav = document.getElementById("categories");
  nav.ariaLabel = language === "de" ? "Kategorien" : "Categories";
  const here = asked.get("id");
  nav.replaceChildren(
    ...categories.edges.map(({ node }) =>
      make("a", { href: categoryPath(node), textContent: named(node), ariaCurrent: node.id === here ? "page" : null })),
  );
}

// While the story behind the shop is played, its newest line stands here.
async function follow(last) {
  const { line, isOver } = await (await fetch("/story.json")).json();
  const box = document.getElementById("story");
  if (isOver && last === undefined) return;
  box.hidden = false;
  box.textContent = isOver ? say.storyOver : `${say.story} ${line}`;
  if (isOver) {
    config.customers = (await (await fetch("/config.json")).json()).customers;
    drawSign();
  }
  // The first answers come with the catalogue.
  if (line !== last && last !== undefined && !main.querySelector("[data-personalize-product]")) await draw();
  if (!isOver) setTimeout(follow, 3000, line);
}

for (const element of document.querySelectorAll("[data-word]")) element.textContent = say[element.dataset.word];
document.getElementById("query").ariaLabel = say.searchFor;
document.getElementById("query").placeholder = say.searchFor;
const other = document.getElementById("language");
other.textContent = say.other;
other.lang = language === "de" ? "en" : "de";
other.onclick = () => {
  localStorage.setItem("language", other.lang);
  location.reload();
};
document.documentElement.dataset.theme =
  localStorage.getItem("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
document.getElementById("theme").onclick = () => {
  const { dataset } = document.documentElement;
  dataset.theme = dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("theme", dataset.theme);
};
const banner = document.getElementById("consent");
banner.hidden = Boolean(personalize.anonymousId);
banner.onclick = ({ target }) => {
  if (!target.value) return;
  personalize.setConsent(target.value);
  banner.hidden = true;
};

keepCart(state.cart);
const returning = config.customers.find(({ email }) => email === sessionStorage.getItem("signed-in"));
if (returning) await signIn(returning);
drawSign();
await Promise.all([drawCategories(), draw()]);
follow();
document.body.dataset.ready = "yes";
