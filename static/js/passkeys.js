// Passkeys: the browser's answer to the server's challenge, put into the form that is then sent.
import { on } from "./events.js";

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (each) => each.charCodeAt(0));
const text = (buffer) =>
  buffer && btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const known = (list) => list?.map((each) => ({ ...each, id: bytes(each.id) }));

async function create({ publicKey: asked }, passwordless) {
  const publicKey = { ...asked, challenge: bytes(asked.challenge), user: { ...asked.user, id: bytes(asked.user.id) } };
  publicKey.excludeCredentials = known(asked.excludeCredentials);
  const residentKey = passwordless ? "required" : "discouraged";
  publicKey.authenticatorSelection = { ...asked.authenticatorSelection, residentKey, requireResidentKey: passwordless };
  if (passwordless) publicKey.authenticatorSelection.userVerification = "required";
  return navigator.credentials.create({ publicKey });
}
async function get({ publicKey: asked }) {
  return navigator.credentials.get({
    publicKey: { ...asked, challenge: bytes(asked.challenge), allowCredentials: known(asked.allowCredentials) },
  });
}
const plain = (credential) => ({
  id: credential.id,
  rawId: text(credential.rawId),
  type: credential.type,
  authenticatorAttachment: credential.authenticatorAttachment,
  clientExtensionResults: credential.getClientExtensionResults(),
  response: Object.fromEntries(
    ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]
      .filter((name) => credential.response[name]).map((name) => [name, text(credential.response[name])]),
  ),
});

async function answer(form) {
  if (form.dataset.passkey === "create") return create(JSON.parse(form.dataset.options), form.passwordless.checked);
  if (form.dataset.passkey === "get") return get(JSON.parse(form.dataset.options));
  const asked = await fetch(form.action, { headers: { accept: "application/json" } });
  if (!asked.ok) throw new Error(asked.status === 429 ? "Too many attempts. Wait a minute." : `The server answered ${asked.status}.`);
  return get((await asked.json()).request_options);
}

function obstacle() {
  if (/^[\d.]+$|^\[/.test(location.hostname)) {
    const port = location.port ? `:${location.port}` : "";
    return `Passkeys need a host name: open the console as ${location.protocol}//localhost${port}, or by the name it has.`;
  }
  if (!window.isSecureContext) return "Passkeys need HTTPS.";
  return window.PublicKeyCredential ? "" : "This browser knows no passkeys.";
}

on("submit", "form[data-passkey]", async (event, form) => {
  event.preventDefault();
  const told = form.querySelector("[data-passkey-told]");
  told.textContent = obstacle();
  if (told.textContent) return;
  try {
    const credential = await answer(form);
    form.credential.value = JSON.stringify(plain(credential));
    form.submit();
  } catch (error) {
    const refused = { NotAllowedError: "No passkey was used.", InvalidStateError: "This passkey is added already." };
    told.textContent = refused[error.name] ?? error.message;
  }
});
