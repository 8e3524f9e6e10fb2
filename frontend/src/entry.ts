// What Django names. It holds nothing, see vite.config.ts.
import "./main";
