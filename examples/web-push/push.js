// What a storefront's page does for push: ask when the shopper presses a button, register, unbind at sign-out.

const REGISTER = `mutation Register($token: String!, $language: String, $marketing: Boolean, $wording: String) {
  registerDevice(token: $token, platform: WEB, languageCode: $language, allowsMarketing: $marketing, wordingVersion: $wording) {
    device { id isSignedIn }
    marketing
    errors { code message }
  }
}`;
const UNREGISTER = `mutation Unregister($token: String!) {
  unregisterDevice(token: $token) { wasRegistered errors { code message } }
}`;

/**
 * `endpoint`: address of saleor-personalize. `saleorApiUrl`: of the shop. `getToken(registration)`: the token
 * of the Firebase SDK for this service worker. `customerToken()`, `anonymousId()`: who is here now, or "".
 */
export function createPush({ endpoint, saleorApiUrl, getToken, customerToken, anonymousId, worker = "/sw.js" }) {
  async function ask(query, variables, { as = true } = {}) {
    const headers = { "Content-Type": "application/json", "Saleor-Api-Url": saleorApiUrl };
    if (as && customerToken()) headers.Authorization = `Bearer ${customerToken()}`;
    if (as && anonymousId()) headers["X-Anonymous-Id"] = anonymousId();
    const response = await fetch(`${endpoint}/graphql/`, {
      method: "POST",
      headers,
      body: JSON.stringify({ query, variables }),
    });
    const { data, errors } = await response.json();
    const [answer] = Object.values(data ?? {});
    const fault = errors?.[0] ?? answer?.errors[0];
    if (fault) throw new Error(fault.message);
    return answer;
  }

  async function token() {
    const about = new URLSearchParams({ endpoint, shop: saleorApiUrl });
    await navigator.serviceWorker.register(`${worker}?${about}`);
    return getToken(await navigator.serviceWorker.ready);
  }

  return {
    /** On a press of "Tell me": browsers ask nobody otherwise. `wording` names the text beside the button. */
    async allow({ wording = "" } = {}) {
      if ((await Notification.requestPermission()) !== "granted") return null;
      return ask(REGISTER, {
        token: await token(),
        language: navigator.language,
        marketing: true,
        wording,
      });
    },

    /** At each visit and after signing in: tokens change, and a device follows who is signed in. */
    async refresh() {
      if (Notification.permission !== "granted") return null;
      return ask(REGISTER, { token: await token(), language: navigator.language });
    },

    /** At sign-out, before the page forgets who was here. */
    async signOut() {
      if (Notification.permission !== "granted") return null;
      return ask(UNREGISTER, { token: await token() }, { as: false });
    },
  };
}
