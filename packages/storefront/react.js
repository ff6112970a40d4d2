// React hooks over personalize.js. What each does: react.d.ts
import { createContext, createElement, useContext, useEffect, useState } from "react";

const Personalize = createContext(null);

export const PersonalizeProvider = ({ personalize, children }) =>
  createElement(Personalize.Provider, { value: personalize }, children);

export function usePersonalize() {
  const personalize = useContext(Personalize);
  if (!personalize) throw new Error("Put <PersonalizeProvider personalize={...}> around the page.");
  return personalize;
}

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
