import {
  Database,
  KeyRound,
  LockKeyhole,
  type LucideIcon,
  Palette,
  ScrollText,
} from "lucide-react";

import { Dialog } from "../ui";
import { Appearance } from "./Appearance";
import type { SettingsSection } from "./context";
import { Instructions } from "./Instructions";
import { ApiKeys } from "./keys/ApiKeys";
import { Password } from "./Password";
import { YourData } from "./YourData";

const SECTIONS: [name: SettingsSection, title: string, icon: LucideIcon][] = [
  ["appearance", "Appearance", Palette],
  ["instructions", "Instructions", ScrollText],
  ["password", "Password", LockKeyhole],
  ["keys", "API keys", KeyRound],
  ["data", "Your data", Database],
];

interface SettingsProps {
  /** The section that is shown; null if the settings are closed. */
  section: SettingsSection | null;
  onSection: (section: SettingsSection) => void;
  onClose: () => void;
  onDeleted: (notice: string) => void;
  /** Called with a text that tells the user what was done. */
  onDone: (text: string) => void;
}

export function Settings({ section, onSection, onClose, ...rest }: SettingsProps) {
  return (
    <Dialog open={section !== null} onClose={onClose} title="Settings" size="l">
      <div className="settings">
        <nav aria-label="Settings">
          {SECTIONS.map(([name, title, Icon]) => (
            <button
              key={name}
              type="button"
              aria-current={name === section || undefined}
              onClick={() => onSection(name)}
            >
              <Icon aria-hidden size={18} strokeWidth={1.75} />
              {title}
            </button>
          ))}
        </nav>
        <div className="settings-section">
          <h3>{SECTIONS.find(([name]) => name === section)?.[1]}</h3>
          <Section section={section} {...rest} />
        </div>
      </div>
    </Dialog>
  );
}

type SectionProps = Pick<SettingsProps, "section" | "onDeleted" | "onDone">;

function Section({ section, onDeleted, onDone }: SectionProps) {
  switch (section) {
    case "appearance":
      return <Appearance />;
    case "instructions":
      return <Instructions />;
    case "password":
      return <Password onChanged={onDone} />;
    case "keys":
      return <ApiKeys />;
    case "data":
      return <YourData onDeleted={onDeleted} />;
    case null:
      return null;
  }
}
