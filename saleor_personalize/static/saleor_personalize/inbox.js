// What each name does: inbox.d.ts
const SLOWEST = 600_000;
const report = (field) => `mutation($ids: [ID!]!) { done: ${field}(ids: $ids) { changedCount } }`;
const READ = report("inboxRead");
const DISMISS = report("inboxDismiss");
const CLICK = report("inboxClick");
const READ_ALL = "mutation { done: inboxReadAll { changedCount } }";

const STYLE = `
:host { display: inline-block; position: relative; font: inherit; --quiet: color-mix(in srgb, CanvasText 75%, Canvas); --line: color-mix(in srgb, CanvasText 25%, Canvas) }
:host([placement]) { display: block }
:host([hidden]), [hidden] { display: none !important }
:host([theme=light]) { color-scheme: light }
:host([theme=dark]) { color-scheme: dark }
:host([theme=auto]) { color-scheme: light dark }
* { box-sizing: border-box }
button, a.open { font: inherit; color: inherit; min-width: 24px; min-height: 24px; border-radius: 6px; cursor: pointer }
button { background: none; border: 1px solid transparent; padding: 4px 8px }
button:hover { border-color: var(--line) }
:focus-visible { outline: 2px solid var(--personalize-accent, Highlight); outline-offset: 2px }
.bell { position: relative; padding: 8px; line-height: 0 }
.bell svg { width: 24px; height: 24px; fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linecap: round; stroke-linejoin: round }
.badge { position: absolute; inset-block-start: 0; inset-inline-end: 0; min-width: 18px; padding: 0 5px; border-radius: 9px; background: var(--personalize-badge, #b3261e); color: #fff; font: 600 12px/18px system-ui, sans-serif; text-align: center }
.panel { position: absolute; inset-block-start: 100%; inset-inline-end: 0; z-index: 1000; width: min(360px, 92vw); max-height: min(70vh, 560px); overflow: auto; margin-block-start: 8px; border: 1px solid var(--line); border-radius: 12px; box-shadow: 0 8px 30px #0004 }
.panel, .banner { background: var(--personalize-background, Canvas); color: var(--personalize-text, CanvasText) }
header { display: flex; align-items: center; gap: 4px; padding: 8px 8px 8px 16px; border-block-end: 1px solid var(--line) }
h2 { flex: 1; margin: 0; font-size: 1.1em }
h3 { margin: 0; font-size: 1em }
ul { list-style: none; margin: 0; padding: 0 }
.item { position: relative; padding: 12px 16px; border-block-end: 1px solid var(--line); overflow-wrap: anywhere }
.item.new { border-inline-start: 4px solid var(--personalize-accent, Highlight); padding-inline-start: 12px }
.item p { margin: 4px 0; white-space: pre-line }
.item img { max-width: 100%; max-height: 160px; border-radius: 8px; display: block; margin-block: 6px }
.item time { display: block }
.item time, .empty { color: var(--quiet); font-size: .85em }
.empty { padding: 16px; margin: 0 }
.acts { display: flex; flex-wrap: wrap; gap: 4px; align-items: center }
a.open { display: inline-block; padding: 4px 12px; border: 1px solid currentColor; text-decoration: none; font-weight: 600 }
.banner .item { border: 1px solid var(--line); border-radius: 12px }
.said { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }
@media (max-width: 480px) { .panel { position: fixed; inset: auto 8px 8px; width: auto } }
`;
const BELL = "M6 10a6 6 0 1 1 12 0c0 5 2 6 2 7H4c0-1 2-2 2-7M10 20a2 2 0 0 0 4 0";

const warn = (...words) => console.warn("[saleor-personalize]", ...words);
const isWeb = (url) => /^https?:\/\//i.test(url ?? "");

function make(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter(Boolean));
  return element;
}

function draw(tag, properties) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
  return element;
}

// On a server that renders there are no elements.
const Base = globalThis.HTMLElement ?? class {};

export class PersonalizeInbox extends Base {
  static observedAttributes = ["endpoint", "saleor-api-url", "placement", "language-code"];

  /** Signed-in customer: the token, or a function that returns it. */
  token;
  /** Visitor: what createPersonalize returned, or anything with an `anonymousId`. */
  personalize;

  #answer;
  #tag;
  #timer;
  #round = 0;
  #failures = 0;
  #isOpen = false;

  connectedCallback() {
    if (!this.shadowRoot) {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(STYLE);
      this.attachShadow({ mode: "open" }).adoptedStyleSheets = [sheet];
      this.shadowRoot.addEventListener("keydown", (event) => {
        if (event.key === "Escape" && this.#isOpen) {
          event.stopPropagation();
          this.close();
        }
      });
    }
    document.addEventListener("visibilitychange", this.#look);
    document.addEventListener("pointerdown", this.#leave);
    this.refresh();
  }

  disconnectedCallback() {
    this.#round += 1;
    clearTimeout(this.#timer);
    document.removeEventListener("visibilitychange", this.#look);
    document.removeEventListener("pointerdown", this.#leave);
  }

  attributeChangedCallback(name, before, now) {
    if (before !== null && before !== now && this.isConnected) this.refresh();
  }

  get unreadCount() {
    return this.#answer?.unread ?? 0;
  }

  open() {
    this.#show(true);
    this.shadowRoot.querySelector(".panel button")?.focus();
  }

  close() {
    this.#show(false);
    this.shadowRoot.querySelector(".bell")?.focus();
  }

  /** Ask again: after signing in or out, or when you know of news. */
  async refresh() {
    const round = (this.#round += 1);
    clearTimeout(this.#timer);
    try {
      await this.#ask(round);
      this.#failures = 0;
    } catch (error) {
      this.#failures += 1;
      warn(error);
    }
    if (round !== this.#round || !this.isConnected) return;
    const rest = 1000 * (Number(this.getAttribute("every")) || 60) * 2 ** this.#failures;
    this.#timer = setTimeout(this.#look, Math.min(rest, SLOWEST));
  }

  #look = () => {
    if (!document.hidden) this.refresh();
  };

  #leave = (event) => {
    if (this.#isOpen && !event.composedPath().includes(this)) this.#show(false);
  };

  #headers(token) {
    const id = this.personalize?.anonymousId;
    if (!token && !id) return;
    const shop = { "Saleor-Api-Url": this.getAttribute("saleor-api-url") };
    return token ? { ...shop, Authorization: `Bearer ${token}` } : { ...shop, "X-Anonymous-Id": id };
  }

  // Tokens live for minutes: then the id speaks.
  async #send(path, request) {
    const token = typeof this.token === "function" ? this.token() : this.token;
    for (const shown of token ? [token, undefined] : [undefined]) {
      const headers = this.#headers(shown);
      if (!headers) return;
      const answer = await fetch(this.getAttribute("endpoint") + path, {
        credentials: "omit",
        ...request,
        headers: { ...headers, ...request?.headers },
      });
      if (answer.status !== 401) return answer;
    }
  }

  async #ask(round) {
    const asked = new URLSearchParams({
      saleorApiUrl: this.getAttribute("saleor-api-url"),
      languageCode: this.getAttribute("language-code") ?? document.documentElement.lang,
    });
    if (this.hasAttribute("placement")) asked.set("placement", this.getAttribute("placement"));
    const answer = await this.#send(`/inbox?${asked}`, {
      cache: "no-store",
      headers: this.#tag && { "If-None-Match": this.#tag },
    });
    if (round !== this.#round || answer?.status === 304) return;
    if (answer && !answer.ok) throw answer.status;
    // Without anybody there is nothing to show: not what the last one had either.
    const news = answer && (await answer.json());
    if (round !== this.#round) return;
    this.#answer = news;
    this.#tag = answer?.headers.get("ETag");
    this.#draw();
    this.dispatchEvent(new CustomEvent("unread", { detail: this.unreadCount }));
  }

  async #tell(query, ids) {
    try {
      const body = JSON.stringify({ query, variables: ids && { ids } });
      const headers = { "Content-Type": "application/json" };
      await this.#send("/graphql/", { method: "POST", body, headers, keepalive: true });
    } catch (error) {
      warn(error);
    }
    await this.refresh();
  }

  #follow(item, event) {
    const told = new CustomEvent("follow", { detail: item, bubbles: true, composed: true, cancelable: true });
    if (!this.dispatchEvent(told)) event.preventDefault();
    this.#tell(CLICK, [item.id]);
  }

  #dismiss(item) {
    const { items } = this.#answer;
    const next = items[items.indexOf(item) + 1] ?? items[items.indexOf(item) - 1];
    this.#answer = {
      ...this.#answer,
      items: items.filter((one) => one !== item),
      unread: this.unreadCount - !item.isRead,
    };
    this.#draw(next ? `${next.id}:dismiss` : "close");
    this.#tell(DISMISS, [item.id]);
  }

  #read(items) {
    const { items: all, unread } = this.#answer;
    const left = items ? unread - items.length : 0;
    const isRead = (one) => one.isRead || !items || items.includes(one);
    this.#answer = { ...this.#answer, items: all.map((one) => ({ ...one, isRead: isRead(one) })), unread: left };
    this.#draw("close");
    this.#tell(items ? READ : READ_ALL, items?.map(({ id }) => id));
  }

  #show(isOpen) {
    this.#isOpen = isOpen;
    this.#draw(isOpen ? undefined : "bell");
  }

  #item(item) {
    const { words } = this.#answer;
    const day = new Date(item.createdAt);
    const lang = this.getAttribute("language-code") ?? document.documentElement.lang;
    const about = item.title || item.text;
    return make(
      "li",
      { className: item.isRead ? "item" : "item new", lang: item.language, dir: "auto" },
      // A banner stands anywhere among a page's headings.
      item.title && make(this.hasAttribute("placement") ? "strong" : "h3", { textContent: item.title }),
      make("time", { dateTime: item.createdAt, textContent: day.toLocaleDateString(lang.replace("_", "-") || undefined) }),
      isWeb(item.imageUrl) && make("img", { src: item.imageUrl, alt: "", loading: "lazy" }),
      make("p", { textContent: item.text }),
      item.promoCode && make("p", {}, `${words.code} `, make("strong", { textContent: item.promoCode })),
      make(
        "div",
        { className: "acts" },
        isWeb(item.link) &&
          make("a", {
            className: "open",
            href: item.link,
            textContent: words.open,
            "aria-label": `${words.open}: ${about}`,
            "data-key": `${item.id}:open`,
            onclick: (event) => this.#follow(item, event),
          }),
        !item.isRead && this.#button(words.read, `${item.id}:read`, () => this.#read([item]), about),
        this.#button(words.dismiss, `${item.id}:dismiss`, () => this.#dismiss(item), about),
      ),
    );
  }

  #button(text, key, onclick, about) {
    return make("button", {
      type: "button",
      textContent: text,
      "aria-label": about ? `${text}: ${about}` : text,
      "data-key": key,
      onclick,
    });
  }

  #draw(wanted) {
    const root = this.shadowRoot;
    const held = root.activeElement && (wanted ?? root.activeElement.getAttribute("data-key"));
    const drawn = this.#answer ? (this.hasAttribute("placement") ? this.#banner() : this.#panel()) : [];
    const top = root.querySelector(".panel")?.scrollTop ?? 0;
    root.replaceChildren(...drawn);
    root.querySelector(".panel")?.scrollTo(0, top);
    if (held) (root.querySelector(`[data-key="${held}"]`) ?? root.querySelector('[data-key="close"]'))?.focus();
  }

  #banner() {
    const [item] = this.#answer.items;
    return item ? [make("section", { className: "banner", "aria-label": item.title || this.#answer.words.title }, make("ul", {}, this.#item(item)))] : [];
  }

  #panel() {
    const { items, unread, words } = this.#answer;
    const label = unread ? `${words.title}, ${words.unread}: ${unread}` : words.title;
    const bell = make("button", {
      type: "button",
      className: "bell",
      part: "bell",
      "aria-label": label,
      "aria-haspopup": "dialog",
      "aria-expanded": String(this.#isOpen),
      "data-key": "bell",
      onclick: () => (this.#isOpen ? this.close() : this.open()),
    });
    bell.append(draw("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }));
    bell.firstChild.append(draw("path", { d: BELL }));
    if (unread) bell.append(make("span", { className: "badge", part: "badge", "aria-hidden": "true", textContent: unread > 99 ? "99+" : unread }));
    const said = make("span", { className: "said", role: "status", textContent: label });
    if (!this.#isOpen) return [bell, said];
    const list = items.length
      ? make("ul", {}, ...items.map((item) => this.#item(item)))
      : make("p", { className: "empty", textContent: words.empty });
    const head = make(
      "header",
      {},
      make("h2", { textContent: words.title }),
      unread > 0 && this.#button(words.readAll, "all", () => this.#read()),
      this.#button("✕", "close", () => this.close(), ""),
    );
    head.lastChild.setAttribute("aria-label", words.close);
    return [bell, said, make("section", { className: "panel", part: "panel", role: "dialog", "aria-label": words.title }, head, list)];
  }
}

if (globalThis.customElements && !customElements.get("saleor-personalize-inbox")) {
  customElements.define("saleor-personalize-inbox", PersonalizeInbox);
}
