// Runs an action that requires a recent sign-in: asks for the password if necessary, and repeats the action.
import { element, problem, send } from "/js/api.js";

const NEEDED = "urn:isobar:problem:reauthenticate";

function ask() {
  return new Promise((resolve) => {
    const input = element("input", { name: "password", type: "password", autocomplete: "current-password", required: true });
    const message = element("div", { className: "message" });
    message.setAttribute("role", "status");
    const cancel = element("button", { type: "button", className: "quiet", textContent: "Cancel" });
    const form = element("form", { className: "stack" }, element("label", {}, "Password ", input), message, element("div", { className: "row" }, element("button", { textContent: "Continue" }), cancel));
    const dialog = element("dialog", { id: "recent" }, element("h2", { textContent: "Enter your password" }), form);
    const end = (done) => { dialog.close(); dialog.remove(); resolve(done); };
    cancel.onclick = () => end(false);
    dialog.oncancel = () => end(false);
    form.onsubmit = async (event) => {
      event.preventDefault();
      try {
        await send("/auth/reauthenticate", { password: input.value });
        end(true);
      } catch (error) {
        problem(message, error);
      }
    };
    document.body.append(dialog);
    dialog.showModal();
  });
}

export async function recently(work) {
  try {
    return await work();
  } catch (error) {
    if (error.type !== NEEDED || !(await ask())) throw error;
    return work();
  }
}
