/** The page's building blocks: accessible, drawn with the tokens of `styles/`. */
export { AlertDialog, type AlertDialogProps } from "./AlertDialog";
export { Button, type ButtonProps } from "./Button";
export { classes } from "./classes";
export { isComposing, keepForInputMethod } from "./composing";
export { Dialog, DialogActions, type DialogProps } from "./Dialog";
export { Field, FormProblem, SelectField, TextArea, TextField } from "./Field";
export { IconButton, type IconButtonProps } from "./IconButton";
export {
  Menu,
  MenuChoice,
  MenuChoices,
  MenuItem,
  MenuLabel,
  MenuSeparator,
} from "./Menu";
export { Popover } from "./Popover";
export { Spinner } from "./Spinner";
export { type Theme, useTheme } from "./theme";
export { useToast } from "./Toast";
export { Tooltip } from "./Tooltip";
export { UiProvider } from "./UiProvider";
