/* A widget on a page of Saleor's Dashboard: it is drawn without this file, which tells the Dashboard how high
   the widget is, and follows the theme of the reader's system where the Dashboard did not say its own. */
(() => {
  "use strict";

  const root = document.documentElement;
  if (!root.dataset.theme) {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const follow = () => {
      root.dataset.theme = dark.matches ? "dark" : "light";
    };
    follow();
    dark.addEventListener("change", follow);
  }

  const tell = () => {
    const dashboards = (document.body.dataset.dashboards || "").split(" ").filter(Boolean);
    const referrer = document.referrer ? new URL(document.referrer).origin : "";
    const target = dashboards.includes(referrer) ? referrer : dashboards[0];
    const height = Math.ceil(document.querySelector("main").getBoundingClientRect().height);
    const payload = { actionId: crypto.randomUUID(), height };
    if (target && height) window.parent.postMessage({ type: "widgetResize", payload }, target);
  };
  document.addEventListener("DOMContentLoaded", () => {
    if (window.parent !== window) new ResizeObserver(tell).observe(document.querySelector("main"));
  });
})();
