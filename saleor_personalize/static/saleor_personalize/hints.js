// What each name does: hints.d.ts
const FIELDS = `
  id kind text reason { code text } showAfterSeconds showOnExit checkoutId
  lines { productId variantId quantity }
  remaining { amount currency } threshold { amount currency } placement voucherCode deadline`;
const ASK = `
  query($channel: String!, $page: HintPage!, $checkoutId: ID, $countryCode: String, $languageCode: String) {
    hints(
      channel: $channel, page: $page, checkoutId: $checkoutId,
      countryCode: $countryCode, languageCode: $languageCode
    ) {${FIELDS} }
  }`;
const TELL = `
  mutation($id: ID!, $action: HintAction!, $channel: String!, $languageCode: String) {
    hintReport(id: $id, action: $action, channel: $channel, languageCode: $languageCode) {
      isRecorded hint {${FIELDS} }
    }
  }`;
const OFFER = "CHECKOUT_OFFER";

const warn = (...words) => console.warn("[saleor-personalize]", ...words);

export function createHints(personalize, options) {
  const { endpoint, saleorApiUrl, token, onHint } = options;
  let leave = () => {};

  const currentToken = () => (typeof token === "function" ? token() : token);

  async function post(query, given, shown = currentToken()) {
    const id = personalize.anonymousId;
    const { channel, countryCode, languageCode } = personalize.context;
    const headers = { "Content-Type": "application/json", "Saleor-Api-Url": saleorApiUrl };
    if (shown) headers.Authorization = `Bearer ${shown}`;
    else if (id) headers["X-Anonymous-Id"] = id;
    const variables = { channel, countryCode, languageCode, ...given };
    try {
      const body = JSON.stringify({ query, variables });
      const answer = await fetch(`${endpoint}/graphql/`, { method: "POST", headers, body });
      // Tokens live for minutes: now the id speaks.
      if (answer.status === 401 && shown) return post(query, given, null);
      const { data, errors } = await answer.json();
      if (errors) throw errors;
      return data;
    } catch (error) {
      warn(error);
    }
  }

  const tell = async (hint, action) => (await post(TELL, { id: hint.id, action }))?.hintReport;

  async function show(hint, isCurrent) {
    const told = await tell(hint, "SEEN");
    // An offer begins by being seen: without the server's word there is none.
    const shown = hint.kind === OFFER ? told?.hint : hint;
    if (!shown || !isCurrent()) return;
    try {
      onHint(shown, {
        dismiss: () => tell(hint, "DISMISSED"),
        follow: () => tell(hint, "FOLLOWED"),
      });
    } catch (error) {
      warn(error);
    }
  }

  function wait(hint, isCurrent) {
    let timer;
    const stop = () => {
      clearTimeout(timer);
      document.removeEventListener("mouseout", onExit);
    };
    const now = () => {
      stop();
      show(hint, isCurrent);
    };
    // Towards the tabs and the address: the pointer leaves the page at its top.
    const onExit = ({ clientY, relatedTarget }) => !relatedTarget && clientY <= 0 && now();
    if (!hint.showAfterSeconds) {
      show(hint, isCurrent);
      return stop;
    }
    timer = setTimeout(now, hint.showAfterSeconds * 1000);
    if (hint.showOnExit) document.addEventListener("mouseout", onExit);
    return stop;
  }

  return {
    async page(page, given) {
      leave();
      let isHere = true;
      let stops = [];
      leave = () => {
        isHere = false;
        stops.forEach((stop) => stop());
      };
      if (typeof document !== "object") return [];
      // The person must be known before they can be spared.
      await personalize.flush();
      const hints = (await post(ASK, { ...given, page }))?.hints ?? [];
      if (isHere) stops = hints.map((hint) => wait(hint, () => isHere));
      return hints;
    },
    leave: () => leave(),
  };
}
