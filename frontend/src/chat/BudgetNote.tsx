import { X } from "lucide-react";

import { type LLMClient, useBudgetNotice } from "../llm";
import { IconButton } from "../ui";
import { noticeText } from "./budgets";

/** Says that a budget is nearly used up, until the reader dismisses that. */
export function BudgetNote({ client }: { client: LLMClient }) {
  const notice = useBudgetNotice(client);
  return (
    <div className="budget-note" data-shown={notice !== null || undefined}>
      <p role="status">{notice !== null && noticeText(notice)}</p>
      {notice !== null && (
        <IconButton
          icon={X}
          label="Dismiss"
          size="s"
          onClick={() => client.dismissBudgetNotice()}
        />
      )}
    </div>
  );
}
