import { Button, FormProblem, TextField } from "../ui";
import { useAccount } from "./context";
import { changePassword } from "./server";
import { useForm } from "./useForm";

const FIELDS = ["current", "new"];

export function Password({ onChanged }: { onChanged: (text: string) => void }) {
  const { user, endSession } = useAccount();
  const { ref, onSubmit, busy, errors } = useForm({
    fields: FIELDS,
    byCode: { invalid_credentials: "current" },
    onSessionEnded: endSession,
    submit: async ({ current = "", new: changed = "" }) => {
      await changePassword(current, changed);
      ref.current?.reset();
      onChanged("Your password has been changed. All other sessions have ended.");
    },
  });
  return (
    <form ref={ref} className="form" onSubmit={onSubmit}>
      {/* For password managers, which store a password with a username. */}
      <input
        className="visually-hidden"
        name="username"
        autoComplete="username"
        aria-label="Username"
        value={user.username}
        readOnly
        tabIndex={-1}
      />
      <TextField
        label="Current password"
        name="current"
        type="password"
        autoComplete="current-password"
        required
        error={errors["current"]}
      />
      <TextField
        label="New password"
        name="new"
        type="password"
        autoComplete="new-password"
        required
        hint="You stay logged in here. Your other sessions end; your API keys keep working."
        error={errors["new"]}
      />
      <FormProblem>{errors[""]}</FormProblem>
      <Button type="submit" kind="primary" busy={busy}>
        Change password
      </Button>
    </form>
  );
}
