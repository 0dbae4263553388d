// Sets the chosen theme before the page is first painted; without a choice the system's is used.
(() => {
  const NAME = "explorer-theme";
  const apply = (theme) => {
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  };
  apply(localStorage.getItem(NAME));
  addEventListener("DOMContentLoaded", () => {
    const choice = document.getElementById("theme");
    choice.value = document.documentElement.dataset.theme ?? "";
    choice.addEventListener("change", () => {
      apply(choice.value);
      if (choice.value) localStorage.setItem(NAME, choice.value);
      else localStorage.removeItem(NAME);
    });
  });
})();
