import { logIn } from "../llm/session";
import { Button, FormProblem, TextField } from "../ui";
import { useForm } from "./useForm";

const FIELDS = ["username", "password"];

interface LogInProps {
  /** The user whose session has ended; the name can be changed. */
  username?: string;
  /** Called once the tokens are stored. */
  onLoggedIn: () => Promise<void>;
}

export function LogIn({ username, onLoggedIn }: LogInProps) {
  const { ref, onSubmit, busy, errors } = useForm({
    fields: FIELDS,
    submit: async ({ username = "", password = "" }) => {
      await logIn(username, password);
      await onLoggedIn();
    },
  });
  return (
    <form ref={ref} className="form" onSubmit={onSubmit}>
      <TextField
        label="Username"
        name="username"
        defaultValue={username}
        autoComplete="username"
        autoCapitalize="none"
        spellCheck={false}
        required
        autoFocus={username === undefined}
        error={errors["username"]}
      />
      <TextField
        label="Password"
        name="password"
        type="password"
        autoComplete="current-password"
        required
        data-autofocus
        error={errors["password"]}
      />
      <FormProblem>{errors[""]}</FormProblem>
      <Button type="submit" kind="primary" busy={busy}>
        Log in
      </Button>
    </form>
  );
}
