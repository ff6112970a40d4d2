/* The page's side of Saleor's app bridge: messages to and from the Dashboard that frames us.
   htmx draws everything; this file only signs its requests and follows theme and language. */
(() => {
  "use strict";

  const root = document.documentElement;
  const body = document.body;
  const content = document.getElementById("content");
  const params = new URLSearchParams(location.search);
  const dashboards = (body.dataset.dashboards || "").split(" ").filter(Boolean);
  const isFramed = window.parent !== window;
  const HANDSHAKE_TIMEOUT = 10000;
  const REFRESH_TIMEOUT = 5000;

  let token = "";
  let locale; // undefined: the browser's own
  let isLoaded = false;
  let retry = null; // what was refused with an old token: {tokenUsed, again}

  const useLocale = (given) => {
    try {
      [locale] = Intl.getCanonicalLocales(given);
    } catch {
      return; // not a language tag: stay with what we have
    }
  };
  useLocale(params.get("locale") || []);

  // -- what the reader sees of all this ---------------------------------------------------------

  const say = (id, text) => {
    const place = document.getElementById(id);
    place.textContent = text;
    place.hidden = !text;
  };
  const problem = (name) => say("problem", name ? body.dataset[name] : "");

  const DATE = { dateStyle: "medium", timeStyle: "short" };
  const DAY = { dateStyle: "medium", timeZone: "UTC" }; // a day, wherever the reader is
  const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

  const write = (element, formats) => {
    const at = new Date(element.dateTime);
    if ("day" in element.dataset) {
      element.textContent = formats.day.format(at);
      return;
    }
    const seconds = (at - Date.now()) / 1000;
    element.title = formats.date.format(at);
    if (!("relative" in element.dataset)) {
      element.textContent = formats.date.format(at);
      return;
    }
    const [unit, size] = UNITS.find(([, s]) => Math.abs(seconds) >= s) || UNITS[3];
    element.textContent = formats.ago.format(Math.round(seconds / size), unit);
  };

  const localise = (within) => {
    const language = root.lang || undefined;
    const formats = {
      date: new Intl.DateTimeFormat(locale || language, DATE),
      day: new Intl.DateTimeFormat(locale || language, DAY),
      ago: new Intl.RelativeTimeFormat(language, { numeric: "auto" }),
    };
    within.querySelectorAll("time[datetime]").forEach((element) => write(element, formats));
  };

  // -- to the Dashboard -------------------------------------------------------------------------

  const post = (type, payload) => {
    if (!isFramed) return;
    const actionId = Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) =>
      b.toString(16).padStart(2, "0")).join("");
    const referrer = document.referrer ? new URL(document.referrer).origin : "";
    const target = dashboards.includes(referrer) ? referrer : dashboards[0];
    if (target) window.parent.postMessage({ type, payload: { ...payload, actionId } }, target);
  };

  // -- from the Dashboard -----------------------------------------------------------------------

  const useToken = (given) => {
    token = given;
    if (!token) return;
    problem("");
    if (!isLoaded) {
      isLoaded = true;
      htmx.trigger("#content", "personalize:load");
    } else if (retry && retry.tokenUsed !== token) {
      const { again } = retry;
      retry = null;
      again();
    }
  };

  const handlers = {
    handshake: (payload) => useToken(payload.token || ""),
    tokenRefresh: (payload) => useToken(payload.token || ""),
    theme: (payload) => {
      if (payload.theme === "light" || payload.theme === "dark") root.dataset.theme = payload.theme;
    },
    localeChanged: (payload) => {
      if (!payload.locale || payload.locale === locale) return;
      useLocale(payload.locale);
      if (isLoaded) open(opened);
    },
    // One page, so there is nowhere to go; and nothing to do once an action is confirmed.
    redirect: () => {},
    response: () => {},
  };

  window.addEventListener("message", (event) => {
    if (event.source !== window.parent || !dashboards.includes(event.origin)) return;
    const { type, payload } = event.data || {};
    if (Object.hasOwn(handlers, type)) handlers[type](payload || {});
  });

  // -- htmx -------------------------------------------------------------------------------------

  body.addEventListener("htmx:configRequest", (event) => {
    const { headers } = event.detail;
    headers["authorization-bearer"] = token;
    headers["saleor-api-url"] = params.get("saleorApiUrl") || "";
    if (locale) headers["accept-language"] = locale;
  });

  // A page that nobody looks at asks for nothing.
  body.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && event.detail.elt.matches("[data-poll]")) event.preventDefault();
  });

  body.addEventListener("htmx:responseError", (event) => {
    const { xhr, requestConfig, elt } = event.detail;
    if (xhr.status !== 401) {
      if (xhr.status >= 500) problem("unreachable");
      return;
    }
    const tokenUsed = requestConfig.headers["authorization-bearer"];
    const trigger = requestConfig.triggeringEvent;
    if (trigger) retry = { tokenUsed, again: () => htmx.trigger(elt, trigger.type) };
    else if (elt === content) retry = { tokenUsed, again: () => open(requestConfig.path) };
    post("notifyReady", {}); // the Dashboard answers with a handshake and the newest token
    setTimeout(() => {
      if (token === tokenUsed) problem("expired");
    }, REFRESH_TIMEOUT);
  });

  body.addEventListener("htmx:xhr:progress", (event) => {
    const bar = event.detail.elt.querySelector("progress[data-upload]");
    if (!bar || !event.detail.lengthComputable) return;
    bar.hidden = false;
    bar.value = event.detail.loaded / event.detail.total;
  });

  // A link cannot carry the token that a file needs.
  body.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-download]");
    if (!button) return;
    const headers = { "authorization-bearer": token, "saleor-api-url": params.get("saleorApiUrl") || "" };
    const response = await fetch(button.dataset.download, { headers }).catch(() => null);
    if (!response || !response.ok) {
      problem(response && response.status === 401 ? "expired" : "unreachable");
      return;
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await response.blob());
    link.download = button.dataset.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  });

  body.addEventListener("htmx:sendError", () => problem("unreachable"));

  body.addEventListener("htmx:afterRequest", (event) => {
    if (!event.detail.successful) return;
    problem("");
    const language = event.detail.xhr.getResponseHeader("content-language");
    if (language) root.lang = language;
  });

  body.addEventListener("htmx:afterSettle", () => {
    localise(document);
    // On small screens the menu is a strip: what is open stands in sight.
    const menu = document.querySelector(".nav");
    const current = menu && menu.querySelector("[aria-current]");
    if (current) menu.scrollLeft = current.offsetLeft - menu.offsetLeft - menu.clientWidth / 2;
    // Where the reader goes on after an action. Browsers refuse `autofocus` to a frame.
    const next = document.querySelector("[data-focus]");
    if (next) {
      next.removeAttribute("data-focus");
      next.focus();
    }
  });

  // -- from page to page --------------------------------------------------------------------------

  // The address stays as the Dashboard made it; what is open is kept beside it, so that "back" and another
  // language ask for it again.
  let opened = content.getAttribute("hx-get");
  let returning = null; // where the reader was on the page that they go back to: {scroll, focus}
  let swapped = null; // htmx tells of each element that it swapped,
  let settled = null; // and that it settled

  const open = (path) => htmx.ajax("GET", path, "#content");
  history.scrollRestoration = "manual";
  history.replaceState({ path: opened }, "");

  const isMenu = (elt) => !!elt.closest(".nav");
  const isSamePage = (elt) => !isMenu(elt) && !!document.getElementById(elt.id); // a filter, say

  // At once: another language may ask for it anew before it has settled.
  body.addEventListener("htmx:afterSwap", (event) => {
    const { target, requestConfig, pathInfo, xhr } = event.detail;
    if (xhr === swapped || target !== content || requestConfig.verb !== "get" || returning) return;
    swapped = xhr;
    const { elt } = requestConfig;
    const path = pathInfo.finalRequestPath;
    if (elt === content || path === opened) return;
    const kept = { path: opened, scroll: pressed.scroll, focus: elt.id };
    if (isSamePage(elt)) history.replaceState({ path }, "");
    else {
      history.replaceState(kept, "");
      history.pushState({ path }, "");
    }
    opened = path;
  });

  body.addEventListener("htmx:afterSettle", (event) => {
    const { target, requestConfig, xhr } = event.detail;
    if (xhr === settled || target !== content) return;
    settled = xhr;
    const { elt, verb } = requestConfig;
    const heading = content.querySelector("h2");
    // Where a reader without a mouse goes on: what they pressed is gone.
    const standAtHeading = () => {
      if (!heading || content.contains(document.activeElement)) return;
      heading.tabIndex = -1;
      heading.focus({ preventScroll: true });
    };
    if (verb !== "get") {
      standAtHeading();
      return;
    }
    if (returning) {
      scrollTo(0, returning.scroll || 0);
      const before = document.getElementById(returning.focus || "");
      if (before) before.focus({ preventScroll: true });
      returning = null;
      return;
    }
    if (elt === content || isSamePage(elt) || !heading) return;
    if (!isMenu(elt)) standAtHeading();
    heading.scrollIntoView({ block: "nearest" });
  });

  window.addEventListener("popstate", (event) => {
    if (!event.state || !event.state.path) return;
    opened = event.state.path;
    returning = event.state;
    open(opened);
  });

  // -- what became of a press ---------------------------------------------------------------------

  const outcome = document.getElementById("outcome");
  const TONES = { success: "good", warning: "warn", error: "bad" };
  let pressed = {}; // {id, target, scroll} of the last request

  body.addEventListener("htmx:beforeRequest", (event) => {
    const { elt, target, requestConfig } = event.detail;
    const trigger = requestConfig.triggeringEvent;
    if (!trigger) return; // it asks by itself
    returning = null; // whoever presses goes on from here, also where going back came to nothing
    pressed = { id: (trigger.submitter || elt).id, target, scroll: scrollY };
    if (requestConfig.verb !== "get" || target === content) outcome.hidden = true;
  });

  // It stands where it was pressed and stays there until another page is opened: not within what asks anew by
  // itself, nor as a stranger in a list.
  const place = () => {
    const { id, target } = pressed;
    if (target && target !== content && target.isConnected) {
      (target.closest("ul, ol, table, form") || target).before(outcome);
      return;
    }
    const button = id && document.getElementById(id);
    const near = button && content.contains(button) && button.closest("li, form, .card");
    const card = near || content.querySelector(".card");
    if (!card) content.before(outcome);
    else if (card.querySelector("[data-poll]") || card.closest("[data-poll]")) (card.closest(".card") || card).before(outcome);
    else if (card.matches(".card")) card.firstElementChild.after(outcome);
    else card.append(outcome);
  };

  body.addEventListener("personalize:outcome", (event) => {
    const { status, title, text } = event.detail;
    const strong = document.createElement("strong");
    // Whoever hears it as well hears where the title ends.
    strong.textContent = /[.!?…]$/.test(title) ? title : `${title}.`;
    outcome.className = `notice ${TONES[status] || ""} wrap`;
    outcome.replaceChildren();
    place();
    outcome.hidden = false;
    // A screen reader tells what changes within a place that it knows.
    setTimeout(() => {
      outcome.replaceChildren(strong, text ? ` ${text}` : "");
      outcome.scrollIntoView({ block: "nearest" });
    }, 50);
    post("notification", { status, title, text });
  });

  // -- start ------------------------------------------------------------------------------------

  if (!isFramed) {
    problem("outside");
  } else {
    post("notifyReady", {});
    setTimeout(() => {
      if (!token) problem("silent");
    }, HANDSHAKE_TIMEOUT);
  }
})();
