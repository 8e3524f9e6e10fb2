import { Button, Dialog, DialogActions, FormProblem, TextField } from "../ui";
import { useAccount } from "./context";
import { useInstructions } from "./instructions";
import { deleteAccount } from "./server";
import { useForm } from "./useForm";

const FIELDS = ["password"];

interface DeleteAccountProps {
  open: boolean;
  onClose: () => void;
  onDeleted: (notice: string) => void;
}

export function DeleteAccount({ open, onClose, onDeleted }: DeleteAccountProps) {
  return (
    <Dialog
      open={open}
      onClose={onClose}
      size="s"
      title="Delete your account?"
      description="All your conversations, API keys and settings are deleted immediately, everywhere. This cannot be undone."
    >
      <DeletionForm onClose={onClose} onDeleted={onDeleted} />
    </Dialog>
  );
}

type DeletionFormProps = Omit<DeleteAccountProps, "open">;

function DeletionForm({ onClose, onDeleted }: DeletionFormProps) {
  const { endSession } = useAccount();
  const [, keepInstructions] = useInstructions();
  const { ref, onSubmit, busy, errors } = useForm({
    fields: FIELDS,
    byCode: { invalid_credentials: "password" },
    onSessionEnded: endSession,
    submit: async ({ password = "" }) => {
      await deleteAccount(password);
      keepInstructions("");
      onDeleted("Your account and everything in it have been deleted.");
    },
  });
  return (
    <form ref={ref} className="form" onSubmit={onSubmit}>
      <TextField
        label="Your password"
        name="password"
        type="password"
        autoComplete="current-password"
        required
        error={errors["password"]}
      />
      <FormProblem>{errors[""]}</FormProblem>
      <DialogActions>
        <Button onClick={onClose}>Cancel</Button>
        <Button type="submit" kind="danger" busy={busy}>
          Delete everything
        </Button>
      </DialogActions>
    </form>
  );
}
