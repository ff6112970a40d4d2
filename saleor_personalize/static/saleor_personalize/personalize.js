// What each name does: personalize.d.ts
const PREFIX = "saleor-personalize:";
const ID = `${PREFIX}id`;
const SESSION = `${PREFIX}session`;
const ROW = `${PREFIX}event:`;
const COOKIE = "saleor-personalize-id";
const YEAR = 31_536_000;
const SESSION_IDLE = 1_800_000;
const LONGEST_WAIT = 300_000;
const MAX_ROWS = 500;
const BATCH_ROWS = 100;
const PRODUCT = "data-personalize-product";

const RECOMMENDATIONS = `
  query($placement: String!, $channel: String!, $languageCode: String, $productId: ID, $checkoutId: ID, $first: Int) {
    rows: recommendations(
      placement: $placement, channel: $channel, languageCode: $languageCode, productId: $productId, checkoutId: $checkoutId, first: $first
    ) {
      productId variantId name slug thumbnailUrl isAvailable price { amount currency }
      slot score strategy attributionId reason { code text }
    }
  }`;
const FAVOURITES = "{ rows: profile { favourites(first: 100) { productId variantId isAvailable } } }";

const uuid = () => crypto.randomUUID();
const hint = (...words) => console.warn("[saleor-personalize]", ...words);

const safely = (work) => (...given) => {
  try {
    const answer = work(...given);
    return answer?.catch?.(hint) ?? answer;
  } catch (error) {
    hint(error);
  }
};

function campaign() {
  const utm = {};
  for (const [name, value] of new URLSearchParams(location.search)) {
    if (/^utm_(source|medium|campaign|term|content)$/.test(name)) utm[name.slice(4)] = value;
  }
  return utm;
}

export function createPersonalize(options) {
  const { endpoint, saleorApiUrl, flushInterval = 1000, respectSignals = true } = options;
  const { channel, currency, countryCode, languageCode } = options;
  const context = { channel, currency, countryCode, languageCode };
  let { token } = options;
  let count = 0;
  let failures = 0;
  let expired, isObserving, referrer, sending, store, timer;

  // Kept only after a yes: to have an id is the yes, in every tab.
  const anonymousId = () => store?.getItem(ID) ?? undefined;
  const stored = (prefix) => Object.keys(store).filter((key) => key.startsWith(prefix)).sort();
  const put = (key, value) => store.setItem(key, JSON.stringify(value));
  const cookie = () => document.cookie.match(`(?:^|; )${COOKIE}=([\\w-]{16,64})`)?.[1];

  function read(key) {
    try {
      return JSON.parse(store.getItem(key));
    } catch {
      store.removeItem(key);
    }
  }

  function setCookie(id) {
    const domain = options.cookieDomain ? `; domain=${options.cookieDomain}` : "";
    const secure = location.protocol === "https:" ? "; secure" : "";
    document.cookie = `${COOKIE}=${id}; path=/; max-age=${id && YEAR}; samesite=lax${domain}${secure}`;
  }

  function keepId(id) {
    store.setItem(ID, id);
    setCookie(id);
  }

  function setConsent(consent) {
    const isRefused = navigator.globalPrivacyControl || navigator.doNotTrack === "1";
    if (consent === "granted" && !(respectSignals && isRefused)) {
      keepId(anonymousId() ?? cookie() ?? uuid());
      if (options.observe !== false) isObserving ||= observe();
    } else {
      stored(PREFIX).forEach((key) => store.removeItem(key));
      setCookie(0);
    }
  }

  function session() {
    const now = Date.now();
    const utm = campaign();
    let current = read(SESSION);
    const isOther = (key) => utm[key] !== current.utm[key];
    if (!current || now - current.at > SESSION_IDLE || Object.keys(utm).some(isOther)) {
      const host = referrer && new URL(referrer).host;
      referrer = "";
      const { maxTouchPoints, userAgent } = navigator;
      current = {
        id: uuid(),
        // An iPad says: a Mac.
        deviceType: maxTouchPoints > 1 && /Macintosh/.test(userAgent) ? "tablet" : undefined,
        referrerHost: host === location.host ? "" : host,
        utm,
        localHour: new Date().getHours(),
        timeZone: Intl.DateTimeFormat().resolvedOptions().timeZone,
      };
    }
    put(SESSION, { ...current, at: now });
    return { ...current, at: undefined };
  }

  function track(type, data) {
    if (!anonymousId()) return;
    const occurredAt = new Date().toISOString();
    const event = { ...data, id: uuid(), type, occurredAt };
    const rows = stored(ROW);
    if (rows.length >= MAX_ROWS) store.removeItem(rows[0]);
    // One key per row: tabs never overwrite each other.
    put(`${ROW}${occurredAt}:${1e6 + count++}:${event.id}`, {
      visit: JSON.stringify({ anonymousId: anonymousId(), session: { ...session(), ...context } }),
      event,
    });
    schedule(flushInterval);
    return event.id;
  }

  function schedule(delay) {
    timer ||= setTimeout(flush, delay);
  }

  function currentToken() {
    const given = typeof token === "function" ? token() : token;
    return given === expired ? undefined : given;
  }

  async function post(path, request, shown) {
    const answer = await fetch(endpoint + path, { method: "POST", ...request(shown) });
    if (answer.status !== 401 || !shown) return answer;
    // Tokens live for minutes: now the id speaks.
    expired = shown;
    return post(path, request);
  }

  function nextBatch() {
    const rows = stored(ROW).slice(0, BATCH_ROWS).map((key) => ({ key, ...read(key) }));
    return rows.filter(({ visit }) => visit && visit === rows[0].visit);
  }

  async function send(rows, visit = JSON.parse(rows[0].visit)) {
    const events = rows.map((row) => row.event);
    const request = (token) => {
      const body = JSON.stringify({ saleorApiUrl, consent: "granted", token, ...visit, events });
      // Text: no preflight. Browsers keep up to 64 kB alive.
      return { body, credentials: "omit", keepalive: body.length < 30_000 };
    };
    try {
      // Never the next person's token with the last one's events.
      const shown = visit.anonymousId === anonymousId() ? currentToken() : undefined;
      const answer = await post("/collect", request, shown);
      if (![200, 400, 401, 413].includes(answer.status)) throw answer.status;
      const { results = [], error } = await answer.json();
      for (const row of [{ error }, ...results]) if (row.error) hint(row.error);
      rows.forEach(({ key }) => store.removeItem(key));
      failures = 0;
      return true;
    } catch (error) {
      hint(error);
      failures += 1;
      schedule(Math.min(LONGEST_WAIT, 1000 * 2 ** failures) * (0.5 + Math.random() / 2));
    }
  }

  async function sendAll() {
    for (let rows; navigator.onLine && (rows = nextBatch())[0]; ) if (!(await send(rows))) return;
  }

  const flush = safely(() => {
    timer = clearTimeout(timer);
    return (sending ??= sendAll().finally(() => (sending = undefined)));
  });

  function leave() {
    const rows = nextBatch();
    if (rows[0]) send(rows);
  }

  // Half of it for a second.
  function observe() {
    const products = new WeakMap();
    const timers = new WeakMap();
    const tell = (type, element) =>
      track(type, {
        productId: element.getAttribute(PRODUCT),
        placement: element.closest("[data-personalize-placement]")?.dataset.personalizePlacement,
        slot: Number(element.dataset.personalizeSlot),
        attributionId: element.dataset.personalizeAttribution,
      });
    const show = safely((element) => {
      watcher.unobserve(element);
      tell("RECOMMENDATION_SHOWN", element);
    });
    const onView = ({ target, intersectionRatio }) => {
      clearTimeout(timers.get(target));
      if (intersectionRatio >= 0.5) timers.set(target, setTimeout(show, 1000, target));
    };
    const watcher = new IntersectionObserver((seen) => seen.forEach(onView), { threshold: 0.5 });
    const look = () =>
      document.querySelectorAll(`[${PRODUCT}]`).forEach((element) => {
        const product = element.getAttribute(PRODUCT);
        if (products.get(element) === product) return;
        products.set(element, product);
        watcher.unobserve(element);
        watcher.observe(element);
      });
    const onClick = ({ target, button }) => {
      const element = button < 2 && target.closest?.(`[${PRODUCT}]`);
      if (element) tell("RECOMMENDATION_CLICKED", element);
    };
    new MutationObserver(look).observe(document, { childList: true, subtree: true, attributeFilter: [PRODUCT] });
    for (const name of ["click", "auxclick"]) addEventListener(name, safely(onClick), true);
    look();
    return true;
  }

  async function ask(query, variables) {
    const body = JSON.stringify({ query, variables: { ...context, ...variables } });
    const id = anonymousId();
    const request = (shown) => ({
      body,
      headers: {
        "Saleor-Api-Url": saleorApiUrl,
        ...(shown ? { Authorization: `Bearer ${shown}` } : id && { "X-Anonymous-Id": id }),
      },
    });
    try {
      const { data, errors } = await (await post("/graphql/", request, currentToken())).json();
      if (errors) throw errors;
      return data.rows;
    } catch (error) {
      hint(error);
      return [];
    }
  }

  const told = (type, key) => (value, data) => track(type, { ...data, [key]: value });

  const api = {
    context,
    get anonymousId() {
      return anonymousId();
    },
    get sessionId() {
      return anonymousId() && read(SESSION)?.id;
    },
    track,
    view: told("PRODUCT_VIEWED", "productId"),
    categoryView: told("CATEGORY_VIEWED", "categoryId"),
    listView: told("LIST_VIEWED", "listId"),
    search: told("SEARCHED", "query"),
    addToCart: told("CART_ADDED", "productId"),
    removeFromCart: told("CART_REMOVED", "productId"),
    favourite: told("FAVOURITE_ADDED", "productId"),
    unfavourite: told("FAVOURITE_REMOVED", "productId"),
    recommendationShown: told("RECOMMENDATION_SHOWN", "productId"),
    recommendationClicked: told("RECOMMENDATION_CLICKED", "productId"),
    custom: (name, properties) => track("CUSTOM", { name, properties }),
    setConsent,
    flush,

    async identify(given) {
      token = given.token ?? token;
      await flush();
      if (anonymousId()) await send([], { anonymousId: anonymousId(), checkoutId: given.checkoutId });
    },

    reset() {
      leave();
      token = undefined;
      store.removeItem(SESSION);
      if (anonymousId()) keepId(uuid());
    },

    recommendations: (wanted) => ask(RECOMMENDATIONS, wanted),

    async favourites() {
      await flush();
      return (await ask(FAVOURITES))?.favourites ?? [];
    },
  };
  for (const name in api) if (api[name]?.call) api[name] = safely(api[name]);

  // Not on a server.
  if (typeof document === "object") {
    safely(() => {
      store = options.storage ?? localStorage;
      referrer = document.referrer;
      context.languageCode ??= document.documentElement.lang || undefined;
      setConsent(options.consent ?? ((anonymousId() ?? cookie()) && "granted"));
      addEventListener("online", flush);
      addEventListener("pagehide", leave);
      document.addEventListener("visibilitychange", () => document.hidden && leave());
    })();
  }
  return api;
}
