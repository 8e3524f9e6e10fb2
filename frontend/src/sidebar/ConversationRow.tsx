import { Braces, Ellipsis, FileText, Pencil, Trash2 } from "lucide-react";
import { type MouseEvent, useRef, useState } from "react";

import { downloadConversation, type Kind } from "../chat/download";
import { addressOf } from "../chat/route";
import type { Conversation } from "../llm";
import { IconButton, Menu, MenuItem, MenuSeparator, useToast } from "../ui";
import { RenameBox } from "./RenameBox";
import type { Mark } from "./useMarks";

interface ConversationRowProps {
  conversation: Conversation;
  mark: Mark | undefined;
  isShown: boolean;
  onOpen: (id: string) => void;
  onDelete: (id: string, title: string) => void;
  onRename: (id: string, title: string) => Promise<void>;
}

const MARKS: Record<Mark, string> = { running: "is being answered", unseen: "new answer" };

export function ConversationRow(props: ConversationRowProps) {
  const { conversation, mark, isShown, onOpen, onDelete, onRename } = props;
  const { id } = conversation;
  const title = conversation.title || "New chat";
  const [renaming, setRenaming] = useState(false);
  const link = useRef<HTMLAnchorElement>(null);
  const toast = useToast();

  function open(event: MouseEvent): void {
    const elsewhere = event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0;
    if (elsewhere) return; // the browser opens another tab or window
    event.preventDefault();
    onOpen(id);
  }

  function endRename(changed: string | null): void {
    setRenaming(false);
    requestAnimationFrame(() => link.current?.focus());
    if (changed === null || changed === conversation.title) return;
    onRename(id, changed).catch(() => toast({ text: "The title could not be changed." }));
  }

  function download(kind: Kind): void {
    downloadConversation(id, kind).catch(() => toast({ text: "The download failed." }));
  }

  if (renaming) {
    return (
      <li className="row">
        <RenameBox title={conversation.title} onEnd={endRename} />
      </li>
    );
  }
  return (
    <li className="row" data-shown={isShown || undefined}>
      <a
        ref={link}
        href={addressOf(id)}
        onClick={open}
        aria-current={isShown ? "page" : undefined}
        title={title}
      >
        <span className="row-title" dir="auto">
          {title}
        </span>
        {mark !== undefined && (
          <span className="mark" data-mark={mark}>
            <span className="visually-hidden">({MARKS[mark]})</span>
          </span>
        )}
      </a>
      <Menu
        trigger={<IconButton icon={Ellipsis} label={`More for ${title}`} size="s" />}
        align="start"
      >
        <MenuItem icon={Pencil} onSelect={() => setRenaming(true)}>
          Rename
        </MenuItem>
        <MenuItem icon={FileText} onSelect={() => download("md")}>
          Download as Markdown
        </MenuItem>
        <MenuItem icon={Braces} onSelect={() => download("json")}>
          Download as JSON
        </MenuItem>
        <MenuSeparator />
        <MenuItem icon={Trash2} danger onSelect={() => onDelete(id, title)}>
          Delete
        </MenuItem>
      </Menu>
    </li>
  );
}
