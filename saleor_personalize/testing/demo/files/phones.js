// What the phones of the demo's people show. The made-up Firebase tells it; the shop's app knows no more.
const config = await (await fetch("/config.json")).json();
const list = document.getElementById("phones");
const NAMES = { android: "Android", ios: "iOS", web: "Browser" };
const post = (path, body) => fetch(path, { method: "POST", body: JSON.stringify(body) });

function make(tag, properties = {}, ...children) {
  const { data, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  Object.assign(element.dataset, data);
  element.append(...children.filter(Boolean));
  return element;
}

const note = (textContent) => make("p", { className: "note", textContent });

// An app tells that a push was pressed, and goes where it leads.
async function press({ messageId, link }) {
  await fetch(`${config.personalizeUrl}/graphql/`, {
    method: "POST",
    headers: { "content-type": "application/json", "saleor-api-url": config.saleorApiUrl },
    body: JSON.stringify({
      query: "mutation($id: ID!) { pushOpened(messageId: $id) { isNews } }",
      variables: { id: messageId },
    }),
  });
  await post("/phones/press", { messageId });
  location.assign(link || "/");
}

const pushed = (push) =>
  make(
    "li",
    { className: "push" },
    make("strong", { textContent: push.title }),
    make("p", { textContent: push.text }),
    push.image && make("img", { src: push.image, alt: "" }),
    push.promoCode && make("p", {}, "Code ", make("strong", { textContent: push.promoCode })),
    push.link && Object.assign(note(`Leads to ${push.link}`), { title: push.link }),
    push.isPressed
      ? note("Pressed.")
      : make("button", { type: "button", textContent: "Open", ariaLabel: `Open: ${push.title}`, onclick: () => press(push) }),
  );

const phone = ({ name, platform, token, isGone, pushes }) =>
  make(
    "li",
    { className: isGone ? "device gone" : "device", data: { platform } },
    make("h2", { textContent: name }),
    note(NAMES[platform]),
    isGone && note("The app was taken off. A push to it comes back as UNREGISTERED, and the shop forgets the device."),
    pushes.length ? make("ol", {}, ...pushes.map(pushed)) : note("Nothing yet."),
    !isGone &&
      make("button", {
        type: "button",
        textContent: "Take the app off",
        ariaLabel: `Take the app off ${name}`,
        onclick: () => post("/phones/uninstall", { token }).then(draw),
      }),
  );

let shown;
async function draw() {
  const told = await (await fetch("/phones.json")).text();
  // What did not change keeps its focus.
  if (told === shown) return;
  shown = told;
  const phones = JSON.parse(told);
  list.replaceChildren(...(phones.length ? phones.map(phone) : [make("li", { textContent: "None yet." })]));
}

await draw();
document.body.dataset.ready = "yes";
setInterval(draw, 2000);
