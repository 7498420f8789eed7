// Runs once in the page: a key or a button becomes one call, and its answer the new page. `server.act` is Session.act.
const page = element.querySelector(".review");
const named = { ArrowLeft: "previous", ArrowRight: "next", Backspace: "u", " ": "play" };
let calls = Promise.resolve();

function show(html) {
  if (typeof html !== "string") return lost(); // Gradio's answer where the server is gone or failed
  const heard = page.querySelector("audio");
  const playing = heard && !heard.paused;
  page.innerHTML = html;
  const fresh = page.querySelector("audio");
  if (!heard || !fresh || heard.getAttribute("src") !== fresh.getAttribute("src")) return;
  fresh.replaceWith(heard); // the same clip plays on while it is answered
  if (playing) heard.play();
}

function lost() {
  const said = page.querySelector(".said") ?? page;
  said.textContent = "datagen does not answer: start the same command again and reload. What was judged is saved.";
}

function act(key) {
  // What was on the screen when the key went down: a second press never falls on a question that was not seen yet.
  const shown = page.querySelector("[data-shown]")?.dataset.shown ?? "";
  calls = calls.then(() => server.act(shown, key)).then(show).catch(lost);
}

function play() {
  const audio = page.querySelector("audio");
  if (audio) audio.paused ? audio.play() : audio.pause();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const key = named[event.key] ?? event.key.toLowerCase();
  if (!/^([0-9ynu]|previous|next|play)$/.test(key)) return;
  event.preventDefault();
  event.stopPropagation();
  key === "play" ? play() : act(key);
}, true);

page.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button || button.disabled) return;
  button.blur(); // or space would press it again
  "play" in button.dataset ? play() : act(button.dataset.key);
});

act("open");
