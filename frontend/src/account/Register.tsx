import { Button, FormProblem, TextField } from "../ui";
import { register } from "./server";
import { useForm } from "./useForm";

const FIELDS = ["username", "password", "email"];

export function Register({ onLoggedIn }: { onLoggedIn: () => Promise<void> }) {
  const { ref, onSubmit, busy, errors } = useForm({
    fields: FIELDS,
    submit: async ({ username = "", password = "", email = "" }) => {
      await register({ username, password, email });
      await onLoggedIn();
    },
  });
  return (
    <form ref={ref} className="form" onSubmit={onSubmit}>
      <TextField
        label="Username"
        name="username"
        autoComplete="username"
        autoCapitalize="none"
        spellCheck={false}
        maxLength={150}
        required
        autoFocus
        error={errors["username"]}
      />
      <TextField
        label="Password"
        name="password"
        type="password"
        autoComplete="new-password"
        required
        hint="At least 8 characters, and not a common password."
        error={errors["password"]}
      />
      <TextField
        label="Email (optional)"
        name="email"
        type="email"
        autoComplete="email"
        error={errors["email"]}
      />
      <FormProblem>{errors[""]}</FormProblem>
      <Button type="submit" kind="primary" busy={busy}>
        Create account
      </Button>
    </form>
  );
}
