/**
 * Tells a saleor-personalize app what shoppers do in a storefront, and asks it for recommendations.
 *
 * Nothing is stored or sent before a yes. No function ever throws or rejects into the shop's page: what
 * goes wrong is a warning in the console that begins with `[saleor-personalize]`. Needs a page of https
 * (or of localhost); on a server that renders pages every function does nothing, but `recommendations` and `favourites`.
 */
export function createPersonalize(options: PersonalizeOptions): Personalize;

export interface PersonalizeOptions {
  /** Where the app is, without a slash at the end: "https://personalize.example.com". */
  endpoint: string;
  /** The shop: "https://shop.example.com/graphql/". */
  saleorApiUrl: string;
  /**
   * What the visitor answered to the shop's banner. Left out: an earlier yes in this browser counts,
   * and without one everything waits for `setConsent`.
   */
  consent?: Consent;
  /** Slug of the sales channel, e.g. "default-channel". */
  channel?: string;
  /** E.g. "EUR". */
  currency?: string;
  /** E.g. "de-AT"; else that of `<html lang>`, else the browser's. */
  languageCode?: string;
  /** E.g. "AT", when the shop knows it (from its CDN). Addresses are never asked for. */
  countryCode?: string;
  /** Saleor's access token of a signed-in customer, or a function that returns the newest. Never stored. */
  token?: Token;
  /** Milliseconds in which events gather before they are sent; 1000. */
  flushInterval?: number;
  /** Whether Global Privacy Control and Do Not Track are a no; true. The app honours them in any case
   * when the browser sends them along. */
  respectSignals?: boolean;
  /** Whether elements with `data-personalize-product` are watched; true. */
  observe?: boolean;
  /** For shops on several hosts: "example.com". */
  cookieDomain?: string;
  /** Where ids and waiting events are kept; `localStorage`. */
  storage?: Storage;
}

export type Consent = "granted" | "denied";
export type Token = string | (() => string | null | undefined);

export interface Personalize {
  /** Sales channel, currency, language and country of what comes next: change it when the page does. */
  readonly context: Context;
  /** The visitor's id; undefined without a yes. The cookie `saleor-personalize-id` tells it to the
   * shop's own server. */
  readonly anonymousId: string | undefined;
  /** The visit: it ends after 30 idle minutes, or when another campaign (`utm_...`) begins. */
  readonly sessionId: string | undefined;

  /** Record that something happened. Returns the event's id, or undefined without a yes. */
  track(type: EventType, data?: EventData): string | undefined;
  view(productId: string, data?: EventData): string | undefined;
  categoryView(categoryId: string, data?: EventData): string | undefined;
  /** `listId` is the shop's own name of a list: "sale", "new-in". */
  listView(listId: string, data?: EventData): string | undefined;
  search(query: string, data?: EventData): string | undefined;
  addToCart(productId: string, data?: EventData): string | undefined;
  removeFromCart(productId: string, data?: EventData): string | undefined;
  /** Keep a product for later, on all devices of the customer. The latest word about a product counts. */
  favourite(productId: string, data?: EventData): string | undefined;
  unfavourite(productId: string, data?: EventData): string | undefined;
  /** For shops that do not mark elements by `data-personalize-product`. */
  recommendationShown(productId: string, data: Place): string | undefined;
  recommendationClicked(productId: string, data: Place): string | undefined;
  /** The shop's own event. `properties` are flat: at most 30, texts of at most 200 characters. */
  custom(name: string, properties?: Properties): string | undefined;

  /** At sign-in, and whenever the token is renewed: what this browser did belongs to the customer. */
  identify(shown: { token?: Token; checkoutId?: string }): Promise<void>;
  /** At sign-out: whoever comes next is somebody else, with a new id and a new visit. */
  reset(): void;
  /** What the banner answered. A no wipes id, visit and waiting events from this browser. */
  setConsent(consent: Consent): void;

  /** Products for a placement, best first; an empty list when there is no answer. Needs no consent:
   * without a yes they are those that everybody gets. */
  recommendations(wanted: Wanted): Promise<Recommendation[]>;
  /** What the shopper keeps, newest first, at most 100; empty when there is no answer. What a customer
   * keeps is told only with the customer's token. */
  favourites(): Promise<Favourite[]>;
  /** Send now what waits; resolves when the app has answered, or cannot be reached. */
  flush(): Promise<void>;
}

export type EventType =
  | "PRODUCT_VIEWED"
  | "CATEGORY_VIEWED"
  | "LIST_VIEWED"
  | "SEARCHED"
  | "CART_ADDED"
  | "CART_REMOVED"
  | "FAVOURITE_ADDED"
  | "FAVOURITE_REMOVED"
  | "RECOMMENDATION_SHOWN"
  | "RECOMMENDATION_CLICKED"
  | "CUSTOM";

/** Ids are Saleor's global ids. */
export interface EventData extends Partial<Place> {
  productId?: string;
  variantId?: string;
  categoryId?: string;
  listId?: string;
  query?: string;
  channel?: string;
  name?: string;
  properties?: Properties;
}

export type Properties = Record<string, string | number | boolean | null>;

/** Where a recommendation was: "home", and 1 for the first of the row. */
export interface Place {
  placement: string;
  slot: number;
  /** That of the recommendation. Add it to `addToCart` too: then an order is known to come from it. */
  attributionId?: string;
}

export interface Context {
  channel?: string;
  currency?: string;
  languageCode?: string;
  countryCode?: string;
}

export interface Wanted {
  placement: string;
  /** The product of the page. */
  productId?: string | null;
  /** The cart. */
  checkoutId?: string | null;
  /** 1 to 100; 10. */
  first?: number;
  channel?: string;
  languageCode?: string;
}

export interface Favourite {
  productId: string;
  variantId: string | null;
  /** Whether it can be bought now. */
  isAvailable: boolean;
}

export interface Recommendation {
  /** For Saleor's `products(filter: { ids: [...] })`. */
  productId: string;
  /** Its cheapest variant in stock. */
  variantId: string | null;
  /** In the language of the context where the shop has translated it. */
  name: string | null;
  slug: string | null;
  thumbnailUrl: string | null;
  isAvailable: boolean;
  /** Of the variant, in the sales channel. */
  price: { amount: number; currency: string } | null;
  slot: number;
  score: number;
  strategy: string;
  /** For `data-personalize-attribution`, and for `addToCart`. */
  attributionId: string;
  reason: { code: string; text: string };
}
