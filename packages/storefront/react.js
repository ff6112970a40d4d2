// React hooks over personalize.js. What each does: react.d.ts
import { createContext, createElement, useCallback, useContext } from "react";
import { useEffect, useMemo, useRef, useState } from "react";

const Page = createContext(null);

export function PersonalizeProvider({ personalize, children }) {
  const [favourites, setFavourites] = useState([]);
  const asked = useRef(null);
  const changes = useRef(0);
  const load = useCallback(async () => {
    asked.current = personalize;
    const before = changes.current;
    const rows = await personalize.favourites();
    // An answer from before the newest change would take it back.
    if (changes.current === before) setFavourites(rows);
    else load();
  }, [personalize]);
  const change = useCallback((how) => {
    changes.current += 1;
    setFavourites(how);
  }, []);
  const value = useMemo(
    () => ({ personalize, favourites, change, load, asked }),
    [personalize, favourites, change, load],
  );
  return createElement(Page.Provider, { value }, children);
}

function usePage() {
  const page = useContext(Page);
  if (!page) throw new Error("Put <PersonalizeProvider personalize={...}> around the page.");
  return page;
}

export const usePersonalize = () => usePage().personalize;

export function useRecommendations(wanted) {
  const personalize = usePersonalize();
  const [answer, setAnswer] = useState({ recommendations: [], isLoading: true });
  // As text: a new object with the same values asks nothing new.
  const question = JSON.stringify(wanted);
  useEffect(() => {
    let isWanted = true;
    setAnswer({ recommendations: [], isLoading: true });
    personalize.recommendations(JSON.parse(question)).then((recommendations) => {
      if (isWanted) setAnswer({ recommendations, isLoading: false });
    });
    // An answer that comes after the next question is not shown.
    return () => {
      isWanted = false;
    };
  }, [personalize, question]);
  return answer;
}

export function useFavourites() {
  const { personalize, favourites, change, load, asked } = usePage();
  useEffect(() => {
    // Once for all the hearts of a page.
    if (asked.current !== personalize) load();
  }, [personalize, load, asked]);
  const is = (productId, variantId) => (row) =>
    row.productId === productId && (row.variantId ?? null) === (variantId ?? null);
  const tell = (isKept) => (productId, variantId) => {
    const track = isKept ? personalize.favourite : personalize.unfavourite;
    if (!track(productId, { variantId })) return false;
    // Shown at once; the event waits for a network.
    change((rows) => {
      const others = rows.filter((row) => !is(productId, variantId)(row));
      return isKept ? [{ productId, variantId: variantId ?? null, isAvailable: true }, ...others] : others;
    });
    return true;
  };
  return {
    favourites,
    has: (productId, variantId) => favourites.some(is(productId, variantId)),
    add: tell(true),
    remove: tell(false),
    reload: load,
  };
}
