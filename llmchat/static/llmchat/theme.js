// The theme that the reader has chosen, before the first paint: the page's policy allows
// no inline script, and a module would run too late. frontend/src/ui/theme.ts goes on.
(() => {
  const theme = localStorage.getItem("llmchat.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
