import * as Radix from "@radix-ui/react-dropdown-menu";
import { Check, type LucideIcon } from "lucide-react";
import type { ReactElement, ReactNode } from "react";

interface MenuProps {
  /** The button that opens it: one element that takes a ref, such as an IconButton. */
  trigger: ReactElement;
  children: ReactNode;
  align?: "start" | "center" | "end";
  side?: "top" | "right" | "bottom" | "left";
  open?: boolean;
  onOpenChange?: (open: boolean) => void;
}

/**
 * A menu below its button: arrows, Home, End, letters and Escape work as expected.
 *
 * Not modal: a modal menu would lock the page's scrolling with an injected `<style>`,
 * which the strict CSP forbids.
 */
export function Menu({
  trigger,
  children,
  align = "end",
  side = "bottom",
  ...state
}: MenuProps) {
  return (
    <Radix.Root modal={false} {...state}>
      <Radix.Trigger asChild>{trigger}</Radix.Trigger>
      <Radix.Portal>
        <Radix.Content
          className="menu"
          align={align}
          side={side}
          sideOffset={4}
          collisionPadding={8}
          loop
        >
          {children}
        </Radix.Content>
      </Radix.Portal>
    </Radix.Root>
  );
}

interface MenuItemProps {
  icon?: LucideIcon;
  /** Keys that do the same. */
  keys?: string;
  /** A second line, such as the reason why it cannot be chosen. */
  note?: ReactNode;
  danger?: boolean;
  disabled?: boolean;
  onSelect: () => void;
  children: ReactNode;
}

export function MenuItem({ icon, keys, note, danger, children, ...rest }: MenuItemProps) {
  return (
    <Radix.Item className="menu-item" data-danger={danger || undefined} {...rest}>
      <Mark icon={icon} />
      <Text note={note}>{children}</Text>
      {keys !== undefined && <kbd>{keys}</kbd>}
    </Radix.Item>
  );
}

interface MenuChoicesProps {
  label: string;
  value: string;
  onChange: (value: string) => void;
  children: ReactNode;
}

/** A group of MenuChoice elements, one of which is chosen. */
export function MenuChoices({ label, value, onChange, children }: MenuChoicesProps) {
  return (
    <Radix.RadioGroup value={value} onValueChange={onChange} aria-label={label}>
      <Radix.Label className="menu-label">{label}</Radix.Label>
      {children}
    </Radix.RadioGroup>
  );
}

interface MenuChoiceProps {
  value: string;
  note?: ReactNode;
  disabled?: boolean;
  children: ReactNode;
}

export function MenuChoice({ note, children, ...rest }: MenuChoiceProps) {
  return (
    <Radix.RadioItem className="menu-item" {...rest}>
      <span className="menu-mark">
        <Radix.ItemIndicator>
          <Check aria-hidden size={16} />
        </Radix.ItemIndicator>
      </span>
      <Text note={note}>{children}</Text>
    </Radix.RadioItem>
  );
}

export function MenuLabel({ children }: { children: ReactNode }) {
  return <Radix.Label className="menu-label">{children}</Radix.Label>;
}

export function MenuSeparator() {
  return <Radix.Separator className="menu-separator" />;
}

function Mark({ icon: Icon }: { icon: LucideIcon | undefined }) {
  if (Icon === undefined) return null;
  return (
    <span className="menu-mark">
      <Icon aria-hidden size={16} strokeWidth={1.75} />
    </span>
  );
}

function Text({ note, children }: { note: ReactNode; children: ReactNode }) {
  return (
    <span className="menu-text">
      {children}
      {note !== undefined && <small>{note}</small>}
    </span>
  );
}
