// The entry that Django's template names. It contains nothing else, see vite.config.ts.
import "./main";
