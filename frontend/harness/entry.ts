// What the test names; see ../vite.config.ts.
import "./main";
