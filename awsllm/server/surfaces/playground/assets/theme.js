// Before the first paint, so that nobody who prefers the dark sees a flash of light. All else is in main.js.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("awsllm.theme");
  } catch {
    // Storage is closed to this page: the system's preference stands.
  }
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
