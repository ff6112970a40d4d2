import type { Personalize, Token } from "./personalize";

/**
 * Asks the app what is worth saying on a page, waits for the moment, reports what was seen.
 *
 * Each hint comes to `onHint` when it is to be shown; how it looks is the shop's own. No function ever throws or
 * rejects into the shop's page. On a server that renders pages nothing is asked.
 */
export function createHints(personalize: Personalize, options: HintOptions): Hints;

export interface HintOptions {
  /** As for `createPersonalize`. */
  endpoint: string;
  saleorApiUrl: string;
  /** Saleor's access token of a signed-in customer, or a function that returns the newest. */
  token?: Token;
  /** Show it now. It was reported as seen already. */
  onHint(hint: Hint, answers: HintAnswers): void;
}

export interface HintAnswers {
  /** The shopper waved it away: it stays away for weeks. */
  dismiss(): Promise<unknown>;
  /** The shopper followed it. */
  follow(): Promise<unknown>;
}

export interface Hints {
  /** Call it on every page; what waited for the page before is dropped. Resolves to what may be said. */
  page(page: HintPage, given?: { checkoutId?: string; countryCode?: string }): Promise<Hint[]>;
  /** The page is left, and nothing comes instead. */
  leave(): void;
}

export type HintPage =
  | "HOME"
  | "PRODUCT"
  | "CATEGORY"
  | "LIST"
  | "SEARCH"
  | "CART"
  | "CHECKOUT"
  | "OTHER";

export interface Hint {
  id: string;
  kind: "CART_WAITING" | "FREE_DELIVERY" | "LINGERING" | "CHECKOUT_OFFER" | "SIGN_UP";
  /** One sentence in the shopper's language. */
  text: string;
  /** Why it is said; true. */
  reason: { code: string; text: string };
  showAfterSeconds: number;
  showOnExit: boolean;
  /** The cart that it speaks of, and what can still be bought of it. */
  checkoutId: string | null;
  lines: { productId: string; variantId: string; quantity: number }[];
  /** What is missing until delivery is free, and from where on it is. */
  remaining: HintMoney | null;
  threshold: HintMoney | null;
  /** For `recommendations({ placement })`. */
  placement: string | null;
  /** For Saleor's `checkoutAddPromoCode`; it works until `deadline` (ISO 8601). */
  voucherCode: string | null;
  deadline: string | null;
}

export interface HintMoney {
  amount: number;
  currency: string;
}
