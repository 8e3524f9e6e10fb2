import { ChevronDown, TriangleAlert } from "lucide-react";

import { Button, Menu, MenuChoice, MenuChoices, MenuItem, MenuLabel, MenuSeparator } from "../ui";
import { hint, isForStaff, reason } from "./reasons";
import type { Offer } from "./providers";
import type { Picker } from "./useProviders";

/** Choose a model: first those that can answer, then the others and why they cannot. */
export function ModelPicker({ offers, picked, choose, refresh }: Picker) {
  const usable = offers.filter(({ provider }) => provider.usable);
  const others = offers.filter(({ provider }) => !provider.usable);
  if (picked === null) return <span className="picker-none">No model available</span>;
  return (
    <Menu
      align="start"
      side="top"
      onOpenChange={(open) => open && refresh()}
      trigger={<Trigger picked={picked} />}
    >
      {usable.length > 0 && (
        <MenuChoices
          label="Choose a model"
          value={valueOf(picked)}
          onChange={(value) => {
            const offer = usable.find((one) => valueOf(one) === value);
            if (offer !== undefined) choose(offer.choice);
          }}
        >
          {usable.map((offer) => (
            <MenuChoice key={valueOf(offer)} value={valueOf(offer)} note={offer.label}>
              {offer.provider.label}
            </MenuChoice>
          ))}
        </MenuChoices>
      )}
      {others.length > 0 && (
        <>
          {usable.length > 0 && <MenuSeparator />}
          <MenuLabel>Not available</MenuLabel>
          {others.map((offer) => (
            <Unusable key={valueOf(offer)} offer={offer} />
          ))}
        </>
      )}
    </Menu>
  );
}

function Trigger({ picked, ...rest }: { picked: Offer } & Record<string, unknown>) {
  const { provider, label } = picked;
  return (
    <Button kind="quiet" size="s" className="picker" {...rest}>
      {!provider.usable && <TriangleAlert aria-hidden size={16} strokeWidth={1.75} />}
      <span className="visually-hidden">Model: </span>
      <span className="picker-label">{provider.label}</span>
      <span className="picker-model">{label}</span>
      <ChevronDown aria-hidden size={16} strokeWidth={1.75} />
    </Button>
  );
}

/** Not disabled, so that the keyboard reaches it; selecting it leads staff to the admin. */
function Unusable({ offer: { provider } }: { offer: Offer }) {
  const code = provider.code ?? "";
  const why = reason(code, provider.error ?? "It cannot answer right now", provider.label);
  const adminUrl = isForStaff(code) ? provider.adminUrl : undefined;
  const note = adminUrl === undefined ? why : `${why} Set it up in the admin.`;
  return (
    <MenuItem
      note={note}
      onSelect={() => {
        if (adminUrl !== undefined) location.assign(adminUrl);
      }}
    >
      {provider.label}
    </MenuItem>
  );
}

/** What to say above the composer if the picked model cannot answer; null if it can. */
export function whyNot({ provider }: Offer): string | null {
  if (provider.usable) return null;
  const code = provider.code ?? "";
  const why = reason(code, provider.error ?? "It cannot answer right now", provider.label);
  return [why, hint(code)].filter(Boolean).join(" ");
}

function valueOf({ choice }: Offer): string {
  return JSON.stringify([choice.provider, choice.model]);
}
