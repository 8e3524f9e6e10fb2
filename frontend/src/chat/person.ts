/** Who is logged in. */
import { createContext, useContext, useEffect, useState } from "react";

import { authorized } from "../llm";

/** GET /auth/me. */
export interface Person {
  username: string;
  isStaff: boolean;
}

export const NOBODY: Person = { username: "", isStaff: false };

export const PersonContext = createContext<Person>(NOBODY);

export function usePerson(): Person {
  return useContext(PersonContext);
}

/** Nobody in particular until the server has told; `connected` asks again. */
export function useLoadedPerson(connected: boolean): Person {
  const [person, setPerson] = useState(NOBODY);
  useEffect(() => {
    let current = true;
    authorized<Person>("/auth/me").then(
      (loaded) => current && setPerson(loaded),
      () => undefined, // the page works without
    );
    return () => {
      current = false;
    };
  }, [connected]);
  return person;
}
