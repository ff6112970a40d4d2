import type { ReactNode } from "react";
import type { Favourite, Personalize, Recommendation, Wanted } from "./personalize.js";

/** Gives the page below it one `createPersonalize(...)`, made once, outside of any component. */
export function PersonalizeProvider(props: {
  personalize: Personalize;
  children?: ReactNode;
}): ReactNode;

/** The module of the nearest provider; throws where there is none. */
export function usePersonalize(): Personalize;

/**
 * Products for a placement, asked again when one of the values changes. Mark what is shown by
 * `data-personalize-placement`, `data-personalize-product`, `data-personalize-slot` and
 * `data-personalize-attribution`: views and clicks are then told by themselves.
 */
export function useRecommendations(wanted: Wanted): {
  recommendations: Recommendation[];
  isLoading: boolean;
};

/** What the shopper keeps for later: one list for all the hearts of a page. */
export function useFavourites(): {
  favourites: Favourite[];
  has(productId: string, variantId?: string): boolean;
  /** False without the visitor's yes: nothing was kept, so ask for it. */
  add(productId: string, variantId?: string): boolean;
  remove(productId: string, variantId?: string): boolean;
  /** Ask again, e.g. after a sign-in. */
  reload(): Promise<void>;
};
