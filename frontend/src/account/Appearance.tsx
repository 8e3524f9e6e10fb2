import { type LucideIcon, Monitor, Moon, Sun } from "lucide-react";

import { type Theme, useTheme } from "../ui";

const THEMES: [theme: Theme, text: string, icon: LucideIcon][] = [
  ["light", "Light", Sun],
  ["dark", "Dark", Moon],
  ["system", "Same as system", Monitor],
];

export function Appearance() {
  const [chosen, choose] = useTheme();
  return (
    <fieldset className="themes">
      <legend>Theme</legend>
      {THEMES.map(([theme, text, Icon]) => (
        <label key={theme}>
          <input
            type="radio"
            name="theme"
            checked={theme === chosen}
            onChange={() => choose(theme)}
          />
          <Icon aria-hidden size={20} strokeWidth={1.75} />
          {text}
        </label>
      ))}
    </fieldset>
  );
}
