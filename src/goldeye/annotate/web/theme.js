// Light, dark or grey: as the system says until somebody chooses, then as chosen, in every page of this browser.

const PLACE = "goldeye-theme";

/** @param {string} theme */
function apply(theme) {
  document.documentElement.dataset.theme = theme;
}

function remembered() {
  try {
    return localStorage.getItem(PLACE) ?? "auto";
  } catch {
    return "auto"; // no storage (private mode)
  }
}

/** Lets a select with the values auto, light, dark and grey choose the theme. @param {HTMLSelectElement} select */
export function useTheme(select) {
  select.value = remembered();
  select.addEventListener("change", () => {
    apply(select.value);
    try {
      localStorage.setItem(PLACE, select.value);
    } catch {
      // As above.
    }
  });
}

apply(remembered());
