// Light or dark: as the system has it, until one is chosen here.

const button = document.getElementById("theme");
const darkness = matchMedia("(prefers-color-scheme: dark)");
let chosen = null; // "light" or "dark"

function paint() {
  const isDark = chosen ? chosen === "dark" : darkness.matches;
  document.documentElement.dataset.theme = isDark ? "dark" : "light";
  button.setAttribute("aria-pressed", String(isDark));
}

/** Does what a browser refuses where it keeps nothing for pages. */
function remembering(access) {
  try {
    access();
  } catch (error) {
    if (error.name !== "SecurityError") throw error;
  }
}

button.addEventListener("click", () => {
  chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  remembering(() => localStorage.setItem("theme", chosen));
  paint();
});
darkness.addEventListener("change", paint);

remembering(() => (chosen = localStorage.getItem("theme")));
paint();
