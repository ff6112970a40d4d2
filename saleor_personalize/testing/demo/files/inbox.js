// One person on two devices: each is a page of its own, signed in by itself.
const { customers } = await (await fetch("/config.json")).json();
const people = document.getElementById("people");

function choose(customer) {
  for (const button of people.children) button.ariaPressed = String(button.value === customer.email);
  for (const frame of document.querySelectorAll("iframe")) frame.src = `/device?email=${encodeURIComponent(customer.email)}`;
}

for (const customer of customers) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", value: customer.email, textContent: customer.firstName });
  button.onclick = () => choose(customer);
  people.append(button, " ");
}
// Whoever came last has something to read.
if (customers.length) choose(customers.at(-1));
document.body.dataset.ready = "yes";
