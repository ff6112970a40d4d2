// The service worker of a shop: shows a push of saleor-personalize and follows its link.
//
// It needs no Firebase SDK: a push of Firebase is JSON of {notification, data, fcmOptions}. Serve this file
// from the root of the storefront, so that it may act for all of its pages.

/** Name of the parameter that a storefront reads a voucher's code from: PROMO_CODE_PARAMETER of the app. */
const PROMO_CODE_PARAMETER = "promoCode";

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("push", (event) => {
  const message = read(event.data);
  // A browser wants to see something for every push; what cannot be read is not shown in pieces.
  if (message) event.waitUntil(show(message));
});

self.addEventListener("notificationclick", (event) => {
  const { link = "/", messageId } = event.notification.data ?? {};
  event.notification.close();
  event.waitUntil(Promise.all([follow(link), tell(messageId)]));
});

function read(data) {
  try {
    const { notification, data: values = {}, fcmOptions = {} } = data.json();
    if (!notification?.title) return null;
    return { notification, values, link: linkOf(values.deep_link || fcmOptions.link, values.promo_code) };
  } catch {
    return null;
  }
}

/** The address to open: http and https alone, with the code in it. */
function linkOf(text, promoCode) {
  let url;
  try {
    url = new URL(text || "/", self.location.origin);
  } catch {
    url = new URL("/", self.location.origin);
  }
  if (!["http:", "https:"].includes(url.protocol)) url = new URL("/", self.location.origin);
  if (promoCode && url.origin === self.location.origin && !url.searchParams.has(PROMO_CODE_PARAMETER))
    url.searchParams.set(PROMO_CODE_PARAMETER, promoCode);
  return url.href;
}

function show({ notification, values, link }) {
  return self.registration.showNotification(notification.title, {
    body: notification.body,
    image: notification.image,
    icon: notification.icon,
    // The same message a second time replaces the first.
    tag: notification.tag || values.message_id,
    data: { link, messageId: values.message_id },
  });
}

/** Go there in a window of the shop that is open, else in a new one. */
async function follow(link) {
  const windows = await self.clients.matchAll({ type: "window" });
  const [shown] = windows;
  if (!shown || new URL(link).origin !== self.location.origin) return self.clients.openWindow(link);
  const there = (await shown.navigate(link)) ?? shown;
  return there.focus().catch(() => there);
}

const OPENED = "mutation Opened($id: ID!) { pushOpened(messageId: $id) { isNews errors { code } } }";

/** Say that it was pressed, so that the same does not come by e-mail as well. push.js names in our address whom to tell. */
async function tell(messageId) {
  const about = new URL(self.location.href).searchParams;
  if (!messageId || !about.has("endpoint")) return;
  await fetch(`${about.get("endpoint")}/graphql/`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "Saleor-Api-Url": about.get("shop") },
    body: JSON.stringify({ query: OPENED, variables: { id: messageId } }),
  }).catch((error) => console.warn("[saleor-personalize]", error));
}
