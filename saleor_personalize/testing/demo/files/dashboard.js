// What the Saleor Dashboard does for an app's frame: address, handshake, theme, token refresh.
const frame = document.getElementById("app");
let given = await (await fetch("/frame.json")).json();
let theme = "light";
const locale = document.getElementById("locale");
const origin = new URL(given.personalizeUrl).origin;
const send = (type, payload) => frame.contentWindow.postMessage({ type, payload }, origin);

addEventListener("message", ({ source, origin: from, data }) => {
  if (source !== frame.contentWindow || from !== origin) return;
  if (data.payload?.actionId) send("response", { actionId: data.payload.actionId, ok: true });
  if (data.type === "notifyReady") {
    send("handshake", { token: given.token, version: 1, saleorVersion: "3.24" });
    send("localeChanged", { locale: locale.value });
    send("theme", { theme });
  }
});
document.getElementById("theme").onclick = () => {
  theme = theme === "light" ? "dark" : "light";
  document.documentElement.dataset.theme = theme;
  send("theme", { theme });
};
locale.onchange = () => {
  document.documentElement.lang = locale.value;
  send("localeChanged", { locale: locale.value });
};
setInterval(async () => {
  given = await (await fetch("/frame.json")).json();
  send("tokenRefresh", { token: given.token });
}, 120_000);

const address = new URL("/dashboard/", given.personalizeUrl);
address.search = new URLSearchParams({
  domain: new URL(given.saleorApiUrl).host,
  saleorApiUrl: given.saleorApiUrl,
  id: given.appId,
  theme,
  // From the page of a customer the app is opened at that person.
  customerId: new URLSearchParams(location.search).get("customerId") ?? "",
});
frame.src = address;
