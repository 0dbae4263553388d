const theme = document.getElementById("choice");
const name = document.getElementById("name");
theme.value = localStorage.getItem("theme") ?? "";
name.value = localStorage.getItem("name") ?? "";
theme.onchange = () => {
  if (theme.value) localStorage.setItem("theme", theme.value);
  else localStorage.removeItem("theme");
  location.reload();
};
name.onchange = () => localStorage.setItem("name", name.value.trim().slice(0, 40));
